"""How the values of columns lie in 64 bits, and back."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import fields
from enum import StrEnum
from functools import cache, cached_property
from operator import itemgetter
from types import CodeType
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from household.tables.contract import CODED, POOLED, ColumnKind, Declaration, Row, TableColumn, columns_of
from household.tables.slots import FIELDS, KEYS, KEYS_MOST, NEVER_DUE, TEXTS
from household.tables.texts import TextPool


class _CodeByName(dict[str, int]):
    """Codes of names; one that is asked for and new gets the next."""

    def __init__(self, names: list[str]) -> None:
        super().__init__({name: code for code, name in enumerate(names)})
        self._names = names

    def __missing__(self, name: str) -> int:
        self._names.append(name)
        code = self[name] = len(self._names) - 1
        return code


class NamePool:
    """The few names of playbooks and of this software: each stored once, and kept."""

    __slots__ = ("code_by_name", "names")

    def __init__(self) -> None:
        self.names: list[str] = [""]
        self.code_by_name: dict[str, int] = _CodeByName(self.names)

    def code(self, name: str) -> int:
        """Return the code of a name, giving a new one to a new name."""
        return self.code_by_name[name]


Wanted = Callable[[NDArray[np.int64]], NDArray[np.bool_]]
"""Says of the slots (n,) of rows which are wanted."""

LISTS = frozenset({ColumnKind.MEMBERS, ColumnKind.CHANNELS, ColumnKind.NAMES})


def letters_of(column: TableColumn, names: NamePool) -> Callable[[Any], bytes]:
    """Return how a value of a column with texts becomes bytes."""
    match column.kind:
        case ColumnKind.TEXT:
            return str.encode
        case ColumnKind.BYTES:
            return bytes
        case ColumnKind.NAMES:
            return lambda value: packed_ints(tuple(map(names.code_by_name.__getitem__, value)))
        case _:
            return packed_ints


def code_of(column: TableColumn, names: NamePool) -> Callable[[Any], int]:
    """Return how a name or an enum's member becomes a number."""
    if column.kind is ColumnKind.NAME:
        return names.code_by_name.__getitem__
    return _codes_of(type(column.values[0])).__getitem__


@cache
def _codes_of(members: type[StrEnum]) -> dict[StrEnum, int]:
    return {value: code for code, value in enumerate(members)}


def value_of(column: TableColumn, texts: TextPool, names: NamePool) -> Callable[[int], Any] | None:
    """Return how what lies in a column becomes a value; None for as it is."""
    text, known = texts.text, names.names
    match column.kind:
        case ColumnKind.TEXT:
            return lambda code: text(code).decode()
        case ColumnKind.BYTES:
            return text
        case ColumnKind.NAME:
            return known.__getitem__
        case ColumnKind.ENUM:
            return column.values.__getitem__
        case ColumnKind.FLAG:
            return bool
        case ColumnKind.NAMES:
            return lambda code: tuple(known[one] for one in unpacked_ints(text(code)))
        case ColumnKind.MEMBERS | ColumnKind.CHANNELS:
            return lambda code: unpacked_ints(text(code))
        case _:
            return None


def packed_ints(values: tuple[int, ...]) -> bytes:
    """Return small numbers as a text."""
    return struct.pack(f"<{len(values)}i", *values)


def unpacked_ints(text: bytes) -> tuple[int, ...]:
    """Return the numbers of a text."""
    return struct.unpack(f"<{len(text) // 4}i", text)


@cache
def kernel_shape(declaration: Declaration[Any]) -> NDArray[np.int64]:
    """Return what kernels know of a declaration, as household.tables.slots lays it out. Nobody writes to it."""
    columns = columns_of(declaration.row)
    places = {column.name: place for place, column in enumerate(columns)}
    texts = [FIELDS + place for place, column in enumerate(columns) if column.kind in POOLED]
    keys = [places[name] for name in declaration.key]
    assert len(keys) <= KEYS_MOST
    shape = np.zeros(TEXTS + len(texts), np.int64)
    shape[:4] = declaration.newest, len(columns), bool(keys), len(keys)
    for i, place in enumerate(keys):
        shape[KEYS + i] = FIELDS + place
        shape[KEYS + KEYS_MOST + i] = columns[place].kind in POOLED
    shape[TEXTS - 1] = len(texts)
    shape[TEXTS:] = texts
    return shape


class _Parts:
    """What all tables of a declaration know alike of its rows: a partition has one of each, a process many of those."""

    def __init__(self, declaration: Declaration[Any]) -> None:
        self.columns = columns = columns_of(declaration.row)
        self.keys = [next(column for column in columns if column.name == name) for name in declaration.key]
        self.names = tuple(column.name for column in columns)
        self.row = _maker(declaration.row, self.names)
        self.message_source = _message_source(declaration)
        self.key_message = struct.Struct(f"<{1 + len(self.keys)}q")
        self.key_texts = [(1 + i, one) for i, one in enumerate(self.keys) if one.kind in POOLED]
        self.key_coded = [(1 + i, one) for i, one in enumerate(self.keys) if one.kind in CODED]


