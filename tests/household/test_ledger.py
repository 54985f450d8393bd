"""What decisions do to a household, and what becomes of them.

Laws: a moment is settled once; a past owner changes nothing; a request is remembered for its window, then forgotten; a
contact holds a place from its decision on, which withdrawal, expiry and failure give back, and counts from hand-over on
until its gateway says it reached nobody; an outcome settles a live action of that household once, at its own time; a
withheld decision leaves nothing to show; batches do not matter.
"""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from household.apply import apply_decision, apply_epoch, apply_signals, apply_tick
from household.deciding.hand_over import kept_back, next_step
from household.decision_bytes import encode_decision
from household.delivery import DeliveryStep
from household.ledger import TIDY_EVERY_US, next_due_us
from household.plan import NONE, Plan
from household.state import PartitionState
from household.tables.contacts import Contact
from household.tables.moments import SETTLED_MOMENTS_KEPT, SettledMoment
from household.tables.pauses import Pause
from tests.household.oracle import Event, batch_of
from tests.household.shop import APP, DAY, EAGER, HOUR, MINUTE, NOON_US, PLAN, PUSH, SMS, Shop, with_journey
from tests.household.side import actions_of, change, outbox_of, requests_of, side_of, sides_of


def sent_shop() -> tuple[Shop, str]:
    """Return a shop with one message on its way to anna, and that action's id."""
    shop = Shop()
    shop.third_check()
    decision = shop.decide(NONE)
    return shop, decision.slate[0].action_id


def told(state: PartitionState) -> tuple:
    """Return all that a fold of signals, decisions and ticks may change in the side tables."""
    return (
        state.now_us,
        sides_of(state),
        actions_of(state),
        requests_of(state),
        list(outbox_of(state).items()),
        replace(state.counters, voided=0),
    )


# --- moments and decisions -------------------------------------------------------------------------------------------


def test_a_moment_is_pending_until_a_decision_that_names_it_folds():
    shop = Shop()
    (_, moment), *_ = shop.third_check().moments
    assert side_of(shop.state).pending == [moment]

    shop.decide(NONE)

    assert side_of(shop.state).pending == []
    assert list(side_of(shop.state).settled) == [moment.moment_id]


def test_a_second_decision_for_a_settled_moment_is_void_and_changes_nothing_but_its_count():
    shop = Shop()
    shop.third_check()
    draft = shop.draft(NONE)
    first, second = shop.weigh(draft), shop.weigh(shop.draft(APP, request_id="r"))
    assert shop.record(first)
    slates, outbox = dict(side_of(shop.state).slates), outbox_of(shop.state)

    assert not shop.record(second)

    assert (shop.state.counters.voided, shop.state.counters.decisions) == (1, 1)
    assert (side_of(shop.state).slates, outbox_of(shop.state)) == (slates, outbox)
    assert requests_of(shop.state) == {}


def test_a_decision_with_one_moment_still_open_is_not_void():
    shop = Shop()
    shop.third_check()
    shop.decide(NONE)
    shop.third_check(member="bert")
    decision = shop.weigh(shop.draft(NONE, member="bert"))
    both = replace(decision, moments=(*decision.moments, replace(decision.moments[0], moment_id="settled before")))
    shop.state.settled.put(SettledMoment("settled before", 0), owner=0)

    assert shop.record(both)


def test_settled_moments_are_remembered_in_the_order_of_their_decision_and_only_the_newest():
    shop = Shop()
    shop.third_check()
    decision = shop.weigh(shop.draft(NONE))
    ids = [f"home/low_balance/{number}/00" for number in range(SETTLED_MOMENTS_KEPT + 6)]
    moments = tuple(replace(decision.moments[0], moment_id=one) for one in ids)

    shop.record(replace(decision, moments=moments))

    assert list(side_of(shop.state).settled) == ids[6:]


def test_a_decision_for_an_unknown_household_is_nothing_and_its_request_is_remembered():
    shop = Shop()
    decision = shop.decide(APP, household="elsewhere", request_id="r")

    assert decision.reasons == ("UNKNOWN_HOUSEHOLD",)
    assert (shop.state.counters.decisions, shop.state.counters.nothing) == (1, 1)
    assert requests_of(shop.state)[b"elsewhere", "r"] == (decision.decision_id, 1, NOON_US, b"")
    assert sides_of(shop.state) == {}


