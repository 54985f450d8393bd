"""A batch of events as columns, ready for the fold."""

from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from household.graph.events import GraphRow

UNKNOWN_TYPE = -1

NO_TIME_US = int(np.iinfo(np.int64).min)
"""Event time of a signal that brought none. A report without time happened now; any other such signal is rejected."""

ACTION_OUTCOMES = ("impression", "click", "accept", "decline", "convert", "delivered", "undelivered")
"""What gateways report of an action; `hearth.<outcome>` are the reserved event types, in this order."""

RESERVED_TYPES = tuple(f"hearth.{outcome}" for outcome in ACTION_OUTCOMES)

LATEST_US = 7_258_118_400_000_000
"""2200-01-01: later times are no event times, and neither are those before 1970."""

LONGEST_KEY = 128
"""Bytes in an event id, a household key or a member key."""

LONGEST_SOURCE = 512
"""Bytes in the name of an event's source."""

REPORT_SOURCE = "hearth"
"""Source of the events that Reports and Acks become: their ids are request ids, and no other event's."""


class Status(IntEnum):
    """What became of an event. 3 and above are rejections; each has its line in docs/gateway.md."""

    APPLIED = 0
    DUPLICATE = 1
    LATE = 2
    UNKNOWN_TYPE = 3
    MISSING_FIELD = 4
    OUT_OF_RANGE = 5
    """A field's value is outside its declared range, or NaN."""
    BAD_VALUE = 6
    """A text where a number belongs, or the other way round, or a name that the field does not declare."""
    FUTURE = 7
    BAD_ID = 8
    BAD_KEY = 9
    PAST_CALENDAR = 10
    """Before 1970 or after 2200; in terms of fold version 1 also no time at all."""
    MISSING_TIME = 11
    ACROSS_PARTITIONS = 12
    """A graph event about what lies in several partitions, in terms before fold version 4."""
    MOVED = 13
    """It is about what lies in another partition, and counts there."""
    WAITING = 14
    """A graph event about what lies in several partitions: it holds as soon as all of that lies in one."""


FIRST_REJECTION = Status.UNKNOWN_TYPE

NOT_REJECTED = frozenset({Status.APPLIED, Status.DUPLICATE, Status.LATE, Status.MOVED, Status.WAITING})

_IS_REJECTION = np.array([status not in NOT_REJECTED for status in Status])


def are_rejections(statuses: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return, of each status (n,), whether it is a rejection."""
    return np.asarray(_IS_REJECTION[statuses])


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Byte strings, one after another."""

    offsets: NDArray[np.int64]
    """(n + 1,)"""
    letters: NDArray[np.uint8]

    def part(self, start: int, stop: int) -> "Keys":
        """Return the keys from start to stop, over the same letters."""
        return Keys(offsets=self.offsets[start : stop + 1], letters=self.letters)

    def items(self, start: int, stop: int) -> list[bytes]:
        """Return the keys from start to stop; of many a fifth of what one after another would cost."""
        bounds = self.offsets[start : stop + 1].tolist()
        first = bounds[0]
        letters = self.letters[first : bounds[-1]].tobytes()
        return [letters[begin - first : end - first] for begin, end in pairwise(bounds)]

    def __getitem__(self, row: int) -> bytes:
        return self.letters[int(self.offsets[row]) : int(self.offsets[row + 1])].tobytes()


NO_KEYS = Keys(offsets=np.zeros(0, np.int64), letters=np.zeros(1, np.uint8))
"""Where a batch has none at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBatch:
    """n events in the order of their partition's log."""

    ids: Keys
    households: Keys
    members: Keys
    """Empty for an event of the household as a whole."""
    types: NDArray[np.int32]
    """(n,) index in the plan's event types, or UNKNOWN_TYPE."""
    times_us: NDArray[np.int64]
    """(n,) event time; the fold fills in the time of a report that brought none."""
    values: NDArray[np.float64]
    """(fields of the plan, n); NaN where the event has no such field."""
    is_bad: NDArray[np.uint8]
    """(n,) 1 where some value is not of its field's kind."""
    plan_version: str
    """Of the plan that the types and values are indices of."""
    outcomes: tuple["OutcomeRow", ...] = ()
    """The rows of reserved types, in order."""
    unknown_fields: tuple[tuple[str, int], ...] = ()
    """Fields that came with them and that the plan does not know; of how many events of the whole batch, each."""
    sources: Keys = NO_KEYS
    """Who chose the ids, empty where it was not said; NO_KEYS where no event says so."""
    graph: tuple["GraphRow", ...] = ()
    """The rows of the types `hearth.graph.*`, in order; their type is UNKNOWN_TYPE, as it is none of the plan's."""
    identifiers: Keys = NO_KEYS
    """By what an event names whom it is about instead of a household, in the one way in which it is written; empty
    where it does not; NO_KEYS where none does."""

    @property
    def count(self) -> int:
        """How many events."""
        return int(self.types.shape[0])

    def part(self, start: int, stop: int) -> "EventBatch":
        """Return the events from start to stop as a batch of their own; folding the parts in turn folds the whole."""
        return EventBatch(
            ids=self.ids.part(start, stop),
            households=self.households.part(start, stop),
            members=self.members.part(start, stop),
            types=self.types[start:stop],
            times_us=self.times_us[start:stop],
            values=np.ascontiguousarray(self.values[:, start:stop]),
            is_bad=self.is_bad[start:stop],
            plan_version=self.plan_version,
            sources=self.sources.part(start, stop) if self.sources.offsets.shape[0] else self.sources,
            graph=tuple(replace(one, row=one.row - start) for one in self.graph if start <= one.row < stop)
            if self.graph
            else (),
            identifiers=self.identifiers.part(start, stop) if self.identifiers.offsets.shape[0] else self.identifiers,
            outcomes=tuple(
                replace(outcome, row=outcome.row - start) for outcome in self.outcomes if start <= outcome.row < stop
            )
            if self.outcomes
            else (),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """What a gateway reported, at this row of the batch."""

    row: int
    outcome: str
    """One of ACTION_OUTCOMES."""
    action_id: str
    channel: str
    group: str = ""
    """Of the gateway that acknowledges; empty for none."""
    request_hash: bytes = b""
    """Of the body of the request that reported it; empty where no request did, or it was not told."""


def keys_of(items: list[bytes]) -> Keys:
    """Return byte strings as one column."""
    offsets = np.zeros(len(items) + 1, np.int64)
    np.cumsum([len(item) for item in items], out=offsets[1:])
    return Keys(offsets=offsets, letters=np.frombuffer(b"".join(items) or b"\0", np.uint8).copy())
