"""What keeps actions of a slate that stands from being the answer on the channel that asks."""

from household.counting import has_answered
from household.deciding.candidate_columns import Looked
from household.deciding.draft import Ask
from household.deciding.reasons import Reason, by_rule
from household.deciding.rules import Weighing, said
from household.deciding.sending import carries
from household.decision import RuleNote
from household.plan import NONE
from household.state import PartitionState
from household.tables.slates import Slate
from household.traits import is_legal


def against_answers(
    state: PartitionState, ask: Ask, standing: Slate | None, household: int, member: int, looked: Looked
) -> tuple[dict[str, tuple[str, ...]], tuple[RuleNote, ...]]:
    """Return, by action id, what speaks against answering with it, and what there is to tell of rules that do.

    Args:
        state: read only.
        ask: who asks.
        standing: the slate that stands, if any.
        household: row.
        member: row of who asks, or NO_MEMBER.
        looked: what was found of who asks.
    """
    if standing is None or ask.channel == NONE:
        return {}, ()
    plan = state.plan
    missing = () if looked.has_consent else (Reason.NO_CONSENT,)
    refusing = (Reason.OBJECTION,) if looked.has_objected else ()
    counts = state.rules is not None and state.rules.counts_inbound
    if not missing and not refusing and not counts:
        return {}, ()
    against: dict[str, tuple[str, ...]] = {}
    notes: list[RuleNote] = []
    for action in standing.decision.slate:
        offer = plan.offer_by_name.get(action.offer, NONE)
        if offer == NONE or is_legal(plan, offer, action.journey):
            continue
        reasons: tuple[str, ...] = (*refusing, *missing)
        # The same answer on the same channel once more is no other contact.
        is_new = counts and carries(plan, action, ask.channel)
        if is_new and not has_answered(state, household, ask.channel, action.action_id):
            assert state.rules is not None
            asked = [said(state.rules, plan, offer, action.journey, ask.channel)]
            weighing = Weighing(state, household, member, asked, is_inbound=True)
            broken = weighing.broken(0)
            reasons += tuple(by_rule(state.rules.rules[one.rule].name) for one in broken)
            notes += [weighing.note(0, one, offer=action.offer) for one in broken]
        if reasons:
            against[action.action_id] = reasons
    return against, tuple(notes)
