"""The owner of one partition: the only writer of its log.

Whatever wants to change a household waits here. One group is in flight at a time: decisions first, one per
household, then signals, then what is handed over; append, sync, fold, and only then answer. All state is touched in the
shard's state thread. How a group is formed, written and folded: forming.py, commit.py, folding.py.
"""

import asyncio
import logging
from typing import Any

from actors.conditions import PartitionLost
from actors.failpoints import Failpoint, reached
from actors.log.contract import Epoch, Offset, PartitionId, RecordKind, StaleEpoch
from actors.log.frame import PAYLOAD_BYTES_MAX
from actors.partition.between_groups import BetweenGroups
from actors.partition.caller import NOBODY_LEAVES, Caller
from actors.partition.commit import CommitLoop, Job
from actors.partition.decoding import Decoding
from actors.partition.group import After, Attempt, Folded, NextStep, Objection, no_objection, nothing_after
from actors.partition.ports import OwnerPorts
from actors.partition.recovery import Recovered
from actors.partition.view import PartitionView
from actors.records import codec
from actors.records.payload import PayloadUnreadable
from actors.rejects.store import RejectStore
from actors.snapshots.facts import ReplayFacts
from actors.snapshots.taking import FreezeUnderWay
from actors.state_thread import Urgency
from household.delivery import DeliveryNote
from household.freeze import Freeze
from household.inventory_notes import InventoryNote
from household.plan import Plan
from household.relocation.notes import RelocationNote
from household.state import FOLD_VERSION

logger = logging.getLogger(__name__)

REJECTS_SETTLE_S = 5.0
"""How long a snapshot waits for what was rejected before it to be kept. The log has it in any case."""


