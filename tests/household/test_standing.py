"""What was decided before, looked at again.

Laws: an action that stands is answered with, or sent, only while its offer exists, its condition holds, its price is
that of her segment and nothing is live that excludes it; what no longer holds is withdrawn by the next decision, with
the reason, and the next best of its slate takes its place, or a new slate where nothing is left; what was shown to one
is shown to all, unless it is a member's own.
"""

from dataclasses import replace

import pytest

from household.apply import apply_delivery
from household.decide import still_allowed
from household.deciding.hand_over import next_step
from household.deciding.standing import why_not
from household.decision import Withdrawal
from household.delivery import DeliveryStep
from household.migration import migrated
from household.plan import NONE
from tests.household.shop import (
    APP,
    DAY,
    EAGER,
    FILM,
    HAS_CONSENT,
    PLAN,
    SMS,
    WALLET,
    Shop,
    with_journey,
    with_offer,
)
from tests.household.side import outbox_of, side_of


def visited(plan=PLAN) -> Shop:
    shop = Shop(plan)
    shop.signal("app.visit")
    return shop


def test_what_she_bought_in_the_meantime_is_withdrawn_and_the_next_best_takes_its_place():
    shop = visited()
    first = shop.decide(APP, request_id="1")
    assert shop.offered(first) == "wallet"
    shop.signal("wallet.activated")
    second = shop.decide(APP, with_types=(), request_id="2")

    assert second.stands == first.decision_id
    assert second.withdrawals == (Withdrawal(action_id=first.answered, reason="NOT_ELIGIBLE"),)
    assert "WITHDRAWN:NOT_ELIGIBLE" in second.reasons
    assert shop.offered(second) == "broadband"
    assert (shop.action(first).status, shop.action(first).why) == ("withdrawn", "NOT_ELIGIBLE")

    third = shop.decide(APP, with_types=(), request_id="3")
    assert (third.withdrawals, third.answered) == ((), second.answered)


def test_where_nothing_of_a_slate_holds_any_more_it_is_weighed_anew():
    shop = visited(with_offer(with_offer(PLAN, 3, standing=False), FILM, standing=True))
    first = shop.decide(APP, request_id="1")
    assert [action.offer for action in first.slate] == ["wallet"]
    shop.signal("wallet.activated")
    second = shop.decide(APP, request_id="2")

    assert (second.stands, shop.offered(second)) == ("", "")
    assert second.withdrawals == (Withdrawal(action_id=first.answered, reason="NOT_ELIGIBLE"),)
    assert second.reasons[:2] == ("ALL_VETOED", "NOT_ELIGIBLE")


@pytest.mark.parametrize(("age", "holds"), [(26, True), (27, False)])
def test_an_action_stands_at_the_price_it_was_made_at(age: int, holds: bool):
    shop = Shop()
    shop.signal("app.consent", age=20)
    shop.third_check()
    first = shop.decide(APP, request_id="1")
    assert (shop.offered(first), first.slate[0].price_minor) == ("film_topup", 700)
    shop.signal("app.consent", age=age)
    second = shop.decide(APP, with_types=(), request_id="2")

    assert shop.offered(second) == ("film_topup" if holds else "music_topup")
    assert [one.reason for one in second.withdrawals] == ([] if holds else ["PRICE_CHANGED"])


def test_an_offer_that_a_new_playbook_no_longer_has_is_offered_no_more():
    shop = visited()
    first = shop.decide(APP, request_id="1")
    offers = (*PLAN.offers[:WALLET], replace(PLAN.offers[WALLET], name="purse"), *PLAN.offers[WALLET + 1 :])
    shop.state = migrated(shop.state, replace(PLAN, offers=offers))
    second = shop.decide(APP, with_types=(), request_id="2")

    assert [one.reason for one in second.withdrawals] == ["OFFER_GONE"]
    assert (shop.offered(first), shop.offered(second)) == ("wallet", "broadband")


def test_a_product_bought_while_an_answer_is_on_its_way_overtakes_it():
    shop = visited()
    shop.decide(APP, request_id="1")
    draft = shop.draft(APP, request_id="2")
    assert still_allowed(shop.state, draft)
    shop.signal("wallet.activated")

    assert not still_allowed(shop.state, draft)


def test_a_price_that_changes_while_a_score_is_awaited_overtakes_the_draft():
    shop = Shop()
    shop.third_check()
    draft = shop.draft(APP)
    shop.signal("app.consent", age=20)

    assert not still_allowed(shop.state, draft)


def test_a_message_that_no_longer_holds_is_taken_back_when_its_turn_comes():
    shop = Shop(with_journey(with_offer(EAGER, FILM, eligible=2), "low_balance", outbound=(SMS,)))
    shop.third_check()
    action_id = shop.decide(NONE).slate[0].action_id
    assert next_step(shop.state, action_id, ("sms",)).step is DeliveryStep.HANDED
    shop.signal("wallet.activated")

    note = next_step(shop.state, action_id, ("sms",))
    assert (note.step, note.reason, why_not(shop.state, action_id)) == (
        DeliveryStep.WITHDRAWN,
        "NOT_ELIGIBLE",
        "NOT_ELIGIBLE",
    )
    assert apply_delivery(shop.state, [note], epoch=1, stamp_us=shop.now_us)
    assert (outbox_of(shop.state), side_of(shop.state).contacts) == ({}, [])
    assert shop.state.actions[action_id].why == "NOT_ELIGIBLE"


