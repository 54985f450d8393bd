"""decide: candidates, vetoes, weighing, control, exploration, and the look back before a decision is written.

Laws: same state, same ask, same decision; a veto beats any score, and says why; what is unknown is not allowed; nothing
wins unless something is worth more; the control group is drawn by household, stands still, and is never shown anything;
propensities are those of the draw; a draft that no longer holds is made again.
"""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from household.decide import still_allowed
from household.deciding.arbitration import chance, is_control
from household.deciding.contact_policy import is_quiet, local_minute_of_week
from household.decision import Withdrawal
from household.plan import NONE, Arbitration, ContactPolicy, Plan, Scope
from tests.household.shop import (
    APP,
    DAY,
    HOUR,
    IVR,
    LOW_BALANCE,
    MINUTE,
    NOON_US,
    PLAN,
    PUSH,
    SMS,
    VISIT,
    S,
    Shop,
    with_journey,
    with_offer,
)
from tests.household.side import outbox_of, side_of


def visited(plan: Plan = PLAN) -> Shop:
    shop = Shop(plan)
    shop.signal("app.visit")
    return shop


# --- what is decided -------------------------------------------------------------------------------------------------


def test_the_same_state_and_ask_give_the_same_decision():
    def decided() -> str:
        shop = Shop()
        shop.third_check()
        return repr(shop.weigh(shop.draft(APP, request_id="r")))

    assert decided() == decided()


def test_the_best_is_worth_its_acceptance_times_margin_and_lever_less_its_costs():
    shop = visited(with_offer(with_offer(PLAN, 3, lever=2.0, cost_minor=7), 2, cost_minor=10))
    decision = shop.weigh(shop.draft(APP))

    assert {one.offer: one.value_minor for one in decision.candidates} == {
        "wallet": 0.3 * 500 - 10,
        "broadband": 0.2 * 400 * 2.0 - 7,
    }
    assert [action.offer for action in decision.slate] == ["broadband", "wallet"]


def test_the_cost_of_the_channel_counts():
    shop = Shop()
    shop.third_check()

    assert shop.weigh(shop.draft(NONE)).candidates[0].value_minor == 0.2 * 1_000 - 5, "by sms"
    assert shop.weigh(shop.draft(APP)).candidates[0].value_minor == 0.2 * 1_000


@pytest.mark.parametrize("margin", [0, -100])
def test_nothing_wins_when_nothing_is_worth_more_than_nothing(margin):
    shop = visited(with_offer(with_offer(PLAN, 2, margin_minor=margin), 3, margin_minor=margin))
    decision = shop.decide(APP)

    assert (decision.slate, decision.answered) == ((), "")
    assert decision.reasons == ("NOTHING_BETTER", "CONTACT:inbound", "GROSS")
    assert [one.value_minor for one in decision.candidates] == [0.3 * margin, 0.2 * margin]


def test_of_two_of_equal_worth_a_lot_of_decision_and_action_says_which_comes_first():
    shop = visited(with_offer(PLAN, 3, margin_minor=500, prior_acceptance=0.3))
    decisions = [shop.weigh(shop.draft(APP, request_id=f"r{number}")) for number in range(400)]

    assert {one.propensity for one in decisions} == {0.5}
    assert {tuple(action.offer for action in one.slate) for one in decisions} == {
        ("wallet", "broadband"),
        ("broadband", "wallet"),
    }
    assert Counter(one.slate[0].offer for one in decisions)["wallet"] == pytest.approx(200, abs=40)
    assert shop.weigh(shop.draft(APP, request_id="r0")).slate == decisions[0].slate


def test_a_slate_is_no_longer_than_allowed():
    shop = visited(replace(PLAN, arbitration=Arbitration(slate_length=1)))

    assert len(shop.decide(APP).slate) == 1


def test_a_moments_offers_come_alone_and_a_contacts_only_without_one():
    shop = visited()
    assert list(shop.vetoes(APP)) == ["wallet", "broadband"]
    shop.third_check()
    assert list(shop.vetoes(APP)) == ["film_topup", "music_topup"]


