"""What each kind of feature reads, at its boundaries and under disorder.

Laws: windows are half-open, `(as of − span, as of]`; a gap of exactly the gap ends a session; where only the newest
counts, an older event changes nothing; elsewhere it counts with its own time, and the order of arrival does not matter;
without a member, a member's feature reads as of one never seen.
"""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from household.apply import apply_signals
from household.columns.program import Op
from household.plan import (
    EventField,
    EventTimeRules,
    EventType,
    Feature,
    FeatureKind,
    Field,
    FieldKind,
    Plan,
    Program,
    Scope,
    Window,
)
from household.state import PartitionState
from tests.household.oracle import Event, batch_of
from tests.household.worlds import START_US, S

GENRES = ("film", "music", "games")
UNKNOWN = math.nan

ON, OFF = 0, 1
Happening = tuple[float, float] | float
"""Seconds after the start, and perhaps the value of the field."""


def plan_of(feature: Feature, *, window: Window | None = None) -> Plan:
    uses = (EventField(field=0, least=-99, most=99),)
    return Plan(
        name="one feature",
        fields=(Field(name="value", kind=FieldKind.NUMBER),),
        event_types=(EventType(name="on", source="app", fields=uses), EventType(name="off", source="app", fields=uses)),
        programs=(Program(text="value > 1", ops=(Op.FIELD, Op.CONST, Op.GREATER), args=(0.0, 1.0, 0.0)),),
        windows=() if window is None else (window,),
        features=(feature,),
        clock=EventTimeRules(lateness_us=10**12, future_us=10**12),
    )


def feature(kind: FeatureKind, **more) -> Feature:
    return Feature(**{"name": "f", "kind": kind, "scope": Scope.HOUSEHOLD, "result": "double", "events": (ON,)} | more)


def told(plan: Plan, *happenings: Happening, kind: int = ON, member: bytes = b"") -> PartitionState:
    """Return a state that was told of events at these seconds."""
    state = PartitionState(plan=plan, stream_clock=True)
    tell(state, *happenings, kind=kind, member=member)
    return state


def tell(state: PartitionState, *happenings: Happening, kind: int = ON, member: bytes = b"") -> None:
    events = list[Event]()
    for happening in happenings:
        at, *value = happening if isinstance(happening, tuple) else (happening,)
        events.append(
            Event(
                id=b"%d" % (state.counters.received + len(events)),
                kind=kind,
                member=member,
                time_us=START_US + round(at * S),
                values=tuple((0, one) for one in value),
            )
        )
    assert not apply_signals(state, batch_of(state.plan, events), stamp_us=START_US).statuses.any()


def read(state: PartitionState, second: float, member: int = -1) -> float:
    return float(state.readings(0, member, START_US + round(second * S))[0])


