"""When a partition's snapshot is taken, and what may be dropped from its log after that.

A snapshot is due when the tail that a restart would have to fold has grown long, or is old. One is taken at a time per
shard: freezing in slices between the fold's own, writing and verifying in a thread.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from weakref import WeakKeyDictionary

from actors.conditions import PartitionLost
from actors.failpoints import Failpoint, reached
from actors.log.contract import LogError, Offset, PartitionId
from actors.snapshots.facts import ReplayFacts, SnapshotFacts, SnapshotFailed
from actors.snapshots.store import SnapshotStore
from actors.state_thread import StateThread, Urgency
from household.freeze import Freeze

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPolicy:
    """When a snapshot is due, and how long the log behind it is kept."""

    events: int = 100_000
    """Events folded since the newest snapshot: what a restart has to fold again."""
    records: int = 1_000
    """Records folded since then: each costs a restart a tenth of a millisecond, however few events it holds."""
    interval_s: float = 300.0
    """Time since the newest snapshot, where anything was folded at all."""
    log_retention_s: float = 14 * 86_400.0
    """Log that kept snapshots cover is dropped after this."""

    busy_share: float = 0.05
    """Snapshots of a partition take up so much of the time at most: a large one is due less often than a small one."""

    def __post_init__(self) -> None:
        # Otherwise one would follow the other without a pause.
        assert 0 < self.busy_share < 1
        assert self.records >= 1
        # Every group would be followed by a snapshot, which is a thousand times its size.
        assert self.events >= 1_000
        assert self.interval_s > 0
        assert self.log_retention_s >= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeUnderWay:
    """A partition's state being frozen, and where in its log it stands."""

    freeze: Freeze
    position: Offset
    replay: ReplayFacts
    stamp_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotStanding:
    """How a partition's newest snapshot stands to what was folded since."""

    tail_events: int = 0
    """Events folded since it, or since the log's start: what a restart has to fold again."""
    age_s: float = 0.0
    """Since it was taken, or since the partition was assigned if that is later; 0 where nothing was folded since."""
    position: int = -1
    """Of the newest that this process has taken; -1 for none."""


