"""Placement: which shard is to own which partition, and giving it to it.

Where it was, if that shard is there and has not stood in for another; else whoever has least to do. A shard owns a
partition once it has been swapped in as its holder, has opened its term in the log, and serves. One that cannot open it
is passed over in favour of the others, and all are tried again after a pause.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from cluster.metadata import MetadataStore
from cluster.shard_seen import ShardSeen, within

logger = logging.getLogger(__name__)

FAILED_PAUSE_S = 0.5
FAILED_PAUSE_S_MAX = 30.0
"""A partition that cannot be opened is tried again after a pause that doubles up to this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotOpened:
    """Why a partition could not be opened, and when it is tried again."""

    why: str
    pause_s: float
    again_at_s: float
    """Of the loop's clock."""
    holders: frozenset[str]
    """Who could not, since all had their turn."""


class Placement:
    """Gives partitions that nobody serves to shards. In the coordinator's loop."""

    def __init__(
        self,
        metadata: MetadataStore,
        shards: Mapping[str, ShardSeen],
        *,
        partition_count: int,
        plan_bytes: Callable[[], bytes],
        deadline_s: float,
        in_gap: Callable[[], Collection[int]] = tuple,
        may_take: Callable[[ShardSeen], bool] = lambda _: True,
    ) -> None:
        """
        Args:
            metadata: who holds what.
            shards: by name, as they come to be known.
            partition_count: of the cluster.
            plan_bytes: what whoever opens a partition decides by.
            deadline_s: how long opening one may take, its replay included.
            in_gap: partitions that are being handed over just now, and are served in a moment.
            may_take: whether a shard is to be given anything while another is there; one that is drained is not.
        """
        self._in_gap = in_gap
        self._may_take = may_take
        self._metadata = metadata
        self._shards = shards
        self._partition_count = partition_count
        self._plan_bytes = plan_bytes
        self._deadline_s = deadline_s
        self.failed: dict[int, NotOpened] = {}
        self.assigning: dict[int, str] = {}
        """Shards by the partitions that they are given just now."""
        self.tasks: set[asyncio.Task[None]] = set()

    def assign_missing(self) -> list[asyncio.Task[None]]:
        """Begin to assign whatever nobody serves; return what ends once that is served or has failed."""
        now_s = asyncio.get_running_loop().time()
        served = {partition for seen in self._shards.values() for partition in seen.partitions}
        started = [seen for seen in self._shards.values() if seen.started is not None and seen.is_able]
        if not started:
            return []
        started = [seen for seen in started if self._may_take(seen)] or started
        in_gap = self._in_gap()
        load = Counter(self.assigning.values())
        for seen in started:
            load[seen.name] += len(seen.partitions.keys() - self.assigning.keys())
        homes = [seen for seen in self._shards.values() if not seen.is_spare]
        homes = [seen for seen in homes if self._may_take(seen)] or homes
        share = -(-self._partition_count // len(homes))
        begun = []
        for partition in range(self._partition_count):
            if partition in served or partition in self.assigning or partition in in_gap:
                continue
            if partition in self.failed and now_s < self.failed[partition].again_at_s:
                continue
            home = homes[partition % len(homes)]
            able = [seen for seen in started if not self._has_failed(seen, partition)] or started
            # Where it was if that shard is there and has not stood in for another; else whoever has least to do.
            is_free = home in able and load[home.name] < share
            shard = home if is_free else min(able, key=lambda seen: load[seen.name])
            load[shard.name] += 1
            self.assigning[partition] = shard.name
            task = asyncio.create_task(self._assign(partition, shard), name=f"assign-{partition}")
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            begun.append(task)
        return begun

    def _has_failed(self, seen: ShardSeen, partition: int) -> bool:
        return partition in self.failed and seen.holder in self.failed[partition].holders

    async def _assign(self, partition: int, seen: ShardSeen) -> None:
        if seen.started is None:
            self.assigning.pop(partition, None)
            return
        try:
            living = {one.holder: one for one in self._shards.values() if one.started is not None}
            taken = await asyncio.to_thread(self._take, partition, seen.holder, living.keys())
            if taken is None:
                return
            holder, epoch = taken
            seen = living[holder]
            if seen.holder != holder:
                # It died meanwhile: what Ray makes in its place is another holder, which has taken nothing.
                return
            assign = seen.handle.assign.remote(partition, plan_bytes=self._plan_bytes(), epoch=epoch)
            opened = await within(self._deadline_s, assign)
            if opened > epoch:
                # The log had seen a later term than the metadata; bring the metadata up to it.
                await asyncio.to_thread(
                    self._metadata.raise_epoch, partition, holder=holder, seen_epoch=epoch, epoch=opened
                )
        except Exception as wrong:
            self._note_failure(partition, seen, str(wrong))
            logger.error("partition %d cannot be served by %s: %s", partition, seen.name, wrong)
            return
        finally:
            self.assigning.pop(partition, None)
        self.failed.pop(partition, None)
        if seen.holder != holder:
            return
        logger.info("partition %d is served by %s in epoch %d", partition, seen.name, opened)
        seen.partitions[partition] = {"epoch": opened, "is_lost": False}

    def _note_failure(self, partition: int, seen: ShardSeen, why: str) -> None:
        before = self.failed.get(partition)
        pause_s = min(2 * before.pause_s, FAILED_PAUSE_S_MAX) if before is not None else FAILED_PAUSE_S
        again_at_s = asyncio.get_running_loop().time() + pause_s
        holders = (before.holders if before is not None else frozenset()) | {seen.holder}
        if all(one.holder in holders for one in self._shards.values() if one.started is not None):
            holders = frozenset({seen.holder})
        self.failed[partition] = NotOpened(why=why, pause_s=pause_s, again_at_s=again_at_s, holders=holders)

    def _take(self, partition: int, holder: str, living: Collection[str]) -> tuple[str, int] | None:
        """Return who has it now, and in which term; None while the present holder may still be alive.

        Whoever has it and lives opens it again, whatever was meant for it: nobody else can take it from him.
        """
        held = self._metadata.ownership(partition)
        taker = held.holder if held.holder in living else holder
        epoch = held.epoch + 1
        taken = self._metadata.take(partition, holder=taker, seen_epoch=held.epoch, epoch=epoch)
        return (taker, epoch) if taken else None
