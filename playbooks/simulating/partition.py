"""One partition under a playbook as it would have been: what happened is taken as it was, all else is done anew.

Fold, decision and hand-over are those of a live Hearth, in the order in which an owner does them. Who asked asks
again; what is handed over counts as delivered; an answer that is known goes on to what is said here, if it is the same.
"""

import copy
import heapq
from collections.abc import Callable, Collection

import numpy as np

from household import ledger
from household.apply import apply_decision, apply_delivery, apply_epoch, apply_relocations, apply_signals, apply_tick
from household.contact_rules.share import CapacityShare
from household.decide import decide, prepare
from household.deciding.candidates import is_paused
from household.deciding.draft import Ask, Draft, Scores
from household.deciding.hand_over import next_step
from household.decision import Decision, Moment
from household.decision_bytes import encode_decision
from household.delivery import DeliveryNote, DeliveryStep
from household.events import NO_KEYS, EventBatch, OutcomeRow, keys_of
from household.migration import migrated
from household.plan import NONE, EventTimeUs, Plan
from household.relocation.folding import read_under
from household.relocation.notes import RelocationNote
from household.scoring import schema_hash
from household.state import PartitionState
from household.tables.instances import Instance
from household.tables.table import Table
from playbooks.simulating.happened import AnsweredAction, AskedAgain
from playbooks.simulating.tally import PartitionTally, SaidAction

LOOKED_AT_EVERY_US = 600_000_000
"""What waits for its hand-over, and for nobody knows what, is looked at as often."""

SAID_KEPT = 8
"""Of each household, what was said last: what answers may be about."""

MOMENTS_OF_ONE = 8
"""Decisions in a row for the moments of one household: one for each member, and some more."""

ScoresOf = Callable[[Plan, Draft], Scores]
"""Says how likely candidates are to be accepted."""


