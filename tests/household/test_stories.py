"""The stories of S1 and J2, played on a small plan.

Laws: S1: second check nothing; third within 7 days an answer in the same request; at exactly 7 days and a second later
nothing. J2: one slate, the same action ids on every channel; declined on one, gone on all, with its family for a time;
accepted, withdrawn everywhere; a signal past its action window makes no offer.
"""

from dataclasses import replace

import pytest

from household.plan import NONE, Plan, Scope
from household.state import NO_MEMBER
from tests.household.shop import (
    APP,
    CHECK,
    DAY,
    EAGER,
    HOUR,
    IVR,
    LOW_BALANCE,
    MINUTE,
    PLAN,
    PUSH,
    SMS,
    S,
    Shop,
    with_journey,
    with_offer,
)
from tests.household.side import outbox_of, side_of

SEVEN_DAYS = 7 * DAY


def checks(shop: Shop, *ago_us: int) -> int:
    """Check the balance so long ago each, in order; return how many moments that made."""
    folded = shop.fold(*(shop.event("app.balance_check", ago_us=ago) for ago in ago_us))
    return len(folded.moments)


# --- S1 --------------------------------------------------------------------------------------------------------------


def test_at_the_second_check_nothing_happens():
    shop = Shop(stream_clock=True)

    assert checks(shop, HOUR, 0) == 0
    decision = shop.decide(APP, with_types=(CHECK,), request_id="r")
    assert (decision.slate, decision.answered, decision.reasons[-1]) == ((), "", "NO_CANDIDATES")


def test_at_the_third_check_within_seven_days_the_same_request_is_answered():
    shop = Shop(stream_clock=True)
    assert checks(shop, SEVEN_DAYS - 1, HOUR, 0) == 1

    decision = shop.decide(APP, with_types=(CHECK,), request_id="r")

    assert shop.offered(decision) == "film_topup"
    assert decision.reasons == ("BEST_VALUE", "MOMENT:low_balance", "GROSS")
    assert [moment.journey for moment in decision.moments] == ["low_balance"]
    assert side_of(shop.state).pending == []


@pytest.mark.parametrize("late_us", [0, S])
def test_a_third_check_after_exactly_seven_days_or_a_second_more_is_none(late_us):
    shop = Shop(stream_clock=True)

    assert checks(shop, SEVEN_DAYS + late_us, HOUR, 0) == 0
    assert shop.decide(APP, with_types=(CHECK,), request_id="r").slate == ()


def test_checks_of_two_members_are_not_added_up():
    shop = Shop()
    folded = shop.fold(
        shop.event("app.balance_check", member="anna"),
        shop.event("app.balance_check", member="bert"),
        shop.event("app.balance_check", member="anna"),
    )

    assert folded.moments == ()


def test_the_price_is_that_of_her_segment():
    shop = Shop()
    shop.signal("app.consent", age=20)
    shop.third_check()

    assert shop.decide(APP).slate[0].price_minor == 700

    other = Shop()
    other.third_check()
    assert other.decide(APP).slate[0].price_minor == 900, "an unknown age is in no segment"


def test_the_moment_does_not_come_back_within_its_cooldown_and_counts_on_after_it():
    shop = Shop()
    first = shop.third_check().moments
    shop.decide(APP)
    again = shop.third_check().moments
    shop.pass_time(SEVEN_DAYS)
    third = shop.third_check().moments

    assert [moment.moment_id.split("/")[:3] for _, moment in (*first, *again, *third)] == [
        ["home", "low_balance", "1"],
        ["home", "low_balance", "2"],
    ]


def test_past_its_action_window_a_moment_makes_no_offer_and_is_settled():
    shop = Shop()
    shop.third_check()
    shop.now_us += 15 * MINUTE + 1
    shop.signal("app.visit")

    decision = shop.decide(NONE)

    assert (decision.slate, decision.send_channel) == ((), "")
    assert "STALE_SIGNAL" in decision.reasons
    assert side_of(shop.state).pending == []


def test_at_the_very_end_of_its_action_window_a_moment_still_counts():
    shop = Shop()
    shop.third_check()
    shop.now_us += 15 * MINUTE
    shop.signal("app.visit")

    assert shop.decide(APP).slate != ()


# --- J2 --------------------------------------------------------------------------------------------------------------


def consenting(plan: Plan = PLAN) -> Shop:
    shop = Shop(plan)
    shop.signal("app.consent", is_on=1)
    return shop


def test_the_slate_stands_on_every_channel_under_the_same_action_ids():
    shop = consenting()
    first = shop.decide(APP, request_id="1")
    second = shop.decide(IVR, request_id="2")
    third = shop.decide(APP, request_id="3")

    assert first.answered == second.answered == third.answered != ""
    assert second.stands == third.stands == first.decision_id
    assert second.reasons == ("SLATE_STANDS",)
    assert shop.state.counters.served == 2


def test_each_channel_gets_its_first_action_that_it_can_carry():
    shop = consenting()
    decision = shop.decide(APP, scores={3: 1.0})
    assert [action.offer for action in decision.slate] == ["broadband", "wallet"]

    assert shop.offered(shop.decide(IVR, request_id="2")) == "wallet"
    assert shop.offered(shop.decide(APP, request_id="3")) == "broadband"


def test_a_channel_that_can_carry_nothing_of_the_slate_is_told_so():
    shop = Shop(with_offer(with_offer(PLAN, 2, treatments=()), 3, prior_acceptance=0.5))
    shop.signal("app.consent", is_on=1)
    shop.decide(APP, request_id="1")

    assert shop.decide(IVR, request_id="2").reasons == ("SLATE_STANDS", "CHANNEL_CANNOT_CARRY")


