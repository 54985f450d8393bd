"""Which offers are weighed: those of the moments that wait, or those that a contact may bring up."""

from household.columns.decay import decay
from household.deciding.bringing_up import half_life_of, is_known, is_stale, journey_of
from household.deciding.draft import Ask
from household.deciding.reasons import Reason, by_contact, by_moment
from household.decision import Moment
from household.plan import NONE, Halt, Journey, Plan, Scope
from household.state import PartitionState


def moments_for(state: PartitionState, household: int, member: int) -> tuple[Moment, ...]:
    """Return the pending moments that a decision for this member settles: the household's, and the member's own.

    A moment of a trigger that is kept per member is that member's: nobody else's asking uses it up.
    """
    pending = state.together(state.pending, household)
    if not pending:
        return ()
    same = state.same_members(household, member)
    return tuple(
        moment
        for moment in pending
        if (moment.member in same or not is_members_own(state.plan, moment)) and not is_paused(state.plan, moment)
    )


def is_paused(plan: Plan, moment: Moment) -> bool:
    """Return whether a moment's journey says nothing at present: the moment waits."""
    return plan.halt_by_journey.get(moment.journey) is Halt.PAUSED


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
        journey = journey_of(plan, moment)
        if journey is None or not is_known(plan, moment):
            continue
        if is_stale(plan, moment, now_us):
            reasons.append(Reason.STALE_SIGNAL)
            continue
        reasons.append(by_moment(moment.journey))
        found.append((journey, True))
    if ask.channel != NONE and ask.is_contact:
        for journey in plan.started_by_contact:
            if not ask.contact_types or ask.contact_types.intersection(journey.contact_events):
                found.append((journey, False))
                reasons.append(by_contact(journey.name))
    return found, tuple(dict.fromkeys(reasons))


def turned_stale(plan: Plan, moment: Moment, then_us: int, now_us: int) -> bool:
    """Return whether it became too late for what a moment brings up, between two times."""
    return is_known(plan, moment) and is_stale(plan, moment, now_us) and not is_stale(plan, moment, then_us)


def stale_candidates(
    plan: Plan, pending: tuple[Moment, ...], journey_by_offer: dict[int, str], now_us: int
) -> dict[int, str]:
    """Return the offers (and their journeys) that only moments would have brought up for which it is too late."""
    return {
        offer: moment.journey
        for moment in pending
        if (journey := journey_of(plan, moment)) is not None and is_known(plan, moment)
        if is_stale(plan, moment, now_us)
        for offer in journey.offers
        if offer not in journey_by_offer
    }


def freshness(plan: Plan, moments: tuple[Moment, ...], now_us: int) -> dict[str, float]:
    """Return what is left of the value of what each journey's newest moment brings up, where it is not all.

    >>> from household.plan import EventType, Journey
    >>> events = (EventType(name="e", source="app", half_life_us=60),)
    >>> plan = Plan(name="p", event_types=events, journeys=(Journey(name="j"),))
    >>> moment = Moment(moment_id="m", journey="j", member=-1, event_id=b"", event_type="e", time_us=100)
    >>> freshness(plan, (moment,), 160), freshness(plan, (moment,), 100)
    ({'j': 0.5}, {})
    """
    left: dict[str, float] = {}
    for moment in moments:
        if is_known(plan, moment) and not is_stale(plan, moment, now_us):
            age_us = max(now_us - moment.time_us, 0)
            half_life_us = half_life_of(plan, moment)
            share = decay(float(age_us), float(half_life_us)) if half_life_us and age_us else 1.0
            left[moment.journey] = max(share, left.get(moment.journey, 0.0))
    return {journey: share for journey, share in left.items() if share != 1.0}


def speaking(ask: Ask, journeys: list[tuple[Journey, bool]]) -> list[Journey]:
    """Return the journeys that may speak unasked: those of moments, where nobody is there to be answered."""
    return [journey for journey, of_moment in journeys if of_moment and ask.channel == NONE]


def personal_offers(
    state: PartitionState, moments: tuple[Moment, ...], journey_by_offer: dict[int, str]
) -> frozenset[int]:
    """Return the candidates that are the member's own: of their own moment, or hanging on what is known of them."""
    own, hanging = {one.journey for one in moments if is_members_own(state.plan, one)}, state.layout.personal_offers
    if not own and not hanging:
        return hanging
    if not own:
        return hanging.intersection(journey_by_offer)
    return frozenset(offer for offer, journey in journey_by_offer.items() if journey in own or offer in hanging)
