"""The window of known event ids: an id is known from when its event is applied until the event would be late anyway.

So a repeat is either known (duplicate) or late, whatever the gap. Ids are kept as 128-bit fingerprints: at a billion
events a day and a window of a week, two different ids meet with a probability below 1e-18.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from household.kernel import inlined, kernel

FREE = np.iinfo(np.int64).min
"""Event time that marks a free slot."""


_PART_IDS = 16_384


class DedupeArrays(NamedTuple):
    """Open addressing, linear probing; (power of two,) each."""

    low: NDArray[np.uint64]
    high: NDArray[np.uint64]
    times: NDArray[np.int64]
    fresh: NDArray[np.uint8]
    """While a freeze is under way: 1 where the id was not known yet when it began. Otherwise empty."""


@inlined
def dedupe_slot(window: DedupeArrays, low: int, high: int) -> int:
    """Return the slot that holds this fingerprint, or the free one where it belongs."""
    mask = window.times.shape[0] - 1
    at = np.int64(low & np.uint64(mask))
    while window.times[at] != FREE and (window.low[at] != low or window.high[at] != high):
        at = (at + 1) & mask
    return at


@kernel
def _place(
    window: DedupeArrays, low: NDArray[np.uint64], high: NDArray[np.uint64], times: NDArray[np.int64], count: int
) -> None:
    for i in range(count):
        at = dedupe_slot(window, low[i], high[i])
        window.low[at], window.high[at], window.times[at] = low[i], high[i], times[i]


@kernel
def _sweep(
    window: DedupeArrays,
    first: int,
    stop: int,
    low: NDArray[np.uint64],
    high: NDArray[np.uint64],
    times: NDArray[np.int64],
    count: int,
) -> int:
    for i in range(first, stop):
        if window.times[i] != FREE and window.fresh[i] == 0:
            if count < low.shape[0]:
                low[count], high[count], times[count] = window.low[i], window.high[i], window.times[i]
            count += 1
    return count


@kernel
def _move(old: DedupeArrays, new: DedupeArrays, oldest: int) -> int:
    kept = 0
    for i in range(old.times.shape[0]):
        if old.times[i] != FREE and old.times[i] >= oldest:
            at = dedupe_slot(new, old.low[i], old.high[i])
            new.low[at], new.high[at], new.times[at] = old.low[i], old.high[i], old.times[i]
            kept += 1
    return kept


def _free_arrays(length: int) -> DedupeArrays:
    return DedupeArrays(
        low=np.zeros(length, np.uint64),
        high=np.zeros(length, np.uint64),
        times=np.full(length, FREE, np.int64),
        fresh=np.empty(0, np.uint8),
    )


@dataclass(slots=True)
class DedupeWindow:
    """Known event ids of one partition."""

    arrays: DedupeArrays = field(default_factory=lambda: _free_arrays(1_024))
    count: int = 0

    def make_room(self, oldest_us: int) -> None:
        """Forget ids whose events are older than `oldest_us`, and grow if more than a quarter full even so."""
        live = int(np.count_nonzero(self.arrays.times >= oldest_us))
        length = 1_024
        while length < 4 * (live + 1):
            length *= 2
        fresh = _free_arrays(length)
        self.count = _move(self.arrays, fresh, oldest_us)
        self.arrays = fresh

    def learn(
        self, low: NDArray[np.uint64], high: NDArray[np.uint64], times: NDArray[np.int64], *, oldest_us: int
    ) -> None:
        """Know ids (n,), too, that come with their events' times; what is older than `oldest_us` may be forgotten."""
        for i in range(times.shape[0]):
            if 2 * (self.count + 1) > self.arrays.times.shape[0]:
                self.make_room(oldest_us)
            arrays = self.arrays
            at = dedupe_slot(arrays, low[i], high[i])
            if arrays.times[at] == FREE:
                arrays.low[at], arrays.high[at], arrays.times[at] = low[i], high[i], times[i]
                if arrays.fresh.shape[0]:
                    arrays.fresh[at] = 1
                self.count += 1

    def newest_us(self) -> int:
        """Return the latest event time of a known id; FREE for none."""
        return int(self.arrays.times.max())

    def mark_fresh(self) -> DedupeArrays:
        """Mark from now on what is inserted; return the arrays with all that is known by now.

        Entries never change and nothing is removed from them: a table that needs room is replaced as a whole.
        """
        self.arrays = self.arrays._replace(fresh=np.zeros(self.arrays.times.shape[0], np.uint8))
        return self.arrays

    def end_marking(self) -> None:
        """Mark no more."""
        self.arrays = self.arrays._replace(fresh=np.empty(0, np.uint8))


@dataclass(slots=True, eq=False)
class IdSweep:
    """Collects, slice by slice, the ids that a window knew when its marking began."""

    arrays: DedupeArrays
    """As `mark_fresh` returned them."""
    count: int
    """How many ids it knew."""
    low: NDArray[np.uint64] = field(init=False)
    high: NDArray[np.uint64] = field(init=False)
    times: NDArray[np.int64] = field(init=False)
    swept: int = 0
    found: int = 0

    def __post_init__(self) -> None:
        self.low, self.high = np.empty(self.count, np.uint64), np.empty(self.count, np.uint64)
        self.times = np.empty(self.count, np.int64)

    @property
    def is_done(self) -> bool:
        """Whether all of the table was looked at."""
        return self.swept == self.arrays.times.shape[0]

    def step(self, slot_count: int) -> None:
        """Look at the next slots."""
        stop = min(self.swept + slot_count, self.arrays.times.shape[0])
        self.found = _sweep(self.arrays, self.swept, stop, self.low, self.high, self.times, self.found)
        self.swept = stop
        assert not self.is_done or self.found == self.count, f"{self.found} ids found, {self.count} were known"


def window_of(
    low: NDArray[np.uint64], high: NDArray[np.uint64], times: NDArray[np.int64], *, length: int
) -> DedupeWindow:
    """Return a window that knows these ids, in a table of `length` slots: it decides when room is made."""
    assert 2 * times.shape[0] <= length
    assert length & (length - 1) == 0, f"{length} slots are no power of two"
    arrays = _free_arrays(length)
    # What was read may be read-only, which is another type to a kernel; and a small copy stays in the cache.
    part = DedupeArrays(*(np.empty(_PART_IDS, array.dtype) for array in arrays))
    for first in range(0, times.shape[0], _PART_IDS):
        count = min(_PART_IDS, times.shape[0] - first)
        for copy, array in zip(part[:3], (low, high, times), strict=True):
            copy[:count] = array[first : first + count]
        _place(arrays, part.low, part.high, part.times, count)
    return DedupeWindow(arrays=arrays, count=times.shape[0])
