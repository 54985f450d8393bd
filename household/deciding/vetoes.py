"""What speaks against each candidate, and its price for whom it would be made."""

from collections.abc import Collection

from household.deciding import standing
from household.deciding.candidate_columns import (
    ACCEPTED_OFFER,
    DECLINED_FAMILY,
    DECLINED_OFFER,
    EXCLUDED_BY,
    STALE,
    CandidateColumns,
    Looked,
    Vetoed,
)
from household.state import NO_MEMBER, PartitionState
from household.tables.pauses import paused_names


def vetoes_of(
    state: PartitionState,
    columns: CandidateColumns,
    looked: Looked,
    household: int,
    member: int,
    *,
    stale: Collection[int] = (),
) -> Vetoed:
    """Return, of each candidate, what speaks against it."""
    bits = looked.vetoes
    if not columns.offers:
        return columns.vetoed(())
    accepted = paused_names(state, state.accepted_offers, household)
    declined = paused_names(state, state.declined_offers, household)
    families = paused_names(state, state.declined_families, household)
    # What a new slate replaces, or takes back, is in nobody's way.
    live = standing.live_offers(state, household, beside=(*state.same_members(household, member), NO_MEMBER))
    if stale or accepted or declined or families or live:
        bits = list(bits)
        for place, (index, offer) in enumerate(zip(columns.journey_by_offer, columns.offers, strict=True)):
            against = STALE * (index in stale) | ACCEPTED_OFFER * (offer.name in accepted)
            if offer.name in declined:
                against |= DECLINED_OFFER
            elif offer.family in families:
                against |= DECLINED_FAMILY
            bits[place] |= against | EXCLUDED_BY * standing.is_excluded(state.plan, offer, live)
    return columns.vetoed(bits)