def same(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


MICRO = 1e-6


def test_a_count_counts_all_whenever_they_were():
    assert read(told(plan_of(feature(FeatureKind.COUNT)), 5, 1, 9), 3) == 3.0


def test_a_filter_lets_through_only_what_is_certainly_true():
    counted = plan_of(feature(FeatureKind.COUNT, where=0))

    assert read(told(counted, (1, 2.0), (2, 1.0), 3), 9) == 1.0


# --- newest times ----------------------------------------------------------------------------------------------------

NEWEST = plan_of(feature(FeatureKind.NEWEST_TIMES, keep=3, span_us=10 * S))


def test_newest_times_are_counted_in_a_half_open_span():
    state = told(NEWEST, 0, 4)

    assert [read(state, second) for second in (-MICRO, 0, 4 - MICRO, 4, 10 - MICRO, 10, 14 - MICRO, 14)] == [
        *(0.0, 1.0, 1.0, 2.0),
        *(2.0, 1.0, 1.0, 0.0),
    ]


@pytest.mark.parametrize("order", list(permutations([1, 2, 3, 4])))
def test_of_newest_times_the_newest_are_kept_whatever_their_order(order):
    state = told(NEWEST, *order)

    assert read(state, 4) == 3.0, "no more than it keeps"
    assert read(state, 12 - MICRO) == 3.0, "the oldest of the three is at 2"
    assert read(state, 12) == 2.0
    assert read(state, 14 - MICRO) == 1.0


# --- last seen, profile, product held --------------------------------------------------------------------------------


def test_last_seen_is_infinitely_long_ago_until_something_is_seen():
    state = told(plan_of(feature(FeatureKind.LAST_SEEN, unit_us=2 * S)), 1, kind=OFF)
    assert read(state, 5) == math.inf

    tell(state, 4)
    assert read(state, 10) == 3.0
    tell(state, 2)
    assert read(state, 10) == 3.0, "older than the newest"
    assert read(state, 3) == 0.0, "never negative"


def test_a_profile_is_the_value_of_the_newest_event_that_carries_one():
    state = told(plan_of(feature(FeatureKind.PROFILE, field=0, initial=7.0)), 0, kind=OFF)
    assert read(state, 1) == 7.0

    for at, value, expected in [(2, 3.0, 3.0), (1, 4.0, 3.0), (2, 5.0, 5.0), (3, UNKNOWN, 5.0)]:
        tell(state, (at, value))
        assert read(state, 9) == expected


def test_a_profile_without_an_initial_value_is_unknown_at_first():
    assert math.isnan(read(told(plan_of(feature(FeatureKind.PROFILE, field=0)), 0), 1))


def test_a_product_is_held_after_the_newest_says_so():
    state = told(plan_of(feature(FeatureKind.PRODUCT_HELD, off_events=(OFF,))), 5)
    assert read(state, 9) == 1.0
    for at, kind, held in [(4, OFF, 1.0), (5, OFF, 0.0), (5, ON, 1.0), (6, OFF, 0.0), (5, ON, 0.0)]:
        tell(state, at, kind=kind)
        assert read(state, 9) == held


# --- distinct, most used ---------------------------------------------------------------------------------------------


def test_distinct_values_are_counted_up_to_as_many_as_are_kept():
    state = told(plan_of(feature(FeatureKind.DISTINCT, field=0, keep=2)), (1, 5.0), 2, (3, 5.0))
    assert read(state, 9) == 1.0
    tell(state, (4, 6.0), (5, 7.0), (6, 6.0))
    assert read(state, 9) == 2.0


MOST_USED = plan_of(feature(FeatureKind.MOST_USED, field=0, values=GENRES, half_life_us=10 * S))


@pytest.mark.parametrize(
    ("uses", "most"),
    [
        ((), UNKNOWN),
        ((3.0,), UNKNOWN),
        (((1, 2.0),), 2.0),
        (((1, 2.0), (1, 1.0)), 1.0),
        (((1, 0.0), (1, 0.0), (12, 1.0)), 1.0),
        (((12, 1.0), (1, 0.0), (1, 0.0)), 1.0),
        (((1, 0.0), (1, 0.0), (10, 1.0)), 0.0),
        (((10, 1.0), (1, 0.0), (1, 0.0)), 0.0),
    ],
)
def test_the_most_used_has_the_largest_decayed_count_and_of_equals_the_first(uses, most):
    """Two uses outweigh a newer one until they are a half-life older."""
    state = told(MOST_USED, 0, kind=OFF)
    tell(state, *uses)

    assert same(read(state, 20), most)


# --- decayed counts --------------------------------------------------------------------------------------------------

DECAYED = plan_of(feature(FeatureKind.DECAYED_COUNT, half_life_us=10 * S))


def test_a_decayed_count_halves_with_every_half_life():
    state = told(DECAYED, 0)

    assert [read(state, second) for second in (0, 10, 20)] == [1.0, 0.5, 0.25]
    assert read(state, -5) == 1.0, "as of before its newest event it reads as at that"
    assert read(told(DECAYED, 0, kind=OFF), 1) == 0.0


@settings(max_examples=50)
@given(seconds=st.lists(st.integers(0, 60), min_size=1, max_size=12))
def test_a_decayed_count_is_the_sum_over_its_events_in_whatever_order(seconds):
    expected = sum(2.0 ** -((70 - second) / 10) for second in seconds)

    assert read(told(DECAYED, *seconds), 70) == pytest.approx(expected, rel=1e-13)


# --- sessions --------------------------------------------------------------------------------------------------------

SESSION = plan_of(feature(FeatureKind.SESSION_LENGTH, gap_us=10 * S, unit_us=S))


@pytest.mark.parametrize(
    ("seconds", "length"),
    [
        ((), 0.0),
        ((0,), 0.0),
        ((0, 4), 4.0),
        ((0, 10 - MICRO), 10 - MICRO),
        ((0, 10), 0.0),
        ((0, 4, 30, 33), 3.0),
        # What comes late may lengthen the newest session at its start, nothing else.
        ((30, 33, 31), 3.0),
        ((30, 33, 28), 5.0),
        ((30, 33, 20 + MICRO), 13 - MICRO),
        ((30, 33, 20), 3.0),
        ((30, 33, 12, 21), 12.0),
    ],
)
def test_a_gap_of_the_gap_ends_a_session(seconds, length):
    state = told(SESSION, -50, kind=OFF)
    tell(state, *seconds)

    assert read(state, 40) == pytest.approx(length, abs=1e-9)


# --- windows ---------------------------------------------------------------------------------------------------------

BUCKETS = Window(scope=Scope.HOUSEHOLD, events=(ON,), bucket_us=10 * S, bucket_count=6, field=0)


def windowed(kind: FeatureKind, buckets: int) -> Plan:
    return plan_of(feature(kind, events=(), window=0, span_us=buckets * 10 * S), window=BUCKETS)


def test_a_window_counts_whole_buckets_with_the_one_as_of_now():
    """The start lies on a bucket's border: 1,750,000,000 s is a multiple of 10."""
    state = told(windowed(FeatureKind.WINDOW_COUNT, 2), 0, 10 - MICRO, 10, 25)

    assert [read(state, second) for second in (5, 10, 19, 20, 30, 40)] == [2.0, 3.0, 3.0, 2.0, 1.0, 0.0]


def test_a_window_sums_what_is_known():
    state = told(windowed(FeatureKind.WINDOW_SUM, 6), (1, 3.0), (2, UNKNOWN), (11, 4.0), (12, -1.0))

    assert read(state, 19) == 6.0


@pytest.mark.parametrize(
    ("seconds", "trend"),
    [
        ((), 0.0),
        ((25,), 1.0),
        ((25, 26), 2.0),
        ((5,), -1.0),
        ((5, 15, 25), -0.5),
        ((5, 6, 15, 16, 25, 26), -0.5),
        ((5, 6, 25, 26, 35), 0.5),
    ],
)
def test_a_trend_is_the_newer_half_against_the_older(seconds, trend):
    state = told(windowed(FeatureKind.TREND, 2), -50, kind=OFF)
    tell(state, *seconds)

    assert read(state, 39) == trend


def test_a_span_that_a_window_cannot_hold_is_a_defect():
    with pytest.raises(AssertionError):
        PartitionState(plan=windowed(FeatureKind.WINDOW_COUNT, 7), stream_clock=True)
    with pytest.raises(AssertionError):
        PartitionState(plan=windowed(FeatureKind.TREND, 4), stream_clock=True)


# --- members ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "more", "unseen"),
    [
        (FeatureKind.COUNT, {}, 0.0),
        (FeatureKind.DECAYED_COUNT, {"half_life_us": S}, 0.0),
        (FeatureKind.NEWEST_TIMES, {"keep": 2, "span_us": 9 * S}, 0.0),
        (FeatureKind.LAST_SEEN, {}, math.inf),
        (FeatureKind.DISTINCT, {"field": 0, "keep": 2}, 0.0),
        (FeatureKind.SESSION_LENGTH, {"gap_us": 9 * S}, 0.0),
        (FeatureKind.PROFILE, {"field": 0}, UNKNOWN),
        (FeatureKind.PROFILE, {"field": 0, "initial": 4.0}, 4.0),
        (FeatureKind.PRODUCT_HELD, {"off_events": (OFF,)}, 0.0),
        (FeatureKind.MOST_USED, {"field": 0, "values": GENRES, "half_life_us": S}, UNKNOWN),
    ],
)
def test_without_a_member_a_members_feature_reads_as_of_one_never_seen(kind, more, unseen):
    state = told(plan_of(feature(kind, scope=Scope.MEMBER, **more)), (1, 1.0), (2, 2.0), member=b"anna")
    assert not same(read(state, 2, member=0), unseen)

    assert same(read(state, 2), unseen)
    tell(state, (3, 1.0))
    assert same(read(state, 3), unseen), "an event of the household as a whole touches no member"
    tell(state, 4, kind=ON if kind in (FeatureKind.PROFILE, FeatureKind.DISTINCT) else OFF, member=b"bert")
    if kind is not FeatureKind.PRODUCT_HELD:
        assert same(read(state, 4, member=1), unseen), "another member, of whom nothing of it was seen"


def test_all_readings_are_of_one_instant_and_change_nothing():
    state = told(DECAYED, 0, 3)
    before = state.cells.flat[: state.cells_used].copy()
    first = [read(state, 9), read(state, 5), read(state, 9)]

    assert first[0] == first[2]
    np.testing.assert_array_equal(state.cells.flat[: state.cells_used], before)
