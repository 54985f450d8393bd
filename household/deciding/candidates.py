"""Which offers are weighed: those of the moments that wait, or those that a contact may bring up."""

from household.deciding.draft import Ask
from household.deciding.reasons import Reason, by_contact, by_moment
from household.decision import Moment
from household.plan import NONE, Journey, Plan, Scope
from household.state import PartitionState


def moments_for(state: PartitionState, household: int, member: int) -> tuple[Moment, ...]:
    """Return the pending moments that a decision for this member settles: the household's, and the member's own.

    A moment of a trigger that is kept per member is that member's: nobody else's asking uses it up.
    """
    pending = state.together(state.pending, household)
    return tuple(moment for moment in pending if moment.member == member or not is_members_own(state.plan, moment))


def is_members_own(plan: Plan, moment: Moment) -> bool:
    """Return whether a moment is of a trigger that is kept per member."""
    index = plan.journey_by_name.get(moment.journey, NONE)
    trigger = None if index == NONE else plan.journeys[index].trigger
    return trigger is not None and trigger.scope is Scope.MEMBER


def journeys_of(
    plan: Plan, ask: Ask, pending: tuple[Moment, ...], now_us: int
) -> tuple[list[tuple[Journey, bool]], tuple[str, ...]]:
    """Return the journeys that may bring up offers (and whether a moment did), moments before contacts."""
    found: list[tuple[Journey, bool]] = []
    reasons: list[str] = []
    for moment in pending:
        index = plan.journey_by_name.get(moment.journey, NONE)
        event = plan.event_type_by_name.get(moment.event_type, NONE)
        if index == NONE or event == NONE:
            continue
        if now_us - moment.time_us > plan.event_types[event].action_window_us:
            reasons.append(Reason.STALE_SIGNAL)
            continue
        reasons.append(by_moment(moment.journey))
        found.append((plan.journeys[index], True))
    if ask.channel != NONE and ask.is_contact:
        for journey in plan.journeys:
            if journey.trigger is None and (
                not ask.contact_types or ask.contact_types.intersection(journey.contact_events)
            ):
                found.append((journey, False))
                reasons.append(by_contact(journey.name))
    return found, tuple(dict.fromkeys(reasons))


def speaking(ask: Ask, journeys: list[tuple[Journey, bool]]) -> list[Journey]:
    """Return the journeys that may speak unasked: those of moments, where nobody is there to be answered."""
    return [journey for journey, of_moment in journeys if of_moment and ask.channel == NONE]


def candidates_of(plan: Plan, journeys: list[tuple[Journey, bool]]) -> dict[int, str]:
    """Return the offers to weigh. A moment's offers come alone; a contact's only where no moment has any."""
    by_moment = {offer: journey.name for journey, of_moment in journeys if of_moment for offer in journey.offers}
    if by_moment:
        return by_moment
    return {
        offer: ""
        for journey, of_moment in journeys
        if not of_moment
        for offer in journey.offers
        if plan.offers[offer].standing
    }


def personal_offers(
    state: PartitionState, moments: tuple[Moment, ...], journey_by_offer: dict[int, str]
) -> frozenset[int]:
    own, hanging = {one.journey for one in moments if is_members_own(state.plan, one)}, state.layout.personal_offers
    return frozenset(offer for offer, journey in journey_by_offer.items() if journey in own or offer in hanging)
