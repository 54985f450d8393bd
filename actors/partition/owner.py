"""The owner of one partition: the only writer of its log.

Whatever wants to change a household waits here. One group is in flight at a time: decisions first, one per
household, then signals, then what is handed over; append, sync, fold, and only then answer. All state is touched in the
shard's state thread.
"""

import asyncio
import copy
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.clock import Clock
from actors.conditions import CLOCK_UNCONFIRMED, LEASE_EXPIRED, NotCurrent, PartitionLost, WhyNotCurrent
from actors.failpoints import Failpoint, reached
from actors.log.contract import (
    Epoch,
    LogError,
    LogUnavailable,
    Offset,
    PartitionId,
    Record,
    RecordKind,
    StaleEpoch,
    StoredRecord,
)
from actors.log.frame import PAYLOAD_BYTES_MAX
from actors.partition.caller import NOBODY_LEAVES, Caller
from actors.partition.group import Folded, Group, NextStep, Proposal, Signals, Waiting, settle
from actors.partition.lease import Lease
from actors.partition.recovery import SLICE_ROWS, Recovered, fold_between
from actors.partition.telemetry import ShardTelemetry, timed_append
from actors.partition.unknown_fields import UnknownFields
from actors.records import codec
from actors.records.payload import PayloadUnreadable
from actors.records.plans import PlansAtHand
from actors.records.signals import decode_signals
from actors.rejects.store import RejectStore
from actors.snapshots.facts import ReplayFacts
from actors.snapshots.store import SnapshotStore
from actors.snapshots.taking import Frozen
from actors.state_thread import StateThread, Urgency
from household import ledger
from household.apply import Applied
from household.decide import still_allowed
from household.deciding.draft import Draft
from household.deciding.hand_over import household_of
from household.deciding.standing import is_live
from household.decision import Decision
from household.delivery import DeliveryNote, DeliveryStep
from household.freeze import Freeze
from household.plan import EventTimeUs, Plan
from household.state import FOLD_VERSION, PartitionState

logger = logging.getLogger(__name__)

REJECTS_SETTLE_S = 5.0
"""How long a snapshot waits for what was rejected before it to be kept. The log has it in any case."""

_Job = Callable[[], Awaitable[Any]]