_parts_of = cache(_Parts)


class RowValues(Generic[Row]):
    """Rows of a declaration as messages to kernels, and back from what lies in a table."""

    def __init__(self, declaration: Declaration[Row], texts: TextPool, names: NamePool) -> None:
        """Take what a partition's tables share."""
        parts = _parts_of(declaration)
        self._row = parts.row
        self._columns, self._texts_of, self._names_of = parts.columns, texts, names
        self._key_message = parts.key_message
        self.message = _written_by(parts.message_source, declaration, names)
        """What `put_row` reads, of a row, its owner, and the µs after which each due rule's time is."""
        self._key_texts = [(place, letters_of(one, names)) for place, one in parts.key_texts]
        self._key_codes = [(place, code_of(one, names)) for place, one in parts.key_coded]

    @cached_property
    def _value_by_name(self) -> dict[str, Callable[[int], Any] | None]:
        return {one.name: value_of(one, self._texts_of, self._names_of) for one in self._columns}

    @cached_property
    def _values(self) -> list[tuple[int, Callable[[int], Any]]]:
        values = enumerate(self._value_by_name.values())
        return [(place, value) for place, value in values if value is not None]

    def key_message(self, owner: int, key: tuple[Any, ...]) -> bytes:
        """Return what `find_row` reads."""
        values, texts = [owner, *key], b""
        for place, letters in self._key_texts:
            text = letters(values[place])
            values[place] = len(text)
            texts += text
        for place, code in self._key_codes:
            values[place] = code(values[place])
        return self._key_message.pack(*values) + texts

    def of_columns(self, names: Sequence[str]) -> list[Callable[[int], Any] | None]:
        """Return of each column how what lies there becomes a value; None for as it is."""
        return [self._value_by_name[name] for name in names]

    def row(self, lying: list[int]) -> Row:
        """Return a row from its fields as they lie."""
        values: list[Any] = list(lying)
        for place, value in self._values:
            values[place] = value(values[place])
        made: Row = self._row(values)
        return made


def _message_source(declaration: Declaration[Any]) -> CodeType:
    """Return a function `message`, written for a declaration: rows are put several times for each decision.

    As written: `pack` and `names` are a table's, `codes_1` and `letters_1` of the column in place 1, `is_1` is what the
    due rule in place 1 is about.
    """
    lines, values, texts = ["def message(row, owner, after_us):", "    due_us = never"], [], []
    branch = "if"
    for place, due in enumerate(declaration.due):
        when = "True" if due.only_if is None else f"row.{due.only_if[0]} is is_{place}"
        lines += [f"    {branch} {when}:", f"        due_us = row.{due.column} + after_us[{place}]"]
        branch = "elif"
    for place, column in enumerate(columns_of(declaration.row)):
        value = f"row.{column.name}"
        if column.kind in POOLED:
            text = {ColumnKind.TEXT: f"{value}.encode()", ColumnKind.BYTES: value}
            lines.append(f"    text_{place} = {text.get(column.kind, f'letters_{place}({value})')}")
            texts.append(f"text_{place}")
            values.append(f"len(text_{place})")
        elif column.kind is ColumnKind.NAME:
            values.append(f"names[{value}]")
        else:
            values.append(f"codes_{place}[{value}._value_]" if column.kind is ColumnKind.ENUM else value)
    head = f"pack(due_us, owner, {', '.join(values)})"
    lines.append(f"    return {' + '.join([head, *texts])}")
    return compile("\n".join(lines), f"<message of {declaration.name}>", "exec")


def _written_by(
    source: CodeType, declaration: Declaration[Any], names: NamePool
) -> Callable[[Any, int, Sequence[int]], bytes]:
    columns = columns_of(declaration.row)
    pack = struct.Struct(f"<{2 + len(columns)}q").pack
    space: dict[str, Any] = {"pack": pack, "names": names.code_by_name, "never": int(NEVER_DUE)}
    for place, due in enumerate(declaration.due):
        space[f"is_{place}"] = None if due.only_if is None else due.only_if[1]
    for place, column in enumerate(columns):
        if column.kind in LISTS:
            space[f"letters_{place}"] = letters_of(column, names)
        elif column.kind is ColumnKind.ENUM:
            # By its value: to hash a member of an enum takes longer than all else of a column.
            space[f"codes_{place}"] = {one.value: code for code, one in enumerate(column.values)}
    exec(source, space)
    made: Callable[[Any, int, Sequence[int]], bytes] = space["message"]
    return made


def _maker(row: type[Any], names: tuple[str, ...]) -> Callable[[Sequence[Any]], Any]:
    """Return what makes a row of the values of its columns: by place where its type allows, for a tenth of the cost."""
    own = [one for one in fields(row) if one.name in names]
    if any(one.kw_only for one in own):
        return lambda values: row(**dict(zip(names, values, strict=True)))
    in_order = itemgetter(*(names.index(one.name) for one in own))
    return lambda values: row(*in_order(values))