def test_decisions_are_counted_by_what_they_came_to():
    shop = Shop()
    shop.signal("app.visit")
    shop.decide(APP, request_id="1")
    shop.decide(APP, request_id="2")
    shop.decide(APP, household="elsewhere", request_id="3")
    counters = shop.state.counters

    assert (counters.decisions, counters.served, counters.nothing, counters.withheld) == (3, 1, 1, 0)


def test_a_withheld_decision_settles_its_moment_and_leaves_nothing_to_show_or_send():
    shop = Shop(with_journey(PLAN, "low_balance", control_share=1.0))
    shop.third_check()
    decision = shop.decide(NONE)

    assert decision.withheld
    assert decision.slate != ()
    assert (decision.answered, decision.send_channel) == ("", "")
    ledger = side_of(shop.state)
    assert (ledger.pending, ledger.slates, ledger.contacts, outbox_of(shop.state), actions_of(shop.state)) == (
        [],
        {},
        [],
        {},
        {},
    )
    assert shop.state.counters.withheld == 1


# --- epochs ----------------------------------------------------------------------------------------------------------


def test_a_decision_of_an_older_epoch_is_void_and_changes_nothing():
    shop = Shop()
    shop.third_check()
    decision = shop.weigh(shop.draft(NONE))
    apply_epoch(shop.state, epoch=2)
    before = repr(told(shop.state))

    payload = encode_decision(decision, member_keys={})
    assert not apply_decision(shop.state, decision, payload, epoch=1, offset=9, stamp_us=shop.now_us + HOUR)

    assert repr(told(shop.state)) == before
    assert shop.state.counters.voided == 1


def test_a_tick_of_an_older_epoch_is_void_and_changes_nothing():
    shop, _ = sent_shop()
    apply_epoch(shop.state, epoch=2)
    before = repr(told(shop.state))

    assert not apply_tick(shop.state, epoch=1, stamp_us=shop.now_us + DAY)

    assert repr(told(shop.state)) == before
    assert shop.state.counters.voided == 1


def test_an_epoch_only_grows():
    shop = Shop()
    with pytest.raises(AssertionError, match="offered epoch 1, already at 1"):
        apply_epoch(shop.state, epoch=1)


# --- requests --------------------------------------------------------------------------------------------------------


def test_a_request_is_remembered_for_its_window_and_forgotten_by_a_tick_beyond_it():
    shop = Shop()
    shop.signal("app.visit")
    decision = shop.decide(APP, request_id="r")
    window_us = PLAN.clock.request_window_us

    shop.pass_time(window_us)
    assert requests_of(shop.state) == {(b"home", "r"): (decision.decision_id, 1, NOON_US, b"")}
    shop.pass_time(1)
    assert requests_of(shop.state) == {}


def test_ticks_go_on_while_there_is_something_to_forget():
    shop = Shop()
    shop.signal("app.visit")
    assert next_due_us(shop.state) is None
    shop.decide(APP, request_id="r")
    assert next_due_us(shop.state) == NOON_US + TIDY_EVERY_US
    shop.pass_time(TIDY_EVERY_US)
    assert next_due_us(shop.state) == NOON_US + 2 * TIDY_EVERY_US

    shop.pass_time(3 * DAY)
    shop.pass_time(3 * DAY)
    assert next_due_us(shop.state) is None


def test_a_settled_action_is_remembered_as_long_as_a_request():
    shop, action_id = sent_shop()
    shop.report("accept", action_id)

    shop.pass_time(PLAN.clock.request_window_us)
    assert shop.state.actions[action_id].status == "accepted"
    shop.pass_time(1)
    assert action_id not in shop.state.actions


# --- contacts --------------------------------------------------------------------------------------------------------


def cap_of(shop: Shop, member: str = "anna") -> bool:
    """Return whether another message to a member would be one too many."""
    shop.third_check(member=member)
    return shop.open_channel(member=member) == NONE


def test_a_contact_counts_from_its_decision_on_within_a_half_open_window():
    shop = Shop(EAGER)
    assert not cap_of(shop)
    shop.decide(NONE)
    assert side_of(shop.state).contacts[0].time_us == shop.now_us
    assert shop.report("delivered", next(iter(outbox_of(shop.state))))

    assert cap_of(shop)
    shop.now_us += DAY - 1
    assert cap_of(shop)
    shop.now_us += 1
    assert not cap_of(shop)


