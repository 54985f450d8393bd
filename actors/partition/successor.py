"""Who is to own a partition next: folds its log behind the present owner, so that little is left at the hand-over.

Nothing here writes, answers or decides. What is folded counts only once the present owner has let go and has said where
the log ends; after any other end of his, whoever takes over begins anew.
"""

import asyncio
from collections import deque
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from actors.log.contract import (
    DamagedLog,
    LogFollower,
    LogStore,
    Offset,
    PartitionId,
    StoredRecord,
)
from actors.partition.recovery import Recovered, Since, fold_records, newest_snapshot
from actors.records.replay import Replay
from actors.rejects.store import RejectStore
from actors.snapshots.store import SnapshotStore
from actors.state_thread import StateThread
from household.contact_rules.share import CapacityShare
from household.events import are_rejections
from household.plan import Plan

REJECTS_KEPT_MAX = 1_000
"""Records with rejected rows that are remembered, newest; the owner before has kept what was rejected, as a rule."""


class Successor:
    """Follows one partition. For the event loop it is used in."""

    def __init__(
        self, partition: PartitionId, follower: LogFollower, replay: Replay, *, since: Since, faults: tuple[str, ...]
    ) -> None:
        self.partition = partition
        self._follower = follower
        self._replay = replay
        self._since = since
        self._faults = faults
        self._rejected: deque[tuple[StoredRecord, NDArray[np.uint8], int, Plan]] = deque(maxlen=REJECTS_KEPT_MAX)
        self._using = asyncio.Lock()

    @classmethod
    def begin(
        cls, logs: LogStore, snapshots: SnapshotStore | None, partition: PartitionId, share: CapacityShare
    ) -> "Successor":
        """Load the newest good snapshot and look at the log behind it. Blocks: not for the event loop.

        Raises:
            LogError: the log cannot be read from there on.
        """
        loaded, position, faults = newest_snapshot(snapshots, partition)
        replay = loaded or Replay()
        replay.take_share(share)
        follower = logs.follow(partition, position)
        return cls(partition, follower, replay, since=Since.of(replay), faults=faults)

    @property
    def position(self) -> Offset:
        """End of what is folded."""
        return self._follower.position

    async def catch_up(self, *, state_thread: StateThread, readers: Executor) -> int:
        """Fold what has come since the last time; return how many records.

        Raises:
            LogError, PayloadUnreadable, PlanUnreadable: it is of no use any more.
        """
        async with self._using:
            return await fold_records(
                self._follower.read_on(),
                self._replay,
                state_thread=state_thread,
                readers=readers,
                on_folded=self._note_rejects,
            )

    async def recovered(self, end: Offset) -> Recovered:
        """Open the log, of which the owner before has said where it ends, and return the partition as it stands.

        Raises:
            LogError: it is not to be had, or is another than the one that was followed.
        """
        async with self._using:
            folded = self._follower.position
            log = await asyncio.to_thread(self._follower.take_over)
        ends_at = log.end_offset
        if not folded <= end <= ends_at:
            log.close()
            what = f"it was to end at offset {end}; read up to {folded}, it ends at {ends_at}"
            raise DamagedLog(self.partition, "the log", 0, what)
        return Recovered(log=log, replay=self._replay, position=folded, faults=self._faults, since=self._since)

    def hand_on_rejects(self, rejects: RejectStore) -> None:
        """Note what was rejected of what was folded here; what is kept already is not kept again."""
        for stored, statuses, first_row, plan in self._rejected:
            record = stored.record
            rejects.note(
                stored.offset, record.payload, statuses, stamp_us=record.stamp_us, plan=plan, first_row=first_row
            )

    async def close(self) -> None:
        """Let go of the log."""
        async with self._using:
            await asyncio.to_thread(self._follower.close)

    def _note_rejects(self, stored: StoredRecord, statuses: NDArray[np.uint8], first_row: int) -> None:
        if (are_rejections(statuses)).any():
            self._rejected.append((stored, statuses, first_row, self._replay.now.plan))