def test_a_members_own_moment_waits_for_that_member():
    shop = visited()
    shop.third_check(member="bert")
    asked = shop.decide(APP, request_id="1")
    assert (shop.offered(asked), asked.moments) == ("wallet", ())
    assert [moment.journey for moment in side_of(shop.state).pending] == ["low_balance"]

    own = shop.decide(APP, member="bert", request_id="2")

    assert shop.offered(own) == "film_topup"
    assert side_of(shop.state).pending == []


def test_a_moment_of_the_household_is_answered_to_whoever_asks_first():
    shop = visited(with_journey(PLAN, "low_balance", trigger=replace(LOW_BALANCE, scope=Scope.HOUSEHOLD)))
    shop.third_check(member="bert")

    assert shop.offered(shop.decide(APP)) == "film_topup"
    assert side_of(shop.state).pending == []


def test_a_contact_brings_up_standing_offers_only():
    shop = visited(with_offer(PLAN, 3, standing=False))

    assert list(shop.vetoes(APP)) == ["wallet"]


def test_signals_that_are_no_contact_bring_up_nothing():
    shop = visited()

    assert shop.vetoes(APP, with_types=(0,)) == {}
    assert list(shop.vetoes(APP, with_types=(0, VISIT))) == ["wallet", "broadband"]


def test_a_household_never_heard_of_is_an_answer_with_a_reason():
    shop = Shop()
    decision = shop.weigh(shop.draft(APP))

    assert (decision.slate, decision.candidates, decision.reasons) == ((), (), ("UNKNOWN_HOUSEHOLD",))


# --- vetoes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("consent", "against"), [(1, ()), (0, ("NO_CONSENT",)), (None, ("NO_CONSENT",))])
def test_without_a_known_consent_for_the_asking_channel_nothing_is_offered(consent, against):
    shop = visited()
    if consent is not None:
        shop.signal("app.consent", is_on=consent)

    assert shop.vetoes(IVR)["wallet"] == against
    assert shop.vetoes(APP)["wallet"] == (), "the app needs none"


def test_a_condition_that_cannot_be_evaluated_is_not_met():
    needs_age = with_offer(PLAN, 2, eligible=3)
    shop = visited(needs_age)
    assert shop.vetoes(APP)["wallet"] == ("NOT_ELIGIBLE",)

    shop.signal("app.consent", age=20)
    assert shop.vetoes(APP)["wallet"] == ()
    shop.signal("app.consent", age=27)
    assert shop.vetoes(APP)["wallet"] == ("NOT_ELIGIBLE",)


def test_a_product_already_held_is_not_offered():
    shop = visited()
    shop.signal("wallet.activated")

    assert shop.vetoes(APP)["wallet"] == ("NOT_ELIGIBLE",)


def test_a_veto_beats_any_score():
    shop = visited()
    shop.signal("wallet.activated")
    decision = shop.weigh(shop.draft(APP), {2: 1.0, 3: 0.01})

    assert [action.offer for action in decision.slate] == ["broadband"]
    vetoed = next(one for one in decision.candidates if one.offer == "wallet")
    assert (vetoed.score, vetoed.value_minor, vetoed.vetoes) == (None, None, ("NOT_ELIGIBLE",))


def test_when_something_speaks_against_each_the_reason_says_so():
    shop = visited(with_offer(PLAN, 3, eligible=3))
    shop.signal("wallet.activated")

    assert shop.decide(APP).reasons == ("ALL_VETOED", "NOT_ELIGIBLE", "CONTACT:inbound")


def test_an_offer_that_excludes_one_live_elsewhere_in_the_household_is_vetoed():
    shop = visited(with_offer(with_offer(PLAN, 0, excludes=(3,)), 3, excludes=(0, 2)))
    shop.third_check()
    first = shop.decide(APP)
    assert [(action.offer, action.is_personal) for action in first.slate] == [
        ("film_topup", True),
        ("music_topup", True),
    ]

    assert shop.vetoes(APP, member="bert") == {"wallet": (), "broadband": ("EXCLUDED_BY",)}
    shop.pass_time(DAY)
    assert shop.vetoes(APP, member="bert") == {"wallet": (), "broadband": ()}


def test_what_stands_in_her_own_slate_excludes_nothing_for_it_is_about_to_be_replaced():
    shop = visited(with_offer(PLAN, 0, excludes=(2,)))
    assert shop.offered(shop.decide(APP)) == "wallet"
    shop.third_check()

    assert shop.vetoes(APP)["film_topup"] == ()


