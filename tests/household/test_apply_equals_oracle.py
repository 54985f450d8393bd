"""apply against its oracle (tests/household/oracle.py).

Laws: for any plan and any events, the columns give the statuses, moments (in order), readings and counters that the
slow oracle gives; they do so however the events are cut into batches; in = applied + duplicate + late + rejected;
and none of it changes when tables, slab or lists of moments have to grow on the way.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from household.apply import Applied, apply_signals
from household.columns.program import Op
from household.events import NO_TIME_US, Status
from household.plan import (
    EventField,
    EventTimeRules,
    EventType,
    Feature,
    FeatureKind,
    Field,
    FieldKind,
    Journey,
    Plan,
    Program,
    Scope,
    Trigger,
    Window,
)
from household.state import PartitionState
from tests.household.oracle import Event, Fired, Oracle, batch_of
from tests.household.worlds import START_US, S, event_lists, plans


def fold(state: PartitionState, events: list[Event], cuts: list[int], *, stamp_us: int) -> Applied:
    """Fold events in parts that end at each cut."""
    batch = batch_of(state.plan, events)
    bounds = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    parts = [apply_signals(state, batch.part(start, stop), stamp_us=stamp_us) for start, stop in pairwise(bounds)]
    return Applied(
        statuses=np.concatenate([part.statuses for part in parts]),
        moments=tuple(moment for part in parts for moment in part.moments),
        effects=tuple(effect for part in parts for effect in part.effects),
    )


def fired(state: PartitionState, applied: Applied) -> list[Fired]:
    """Return moments as the oracle tells them."""
    told = []
    for row, moment in applied.moments:
        household, instance = state.households.key(row), moment.moment_id.split("/")[-2]
        told.append(
            Fired(
                household=household,
                member=state.members.key(moment.member) if moment.member >= 0 else None,
                journey=moment.journey,
                instance=int(instance),
                event_id=moment.event_id,
                time_us=moment.time_us,
            )
        )
        assert moment.moment_id.endswith(f"/{moment.journey}/{instance}/{moment.event_id.hex()}")
    return told


def assert_equal(state: PartitionState, oracle: Oracle, as_of_times_us: list[int]) -> None:
    """Compare all that can be asked of a state."""
    assert state.now_us == oracle.now_us
    assert [state.households.key(row) for row in range(state.households.count)] == oracle.households
    assert state.members.count == len(oracle.members)
    counters = state.counters
    assert {name: count for name, count in counters.by_status.items() if count} == dict(oracle.counts)
    by_status = counters.by_status
    assert counters.received == by_status["APPLIED"] + by_status["DUPLICATE"] + by_status["LATE"] + counters.rejected
    assert counters.moments == len(oracle.moments)
    assert state.dedupe.count == len(oracle.known)
    for household in oracle.households:
        for member in [b"", *(name for home, name in oracle.members if home == household), b"stranger"]:
            for as_of_us in as_of_times_us:
                got = state.readings(*state.find(household, member), as_of_us)
                want = np.array(oracle.readings(household, member, as_of_us))
                np.testing.assert_array_equal(got, want, f"{household!r} {member!r} as of {as_of_us}")


@settings(max_examples=150)
@given(
    plan=plans(),
    events=event_lists(),
    cuts=st.lists(st.integers(0, 40), max_size=5),
    stream_clock=st.booleans(),
    stamp_s=st.sampled_from([60, 60, 60, 60, 60, 25, -5]),
    as_of_s=st.lists(st.integers(-20, 120), min_size=1, max_size=3),
)
def test_the_columns_equal_the_oracle_however_events_are_batched(plan, events, cuts, stream_clock, stamp_s, as_of_s):
    stamp_us = START_US + stamp_s * S
    as_of_times_us = [START_US + second * S for second in as_of_s]
    oracle = Oracle(plan, stream_clock=stream_clock)
    statuses = oracle.apply(events, stamp_us=stamp_us)

    for division in ([], list(range(len(events))), cuts):
        state = PartitionState(plan=plan, stream_clock=stream_clock)
        applied = fold(state, events, division, stamp_us=stamp_us)

        assert [Status(status) for status in applied.statuses.tolist()] == statuses
        assert fired(state, applied) == oracle.moments
        assert not any(applied.effects), "no action was ever decided"
        assert_equal(state, oracle, as_of_times_us)


@settings(max_examples=60)
@given(
    plan=plans(),
    batches=st.lists(st.tuples(event_lists(most=12), st.integers(-10, 60)), min_size=1, max_size=4),
    stream_clock=st.booleans(),
)
def test_time_moves_with_the_owners_stamps_and_never_back(plan, batches, stream_clock):
    oracle = Oracle(plan, stream_clock=stream_clock)
    state = PartitionState(plan=plan, stream_clock=stream_clock)
    for number, (events, stamp_s) in enumerate(batches):
        stamp_us, before_us = START_US + stamp_s * S, state.now_us
        named = [replace(event, id=event.id and event.id + b"/%d" % (number // 2)) for event in events]
        statuses = oracle.apply(named, stamp_us=stamp_us)
        applied = fold(state, named, [], stamp_us=stamp_us)

        assert [Status(status) for status in applied.statuses.tolist()] == statuses
        assert state.now_us >= before_us
    assert_equal(state, oracle, [START_US, START_US + 30 * S])


def test_a_report_without_time_happened_now_and_anything_else_without_time_is_rejected():
    plan = Plan(
        name="p",
        event_types=(EventType(name="visit", source="app"), EventType(name="hearth.accept", source="hearth")),
        features=(
            Feature(
                name="household.seen", kind=FeatureKind.LAST_SEEN, scope=Scope.HOUSEHOLD, result="double", events=(1,)
            ),
        ),
    )
    events = [Event(id=b"1", kind=0, time_us=NO_TIME_US), Event(id=b"2", kind=1, time_us=NO_TIME_US)]
    state = PartitionState(plan=plan, stream_clock=False)

    applied = fold(state, events, [], stamp_us=START_US)

    assert applied.statuses.tolist() == [Status.MISSING_TIME, Status.APPLIED]
    assert state.readings(0, -1, START_US + 5).tolist() == [5.0]


# --- growth ----------------------------------------------------------------------------------------------------------

BUSY = Plan(
    name="busy",
    fields=(Field(name="amount", kind=FieldKind.NUMBER),),
    event_types=(EventType(name="tick", source="app", fields=(EventField(field=0),)),),
    programs=(Program(text="true", ops=(int(Op.CONST),), args=(1.0,)),),
    windows=(
        Window(scope=Scope.HOUSEHOLD, events=(0,), bucket_us=4 * S, bucket_count=200, field=0),
        Window(scope=Scope.MEMBER, events=(0,), bucket_us=4 * S, bucket_count=8),
    ),
    features=(
        Feature(
            name="household.spent",
            kind=FeatureKind.WINDOW_SUM,
            scope=Scope.HOUSEHOLD,
            result="double",
            window=0,
            span_us=800 * S,
        ),
        Feature(
            name="member.trend",
            kind=FeatureKind.TREND,
            scope=Scope.MEMBER,
            result="double",
            window=1,
            span_us=16 * S,
        ),
        Feature(name="member.count", kind=FeatureKind.COUNT, scope=Scope.MEMBER, result="int", events=(0,)),
    ),
    journeys=(Journey(name="each", trigger=Trigger(events=(0,), program=0, scope=Scope.MEMBER)),),
    clock=EventTimeRules(lateness_us=100 * S, future_us=10**12),
)


def busy_events(count: int, *, homes: int, span_s: int, seed: int) -> list[Event]:
    chance = np.random.default_rng(seed)
    at_s = np.sort(chance.integers(0, span_s, count)) - chance.integers(0, 60, count)
    return [
        Event(
            id=b"%d" % number,
            household=b"home-%d" % home,
            member=b"member-%d" % member * 3,
            time_us=START_US + second * S,
            values=((0, amount),),
        )
        for number, (home, member, second, amount) in enumerate(
            zip(
                chance.integers(0, homes, count).tolist(),
                chance.integers(0, 3, count).tolist(),
                at_s.tolist(),
                chance.integers(0, 100, count).astype(float).tolist(),
                strict=True,
            )
        )
    ]


@pytest.mark.parametrize("part", [10_000, 97])
def test_growing_tables_rows_and_slab_changes_nothing(part):
    events = busy_events(4_000, homes=900, span_s=2_000, seed=1)
    patient = replace(BUSY, clock=EventTimeRules(lateness_us=1_000 * S, future_us=10**12))
    oracle, state = Oracle(patient, stream_clock=True), PartitionState(plan=patient, stream_clock=True)
    before = (state.households.arrays, state.members.arrays, state.cells, state.dedupe.arrays)

    statuses = oracle.apply(events, stamp_us=START_US)
    applied = fold(state, events, list(range(0, len(events), part)), stamp_us=START_US)

    after = (state.households.arrays, state.members.arrays, state.cells, state.dedupe.arrays)
    assert after[0].slots.size > before[0].slots.size
    assert after[0].letters.size > before[0].letters.size
    assert after[1].slots.size > before[1].slots.size
    assert after[2].flat.size > before[2].flat.size
    assert after[2].member_bases.size > before[2].member_bases.size
    assert after[2].slab.bucket.size > before[2].slab.bucket.size
    assert after[3].times.size > before[3].times.size
    assert len(oracle.moments) > 1_024, "more moments than one call of the kernel has room for"
    assert applied.statuses.tolist() == statuses
    assert fired(state, applied) == oracle.moments
    assert_equal(state, oracle, [START_US + 1_900 * S])


def test_known_ids_are_forgotten_only_once_their_events_would_be_late():
    events = busy_events(6_000, homes=4, span_s=1_200, seed=2)
    chance = np.random.default_rng(3)
    again = [events[max(0, at - int(back))] for at, back in enumerate(chance.integers(0, 2_500, len(events)))]
    mixed = [event for pair in zip(events, again, strict=True) for event in pair]
    oracle, state = Oracle(BUSY, stream_clock=True), PartitionState(plan=BUSY, stream_clock=True)

    statuses = oracle.apply(mixed, stamp_us=START_US)
    applied = fold(state, mixed, list(range(0, len(mixed), 1_000)), stamp_us=START_US)

    assert applied.statuses.tolist() == statuses
    assert {Status.APPLIED, Status.DUPLICATE, Status.LATE} == set(statuses)
    assert len(oracle.known) < by_name(statuses, Status.APPLIED), "some were forgotten"
    first_seen: dict[bytes, int] = {}
    for event, status in zip(mixed, statuses, strict=True):
        if event.id in first_seen:
            assert status in (Status.DUPLICATE, Status.LATE), "a repeat is known or late, never applied again"
        elif status is Status.APPLIED:
            first_seen[event.id] = event.time_us
    assert_equal(state, oracle, [START_US + 1_200 * S])


def by_name(statuses: list[Status], wanted: Status) -> int:
    return sum(status is wanted for status in statuses)
