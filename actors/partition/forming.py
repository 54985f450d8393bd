"""How a group is formed of what waits: looked at once more as of its stamp, and encoded. For the state thread."""

from actors.log.contract import RecordKind
from actors.partition.folding import Folding
from actors.partition.group import Group, Proposal
from actors.partition.term import Term
from actors.records import codec
from household.decide import still_allowed, still_sent
from household.deciding.hand_over import household_of
from household.deciding.standing import is_live
from household.delivery import DeliveryNote
from household.state import PartitionState


def form(group: Group, folding: Folding, term: Term) -> None:
    """Check the vetoes once more, and encode; or only tick, if that is due.

    A tick is a group of its own: it changes what is live, and what waits is then looked at in its light.
    """
    if folding.is_tick_due(group.stamp_us):
        group.ticks = True
        group.records.append(term.record(RecordKind.TICK, codec.TICK_LAYOUT, b"", group.stamp_us))
        return
    as_of_now = folding.state_as_of(group.stamp_us)
    _form_proposals(group, as_of_now, term)
    for one in group.signals:
        group.records.append(term.record(RecordKind.SIGNALS, codec.SIGNALS_LAYOUT, one.payload, group.stamp_us))
    _form_hand_overs(group, as_of_now, term)


def _form_proposals(group: Group, as_of_now: PartitionState, term: Term) -> None:
    kept = []
    for proposal in group.proposals:
        if not _is_still_right(as_of_now, proposal):
            group.refused.append(proposal)
            continue
        kept.append(proposal)
        moments = proposal.decision.moments
        keys = {one.member: as_of_now.members.key(one.member) for one in moments if one.member >= 0}
        payload = codec.encode_decision(proposal.decision, member_keys=keys)
        group.records.append(term.record(RecordKind.DECISION, codec.DECISION_LAYOUT, payload, group.stamp_us))
    group.proposals = kept


def _is_still_right(state: PartitionState, proposal: Proposal) -> bool:
    """Return whether a decision may be written as it is. Of a slate that stands, one action may end before the rest."""
    decision = proposal.decision
    is_dead = bool(decision.stands and decision.answered) and not is_live(state, decision.answered)
    if is_dead or not still_allowed(state, proposal.draft, may_miss_moments=proposal.may_miss_moments):
        return False
    return still_sent(state, proposal.draft, decision)


def _form_hand_overs(group: Group, as_of_now: PartitionState, term: Term) -> None:
    """Look at each once more. It stands behind the signals: what they take back is not handed over by the fold."""
    if not group.hand_overs:
        return
    # What is told of a household in this group may take the place that is counted on here.
    keys = [one.decision.household for one in group.proposals]
    keys += [one.batch.households[report.row] for one in group.signals for report in one.batch.outcomes]
    busy = {as_of_now.find(key)[0] for key in keys}
    notes: list[DeliveryNote] = []
    for one in group.hand_overs:
        one.notes = []
        for action_id in one.action_ids:
            household = household_of(as_of_now, action_id)
            note = one.next_step(as_of_now, action_id) if household not in busy else None
            if household is not None and note is not None:
                # Two contacts of a household may not go together.
                busy.add(household)
                one.notes.append(note)
        notes += one.notes
    if notes:
        payload = codec.encode_delivery(notes)
        group.records.append(term.record(RecordKind.DELIVERY, codec.DELIVERY_LAYOUT, payload, group.stamp_us))
