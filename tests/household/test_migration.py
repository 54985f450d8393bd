"""From one plan to the next.

Laws: a feature declared the same keeps what it had, wherever it, its fields, its event types and its window now stand;
one declared anew or otherwise starts at its initial value; a profile follows its values' names; keys, known ids,
instances, moments, decisions, contacts and unsent actions stay; a channel that is gone sends nothing, for ever.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from household.apply import apply_signals
from household.columns.program import Op
from household.columns.windows import CLASSES
from household.events import UNKNOWN_TYPE
from household.migration import migrated
from household.plan import (
    NONE,
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
from tests.household.oracle import Event, Oracle, batch_of
from tests.household.shop import APP, DAY, IVR, MINUTE, PUSH, SMS, S, Shop
from tests.household.shop import PLAN as SHOP_PLAN
from tests.household.side import outbox_of, requests_of, side_of
from tests.household.worlds import START_US, event_lists, features_and_windows, plans


def fold(state: PartitionState, events: list[Event], *, stamp_us: int = START_US + 10**12) -> list[int]:
    return [int(status) for status in apply_signals(state, batch_of(state.plan, events), stamp_us=stamp_us).statuses]


def reading(state: PartitionState, name: str, *, member: bytes = b"", as_of_us: int = START_US) -> float:
    index = [feature.name for feature in state.plan.features].index(name)
    return float(state.readings(*state.find(b"home", member), as_of_us)[index])


# --- any plan to any other -------------------------------------------------------------------------------------------


def turned_round(plan: Plan) -> Plan:
    """Return the same plan with its event types, fields, programs, windows and features in reverse order."""

    def back(index: int, items: tuple) -> int:
        return index if index == NONE else len(items) - 1 - index

    def types(events: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(back(event, plan.event_types) for event in events)

    def code(program: Program) -> Program:
        args = []
        for op, arg in zip(program.ops, program.args, strict=True):
            items = {int(Op.FIELD): plan.fields, int(Op.FEATURE): plan.features}.get(op)
            args.append(arg if items is None else float(back(int(arg), items)))
        return replace(program, args=tuple(args))

    return replace(
        plan,
        fields=plan.fields[::-1],
        event_types=tuple(
            replace(one, fields=tuple(replace(use, field=back(use.field, plan.fields)) for use in one.fields))
            for one in plan.event_types[::-1]
        ),
        programs=tuple(code(program) for program in plan.programs[::-1]),
        windows=tuple(
            replace(
                window,
                events=types(window.events),
                where=back(window.where, plan.programs),
                field=back(window.field, plan.fields),
            )
            for window in plan.windows[::-1]
        ),
        features=tuple(
            replace(
                feature,
                events=types(feature.events),
                off_events=types(feature.off_events),
                where=back(feature.where, plan.programs),
                field=back(feature.field, plan.fields),
                window=back(feature.window, plan.windows),
            )
            for feature in plan.features[::-1]
        ),
        journeys=tuple(
            replace(
                journey,
                trigger=journey.trigger
                and replace(
                    journey.trigger,
                    events=types(journey.trigger.events),
                    program=back(journey.trigger.program, plan.programs),
                ),
            )
            for journey in plan.journeys[::-1]
        ),
    )


def turned_events(plan: Plan, events: list[Event]) -> list[Event]:
    return [
        replace(
            event,
            kind=event.kind if event.kind == UNKNOWN_TYPE else len(plan.event_types) - 1 - event.kind,
            values=tuple((len(plan.fields) - 1 - index, value) for index, value in event.values),
        )
        for event in events
    ]


@settings(max_examples=60)
@given(plan=plans(), before=event_lists(most=16), after=event_lists(most=16), stream_clock=st.booleans())
def test_a_plan_that_only_renumbers_changes_nothing(plan, before, after, stream_clock):
    after = [replace(event, id=event.id and event.id + b"+") for event in after]
    oracle = Oracle(plan, stream_clock=stream_clock)
    stamp_us = START_US + 60 * S
    expected = [oracle.apply(events, stamp_us=stamp_us) for events in (before, after)]
    state = PartitionState(plan=plan, stream_clock=stream_clock)
    assert fold(state, before, stamp_us=stamp_us) == expected[0]

    state = migrated(state, turned_round(plan))

    assert fold(state, turned_events(plan, after), stamp_us=stamp_us) == expected[1]
    assert state.counters.moments == len(oracle.moments), "cooldowns went on"
    for household in oracle.households:
        for member in (b"", b"x", b"y"):
            got = state.readings(*state.find(household, member), stamp_us)[::-1]
            np.testing.assert_array_equal(got, np.array(oracle.readings(household, member, stamp_us)))


@st.composite
def changes(draw: st.DrawFn) -> tuple[Plan, Plan, set[str]]:
    """Draw a plan, another with some of its features and some new ones, and the names of those that stay."""
    plan = draw(plans())
    windowed = {"window_count", "window_sum", "window_reached", "trend"}
    unwindowed = [kind for kind in FeatureKind if kind.value not in windowed]
    kinds = draw(st.lists(st.sampled_from(unwindowed), max_size=3))
    added, _ = draw(features_and_windows(kinds, 0))
    added = tuple(replace(feature, name=f"{feature.name}_new") for feature in added)
    kept = tuple(feature for feature in plan.features if draw(st.booleans()))
    features = tuple(draw(st.permutations([*kept, *added])))
    windows = tuple(dict.fromkeys(plan.windows[one.window] for one in features if one.window != NONE))
    features = tuple(
        one if one.window == NONE else replace(one, window=windows.index(plan.windows[one.window])) for one in features
    )
    other = replace(plan, name="other", features=features, windows=windows, journeys=())
    return plan, other, {feature.name for feature in kept}


@settings(max_examples=60)
@given(change=changes(), before=event_lists(most=16), after=event_lists(most=16))
def test_what_stays_goes_on_and_what_is_new_starts_anew(change, before, after):
    plan, other, kept = change
    after = [replace(event, id=event.id and event.id + b"+") for event in after]
    stamp_us = START_US + 60 * S
    whole, fresh = Oracle(plan, stream_clock=True), Oracle(other, stream_clock=True)
    whole.apply(before, stamp_us=stamp_us)
    fresh.now_us = whole.now_us
    whole.apply(after, stamp_us=stamp_us)
    fresh.apply(after, stamp_us=stamp_us)
    state = PartitionState(plan=plan, stream_clock=True)
    fold(state, before, stamp_us=stamp_us)

    state = migrated(state, other)
    fold(state, after, stamp_us=stamp_us)

    old_index = {feature.name: index for index, feature in enumerate(plan.features)}
    for household in whole.households:
        for member in (b"", b"x", b"y"):
            got = state.readings(*state.find(household, member), stamp_us)
            as_whole = whole.readings(household, member, stamp_us)
            as_fresh = fresh.readings(household, member, stamp_us)
            for index, feature in enumerate(other.features):
                want = as_whole[old_index[feature.name]] if feature.name in kept else as_fresh[index]
                np.testing.assert_array_equal(got[index], want, feature.name)


# --- one feature at a time -------------------------------------------------------------------------------------------

HOME = Scope.HOUSEHOLD
GENRES = ("film", "music", "games")

SMALL = Plan(
    name="small",
    fields=(Field(name="genre", kind=FieldKind.ENUM, values=GENRES), Field(name="amount", kind=FieldKind.NUMBER)),
    event_types=(
        EventType(name="stream", source="app", fields=(EventField(field=0, least=0, most=2), EventField(field=1))),
        EventType(name="visit", source="app"),
    ),
    programs=(Program(text="true", ops=(int(Op.CONST),), args=(1.0,)),),
    features=(
        Feature(
            name="household.genre",
            kind=FeatureKind.PROFILE,
            scope=HOME,
            result="string",
            events=(0,),
            field=0,
            values=GENRES,
        ),
        Feature(
            name="household.genres", kind=FeatureKind.DISTINCT, scope=HOME, result="int", events=(0,), field=0, keep=3
        ),
        Feature(name="household.streams", kind=FeatureKind.COUNT, scope=HOME, result="int", events=(0,)),
    ),
    clock=EventTimeRules(future_us=10**12),
)


def streamed(*genres: int, plan: Plan = SMALL) -> PartitionState:
    state = PartitionState(plan=plan, stream_clock=True)
    fold(state, [Event(id=b"%d" % n, time_us=START_US + n, values=((0, genre),)) for n, genre in enumerate(genres)])
    return state


def with_genres(*names: str) -> Plan:
    genre = replace(SMALL.features[0], values=names)
    field = replace(SMALL.fields[0], values=names)
    return replace(SMALL, fields=(field, SMALL.fields[1]), features=(genre, *SMALL.features[1:]))


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (("film", "music", "games"), 1.0),
        (("music", "film", "games"), 0.0),
        (("news", "film", "games", "music"), 3.0),
        (("film", "games"), float("nan")),
    ],
)
def test_a_profile_follows_the_names_of_its_values(names, read):
    state = migrated(streamed(0, 1), with_genres(*names))

    np.testing.assert_equal(reading(state, "household.genre"), read)


def test_a_known_value_whose_name_is_gone_gives_way_to_the_next_event():
    state = migrated(streamed(1), with_genres("film", "games"))
    fold(state, [Event(id=b"next", time_us=START_US + 5, values=((0, 1.0),))])

    assert reading(state, "household.genre") == 1.0


def test_distinct_values_of_an_enum_start_anew_when_its_names_change():
    state = migrated(streamed(0, 1), with_genres("games", "news", "film", "music"))
    fold(state, [Event(id=b"next", time_us=START_US + 5, values=((0, 0.0),))])

    assert reading(state, "household.genres") == 1.0, "what was 0 then is something else now"
    assert reading(migrated(streamed(0, 1), replace(SMALL, name="same")), "household.genres") == 2.0


@pytest.mark.parametrize("kind", [FieldKind.NUMBER, FieldKind.TEXT])
def test_a_field_of_another_kind_is_another_field(kind):
    fields = (Field(name="genre", kind=kind), SMALL.fields[1])
    profile = replace(SMALL.features[0], values=(), result="double")
    other = replace(SMALL, fields=fields, features=(profile, *SMALL.features[1:]))

    there = migrated(streamed(0, 2), other)
    assert np.isnan(reading(there, "household.genre"))
    assert reading(there, "household.genres") == 0.0
    assert reading(there, "household.streams") == 2.0

    fold(there, [Event(id=b"next", time_us=START_US + 5, values=((0, 2e9),))])
    back = migrated(there, SMALL)
    assert np.isnan(reading(back, "household.genre"))


def test_a_profile_nothing_was_heard_of_reads_the_initial_value_in_force():
    def starting_at(initial: float | None) -> Plan:
        return replace(SMALL, features=(replace(SMALL.features[0], initial=initial), *SMALL.features[1:]))

    state = PartitionState(plan=starting_at(0.0), stream_clock=True)
    fold(state, [Event(id=b"1", kind=1, time_us=START_US)])
    assert reading(state, "household.genre") == 0.0

    state = migrated(state, starting_at(2.0))
    assert reading(state, "household.genre") == 2.0
    state = migrated(state, starting_at(None))
    assert np.isnan(reading(state, "household.genre"))

    heard = migrated(streamed(1, plan=starting_at(0.0)), starting_at(2.0))
    assert reading(heard, "household.genre") == 1.0


@pytest.mark.parametrize(
    "change",
    [
        {"events": (0, 1)},
        {"where": 0},
        {"scope": Scope.MEMBER},
        {"name": "household.plays"},
        {"kind": FeatureKind.SESSION_LENGTH},
    ],
    ids=str,
)
def test_a_feature_declared_otherwise_starts_anew(change):
    state = streamed(0, 1)
    assert reading(state, "household.streams") == 2.0
    other = replace(SMALL, features=(*SMALL.features[:2], replace(SMALL.features[2], **change)))

    state = migrated(state, other)

    assert reading(state, other.features[2].name) == 0.0
    assert reading(state, "household.genres") == 2.0


@pytest.mark.parametrize("change", [{"scored": False}, {"unit": "plays"}], ids=str)
def test_what_is_only_said_of_a_feature_does_not_start_it_anew(change):
    other = replace(SMALL, features=(*SMALL.features[:2], replace(SMALL.features[2], **change)))

    assert reading(migrated(streamed(0, 1), other), "household.streams") == 2.0


# --- windows ---------------------------------------------------------------------------------------------------------

BUCKETS = Window(scope=HOME, events=(0,), bucket_us=S, bucket_count=10)
SUMS = replace(BUCKETS, field=1)
COUNTED = Feature(
    name="household.plays", kind=FeatureKind.WINDOW_COUNT, scope=HOME, result="int", window=0, span_us=10 * S
)
SUMMED = replace(COUNTED, name="household.spent", kind=FeatureKind.WINDOW_SUM, result="double")


def windowed(*features: Feature, windows: tuple[Window, ...]) -> Plan:
    return replace(SMALL, features=features, windows=windows)


def played(plan: Plan, *seconds: int) -> PartitionState:
    state = PartitionState(plan=plan, stream_clock=True)
    play(state, *seconds)
    return state


def play(state: PartitionState, *seconds: int) -> None:
    events = [Event(id=b"p%d" % at, time_us=START_US + at * S, values=((1, 5.0),)) for at in seconds]
    assert not any(fold(state, events))


def test_a_count_goes_on_when_a_sum_joins_its_window_and_the_sum_starts_anew():
    state = played(windowed(COUNTED, windows=(BUCKETS,)), 0, 1, 2)
    state = migrated(state, windowed(COUNTED, SUMMED, windows=(SUMS,)))
    assert reading(state, "household.plays", as_of_us=START_US + 3 * S) == 3.0
    assert reading(state, "household.spent", as_of_us=START_US + 3 * S) == 0.0

    play(state, 3)

    assert reading(state, "household.plays", as_of_us=START_US + 3 * S) == 4.0
    assert reading(state, "household.spent", as_of_us=START_US + 3 * S) == 5.0


def test_a_count_goes_on_when_the_sum_beside_it_leaves_and_the_sum_starts_anew_when_it_returns():
    both, alone = windowed(COUNTED, SUMMED, windows=(SUMS,)), windowed(COUNTED, windows=(BUCKETS,))
    state = played(both, 0, 1)
    state = migrated(state, alone)
    play(state, 2)
    assert reading(state, "household.plays", as_of_us=START_US + 3 * S) == 3.0

    state = migrated(state, both)

    assert reading(state, "household.plays", as_of_us=START_US + 3 * S) == 3.0
    assert reading(state, "household.spent", as_of_us=START_US + 3 * S) == 0.0


def test_two_windows_that_come_of_one_do_not_share_their_entries():
    night = replace(SUMMED, name="household.other", window=1)
    third = (Field(name="other", kind=FieldKind.NUMBER),)
    state = played(windowed(COUNTED, SUMMED, windows=(SUMS,)), *range(6))
    split = windowed(replace(COUNTED, window=1), SUMMED, night, windows=(SUMS, replace(SUMS, field=2)))
    state = migrated(state, replace(split, fields=SMALL.fields + third))

    play(state, *range(6, 9))

    assert reading(state, "household.plays", as_of_us=START_US + 8 * S) == 9.0
    assert reading(state, "household.spent", as_of_us=START_US + 8 * S) == 45.0
    assert reading(state, "household.other", as_of_us=START_US + 8 * S) == 0.0


def test_many_windows_move_even_if_the_slab_has_to_grow():
    plan = windowed(COUNTED, windows=(BUCKETS,))
    state = PartitionState(plan=plan, stream_clock=True)
    events = [
        Event(
            id=b"%d/%d" % (home, at), household=b"home" if home == 0 else b"home-%d" % home, time_us=START_US + at * S
        )
        for at in range(8)
        for home in range(300)
    ]
    fold(state, events)
    entries = state.cells.slab.bucket.size

    state = migrated(state, windowed(COUNTED, SUMMED, windows=(SUMS,)))

    assert state.cells.slab.bucket.size >= entries
    assert reading(state, "household.plays", as_of_us=START_US + 8 * S) == 8.0
    last = state.find(b"home-299")[0]
    assert state.readings(last, -1, START_US + 8 * S).tolist() == [8.0, 0.0]


def test_entries_that_no_one_reads_any_more_are_used_again():
    both, alone = windowed(COUNTED, SUMMED, windows=(SUMS,)), windowed(COUNTED, windows=(BUCKETS,))
    state = played(both, *range(9))
    used = []
    for _ in range(6):
        state = migrated(migrated(state, alone), both)
        used.append(int(state.cells.slab.free[CLASSES]))

    assert used == [used[0]] * 6
    assert reading(state, "household.plays", as_of_us=START_US + 8 * S) == 9.0


@pytest.mark.parametrize(
    "change", [{"bucket_count": 5}, {"bucket_us": 2 * S}, {"events": (0, 1)}, {"where": 0}], ids=str
)
def test_other_buckets_start_anew(change):
    state = played(windowed(COUNTED, windows=(BUCKETS,)), 0, 1, 2)
    span = replace(COUNTED, span_us=4 * S) if change != {"bucket_count": 5} else replace(COUNTED, span_us=5 * S)

    state = migrated(state, windowed(span, windows=(replace(BUCKETS, **change),)))

    assert reading(state, "household.plays", as_of_us=START_US + 2 * S) == 0.0


# --- what is not features --------------------------------------------------------------------------------------------


def test_the_plan_in_force_changes_nothing():
    state = streamed(0)

    assert migrated(state, replace(SMALL)) is state


def test_known_ids_keys_now_and_counters_stay():
    state = streamed(0, 1)
    before = replace(state.counters)
    state = migrated(state, replace(SMALL, name="next"))

    assert (state.now_us, state.counters, state.households.key(0)) == (START_US + 1, before, b"home")
    assert fold(state, [Event(id=b"0", time_us=START_US)]) == [1]


def test_a_journey_goes_on_counting_its_instances_and_its_cooldown():
    trigger = Trigger(events=(1,), program=0, cooldown_us=10 * S)
    plan = replace(SMALL, journeys=(Journey(name="j", trigger=trigger),))
    state = PartitionState(plan=plan, stream_clock=True)
    assert fold(state, [Event(id=b"1", kind=1, time_us=START_US)]) == [0]

    other = (Journey(name="i", trigger=trigger), Journey(name="k"), Journey(name="j", title="J", trigger=trigger))
    state = migrated(state, replace(plan, journeys=other))
    visits = [Event(id=b"%d" % at, kind=1, time_us=START_US + at * S) for at in (9, 10)]
    moments = apply_signals(state, batch_of(state.plan, visits), stamp_us=START_US).moments

    assert [moment.moment_id.split("/")[1:3] for _, moment in moments] == [["i", "1"], ["j", "2"]]


def changed_shop(shop: Shop, plan: Plan) -> Shop:
    shop.state = migrated(shop.state, plan)
    return shop


def test_pending_moments_slates_declines_and_requests_stay():
    shop = Shop()
    shop.third_check()
    shop.signal("app.visit", household="other", member="bert")
    decision = shop.decide(APP, household="other", member="bert", request_id="r")
    changed_shop(shop, replace(SHOP_PLAN, name="next", offers=SHOP_PLAN.offers[:3], journeys=SHOP_PLAN.journeys[:1]))

    assert [moment.journey for moment in side_of(shop.state).pending] == ["low_balance"]
    assert list(requests_of(shop.state)) == [(b"other", "r")]
    assert shop.decide(APP, household="other", member="bert", request_id="s").stands == decision.decision_id
    assert shop.report("decline", decision.answered, household="other", member="bert")
    assert list(side_of(shop.state, 1).declined_offers) == ["wallet"]


def with_channels(*order: int) -> Plan:
    """Return the shop's plan with these of its channels, in this order."""

    def number(channel: int) -> int:
        return order.index(channel)

    offers = tuple(
        replace(
            offer,
            treatments=tuple(
                replace(item, channel=number(item.channel)) for item in offer.treatments if item.channel in order
            ),
        )
        for offer in SHOP_PLAN.offers
    )
    journeys = tuple(
        replace(one, outbound=tuple(number(channel) for channel in one.outbound if channel in order))
        for one in SHOP_PLAN.journeys
    )
    caps = tuple(
        replace(cap, channels=tuple(number(channel) for channel in cap.channels if channel in order))
        for cap in SHOP_PLAN.policy.caps
    )
    return replace(
        SHOP_PLAN,
        channels=tuple(SHOP_PLAN.channels[channel] for channel in order),
        offers=offers,
        journeys=journeys,
        policy=replace(SHOP_PLAN.policy, caps=caps),
    )


