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


class DedupeArrays(NamedTuple):
    """Open addressing, linear probing; (power of two,) each."""

    low: NDArray[np.uint64]
    high: NDArray[np.uint64]
    times: NDArray[np.int64]


@inlined
def dedupe_slot(window: DedupeArrays, low: int, high: int) -> int:
    """Return the slot that holds this fingerprint, or the free one where it belongs."""
    mask = window.times.shape[0] - 1
    at = np.int64(low & np.uint64(mask))
    while window.times[at] != FREE and (window.low[at] != low or window.high[at] != high):
        at = (at + 1) & mask
    return at


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
        low=np.zeros(length, np.uint64), high=np.zeros(length, np.uint64), times=np.full(length, FREE, np.int64)
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
