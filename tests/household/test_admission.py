"""What becomes of an event before it is folded.

Laws: each bound is where it is said to be, to the microsecond and the byte; of several faults the first in a stated
order is told; what was rejected or late leaves nothing behind, and may come again, corrected; every event is counted
exactly once.
"""

from dataclasses import replace

import pytest

from household.apply import apply_signals
from household.events import NO_TIME_US, UNKNOWN_TYPE, Status
from household.plan import EventField, EventTimeRules, EventType, Feature, FeatureKind, Field, FieldKind, Plan, Scope
from household.state import PartitionState
from tests.household.oracle import YEAR_2200_US, Event, batch_of
from tests.household.worlds import START_US, S

PLAN = Plan(
    name="door",
    fields=(Field(name="amount", kind=FieldKind.NUMBER), Field(name="count", kind=FieldKind.NUMBER)),
    event_types=(
        EventType(name="visit", source="app"),
        EventType(
            name="top_up",
            source="billing",
            fields=(EventField(field=0, required=True, least=1.0, most=9.0), EventField(field=1, most=5.0)),
        ),
        EventType(name="hearth.accept", source="hearth"),
    ),
    features=(
        Feature(
            name="household.seen",
            kind=FeatureKind.LAST_SEEN,
            scope=Scope.HOUSEHOLD,
            result="double",
            events=(0, 1, 2),
        ),
        Feature(name="household.all", kind=FeatureKind.COUNT, scope=Scope.HOUSEHOLD, result="int", events=(0, 1, 2)),
    ),
    clock=EventTimeRules(lateness_us=100 * S, future_us=10 * S),
)

VISIT = Event(id=b"visit", household=b"home", time_us=START_US)
TOP_UP = replace(VISIT, id=b"top up", kind=1, values=((0, 5.0),))


def at_the_door(*, stream_clock: bool = False) -> PartitionState:
    """Return a state where it is START_US."""
    state = PartitionState(plan=PLAN, stream_clock=stream_clock)
    assert told(state, replace(VISIT, id=b"first")) == [Status.APPLIED]
    return state


def told(state: PartitionState, *events: Event, stamp_us: int = START_US) -> list[Status]:
    applied = apply_signals(state, batch_of(state.plan, list(events)), stamp_us=stamp_us)
    return [Status(int(status)) for status in applied.statuses]


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (replace(VISIT, id=b""), Status.BAD_ID),
        (replace(VISIT, id=b"i" * 128), Status.APPLIED),
        (replace(VISIT, id=b"i" * 129), Status.BAD_ID),
        (replace(VISIT, household=b""), Status.BAD_KEY),
        (replace(VISIT, household=b"h" * 128), Status.APPLIED),
        (replace(VISIT, household=b"h" * 129), Status.BAD_KEY),
        (replace(VISIT, member=b"m" * 128), Status.APPLIED),
        (replace(VISIT, member=b"m" * 129), Status.BAD_KEY),
        (replace(VISIT, kind=UNKNOWN_TYPE), Status.UNKNOWN_TYPE),
        (replace(VISIT, is_bad=True), Status.BAD_VALUE),
        (replace(VISIT, time_us=NO_TIME_US), Status.MISSING_TIME),
        (replace(VISIT, time_us=-1), Status.PAST_CALENDAR),
        (replace(VISIT, time_us=0), Status.LATE),
        (replace(VISIT, time_us=YEAR_2200_US), Status.PAST_CALENDAR),
        (replace(VISIT, time_us=YEAR_2200_US - 1), Status.FUTURE),
        (replace(VISIT, time_us=START_US + 10 * S), Status.APPLIED),
        (replace(VISIT, time_us=START_US + 10 * S + 1), Status.FUTURE),
        (replace(VISIT, time_us=START_US - 100 * S), Status.APPLIED),
        (replace(VISIT, time_us=START_US - 100 * S - 1), Status.LATE),
        (replace(VISIT, id=b"first"), Status.DUPLICATE),
        (replace(TOP_UP, values=()), Status.MISSING_FIELD),
        (replace(TOP_UP, values=((0, float("nan")),)), Status.MISSING_FIELD),
        (replace(TOP_UP, values=((0, 1.0),)), Status.APPLIED),
        (replace(TOP_UP, values=((0, 0.999),)), Status.OUT_OF_RANGE),
        (replace(TOP_UP, values=((0, 9.0),)), Status.APPLIED),
        (replace(TOP_UP, values=((0, 9.001),)), Status.OUT_OF_RANGE),
        (replace(TOP_UP, values=((0, float("inf")),)), Status.OUT_OF_RANGE),
        (replace(TOP_UP, values=((0, 5.0), (1, 6.0))), Status.OUT_OF_RANGE),
        (replace(VISIT, values=((0, 99.0),)), Status.APPLIED),
    ],
)
@pytest.mark.parametrize("stream_clock", [False, True])
def test_each_bound_is_where_it_is_said_to_be(event, status, stream_clock):
    state = at_the_door(stream_clock=stream_clock)

    assert told(state, event) == [status]
    assert state.readings(0, -1, START_US)[1] == 1.0 + (status is Status.APPLIED and event.household == b"home")
    assert state.counters.by_status[status.name] == 1 + (status is Status.APPLIED)
    assert state.counters.received == 2