def test_unsent_actions_and_contacts_keep_their_channel_by_name():
    shop = Shop()
    shop.third_check()
    action_id = shop.decide(NONE).slate[0].action_id
    changed_shop(shop, with_channels(SMS, APP, IVR, PUSH))

    assert shop.state.outbox[action_id].channel == 0
    assert [contact.channel for contact in side_of(shop.state).contacts] == [0]
    changed_shop(shop, SHOP_PLAN)
    assert shop.state.outbox[action_id].channel == SMS
    assert [contact.channel for contact in side_of(shop.state).contacts] == [SMS]


def test_caps_go_on_counting_when_channels_are_renumbered():
    shop = Shop()
    shop.third_check()
    shop.report("delivered", shop.decide(NONE).slate[0].action_id)
    changed_shop(shop, with_channels(SMS, APP, IVR, PUSH))
    shop.now_us += 7 * DAY
    shop.state.contacts.rewrite(0, lambda one: replace(one, time_us=one.time_us + 7 * DAY - MINUTE))
    shop.third_check()

    assert shop.open_channel() == NONE, "one a day"


def test_a_channel_that_is_gone_sends_nothing_for_ever():
    shop = Shop()
    shop.third_check()
    action_id = shop.decide(NONE).slate[0].action_id
    changed_shop(shop, with_channels(APP, IVR, PUSH))
    assert shop.state.outbox[action_id].channel == NONE

    changed_shop(shop, replace(with_channels(APP, IVR, PUSH), name="once more"))
    assert shop.state.outbox[action_id].channel == NONE

    shop.pass_time(0)
    assert outbox_of(shop.state) == {}
    assert (shop.state.counters.expired, side_of(shop.state).contacts) == (1, [])
