"""The coordinator: gives partitions to shards, watches them, and tells the edges who owns what.

Stateless: the truth is in the metadata store, and who is alive shows by asking. A plain class; launch.py makes it an
actor. Shards are actor handles; a call to one is `handle.method.remote(…)`, awaited with a deadline.
"""

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, TypedDict, TypeVar

from cluster.logs import LogSettings, start_logging
from cluster.metadata import MetadataStore

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

WATCH_INTERVAL_S = 0.5
REPORT_DEADLINE_S = 5.0


class Routes(TypedDict):
    """What edges need: where each partition is served."""

    partition_count: int
    owners: dict[int, str]
    ready: bool


@dataclass(slots=True)
class _ShardSeen:
    handle: Any
    address: str = ""
    partitions: dict[int, dict[str, Any]] = field(default_factory=dict)
    model: str = ""
    """Bundle path of the model it was last told to use."""


class Coordinator:
    """Keeps every partition owned by a live shard."""

    def __init__(
        self,
        *,
        metadata_url: str,
        partition_count: int,
        plan_bytes: bytes,
        assign_deadline_s: float = 600.0,
        logs: LogSettings | None = None,
    ) -> None:
        if logs is not None:
            start_logging(logs, "coordinator")
        self._metadata = MetadataStore(metadata_url)
        self._partition_count = partition_count
        self._plan_bytes = plan_bytes
        self._assign_deadline_s = assign_deadline_s
        self._shards: dict[str, _ShardSeen] = {}
        self._failed: dict[int, str] = {}
        self._model: tuple[str, str] = ("", "")
        self._watching: asyncio.Task[None] | None = None

    async def start(self, shards: dict[str, Any]) -> None:
        """Start the shards one after another (the first compiles the kernels), assign all partitions, then watch."""
        self._shards = {name: _ShardSeen(handle) for name, handle in shards.items()}
        for seen in self._shards.values():
            seen.address = await _within(self._assign_deadline_s, seen.handle.start.remote())
        # After a coordinator that died, the shards own what it gave them.
        await self._look()
        await self._assign_missing()
        self._watching = asyncio.create_task(self._watch())

    async def routes(self) -> Routes:
        """Return who serves each partition; ready when every partition is folded to its end and served."""
        owners = {partition: seen.address for seen in self._shards.values() for partition in seen.partitions}
        return Routes(partition_count=self._partition_count, owners=owners, ready=len(owners) == self._partition_count)

    async def report(self) -> dict[str, Any]:
        """Return what a status page shows: every partition with its shard, and partitions that are down with why.

        No shards: it was made anew, and nobody has told it of them yet.
        """
        await self._look()
        partitions = {
            partition: {"shard": name, **facts}
            for name, seen in self._shards.items()
            for partition, facts in seen.partitions.items()
        }
        return {
            "partitions": partitions,
            "down": dict(self._failed),
            "model": self._model[0],
            "shards": sorted(self._shards),
        }

    async def use_model(self, bundle_path: str, app_name: str) -> None:
        """Score by another model from the next decision on; empty paths score by the playbook's priors."""
        self._model = (bundle_path, app_name)
        await self._spread_model()

    async def stop(self) -> None:
        """Drain every shard: what waits is finished, and each log is closed."""
        if self._watching is not None:
            self._watching.cancel()
        drains = [seen.handle.drain.remote() for seen in self._shards.values()]
        await asyncio.gather(*drains, return_exceptions=True)
        self._metadata.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            try:
                await self._look()
                await self._assign_missing()
                await self._spread_model()
            except Exception:
                logger.exception("watching the shards failed; trying again")

    async def _look(self) -> None:
        await asyncio.gather(*(self._look_at(name, seen) for name, seen in self._shards.items()))

    async def _look_at(self, name: str, seen: _ShardSeen) -> None:
        try:
            facts = await _within(REPORT_DEADLINE_S, seen.handle.report.remote())
        except Exception as wrong:
            logger.warning("%s does not answer: %s", name, wrong)
            seen.partitions, seen.address, seen.model = {}, "", ""
            return
        if not facts and seen.partitions:
            # It was restarted: Ray ran its constructor again, and everything it knew is gone.
            seen.address, seen.model = "", ""
        seen.partitions = {partition: fact for partition, fact in facts.items() if not fact["is_lost"]}

    async def _assign_missing(self) -> None:
        owned = {partition for seen in self._shards.values() for partition in seen.partitions}
        missing = [partition for partition in range(self._partition_count) if partition not in owned]
        if not missing:
            return
        for name, seen in self._shards.items():
            if not seen.address:
                await self._restart(name, seen)
        alive = [(name, seen) for name, seen in self._shards.items() if seen.address]
        if not alive:
            return
        # A partition goes back where it was if that shard is there: its files are in that machine's page cache.
        names = list(self._shards)
        chosen = {partition: names[partition % len(names)] for partition in missing}
        by_name = dict(alive)
        await asyncio.gather(
            *(self._assign(partition, *_pick(by_name, alive, chosen[partition], partition)) for partition in missing)
        )

    async def _restart(self, name: str, seen: _ShardSeen) -> None:
        try:
            seen.address = await _within(REPORT_DEADLINE_S * 6, seen.handle.start.remote())
        except Exception as wrong:
            logger.warning("%s cannot be started yet: %s", name, wrong)

    async def _assign(self, partition: int, name: str, seen: _ShardSeen) -> None:
        try:
            held = self._metadata.ownership(partition)
            epoch = held.epoch + 1
            if not self._metadata.take(partition, owner=name, seen_epoch=held.epoch, epoch=epoch):
                return
            assign = seen.handle.assign.remote(partition, plan_bytes=self._plan_bytes, epoch=epoch)
            opened = await _within(self._assign_deadline_s, assign)
            if opened > epoch:
                # The log had seen a later term than the metadata; bring the metadata up to it.
                self._metadata.take(partition, owner=name, seen_epoch=epoch, epoch=opened)
        except Exception as wrong:
            self._failed[partition] = str(wrong)
            logger.error("partition %d cannot be served by %s: %s", partition, name, wrong)
            return
        logger.info("partition %d is served by %s in epoch %d", partition, name, opened)
        self._failed.pop(partition, None)
        seen.partitions[partition] = {"epoch": opened, "is_lost": False}

    async def _spread_model(self) -> None:
        for name, seen in self._shards.items():
            if seen.address and seen.model != self._model[0]:
                try:
                    await _within(60.0, seen.handle.use_model.remote(*self._model))
                    seen.model = self._model[0]
                except Exception as wrong:
                    logger.error("%s does not take model %s: %s", name, self._model[0] or "prior", wrong)


def _pick(
    by_name: dict[str, _ShardSeen], alive: list[tuple[str, _ShardSeen]], wanted: str, partition: int
) -> tuple[str, _ShardSeen]:
    if wanted in by_name:
        return wanted, by_name[wanted]
    return alive[partition % len(alive)]


async def _within(deadline_s: float, call: Awaitable[Result]) -> Result:
    """Await a call to an actor, for so long at most: Ray itself notices a hung actor after minutes, if ever."""
    return await asyncio.wait_for(_awaited(call), deadline_s)


async def _awaited(call: Awaitable[Result]) -> Result:
    return await call
