"""Known ids of events that go along with their households: what came twice is known wherever that lies.

They are copied, not taken: what is known of a household that lies elsewhere is never asked for, and is forgotten in
its time. Entries tell whose they are by half a word; one of another household that looks alike is copied in vain.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from household.columns.dedupe import FREE
from household.columns.fingerprint import fingerprint
from household.state import PartitionState

WHOSE = np.uint64(0xFFFFFFFF00000000)
"""Bits of an entry's second word that are its household's."""


class KnownIds(NamedTuple):
    """(n,) each."""

    low: NDArray[np.uint64]
    high: NDArray[np.uint64]
    times: NDArray[np.int64]


def known_ids(state: PartitionState, names: Iterable[str]) -> KnownIds:
    """Return the known ids of events that named any of these, in order."""
    arrays = state.dedupe.arrays
    wanted = np.array([_code(name.encode(errors="surrogateescape")) for name in names], np.uint64) & WHOSE
    found = np.flatnonzero((arrays.times != FREE) & np.isin(arrays.high & WHOSE, wanted))
    low, high, times = arrays.low[found], arrays.high[found], arrays.times[found]
    order = np.lexsort((times, high, low))
    return KnownIds(low[order], high[order], times[order])


def learn_ids(state: PartitionState, ids: KnownIds) -> None:
    """Know these ids, too."""
    state.dedupe.learn(*ids, oldest_us=int(state.now_us) - state.plan.clock.lateness_us)


def _code(key: bytes) -> int:
    letters = np.frombuffer(key + b"\0", np.uint8).copy()
    low, _ = fingerprint(letters, 0, len(key), np.uint64(0))
    return int(low)
