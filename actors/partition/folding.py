"""A partition's state as one owner folds it: the tail of the log, what others wrote, and the groups of its own."""

import copy

import numpy as np
from numpy.typing import NDArray

from actors.failpoints import Failpoint, reached
from actors.log.contract import Epoch, Offset, PartitionLog, Record, StoredRecord
from actors.partition.group import Folded, Group, Signals, settle, settle_hand_overs
from actors.partition.moments import PendingMoments
from actors.partition.ports import OwnerPorts
from actors.partition.recovery import SLICE_ROWS, Recovered, Since, fold_between
from actors.partition.unknown_fields import UnknownFields
from actors.records.replay import Replay
from actors.records.signals import decode_signals
from actors.rejects.store import RejectStore
from actors.state_thread import Urgency
from household import ledger
from household.apply import Applied
from household.decision import Decision
from household.events import EventBatch
from household.freeze import Freeze
from household.plan import EventTimeUs, Plan
from household.relocation.places import may_have_some
from household.state import PartitionState


class Folding:
    """Folds one partition. All state is touched in the shard's state thread."""

    def __init__(
        self, recovered: Recovered, ports: OwnerPorts, moments: PendingMoments, rejects: RejectStore | None
    ) -> None:
        self.unknown_fields = UnknownFields()
        """What came since it was assigned."""
        self._log: PartitionLog = recovered.log
        self._replay: Replay = recovered.replay
        self._position = recovered.position
        self._ports = ports
        self._state_thread = ports.state_thread
        self._moments = moments
        self._rejects = rejects
        self._no_tick_before_us = 0
        """No tick is due before that time; 0 where it is to be looked up. For the state thread, as the state is."""
        since = recovered.since or Since.of(recovered.replay)
        self._events_before, self._records_before = since.events, since.records
        self._has_just_ticked = False
        self._arisen: list[int] = []
        """Households in which journeys made moments arise in the group that is being folded."""

    @property
    def replay(self) -> Replay:
        """What is known of the log beside the state."""
        return self._replay

    @property
    def position(self) -> Offset:
        """End of what is folded; the log may go on behind it only while a group is being folded."""
        return self._position

    @property
    def state(self) -> PartitionState:
        """The state; to be used in the state thread only."""
        return self._replay.now

    @property
    def plan(self) -> Plan | None:
        """The plan in force; None before the first."""
        return None if self._replay.state is None else self._replay.state.plan

    def state_as_of(self, time_us: int) -> PartitionState:
        """Return the state as it reads at a time. Its own `now` is that of the newest record, which may be long ago.

        In the state thread, to read and not to keep.
        """
        state = self.state
        if state.stream_clock or time_us <= state.now_us:
            return state
        view = copy.copy(state)
        view.now_us = EventTimeUs(time_us)
        return view

    def is_tick_due(self, stamp_us: int) -> bool:
        """Return whether a tick is due.

        Looked up again when its time has come: of what is held overnight there may be a lot, and groups are many.
        """
        if self.is_early_for_tick(stamp_us):
            return False
        due_us = ledger.next_due_us(self.state)
        self._no_tick_before_us = due_us or 0
        return due_us is not None and due_us <= self._now_us(stamp_us)

    @property
    def has_just_ticked(self) -> bool:
        """Whether the last group was a tick: what it has left waits for what else waits, and the other way round."""
        return self._has_just_ticked

    def is_early_for_tick(self, stamp_us: int) -> bool:
        """Return whether no tick is due, as is known without looking it up. Between two groups in any thread."""
        return self._now_us(stamp_us) < self._no_tick_before_us

    def _now_us(self, stamp_us: int) -> int:
        state = self.state
        return state.now_us if state.stream_clock else max(state.now_us, stamp_us)

    def freeze(self) -> Freeze:
        """Freeze the state; see household/freeze.py. In the state thread."""
        return Freeze(self.state)

    # --- what stands in the log ---

    async def catch_up(self, end: Offset) -> int:
        """Fold what stands in the log before `end` and is not folded yet; return how many records.

        Raises:
            LogError, PayloadUnreadable, PlanUnreadable.
        """
        count = await fold_between(
            self._log,
            self._replay,
            self._position,
            end,
            state_thread=self._state_thread,
            readers=self._ports.appenders,
            on_folded=self._note_rejects,
        )
        self._position = end
        self._no_tick_before_us = 0
        return count

    def _note_rejects(self, stored: StoredRecord, statuses: NDArray[np.uint8], first_row: int) -> None:
        if self._rejects is not None:
            record, plan = stored.record, self._replay.now.plan
            self._rejects.note(
                stored.offset, record.payload, statuses, stamp_us=record.stamp_us, plan=plan, first_row=first_row
            )

    async def fold_opening(self, records: list[Record], offset: Offset) -> None:
        """Fold what opens the term, or puts another plan into force in it."""
        await self._state_thread.run(Urgency.INGEST, self._fold_records, records, offset)
        self._position = self._log.end_offset
        self._no_tick_before_us = 0
        await self.look_for_moments()

    async def look_for_moments(self) -> None:
        """Let all moments that are pending in the state be decided."""
        self._moments.arose(await self._state_thread.run(Urgency.INGEST, self._rows_with_moments))

    def _rows_with_moments(self) -> list[int]:
        if self._replay.state is None:
            return []
        self.state.arisen.clear()
        return self.state.pending.owners()

    def _look_at_journeys(self) -> None:
        """Take the moments that journeys made arise, and see when time moves one next. In the state thread."""
        state = self.state
        self._arisen += state.arisen
        state.arisen.clear()
        if (due_us := state.instances.next_due_us()) is not None:
            self._no_tick_before_us = min(self._no_tick_before_us, due_us)

    async def fold_between_groups(self, record: Record, offset: Offset) -> None:
        """Fold one of the owner's own that was written between two groups."""
        await self._state_thread.run(Urgency.DECISION, self._fold_one, record, offset)
        self._position = self._log.end_offset
        self._moments.put_off(self._take_arisen())
        self._moments.look()
        self._tell_others()

    def _fold_one(self, record: Record, offset: Offset) -> None:
        self._fold_records([record], offset)
        self._no_tick_before_us = 0
        self._look_at_journeys()

    def _tell_others(self) -> None:
        if self.state.inventory.may_have_open:
            self._ports.on_claims()
        if may_have_some(self.state):
            self._ports.on_relocations()

    def _fold_records(self, records: list[Record], offset: Offset) -> None:
        for place, record in enumerate(records):
            self._replay.fold(StoredRecord(offset=Offset(offset + place), record=record))

    # --- a group of its own ---

    async def fold_group(self, group: Group, offset: Offset, epoch: Epoch) -> None:
        """Fold a group that stands in the log at an offset, and tell whoever waits for it."""
        self._has_just_ticked = group.ticks
        in_force: list[bool] = []
        if group.proposals or group.ticks:
            in_force = await self._state_thread.run(Urgency.DECISION, self._fold_decisions, group, offset, epoch)
        reached(Failpoint.GROUP_FOLDED)
        group.settle_failed()
        for proposal, is_in_force in zip(group.proposals, in_force, strict=True):
            settle(proposal.done, is_in_force)
        if any(_is_to_be_sent(proposal.decision, group.stamp_us) for proposal in group.proposals):
            self._ports.on_outbox_change()
        for place, one in enumerate(group.signals, start=len(group.proposals)):
            folded = await self._fold_signals(one, group)
            self._note_signals(folded, one.payload, offset + place)
            group.settle_failed()
            settle(one.done, folded)
            self._moments.put_off(row for row, _ in folded.applied.moments)
            self._moments.put_off(self._take_arisen())
            if any(report.outcome == "undelivered" for report in one.batch.outcomes):
                self._ports.on_waiting_change()
        if group.hand_overs:
            await self._state_thread.run(Urgency.DECISION, self._fold_hand_overs, group, epoch)
        self._moments.put_off(self._take_arisen())
        self._moments.look()
        self._position = self._log.end_offset
        self._tell_others()

    def _take_arisen(self) -> list[int]:
        arisen, self._arisen = self._arisen, []
        return arisen

    def _fold_decisions(self, group: Group, offset: Offset, epoch: Epoch) -> list[bool]:
        """Return for each decision whether the fold accepted it."""
        if group.ticks:
            self._fold_records(group.records, offset)
        in_force = []
        for place, proposal in enumerate(group.proposals):
            decision = proposal.decision
            is_in_force = self._replay.fold_decision(
                decision, group.records[place].payload, epoch, offset + place, group.stamp_us
            )
            if self._ports.telemetry is not None:
                self._ports.telemetry.decision_folded(decision, is_in_force=is_in_force)
            in_force.append(is_in_force)
            if decision.send_channel:
                self._no_tick_before_us = min(self._no_tick_before_us, decision.send_before_us)
            self._replay.fold_count += 1
        for proposal, is_in_force in zip(group.proposals, in_force, strict=True):
            if is_in_force:
                try:
                    proposal.attempt.folded()
                except Exception as wrong:  # noqa: BLE001 - it belongs to whoever asked for it; the decision stands
                    group.failed.append((proposal.done, wrong))
        self._look_at_journeys()
        return in_force

    def _fold_hand_overs(self, group: Group, epoch: Epoch) -> None:
        notes = [note for one in group.hand_overs for note in one.notes]
        if notes:
            self._replay.fold_delivery(notes, epoch, group.stamp_us)
            self._replay.fold_count += 1
            self._look_at_journeys()
        settle_hand_overs(group, self.state)

    async def _fold_signals(self, one: Signals, group: Group) -> Folded:
        """Fold a batch in slices, so that other partitions' decisions go in between."""
        plan = self._replay.now.plan
        if one.batch.plan_version != plan.version:
            one.decoded = await self._state_thread.run(Urgency.INGEST, decode_signals, one.payload, plan)
        batch = one.batch
        parts = []
        for start in range(0, max(batch.count, 1), SLICE_ROWS):
            stop = min(start + SLICE_ROWS, batch.count)
            job = self._fold_last if stop == batch.count else self._fold_part
            parts.append(await self._state_thread.run(Urgency.INGEST, job, one, batch.part(start, stop), group))
        self._replay.fold_count += 1
        if len(parts) == 1:
            return Folded(batch, parts[0], plan, group.stamp_us)
        statuses = np.concatenate([part.statuses for part in parts])
        moments = tuple(moment for part in parts for moment in part.moments)
        effects = tuple(effect for part in parts for effect in part.effects)
        return Folded(batch, Applied(statuses=statuses, moments=moments, effects=effects), plan, group.stamp_us)

    def _fold_part(self, _one: Signals, part: EventBatch, group: Group) -> Applied:
        applied = self._replay.fold_signals(part, group.stamp_us)
        self._look_at_journeys()
        return applied

    def _fold_last(self, one: Signals, part: EventBatch, group: Group) -> Applied:
        applied = self._fold_part(one, part, group)
        try:
            one.after(one.batch)
        except Exception as wrong:  # noqa: BLE001 - it belongs to whoever asked for it; the signals are folded
            group.failed.append((one.done, wrong))
        return applied

    def _note_signals(self, folded: Folded, payload: bytes, offset: int) -> None:
        applied, stamp_us, unknown = folded.applied, folded.stamp_us, folded.batch.unknown_fields
        if self._rejects is not None:
            self._rejects.note(offset, payload, applied.statuses, stamp_us=stamp_us, plan=folded.plan)
        if self._ports.telemetry is not None:
            self._ports.telemetry.signals_folded(
                applied.statuses,
                folded.batch.times_us,
                moments=len(applied.moments),
                now_us=None if self._replay.stream_clock else stamp_us,
                unknown_field_values=sum(count for _, count in unknown),
            )
        self.unknown_fields.note(unknown)

    # --- how much it was ---

    def _events_received(self) -> int:
        return self._replay.state.counters.received if self._replay.state is not None else 0

    @property
    def records_folded(self) -> int:
        """Records folded since the snapshot that this term began with."""
        return self._replay.fold_count - self._records_before

    @property
    def events_folded(self) -> int:
        """Events folded since the snapshot that this term began with."""
        return self._events_received() - self._events_before


def _is_to_be_sent(decision: Decision, now_us: int) -> bool:
    """Return whether it may go out already; what is held is found when its time has come."""
    return bool(decision.send_channel) and decision.send_not_before_us <= now_us
