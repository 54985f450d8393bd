"""Fields that a record, a table's row or a plan gained after its layout was fixed.

While such a field says nothing (stands at its default), it is left out of digests, records and canonical bytes: what
was written before it existed then reads, hashes and encodes as it did.
"""

from collections.abc import Callable
from dataclasses import field, fields
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

Value = TypeVar("Value")

_LATER = "later"


def later(default: Value) -> Value:
    """Declare a dataclass field that came later; `default` is what its absence means."""
    made: Value = field(default=default, metadata={_LATER: True})
    return made


def is_silent(instance: Any, name: str) -> bool:
    """Return whether a field came later and stands at its default."""
    found = type(instance).__dataclass_fields__[name]
    return _LATER in found.metadata and bool(getattr(instance, name) == found.default)


@cache
def _fields_of(
    kind: type[Any],
) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]], tuple[tuple[str, Any], ...]]:
    """Return the names of the fields that are part of the value, what reads them, and those that came later."""
    known = [one for one in fields(kind) if one.compare]
    names = tuple(one.name for one in known)
    read = attrgetter(*names) if len(names) > 1 else lambda instance: tuple(getattr(instance, name) for name in names)
    return names, read, tuple((one.name, one.default) for one in known if _LATER in one.metadata)


def spoken(instance: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name, without those that say nothing, and without those that are no part of
    the value (not compared); values as they are, not copied."""
    names, read, later_ones = _fields_of(instance.__class__)
    plain = dict(zip(names, read(instance), strict=True))
    for name, default in later_ones:
        if plain[name] == default:
            del plain[name]
    return plain
