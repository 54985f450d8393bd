"""The slate: which one stands and answers, how a new one is made, what goes with it no more, what the channel gets."""

from collections.abc import Collection

from household.deciding import standing
from household.deciding.candidate_columns import CandidateColumns
from household.deciding.draft import Ask, Draft
from household.deciding.reasons import Reason
from household.deciding.sending import carries
from household.deciding.standing import is_live, sees
from household.decision import SlateAction, Withdrawal
from household.plan import NONE, Plan
from household.state import NO_MEMBER, PartitionState
from household.tables.slates import Slate


def standing_slate(
    state: PartitionState, ask: Ask, household: int, member: int
) -> tuple[Slate | None, tuple[Withdrawal, ...]]:
    """Return the slate that answers this ask, the member's own before the household's, and what no longer holds.

    None if nothing on them may be shown to who asks. What was decided for a household is the same for whoever asks.
    """
    if not state.together(state.slates, household):
        return None, ()
    withdrawals: list[Withdrawal] = []
    for owners in dict.fromkeys((state.same_members(household, member), (NO_MEMBER,))):
        found = (state.slates.get(row, one) for row in state.rows_together(household) for one in owners)
        slate = max((one for one in found if one is not None), key=_decided, default=None)
        if slate is None:
            continue
        live = [entry for entry in slate.decision.slate if is_live(state, entry.action_id)]
        if not live:
            continue
        decided_for = state.actions[live[0].action_id].member
        gone = standing.no_longer_holding(state, slate, live, household, decided_for, slate.member)
        withdrawals += [Withdrawal(action_id=action_id, reason=reason) for action_id, reason in gone.items()]
        if any(entry.action_id not in gone and sees(state, entry, slate, ask, household, member) for entry in live):
            return slate, tuple(withdrawals)
    return None, tuple(withdrawals)


def _decided(slate: Slate) -> tuple[int, str]:
    return slate.decision.decided_us, slate.decision_id


def brought_up_by(plan: Plan, columns: CandidateColumns, slate: tuple[SlateAction, ...]) -> set[str]:
    """Return the journeys behind a slate: those of its moments, or those that the contact started."""
    of_moments = {action.journey for action in slate if action.journey}
    return of_moments or {name for one in slate for name in columns.brought_by[plan.offer_by_name[one.offer]]}


def crowded_out(state: PartitionState, draft: Draft, slate: tuple[SlateAction, ...]) -> tuple[Withdrawal, ...]:
    """Return what of the household's slate does not go with a new one that stands beside it as a member's own."""
    if not slate or standing.slate_owner(state, slate, draft.member) == NO_MEMBER:
        return ()
    stand = [one for one in state.together(state.slates, draft.household) if one.member == NO_MEMBER]
    plan, gone = state.plan, {one.action_id for one in draft.withdrawals}
    excluded = {
        plan.offers[other].name for one in slate for other in plan.offers[plan.offer_by_name[one.offer]].excludes
    }
    return tuple(
        Withdrawal(action_id=one.action_id, reason=Reason.EXCLUDED_BY)
        for stands in stand
        for one in stands.decision.slate
        if one.offer in excluded and one.action_id not in gone and is_live(state, one.action_id)
    )


def answer(
    state: PartitionState,
    draft: Draft,
    slate: tuple[SlateAction, ...],
    *,
    withheld: bool,
    unaffordable: Collection[str] = (),
) -> str:
    """Return the id of the first action that the asking channel can carry, of the new slate or of the standing one.

    Args:
        state: read only.
        draft: of the decision.
        slate: that is new.
        withheld: nobody is to be given it.
        unaffordable: actions of the standing slate, by id, for which too little is left of a budget.
    """
    if draft.ask.channel == NONE or withheld:
        return ""
    if slate:
        return next((action.action_id for action in slate if carries(state.plan, action, draft.ask.channel)), "")
    if draft.standing is None:
        return ""
    gone = {one.action_id for one in draft.withdrawals}
    return next(
        (
            action.action_id
            for action in draft.standing.decision.slate
            if is_live(state, action.action_id)
            and action.action_id not in gone
            and action.action_id not in draft.not_to_answer
            and action.action_id not in unaffordable
            and sees(state, action, draft.standing, draft.ask, draft.household, draft.member)
            and carries(state.plan, action, draft.ask.channel)
        ),
        "",
    )