def test_a_cap_of_a_member_leaves_others_alone_and_a_cap_of_the_household_does_not():
    shop = Shop(EAGER)
    for member in ("anna", "bert", "cleo"):
        assert not cap_of(shop, member), member
        decision = shop.decide(NONE, member=member)
        shop.report("delivered", decision.slate[0].action_id, member=member)

    assert cap_of(shop, "dora"), "three a week for the household"


@pytest.mark.parametrize(
    ("what", "given_back"),
    [
        ("delivered", False),
        ("undelivered", True),
        ("decline", True),
        ("accept", True),
        ("expiry", True),
        ("a new moment", True),
    ],
)
def test_a_contact_that_did_not_come_about_is_given_back(what, given_back):
    shop = Shop(with_journey(EAGER, "low_balance", outbound=(SMS,)))
    shop.third_check()
    action_id = shop.decide(NONE).slate[0].action_id
    match what:
        case "expiry":
            shop.pass_time(15 * MINUTE)
        case "a new moment":
            shop.third_check()
            shop.decide(APP)
        case _:
            assert shop.report(what, action_id)

    assert outbox_of(shop.state) == {}
    assert (side_of(shop.state).contacts == []) is given_back


def test_what_was_sent_and_delivered_is_no_longer_withdrawn():
    shop, action_id = sent_shop()
    shop.report("delivered", action_id)
    assert not shop.report("delivered", action_id), "a second receipt changes nothing"
    shop.report("accept", action_id)

    assert (shop.state.counters.delivered, shop.state.counters.withdrawn) == (1, 0)
    assert len(side_of(shop.state).contacts) == 1


def test_an_action_waits_to_be_sent_no_longer_than_its_moments_action_window():
    shop, action_id = sent_shop()
    assert next_due_us(shop.state) == NOON_US + 15 * MINUTE
    shop.pass_time(15 * MINUTE - 1)
    assert list(outbox_of(shop.state)) == [action_id]

    shop.pass_time(1)

    assert outbox_of(shop.state) == {}
    assert shop.state.counters.expired == 1
    assert next_due_us(shop.state) == NOON_US + 15 * MINUTE + TIDY_EVERY_US, "what is settled is to be forgotten"
    assert shop.action_status(action_id) == "live", "it may still be shown where she comes by herself"


def test_contacts_and_declines_that_can_no_longer_matter_are_forgotten():
    shop, action_id = sent_shop()
    shop.report("delivered", action_id)
    shop.report("decline", action_id)
    shop.pass_time(7 * DAY)
    ledger = side_of(shop.state)
    assert (ledger.contacts, ledger.declined_families) == ([], {})
    assert list(ledger.declined_offers) == ["film_topup"]
    shop.pass_time(83 * DAY)
    assert side_of(shop.state).declined_offers == {}


# --- outcomes --------------------------------------------------------------------------------------------------------


def test_who_has_it_has_accepted_it_whether_or_not_a_word_was_said_on_that():
    shop, action_id = sent_shop()

    assert shop.report("convert", action_id)
    assert shop.action_status(action_id) == "accepted"
    assert outbox_of(shop.state) == {}
    assert shop.report("convert", action_id), "a fact about a known action, once more"
    assert shop.offered(shop.decide(APP, with_types=())) == ""


@pytest.mark.parametrize("outcome", ["impression", "click"])
def test_seeing_an_action_is_a_fact_that_settles_nothing(outcome):
    shop, action_id = sent_shop()

    assert shop.report(outcome, action_id)
    assert shop.action_status(action_id) == "live"
    assert not shop.report(outcome, "no-such-action")


def test_an_outcome_of_another_household_or_an_unknown_action_changes_nothing():
    shop, action_id = sent_shop()

    assert not shop.report("accept", action_id, household="elsewhere")
    assert not shop.report("accept", "no-such-action")
    assert shop.action_status(action_id) == "live"


def test_an_outcome_counts_at_the_time_it_happened():
    shop, action_id = sent_shop()
    shop.now_us += DAY
    report = shop.event("hearth.accept", ago_us=1, action_id=action_id)
    just_too_late = replace(report, id=b"late", time_us=report.time_us + 1)

    assert shop.fold(just_too_late).effects == (False,)
    assert shop.fold(report).effects == (True,)
    assert shop.action_status(action_id) == "accepted"


