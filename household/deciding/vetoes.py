"""What speaks against each candidate, and its price for whom it would be made."""

from collections.abc import Collection

from household.deciding import standing
from household.deciding.contact_policy import has_consent, has_objected
from household.deciding.draft import Ask
from household.deciding.reasons import Reason
from household.deciding.standing import is_suspected, truths
from household.plan import NONE
from household.state import NO_MEMBER, PartitionState
from household.tables.pauses import paused_names
from household.traits import is_legal, is_suppressed


def vetoes_and_prices(
    state: PartitionState,
    ask: Ask,
    journey_by_offer: dict[int, str],
    household: int,
    member: int,
    *,
    stale: Collection[int] = (),
) -> tuple[dict[int, tuple[str, ...]], dict[int, int]]:
    """Return, of each candidate, what speaks against it, and its price for whom it would be made."""
    if not journey_by_offer:
        return {}, {}
    plan = state.plan
    offers = [plan.offers[index] for index in journey_by_offer]
    programs = {offer.eligible for offer in offers if offer.eligible != NONE}
    programs.update(plan.segments[special.segment].program for offer in offers for special in offer.segment_prices)
    if plan.policy.fraud != NONE:
        programs.add(plan.policy.fraud)
    holds = truths(state, sorted(programs), household, member)
    asked_consent = may_answer(state, ask, household, member)
    objects = has_objected(state, household, member)
    accepted = paused_names(state, state.accepted_offers, household, state.now_us)
    declined = paused_names(state, state.declined_offers, household, state.now_us)
    declined_families = paused_names(state, state.declined_families, household, state.now_us)
    # What a new slate replaces, or takes back, is in nobody's way.
    live = standing.live_offers(state, household, beside=(*state.same_members(household, member), NO_MEMBER))
    vetoes: dict[int, tuple[str, ...]] = {}
    for index, offer in zip(journey_by_offer, offers, strict=True):
        against: list[str] = []
        if (objects or not asked_consent) and not is_legal(plan, index, journey_by_offer[index]):
            against += [Reason.OBJECTION] * objects + [Reason.NO_CONSENT] * (not asked_consent)
        if is_suspected(plan, holds) and is_suppressed(plan, index, journey_by_offer[index]):
            against.append(Reason.FRAUD)
        if index in stale:
            against.append(Reason.STALE_SIGNAL)
        if offer.eligible != NONE and not holds[offer.eligible]:
            against.append(Reason.NOT_ELIGIBLE)
        if offer.name in accepted:
            against.append(Reason.ACCEPTED_OFFER)
        if offer.name in declined:
            against.append(Reason.DECLINED_OFFER)
        elif offer.family in declined_families:
            against.append(Reason.DECLINED_FAMILY)
        if standing.is_excluded(plan, offer, live):
            against.append(Reason.EXCLUDED_BY)
        vetoes[index] = tuple(against)
    prices = {
        index: standing.price_minor(plan, offer, holds) for index, offer in zip(journey_by_offer, offers, strict=True)
    }
    return vetoes, prices


def may_answer(state: PartitionState, ask: Ask, household: int, member: int) -> bool:
    """Return whether who asks may be answered on the channel that asks."""
    return ask.channel == NONE or has_consent(state, ask.channel, household, member)