def test_a_moment_takes_back_what_stands_for_the_household_and_does_not_go_with_it():
    shop = visited(with_offer(with_offer(PLAN, 0, excludes=(2,)), 2, excludes=(0, 3)))
    stood = shop.decide(APP)
    assert [action.offer for action in stood.slate] == ["wallet", "broadband"]
    shop.third_check()
    own = shop.decide(APP)

    assert own.withdrawals == (Withdrawal(action_id=stood.slate[0].action_id, reason="EXCLUDED_BY"),)
    assert shop.action(stood, 0).why == "EXCLUDED_BY"
    assert (shop.offered(own), shop.offered(shop.decide(APP, member=""))) == ("film_topup", "broadband")


def test_all_that_speaks_against_an_offer_is_told():
    shop = visited()
    shop.report("decline", shop.decide(APP).answered)
    shop.signal("wallet.activated")

    assert shop.vetoes(IVR)["wallet"] == ("NO_CONSENT", "NOT_ELIGIBLE", "DECLINED_OFFER")


def sends(shop: Shop) -> str:
    channel = shop.open_channel()
    return "" if channel == NONE else shop.state.plan.channels[channel].name


@pytest.mark.parametrize(("is_on", "channel"), [(1, "push"), (0, "sms"), (None, "sms")])
def test_nothing_is_sent_where_consent_is_not_known(is_on, channel):
    shop = Shop()
    if is_on is not None:
        shop.signal("app.consent", is_on=is_on)
    shop.third_check()

    assert sends(shop) == channel


def test_a_channel_that_asks_gets_an_answer_and_no_message_besides():
    shop = Shop()
    shop.third_check()
    decision = shop.decide(APP)

    assert (decision.send_channel, outbox_of(shop.state)) == ("", {})


def at(hour: int, minute: int, day: int = 16, month: int = 6) -> int:
    """Return an instant of 2025, UTC."""
    return int(datetime(2025, month, day, hour, minute, tzinfo=UTC).timestamp()) * S


NIGHT = ContactPolicy(quiet_from_minute=22 * 60, quiet_to_minute=7 * 60, time_zone="UTC")
LUNCH = replace(NIGHT, quiet_from_minute=12 * 60, quiet_to_minute=13 * 60)


@pytest.mark.parametrize(
    ("policy", "now_us", "is_quiet_then"),
    [
        (NIGHT, at(21, 59), False),
        (NIGHT, at(22, 0), True),
        (NIGHT, at(0, 0), True),
        (NIGHT, at(6, 59), True),
        (NIGHT, at(7, 0), False),
        (LUNCH, at(11, 59), False),
        (LUNCH, at(12, 0), True),
        (LUNCH, at(12, 59), True),
        (LUNCH, at(13, 0), False),
        (replace(LUNCH, quiet_to_minute=12 * 60), at(12, 0), False),
        # Berlin: UTC+1 until 2025-03-30 01:00 UTC, UTC+2 until 2025-10-26 01:00 UTC.
        (replace(NIGHT, time_zone="Europe/Berlin"), at(5, 59, 29, 3), True),
        (replace(NIGHT, time_zone="Europe/Berlin"), at(6, 0, 29, 3), False),
        (replace(NIGHT, time_zone="Europe/Berlin"), at(4, 59, 30, 3), True),
        (replace(NIGHT, time_zone="Europe/Berlin"), at(5, 0, 30, 3), False),
        (replace(NIGHT, time_zone="Europe/Berlin"), at(5, 30, 26, 10), True),
        (replace(NIGHT, time_zone="Europe/Berlin"), at(6, 0, 26, 10), False),
        # The hour that comes twice is quiet both times.
        (
            replace(NIGHT, quiet_from_minute=120, quiet_to_minute=180, time_zone="Europe/Berlin"),
            at(0, 30, 26, 10),
            True,
        ),
        (
            replace(NIGHT, quiet_from_minute=120, quiet_to_minute=180, time_zone="Europe/Berlin"),
            at(1, 30, 26, 10),
            True,
        ),
        (
            replace(NIGHT, quiet_from_minute=120, quiet_to_minute=180, time_zone="Europe/Berlin"),
            at(2, 30, 26, 10),
            False,
        ),
    ],
)
def test_quiet_hours_are_local_half_open_and_may_span_midnight(policy, now_us, is_quiet_then):
    plan = replace(PLAN, policy=replace(policy, caps=()))
    assert is_quiet(plan, now_us) is is_quiet_then

    shop = Shop(plan, now_us=now_us)
    shop.third_check()
    assert sends(shop) == ("" if is_quiet_then else "sms")


