"""The partitions that a shard is to own next: it follows each behind its owner, until it is given it or told to forget.

What nobody has asked about for a while is forgotten: whoever asked may be gone, and it takes a partition's memory.
"""

import asyncio
import logging
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from actors.failpoints import Failpoint, reached
from actors.log.contract import LogStore, PartitionId
from actors.partition.successor import Successor
from actors.snapshots.store import SnapshotStore
from actors.state_thread import StateThread
from household.contact_rules.share import CapacityShare

logger = logging.getLogger(__name__)

FORGOTTEN_AFTER_S = 60.0

CLOSE_RECORDS = 32
"""So near behind the owner that what is left is folded in a moment."""

ROUNDS_MAX = 5
"""Under a load that comes as fast as it is folded the owner is never reached."""


@dataclass(slots=True)
class _Followed:
    successor: Successor
    asked_s: float


class Succession:
    """Follows partitions of other shards. For the event loop of its shard."""

    def __init__(
        self,
        logs: LogStore,
        snapshots: SnapshotStore | None,
        *,
        partition_count: int,
        state_thread: StateThread,
        readers: Executor,
    ) -> None:
        self._logs = logs
        self._snapshots = snapshots
        self._partition_count = partition_count
        self._state_thread = state_thread
        self._readers = readers
        self._followed: dict[int, _Followed] = {}
        self._beginning = asyncio.Lock()

    async def prepare(self, partition: int) -> int:
        """Come close behind the owner of a partition; return how many records that took. Called again, it goes on.

        Raises:
            LogError, PayloadUnreadable, PlanUnreadable: it cannot be followed, and is forgotten.
        """
        now_s = asyncio.get_running_loop().time()
        async with self._beginning:
            followed = self._followed.get(partition)
            if followed is None:
                share = CapacityShare(partition, max(self._partition_count, partition + 1))
                begin = partial(Successor.begin, self._logs, self._snapshots, PartitionId(partition), share)
                followed = self._followed[partition] = _Followed(await asyncio.to_thread(begin), now_s)
        followed.asked_s = now_s
        folded = 0
        try:
            for _ in range(ROUNDS_MAX):
                count = await followed.successor.catch_up(state_thread=self._state_thread, readers=self._readers)
                folded += count
                if count <= CLOSE_RECORDS:
                    break
        except BaseException:
            await self.forget(partition)
            raise
        reached(Failpoint.MOVE_PREPARED)
        return folded

    def take(self, partition: int) -> Successor | None:
        """Return who follows a partition, to open it; None for nobody. It is followed no more."""
        followed = self._followed.pop(partition, None)
        return followed.successor if followed is not None else None

    async def forget(self, partition: int) -> None:
        """Follow a partition no more; nothing if it was not followed."""
        successor = self.take(partition)
        if successor is not None:
            await successor.close()

    async def forget_abandoned(self) -> None:
        """Forget what nobody has asked about for long."""
        now_s = asyncio.get_running_loop().time()
        for partition, followed in list(self._followed.items()):
            if now_s - followed.asked_s > FORGOTTEN_AFTER_S:
                logger.warning("partition %d is followed no more: nobody asks", partition)
                await self.forget(partition)

    async def end(self) -> None:
        """Follow nothing any more."""
        for partition in list(self._followed):
            await self.forget(partition)
