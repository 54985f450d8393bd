"""Fields that a record, a table's row or a plan gained after its layout was fixed.

While such a field says nothing (stands at its default), it is left out of digests, records and canonical bytes: what
was written before it existed then reads, hashes and encodes as it did.
"""

from dataclasses import field, fields
from functools import cache
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
def _fields_of(kind: type[Any]) -> tuple[tuple[str, bool, Any], ...]:
    """Return of each field its name, whether it came later, and its default."""
    return tuple((one.name, _LATER in one.metadata, one.default) for one in fields(kind))


def spoken(instance: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name, without those that say nothing; values as they are, not copied."""
    return {
        name: value
        for name, is_later, default in _fields_of(instance.__class__)
        for value in (getattr(instance, name),)
        if not (is_later and value == default)
    }
