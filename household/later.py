"""Fields that a record, a table's row or a plan gained after its layout was fixed.

While such a field says nothing (stands at its default), it is left out of digests, records and canonical bytes: what
was written before it existed then reads, hashes and encodes as it did.
"""

from dataclasses import field, fields
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


def spoken(instance: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name, without those that say nothing; values as they are, not copied."""
    return {one.name: getattr(instance, one.name) for one in fields(instance) if not is_silent(instance, one.name)}
