"""How a group is formed of what waits: decoded, decided, looked at as of its stamp, encoded. For the state thread."""

from actors.log.contract import RecordKind
from actors.partition.decoding import decode, to_decode
from actors.partition.folding import Folding
from actors.partition.group import Group, Signals
from actors.partition.term import Term
from actors.records import codec
from household.deciding.hand_over import CapacityTaken, household_of
from household.decision import Decision
from household.decision_bytes import encode_decision
from household.delivery import DeliveryNote
from household.events import NO_TIME_US, EventBatch
from household.relocation.whereabouts import LiesElsewhere
from household.state import NO_HOUSEHOLD, PartitionState


def form(group: Group, folding: Folding, term: Term) -> None:
    """Decide, and encode what is to be written; or only tick, if that is due.

    A tick is a group of its own: it changes what is live, and what waits is then looked at in its light. A tick that
    leaves some of what is due for the next lets others have their turn in between.
    """
    others_turn = folding.has_just_ticked and bool(group.proposals or group.signals or group.hand_overs)
    if not others_turn and folding.is_tick_due(group.stamp_us):
        group.ticks = True
        group.records.append(term.record(RecordKind.TICK, codec.TICK_LAYOUT, b"", group.stamp_us))
        return
    for some in to_decode(group.signals):
        decode_of(group, some, folding)
    as_of_now = folding.state_as_of(group.stamp_us)
    _form_proposals(group, as_of_now, term)
    _form_signals(group, as_of_now, term)
    _form_hand_overs(group, as_of_now, term)


def decode_of(group: Group, some: list[Signals], folding: Folding) -> None:
    """Decode some batches of a group; those that cannot be are no part of it any more."""
    for one, wrong in decode(some, folding.state.plan):
        group.signals.remove(one)
        group.failed.append((one.done, wrong))


def _form_proposals(group: Group, as_of_now: PartitionState, term: Term) -> None:
    kept, decided = [], set[int]()
    as_of_now.scarcity.begin_group()
    as_of_now.inventory.begin_group()
    for proposal in group.proposals:
        try:
            proposal.made = proposal.attempt.decide(as_of_now)
            payload = _encoded(proposal.made, as_of_now) if proposal.made is not None else b""
        except Exception as wrong:  # noqa: BLE001 - it belongs to whoever asked for it
            group.failed.append((proposal.done, wrong))
            continue
        # Under different keys it may be one household: the second would not see what the first gives out.
        home = NO_HOUSEHOLD
        if proposal.made is not None and as_of_now.graph:
            home = as_of_now.home_row(as_of_now.find(proposal.made.household)[0])
        if proposal.made is None or (home != NO_HOUSEHOLD and home in decided):
            proposal.made = None
            group.refused.append(proposal)
            continue
        kept.append(proposal)
        decided.add(home)
        # None of this group sees what another of it takes, but by this.
        as_of_now.scarcity.promise({one.budget: one.used for one in proposal.made.scarce})
        as_of_now.inventory.promise(as_of_now, proposal.made)
        group.records.append(term.record(RecordKind.DECISION, codec.DECISION_LAYOUT, payload, group.stamp_us))
    group.proposals = kept


def _encoded(decision: Decision, state: PartitionState) -> bytes:
    keys = {one.member: state.members.key(one.member) for one in decision.moments if one.member >= 0}
    return encode_decision(decision, member_keys=keys)


def _form_signals(group: Group, as_of_now: PartitionState, term: Term) -> None:
    kept = []
    for one in group.signals:
        try:
            one.before(as_of_now)
        except Exception as wrong:  # noqa: BLE001 - it belongs to whoever asked for it
            group.failed.append((one.done, wrong))
            continue
        kept.append(one)
        group.records.append(term.record(RecordKind.SIGNALS, codec.SIGNALS_LAYOUT, one.payload, group.stamp_us))
    group.signals = kept


def _reported(state: PartitionState, batch: EventBatch, row: int) -> bytes:
    """Return by which key the household is known that a report names."""
    identifier = batch.identifiers[row].decode() if batch.identifiers.offsets.shape[0] else ""
    time_us = int(batch.times_us[row])
    try:
        at_us = state.now_us if time_us == NO_TIME_US else time_us
        return state.graph.whom(batch.households[row], b"", identifier, at_us)[0]
    except LiesElsewhere:
        return b""  # nothing is handed over for it here


def _form_hand_overs(group: Group, as_of_now: PartitionState, term: Term) -> None:
    """Look at each once more. It stands behind the signals: what they take back is not handed over by the fold."""
    if not group.hand_overs:
        return
    # What is told of a household in this group may take the place that is counted on here.
    keys = [one.decision.household for one in group.proposals]
    keys += [_reported(as_of_now, one.batch, report.row) for one in group.signals for report in one.batch.outcomes]
    busy = {as_of_now.home_row(as_of_now.find(key)[0]) for key in keys}
    notes: list[DeliveryNote] = []
    taken = CapacityTaken(as_of_now)
    for one in group.hand_overs:
        one.notes = []
        for action_id in one.action_ids:
            row = household_of(as_of_now, action_id)
            household = None if row is None else as_of_now.home_row(row)
            note = one.next_step(as_of_now, action_id) if household not in busy else None
            if household is not None and note is not None and taken.has_room(note):
                # Two contacts of a household may not go together.
                busy.add(household)
                one.notes.append(note)
        notes += one.notes
    if notes:
        payload = codec.encode_delivery(notes)
        group.records.append(term.record(RecordKind.DELIVERY, codec.DELIVERY_LAYOUT, payload, group.stamp_us))
