"""The sections `fields` and `events`: what signals there are and what they carry."""

from dataclasses import dataclass
from enum import StrEnum

from household.later import later


class FieldKind(StrEnum):
    """How a field's values are held in a float64 column."""

    NUMBER = "number"
    FLAG = "flag"
    """0 or 1."""
    ENUM = "enum"
    """Index into the field's declared values."""
    TEXT = "text"
    """53 bits of a hash: only equality and distinct counts make sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A named value that events may carry."""

    name: str
    kind: FieldKind
    values: tuple[str, ...] = ()
    """Names of an ENUM's values; a value is its index here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventField:
    """Use of a field by an event type. A value outside `least … most`, or a missing required one, rejects the event."""

    field: int
    required: bool = False
    least: float = -1e300
    most: float = 1e300


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """A type of signal."""

    name: str
    source: str
    """network, billing, app, wallet, call_centre, partner, or hearth for the reserved types."""
    fields: tuple[EventField, ...] = ()
    action_window_us: int = 900_000_000
    """A moment older than this makes no offer: STALE_SIGNAL."""
    half_life_us: int = later(0)
    """What a moment of it brings up is worth half as much after each of these; 0 for no less."""
