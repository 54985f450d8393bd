"""A type-checked CEL expression as a small tree, decoded from the bytes of a `cel.expr.CheckedExpr`.

Only the messages and fields that lowering needs are read (cel-spec, proto/cel/expr/{checked,syntax}.proto); the rest is
skipped, and what is not understood becomes `Unsupported`, so that the caller can say so.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant. A bool is a bool, an int an int, a double a float, a string a str."""

    offset: int
    """Of the expression in the text, in characters; as for all nodes."""
    value: bool | int | float | str


@dataclass(frozen=True, slots=True)
class Name:
    """A reference, dots included."""

    offset: int
    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A function or operator (`_&&_`, `_>=_`, `@in`, …) and what it is applied to."""

    offset: int
    function: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    offset: int
    items: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Anything else, named for people."""

    offset: int
    what: str


Expression = Literal | Name | Call | Items | Unsupported


def decode(serialized: bytes) -> Expression:
    """Return the tree of a `google.protobuf.Any` that holds a CheckedExpr."""
    checked = _only(serialized, 2)
    offsets = {}
    for entry in _all(_only(checked, 5), 4):
        pair = dict(_fields(entry))
        offsets[_int(pair.get(1, 0))] = _int(pair.get(2, 0))
    return _expression(_only(checked, 4), offsets)


def _expression(raw: bytes, offsets: dict[int, int]) -> Expression:
    fields = dict(_fields(raw))
    offset = offsets.get(_int(fields.pop(2, 0)), 0)
    if len(fields) != 1:
        return Unsupported(offset, "an empty expression")
    (number, body), *_ = fields.items()
    assert isinstance(body, bytes), "every kind of expression is a message"
    match number:
        case 3:
            return _literal(body, offset)
        case 4:
            name = _text(body, 1)
            # CEL gives the place of the last dot; people look for the start.
            return Name(max(offset - max(name.rfind("."), 0), 0), name)
        case 5:
            return _select(body, offset, offsets)
        case 6:
            return _call(body, offset, offsets)
        case 7:
            return Items(offset, tuple(_expression(item, offsets) for item in _all(body, 1)))
        case 8:
            return Unsupported(offset, "a map or message literal")
        case _:
            return Unsupported(offset, "a macro (all, exists, map, filter)")


def _literal(body: bytes, offset: int) -> Expression:
    (number, value), *_ = list(_fields(body)) or [(0, 0)]
    match number:
        case 2:
            return Literal(offset, bool(value))
        case 3:
            signed = _int(value)
            return Literal(offset, signed - (1 << 64) if signed >= 1 << 63 else signed)
        case 5:
            assert isinstance(value, bytes)
            return Literal(offset, float(struct.unpack("<d", value)[0]))
        case 6:
            assert isinstance(value, bytes)
            return Literal(offset, value.decode())
        case _:
            return Unsupported(offset, "a constant that is no int, double, bool or string")


def _select(body: bytes, offset: int, offsets: dict[int, int]) -> Expression:
    operand = _expression(_only(body, 1), offsets)
    if any(number == 3 for number, _ in _fields(body)) or not isinstance(operand, Name):
        return Unsupported(offset, "a test or a part of a value")
    return Name(operand.offset, f"{operand.name}.{_text(body, 2)}")


def _call(body: bytes, offset: int, offsets: dict[int, int]) -> Expression:
    function = _text(body, 2)
    if any(number == 1 for number, _ in _fields(body)):
        return Unsupported(offset, f"the function '{function}'")
    return Call(offset, function, tuple(_expression(argument, offsets) for argument in _all(body, 3)))


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (field number, value) of a message: an int for a varint, bytes for the rest (protobuf wire format)."""
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        match key & 7:
            case 0:
                value, at = _varint(raw, at)
                yield key >> 3, value
            case 1:
                yield key >> 3, raw[at : at + 8]
                at += 8
            case 2:
                length, at = _varint(raw, at)
                yield key >> 3, raw[at : at + length]
                at += length
            case wire_type:
                raise AssertionError(f"CheckedExpr uses no wire type {wire_type}")


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _all(raw: bytes, number: int) -> Iterator[bytes]:
    for found, value in _fields(raw):
        if found == number:
            assert isinstance(value, bytes)
            yield value


def _only(raw: bytes, number: int) -> bytes:
    return next(_all(raw, number), b"")


def _text(raw: bytes, number: int) -> str:
    return _only(raw, number).decode()


def _int(value: int | bytes) -> int:
    assert isinstance(value, int)
    return value
