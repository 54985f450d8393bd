"""What is scarce.

Laws: no budget is ever overdrawn, not by one group either; a price rises with use and falls with time, and is the same
in a replay; an action uses a budget once, and gives back what it never used; terms and the log tell prices.
"""

from dataclasses import replace

import pytest

from household.contact_rules.share import CapacityShare
from household.decision import Decision
from household.decision_bytes import decode_decision, encode_decision
from household.delivery import DeliveryStep
from household.digest import state_digest
from household.plan import NONE, Budget, BudgetUnit, Plan, Selector, Span
from household.scarcity import SCALE
from household.tables.budgets import BUDGETS, EARMARKS
from household.terms import Price
from tests.household.shop import APP, BROADBAND, DAY, EAGER, FILM, HOUR, IVR, PLAN, SMS, WALLET, Shop, with_offer


def with_budgets(*budgets: Budget, plan: Plan = PLAN) -> Plan:
    return replace(plan, budgets=budgets)


def budget(name: str = "few", *, amount: int, unit: BudgetUnit = BudgetUnit.ACTIONS, **of: object) -> Budget:
    return Budget(name=name, of=Selector(**of), unit=unit, amount=amount, span=Span.DAY, step=0.1)


FEW_WALLETS = with_budgets(budget(amount=2, families=("wallet",)), plan=with_offer(PLAN, WALLET, cost_minor=7))


def ask(shop: Shop, number: int, **more: object) -> Decision:
    shop.signal("app.visit", household=f"home-{number}")
    return shop.decide(APP, household=f"home-{number}", request_id=str(number), **more)


def used(shop: Shop) -> dict[str, int]:
    return {one.budget: one.used for one in shop.state.tables.of(BUDGETS)}


def scarce(decision: Decision) -> list[tuple[str, int, int]]:
    return [(one.budget, one.left, one.used) for one in decision.scarce]


# --- never overdrawn -------------------------------------------------------------------------------------------------


def test_what_there_is_too_little_for_is_vetoed_and_the_next_best_is_said():
    shop = Shop(FEW_WALLETS)
    decisions = [ask(shop, number, scores={WALLET: 1.0}) for number in range(4)]

    assert [one.slate[0].offer for one in decisions] == ["wallet", "wallet", "broadband", "broadband"]
    assert [scarce(one) for one in decisions] == [[("few", 2, 1)], [("few", 1, 1)], [("few", 0, 0)], [("few", 0, 0)]]
    assert {one.offer: one.vetoes for one in decisions[3].candidates} == {"wallet": ("BUDGET:few",), "broadband": ()}
    assert used(shop) == {"few": 2}


def test_where_nothing_else_is_left_to_say_the_budget_is_the_reason():
    shop = Shop(with_offer(FEW_WALLETS, BROADBAND, standing=False))
    for number in range(2):
        ask(shop, number, scores={WALLET: 1.0})

    assert ask(shop, 2).reasons[:2] == ("ALL_VETOED", "BUDGET:few")


def test_a_new_window_has_the_whole_again():
    shop = Shop(FEW_WALLETS)
    for number in range(3):
        ask(shop, number, scores={WALLET: 1.0})
    shop.pass_time(DAY)

    assert ask(shop, 4, scores={WALLET: 1.0}).slate[0].offer == "wallet"
    assert used(shop) == {"few": 1}


def test_each_partition_has_its_share():
    shop = Shop(with_budgets(budget(amount=5, families=("wallet",))))
    shop.state.share = CapacityShare(0, 4)
    told = ask(shop, 1, scores={WALLET: 1.0}).scarce[0]
    kept = shop.state.tables.of(BUDGETS).get("few")

    assert (told.left, told.share, kept.share) == (shop.state.share.of(5, kept.from_us, kept.until_us),) * 3
    assert told.left in (1, 2)


