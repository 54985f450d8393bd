"""The window of known event ids.

Laws: what is put in is found; make_room forgets exactly what is older than it is told; it leaves at least three
quarters free, and shrinks again; ids that meet in a slot are told apart by all 128 bits.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from household.columns.dedupe import FREE, DedupeWindow, dedupe_slot

fingerprints = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))


def put(window: DedupeWindow, low: int, high: int, time_us: int) -> None:
    slot = dedupe_slot(window.arrays, np.uint64(low), np.uint64(high))
    window.arrays.low[slot], window.arrays.high[slot], window.arrays.times[slot] = low, high, time_us
    window.count += 1


def known(window: DedupeWindow, low: int, high: int) -> bool:
    return bool(window.arrays.times[dedupe_slot(window.arrays, np.uint64(low), np.uint64(high))] != FREE)


@given(
    ids=st.dictionaries(fingerprints, st.integers(0, 100), max_size=60),
    strangers=st.lists(fingerprints, max_size=10),
    oldest=st.integers(0, 101),
)
def test_make_room_forgets_what_is_older_and_nothing_else(ids, strangers, oldest):
    window = DedupeWindow()
    for (low, high), time_us in ids.items():
        put(window, low, high, time_us)
    assert all(known(window, *one) for one in ids)

    window.make_room(oldest)

    assert [known(window, *one) for one in ids] == [time_us >= oldest for time_us in ids.values()]
    assert window.count == sum(time_us >= oldest for time_us in ids.values())
    assert not any(known(window, *one) for one in strangers if one not in ids)


@pytest.mark.parametrize(("live", "length"), [(0, 1_024), (255, 1_024), (256, 2_048), (500, 2_048), (1_023, 4_096)])
def test_a_window_with_room_is_at_most_a_quarter_full(live, length):
    window = DedupeWindow()
    window.make_room(0)
    for number in range(live):
        put(window, number, 0, 5)
        if number == 500:
            window.make_room(0)
    window.make_room(5)

    assert window.arrays.times.size == length
    assert window.count == live
    assert all(known(window, number, 0) for number in range(live))


def test_a_window_shrinks_again():
    window = DedupeWindow()
    for number in range(400):
        put(window, number * 7, number, 5)
    window.make_room(0)
    assert window.arrays.times.size == 2_048

    window.make_room(6)

    assert window.arrays.times.size == 1_024
    assert window.count == 0


def test_ids_that_meet_in_one_slot_are_told_apart_by_all_their_bits():
    window = DedupeWindow()
    for low, high in [(3, 1), (3, 2), (3 + 1_024, 1), (2**63 + 3, 1)]:
        assert not known(window, low, high)
        put(window, low, high, 5)

    assert all(known(window, *one) for one in [(3, 1), (3, 2), (3 + 1_024, 1), (2**63 + 3, 1)])
    assert not known(window, 3, 3)
    assert not known(window, 3 + 2_048, 1)


def test_probing_goes_round_the_end():
    window = DedupeWindow()
    for number in range(5):
        put(window, 1_023 + 1_024 * number, number, 5)

    assert window.arrays.times[:4].tolist() == [5] * 4
    assert all(known(window, 1_023 + 1_024 * number, number) for number in range(5))
