"""Tumbling-bucket windows, stored sparsely: a household pays for the buckets in which something happened.

All windows of a partition share one slab. A window is one float64 cell holding a handle (0 for an empty window):
offset · 2^16 + capacity class · 2^11 + length, an exact integer. Its entries lie sorted by bucket.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from household.kernel import kernel

CLASSES = 12
"""Capacities are 2^0 … 2^11 buckets."""

MOST_BUCKETS = 1_024
"""Longest window; with insertion before the oldest is dropped, one more must fit in the largest class."""


class Slab(NamedTuple):
    """Entries of all windows of a partition; entry 0 is never used."""

    bucket: NDArray[np.int32]
    number: NDArray[np.int32]
    total: NDArray[np.float64]
    free: NDArray[np.int64]
    """(CLASSES + 1,) first free run per class, 0 for none; the last element is how much of the slab is in use."""


def new_slab(entries: int) -> Slab:
    """Return an empty slab."""
    free = np.zeros(CLASSES + 1, np.int64)
    free[CLASSES] = 1
    return Slab(np.zeros(entries, np.int32), np.zeros(entries, np.int32), np.zeros(entries, np.float64), free)


def grown_slab(slab: Slab) -> Slab:
    """Return the same slab with twice the room."""
    length = 2 * slab.bucket.shape[0]
    return Slab(
        np.resize(slab.bucket, length), np.resize(slab.number, length), np.resize(slab.total, length), slab.free
    )


@kernel
def _take(slab: Slab, cls: int) -> int:
    at = slab.free[cls]
    if at != 0:
        slab.free[cls] = slab.bucket[at]
        return at
    at = slab.free[CLASSES]
    slab.free[CLASSES] = at + (1 << cls)
    return at


@kernel
def _give(slab: Slab, at: int, cls: int) -> None:
    slab.bucket[at] = slab.free[cls]
    slab.free[cls] = at


@kernel
def _widen(slab: Slab, at: int, cls: int, length: int) -> int:
    wider = _take(slab, cls + 1)
    for j in range(length):
        slab.bucket[wider + j] = slab.bucket[at + j]
        slab.number[wider + j] = slab.number[at + j]
        slab.total[wider + j] = slab.total[at + j]
    _give(slab, at, cls)
    return wider


@kernel
def _shift(slab: Slab, source: int, target: int, count: int) -> None:
    """Move `count` entries; the runs may overlap."""
    if target < source:
        for j in range(count):
            slab.bucket[target + j] = slab.bucket[source + j]
            slab.number[target + j] = slab.number[source + j]
            slab.total[target + j] = slab.total[source + j]
    else:
        for j in range(count - 1, -1, -1):
            slab.bucket[target + j] = slab.bucket[source + j]
            slab.number[target + j] = slab.number[source + j]
            slab.total[target + j] = slab.total[source + j]


@kernel
def window_add(slab: Slab, handle: float, bucket: int, bucket_count: int, amount: float) -> float:
    """Count one event (and its amount) in a bucket; return the window's new handle.

    Buckets older than `bucket_count` before the newest are dropped; an event for one of those changes nothing.
    """
    packed = np.int64(handle)
    if packed == 0:
        at, cls, length = _take(slab, 0), 0, 0
    else:
        at, cls, length = packed >> 16, (packed >> 11) & 31, packed & 2047
    place = length
    while place > 0 and slab.bucket[at + place - 1] > bucket:
        place -= 1
    if place > 0 and slab.bucket[at + place - 1] == bucket:
        slab.number[at + place - 1] += 1
        slab.total[at + place - 1] += amount
        return handle
    if place < length and bucket <= slab.bucket[at + length - 1] - bucket_count:
        return handle
    if place == length:
        dead = 0
        while dead < length and slab.bucket[at + dead] <= bucket - bucket_count:
            dead += 1
        if dead > 0:
            _shift(slab, at + dead, at, length - dead)
            length -= dead
            place = length
    if length == 1 << cls:
        at = _widen(slab, at, cls, length)
        cls += 1
    _shift(slab, at + place, at + place + 1, length - place)
    slab.bucket[at + place] = bucket
    slab.number[at + place] = 1
    slab.total[at + place] = amount
    return float((at << 16) | (cls << 11) | (length + 1))


@kernel
def window_read(slab: Slab, handle: float, after: int, until: int) -> tuple[float, float]:
    """Return (count, sum) over the buckets in (after, until]."""
    packed = np.int64(handle)
    at, length = packed >> 16, packed & 2047
    number, total = 0, 0.0
    j = at + length - 1
    while j >= at and slab.bucket[j] > until:
        j -= 1
    while j >= at and slab.bucket[j] > after:
        number += slab.number[j]
        total += slab.total[j]
        j -= 1
    return float(number), total


@kernel
def window_reached(slab: Slab, handle: float, after: int, until: int, least: float) -> float:
    """Return in how many of the buckets in (after, until] the sum is at least so much."""
    packed = np.int64(handle)
    at, length = packed >> 16, packed & 2047
    count = 0.0
    for j in range(at, at + length):
        if after < slab.bucket[j] <= until and slab.total[j] >= least:
            count += 1.0
    return count


@kernel
def window_combined(slab: Slab, ours: float, theirs: float, bucket_count: int) -> float:
    """Return the handle of a window with the events of two, which shares nothing with theirs; ours is freed.

    As one window that had all events: buckets older than `bucket_count` before the newest are dropped. `theirs` is not
    empty, and the slab has room for four times as many entries as a window has buckets.
    """
    a, b = np.int64(ours), np.int64(theirs)
    at, length = (a >> 16, a & 2047) if a != 0 else (np.int64(0), np.int64(0))
    other, more = b >> 16, b & 2047
    cls = 0
    while 1 << cls < length + more and cls < CLASSES - 1:
        cls += 1
    target, count, i, j = _take(slab, cls), 0, 0, 0
    newest = slab.bucket[other + more - 1]
    if length > 0:
        newest = max(newest, slab.bucket[at + length - 1])
    while i < length or j < more:
        is_ours = i < length and (j == more or slab.bucket[at + i] <= slab.bucket[other + j])
        is_theirs = j < more and (i == length or slab.bucket[other + j] <= slab.bucket[at + i])
        bucket = slab.bucket[at + i] if is_ours else slab.bucket[other + j]
        number, total = 0, 0.0
        if is_ours:
            number, total, i = number + slab.number[at + i], total + slab.total[at + i], i + 1
        if is_theirs:
            number, total, j = number + slab.number[other + j], total + slab.total[other + j], j + 1
        if bucket > newest - bucket_count:
            slab.bucket[target + count], slab.number[target + count] = bucket, number
            slab.total[target + count] = total
            count += 1
    if a != 0:
        _give(slab, at, (a >> 11) & 31)
    return float((target << 16) | (cls << 11) | count)


@kernel
def window_freed(slab: Slab, handle: float) -> None:
    """Free the entries of a window that no one reads any more."""
    packed = np.int64(handle)
    if packed != 0:
        _give(slab, packed >> 16, (packed >> 11) & 31)


@kernel
def _copy_counts(slab: Slab, handles: NDArray[np.float64], copies: NDArray[np.float64]) -> None:
    for i in range(handles.shape[0]):
        packed = np.int64(handles[i])
        copies[i] = 0.0
        if packed != 0:
            at, cls, length = packed >> 16, (packed >> 11) & 31, packed & 2047
            copy = _take(slab, cls)
            for j in range(length):
                slab.bucket[copy + j] = slab.bucket[at + j]
                slab.number[copy + j] = slab.number[at + j]
                slab.total[copy + j] = 0.0
            copies[i] = float((copy << 16) | (cls << 11) | length)


def copied_counts(slab: Slab, handles: NDArray[np.float64]) -> tuple[Slab, NDArray[np.float64]]:
    """Return the slab, grown if need be, and the handles of new windows with the same counts and sums of nothing."""
    packed = handles.astype(np.int64)
    needed = int((1 << ((packed[packed != 0] >> 11) & 31)).sum())
    while int(slab.free[CLASSES]) + needed > slab.bucket.shape[0]:
        slab = grown_slab(slab)
    copies = np.empty_like(handles)
    _copy_counts(slab, handles, copies)
    return slab, copies


@kernel
def give_back(slab: Slab, handles: NDArray[np.float64]) -> None:
    """Free the entries of windows that no one reads any more."""
    for i in range(handles.shape[0]):
        window_freed(slab, handles[i])
