"""What an action is worth.

Laws: the terms of every candidate add up to its value to the last bit, in whatever order; p is pulled toward the prior
by how often the action was shown; an action is shown once, in its playbook's lineage; what has no known uplift says so;
what is worth nothing loses against doing nothing.
"""

import itertools
import math
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from operator import add

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from household.contact_rules.share import CapacityShare
from household.decision import Candidate
from household.decision_bytes import decode_decision, encode_decision
from household.delivery import DeliveryStep
from household.digest import state_digest
from household.freeze import Freeze, thaw
from household.migration import migrated
from household.money import MONEY_MINOR_MAX
from household.plan import NONE, Arbitration, Offer, Plan
from household.tables.shown import SHOWN
from household.terms import AMOUNT_MOST_MINOR, GRAIN_MINOR, Price, Terms, on_grain
from household.weighing import TOLD_COLUMNS, VALUE, weigh_all, worths_of
from tests.household import weighing_reference
from tests.household.shop import APP, BROADBAND, DAY, EAGER, FILM, IVR, PLAN, WALLET, Shop, with_offer
from tests.household.weighing_reference import NO_MODEL_TERMS, ModelTerms

YOUNG = replace(PLAN, arbitration=Arbitration(prior_weight=100))

money = st.integers(-MONEY_MINOR_MAX, MONEY_MINOR_MAX)
amounts = st.floats(0, 1e13).map(on_grain)


def weigh(
    offer: Offer,
    score: float,
    *,
    cost_minor: int,
    shown: int = 0,
    prior_weight: float = 0.0,
    context: float = 1.0,
    prices: tuple[Price, ...] = (),
    told: ModelTerms = NO_MODEL_TERMS,
) -> Terms:
    """Return the terms of an offer as decisions weigh it: to the last bit those of the reference."""
    other = replace(offer, margin_minor=offer.margin_minor + 1, lever=offer.lever + 1, retains=not offer.retains)
    said = np.array([[0.0 if one is None else one for one in told]] * 2)
    found = weigh_all(
        worths_of((other, offer)),
        np.array([1, 0]),
        np.array([score, score]),
        costs_minor=np.array([cost_minor, 7]),
        shown=np.array([shown, 7]),
        prior_weight=prior_weight,
        contexts=np.array([context, 0.5]),
        told=said if told is not NO_MODEL_TERMS else np.empty((0, TOLD_COLUMNS)),
        is_told=np.array([[one is not None for one in told]] * 2, np.uint8),
    )
    terms = found.at(0, prices)
    arguments = {"cost_minor": cost_minor, "shown": shown, "prior_weight": prior_weight, "context": context}
    expected = weighing_reference.weigh(offer, score, prices=prices, told=told, **arguments)
    assert repr(terms) == repr(expected), "repr tells −0 and NaN from what is equal to them, or not even to itself"
    assert found.amounts[0, VALUE] == expected.gain_minor - expected.cost_minor
    return terms


def shown_counts(shop: Shop) -> dict[tuple[str, str], int]:
    return {(one.playbook, one.offer): one.count for one in shop.state.tables.of(SHOWN)}


# --- adding up -------------------------------------------------------------------------------------------------------


@given(
    score=st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 1),
    margin=money,
    increment=st.none() | money,
    costs=st.tuples(st.integers(0, MONEY_MINOR_MAX), st.integers(0, MONEY_MINOR_MAX)),
    lever=st.floats(0, 100),
    context=st.floats(0, 1),
    shown=st.integers(0, 10**12),
    weight=st.floats(0, 10**6),
    prices=st.lists(amounts, max_size=3),
    told=st.just(NO_MODEL_TERMS)
    | st.builds(
        ModelTerms,
        uplift=st.none() | st.floats(-1, 1),
        hazard=st.none() | st.floats(0, 1),
        worth_minor=st.none() | st.floats(allow_nan=True, allow_infinity=True),
    ),
    retains=st.booleans(),
)
def test_terms_add_up_to_the_value_to_the_last_bit_in_whatever_order(
    score, margin, increment, costs, lever, context, shown, weight, prices, told, retains
):
    offer = Offer(
        name="o",
        kind="offer",
        family="f",
        margin_minor=margin,
        increment_minor=increment,
        lever=lever,
        prior_acceptance=0.2,
        retains=retains,
    )
    terms = weigh(
        offer,
        score,
        cost_minor=sum(costs),
        shown=shown,
        prior_weight=weight,
        context=context,
        prices=tuple(Price("scarce", one) for one in prices),
        told=told,
    )

    parts = [terms.gain_minor, -float(terms.cost_minor), *(-one.minor for one in terms.prices)]
    exact = sum(map(Fraction, parts))
    assert Fraction(terms.value_minor) == exact
    # Not by `sum`, which hides what adding loses.
    assert {reduce(add, order) for order in itertools.permutations(parts)} == {terms.value_minor}


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_an_amount_on_the_grain_is_the_nearest_there_is(amount):
    found = on_grain(amount)
    if math.isnan(amount):
        assert found == 0.0
        return
    bounded = Fraction(max(-AMOUNT_MOST_MINOR, min(AMOUNT_MOST_MINOR, amount)))

    assert abs(Fraction(found) - bounded) <= Fraction(GRAIN_MINOR) / 2
    assert (Fraction(found) / Fraction(GRAIN_MINOR)).denominator == 1
    assert on_grain(found) == found