class SimulatedPartition:
    """The partition. What is done is counted in `tally`."""

    def __init__(
        self,
        plan: Plan,
        *,
        share: CapacityShare,
        is_stream: bool,
        score: ScoresOf,
        state: PartitionState | None = None,
    ) -> None:
        """Begin with nothing known, or with what was known.

        Args:
            plan: in force at first.
            share: of what is scarce over all partitions.
            is_stream: events are the clock.
            score: of the model, or of the playbook's priors.
            state: that is gone on from, under that plan; None for none.
        """
        self.state = PartitionState(plan=plan, stream_clock=is_stream, share=share) if state is None else state
        self.state.share = share
        self.tally = PartitionTally(plan)
        self._score, self._epoch, self._offset = score, int(self.state.epoch), 0
        self._looks: list[tuple[int, str]] = []
        """(when to be looked at, action): a heap."""
        self._left: dict[int, None] = {}
        """Rows of households whose moments wait for a question of theirs."""
        self._said: dict[bytes, list[SaidAction]] = {}
        self._is_coming = False
        """Instances that are put down come from another partition."""
        self._watched: Table[Instance] | None = None
        self._watch()
        self._listened = frozenset(one.name for one in plan.channels if one.outbound)

    # --- what comes in ------------------------------------------------------------------------------------------------

    def epoch(self, epoch: int, *, partition: int = 0, partition_count: int = 1) -> None:
        """Open a term, as the log has it: decisions are drawn by it."""
        if epoch > self.state.epoch:
            apply_epoch(self.state, epoch=epoch, partition=partition, partition_count=partition_count)
            self._epoch = epoch

    def relocated(self, note: RelocationNote, logged: Plan, stamp_us: int) -> None:
        """Let households leave and come as they did: with what was known of them by the log, not by a simulation.

        Args:
            note: of the log.
            logged: the plan in force there.
            stamp_us: when it was written.
        """
        self.pass_time(stamp_us)
        state = self.state
        note = read_under(note, logged, state.plan, now_us=state.now_us)
        known, self._is_coming = {one.action_id for one in state.outbox}, True
        apply_relocations(state, note, epoch=self._epoch, stamp_us=stamp_us)
        self._is_coming = False
        for one in state.outbox:
            if one.action_id not in known:
                heapq.heappush(self._looks, (int(state.now_us), one.action_id))
        rows: dict[int, None] = {}
        self._take_arisen(rows)
        self._decide_moments(rows, ())
        self._hand_over(state.now_us)

    def put_into_force(self, plan: Plan, now_us: int) -> None:
        """Go on under another plan."""
        self.pass_time(now_us)
        self.state = migrated(self.state, plan)
        self._watch()
        self._listened = frozenset(one.name for one in plan.channels if one.outbound)
        self.tally.under(plan)

    def happened(self, batch: EventBatch, stamp_us: int, *, asking: Collection[bytes] = ()) -> None:
        """Fold what happened, and do what comes of it.

        Args:
            batch: events, decoded under the plan in force.
            stamp_us: when they were learned.
            asking: households that are just about to ask: what arises waits for that.
        """
        self.pass_time(stamp_us)
        rows: dict[int, None] = {}
        applied = apply_signals(self.state, batch, stamp_us=stamp_us)
        rows.update((row, None) for row, _ in applied.moments)
        self._take_arisen(rows)
        self._decide_moments(rows, asking)
        self._hand_over(self.state.now_us)
        if self.state.stream_clock:
            self.pass_time(self.state.now_us)

    def asked(self, question: AskedAgain) -> None:
        """Answer a question that was asked."""
        self.pass_time(question.at_us)
        plan = self.state.plan
        channel = plan.channel_by_name.get(question.channel, NONE)
        if channel == NONE or not plan.channels[channel].inbound:
            self.tally.channel_gone += 1
            return
        named = question.contact_types or ()
        types = frozenset(plan.event_type_by_name[one] for one in named if one in plan.event_type_by_name)
        ask = Ask(
            household=question.household,
            member=question.member,
            channel=channel,
            request_id=question.request_id,
            is_contact=question.contact_types is not None and (not named or bool(types)),
            contact_types=types,
        )
        self._decided(ask, question.at_us)
        row, _ = self.state.find(question.household)
        rows = dict.fromkeys(one for one in self._left if one == row)
        self._left.pop(row, None)
        self._take_arisen(rows)
        self._decide_moments(rows, ())
        self._hand_over(self.state.now_us)

    def about(self, answered: AnsweredAction, channel: str) -> str | None:
        """Return the id of the action here that an answer of the log is about; None if the same was not said here."""
        for one in reversed(self._said.get(answered.household, [])):
            is_same = (one.offer, one.price_minor) == (answered.offer, answered.price_minor)
            if is_same and channel in ("", one.channel) and one.action_id in self.state.actions:
                return one.action_id
        return None

    # --- time ---------------------------------------------------------------------------------------------------------

    def pass_time(self, until_us: int) -> None:
        """Let time pass, and all be done that is due on the way, the end included."""
        is_stream = self.state.stream_clock
        last_us = self.state.now_us if is_stream else until_us
        while (due_us := self._next_us(last_us)) is not None:
            self._tick(max(due_us, self.state.now_us))
            self._hand_over(self.state.now_us)

    def _next_us(self, last_us: int) -> int | None:
        due = [ledger.next_due_us(self.state), self._looks[0][0] if self._looks else None]
        times = [one for one in due if one is not None and one <= last_us]
        return min(times, default=None)

    def _tick(self, at_us: int) -> None:
        state = self.state
        if (due_us := ledger.next_due_us(state)) is None or due_us > at_us:
            if not state.stream_clock:
                state.now_us = EventTimeUs(max(state.now_us, at_us))
            return
        self._fold_tick(at_us)
        rows: dict[int, None] = {}
        self._take_arisen(rows)
        self._decide_moments(rows, ())

    # --- decisions ----------------------------------------------------------------------------------------------------

    def _take_arisen(self, rows: dict[int, None]) -> None:
        rows.update(self.state.arisen)
        self.state.arisen.clear()

    def _decide_moments(self, rows: dict[int, None], asking: Collection[bytes]) -> None:
        waiting = list(rows)
        while waiting:
            row = waiting.pop(0)
            if asking and self.state.households.key(row) in asking:
                self._left[row] = None
                continue
            for _ in range(MOMENTS_OF_ONE):
                pending = self._open_moments(row)
                if not pending:
                    break
                member = pending[0].member
                ask = Ask(
                    household=self.state.households.key(row),
                    member=self.state.members.key(member) if member >= 0 else b"",
                    channel=NONE,
                    request_id="",
                    is_contact=False,
                    contact_types=frozenset(),
                )
                self._decided(ask, self.state.now_us)
            arisen: dict[int, None] = {}
            self._take_arisen(arisen)
            waiting += [one for one in arisen if one != row]

    def _open_moments(self, row: int) -> list[Moment]:
        plan = self.state.plan
        return [one for one in self.state.pending.of(row) if not is_paused(plan, one)]

    def _decided(self, ask: Ask, at_us: int) -> None:
        state = self._as_of(at_us)
        draft = prepare(state, ask)
        scores = self._score(state.plan, draft)
        state.scarcity.begin_group()
        state.inventory.begin_group()
        decision = decide(state, draft, scores, epoch=self._epoch, schema_hash=schema_hash(state.plan))
        self._offset += 1
        self.tally.decided(decision)
        said = self._answer(decision)
        keys = {one.member: state.members.key(one.member) for one in decision.moments if one.member >= 0}
        self._fold_decision(decision, encode_decision(decision, member_keys=keys), int(state.now_us))
        if said is not None:
            self._is_said(said)
        if decision.send_channel and decision.slate and not decision.withheld:
            at = max(int(self.state.now_us), decision.send_not_before_us)
            heapq.heappush(self._looks, (at, decision.slate[0].action_id))

    def _as_of(self, time_us: int) -> PartitionState:
        state = self.state
        if state.stream_clock or time_us <= state.now_us:
            return state
        view = copy.copy(state)
        view.now_us = EventTimeUs(time_us)
        return view

    def _answer(self, decision: Decision) -> SaidAction | None:
        """Return what a decision tells a channel that asks; None for nothing."""
        if not decision.answered:
            return None
        row, _ = self.state.find(decision.household)
        slates = [decision, *(one.decision for one in self.state.together(self.state.slates, row))]
        for made in slates:
            for entry in made.slate:
                if entry.action_id == decision.answered:
                    action = self.state.actions.get(entry.action_id)
                    return SaidAction(
                        household=decision.household,
                        member=decision.member,
                        journey=entry.journey,
                        offer=entry.offer,
                        price_minor=entry.price_minor,
                        channel=decision.channel,
                        action_id=entry.action_id,
                        is_sent=False,
                        is_first=action is None or not action.is_shown,
                        at_us=decision.decided_us,
                        reasons=decision.reasons,
                    )
        return None

    # --- hand-overs ---------------------------------------------------------------------------------------------------

    def _hand_over(self, now_us: int) -> None:
        """Hand over what may go out by now."""
        state = self.state
        while self._looks and self._looks[0][0] <= now_us:
            _, action_id = heapq.heappop(self._looks)
            outbound = state.outbox.get(action_id)
            if outbound is None or outbound.handed_us:
                continue
            note = next_step(state, action_id, self._listened)
            if note is not None:
                self._deliver(note)
            elif now_us < outbound.send_before_us:
                heapq.heappush(self._looks, (now_us + LOOKED_AT_EVERY_US, action_id))

    def _deliver(self, note: DeliveryNote) -> None:
        state, action = self.state, self.state.actions[note.action_id]
        stamp_us, row = int(state.now_us), action.household
        found = [
            (slate.decision, entry)
            for slate in state.together(state.slates, row)
            for entry in slate.decision.slate
            if entry.action_id == note.action_id
        ]
        self._fold_note(note, stamp_us)
        if note.step is not DeliveryStep.HANDED or not found:
            self.tally.kept_back(note)
            return
        decision, entry = found[0]
        said = SaidAction(
            household=state.households.key(row),
            member=decision.member,
            journey=entry.journey,
            offer=entry.offer,
            price_minor=entry.price_minor,
            channel=note.channel,
            action_id=note.action_id,
            is_sent=True,
            is_first=not action.is_shown,
            at_us=stamp_us,
            reasons=decision.reasons,
        )
        self._is_said(said)
        self._delivered(said, stamp_us)

    def _is_said(self, said: SaidAction) -> None:
        self.tally.said(said)
        kept = self._said.setdefault(said.household, [])
        kept.append(said)
        del kept[:-SAID_KEPT]

    def _delivered(self, said: SaidAction, now_us: int) -> None:
        """Let what was handed over be delivered."""
        plan = self.state.plan
        columns = np.full((max(len(plan.fields), 1), 1), np.nan)
        batch = EventBatch(
            ids=keys_of([f"delivered/{said.action_id}/{said.channel}".encode()]),
            households=keys_of([said.household]),
            members=keys_of([said.member]),
            types=np.array([plan.event_type_by_name["hearth.delivered"]], np.int32),
            times_us=np.array([now_us], np.int64),
            values=columns,
            is_bad=np.zeros(1, np.uint8),
            plan_version=plan.version,
            outcomes=(OutcomeRow(row=0, outcome="delivered", action_id=said.action_id, channel=said.channel),),
            sources=NO_KEYS,
        )
        rows: dict[int, None] = {}
        applied = apply_signals(self.state, batch, stamp_us=now_us)
        rows.update((row, None) for row, _ in applied.moments)
        self._take_arisen(rows)
        self._decide_moments(rows, ())

    # --- what would be records ----------------------------------------------------------------------------------------

    def _fold_decision(self, decision: Decision, payload: bytes, stamp_us: int) -> None:
        offset = self._offset
        apply_decision(self.state, decision, payload, epoch=self._epoch, offset=offset, stamp_us=stamp_us)

    def _fold_note(self, note: DeliveryNote, stamp_us: int) -> None:
        apply_delivery(self.state, [note], epoch=self._epoch, stamp_us=stamp_us)

    def _fold_tick(self, stamp_us: int) -> None:
        apply_tick(self.state, epoch=self._epoch, stamp_us=stamp_us)

    # --- journeys -----------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Let the tally know of each instance that is kept otherwise than before: whoever moves one puts it there."""
        table, tally = self.state.instances, self.tally
        if table is self._watched:
            return
        put = table.put

        def watched(row: Instance, *, owner: int) -> None:
            put(row, owner=owner)
            (tally.knows if self._is_coming else tally.moved)(owner, row)

        table.put = watched  # type: ignore[method-assign, assignment]
        self._watched = table
