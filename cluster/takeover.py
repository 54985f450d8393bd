"""Take-over: what happens to the partitions of a shard that dies or loses its lease.

    died here       its process is gone, as the kernel says: its lease is revoked at once
    died elsewhere  its renewals stand still for a term and a margin: its lease is revoked, if they still do
    hangs, stopped  the same, wherever it is
    lease revoked   it is given nothing, and its process is ended where that can be: it may hold the log locked

Whoever's lease is revoked finds out at its next renewal and ends itself (cluster/leases.py). Its partitions are served
by nobody from then on: placement.py says who gets them, and the term that the new owner opens in the log shuts out
whatever the old one still writes.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from cluster.leases import LeaseWatch
from cluster.metadata import HolderLease, MetadataStore, MetadataUnavailable
from cluster.node import end, is_gone, node_identity
from cluster.shard_seen import ShardSeen, StartedShard, is_here

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.25


class TakeOver:
    """Takes leases from those who died or hang. In the coordinator's loop."""

    def __init__(
        self,
        metadata: MetadataStore,
        shards: Mapping[str, ShardSeen],
        *,
        lease_margin_ms: int,
        changed: asyncio.Event,
        end_actor: Callable[[Any], None] | None,
    ) -> None:
        """
        Args:
            metadata: who holds a lease.
            shards: by name, as they come to be known.
            lease_margin_ms: how long beyond its term a lease is waited for.
            changed: set where partitions are left without a shard.
            end_actor: kill a shard of another node, so that Ray makes it anew.
        """
        self._metadata = metadata
        self._shards = shards
        self._lease_watch = LeaseWatch(margin_ms=lease_margin_ms)
        self._changed = changed
        self._end_actor = end_actor
        self.ending: dict[str, asyncio.Task[None]] = {}
        """By holder: processes that are being ended."""

    async def running_shards(self) -> set[str]:
        """Revoke the leases of the dead; return the names of the shards that have one still."""
        try:
            return await asyncio.to_thread(self._bury_the_dead)
        except MetadataUnavailable as wrong:
            # The lease watch finds the dead, only later.
            logger.warning("leases cannot be looked at: %s", wrong)
            return set()

    async def bury(self, seen: ShardSeen) -> None:
        """Forget a shard that is gone; revoke its lease if its death is proven, else leave that to the lease watch."""
        started, seen.started, seen.partitions, seen.model = seen.started, None, {}, None
        if started is None or not is_here(started):
            return
        if is_gone(started["process_id"], started["process_started_s"]):
            await asyncio.to_thread(self._metadata.revoke, started["holder"], None)
        else:
            seen.before = started

    async def end_old(self, started: StartedShard) -> None:
        """Ray has made a shard anew: the process before is ended, where it still lives, and its lease with it."""
        if not is_here(started):
            return
        if await asyncio.to_thread(end, started["process_id"], started["process_started_s"]):
            await asyncio.to_thread(self._metadata.revoke, started["holder"], None)
        else:
            logger.error("process %d of %s cannot be ended", started["process_id"], started["holder"])

    def _bury_the_dead(self) -> set[str]:
        """Revoke the leases of this node's processes that are gone, such as those of a Hearth that was killed.

        Return the names of the shards that are left.
        """
        left = set()
        for lease in self._metadata.leases():
            if _is_dead_here(lease):
                self._metadata.revoke(lease.holder, None)
            elif not lease.is_revoked:
                left.add(lease.holder.partition("/")[0])
            self._metadata.forget(lease.holder)
        return left

    async def watch_leases(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                leases = await asyncio.to_thread(self._metadata.leases)
                # First what is revoked already, be it by a call that was never answered.
                await self._dispossess([lease for lease in leases if lease.is_revoked])
                # One that died before this coordinator had ever heard of it: no need to wait for its lease.
                for lease in filter(_is_dead_here, leases):
                    await asyncio.to_thread(self._metadata.revoke, lease.holder, None)
                    self._changed.set()
                for lease in self._lease_watch.expired(leases):
                    await self._challenge(lease)
            except MetadataUnavailable as wrong:
                logger.warning("leases cannot be watched: %s", wrong)
            except Exception:
                logger.exception("watching the leases failed; trying again")

    async def _challenge(self, lease: HolderLease) -> None:
        """Take the lease from a holder that has not renewed it for too long; end its process where that is possible."""
        if not await asyncio.to_thread(self._metadata.revoke, lease.holder, lease.renewals):
            return
        logger.warning("%s has let its lease expire; its partitions go to others", lease.holder)
        await self._dispossess([lease])

    async def _dispossess(self, revoked: Collection[HolderLease]) -> None:
        """Give others what these had, whose leases are revoked, and end their processes."""
        for lease in revoked:
            seen = next((one for one in self._shards.values() if one.holder == lease.holder), None)
            if seen is not None:
                seen.partitions = {}
                self._changed.set()
            if lease.node == node_identity():
                # A stopped process keeps the log locked, whether or not this coordinator has ever heard of it.
                if not is_gone(lease.process_id, lease.process_started_s):
                    self._end(lease.holder, end, lease.process_id, lease.process_started_s)
            elif seen is not None:
                # Its node may hang with it, and Ray takes its time to say so: it is given nothing meanwhile.
                seen.started = None
                if self._end_actor is not None:
                    self._end(lease.holder, self._end_actor, seen.handle)

    def _end(self, holder: str, how: Callable[..., Any], *which: Any) -> None:
        """End a shard beside all else: one that hangs in the kernel must not keep the others waiting."""
        if holder in self.ending:
            return

        async def ending() -> None:
            try:
                if await asyncio.to_thread(how, *which) is False:
                    logger.error("the process of %s cannot be ended; trying again", holder)
            except Exception as wrong:
                logger.error("%s cannot be ended: %s", holder, wrong)
            finally:
                del self.ending[holder]

        self.ending[holder] = asyncio.create_task(ending(), name=f"end-{holder}")


def _is_dead_here(lease: HolderLease) -> bool:
    is_of_this_node = lease.node == node_identity()
    return is_of_this_node and not lease.is_revoked and is_gone(lease.process_id, lease.process_started_s)
