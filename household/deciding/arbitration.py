"""How the best of several is chosen: terms and values, ties, exploration, and who is in a control group."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from household.deciding.draft import Draft, Scores, context_channel
from household.deciding.reasons import by_budget
from household.deciding.weighed import Weighed
from household.plan import NONE, Plan, ValueTerm
from household.scarcity import Standings, Uses, prices_of, too_much
from household.state import PartitionState
from household.terms import Price
from household.weighing import (
    NO_COUNTS,
    NO_FLOATS,
    NONE_IS_TOLD,
    NOTHING_TOLD,
    TOLD_COLUMNS,
    TOLD_HAZARD,
    TOLD_UPLIFT,
    TOLD_WORTH,
    VALUE,
    weigh_all,
)

ALWAYS_NOTHING_MINOR = 0.0
"""Value of doing nothing: an action must be worth more."""

Ranked = list[tuple[int, float]]
"""Offers that are worth more than nothing with their values, best first."""


def ranked_candidates(
    state: PartitionState, draft: Draft, scores: Scores, decision_id: str, standings: Standings | None
) -> tuple[Weighed, Ranked]:
    """Return all candidates as they were weighed, and those that are worth more than nothing.

    Args:
        state: read only.
        draft: of the decision.
        scores: of what is to be weighed.
        decision_id: by which lots are drawn.
        standings: the plan's budgets; None where it has none.
    """
    plan, columns, vetoed = state.plan, draft.columns, draft.vetoed
    weights = columns.weights
    offers, score = tuple(scores.by_offer), tuple(scores.by_offer.values())
    places, vetoes = vetoed.score_places, {}
    if offers != vetoed.to_score:  # whoever weighs anew may know the scores of more, or of less
        known = [(offer, one) for offer, one in scores.by_offer.items() if offer in columns.place_of]
        offers, score = tuple([offer for offer, _ in known]), tuple([one for _, one in known])
        places = np.array([columns.place_of[offer] for offer in offers], np.int64)
        vetoes = {at: against for at, offer in enumerate(offers) if (against := vetoed.vetoes[offer])}
    by_score = np.array(score, np.float64)
    shown, prior_weight = NO_COUNTS, 0.0
    if state.showing.is_counted:
        # A partition sees its part of what is shown, so the prior has that part of its weight.
        shown = state.showing.counts[weights.indices[places]]
        prior_weight = plan.arbitration.prior_weight / state.share.partition_count
    told, is_told = told_by_models(scores, offers) if scores.terms else (NOTHING_TOLD, NONE_IS_TOLD)
    channels = None if draft.ask.channel != NONE else [context_channel(plan, draft, offer) for offer in offers]
    costs = weights.costs_minor[places]
    if channels is not None:
        costs = costs + np.array([0 if one == NONE else plan.channels[one].cost_minor for one in channels], np.int64)
    terms = weigh_all(
        weights.worths,
        places,
        by_score,
        costs_minor=costs,
        shown=shown,
        prior_weight=prior_weight,
        contexts=_contexts(draft, offers),
        told=told,
        is_told=is_told,
    )
    values: list[float] = terms.amounts[:, VALUE].tolist()
    prices: dict[int, tuple[Price, ...]] = {}
    if standings is not None:
        prices, too_little = _scarce(state, draft, offers, channels, places, standings)
        for at, each in prices.items():
            for price in each:
                values[at] -= price.minor
            terms.amounts[at, VALUE] = values[at]
        vetoes = vetoes | {at: (*vetoes.get(at, ()), *more) for at, more in too_little.items()}
    worth_it = [pair for pair in zip(offers, values, strict=True) if pair[1] > ALWAYS_NOTHING_MINOR]
    if vetoes:
        spoken_against = {offers[at] for at in vetoes}
        worth_it = [pair for pair in worth_it if pair[0] not in spoken_against]
    weighed = Weighed(
        columns=columns,
        vetoed=vetoed,
        places=places,
        scores=by_score,
        terms=terms,
        prices=prices,
        vetoes=vetoes,
    )
    return weighed, in_order(plan, worth_it, decision_id)


def _contexts(draft: Draft, offers: Sequence[int]) -> NDArray[np.float64]:
    if not draft.freshness:
        return NO_FLOATS
    return np.array([draft.freshness.get(draft.journey_by_offer[offer], 1.0) for offer in offers], np.float64)


def _scarce(
    state: PartitionState,
    draft: Draft,
    offers: Sequence[int],
    channels: Sequence[int] | None,
    places: NDArray[np.int64],
    standings: Standings,
) -> tuple[dict[int, tuple[Price, ...]], dict[int, tuple[str, ...]]]:
    """Return, by place among what is scored, the prices of what each uses, and what there is too little of for it."""
    columns, scarcity = draft.columns, state.scarcity
    using: Mapping[int, Uses]
    if channels is None:
        using = columns.using(scarcity)
    else:
        using = {
            columns.place_of[offer]: scarcity.uses_of(offer, columns.journey_by_offer[offer], channel)
            for offer, channel in zip(offers, channels, strict=True)
        }
    prices, too_little = {}, {}
    found: dict[Uses, tuple[tuple[Price, ...], tuple[str, ...]]] = {}
    for at, place in enumerate(places.tolist()) if using else ():
        uses = using.get(place)
        if not uses:
            continue
        told = found.get(uses)
        if told is None:
            told = found[uses] = prices_of(uses, standings), tuple(map(by_budget, too_much(uses, standings)))
        if told[0]:
            prices[at] = told[0]
        if told[1]:
            too_little[at] = told[1]
    return prices, too_little


def told_by_models(scores: Scores, offers: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Return (offers, TOLD_COLUMNS) what models of other terms than acceptance say, and whether they say anything."""
    told, is_told = np.zeros((len(offers), TOLD_COLUMNS)), np.zeros((len(offers), TOLD_COLUMNS), np.uint8)
    for term, one in scores.terms:
        column = _TOLD[term]
        for at, offer in enumerate(offers):
            if offer in one.by_offer:
                told[at, column], is_told[at, column] = one.by_offer[offer], 1
    return told, is_told


_TOLD = {ValueTerm.UPLIFT: TOLD_UPLIFT, ValueTerm.CHURN: TOLD_HAZARD, ValueTerm.VALUE: TOLD_WORTH}


def in_order(plan: Plan, worth_it: Ranked, decision_id: str) -> Ranked:
    """Return them best first; of those that are worth the same, a hash of decision and action says which."""
    if len(worth_it) < 2:
        return worth_it
    worth_it.sort(key=_worth, reverse=True)
    values = [value for _, value in worth_it]
    if len(set(values)) == len(values):
        return worth_it
    first = 0
    for end in range(1, len(values) + 1):
        if end == len(values) or values[end] != values[first]:
            if end - first > 1:
                worth_it[first:end] = sorted(worth_it[first:end], key=lambda pair: _lot(plan, pair[0], decision_id))
            first = end
    return worth_it


_worth = itemgetter(1)


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


def is_control(plan: Plan, household: bytes, journeys: Iterable[str]) -> bool:
    """Return whether the household is in the control group of any of these journeys."""
    for name in journeys:
        index = plan.journey_by_name.get(name, NONE)
        if index != NONE:
            drawn = chance(plan.arbitration.salt, b"control", name.encode(), household)
            if drawn < plan.journeys[index].control_share:
                return True
    return False