def test_declined_on_one_channel_the_offer_and_its_family_are_gone_on_all():
    shop = Shop(EAGER)
    shop.signal("app.consent", is_on=1)
    shop.third_check()
    decision = shop.decide(APP, request_id="1")
    assert shop.report("decline", decision.answered)

    for channel in (APP, IVR):
        assert shop.offered(shop.decide(channel, with_types=(), request_id=f"{channel}")) == ""
    shop.pass_time(7 * DAY - 1)
    shop.third_check()
    assert shop.vetoes(IVR) == {"film_topup": ("DECLINED_OFFER",), "music_topup": ("DECLINED_FAMILY",)}
    shop.now_us += 1
    shop.signal("app.visit")
    assert shop.vetoes(IVR) == {"film_topup": ("DECLINED_OFFER",), "music_topup": ()}


def test_after_its_time_a_declined_offer_may_come_back():
    shop = consenting()
    decision = shop.decide(APP)
    shop.report("decline", decision.answered)
    shop.pass_time(90 * DAY)

    assert shop.vetoes(APP)["wallet"] == ()


def test_a_decline_ends_the_whole_slate_and_takes_back_what_waits_to_be_sent():
    shop = consenting()
    shop.third_check()
    decision = shop.decide(NONE)
    assert list(outbox_of(shop.state)) == [decision.slate[0].action_id]

    assert shop.report("decline", decision.slate[1].action_id)

    assert [shop.action(decision, position).status for position in (0, 1)] == ["withdrawn", "declined"]
    assert outbox_of(shop.state) == {}
    assert side_of(shop.state).slates == {}


def test_accepted_the_action_is_withdrawn_everywhere():
    shop = consenting()
    shop.third_check()
    decision = shop.decide(NONE)
    assert decision.send_channel == "push"

    assert shop.report("accept", decision.slate[0].action_id)

    assert [shop.action(decision, position).status for position in (0, 1)] == ["accepted", "withdrawn"]
    assert outbox_of(shop.state) == {}
    assert shop.decide(APP, with_types=(), request_id="2").answered == ""
    assert not shop.report("accept", decision.slate[0].action_id), "a second accept changes nothing"
    assert not shop.report("decline", decision.slate[0].action_id), "nor does a decline after it"


def test_a_declined_offer_is_not_shown_from_another_slate_of_the_household():
    """Asked without a member first, the household holds a slate of its own beside the member's."""
    shop = consenting()
    whole = shop.decide(APP, member="", request_id="1")
    shop.third_check()
    own = shop.decide(APP, request_id="2")
    assert {NO_MEMBER, 0} == set(side_of(shop.state).slates)
    assert [action.offer for action in whole.slate] == ["wallet", "broadband"]
    shop.report("decline", own.answered)
    assert shop.offered(shop.decide(APP, request_id="3")) == "wallet", "another offer, of another family, stands"

    shop.report("decline", whole.slate[0].action_id)

    assert shop.offered(shop.decide(APP, with_types=(), request_id="4")) == ""


@pytest.mark.parametrize("declined_on", ["anna", ""])
def test_an_offer_declined_by_one_is_gone_for_the_whole_household(declined_on):
    shop = consenting()
    of_member = {who: shop.decide(APP, member=who, request_id=f"r{who}") for who in ("anna", "")}
    assert of_member["anna"].answered == of_member[""].answered, "the household has one answer"
    shop.report("decline", of_member[declined_on].answered, member=declined_on)

    for who in ("anna", "", "bert"):
        later = shop.decide(APP, member=who, request_id=f"later {who}")
        assert shop.offered(later) != "wallet", f"declined by {declined_on!r}, shown to {who!r}"


def test_a_new_moment_of_a_member_comes_before_the_slate_that_stands_for_the_household():
    shop = consenting()
    first = shop.decide(APP, request_id="1")
    shop.third_check()
    second = shop.decide(APP, request_id="2")

    assert (shop.offered(second), second.stands) == ("film_topup", "")
    assert shop.decide(APP, request_id="3", member="bert").answered == first.answered
    assert shop.decide(APP, request_id="4").answered == second.answered


def test_a_new_moment_of_the_household_ends_the_slate_that_stood():
    shop = consenting(with_journey(PLAN, "low_balance", trigger=replace(LOW_BALANCE, scope=Scope.HOUSEHOLD)))
    first = shop.decide(APP, request_id="1")
    shop.third_check()
    second = shop.decide(APP, request_id="2")

    assert shop.action(first).status == "withdrawn"
    assert (shop.offered(second), second.stands) == ("film_topup", "")
    other = shop.decide(APP, request_id="3", member="bert")
    assert other.stands == second.decision_id
    assert shop.offered(other) == "music_topup", "the film's price hangs on her age, so it is hers alone"


def test_past_its_validity_a_slate_stands_no_more():
    shop = consenting()
    first = shop.decide(APP, request_id="1")
    shop.now_us += DAY
    shop.signal("app.consent", is_on=1)
    second = shop.decide(APP, request_id="2")

    assert second.stands == ""
    assert second.answered not in ("", first.answered)
    assert not shop.report("accept", first.answered), "it was valid until before this instant"


def test_outbound_falls_back_to_the_next_channel_that_is_open():
    shop = Shop()
    shop.third_check()

    assert shop.decide(NONE).send_channel == "sms", "push needs a consent that is unknown"
    assert (PLAN.channels[PUSH].name, PLAN.channels[SMS].name) == ("push", "sms")