def test_a_channel_without_quiet_hours_speaks_at_night():
    loud = list(PLAN.channels)
    loud[SMS] = replace(loud[SMS], quiet_hours=False)
    shop = Shop(replace(PLAN, channels=tuple(loud), policy=NIGHT), now_us=at(23, 0))
    shop.third_check()

    assert sends(shop) == "sms"


@pytest.mark.parametrize("reason", ["NO_CONSENT", "CONTACT_CAP", "QUIET_HOURS"])
def test_why_nothing_was_sent_is_told(reason):
    plan, now_us = with_journey(PLAN, "low_balance", outbound=(SMS,)), NOON_US
    if reason == "NO_CONSENT":
        plan = with_journey(plan, "low_balance", outbound=(PUSH,))
    if reason == "QUIET_HOURS":
        plan, now_us = replace(plan, policy=NIGHT), at(23, 0)
    if reason == "CONTACT_CAP":
        plan = replace(plan, policy=replace(plan.policy, caps=(replace(plan.policy.caps[0], most=0),)))
    shop = Shop(plan, now_us=now_us)
    shop.third_check()
    decision = shop.decide(NONE)

    if reason == "NO_CONSENT":
        assert (decision.send_channel, decision.reasons[:3]) == ("push", ("BEST_VALUE", "HELD", "NO_CONSENT"))
        assert side_of(shop.state).contacts == [], "it waits for the consent, without a place"
    else:
        assert decision.send_channel == "", "its action window ends before the night does"
    assert decision.slate != (), "it stands for when she comes by herself"
    assert reason in decision.reasons


@pytest.mark.parametrize(("elapsed_us", "reasons"), [(0, ("MOMENT:low_balance",)), (1, ("STALE_SIGNAL",))])
def test_past_its_action_window_a_moment_is_stale(elapsed_us, reasons):
    shop = Shop()
    shop.third_check()
    shop.now_us += 15 * MINUTE + elapsed_us
    shop.signal("app.visit", member="bert")

    draft = shop.draft(NONE)
    assert draft.reasons[: len(reasons)] == reasons
    assert set(draft.vetoes.values()) == {("STALE_SIGNAL",) * (reasons == ("STALE_SIGNAL",))}


def test_what_a_contact_brings_up_is_weighed_beside_what_it_is_too_late_for():
    shop = visited()
    shop.third_check()
    shop.now_us += 15 * MINUTE + 1
    shop.signal("app.visit")
    decision = shop.decide(APP)

    assert {one.offer: one.vetoes for one in decision.candidates} == {
        "wallet": (),
        "broadband": (),
        "film_topup": ("STALE_SIGNAL",),
        "music_topup": ("STALE_SIGNAL",),
    }
    assert (shop.offered(decision), len(decision.moments)) == ("wallet", 1)


def test_a_draft_whose_signal_turns_stale_before_it_is_written_is_made_again():
    shop = Shop()
    shop.third_check()
    shop.now_us += 15 * MINUTE
    shop.signal("app.visit", member="bert")
    draft = shop.draft(APP)
    assert still_allowed(shop.state, draft)
    shop.now_us += 1
    shop.signal("app.visit", household="elsewhere")

    assert not still_allowed(shop.state, draft)


@pytest.mark.parametrize(("minutes", "left"), [(0, 1.0), (5, 0.5), (10, 0.25), (15, 0.125)])
def test_what_a_moment_brings_up_loses_its_value_with_its_signals_half_life(minutes, left):
    checks = replace(PLAN.event_types[0], half_life_us=5 * MINUTE)
    shop = Shop(replace(PLAN, event_types=(checks, *PLAN.event_types[1:])))
    shop.third_check()
    shop.now_us += minutes * MINUTE
    shop.signal("app.visit", household="elsewhere")
    film, music = shop.weigh(shop.draft(APP)).candidates

    assert (film.terms.context, music.terms.context) == (left, left)
    assert (film.value_minor, music.value_minor) == (200.0 * left, 100.0 * left)


