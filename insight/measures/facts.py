"""What happened, as columns: the events that measures are made of, each once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from insight.measures.coded import Coded, Ids, WhichRows, places_of

REPORTS = ("hearth.impression", "hearth.click", "hearth.accept", "hearth.decline", "hearth.convert")
"""What gateways tell of an action."""

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Facts:
    """Events, each once, in the order of their times; those of one time as they came."""

    time_us: NDArray[np.int64]
    """(n,) when it happened."""
    learnt_us: NDArray[np.int64]
    """(n,) when it was recorded."""
    type: Coded
    event_id: Ids
    source: Coded
    told: Coded
    """Whom it was told of: a household key, or an identifier where none was named."""
    is_identifier: NDArray[np.bool_]
    member: Coded
    amount_minor: NDArray[np.int64]
    """(n,) 0 where its type has none."""
    texts: Mapping[str, Coded]
    """By field."""
    probability: NDArray[np.float64]
    """(n,) of graph events; NaN for none."""
    left_out: Mapping[str, int]
    """How many events are not counted, by reason."""
    newest_us: int
    """The time of the newest event of all, whatever is measured of it; 0 for none."""

    @property
    def count(self) -> int:
        """How many."""
        return len(self.time_us)

    def take(self, rows: WhichRows) -> "Facts":
        """Return some of them, in their order."""
        rows = places_of(rows)
        return replace(
            self,
            time_us=self.time_us[rows],
            learnt_us=self.learnt_us[rows],
            type=self.type.take(rows),
            event_id=self.event_id.take(rows),
            source=self.source.take(rows),
            told=self.told.take(rows),
            is_identifier=_taken(self.is_identifier, rows),
            member=self.member.take(rows),
            amount_minor=self.amount_minor[rows],
            texts={name: one.take(rows) for name, one in self.texts.items()},
            probability=_taken(self.probability, rows),
        )

    def is_of(self, types: Iterable[str], rows: slice = slice(None)) -> NDArray[np.bool_]:
        """(n,) whether each, or each of some of them, is of one of these types."""
        # The last place stands for NONE, which is of no type.
        is_wanted = np.zeros(len(self.type.names) + 1, np.bool_)
        is_wanted[[self.type.code(name) for name in types if name in self.type.names]] = True
        return np.asarray(is_wanted[self.type.codes[rows]])

    def between(self, start_us: int, end_us: int) -> slice:
        """Return the rows of what happened in [start, end): they are in the order of their times."""
        begin, end = np.searchsorted(self.time_us, (start_us, end_us))
        return slice(int(begin), int(end))

    def as_of(self, *, time_us: int, known_us: int | None) -> "Facts":
        """Return what had happened before a time, as far as it was known at another (None: by now)."""
        is_in = self.time_us < time_us
        if known_us is not None:
            is_in &= self.learnt_us <= known_us
        return self if is_in.all() else self.take(is_in)


def _taken(values: NDArray[T], rows: NDArray[np.intp]) -> NDArray[T]:
    """Return some of the values; of one value for all rows, none is copied."""
    if values.strides == (0,) and len(values):
        return np.broadcast_to(values[0], len(rows))
    return values[rows]