def test_what_hangs_on_one_member_is_that_members_own_and_all_else_everybodys():
    shop = visited()
    shop.signal("app.visit", member="bert")
    first = shop.decide(APP, request_id="1")
    assert [action.is_personal for action in first.slate] == [False, False]
    for who in ("bert", "", "anna", "a stranger"):
        assert shop.decide(APP, member=who, with_types=(), request_id=who).answered == first.answered

    shop.third_check()
    own = shop.decide(APP, request_id="2")
    assert {action.is_personal for action in own.slate} == {True}
    assert shop.decide(APP, with_types=(), request_id="3").answered == own.answered
    for who in ("bert", ""):
        assert shop.decide(APP, member=who, with_types=(), request_id=f"{who} again").answered == first.answered


def test_a_member_who_asks_first_gets_no_other_answer_than_one_who_names_nobody():
    shop = visited()
    asked_by = {who: shop.decide(APP, member=who, request_id=f"by {who}").answered for who in ("anna", "", "bert")}
    assert len(set(asked_by.values())) == 1


@pytest.mark.parametrize("outcome", ["accept", "convert"])
def test_what_she_has_is_not_offered_at_once_once_more_while_it_would_be_valid(outcome: str):
    shop = visited(with_offer(PLAN, WALLET, eligible=NONE))
    first = shop.decide(APP, request_id="1")
    assert shop.offered(first) == "wallet"
    shop.report(outcome, first.answered)

    assert shop.vetoes(APP)["wallet"] == ("ACCEPTED_OFFER",)
    assert shop.offered(shop.decide(APP, member="bert", request_id="2")) == "broadband"
    shop.pass_time(DAY)
    assert side_of(shop.state).accepted_offers == {}
    assert shop.vetoes(APP)["wallet"] == ()


@pytest.mark.parametrize("who", ["anna", ""])
def test_what_one_declines_is_offered_to_nobody_of_the_household(who: str):
    shop = visited()
    first = shop.decide(APP, member=who, request_id="1")
    shop.report("decline", first.answered, member=who)
    for other in ("anna", "", "bert"):
        assert shop.offered(shop.decide(APP, member=other, request_id=other or "-")) != "wallet"


# --- fraud -----------------------------------------------------------------------------------------------------------

SUSPECTING = replace(PLAN, policy=replace(PLAN.policy, fraud=HAS_CONSENT))
"""The flag that the shop keeps as a consent serves as the suspicion: told by one event, cleared by another."""


def suspicion(shop: Shop, *, is_on: bool) -> None:
    shop.signal("app.consent", is_on=float(is_on))


def test_a_fraud_signal_suppresses_what_sells_from_its_very_event_until_it_is_cleared():
    shop = visited(SUSPECTING)
    shop.fold(shop.event("app.consent", is_on=1.0), *(shop.event("app.balance_check", ago_us=ago) for ago in (2, 1, 0)))

    assert shop.vetoes(APP) == {"film_topup": ("FRAUD",), "music_topup": ("FRAUD",)}
    decision = shop.decide(APP, request_id="1")
    assert (decision.slate, decision.reasons[:2]) == ((), ("ALL_VETOED", "FRAUD"))
    suspicion(shop, is_on=False)
    assert shop.offered(shop.decide(APP, request_id="2")) == "wallet"


@pytest.mark.parametrize(
    ("kind", "contact_class", "may"),
    [
        *(("offer", "", False), ("reward", "", False), ("badge", "", False), ("message", "", True)),
        *(("escalation", "", True), ("offer", "security", True), ("message", "offer", False)),
    ],
)
def test_what_neither_sells_nor_gives_goes_on_while_fraud_is_suspected(kind, contact_class, may):
    shop = visited(with_offer(SUSPECTING, WALLET, kind=kind, contact_class=contact_class))
    suspicion(shop, is_on=True)

    assert (shop.vetoes(APP)["wallet"] == ()) is may


def test_what_was_decided_before_is_withdrawn_by_a_fraud_signal_wherever_it_stands():
    shop = visited(SUSPECTING)
    first = shop.decide(APP, request_id="1")
    suspicion(shop, is_on=True)
    second = shop.decide(APP, request_id="2")

    assert {one.reason for one in second.withdrawals} == {"FRAUD"}
    assert (second.answered, second.stands) == ("", "")
    assert shop.action(first).why == "FRAUD"
    suspicion(shop, is_on=False)
    third = shop.decide(APP, request_id="3")
    assert third.stands == "", "it is decided anew"


def test_what_is_on_its_way_is_stopped_by_a_fraud_signal():
    shop = Shop(replace(EAGER, policy=SUSPECTING.policy))
    shop.third_check()
    action_id = shop.decide(NONE).slate[0].action_id
    suspicion(shop, is_on=True)
    step = next_step(shop.state, action_id, ("push", "sms"))

    assert (step.step, step.reason) == (DeliveryStep.WITHDRAWN, "FRAUD")


def test_a_fraud_signal_while_a_score_is_awaited_has_the_decision_made_again():
    shop = visited(SUSPECTING)
    draft = shop.draft(APP)
    suspicion(shop, is_on=True)

    assert not still_allowed(shop.state, draft)