@dataclass(slots=True, eq=False)
class _BetweenGroups:
    job: _Job
    done: asyncio.Future[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerPorts:
    """What the owners of one shard share."""

    clock: Clock
    lease: Lease
    state_thread: StateThread
    appenders: Executor
    telemetry: ShardTelemetry | None = None
    snapshots: SnapshotStore | None = None


class PartitionOwner:
    """Owns a partition for one term. Belongs to the event loop it is used in."""

    def __init__(self, partition: PartitionId, recovered: Recovered, ports: OwnerPorts) -> None:
        self.partition = partition
        self.epoch = Epoch(0)
        self.is_lost = False
        self.lost_because = ""
        self.faults = recovered.faults
        """Snapshots that were no good when the partition was opened, and why."""
        self._log = recovered.log
        self._clock = ports.clock
        self._lease = ports.lease
        self._state_thread = ports.state_thread
        self._appenders = ports.appenders
        self._telemetry = ports.telemetry
        snapshots = ports.snapshots
        self._plans = PlansAtHand(recovered.log, lambda: snapshots.plans(partition) if snapshots is not None else ())
        self._replay = recovered.replay
        self._folded_to = recovered.position
        """End of what is folded; the log may go on behind it only while a group is being folded."""
        self._no_tick_before_us = 0
        """No tick is due before that time; 0 where it is to be looked up. For the state thread, as the state is."""
        self._events_before = self._events_received()
        self._records_before = recovered.replay.fold_count
        self._to_do: deque[_BetweenGroups] = deque()
        self._should_refresh = False
        self.rejects: RejectStore | None = None
        """Keeps what was rejected; closed by the owner. To be set before it is opened."""
        self.unknown_fields = UnknownFields()
        """What came since it was assigned."""
        self._waiting = Waiting()
        self._wake = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._closing = False
        self.moments_arose = asyncio.Event()
        """Set when the fold of a group left moments pending."""
        self.on_outbox_change: Callable[[], None] = _nothing
        """Called when an action is to be sent, or sent elsewhere, and when the partition is lost."""
        self.households_with_moments: dict[int, None] = {}
        """Rows of households with pending moments, oldest first; those that folded since it was last emptied."""

    @property
    def state(self) -> PartitionState:
        """The state; to be used in the state thread only."""
        return self._replay.now

    @property
    def is_open(self) -> bool:
        """Whether this owner may still answer and hand out."""
        return not self.is_lost and not self._closing

    def state_as_of_now(self) -> PartitionState:
        """Return the state as it reads now. Its own `now` is that of the newest record, which may be long ago.

        In the state thread, to read and not to keep.
        """
        return self._state_as_of(self._clock.now_us())

    def _state_as_of(self, time_us: int) -> PartitionState:
        state = self.state
        if state.stream_clock or time_us <= state.now_us:
            return state
        view = copy.copy(state)
        view.now_us = EventTimeUs(time_us)
        return view

    async def open(self, *, plan: Plan, owner: str, stream_clock: bool, epoch: Epoch) -> None:
        """Fold the tail of the log, open the term with an epoch record, put the plan into force, and start.

        Raises:
            LogError: the log is damaged or cannot be read or written, or another's term is in force; it stays down.
            NotCurrent: the lease has run out; nothing was written.
        """
        await self._fold_up_to(self._log.end_offset)
        if not self._lease.is_held():
            # Whoever owns it by now has opened a term, which a still newer one would end.
            raise NotCurrent(LEASE_EXPIRED)
        self.epoch = Epoch(max(epoch, self._log.last_epoch + 1))
        if self._replay.state is not None:
            self._plans.remember(self._replay.state.plan)
        opening = codec.EpochOpening(owner=owner, stream_clock=stream_clock, fold_version=FOLD_VERSION)
        records = [self._record(RecordKind.EPOCH, codec.EPOCH_LAYOUT, codec.encode_epoch(opening))]
        if self._replay.state is None or self._replay.state.plan.version != plan.version:
            records.append(self._record(RecordKind.PLAN, codec.PLAN_LAYOUT, codec.encode_plan(plan)))
        offset = await self._append(records)
        if self._replay.epoch >= self.epoch:
            # Another has opened a term of this number before: to the fold, this one is void and the other in force.
            raise StaleEpoch(self.partition, self.epoch, Epoch(self._replay.epoch))
        reached(Failpoint.EPOCH_OPENED)
        await self._state_thread.run(Urgency.INGEST, self._fold_records, records, offset)
        self._folded_to = self._log.end_offset
        pending = await self._state_thread.run(Urgency.INGEST, self._rows_with_moments)
        self.households_with_moments.update(pending)
        self._loop_task = self.supervised(asyncio.create_task(self._work(), name=f"partition-{self.partition}"))
        if pending:
            self.moments_arose.set()

    async def _fold_up_to(self, end: Offset) -> int:
        """Fold what stands in the log before `end` and is not folded yet; return how many records."""
        count = await fold_between(
            self._log,
            self._replay,
            self._folded_to,
            end,
            state_thread=self._state_thread,
            readers=self._appenders,
            on_folded=self._note_rejects,
        )
        self._folded_to = end
        return count

    def _note_rejects(self, stored: StoredRecord, statuses: NDArray[np.uint8], first_row: int) -> None:
        if self.rejects is not None:
            record = stored.record
            self.rejects.note(
                stored.offset,
                record.payload,
                statuses,
                stamp_us=record.stamp_us,
                plan=self._replay.now.plan,
                first_row=first_row,
            )

    async def _fold_foreign(self, end: Offset) -> None:
        """Fold what an outdated owner has written in between; give up if it is we who are outdated.

        Raises:
            StaleEpoch: a newer term has been opened.
        """
        count = await self._fold_up_to(end)
        self._no_tick_before_us = 0
        logger.warning("partition %d: folded %d records of another writer", self.partition, count)
        if self._replay.epoch > self.epoch:
            raise StaleEpoch(self.partition, self.epoch, Epoch(self._replay.epoch))
        self.households_with_moments.update(await self._state_thread.run(Urgency.INGEST, self._rows_with_moments))
        if self.households_with_moments:
            self.moments_arose.set()

    def _rows_with_moments(self) -> dict[int, None]:
        if self._replay.state is None:
            return {}
        return {row: None for row, one in self.state.ledgers.items() if one.pending}

    def _fold_records(self, records: list[Record], offset: Offset) -> None:
        for position, record in enumerate(records):
            self._replay.fold(StoredRecord(offset=Offset(offset + position), record=record))

    def _record(self, kind: RecordKind, version: int, payload: bytes, stamp_us: int | None = None) -> Record:
        stamp = self._clock.now_us() if stamp_us is None else stamp_us
        return Record(kind=kind, version=version, epoch=self.epoch, stamp_us=stamp, payload=payload)

    async def _append(self, records: list[Record]) -> Offset:
        """Append a group durably and fold what another writer has put before it; return its offset."""
        loop = asyncio.get_running_loop()
        expected = self._log.end_offset
        if self._telemetry is None:
            offset = await loop.run_in_executor(self._appenders, self._log.append, records)
        else:
            offset, took_ns = await loop.run_in_executor(self._appenders, timed_append, self._log.append, records)
            self._telemetry.appended(records, took_ns)
        if offset != expected:
            await self._fold_foreign(offset)
        return offset

    async def signals(self, payload: bytes, *, caller: Caller = NOBODY_LEAVES, is_urgent: bool = False) -> Folded:
        """Append, sync and fold a signal batch; return what became of its events.

        Args:
            payload: the batch.
            caller: whoever waits for it.
            is_urgent: somebody is there; it goes before what does not say so.

        Raises:
            CallerGone: nothing was appended.
            PayloadUnreadable: or longer than a record may be; nothing was appended.
            Overloaded: nothing was appended.
            NotCurrent: nothing was appended.
            PartitionLost: the outcome is unknown.
        """
        self._check_open()
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise PayloadUnreadable(f"signal batch: {len(payload)} bytes, a record holds {PAYLOAD_BYTES_MAX}")
        if not is_urgent:
            self._waiting.check_room(len(payload))
        caller.check()
        batch = decode_signals(payload, self._replay.now.plan)
        done = self._waiting.add_signals(payload, batch, caller=caller, is_urgent=is_urgent)
        self._wake.set()
        return await done

    async def propose(
        self,
        draft: Draft,
        decision: Decision,
        *,
        may_miss_moments: bool = False,
        caller: Caller = NOBODY_LEAVES,
    ) -> int | None:
        """Append, sync and fold a decision if it is still right; return its offset, or None if it must be made again.

        `may_miss_moments`: a moment that arose meanwhile is no reason to make it again.

        Raises:
            CallerGone: nothing was appended.
            NotCurrent: nothing was appended.
            PartitionLost: the outcome is unknown.
        """
        self._check_open()
        done = self._waiting.add_proposal(draft, decision, may_miss_moments=may_miss_moments, caller=caller)
        self._wake.set()
        return await done

    async def note_deliveries(self, action_ids: tuple[str, ...], next_step: NextStep) -> dict[str, DeliveryNote]:
        """Append, sync and fold what is now to be noted of these outbound actions; return, by id, what is in force.

        One that is missing is not to be handed over now. Of a household that something is decided for or reported of in
        the same group nothing is noted: look again.

        Raises:
            NotCurrent: nothing was appended.
            PartitionLost: the outcome is unknown.
        """
        self._check_open()
        done = self._waiting.add_hand_overs(action_ids, next_step)
        self._wake.set()
        return await done

    def _check_open(self) -> None:
        if not self.is_open:
            raise PartitionLost

    def check_current(self) -> None:
        """Before an answer goes out: raise unless this owner can prove that its state is the current one.

        Raises:
            NotCurrent
        """
        why = self._why_not_current()
        if why is not None:
            raise NotCurrent(why)

    @property
    def is_current(self) -> bool:
        """Whether this owner can prove that its state is the current one."""
        return self._why_not_current() is None

    def _why_not_current(self) -> WhyNotCurrent | None:
        if not self._lease.is_held():
            return LEASE_EXPIRED
        return None if self._clock.is_confirmed() else CLOCK_UNCONFIRMED

    def wake(self) -> None:
        """Look whether a tick is due, whether another has written to the log, and at moments that were put off."""
        self._should_refresh = True
        if self.households_with_moments:
            self.moments_arose.set()
        self._wake.set()

    async def between_groups(self, job: _Job) -> Any:
        """Run a job between two groups, when the state is that of the log's end; return what it returns.

        Raises:
            PartitionLost, and what the job raises.
        """
        self._check_open()
        waiting = _BetweenGroups(job, asyncio.get_running_loop().create_future())
        self._to_do.append(waiting)
        self._wake.set()
        return await waiting.done

    async def freeze(self) -> Frozen:
        """Freeze the state between two groups, for a snapshot; see household/freeze.py.

        Raises:
            PartitionLost
        """

        async def begin() -> Frozen:
            def in_state_thread() -> tuple[Freeze, ReplayFacts]:
                return Freeze(self.state), ReplayFacts.of(self._replay)

            freeze, facts = await self._state_thread.run(Urgency.INGEST, in_state_thread)
            stamp_us = self._clock.now_us()
            return Frozen(freeze=freeze, position=self._folded_to, replay=facts, stamp_us=stamp_us)

        frozen = await self.between_groups(begin)
        assert isinstance(frozen, Frozen)
        return frozen

    async def settle_rejects(self) -> None:
        """Wait until what was rejected so far is kept, or has been tried for long enough.

        A restart from a snapshot does not note again what was rejected before it.
        """
        if self.rejects is not None:
            await asyncio.to_thread(self.rejects.settle, REJECTS_SETTLE_S)

    async def drop_log_before(self, position: Offset, *, written_before_us: int) -> None:
        """Give up old pieces of the log: those before a position that were written before some time.

        Raises:
            PartitionLost, LogError
        """

        def drop() -> Offset:
            return self._log.drop_before(min(position, self._log.written_before(written_before_us)))

        async def between() -> Offset:
            return await asyncio.get_running_loop().run_in_executor(self._appenders, drop)

        await self.between_groups(between)

    def _events_received(self) -> int:
        return self._replay.state.counters.received if self._replay.state is not None else 0

    @property
    def log_repetitions(self) -> int:
        """Groups that were found twice in the log and folded once; only Kafka's can have any."""
        return self._log.repetitions

    @property
    def records_folded(self) -> int:
        """Records folded since the snapshot that this term began with."""
        return self._replay.fold_count - self._records_before

    @property
    def events_folded(self) -> int:
        """Events folded since the snapshot that this term began with."""
        return self._events_received() - self._events_before

    async def close(self) -> None:
        """Refuse what is new, finish what waits, release the log."""
        self._closing = True
        self._wake.set()
        if self._loop_task is not None:
            await asyncio.wait([self._loop_task])
        if self.rejects is not None:
            await asyncio.to_thread(self.rejects.close)
        self._log.close()

    async def _work(self) -> None:
        while not self.is_lost and not (self._closing and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            try:
                if self._should_refresh:
                    await self._look_for_others()
                while await self._commit_group():
                    await self._do_what_waits()
                await self._do_what_waits()
            except Exception as wrong:  # noqa: BLE001 - the shard loop: whatever it is, nobody may wait here any longer
                self._lose(wrong)
                return
        self._refuse_jobs()

    async def _look_for_others(self) -> None:
        self._should_refresh = False
        try:
            end = await asyncio.get_running_loop().run_in_executor(self._appenders, self._log.refresh)
        except LogUnavailable as away:
            # Nothing depends on this look: whose term it is shows with the next append, and until then by the lease.
            logger.warning("partition %d: %s", self.partition, away)
            return
        if end != self._folded_to:
            await self._fold_foreign(end)

    async def _do_what_waits(self) -> None:
        while self._to_do:
            waiting = self._to_do.popleft()
            try:
                result = await waiting.job()
            except Exception as wrong:  # noqa: BLE001 - it belongs to whoever asked for it
                if not waiting.done.done():
                    waiting.done.set_exception(wrong)
            else:
                settle(waiting.done, result)

    def supervised(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """Return the task; if it ends by a defect, or is cancelled while the owner is open, the partition is lost."""

        def ended(task: asyncio.Task[None]) -> None:
            wrong = asyncio.CancelledError() if task.cancelled() else task.exception()
            if wrong is not None and self.is_open:
                self._lose(wrong)

        task.add_done_callback(ended)
        return task

    def _lose(self, wrong: BaseException) -> None:
        """End the term: what waits has an unknown outcome, and this memory is not to be trusted any more."""
        trace = None if isinstance(wrong, LogError) else wrong
        logger.error("partition %d is lost: %s: %s", self.partition, type(wrong).__name__, wrong, exc_info=trace)
        if self._telemetry is not None and not self.is_lost:
            self._telemetry.partitions_lost += 1
        self.is_lost = True
        self.lost_because = f"{type(wrong).__name__}: {wrong}"
        self._waiting.fail(PartitionLost)
        self._refuse_jobs()
        self.moments_arose.set()
        self.on_outbox_change()

    def _refuse_jobs(self) -> None:
        while self._to_do:
            waiting = self._to_do.popleft()
            if not waiting.done.done():
                waiting.done.set_exception(PartitionLost())

    async def _commit_group(self) -> bool:
        """Form a group of what waits, append and sync it, fold it, answer. Return False if there was nothing to do."""
        if (why := self._why_not_current()) is not None:
            self._waiting.fail(partial(NotCurrent, why))
            return False
        group = self._waiting.take(stamp_us=self._clock.now_us())
        try:
            await self._state_thread.run(Urgency.DECISION, self._form, group)
            if group.ticks:
                self._waiting.put_back(group)
            if not group.records:
                _settle_hand_overs(group, self.state)
                return bool(self._waiting)
            reached(Failpoint.GROUP_FORMED)
            offset = await self._append(group.records)
            if group.ticks:
                reached(Failpoint.TICK_SYNCED)
            await self._fold(group, offset)
            self._folded_to = self._log.end_offset
        except BaseException:
            self._waiting.put_back(group)
            raise
        return bool(self._waiting)

    def _form(self, group: Group) -> None:
        """In the state thread: check the vetoes once more, and encode; or only tick, if that is due.

        A tick is a group of its own: it changes what is live, and what waits is then looked at in its light.
        """
        state = self.state
        now_us = state.now_us if state.stream_clock else max(state.now_us, group.stamp_us)
        if self._is_tick_due(state, now_us):
            group.ticks = True
            group.records.append(self._record(RecordKind.TICK, codec.TICK_LAYOUT, b"", group.stamp_us))
            return
        kept = []
        as_of_now = self._state_as_of(group.stamp_us)
        for proposal in group.proposals:
            if not _is_still_right(as_of_now, proposal):
                proposal.done.get_loop().call_soon_threadsafe(settle, proposal.done, None)
                continue
            kept.append(proposal)
            keys = {one.member: state.members.key(one.member) for one in proposal.decision.moments if one.member >= 0}
            payload = codec.encode_decision(proposal.decision, member_keys=keys)
            group.records.append(self._record(RecordKind.DECISION, codec.DECISION_LAYOUT, payload, group.stamp_us))
        group.proposals = kept
        for one in group.signals:
            group.records.append(self._record(RecordKind.SIGNALS, codec.SIGNALS_LAYOUT, one.payload, group.stamp_us))
        self._form_hand_overs(group, as_of_now)

    def _is_tick_due(self, state: PartitionState, now_us: int) -> bool:
        """Looked up again when its time has come: of what is held overnight there may be a lot, and groups are many."""
        if now_us < self._no_tick_before_us:
            return False
        due_us = ledger.next_due_us(state)
        self._no_tick_before_us = due_us or 0
        return due_us is not None and due_us <= now_us

    def _form_hand_overs(self, group: Group, as_of_now: PartitionState) -> None:
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
            group.records.append(self._record(RecordKind.DELIVERY, codec.DELIVERY_LAYOUT, payload, group.stamp_us))

    async def _fold(self, group: Group, offset: int) -> None:
        in_force = await self._state_thread.run(Urgency.DECISION, self._fold_decisions, group, offset)
        reached(Failpoint.GROUP_FOLDED)
        for place, proposal in enumerate(group.proposals):
            settle(proposal.done, offset + place if in_force[place] else None)
        if any(_is_to_be_sent(proposal.decision, group.stamp_us) for proposal in group.proposals):
            self.on_outbox_change()
        for place, one in enumerate(group.signals, start=len(group.proposals)):
            folded = await self._fold_signals(one, group.stamp_us)
            if self.rejects is not None:
                self.rejects.note(
                    offset + place,
                    one.payload,
                    folded.applied.statuses,
                    stamp_us=group.stamp_us,
                    plan=folded.plan,
                )
            if self._telemetry is not None:
                now_us = None if self._replay.stream_clock else group.stamp_us
                applied = folded.applied
                self._telemetry.signals_folded(
                    applied.statuses,
                    folded.batch.times_us,
                    moments=len(applied.moments),
                    now_us=now_us,
                    unknown_field_values=sum(count for _, count in folded.batch.unknown_fields),
                )
            self.unknown_fields.note(folded.batch.unknown_fields)
            settle(one.done, folded)
            self.households_with_moments.update({row: None for row, _ in folded.applied.moments})
            if any(report.outcome == "undelivered" for report in one.batch.outcomes):
                self.on_outbox_change()
        if group.hand_overs:
            await self._state_thread.run(Urgency.DECISION, self._fold_hand_overs, group)
        if self.households_with_moments:
            self.moments_arose.set()

    def _fold_decisions(self, group: Group, offset: int) -> list[bool]:
        """Return for each decision whether the fold accepted it."""
        if group.ticks:
            self._fold_records(group.records, Offset(offset))
        in_force = []
        for place, proposal in enumerate(group.proposals):
            is_in_force = self._replay.fold_decision(proposal.decision, self.epoch, offset + place, group.stamp_us)
            if self._telemetry is not None:
                self._telemetry.decision_folded(proposal.decision, is_in_force=is_in_force)
            in_force.append(is_in_force)
            if proposal.decision.send_channel:
                self._no_tick_before_us = min(self._no_tick_before_us, proposal.decision.send_before_us)
            self._replay.fold_count += 1
        return in_force

    def _fold_hand_overs(self, group: Group) -> None:
        notes = [note for one in group.hand_overs for note in one.notes]
        if notes:
            self._replay.fold_delivery(notes, self.epoch, group.stamp_us)
            self._replay.fold_count += 1
        _settle_hand_overs(group, self.state)

    async def _fold_signals(self, one: Signals, stamp_us: int) -> Folded:
        """Fold a batch in slices, so that other partitions' decisions go in between."""
        plan = self._replay.now.plan
        if one.batch.plan_version != plan.version:
            one.batch = decode_signals(one.payload, plan)
        parts = []
        for start in range(0, max(one.batch.count, 1), SLICE_ROWS):
            part = one.batch.part(start, min(start + SLICE_ROWS, one.batch.count))
            parts.append(await self._state_thread.run(Urgency.INGEST, self._replay.fold_signals, part, stamp_us))
        self._replay.fold_count += 1
        if len(parts) == 1:
            return Folded(one.batch, parts[0], plan, stamp_us)
        statuses = np.concatenate([part.statuses for part in parts])
        moments = tuple(moment for part in parts for moment in part.moments)
        effects = tuple(effect for part in parts for effect in part.effects)
        return Folded(one.batch, Applied(statuses=statuses, moments=moments, effects=effects), plan, stamp_us)

    def read_decision(self, offset: int) -> codec.DecisionRecord:
        """Return the decision recorded at an offset. Blocks: not for the event loop.

        Raises:
            PartitionLost, LogError.
        """
        self._check_open()
        stored = next(iter(self._log.read(Offset(offset))))
        assert stored.record.kind is RecordKind.DECISION, f"offset {offset} holds {stored.record.kind.name}"
        return codec.decode_decision(stored.record.payload)

    def plan_at_hand(self, decision: Decision) -> Plan | None:
        """Return the plan that a decision was made under if it is in memory. In the state thread; blocks nobody."""
        plan = self.state.plan
        return plan if plan.version == decision.plan_version else self._plans.at_hand(decision.plan_version)

    def plan_of(self, decision: Decision, offset: int) -> Plan | None:
        """Return the plan that a decision recorded at an offset was made under; None where nothing has it any more.

        Blocks: not for the event loop.

        Raises:
            PartitionLost, LogError.
        """
        self._check_open()
        return self._plans.find(decision.plan_version, before=Offset(offset))

    @property
    def fold_count(self) -> int:
        """Records folded."""
        return self._replay.fold_count

    @property
    def lag_bytes(self) -> int:
        """Signals that wait to be written."""
        return self._waiting.signal_bytes


def _is_still_right(state: PartitionState, proposal: Proposal) -> bool:
    """Return whether a decision may be written as it is. Of a slate that stands, one action may end before the rest."""
    decision = proposal.decision
    is_dead = bool(decision.stands and decision.answered) and not is_live(state, decision.answered)
    return not is_dead and still_allowed(state, proposal.draft, may_miss_moments=proposal.may_miss_moments)


def _is_to_be_sent(decision: Decision, now_us: int) -> bool:
    """Return whether it may go out already; what is held is found when its time has come."""
    return bool(decision.send_channel) and decision.send_not_before_us <= now_us


def _settle_hand_overs(group: Group, state: PartitionState) -> None:
    """Tell each what of it is in force. From any thread."""
    for one in group.hand_overs:
        in_force = {note.action_id: note for note in one.notes if _is_in_force(state, note)}
        one.done.get_loop().call_soon_threadsafe(settle, one.done, in_force)


def _is_in_force(state: PartitionState, note: DeliveryNote) -> bool:
    if note.step is not DeliveryStep.HANDED:
        return True
    outbound = state.outbox.get(note.action_id)
    return (
        outbound is not None
        and bool(outbound.handed_us)
        and state.plan.channel_by_name.get(note.channel) == outbound.channel
    )


def _nothing() -> None: ...