def test_those_who_are_decided_in_one_group_see_what_the_others_take():
    shop = Shop(FEW_WALLETS)
    made = []
    for number in range(4):
        shop.signal("app.visit", household=f"home-{number}")
    scarcity = shop.state.scarcity
    scarcity.begin_group()
    for number in range(4):
        made.append(shop.weigh(shop.draft(APP, household=f"home-{number}", request_id=str(number)), {WALLET: 1.0}))
        scarcity.promise({one.budget: one.used for one in made[-1].scarce})
    assert [one.slate[0].offer for one in made] == ["wallet", "wallet", "broadband", "broadband"]

    for one in made:
        assert shop.record(one)
    scarcity.begin_group()
    assert used(shop) == {"few": 2}
    assert ask(shop, 9, scores={WALLET: 1.0}).slate[0].offer == "broadband"


@pytest.mark.parametrize("amount", [13, 14])
def test_money_is_what_offer_and_contact_cost(amount):
    plan = with_offer(PLAN, WALLET, cost_minor=7)
    shop = Shop(with_budgets(budget(amount=amount, unit=BudgetUnit.MONEY, families=("wallet",)), plan=plan))
    decisions = [ask(shop, number, scores={WALLET: 1.0}) for number in range(2)]

    assert [one.slate[0].offer for one in decisions] == ["wallet", "wallet" if amount == 14 else "broadband"]
    assert used(shop) == {"few": 7 * (amount // 7)}


def test_who_is_in_control_uses_nothing():
    journeys = tuple(replace(one, control_share=1.0) for one in PLAN.journeys)
    shop = Shop(replace(FEW_WALLETS, journeys=journeys))
    decision = ask(shop, 1, scores={WALLET: 1.0})

    assert decision.withheld
    assert (scarce(decision), used(shop)) == ([("few", 2, 0)], {})


# --- once, and given back --------------------------------------------------------------------------------------------


def test_an_answer_that_is_given_again_uses_nothing_more():
    shop = Shop(FEW_WALLETS)
    ask(shop, 1, scores={WALLET: 1.0})
    again = shop.decide(APP, household="home-1", request_id="again")

    assert (again.stands != "", again.answered != "", used(shop)) == (True, True, {"few": 1})


def test_what_a_standing_slate_gives_another_channel_uses_its_budget_or_is_not_given():
    plan = with_budgets(
        budget(amount=1, channels=(IVR,)), plan=with_offer(PLAN, BROADBAND, margin_minor=900, excludes=())
    )
    shop = Shop(plan)
    answers = []
    for number in range(2):
        shop.signal("app.consent", is_on=1, household=f"home-{number}")
        assert shop.offered(ask(shop, number)) == "broadband"
        answers.append(shop.decide(IVR, household=f"home-{number}", request_id=f"ivr-{number}"))

    assert [shop.offered(one) for one in answers] == ["wallet", ""]
    assert (scarce(answers[0]), used(shop)) == ([("few", 1, 1)], {"few": 1})
    assert "BUDGET:few" in answers[1].reasons


def sent(plan: Plan, count: int = 1) -> tuple[Shop, list[Decision]]:
    shop, decisions = Shop(replace(EAGER, budgets=plan.budgets)), []
    for number in range(count):
        shop.third_check(household=f"home-{number}")
        decisions.append(shop.decide(NONE, household=f"home-{number}"))
    return shop, decisions


ONE_TEXT = with_budgets(budget(amount=1, channels=(SMS,)))


def test_what_is_to_be_sent_is_earmarked_and_used_for_good_at_its_hand_over():
    shop, (decision,) = sent(ONE_TEXT)
    action_id = decision.slate[0].action_id
    assert (decision.send_channel, used(shop), len(shop.state.tables.of(EARMARKS))) == ("sms", {"few": 1}, 1)
    shop.note(action_id, DeliveryStep.HANDED, "sms")
    assert len(shop.state.tables.of(EARMARKS)) == 0
    shop.report("accept", action_id, household="home-0")

    assert used(shop) == {"few": 1}


@pytest.mark.parametrize("how", ["withdrawn", "expired"])
def test_what_is_never_handed_over_gives_back_what_it_was_to_use(how):
    shop, (first, second) = sent(ONE_TEXT, 2)
    assert (first.send_channel, second.send_channel) == ("sms", "")
    assert "BUDGET:few" in (*second.reasons, *second.candidates[0].vetoes)
    if how == "withdrawn":
        shop.note(first.slate[0].action_id, DeliveryStep.WITHDRAWN, "sms", reason="NOT_ELIGIBLE")
    else:
        shop.pass_time(HOUR)

    assert (used(shop), len(shop.state.tables.of(EARMARKS))) == ({"few": 0}, 0)


def test_what_is_never_handed_over_gives_nothing_back_to_another_window():
    shop, _ = sent(ONE_TEXT)
    shop.now_us += DAY
    shop.third_check(household="home-9")
    assert shop.decide(NONE, household="home-9", scores={FILM: 0.9}).send_channel == "sms"
    shop.pass_time(0)

    assert used(shop) == {"few": 1}


# --- prices ----------------------------------------------------------------------------------------------------------

MANY = with_budgets(budget(amount=100, families=("wallet",)))


def price_of(shop: Shop) -> int:
    return shop.state.scarcity.standing(shop.state, 0, shop.now_us).price


def test_a_price_rises_with_use_to_what_the_best_use_is_worth_once_its_step_is_used_ahead_of_time():
    shop = Shop(MANY)
    prices = [price_of(shop)]
    for number in range(10):
        ask(shop, number, scores={WALLET: 1.0})
        prices.append(price_of(shop))

    assert prices == [150 * SCALE * number // 10 for number in range(11)], (
        "0.3 x 500 is what a unit is expected to bring"
    )


def test_a_price_falls_by_what_might_have_been_used_meanwhile():
    shop = Shop(MANY)
    for number in range(10):
        ask(shop, number, scores={WALLET: 1.0})
    before = price_of(shop)
    shop.now_us += HOUR
    shop.signal("app.visit", household="elsewhere")

    # 90 are left for the 12 hours to midnight: an hour might have used 7.5, and 10 take the price up by all of 150.
    assert before - price_of(shop) == pytest.approx(150 * SCALE * 0.75, rel=1e-9)
    shop.now_us += HOUR
    shop.signal("app.visit", household="elsewhere")
    assert price_of(shop) == 0


def test_a_price_is_among_the_terms_and_decides():
    shop = Shop(MANY)
    for number in range(5):
        ask(shop, number, scores={WALLET: 1.0})
    decision = ask(shop, 9)
    wallet = next(one for one in decision.candidates if one.offer == "wallet")

    assert wallet.terms.prices == (Price("few", 75.0),)
    assert wallet.value_minor == wallet.terms.value_minor == 150 - 75
    assert [action.offer for action in decision.slate] == ["broadband", "wallet"], "without the price it is worth 150"
    assert [(one.budget, one.price_minor, one.left, one.used) for one in decision.scarce] == [("few", 75.0, 95, 0)]
    assert decode_decision(encode_decision(decision, member_keys={}))[0].scarce == decision.scarce


def test_no_price_is_above_what_a_use_could_bring_were_it_sure():
    shop = Shop(with_budgets(budget(amount=1_000, families=("wallet",))))
    for number in range(400):
        ask(shop, number, scores={WALLET: 1.0})

    assert price_of(shop) <= 500 * SCALE


def test_another_fold_of_the_same_decisions_has_the_same_prices_whatever_its_partition():
    shop, other = Shop(MANY), Shop(MANY)
    shop.state.share = CapacityShare(1, 3)
    for number in range(20):
        shop.now_us = other.now_us = shop.now_us + number * 1_234_567
        for one in (shop, other):
            one.signal("app.visit", household=f"home-{number}")
        decision = shop.decide(
            APP, household=f"home-{number}", request_id=str(number), scores={WALLET: 1 / (1 + number)}
        )
        assert other.record(decision)

    assert state_digest(other.state) == state_digest(shop.state)
    assert price_of(shop) > 0


def test_a_playbook_without_budgets_keeps_nothing():
    shop = Shop()
    assert ask(shop, 1).scarce == ()
    assert used(shop) == {}