def test_each_candidate_of_a_decision_shows_what_speaks_against_it_or_terms_that_add_up():
    plan = with_offer(with_offer(PLAN, WALLET, cost_minor=10, lever=1.7), BROADBAND, excludes=(FILM,))
    shop = Shop(plan)
    shop.signal("app.visit")
    shop.signal("wallet.activated")
    decision = shop.weigh(shop.draft(APP), {BROADBAND: 0.123456789})
    wallet, broadband = decision.candidates

    assert (wallet.vetoes, wallet.value_minor, wallet.terms) == (("NOT_ELIGIBLE",), None, None)
    assert broadband.terms == Terms(on_grain(0.123456789 * 400), 0, 0.123456789, 0, 400, True)
    assert broadband.value_minor == broadband.terms.value_minor


def test_the_log_keeps_terms_as_they_were():
    prices = (Price("sms budget", 2.5), Price("agents", 0.25))
    every = [
        Terms(12.5, 4, 0.125, 3, 100, False, 0.5, 2.0, prices),
        Terms(12.5, 4, 0.125, 3, 100, True, 0.5),
        Terms(12.5, 4, 0.125, 3, 100, True, 1.0, 3.0),
        Terms(12.5, 4, 0.125, 3, 100, True),
        Terms(12.5, 4, 0.125, 3, 100, False, uplift=-0.25),
        Terms(12.5, 4, 0.125, 3, 100, False, uplift=0.0, stay=0.5),
        Terms(12.5, 4, 0.125, 3, 100, True, stay=0.875, prices=prices),
        None,
    ]
    shop = Shop()
    decision = replace(
        shop.weigh(shop.draft(APP)),
        candidates=tuple(Candidate(offer="o", score=0.5, value_minor=8.5, vetoes=(), terms=one) for one in every),
    )

    assert [one.terms for one in decode_decision(encode_decision(decision, member_keys={}))[0].candidates] == every
    assert [len(one.written) for one in every if one is not None] == [9, 7, 8, 6, 10, 11, 11]


# --- gross and increment ---------------------------------------------------------------------------------------------


def test_where_an_uplift_is_known_it_counts_and_nothing_is_gross():
    known = with_offer(with_offer(PLAN, WALLET, increment_minor=100), BROADBAND, increment_minor=200)
    shop = Shop(known)
    shop.signal("app.visit")
    decision = shop.weigh(shop.draft(APP))

    assert {one.offer: one.value_minor for one in decision.candidates} == {"wallet": 30.0, "broadband": 40.0}
    assert [action.offer for action in decision.slate] == ["broadband", "wallet"], "by margin it is the other way round"
    assert "GROSS" not in decision.reasons


def test_one_gross_value_among_those_weighed_is_said():
    shop = Shop(with_offer(PLAN, WALLET, increment_minor=100))
    shop.signal("app.visit")

    assert shop.weigh(shop.draft(APP)).reasons[-1] == "GROSS"


def test_nothing_weighed_is_not_gross():
    shop = Shop()

    assert "GROSS" not in shop.weigh(shop.draft(APP)).reasons


@pytest.mark.parametrize("margin", [0, -5])
def test_an_action_that_is_worth_nothing_loses_against_doing_nothing(margin):
    shop = Shop(with_offer(with_offer(PLAN, WALLET, margin_minor=margin), BROADBAND, margin_minor=margin))
    shop.signal("app.visit")

    assert shop.weigh(shop.draft(APP)).slate == ()


# --- smoothing -------------------------------------------------------------------------------------------------------


def visited(plan: Plan = YOUNG, **more: object) -> Shop:
    shop = Shop(plan)
    shop.signal("app.visit", **more)
    return shop


def test_what_was_never_shown_counts_by_its_prior_and_the_score_takes_over_as_it_is_shown():
    shop = visited()
    for number in range(300):
        home = f"home-{number}"
        shop.signal("app.visit", household=home)
        decision = shop.decide(APP, household=home, request_id=str(number), scores={WALLET: 0.7, BROADBAND: 0.0})
        (wallet,) = (one for one in decision.candidates if one.offer == "wallet")
        assert wallet.terms.shown == number
        assert wallet.terms.probability == (100 * 0.3 + number * 0.7) / (100 + number)
        assert wallet.score == 0.7, "as the model said"