def test_of_two_declines_the_later_one_says_how_long_whatever_their_order():
    shop = Shop()
    shop.third_check()
    first = shop.decide(NONE)
    assert shop.report("decline", first.slate[0].action_id)
    until = dict(side_of(shop.state).declined_families)
    shop.now_us -= 2 * MINUTE
    shop.third_check(member="bert")
    for name in until:
        shop.state.declined_families.remove(0, name)
    second = shop.decide(NONE, member="bert", scores={1: 0.3})
    for name, until_us in until.items():
        shop.state.declined_families.put(Pause(name, until_us), owner=0)

    older = shop.event("hearth.decline", ago_us=MINUTE, action_id=second.slate[0].action_id, member="bert")
    assert shop.fold(older).effects == (True,)

    assert side_of(shop.state).declined_families == until


outcomes = st.sampled_from(["impression", "accept", "decline", "delivered", "undelivered", "convert"])


@settings(max_examples=60)
@given(
    reports=st.lists(st.tuples(outcomes, st.integers(0, 4), st.integers(-3, 5)), max_size=12),
    cuts=st.lists(st.integers(1, 20), max_size=4),
    stream_clock=st.booleans(),
)
def test_outcomes_do_not_depend_on_how_they_were_batched(reports, cuts, stream_clock):
    def play(bounds: list[int]) -> tuple:
        shop = Shop(stream_clock=stream_clock)
        made = []
        for member in ("anna", "bert"):
            shop.third_check(member=member)
            made += [action.action_id for action in shop.decide(NONE, member=member, request_id=member).slate]
        made.append("no-such-action")
        events: list[Event] = [
            shop.event(f"hearth.{outcome}", ago_us=-minutes * MINUTE, action_id=made[which])
            for outcome, which, minutes in reports
        ]
        batch, effects = batch_of(shop.state.plan, events), list[bool]()
        for start, stop in zip([0, *bounds], [*bounds, len(events)], strict=True):
            applied = apply_signals(shop.state, batch.part(start, stop), stamp_us=shop.now_us + 5 * MINUTE)
            effects += applied.effects
        return repr(told(shop.state)), effects

    whole = play([])

    assert play(list(range(1, len(reports)))) == whole
    assert play(sorted({cut for cut in cuts if cut < len(reports)})) == whole


def test_a_contact_says_who_was_reached_when_and_where():
    shop, action_id = sent_shop()

    assert side_of(shop.state).contacts == [Contact(time_us=NOON_US, member=0, channel=SMS, action_id=action_id)]


# --- hand-overs ------------------------------------------------------------------------------------------------------


def handed_shop(plan: Plan = EAGER) -> tuple[Shop, str]:
    """Return a shop whose message to anna has just been handed over on push, and that action's id."""
    shop = Shop(plan)
    shop.signal("app.consent", is_on=1.0)
    shop.third_check()
    decision = shop.decide(NONE)
    assert decision.send_channel == "push"
    shop.note(decision.slate[0].action_id, DeliveryStep.HANDED, "push")
    return shop, decision.slate[0].action_id


def with_groups(plan: Plan, channel: int, groups: tuple[str, ...]) -> Plan:
    """Return a plan that lists groups for a channel."""
    channels = list(plan.channels)
    channels[channel] = replace(channels[channel], groups=groups)
    return replace(plan, channels=tuple(channels))


def made(shop: Shop) -> list[tuple[int, bool]]:
    """Return the channel of each contact, and whether it was made."""
    return [(one.channel, one.is_handed) for one in side_of(shop.state).contacts]


def test_a_place_becomes_a_contact_at_its_hand_over():
    shop = Shop(EAGER)
    shop.signal("app.consent", is_on=1.0)
    shop.third_check()
    action_id = shop.decide(NONE).slate[0].action_id
    assert made(shop) == [(PUSH, False)]
    shop.now_us += MINUTE

    shop.note(action_id, DeliveryStep.HANDED, "push")

    (contact,) = side_of(shop.state).contacts
    assert (contact.time_us, contact.is_handed) == (NOON_US + MINUTE, True)
    assert shop.state.outbox[action_id].handed_us == NOON_US + MINUTE
    shop.now_us += MINUTE
    shop.note(action_id, DeliveryStep.HANDED, "push")
    assert side_of(shop.state).contacts == [contact], "a second hand-over changes nothing"


