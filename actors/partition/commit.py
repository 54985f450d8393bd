"""How a group comes into the log: formed of what waits, appended, synced, folded, and only then answered.

One group is in flight at a time. Between two groups, when the state is that of the log's end, jobs are done.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from actors.conditions import NotCurrent, PartitionLost, PartitionMoved
from actors.failpoints import Failpoint, reached
from actors.log.contract import Epoch, LogUnavailable, Offset, PartitionLog, Record, StaleEpoch
from actors.partition.decoding import to_decode
from actors.partition.folding import Folding
from actors.partition.forming import decode_of, form
from actors.partition.group import Group, Waiting, settle, settle_hand_overs
from actors.partition.moments import PendingMoments
from actors.partition.ports import OwnerPorts
from actors.partition.telemetry import timed_append
from actors.partition.term import Term
from actors.state_thread import Urgency

logger = logging.getLogger(__name__)

Job = Callable[[], Awaitable[Any]]


@dataclass(slots=True, eq=False)
class _BetweenGroups:
    job: Job
    done: asyncio.Future[Any]


class CommitLoop:
    """Writes one partition's log for one term, group by group. Belongs to the event loop it is used in."""

    def __init__(
        self, term: Term, log: PartitionLog, folding: Folding, moments: PendingMoments, ports: OwnerPorts
    ) -> None:
        self._term = term
        self._log = log
        self._folding = folding
        self._moments = moments
        self._ports = ports
        self._waiting = Waiting()
        self._to_do: deque[_BetweenGroups] = deque()
        self._should_refresh = False
        self._should_look_at_time = False
        self._is_at_work = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write what waits."""
        task = asyncio.create_task(self._work(), name=f"partition-{self._term.partition}")
        self._task = self.supervised(task)

    async def stop(self) -> None:
        """Refuse what is new, finish what waits."""
        self._term.close()
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def let_go(self) -> None:
        """Refuse what is new and what waits, of which nothing is written; finish the group that is being written."""
        self._term.close(is_handing_over=True)
        self._waiting.fail(PartitionMoved)
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    @property
    def waiting(self) -> Waiting:
        """What waits to be written; to be told with `wake` when something has been added."""
        return self._waiting

    @property
    def is_idle(self) -> bool:
        """Whether what comes now is in the next group, and that is formed at once."""
        return not (self._is_at_work or self._wake.is_set())

    def wake(self) -> None:
        """Look at what waits."""
        self._wake.set()

    def look_for_others(self) -> None:
        """Look whether another has written to the log, and whether a tick is due."""
        self._should_refresh = self._should_look_at_time = True
        self._wake.set()

    async def between_groups(self, job: Job) -> Any:
        """Run a job between two groups; return what it returns.

        Raises:
            PartitionLost, and what the job raises.
        """
        self._term.check_open()
        waiting = _BetweenGroups(job, asyncio.get_running_loop().create_future())
        self._to_do.append(waiting)
        self._wake.set()
        return await waiting.done

    async def append(self, records: list[Record]) -> Offset:
        """Append a group durably and fold what another writer has put before it; return its offset.

        Raises:
            LogError, StaleEpoch.
        """
        loop, telemetry = asyncio.get_running_loop(), self._ports.telemetry
        expected = self._log.end_offset
        if telemetry is None:
            offset = await loop.run_in_executor(self._ports.appenders, self._log.append, records)
        else:
            offset, took_ns = await loop.run_in_executor(self._ports.appenders, timed_append, self._log.append, records)
            telemetry.appended(records, took_ns)
        if offset != expected:
            await self._fold_foreign(offset)
        return offset

    async def _fold_foreign(self, end: Offset) -> None:
        """Fold what an outdated owner has written in between; give up if it is we who are outdated.

        Raises:
            StaleEpoch: a newer term has been opened.
        """
        count = await self._folding.catch_up(end)
        logger.warning("partition %d: folded %d records of another writer", self._term.partition, count)
        newest = self._folding.replay.epoch
        if newest > self._term.epoch:
            raise StaleEpoch(self._term.partition, self._term.epoch, Epoch(newest))
        await self._folding.look_for_moments()

    async def _work(self) -> None:
        while not self._term.is_lost and not (self._term.is_closing and not self._waiting):
            self._is_at_work = False
            await self._wake.wait()
            self._wake.clear()
            self._is_at_work = True
            try:
                if self._should_refresh:
                    await self._look_for_others()
                while await self._commit_group():
                    await self._do_what_waits()
                await self._do_what_waits()
            except Exception as wrong:  # noqa: BLE001 - the shard loop: whatever it is, nobody may wait here any longer
                self.lose(wrong)
                return
        self._refuse_jobs()

    async def _look_for_others(self) -> None:
        self._should_refresh = False
        try:
            end = await asyncio.get_running_loop().run_in_executor(self._ports.appenders, self._log.refresh)
        except LogUnavailable as away:
            # Nothing depends on this look: whose term it is shows with the next append, and until then by the lease.
            logger.warning("partition %d: %s", self._term.partition, away)
            return
        if end != self._folding.position:
            await self._fold_foreign(end)

    async def _commit_group(self) -> bool:
        """Form a group of what waits, append and sync it, fold it, answer. Return False if there was nothing to do."""
        if (why := self._term.why_not_current()) is not None:
            self._waiting.fail(partial(NotCurrent, why))
            return False
        group = self._waiting.take(stamp_us=self._ports.clock.now_us())
        should_look, self._should_look_at_time = self._should_look_at_time, False
        if group.is_empty and (not should_look or self._folding.is_early_for_tick(group.stamp_us)):
            return False
        try:
            await self._form(group)
            if group.ticks:
                self._waiting.put_back(group)
            if not group.records:
                settle_hand_overs(group, self._folding.state)
                return self._waiting.is_ready
            reached(Failpoint.GROUP_FORMED)
            offset = await self.append(group.records)
            if group.ticks:
                reached(Failpoint.TICK_SYNCED)
            await self._folding.fold_group(group, offset, self._term.epoch)
        except BaseException:
            group.settle_failed()
            self._waiting.put_back(group)
            raise
        # A tick may have left some of what is due for the next.
        self._should_look_at_time |= group.ticks
        return self._waiting.is_ready or group.ticks

    async def _form(self, group: Group) -> None:
        state_thread = self._ports.state_thread
        for some in list(to_decode(group.signals))[:-1]:
            # More than goes into one turn, in which other partitions' decisions would wait.
            await state_thread.run(Urgency.INGEST, decode_of, group, some, self._folding)
        await state_thread.run(Urgency.DECISION, form, group, self._folding, self._term)
        group.settle_failed()
        for proposal in group.refused:
            settle(proposal.done, False)

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
        """Return the task; if it ends by a defect, or is cancelled while the term is open, the partition is lost."""

        def ended(task: asyncio.Task[None]) -> None:
            wrong = asyncio.CancelledError() if task.cancelled() else task.exception()
            if wrong is not None and self._term.is_open:
                self.lose(wrong)

        task.add_done_callback(ended)
        return task

    def lose(self, wrong: BaseException) -> None:
        """End the term: what waits has an unknown outcome."""
        if self._term.lose(wrong) and self._ports.telemetry is not None:
            self._ports.telemetry.partitions_lost += 1
        self._waiting.fail(PartitionLost)
        self._refuse_jobs()
        self._moments.end()
        self._ports.on_waiting_change()

    def _refuse_jobs(self) -> None:
        while self._to_do:
            waiting = self._to_do.popleft()
            if not waiting.done.done():
                waiting.done.set_exception(PartitionLost())
