"""JSON text and its values: numbers that keep their digits, objects that know of doubled keys, cells as text."""

import json
import re
from datetime import date
from decimal import Decimal
from typing import Any

SURELY_KEPT_LENGTH = 16
"""A decimal fraction of at most as many characters is told from all others as a float."""


class JsonObject(dict[str, Any]):
    """A JSON object; `doubled` is a key that it has twice, or None."""

    doubled: str | None = None


class LongNumber(float):
    """A number with more to it than a float keeps: as an id, its neighbours would be the same."""

    text: str
    """As it is written, without a fraction of zeros."""


def _number(text: str) -> float:
    """Return what a JSON number that is no integer is.

    >>> [text_of_cell(_number(text)) for text in ("1.0", "0.50", "9007199254740993.0", "20261127210542001.5", "1e400")]
    ['1', '0.5', '9007199254740993', '20261127210542001.5', '1e400']
    """
    number = float(text)
    if len(text) <= SURELY_KEPT_LENGTH and "e" not in text and "E" not in text:
        return number
    try:
        is_kept = Decimal(text) == Decimal(repr(number))
    except ArithmeticError:
        # An exponent that nothing can hold.
        is_kept = False
    whole = _WHOLE.fullmatch(text)
    if is_kept and (whole is None or abs(number) < 2.0**53):
        return number
    long = LongNumber(number)
    long.text = whole[1] if whole is not None else text
    return long


_WHOLE = re.compile(r"(-?\d+)\.0+")
PLAIN = json.JSONDecoder(parse_float=_number)
_WITH_DOUBLED = json.JSONDecoder(parse_float=_number, object_pairs_hook=lambda pairs: object_of(pairs))


def parsed_with_doubled(text: str) -> Any:
    """Return what a JSON text says; its objects know whether a key was written twice."""
    return _WITH_DOUBLED.decode(text)


def object_of(pairs: list[tuple[str, Any]]) -> JsonObject:
    """Return a JSON object that knows whether one of its keys was written twice."""
    found = JsonObject(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        found.doubled = next(name for name in names if names.count(name) > 1)
    return found


def keys_in(content: str) -> int:
    """Return how many keys a text has, or more; -1 where its white space makes them hard to count."""
    if any(space in content for space in ("  ", "\t", "\r", "\n")):
        return -1
    return content.count('":') + content.count('" :')


def text_of_cell(cell: object) -> str | None:
    """Return a cell as a file of text would have it; whole numbers without a fraction, however they were written.

    >>> [text_of_cell(cell) for cell in ("a", 3, 3.0, 0.5, True, None, b"x", [1])]
    ['a', '3', '3', '0.5', 'true', None, 'x', '[1]']
    """
    kind = type(cell)
    if cell is None or kind is str:
        return cell  # type: ignore[return-value]
    if kind is int:
        return str(cell)
    match cell:
        case bool():
            return "true" if cell else "false"
        case LongNumber():
            return cell.text
        case float() if cell.is_integer() and abs(cell) < 2.0**53:
            return str(int(cell))
        case date():
            return cell.isoformat()
        case bytes():
            return cell.decode()
        case list():
            return _json_text(cell)
        case _:
            return str(cell)


def _json_text(cell: list[Any]) -> str:
    try:
        return json.dumps(cell, ensure_ascii=False, default=text_of_cell)
    except (TypeError, ValueError, RecursionError):
        # What msgpack can hold and JSON cannot, such as a map with numbers for keys.
        return str(cell)