@given(st.integers(0, 2**32))
def test_the_minute_of_the_week_is_local(second):
    plan = replace(PLAN, policy=replace(PLAN.policy, time_zone="Asia/Kolkata"))  # UTC+5:30, no summer time

    minutes = second // 60 + 330 + 3 * 1_440  # 1970-01-01 was a Thursday
    assert local_minute_of_week(plan, second * S) == minutes % 10_080


# --- control groups --------------------------------------------------------------------------------------------------


def households(count: int) -> list[bytes]:
    return [b"household-%d" % number for number in range(count)]


def test_the_control_group_has_its_share_and_stands_still():
    plan = with_journey(PLAN, "low_balance", control_share=0.1)
    drawn = [is_control(plan, one, {"low_balance"}) for one in households(10_000)]

    assert sum(drawn) == pytest.approx(1_000, abs=100)
    later = with_offer(with_journey(plan, "inbound", control_share=0.5), 0, margin_minor=1)
    assert [is_control(later, one, {"low_balance"}) for one in households(10_000)] == drawn
    wider = with_journey(plan, "low_balance", control_share=0.2)
    assert all(
        is_control(wider, one, {"low_balance"}) for one, was in zip(households(10_000), drawn, strict=True) if was
    )


def test_journeys_and_salts_draw_independently():
    plan = with_journey(with_journey(PLAN, "low_balance", control_share=0.5), "inbound", control_share=0.5)
    other = replace(plan, arbitration=replace(plan.arbitration, salt="another"))
    keys = households(4_000)
    first = [is_control(plan, one, {"low_balance"}) for one in keys]
    for second in (
        [is_control(plan, one, {"inbound"}) for one in keys],
        [is_control(other, one, {"low_balance"}) for one in keys],
    ):
        assert sum(one == two for one, two in zip(first, second, strict=True)) == pytest.approx(2_000, abs=150)


def test_a_control_household_is_decided_recorded_and_never_answered():
    shop = Shop(with_journey(PLAN, "low_balance", control_share=1.0))
    shop.third_check()
    decision = shop.decide(APP)

    assert decision.withheld
    assert decision.slate[0].offer == "film_topup"
    assert (decision.answered, decision.reasons[0]) == ("", "CONTROL_GROUP")
    assert shop.state.counters.withheld == 1


def test_a_journey_that_a_contact_starts_keeps_its_control_group_too():
    shop = visited(with_journey(PLAN, "inbound", control_share=1.0))
    decision = shop.decide(APP)

    assert decision.withheld
    assert (decision.answered, decision.reasons[0]) == ("", "CONTROL_GROUP")


def test_without_anything_to_withhold_a_control_household_is_as_any_other():
    shop = visited(with_journey(PLAN, "inbound", control_share=1.0, offers=()))

    assert not shop.decide(APP).withheld


# --- exploration -----------------------------------------------------------------------------------------------------


@given(st.text(max_size=80), st.lists(st.binary(max_size=9), max_size=3))
def test_a_chance_lies_between_0_and_1_and_depends_on_its_arguments_alone(salt, parts):
    assert 0.0 <= chance(salt, *parts) < 1.0
    assert chance(salt, *parts) == chance(salt, *parts)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_propensities_are_those_of_the_draw(share):
    shop = visited(replace(PLAN, arbitration=Arbitration(exploration=share)))
    seen: Counter[str] = Counter()
    propensities: dict[str, set[float]] = {}
    count = 4_000
    for number in range(count):
        decision = shop.weigh(shop.draft(APP, request_id=f"r{number}"))
        first = decision.slate[0].offer
        seen[first] += 1
        propensities.setdefault(first, set()).add(decision.propensity)
        assert sorted(action.offer for action in decision.slate) == ["broadband", "wallet"]

    assert propensities["wallet"] == {1.0 - share + share / 2}
    assert set(propensities.get("broadband", ())) <= {share / 2}
    assert sum(one.copy().pop() for one in propensities.values()) == pytest.approx(1.0)
    for offer, (propensity,) in propensities.items():
        assert seen[offer] / count == pytest.approx(propensity, abs=0.03)


