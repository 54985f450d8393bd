"""How the best of several is chosen: terms and values, ties, exploration, and who is in a control group."""

import hashlib
from itertools import groupby

from household.deciding.draft import Draft, Scores, context_channel
from household.deciding.reasons import by_budget
from household.decision import Candidate
from household.plan import NONE, Plan, ValueTerm
from household.scarcity import Standings, prices_of, too_much
from household.state import PartitionState
from household.terms import NO_MODEL_TERMS, ModelTerms, weigh

ALWAYS_NOTHING_MINOR = 0.0
"""Value of doing nothing: an action must be worth more."""

Ranked = list[tuple[int, float]]
"""Offers that are worth more than nothing with their values, best first."""


def ranked_candidates(
    state: PartitionState, draft: Draft, scores: Scores, decision_id: str, standings: Standings | None
) -> tuple[tuple[Candidate, ...], Ranked]:
    """Return all candidates as they were weighed, and those that are worth more than nothing.

    Args:
        state: read only.
        draft: of the decision.
        scores: of what is to be weighed.
        decision_id: by which lots are drawn.
        standings: the plan's budgets; None where it has none.
    """
    plan, asking = state.plan, draft.ask.channel
    columns, vetoed = draft.columns, draft.vetoed
    candidates = list(vetoed.unscored)
    worth_it: Ranked = []
    shown = state.showing.counts if state.showing.is_counted else None
    # A partition sees its part of what is shown, so the prior has that part of its weight.
    prior_weight = plan.arbitration.prior_weight / state.share.partition_count
    for index, score in scores.by_offer.items():
        place = columns.place_of.get(index)
        if place is None:
            continue
        journey, vetoes = columns.journey_by_offer[index], vetoed.vetoes[index]
        offer, channel = plan.offers[index], asking if asking != NONE else context_channel(plan, draft, index)
        uses = () if standings is None else state.scarcity.uses_of(index, journey, channel)
        terms = weigh(
            offer,
            score,
            cost_minor=offer.cost_minor + (0 if channel == NONE else plan.channels[channel].cost_minor),
            shown=0 if shown is None else shown[index],
            prior_weight=prior_weight,
            context=draft.freshness.get(journey, 1.0),
            prices=prices_of(uses, standings) if uses and standings is not None else (),
            told=model_terms_of(scores, index) if scores.terms else NO_MODEL_TERMS,
        )
        value = terms.value_minor
        if uses and standings is not None:
            vetoes = (*vetoes, *map(by_budget, too_much(uses, standings)))
        if value > ALWAYS_NOTHING_MINOR and not vetoes:
            worth_it.append((index, value))
        candidates[place] = Candidate(offer=offer.name, score=score, value_minor=value, vetoes=vetoes, terms=terms)
    return tuple(candidates), in_order(plan, worth_it, decision_id)


def model_terms_of(scores: Scores, offer: int) -> ModelTerms:
    """Return what models of other terms than acceptance say of an offer."""
    said = {term: one.by_offer[offer] for term, one in scores.terms if offer in one.by_offer}
    if not said:
        return NO_MODEL_TERMS
    return ModelTerms(
        uplift=said.get(ValueTerm.UPLIFT), hazard=said.get(ValueTerm.CHURN), worth_minor=said.get(ValueTerm.VALUE)
    )


def in_order(plan: Plan, worth_it: Ranked, decision_id: str) -> Ranked:
    """Return them best first; of those that are worth the same, a hash of decision and action says which."""
    if len(worth_it) < 2:
        return worth_it
    worth_it.sort(key=_worth, reverse=True)
    if len({value for _, value in worth_it}) == len(worth_it):
        return worth_it
    return [
        one
        for _, tied in groupby(worth_it, key=_worth)
        for one in sorted(tied, key=lambda pair: _lot(plan, pair[0], decision_id))
    ]


def _worth(pair: tuple[int, float]) -> float:
    return pair[1]


def _lot(plan: Plan, offer: int, decision_id: str) -> tuple[float, str]:
    name = plan.offers[offer].name
    return chance(plan.arbitration.salt, b"tie", decision_id.encode(), name.encode()), name


def explored(plan: Plan, ranked: Ranked, decision_id: str) -> tuple[Ranked, float]:
    """Return the order of the slate, and the probability with which its first action came first.

    Given the state, that is: over the decision ids it might have had, of which hang the lots of ties and the draw.
    """
    share = plan.arbitration.exploration
    if len(ranked) < 2:
        return ranked, 1.0
    tied = sum(value == ranked[0][1] for _, value in ranked)
    best, each = first_propensities(len(ranked), share, tied=tied)
    draw = chance(plan.arbitration.salt, b"explore", decision_id.encode()) if share else 1.0
    if draw >= share:
        return ranked, best
    pick = min(int(draw / each), len(ranked) - 1)
    moved = [ranked[pick], *ranked[:pick], *ranked[pick + 1 :]]
    return moved, best if pick < tied else each


def first_propensities(count: int, exploration: float, *, tied: int = 1) -> tuple[float, float]:
    """Return the probability with which the best of `count` candidates comes first, and that of each other one.

    Args:
        count: of those worth more than nothing.
        exploration: share of decisions that put any of them first.
        tied: how many are worth as much as the best, itself included; each of them has the first probability.

    >>> first_propensities(4, 0.2)
    (0.8500000000000001, 0.05)
    >>> first_propensities(4, 0.2, tied=2)
    (0.45, 0.05)
    >>> first_propensities(1, 0.2)
    (1.0, 0.0)
    """
    if count < 2:
        return 1.0, 0.0
    each = exploration / count
    return (1.0 - exploration) / tied + each, each


def chance(salt: str, *parts: bytes) -> float:
    """Return a number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.blake2b(b"\0".join(parts), key=salt.encode()[:64], digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def is_control(plan: Plan, household: bytes, journeys: set[str]) -> bool:
    """Return whether the household is in the control group of any of these journeys."""
    return any(
        chance(plan.arbitration.salt, b"control", name.encode(), household)
        < plan.journeys[plan.journey_by_name[name]].control_share
        for name in journeys
        if name in plan.journey_by_name
    )