def test_an_action_is_shown_once_however_often_it_is_the_answer():
    shop = visited()
    first = shop.decide(APP, request_id="1")
    assert shown_counts(shop) == {("shop", first.slate[0].offer): 1}
    again = shop.decide(APP, request_id="2")
    assert (again.stands, again.answered) == (first.decision_id, first.answered)
    assert shown_counts(shop) == {("shop", first.slate[0].offer): 1}


def test_what_another_channel_shows_of_a_standing_slate_counts_as_well():
    plan = with_offer(YOUNG, BROADBAND, margin_minor=900, excludes=())
    shop = visited(plan)
    shop.signal("app.consent", is_on=1)
    assert shop.offered(shop.decide(APP, request_id="1")) == "broadband"
    assert shop.offered(shop.decide(IVR, request_id="2")) == "wallet"
    assert shown_counts(shop) == {("shop", "broadband"): 1, ("shop", "wallet"): 1}


def test_an_outbound_action_is_shown_at_its_hand_over():
    shop = Shop(replace(EAGER, arbitration=YOUNG.arbitration))
    shop.third_check()
    decision = shop.decide(NONE)
    action_id = decision.slate[0].action_id
    assert shown_counts(shop) == {}
    shop.note(action_id, DeliveryStep.HANDED, "sms")
    shop.note(action_id, DeliveryStep.KEPT_BACK, "sms")
    shop.note(action_id, DeliveryStep.HANDED, "sms")

    assert shown_counts(shop) == {("shop", "film_topup"): 1}


def test_a_playbook_of_another_name_is_another_lineage_and_another_version_is_not():
    shop = visited()
    shop.decide(APP, request_id="1")
    edited = with_offer(YOUNG, WALLET, margin_minor=501)
    shop.state = migrated(shop.state, edited)
    assert shop.state.showing.counts[WALLET] == 1
    shop.state = migrated(shop.state, replace(edited, name="another"))
    assert shop.state.showing.counts[WALLET] == 0
    shop.state = migrated(shop.state, YOUNG)
    assert shop.state.showing.counts[WALLET] == 1


def test_a_partition_gives_the_prior_its_part_of_the_weight():
    shop = visited()
    shop.state.share = CapacityShare(3, 4)
    shop.decide(APP, request_id="1")
    shop.signal("app.visit", household="next door")
    decision = shop.weigh(shop.draft(APP, household="next door"), {WALLET: 0.9})

    assert decision.candidates[0].terms.probability == (25 * 0.3 + 0.9) / (25 + 1)


def test_counts_are_part_of_what_a_state_knows_and_of_its_copies():
    shop, other = visited(), visited()
    shop.decide(APP, request_id="1")
    for one in (shop, other):
        one.pass_time(400 * DAY)
    assert shop.state.showing.counts[WALLET] == 1, "no time takes it back"
    freeze = Freeze(shop.state)
    while not freeze.step():
        pass
    copy = thaw(freeze.end())
    assert state_digest(copy) == state_digest(shop.state) != state_digest(other.state)
    assert copy.showing.counts.tolist() == shop.state.showing.counts.tolist()


def test_a_playbook_that_does_not_smooth_counts_nothing_and_takes_scores_as_they_are():
    shop = visited(PLAN)
    decision = shop.decide(APP, scores={WALLET: 0.9})

    assert (shown_counts(shop), decision.candidates[0].terms.probability) == ({}, 0.9)


# --- models of other terms -------------------------------------------------------------------------------------------


def test_an_uplift_takes_the_place_of_acceptance_and_of_a_measured_increment():
    plain = Offer(name="o", kind="offer", family="f", margin_minor=1_000)
    measured, retaining = replace(plain, increment_minor=400), replace(plain, retains=True)

    def worth(offer: Offer, **told: float) -> tuple[float, int, bool, float]:
        terms = weigh(offer, 0.5, cost_minor=0, told=ModelTerms(**told))
        return terms.gain_minor, terms.increment_minor, terms.is_gross, terms.stay

    assert worth(plain, uplift=0.25) == (250.0, 1_000, False, 1.0)
    assert worth(measured, uplift=0.25) == (250.0, 1_000, False, 1.0)
    assert worth(plain, uplift=-0.25) == (-250.0, 1_000, False, 1.0)
    # What an acceptance brings is the model's, where nobody has measured what of it would not have come anyway.
    assert worth(plain, worth_minor=600.4) == (300.0, 600, True, 1.0)
    assert worth(measured, worth_minor=600.4) == (200.0, 400, False, 1.0)
    assert worth(measured, uplift=0.25, worth_minor=600.4) == (150.0, 600, False, 1.0)
    # A household that leaves takes along what was sold to it; what keeps it is worth as much as it would have left.
    assert worth(plain, hazard=0.25) == (375.0, 1_000, True, 0.75)
    assert worth(retaining, hazard=0.25) == (125.0, 1_000, True, 0.25)
    assert worth(retaining, hazard=0.25, uplift=0.25) == (250.0, 1_000, False, 1.0)
