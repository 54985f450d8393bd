"""Where names lie that are not where their hash says, and what is on its way between partitions."""

from dataclasses import dataclass

from household.tables.contract import Bytes, Declaration, Number, Owner, Plain, Text

HERE = -1
"""The partition of a place: this one."""


@dataclass(slots=True)
class NamePlace:
    """Where a name lies that has changed its partition. Replaced, never changed."""

    name: Bytes
    partition: Number
    """Where it went; HERE for one that came."""
    root: Text
    """The first of all names that it was to be tied to: where that one was born, it goes."""


@dataclass(slots=True)
class WaitingEvent:
    """A graph event about what does not lie here yet, all of it. Known by its key; without effect."""

    key: Bytes
    event: Bytes
    """As it goes to where all of that will lie (household/relocation/notes.py)."""


@dataclass(slots=True)
class Departure:
    """A component that has left for another partition, which has not said yet that it came."""

    number: Number
    """When it left, as its record says, in µs; one more than the one before at least."""
    target: Number
    data: Bytes


@dataclass(slots=True)
class Arrival:
    """The newest departure of another partition that has come here: they come in their order. Of this partition the
    newest that has left."""

    source: Number
    number: Number


def _told_places(rows: list[NamePlace]) -> Plain:
    # Nothing at all where there is none, here and below: it came later.
    told = sorted([one.name.decode("latin-1"), one.partition, one.root] for one in rows)
    return {"places": told} if rows else {}


def _told_waiting(rows: list[WaitingEvent]) -> Plain:
    return {"waiting_events": sorted([one.key.hex(), one.event.hex()] for one in rows)} if rows else {}


def _told_departures(rows: list[Departure]) -> Plain:
    return {"departures": sorted([one.number, one.target, one.data.hex()] for one in rows)} if rows else {}


def _told_arrivals(rows: list[Arrival]) -> Plain:
    return {"arrivals": sorted([one.source, one.number] for one in rows)} if rows else {}


PLACES = Declaration(name="places", row=NamePlace, owner=Owner.PARTITION, key=("name",), partition_digest=_told_places)
WAITING = Declaration(
    name="waiting_events", row=WaitingEvent, owner=Owner.PARTITION, key=("key",), partition_digest=_told_waiting
)
DEPARTURES = Declaration(
    name="departures", row=Departure, owner=Owner.PARTITION, key=("number", "target"), partition_digest=_told_departures
)
ARRIVALS = Declaration(
    name="arrivals", row=Arrival, owner=Owner.PARTITION, key=("source",), partition_digest=_told_arrivals
)