class Freezable(Protocol):
    """What a snapshot is taken of: the owner of a partition."""

    @property
    def partition(self) -> PartitionId: ...
    @property
    def is_open(self) -> bool: ...
    @property
    def events_folded(self) -> int: ...
    @property
    def records_folded(self) -> int: ...
    async def freeze(self) -> FreezeUnderWay:
        """Freeze the state between two groups.

        Raises:
            PartitionLost
        """
        ...

    async def settle_rejects(self) -> None:
        """Wait until what was rejected so far is kept."""
        ...

    async def drop_log_before(self, position: Offset, *, written_before_us: int) -> None:
        """Give up old pieces of the log between two groups."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """When the newest snapshot of an owner was begun, what it had folded by then, and how long it took to write."""

    at_s: float
    events: int
    records: int
    took_s: float


class SnapshotTaker:
    """Takes the snapshots of one shard's partitions."""

    def __init__(
        self,
        store: SnapshotStore,
        policy: SnapshotPolicy,
        owners: Callable[[], list[Freezable]],
        *,
        state_thread: StateThread,
        writers: Executor,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._store = store
        self._policy = policy
        self._retention_us = int(policy.log_retention_s * 1e6)
        self._owners = owners
        self._state_thread = state_thread
        self._writers = writers
        self._monotonic_s = monotonic_s
        self._taken: WeakKeyDictionary[Freezable, _Taken] = WeakKeyDictionary()
        """Of each owner, a failed one included."""
        self._newest: WeakKeyDictionary[Freezable, tuple[float, int, int]] = WeakKeyDictionary()
        """As `_taken`, but a failure leaves it; and the snapshot's position, -1 before there is one."""
        self._one_at_a_time = asyncio.Lock()
        self.written = 0
        self.failed = 0

    async def run(self) -> None:
        """Take snapshots as they become due, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for owner in self._owners():
                self._newest.setdefault(owner, (self._monotonic_s(), 0, -1))
                if owner.is_open and self._is_due(owner):
                    await self._take_quietly(owner)

    def standing(self, owner: Freezable) -> SnapshotStanding:
        """Return how far a restart of this partition would have to reach back. From any thread."""
        taken_s, events, position = self._newest.get(owner, (self._monotonic_s(), 0, -1))
        tail_events = owner.events_folded - events
        age_s = self._monotonic_s() - taken_s if tail_events else 0.0
        return SnapshotStanding(tail_events=tail_events, age_s=age_s, position=position)

    def _is_due(self, owner: Freezable) -> bool:
        now_s = self._monotonic_s()
        # The tail that a restart has folded counts: the next restart would have to fold it again.
        last = self._taken.setdefault(owner, _Taken(at_s=now_s, events=0, records=0, took_s=0.0))
        records = owner.records_folded - last.records
        if records == 0 or now_s - last.at_s < last.took_s / self._policy.busy_share:
            return False
        is_long = records >= self._policy.records or owner.events_folded - last.events >= self._policy.events
        return is_long or now_s - last.at_s >= self._policy.interval_s

    def _note_taken(self, owner: Freezable, started_s: float, *, events: int, records: int) -> None:
        took_s = self._monotonic_s() - started_s
        self._taken[owner] = _Taken(at_s=started_s, events=events, records=records, took_s=took_s)

    async def _take_quietly(self, owner: Freezable) -> None:
        events, records, started_s = owner.events_folded, owner.records_folded, self._monotonic_s()
        try:
            await self.take(owner)
        except (SnapshotFailed, LogError, PartitionLost, OSError) as wrong:
            # Nothing is lost: the log is the truth, a restart only takes longer. Tried again when next due.
            logger.error("partition %d: no snapshot: %s", owner.partition, wrong)
            self._note_taken(owner, started_s, events=events, records=records)
        except Exception:  # a loop of the shard: a defect costs this snapshot, never those of all other partitions
            logger.exception("partition %d: no snapshot, by a defect", owner.partition)
            self.failed += 1
            self._note_taken(owner, started_s, events=events, records=records)

    async def take(self, owner: Freezable) -> SnapshotFacts:
        """Take a snapshot of a partition now; return once it is written and verified.

        Raises:
            SnapshotFailed: the earlier ones are as they were.
            PartitionLost: it is no longer owned.
        """
        async with self._one_at_a_time:
            return await self._take(owner)

    async def _take(self, owner: Freezable) -> SnapshotFacts:
        loop = asyncio.get_running_loop()
        events, records, started_s = owner.events_folded, owner.records_folded, self._monotonic_s()
        while True:
            frozen = await owner.freeze()
            reached(Failpoint.SNAPSHOT_FROZEN)
            try:
                await owner.settle_rejects()
                while not frozen.freeze.is_stale:
                    if await self._state_thread.run(Urgency.INGEST, frozen.freeze.step):
                        break
            finally:
                content = await self._state_thread.run(Urgency.INGEST, frozen.freeze.end)
            if content is not None:
                break
        write = partial(
            self._store.write, content, partition=owner.partition, position=frozen.position, replay=frozen.replay
        )
        try:
            facts = await loop.run_in_executor(self._writers, write)
        except SnapshotFailed:
            self.failed += 1
            raise
        self.written += 1
        self._note_taken(owner, started_s, events=events, records=records)
        self._newest[owner] = (started_s, events, frozen.position)
        window_us = content.plan.clock.request_window_us
        try:
            await self._drop_log(owner, frozen, retention_us=max(self._retention_us, window_us))
        except (LogError, PartitionLost, OSError) as wrong:
            # The snapshot is good all the same, and the next one tries again.
            logger.error("partition %d: its old log is not given up: %s", owner.partition, wrong)
        return facts

    async def _drop_log(self, owner: Freezable, frozen: FreezeUnderWay, *, retention_us: int) -> None:
        """Drop the log that every kept snapshot covers and whose retention has passed.

        As long as a request id is remembered, its decision is read from the log.
        """
        kept = await asyncio.get_running_loop().run_in_executor(
            self._writers, self._store.oldest_kept_position, owner.partition
        )
        if kept is not None:
            await owner.drop_log_before(kept, written_before_us=frozen.stamp_us - retention_us)
