"""How the best of several is chosen: an offer's value, exploration, and who is in a control group."""

import hashlib

from household.deciding.draft import Draft, Scores, context_channel
from household.decision import Candidate
from household.plan import NONE, Offer, Plan

ALWAYS_NOTHING_MINOR = 0.0
"""Value of doing nothing: an action must be worth more."""


def ranked_candidates(
    plan: Plan, draft: Draft, scores: Scores
) -> tuple[tuple[Candidate, ...], list[tuple[int, float]]]:
    candidates, worth_it, asking = [], [], draft.ask.channel
    for index in draft.journey_by_offer:
        offer, score = plan.offers[index], scores.by_offer.get(index)
        value = None
        if score is not None:
            channel = asking if asking != NONE else context_channel(plan, draft, index)
            channel_cost = 0 if channel == NONE else plan.channels[channel].cost_minor
            value = value_minor(offer, score, channel_cost)
            if value > ALWAYS_NOTHING_MINOR:
                worth_it.append((index, value))
        candidates.append(Candidate(offer=offer.name, score=score, value_minor=value, vetoes=draft.vetoes[index]))
    # Ties go to the offer written first in the playbook.
    worth_it.sort(key=lambda pair: (-pair[1], pair[0]))
    return tuple(candidates), worth_it


def explored(plan: Plan, ranked: list[tuple[int, float]], decision_id: str) -> tuple[list[tuple[int, float]], float]:
    """Return the order of the slate and the probability with which its first action came first."""
    share = plan.arbitration.exploration
    if len(ranked) < 2 or share == 0.0:
        return ranked, 1.0
    draw = chance(plan.arbitration.salt, b"explore", decision_id.encode())
    best, each = first_propensities(len(ranked), share)
    if draw >= share:
        return ranked, best
    pick = min(int(draw / each), len(ranked) - 1)
    moved = [ranked[pick], *ranked[:pick], *ranked[pick + 1 :]]
    return moved, best if pick == 0 else each


def value_minor(offer: Offer, score: float, channel_cost_minor: int) -> float:
    """Return what an offer is expected to be worth, in minor units, after all costs."""
    return score * offer.margin_minor * offer.lever - offer.cost_minor - channel_cost_minor


def first_propensities(count: int, exploration: float) -> tuple[float, float]:
    """Return the probability with which the best of `count` candidates comes first, and that of each other one.

    >>> first_propensities(4, 0.2)
    (0.8500000000000001, 0.05)
    >>> first_propensities(1, 0.2)
    (1.0, 0.0)
    """
    if count < 2 or exploration == 0.0:
        return 1.0, 0.0
    each = exploration / count
    return 1.0 - exploration + each, each


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
