"""What keeps actions of a slate that stands from being the answer on the channel that asks."""

from household.counting import has_answered
from household.deciding.candidate_columns import Looked
from household.deciding.draft import Ask
from household.deciding.reasons import Reason, by_rule
from household.deciding.rules import Weighing, asks_of, said
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
    known = [(action, plan.offer_by_name.get(action.offer, NONE)) for action in standing.decision.slate]
    entries = [
        (action, offer) for action, offer in known if offer != NONE and not is_legal(plan, offer, action.journey)
    ]
    # The same answer on the same channel once more is no other contact.
    new = [
        (action, offer)
        for action, offer in (entries if counts else ())
        if carries(plan, action, ask.channel) and not has_answered(state, household, ask.channel, action.action_id)
    ]
    against = {action.action_id: (*refusing, *missing) for action, _ in entries}
    notes: list[RuleNote] = []
    if new and state.rules is not None:
        rules = state.rules
        asks = asks_of(rules, [said(rules, plan, offer, action.journey, ask.channel) for action, offer in new])
        weighing = Weighing(state, household, member, asks, is_inbound=True)
        for place, (action, _) in enumerate(new):
            broken = weighing.broken(place)
            against[action.action_id] += tuple(by_rule(rules.rules[one.rule].name) for one in broken)
            notes += [weighing.note(place, one, offer=action.offer) for one in broken]
    return {action_id: reasons for action_id, reasons in against.items() if reasons}, tuple(notes)