@pytest.mark.parametrize(("version", "status"), [(1, Status.PAST_CALENDAR), (2, Status.MISSING_TIME)])
def test_no_time_is_a_reason_of_its_own_from_the_second_fold_on(version, status):
    state = at_the_door(stream_clock=False)
    state.fold_version = version

    assert told(state, replace(VISIT, time_us=NO_TIME_US)) == [status]
    assert state.counters.by_status[status.name] == 1


WORSE_AND_WORSE = (
    (Status.LATE, {"time_us": START_US - 101 * S}),
    (Status.DUPLICATE, {"id": b"first"}),
    (Status.OUT_OF_RANGE, {"values": ((0, 5.0), (1, 6.0))}),
    (Status.MISSING_FIELD, {"values": ((1, 6.0),)}),
    (Status.BAD_VALUE, {"is_bad": True}),
    (Status.FUTURE, {"time_us": START_US + 11 * S}),
    (Status.PAST_CALENDAR, {"time_us": -1}),
    (Status.UNKNOWN_TYPE, {"kind": UNKNOWN_TYPE}),
    (Status.BAD_KEY, {"household": b""}),
    (Status.BAD_ID, {"id": b""}),
)


def test_of_several_faults_the_first_in_order_is_told():
    event, state = TOP_UP, at_the_door()
    for status, fault in WORSE_AND_WORSE:
        event = replace(event, **fault)
        assert told(state, event) == [status]


def test_what_was_rejected_or_late_leaves_nothing_behind_and_may_come_again():
    state = at_the_door(stream_clock=True)
    bad = [
        replace(TOP_UP, id=b"a", household=b"new", values=()),
        replace(VISIT, id=b"b", household=b"new", time_us=START_US - 101 * S),
        replace(VISIT, id=b"c", household=b"new", time_us=START_US + 11 * S),
    ]
    assert told(state, *bad) == [Status.MISSING_FIELD, Status.LATE, Status.FUTURE]
    assert (state.find(b"new"), state.households.count, state.dedupe.count) == ((-1, -1), 1, 1)
    assert state.now_us == START_US

    again = [replace(TOP_UP, id=b"a"), replace(VISIT, id=b"b"), replace(VISIT, id=b"c")]
    assert told(state, *again) == [Status.APPLIED] * 3
    assert told(state, *again) == [Status.DUPLICATE] * 3


def test_on_the_wall_clock_an_event_a_little_ahead_happened_now_and_on_the_stream_clock_it_moves_now():
    ahead = replace(VISIT, time_us=START_US + 5 * S)
    wall, stream = at_the_door(), at_the_door(stream_clock=True)
    told(wall, ahead)
    told(stream, ahead)

    assert wall.now_us == START_US
    assert wall.readings(0, -1, START_US + 5 * S)[0] == 5.0 * S
    assert stream.now_us == START_US + 5 * S
    assert stream.readings(0, -1, START_US + 5 * S)[0] == 0.0


def test_now_is_the_largest_stamp_on_the_wall_clock_and_the_newest_event_on_the_stream_clock():
    for stream_clock, nows in ((False, [9, 9, 9]), (True, [4, 4, 7])):
        state = at_the_door(stream_clock=stream_clock)
        seen = []
        for number, (second, stamp) in enumerate([(4, 9), (2, 5), (7, 8)]):
            event = replace(VISIT, id=b"%d" % number, time_us=START_US + second * S)
            told(state, event, stamp_us=START_US + stamp * S)
            seen.append((state.now_us - START_US) // S)
        assert seen == nows


def test_a_report_without_time_happened_now_if_there_is_one():
    report = Event(id=b"r", kind=2, household=b"home", time_us=NO_TIME_US)

    assert told(PartitionState(plan=PLAN, stream_clock=True), report) == [Status.PAST_CALENDAR]
    state = at_the_door(stream_clock=True)
    assert told(state, report) == [Status.APPLIED]
    assert state.readings(0, -1, START_US + 3)[0] == 3.0