@pytest.mark.parametrize("what", ["decline", "accept", "convert", "expiry", "a new moment", "withdrawal", "delivered"])
def test_a_contact_that_was_made_counts_whatever_becomes_of_its_action(what):
    shop, action_id = handed_shop()
    match what:
        case "expiry":
            shop.pass_time(15 * MINUTE)
        case "a new moment":
            shop.third_check()
            shop.decide(APP)
        case "withdrawal":
            shop.note(action_id, DeliveryStep.WITHDRAWN, "push", reason="NOT_ELIGIBLE")
            assert shop.state.actions[action_id].why == "NOT_ELIGIBLE"
        case _:
            assert shop.report(what, action_id)

    assert outbox_of(shop.state) == {}
    assert made(shop) == [(PUSH, True)]
    assert cap_of(shop)
    shop.pass_time(DAY)
    assert not cap_of(shop)


def test_a_refusal_gives_a_contact_back_even_after_its_action_is_forgotten():
    for later_us in (0, 16 * MINUTE, HOUR):
        shop, action_id = handed_shop()
        shop.pass_time(later_us)
        assert shop.report("undelivered", action_id, channel="push")
        assert (PUSH, True) not in made(shop)
        assert not shop.report("undelivered", action_id, channel="push")
    shop, action_id = handed_shop()
    shop.pass_time(2 * DAY)
    shop.pass_time(2 * DAY)
    assert action_id not in shop.state.actions
    assert shop.report("undelivered", action_id)
    assert made(shop) == []


@pytest.mark.parametrize("proof", ["delivered", "click", "impression", "convert"])
def test_a_contact_that_was_given_back_is_proved_by_a_later_word_on_its_channel(proof):
    shop, action_id = handed_shop()
    change(shop.state, action_id, fallbacks=())
    shop.now_us += MINUTE
    shop.report("undelivered", action_id)
    assert made(shop) == []
    shop.now_us += MINUTE

    assert shop.report(proof, action_id, channel="push")

    (contact,) = side_of(shop.state).contacts
    assert (contact.channel, contact.is_handed, contact.time_us) == (PUSH, True, NOON_US), "as of its hand-over"


def test_an_outcome_where_members_ask_proves_no_contact():
    shop, action_id = handed_shop()
    change(shop.state, action_id, fallbacks=())
    shop.report("undelivered", action_id)

    shop.report("impression", action_id, channel="app")

    assert made(shop) == []


def test_an_outcome_where_only_we_speak_proves_a_contact_of_which_no_hand_over_is_known():
    shop, action_id = sent_shop()
    shop.pass_time(15 * MINUTE)
    assert made(shop) == []

    assert shop.report("click", action_id, channel="sms")

    assert made(shop) == [(SMS, True)]


def test_what_was_noted_and_not_handed_over_holds_a_place_again():
    shop, action_id = handed_shop()

    shop.note(action_id, DeliveryStep.KEPT_BACK, "push")

    assert made(shop) == [(PUSH, False)]
    assert shop.state.outbox[action_id].handed_us == 0
    shop.pass_time(15 * MINUTE)
    assert made(shop) == []


@pytest.mark.parametrize("ends", ["accept", "expiry"])
def test_what_was_noted_and_not_handed_over_counts_nothing_once_it_is_on_its_way_no_more(ends: str):
    shop, action_id = handed_shop()
    if ends == "accept":
        shop.report("accept", action_id)
    else:
        shop.pass_time(15 * MINUTE)
    assert (outbox_of(shop.state), made(shop)) == ({}, [(PUSH, True)])
    assert kept_back(shop.state, action_id, SMS) is None

    note = kept_back(shop.state, action_id, PUSH)
    assert note is not None
    shop.note(action_id, note.step, note.channel)

    assert made(shop) == []
    assert kept_back(shop.state, action_id, PUSH) is None


