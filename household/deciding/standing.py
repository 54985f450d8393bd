"""Whether what was decided before still holds: looked at whenever an action is about to be answered with or sent.

An action's offer, its eligibility, its price and what it excludes may all have changed since its slate was made: she
bought what it proposes, her segment is another, the playbook no longer has it.
"""

from collections.abc import Sequence, Set

import numpy as np

from household.deciding.candidate_columns import FRAUD, NOT_ELIGIBLE, OBJECTION
from household.deciding.draft import Ask
from household.deciding.looking import looked_at
from household.deciding.reasons import Reason
from household.decision import SlateAction
from household.experiments.control import kept_from
from household.plan import NONE, Halt, Offer, Plan
from household.state import NO_MEMBER, PartitionState
from household.tables.actions import ActionStatus, LiveAction
from household.tables.slates import Slate


def is_live(state: PartitionState, action_id: str) -> bool:
    """Return whether an action was neither settled nor has expired; it may be shown if it also holds."""
    action = state.actions.get(action_id)
    return action is not None and action.status is ActionStatus.LIVE and state.now_us < action.valid_until_us


def slate_of(state: PartitionState, action: LiveAction) -> tuple[int, Slate] | None:
    """Return the standing slate that an action is part of, and whose it is (a member's row, or NO_MEMBER)."""
    for slate in state.slates.of(action.household):
        if slate.decision_id == action.decision_id:
            return slate.member, slate
    return None


def why_not(state: PartitionState, action_id: str) -> str:
    """Return why a live action no longer holds; empty if it does, and for one that is not live."""
    action = state.actions.get(action_id)
    found = slate_of(state, action) if action is not None else None
    if action is None or found is None or not is_live(state, action_id):
        return ""
    owner, slate = found
    entries = [one for one in slate.decision.slate if one.action_id == action_id]
    return no_longer_holding(state, slate, entries, action.household, action.member, owner).get(action_id, "")


def no_longer_holding(
    state: PartitionState, slate: Slate, entries: Sequence[SlateAction], household: int, member: int, owner: int
) -> dict[str, Reason]:
    """Return, of live actions of one slate, those that no longer hold, and why.

    Args:
        state: read only.
        slate: that they are on.
        entries: live actions of it.
        household: whose slate it is.
        member: for whom it was decided; their segment sets the price.
        owner: row of the member who alone sees it, or NO_MEMBER.
    """
    plan = state.plan
    if state.graph and state.graph.is_over(household):
        return {entry.action_id: Reason.IDENTIFIER_GONE for entry in entries}
    columns = state.candidate_sets.of_slate([(entry.offer, entry.journey) for entry in entries])
    looked = looked_at(state, columns, household, member, reads=False)
    places = {offer.name: place for place, offer in enumerate(columns.offers)}
    live = live_offers(state, household, beside=(owner,))
    kept = kept_from(state, slate.decision, entries, household, member)
    found = {entry.action_id: Reason.CONTROL_GROUP for entry in entries if entry.action_id in kept}
    for entry in entries:
        if entry.action_id in found:
            continue
        place = places.get(entry.offer, NONE)
        if place == NONE:
            found[entry.action_id] = Reason.OFFER_GONE
            continue
        against = looked.vetoes[place]
        if against & OBJECTION:
            found[entry.action_id] = Reason.OBJECTION
        elif against & FRAUD:
            found[entry.action_id] = Reason.FRAUD
        elif against & NOT_ELIGIBLE:
            found[entry.action_id] = Reason.NOT_ELIGIBLE
        elif looked.prices_minor[place] != entry.price_minor:
            found[entry.action_id] = Reason.PRICE_CHANGED
        elif is_excluded(plan, columns.offers[place], live):
            found[entry.action_id] = Reason.EXCLUDED_BY
    return found


def truths(state: PartitionState, programs: Sequence[int], household: int, member: int) -> dict[int, bool]:
    """Return which of these programs are true now; an error or unknown is not."""
    if not programs:
        return {}
    results = state.conditions(np.array(programs, np.int64), household, member, state.now_us)
    return {program: bool(result == 1.0) for program, result in zip(programs, results, strict=True)}


def live_offers(state: PartitionState, household: int, *, beside: Sequence[int]) -> Set[str]:
    """Return the names of the offers that are live for the household, on slates of none of `beside`."""
    if not (slates := state.together(state.slates, household)):
        return frozenset()
    return {
        action.offer
        for slate in slates
        if slate.member not in beside
        for action in slate.decision.slate
        if is_live(state, action.action_id)
    }


def is_excluded(plan: Plan, offer: Offer, live: Set[str]) -> bool:
    """Return whether an offer goes with one of those that are live."""
    return bool(live) and any(plan.offers[other].name in live for other in offer.excludes)


def sees(state: PartitionState, entry: SlateAction, slate: Slate, ask: Ask, household: int, member: int) -> bool:
    """Return whether who asks may be shown an action: the household's is everybody's, a member's own theirs.

    Of households that are one by now each may have named a member alike: they are not the same for that.
    """
    made = slate.decision
    if state.plan.halted and state.plan.halt_by_journey.get(entry.journey) is Halt.PAUSED:
        return False  # it says nothing at present, to nobody
    if not entry.is_personal or (made.household, made.member) == (ask.household, ask.member):
        return True
    _, whose = state.find(made.household, made.member)
    return whose != NO_MEMBER and whose in state.same_members(household, member)


def journey_of_action(state: PartitionState, household: int, action_id: str) -> str:
    """Return the journey whose moment brought up an action of a slate; empty for none, and where no slate has it."""
    for slate in state.slates.of(household):
        for one in slate.decision.slate:
            if one.action_id == action_id:
                return one.journey
    return ""


def slate_owner(state: PartitionState, slate: Sequence[SlateAction], member: int) -> int:
    """Return under whom a new slate stands: the household, unless all of it is the member's own.

    The first fold version kept a slate per member.
    """
    if state.fold_version < 2:
        return member
    return member if slate and all(entry.is_personal for entry in slate) else NO_MEMBER