class PartitionOwner(PartitionView):
    """Owns a partition for one term. Belongs to the event loop it is used in."""

    def __init__(
        self,
        partition: PartitionId,
        recovered: Recovered,
        ports: OwnerPorts,
        *,
        rejects: RejectStore | None = None,
    ) -> None:
        """`rejects`: keeps what was rejected; closed by the owner."""
        super().__init__(partition, recovered, ports, rejects)
        self._commits = CommitLoop(self._term, recovered.log, self._folding, self._moments, ports)
        self._decoding = Decoding(ports.decoders, self._commits.wake)
        self._between = BetweenGroups(self._term, self._commits, self._folding, self._plans, ports)

    async def open(self, *, plan: Plan, owner: str, stream_clock: bool, epoch: Epoch, partition_count: int = 1) -> None:
        """Fold the tail of the log, open the term with an epoch record, put the plan into force, and start.

        `partition_count`: of the cluster; of a single one all lies in this partition.

        Raises:
            LogError: the log is damaged or cannot be read or written, or another's term is in force; it stays down.
            NotCurrent: the lease has run out; nothing was written.
        """
        term, folding = self._term, self._folding
        await folding.catch_up(self._log.end_offset)
        term.begin(Epoch(max(epoch, self._log.last_epoch + 1)))
        before = folding.plan
        if before is not None:
            self._plans.remember(before)
        opening = codec.EpochOpening(
            owner=owner,
            stream_clock=stream_clock,
            fold_version=FOLD_VERSION,
            partition=term.partition,
            partition_count=partition_count,
        )
        records = [term.record(RecordKind.EPOCH, codec.EPOCH_LAYOUT, codec.encode_epoch(opening))]
        if before is None or before.version != plan.version:
            records.append(term.record(RecordKind.PLAN, codec.PLAN_LAYOUT, codec.encode_plan(plan)))
        offset = await self._commits.append(records)
        newest = folding.replay.epoch
        if newest >= term.epoch:
            # Another has opened a term of this number before: to the fold, this one is void and the other in force.
            raise StaleEpoch(term.partition, term.epoch, Epoch(newest))
        reached(Failpoint.EPOCH_OPENED)
        await folding.fold_opening(records, offset)
        self._commits.start()

    async def put_into_force(self, plan: Plan) -> bool:
        """Go over to another plan between two groups, by a record: what comes behind it is by that plan, all of it.

        Returns whether it was another; nothing is written otherwise.

        Raises:
            NotCurrent: nothing was written.
            PartitionLost: the outcome is unknown; whoever opens the partition next is told of the plan anew.
        """
        changed = await self._between.put_into_force(plan)
        if changed:
            self._ports.on_waiting_change()
        return changed

    async def note_inventory(self, note: InventoryNote) -> None:
        """Append, sync and fold, between two groups, what of a note of scarce items is news.

        Those that come meanwhile share the next record.

        Raises:
            NotCurrent: nothing was written.
            PartitionLost: the outcome is unknown; whoever sent it sends it again.
        """
        self._term.check_open()
        await self._between.note(note)

    async def note_relocations(self, note: RelocationNote) -> None:
        """Append, sync and fold, between two groups, what of a note of what leaves and comes is news.

        Those that come meanwhile share the next record.

        Raises:
            NotCurrent: nothing was written.
            PartitionLost: the outcome is unknown; whoever sent it sends it again.
        """
        self._term.check_open()
        await self._between.note_relocations(note)

    async def begin_hand_over(self) -> None:
        """Leave little for the next owner to look through; all goes on.

        Raises:
            PartitionLost
        """

        async def between() -> None:
            await asyncio.get_running_loop().run_in_executor(self._ports.appenders, self._log.begin_piece)

        await self.between_groups(between)

    async def let_go(self) -> Offset:
        """Refuse what is new and what waits, of which nothing is written; release the log; return where it ends.

        Raises:
            PartitionLost: the last group's outcome is unknown, and so is where the log ends.
        """
        await self._commits.let_go()
        try:
            if self._term.is_lost:
                raise PartitionLost
            end = self._log.end_offset
            if self._rejects is not None:
                await asyncio.to_thread(self._rejects.close)
        finally:
            self._log.close()
        return end

    async def close(self) -> None:
        """Refuse what is new, finish what waits, release the log."""
        await self._commits.stop()
        if self._rejects is not None:
            await asyncio.to_thread(self._rejects.close)
        self._log.close()

    # --- what is to be written ---

    async def signals(
        self,
        payload: bytes,
        *,
        caller: Caller = NOBODY_LEAVES,
        is_urgent: bool = False,
        before: Objection = no_objection,
        after: After = nothing_after,
    ) -> Folded:
        """Append, sync and fold a signal batch; return what became of its events.

        Args:
            payload: the batch.
            caller: whoever waits for it.
            is_urgent: somebody is there; it goes before what does not say so.
            before: asked in the state thread as its group is formed; if it raises, nothing is appended.
            after: called in the state thread as soon as the batch is folded.

        Raises:
            What `before` and `after` raise.
            CallerGone: nothing was appended.
            PayloadUnreadable: or longer than a record may be; nothing was appended.
            Overloaded: nothing was appended.
            NotCurrent: nothing was appended.
            PartitionLost: the outcome is unknown.
        """
        self._term.check_open()
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise PayloadUnreadable(f"signal batch: {len(payload)} bytes, a record holds {PAYLOAD_BYTES_MAX}")
        waiting = self._commits.waiting
        if not is_urgent:
            waiting.check_room(len(payload))
        caller.check()
        one = waiting.add_signals(payload, caller=caller, is_urgent=is_urgent, before=before, after=after)
        self._decoding.begin(one, self.state.plan)
        self._commits.wake()
        folded = await one.done
        if one.decoded is not None:
            self._heat.note_batch(one.decoded)
        return folded

    async def propose(self, attempt: Attempt, *, caller: Caller = NOBODY_LEAVES) -> bool:
        """Let a decision be made as its group is formed; append, sync and fold it. Return whether it is in force.

        Raises:
            What the attempt raises.
            CallerGone: nothing was appended.
            NotCurrent: nothing was appended.
            PartitionLost: the outcome is unknown.
        """
        self._term.check_open()
        done = self._commits.waiting.add_proposal(attempt, caller=caller)
        self._commits.wake()
        return await done

    @property
    def is_idle(self) -> bool:
        """Whether a decision that is proposed now is made at once."""
        return self._commits.is_idle

    async def note_deliveries(self, action_ids: tuple[str, ...], next_step: NextStep) -> dict[str, DeliveryNote]:
        """Append, sync and fold what is now to be noted of these outbound actions; return, by id, what is in force.

        One that is missing is not to be handed over now. Of a household that something is decided for or reported of in
        the same group nothing is noted: look again.

        Raises:
            NotCurrent: nothing was appended.
            PartitionLost: the outcome is unknown.
        """
        self._term.check_open()
        done = self._commits.waiting.add_hand_overs(action_ids, next_step)
        self._commits.wake()
        return await done

    async def between_groups(self, job: Job) -> Any:
        """Run a job between two groups, when the state is that of the log's end; return what it returns.

        Raises:
            PartitionLost, and what the job raises.
        """
        return await self._commits.between_groups(job)

    def wake(self) -> None:
        """Look whether a tick is due, whether another has written to the log, and at moments that were put off."""
        self._moments.look()
        self._commits.look_for_others()

    def supervised(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """Return the task; if it ends by a defect, or is cancelled while the owner is open, the partition is lost."""
        return self._commits.supervised(task)

    # --- snapshots and the log's length ---

    async def freeze(self) -> FreezeUnderWay:
        """Freeze the state between two groups, for a snapshot; see household/freeze.py.

        Raises:
            PartitionLost
        """

        async def begin() -> FreezeUnderWay:
            def in_state_thread() -> tuple[Freeze, ReplayFacts]:
                return self._folding.freeze(), ReplayFacts.of(self._folding.replay)

            freeze, facts = await self._ports.state_thread.run(Urgency.INGEST, in_state_thread)
            stamp_us = self._ports.clock.now_us()
            return FreezeUnderWay(freeze=freeze, position=self._folding.position, replay=facts, stamp_us=stamp_us)

        frozen = await self.between_groups(begin)
        assert isinstance(frozen, FreezeUnderWay)
        return frozen

    async def settle_rejects(self) -> None:
        """Wait until what was rejected so far is kept, or has been tried for long enough.

        A restart from a snapshot does not note again what was rejected before it.
        """
        if self._rejects is not None:
            await asyncio.to_thread(self._rejects.settle, REJECTS_SETTLE_S)

    async def drop_log_before(self, position: Offset, *, written_before_us: int) -> None:
        """Give up old pieces of the log: those before a position that were written before some time.

        Raises:
            PartitionLost, LogError
        """

        def drop() -> Offset:
            return self._log.drop_before(min(position, self._log.written_before(written_before_us)))

        async def between() -> Offset:
            return await asyncio.get_running_loop().run_in_executor(self._ports.appenders, drop)

        await self.between_groups(between)

    @property
    def lag_bytes(self) -> int:
        """Signals that wait to be written."""
        return self._commits.waiting.signal_bytes
