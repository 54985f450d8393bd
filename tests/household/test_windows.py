"""Tumbling-bucket windows in a slab.

Laws: a window equals a dict of buckets, whatever the order of events; it never holds more buckets than it keeps;
windows that share a slab do not touch each other; runs that are given back are used again; a slab that grows keeps all.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from household.columns.windows import CLASSES, MOST_BUCKETS, Slab, grown_slab, new_slab, window_add, window_read

adds = st.lists(st.tuples(st.integers(0, 40), st.integers(-5, 5)), max_size=60)


class DictWindow:
    """The same as a dict: bucket → (number, total)."""

    def __init__(self, bucket_count: int) -> None:
        self.bucket_count = bucket_count
        self.buckets: dict[int, tuple[int, int]] = {}

    def add(self, bucket: int, amount: int) -> None:
        number, total = self.buckets.get(bucket, (0, 0))
        self.buckets[bucket] = number + 1, total + amount
        newest = max(self.buckets)
        self.buckets = {one: sums for one, sums in self.buckets.items() if one > newest - self.bucket_count}

    def read(self, after: int, until: int) -> tuple[int, int]:
        chosen = [sums for bucket, sums in self.buckets.items() if after < bucket <= until]
        return sum(number for number, _ in chosen), sum(total for _, total in chosen)


def length(handle: float) -> int:
    return int(handle) & 2_047


@given(windows=st.lists(st.tuples(st.integers(1, 20), adds), min_size=1, max_size=4), seed=st.integers(0, 2**32 - 1))
def test_windows_in_one_slab_equal_dicts_whatever_the_order(windows, seed):
    slab, handles = new_slab(4_096), [0.0] * len(windows)
    wanted = [DictWindow(bucket_count) for bucket_count, _ in windows]
    todo = [(which, bucket, amount) for which, (_, every) in enumerate(windows) for bucket, amount in every]
    for at in np.random.default_rng(seed).permutation(len(todo)):
        which, bucket, amount = todo[at]
        bucket_count = windows[which][0]
        handles[which] = window_add(slab, handles[which], bucket, bucket_count, float(amount))
        wanted[which].add(bucket, amount)
        assert length(handles[which]) <= bucket_count

    for handle, dict_window in zip(handles, wanted, strict=True):
        for after, until in [(-1, 40), (5, 6), (10, 30), (39, 40), (20, 20)]:
            assert window_read(slab, handle, after, until) == dict_window.read(after, until)


def test_an_empty_window_reads_nothing():
    assert window_read(new_slab(8), 0.0, -5, 5) == (0.0, 0.0)


def test_a_read_leaves_out_its_first_bound_and_takes_in_its_last():
    slab = new_slab(64)
    handle = 0.0
    for bucket in (3, 4, 5):
        handle = window_add(slab, handle, bucket, 10, 1.0)

    assert window_read(slab, handle, 3, 5) == (2.0, 2.0)
    assert window_read(slab, handle, 2, 4) == (2.0, 2.0)


def test_an_event_older_than_all_buckets_kept_changes_nothing():
    slab = new_slab(64)
    handle = window_add(slab, 0.0, 100, 10, 1.0)

    assert window_add(slab, handle, 90, 10, 1.0) == handle
    assert window_read(slab, handle, 0, 100) == (1.0, 1.0)
    assert window_read(slab, window_add(slab, handle, 91, 10, 1.0), 0, 100) == (2.0, 2.0)


def test_the_longest_window_fits_its_largest_class_whatever_comes_first():
    slab, handle = new_slab(16_384), 0.0
    for bucket in reversed(range(2 * MOST_BUCKETS)):
        handle = window_add(slab, handle, bucket, MOST_BUCKETS, 1.0)
    assert window_read(slab, handle, -1, 2 * MOST_BUCKETS) == (MOST_BUCKETS, MOST_BUCKETS)

    for bucket in range(2 * MOST_BUCKETS, 4 * MOST_BUCKETS):
        handle = window_add(slab, handle, bucket, MOST_BUCKETS, 1.0)
    assert window_read(slab, handle, -1, 4 * MOST_BUCKETS) == (MOST_BUCKETS, MOST_BUCKETS)
    assert 1 << (CLASSES - 1) > MOST_BUCKETS, "one more fits before the oldest goes"


def test_runs_given_back_are_used_again():
    slab = new_slab(4_096)

    def fill() -> float:
        handle = 0.0
        for bucket in range(16):
            handle = window_add(slab, handle, bucket, 16, 1.0)
        return handle

    first = fill()
    used = int(slab.free[CLASSES])
    second = fill()

    # The first window left behind runs of 1, 2, 4 and 8; the second goes through them and needs only its last of 16.
    assert int(slab.free[CLASSES]) == used + 16
    assert int(first) >> 16 != int(second) >> 16


def test_a_window_never_takes_more_than_its_plan_reserves_for_one_event():
    """The fold makes sure of 4 × bucket_count entries before each event (columns.py)."""
    for bucket_count in (1, 2, 3, 4, 5, 17, 64, 65, MOST_BUCKETS):
        slab, handle = new_slab(16_384), 0.0
        for bucket in range(2 * bucket_count):
            before = int(slab.free[CLASSES])
            handle = window_add(slab, handle, bucket, bucket_count, 1.0)
            assert int(slab.free[CLASSES]) - before <= 4 * bucket_count


@pytest.mark.parametrize("entries", [64, 1_024])
def test_a_slab_that_grows_keeps_all(entries):
    slab = new_slab(entries)
    handles = []
    for window in range(7):
        handle = 0.0
        for bucket in range(window + 1):
            handle = window_add(slab, handle, bucket, 30, float(window))
        handles.append(handle)

    grown = grown_slab(slab)

    assert isinstance(grown, Slab)
    assert grown.bucket.size == grown.number.size == grown.total.size == 2 * entries
    for window, handle in enumerate(handles):
        assert window_read(grown, handle, -1, 99) == (window + 1.0, window * (window + 1.0))