def test_what_was_not_handed_over_on_one_channel_keeps_its_contact_on_another():
    shop, action_id = handed_shop()
    change(shop.state, action_id, fallbacks=(SMS,))
    shop.report("undelivered", action_id)
    shop.note(action_id, DeliveryStep.HANDED, "sms")
    assert kept_back(shop.state, action_id, PUSH) is None

    shop.note(action_id, DeliveryStep.KEPT_BACK, "push")

    assert made(shop) == [(SMS, True)]
    assert shop.state.outbox[action_id].handed_us


def test_what_one_channel_could_not_deliver_takes_its_place_on_the_next():
    shop, action_id = handed_shop()
    change(shop.state, action_id, fallbacks=(SMS,))

    assert shop.report("undelivered", action_id)

    outbound = shop.state.outbox[action_id]
    assert (outbound.channel, outbound.fallbacks, outbound.handed_us, outbound.is_fallback) == (SMS, (), 0, True)
    assert made(shop) == [(SMS, False)]
    assert not shop.report("undelivered", action_id), "nobody has it on sms yet"
    shop.note(action_id, DeliveryStep.HANDED, "sms")
    assert shop.report("delivered", action_id, channel="push"), "after all"
    assert made(shop) == [(SMS, True), (PUSH, True)]
    assert outbox_of(shop.state) == {}


@pytest.mark.parametrize("word", ["delivered", "undelivered"])
@pytest.mark.parametrize("named", ["push", ""])
def test_a_group_that_had_a_copy_says_nothing_of_what_became_of_the_action(word, named):
    copied = with_groups(EAGER, PUSH, ("main", "archive"))
    shop, action_id = handed_shop(copied)
    change(shop.state, action_id, fallbacks=(SMS,))
    assert shop.report("undelivered", action_id, channel="push", group="main")
    assert made(shop) == [(SMS, False)]
    assert not shop.report(word, action_id, channel=named, group="archive"), "the action has left its channel"
    assert made(shop) == [(SMS, False)]
    assert action_id in shop.state.outbox, "it is still owed on sms"

    shop, action_id = handed_shop(copied)
    assert shop.report("delivered", action_id, channel=named, group="main")
    assert shop.report("delivered", action_id, channel=named, group="archive")
    assert outbox_of(shop.state) == {}
    assert not shop.report(word, action_id, channel=named, group="archive"), "said once more"
    assert made(shop) == [(PUSH, True)]
    shop.pass_time(23 * HOUR)
    shop.state.actions.forget(shop.state.actions.slots_in_order())
    assert not shop.report(word, action_id, channel=named, group="archive"), "of an action that is forgotten"
    assert made(shop) == [(PUSH, True)]


def test_a_contact_of_the_first_fold_that_was_delivered_leaves_no_room_at_a_hand_over():
    shop = Shop(EAGER)
    shop.signal("app.consent", is_on=1.0)
    shop.state.fold_version = 1
    shop.third_check()
    delivered = shop.decide(NONE).slate[0].action_id
    shop.report("delivered", delivered, channel="push")
    assert made(shop) == [(PUSH, False)], "no hand-over was kept then"
    shop.state.fold_version = 2
    shop.now_us += MINUTE
    shop.third_check()
    decision = shop.weigh(shop.draft(NONE))
    until_us = decision.slate[0].valid_until_us
    shop.record(replace(decision, send_channel="push", send_before_us=until_us, send_not_before_us=0))

    assert next_step(shop.state, decision.slate[0].action_id, ("push",)) is None


def test_a_report_of_a_time_before_its_decision_changes_nothing():
    shop, action_id = handed_shop()
    allowed = shop.event("hearth.accept", action_id=action_id, ago_us=PLAN.clock.future_us)
    too_early = replace(allowed, id=b"early", time_us=allowed.time_us - 1)

    assert shop.fold(too_early).effects == (False,)
    assert shop.action_status(action_id) == "live"
    assert shop.fold(allowed).effects == (True,)


def test_where_events_are_the_clock_a_report_may_lag_behind_its_decision():
    shop, action_id = handed_shop()
    shop.state.stream_clock = True

    assert shop.report("accept", action_id, ago_us=HOUR)


def test_in_a_term_of_the_first_fold_a_contact_is_given_back_with_its_action():
    shop = Shop(EAGER)
    shop.state.fold_version = 1
    shop.third_check()
    action_id = shop.decide(NONE).slate[0].action_id
    shop.report("accept", action_id, channel="sms")

    assert made(shop) == []
