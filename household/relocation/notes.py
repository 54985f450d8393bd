"""What partitions tell each other of components on their way, and what stands of it in their logs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import msgpack

from household.graph.events import GraphKind
from household.tables.graph_events import GraphEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Out:
    """Components that leave for another partition, together."""

    target: int
    named: tuple[tuple[str, str], ...]
    """One name of each, and the name to which it goes: the first of all that it is to be tied to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """A departure of another partition, come to where it went."""

    source: int
    number: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A departure that is known to have come."""

    target: int
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RelocationNote:
    """What becomes of components in one partition at once. Folded in this order."""

    came: tuple[Came, ...] = ()
    events: tuple[bytes, ...] = ()
    """Graph events that waited elsewhere for what lies here by now."""
    outs: tuple[Out, ...] = ()
    done: tuple[Done, ...] = ()
    told: tuple[bytes, ...] = ()
    """Keys of events that waited here and are known by now where all that they name lies."""

    def __bool__(self) -> bool:
        return bool(self.came or self.events or self.outs or self.done or self.told)

    @classmethod
    def together(cls, notes: "Sequence[RelocationNote]") -> "RelocationNote":
        """Return several as one."""
        return cls(**{one.name: tuple(it for note in notes for it in getattr(note, one.name)) for one in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Lies:
    """What a partition knows of where a name lies."""

    partition: int
    root: str
    """The first of all names that it is to be tied to; empty where it lies elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelocationQuestion:
    """What one partition asks another."""

    names: tuple[str, ...] = ()
    """Of which it is asked where they lie."""
    note: RelocationNote = RelocationNote()
    """What is to be folded there first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelocationAnswer:
    """What the other says, behind the record."""

    lies: tuple[Lies, ...]
    """Of each name."""
    came: tuple[bool, ...]
    """Of each departure: whether it has come."""
    events: tuple[bool, ...]
    """Of each event: whether it is known."""


def event_bytes(event: GraphEvent) -> bytes:
    """Return a graph event as it waits and travels."""
    values = {one.name: getattr(event, one.name) for one in fields(event)}
    return bytes(msgpack.packb(values))


def event_of(data: bytes) -> GraphEvent:
    """Return a graph event that waited."""
    values = msgpack.unpackb(data)
    return GraphEvent(**values | {"kind": GraphKind(values["kind"])})