def test_with_one_action_worth_taking_there_is_nothing_to_explore():
    shop = visited(replace(with_offer(PLAN, 3, margin_minor=-1), arbitration=Arbitration(exploration=1.0)))
    decision = shop.weigh(shop.draft(APP))

    assert [action.offer for action in decision.slate] == ["wallet"]
    assert decision.propensity == 1.0


# --- still_allowed ---------------------------------------------------------------------------------------------------


def test_a_draft_holds_while_nothing_has_come_up():
    shop = visited()
    draft = shop.draft(APP)
    shop.signal("app.visit")
    shop.signal("app.visit", household="elsewhere")

    assert still_allowed(shop.state, draft)


def opted_in() -> Shop:
    shop = Shop()
    shop.signal("app.consent", is_on=1)
    return shop


def test_an_opt_out_overtakes_an_answer():
    shop = opted_in()
    draft = shop.draft(IVR)
    shop.signal("app.consent", is_on=0)

    assert not still_allowed(shop.state, draft)


def test_an_opt_out_overtakes_a_message():
    shop = opted_in()
    shop.third_check()
    assert shop.open_channel() == PUSH
    draft = shop.draft(NONE)
    shop.signal("app.consent", is_on=0)

    assert not still_allowed(shop.state, draft)


def test_an_opt_out_overtakes_a_slate_that_stands():
    shop = opted_in()
    shop.decide(APP, request_id="1")
    draft = shop.draft(IVR, request_id="2")
    assert draft.standing is not None
    shop.signal("app.consent", is_on=0)

    assert not still_allowed(shop.state, draft)
    again = shop.draft(IVR, request_id="2")
    assert still_allowed(shop.state, again)
    assert shop.weigh(again).answered == ""


def test_a_moment_of_another_member_leaves_a_draft_alone():
    shop = visited()
    shop.signal("app.visit", member="bert")
    draft = shop.draft(APP)
    shop.third_check(member="bert")

    assert still_allowed(shop.state, draft)


def test_a_new_moment_overtakes_a_draft():
    shop = visited()
    draft = shop.draft(APP)
    shop.third_check()

    assert not still_allowed(shop.state, draft)
    assert still_allowed(shop.state, draft, may_miss_moments=True), "after some tries it is left to the next decision"


@pytest.mark.parametrize("outcome", ["accept", "decline"])
def test_the_end_of_a_slate_overtakes_a_draft(outcome):
    shop = visited()
    decision = shop.decide(APP, request_id="1")
    draft = shop.draft(APP, request_id="2")
    shop.report(outcome, decision.answered)

    assert not still_allowed(shop.state, draft)


def test_an_offer_declined_by_another_member_overtakes_a_draft():
    shop = visited()
    decision = shop.decide(APP, member="bert", request_id="1")
    draft = shop.draft(APP, member="anna", request_id="2")
    shop.report("decline", decision.answered, member="bert")

    assert not still_allowed(shop.state, draft)


def test_the_first_signal_of_a_household_overtakes_its_draft():
    shop = Shop()
    draft = shop.draft(APP)
    assert still_allowed(shop.state, draft)
    shop.signal("app.visit")

    assert not still_allowed(shop.state, draft)


def test_night_overtakes_a_message():
    shop = Shop(replace(PLAN, policy=NIGHT), now_us=at(21, 59))
    shop.third_check()
    draft = shop.draft(NONE)
    assert shop.open_channel() == SMS
    shop.now_us += MINUTE
    shop.signal("app.visit", household="elsewhere")

    assert not still_allowed(shop.state, draft)


def test_a_cap_that_filled_up_overtakes_a_message():
    caps = (replace(PLAN.policy.caps[1], most=1),)
    shop = Shop(replace(PLAN, policy=replace(PLAN.policy, caps=caps)))
    shop.third_check()
    first = shop.decide(NONE)
    shop.report("delivered", first.slate[0].action_id)
    shop.now_us += 7 * DAY
    shop.third_check(member="bert")
    draft = shop.draft(NONE, member="bert")
    assert shop.open_channel(member="bert") == SMS
    contact = side_of(shop.state).contacts[0]
    shop.state.contacts.put(replace(contact, time_us=shop.now_us - HOUR), owner=0)

    assert not still_allowed(shop.state, draft)
