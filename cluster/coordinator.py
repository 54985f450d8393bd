"""The coordinator: gives partitions to shards, watches them, and tells the edges who owns what.

Stateless: the truth is in the metadata store, and who is alive shows by asking. A plain class; launch.py makes it an
actor. Shards are actor handles; a call to one is `handle.method.remote(…)`, awaited with a deadline.

A partition moves in four steps: its holder is known to be without a lease (the process is proven dead, gave it back, or
its renewals have stood still for a term and a margin); the new holder is swapped in; it opens its term in the log; it
serves. Ray may run two shards of one name for a while: the leases and the log's epochs decide, never Ray.
"""

import asyncio
import logging
from asyncio import FIRST_COMPLETED
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypedDict, TypeVar

from cluster.leases import LeaseWatch
from cluster.logs import LogSettings, start_logging
from cluster.metadata import HolderLease, MetadataStore, MetadataUnavailable
from cluster.model_in_force import PRIORS_IN_FORCE, ModelInForce
from cluster.node import end, is_gone, node_identity, until_gone
from wire.routes import Routes

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

WATCH_INTERVAL_S = 0.25
REPORT_DEADLINE_S = 5.0
START_DEADLINE_S = 120.0
MODEL_DEADLINE_S = 60.0
MODEL_START_S_MAX = 20.0
"""So long a start waits for shards to load the model in force."""
MODEL_PAUSE_S = 10.0
"""After which a shard that did not take a model is told of it again."""
RETRY_S = 0.2
"""Between two tries to reach a shard that Ray is making anew."""

FAILED_PAUSE_S = 0.5
FAILED_PAUSE_S_MAX = 30.0
"""A partition that cannot be opened is tried again after a pause that doubles up to this."""


class NotIntroduced(Exception):
    """A coordinator that was just made knows of no owners yet: whoever has routes keeps them."""


class StartedShard(TypedDict):
    """What a shard says of itself once it serves."""

    address: str
    holder: str
    node: str
    process_id: int
    process_started_s: float
    """Tells it apart from a later process of the same id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """Why a partition could not be opened, and when it is tried again."""

    why: str
    pause_s: float
    again_at_s: float
    """Of the loop's clock."""
    holders: frozenset[str]
    """Who could not, since all had their turn."""


@dataclass(slots=True, eq=False)
class _ShardSeen:
    name: str
    handle: Any
    is_spare: bool
    """It was made to stand in for another; it owns nothing until then."""
    started: StartedShard | None = None
    """None while it is being made."""
    before: StartedShard | None = None
    """What it was until Ray let go of it, though its process of this node was there still."""
    partitions: dict[int, dict[str, Any]] = field(default_factory=dict)
    """What it serves, as it said last."""
    model: ModelInForce | None = None
    """What it scores by, as it was last told; None if it was never told, or did not take it."""
    is_able: bool = False
    """Whether it may be given partitions: it has the model in force, or has said why not."""
    told_again_s: float = 0.0
    """Loop time from which it is told again of a model that it did not take."""
    model_trouble: str = ""

    @property
    def holder(self) -> str:
        return self.started["holder"] if self.started is not None else ""


class Coordinator:
    """Keeps every partition owned by a live shard."""

    def __init__(
        self,
        *,
        metadata_url: str,
        partition_count: int,
        plan_bytes: bytes,
        lease_margin_ms: int,
        assign_deadline_s: float = 600.0,
        logs: LogSettings | None = None,
        end_actor: Callable[[Any], None] | None = None,
    ) -> None:
        """`end_actor`: kill a shard that does not answer, so that Ray makes it anew."""
        if logs is not None:
            start_logging(logs, "coordinator")
        self._metadata = MetadataStore(metadata_url)
        self._lease_watch = LeaseWatch(margin_ms=lease_margin_ms)
        self._partition_count = partition_count
        self._plan_bytes = plan_bytes
        self._assign_deadline_s = assign_deadline_s
        self._end_actor = end_actor
        self._shards: dict[str, _ShardSeen] = {}
        self._failed: dict[int, _Failure] = {}
        self._lost: dict[int, str] = {}
        """Why an owner ended its term, the last time."""
        self._assigning: dict[int, str] = {}
        """Shards by the partitions that they are given just now."""
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._model = PRIORS_IN_FORCE
        self._changed = asyncio.Event()
        self._knows_its_shards = False
        self._tasks: list[asyncio.Task[None]] = []
        self._assigns: set[asyncio.Task[None]] = set()
        self._telling: set[asyncio.Task[None]] = set()
        """Shards that are being told of the model before they may be given anything."""

    async def start(
        self, shards: dict[str, Any], spares: dict[str, Any] | None = None, model: ModelInForce = PRIORS_IN_FORCE
    ) -> None:
        """Start the shards, give them all partitions, then watch. Returns when every partition is served or has failed.

        A shard is given partitions once it has the model in force, or has said why it cannot: decisions after a restart
        are as good as those before, or say that they are not.

        After a coordinator that died, the shards own what it gave them, and that stays so. Called again, it changes
        nothing.
        """
        if self._shards:
            return
        self._model = model
        self._shards = {name: _ShardSeen(name, handle, is_spare=False) for name, handle in shards.items()}
        self._shards |= {name: _ShardSeen(name, handle, is_spare=True) for name, handle in (spares or {}).items()}
        running = await self._running_shards()
        # All at once: they are started and serve, and whoever asks for routes waits for this.
        known = [seen for seen in self._shards.values() if seen.name in running]
        await asyncio.gather(*(self._begin_quietly(seen, REPORT_DEADLINE_S) for seen in known))
        self._knows_its_shards = True
        if all(seen.started is None for seen in self._shards.values()):
            # Beside each other, on as many cores; which of them compiles the kernels they settle among themselves.
            homes = [seen for seen in self._shards.values() if not seen.is_spare]
            await asyncio.gather(*(self._begin_quietly(seen, self._assign_deadline_s) for seen in homes))
        if self._telling:
            # All of them, or the first that has the model would be given everything.
            await asyncio.wait(self._telling, timeout=MODEL_START_S_MAX)
        first = self._assign_missing()
        # Beside the first assignments: one that takes long must not keep the others from being watched.
        self._tasks += [asyncio.create_task(self._watch_shard(seen)) for seen in self._shards.values()]
        self._tasks += [asyncio.create_task(self._watch_leases()), asyncio.create_task(self._watch_partitions())]
        self._tasks += [asyncio.create_task(self._watch_models())]
        await asyncio.gather(*first)

    async def add_spares(self, spares: dict[str, Any]) -> None:
        """Start shards that stand in for one that dies. Those that are known are left alone."""
        if not self._knows_its_shards:
            # It was made anew just now: whoever tells it of its shards tells it of these, too.
            return
        for name, handle in spares.items():
            if name not in self._shards:
                self._shards[name] = seen = _ShardSeen(name, handle, is_spare=True)
                self._tasks.append(asyncio.create_task(self._watch_shard(seen)))

    async def routes(self) -> Routes:
        """Return who serves each partition; ready when every partition is folded to its end and served.

        Raises:
            NotIntroduced: the shards may serve all the same.
        """
        if not self._knows_its_shards:
            raise NotIntroduced
        owners: dict[int, tuple[int, str]] = {}
        for seen in self._shards.values():
            if seen.started is None:
                continue
            for partition, facts in seen.partitions.items():
                # Of two that say so, the older term is that of a shard which has not noticed yet.
                owners[partition] = max(owners.get(partition, (0, "")), (facts["epoch"], seen.started["address"]))
        addresses = {partition: address for partition, (_, address) in owners.items()}
        return Routes(
            partition_count=self._partition_count, owners=addresses, ready=len(addresses) == self._partition_count
        )

    async def report(self) -> dict[str, Any]:
        """Return what a status page shows: every partition with its shard, and partitions that are down with why.

        No shards: it was made anew, and nobody has told it of them yet.
        """
        await asyncio.gather(*(self._look_at(seen) for seen in self._shards.values()))
        partitions = {
            partition: {"shard": seen.name, **facts}
            for seen in self._shards.values()
            for partition, facts in seen.partitions.items()
        }
        return {
            "partitions": partitions,
            "down": {partition: self._why_down(partition) for partition in self._down(partitions)},
            "model": self._model.bundle_path,
            "model_version": self._model.version,
            "model_trouble": {seen.name: seen.model_trouble for seen in self._shards.values() if seen.model_trouble},
            "shards": sorted(self._shards),
        }

    def _down(self, served: Collection[int]) -> list[int]:
        # Right after a coordinator was made anew it knows of no shard, and so of nothing that is wrong.
        return [partition for partition in range(self._partition_count) if self._shards and partition not in served]

    def _why_down(self, partition: int) -> str:
        if partition in self._failed:
            return self._failed[partition].why
        if partition in self._lost:
            return f"its owner gave it up ({self._lost[partition]}), and it is given to another"
        return "it is given to a shard"

    async def use_model(self, model: ModelInForce) -> None:
        """Score by another model from the next decision on."""
        self._model = model
        for seen in self._shards.values():
            seen.told_again_s = 0.0
        await self._spread_model()

    async def stop(self) -> None:
        """Drain every shard: what waits is finished, each log is closed and each lease given back."""
        tasks = (*self._tasks, *self._assigns, *self._telling, *self._ending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # One that is not there owns nothing, and may wait for its place in Ray for ever.
        drains = [seen.handle.drain.remote() for seen in self._shards.values() if seen.started is not None]
        await asyncio.gather(*drains, return_exceptions=True)
        await asyncio.to_thread(self._metadata.close)

    # --- shards ------------------------------------------------------------------------------------------------------

    async def _watch_shard(self, seen: _ShardSeen) -> None:
        """From its start to its end, over and over; Ray makes it anew each time."""
        while True:
            try:
                if seen.started is None:
                    await self._begin(seen, START_DEADLINE_S)
                await self._accompany(seen)
            except Exception as wrong:
                logger.warning("%s is gone: %s", seen.name, str(wrong).partition("\n")[0])
            try:
                await self._bury(seen)
            except MetadataUnavailable as wrong:
                # Its renewals have come to an end, which the lease watch will see.
                logger.warning("the lease of %s is not revoked yet: %s", seen.name, wrong)
            self._changed.set()
            await asyncio.sleep(RETRY_S)

    async def _running_shards(self) -> set[str]:
        """Revoke the leases of the dead; return the names of the shards that have one still."""
        try:
            return await asyncio.to_thread(self._bury_the_dead)
        except MetadataUnavailable as wrong:
            # The lease watch finds the dead, only later.
            logger.warning("leases cannot be looked at: %s", wrong)
            return set()

    async def _begin_quietly(self, seen: _ShardSeen, deadline_s: float) -> None:
        try:
            await self._begin(seen, deadline_s)
        except Exception as wrong:
            # It is tried again from now on, like any that goes later.
            logger.error("%s does not start: %s", seen.name, str(wrong) or type(wrong).__name__)
        await self._look_at(seen)

    async def _begin(self, seen: _ShardSeen, deadline_s: float) -> None:
        started: StartedShard = await _within(deadline_s, seen.handle.start.remote())
        seen.started, seen.model, seen.is_able = started, None, self._model.is_priors
        if not seen.is_able:
            telling = asyncio.create_task(self._tell_model(seen, self._model), name=f"model-{seen.name}")
            self._telling.add(telling)
            telling.add_done_callback(self._telling.discard)
        logger.info("%s serves at %s as %s", seen.name, started["address"], started["holder"])
        before, seen.before = seen.before, None
        if before is not None and before["holder"] != started["holder"]:
            await self._end_old(before)
        self._changed.set()

    async def _accompany(self, seen: _ShardSeen) -> None:
        """Ask it how it is; return or raise once its process is gone.

        Of a process on this node the kernel tells at once. Of others Ray does, by failing a call that never ends, which
        it looks at every two seconds.
        """
        assert seen.started is not None, f"{seen.name} is not started"
        ends = {
            asyncio.ensure_future(_awaited(seen.handle.until_gone.remote())),
            asyncio.ensure_future(_ended(seen.started)),
        }
        # Beside them: a question to a process that has just died is answered only when Ray has noticed.
        looking = asyncio.ensure_future(self._look_at_times(seen))
        try:
            done, _ = await asyncio.wait({*ends, looking}, return_when=FIRST_COMPLETED)
            for one in done:
                await one
        finally:
            for one in (*ends, looking):
                one.cancel()

    async def _look_at_times(self, seen: _ShardSeen) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            await self._look_at(seen)

    async def _look_at(self, seen: _ShardSeen) -> None:
        """Bring up to date what a started shard serves. One that is merely silent is left to its lease."""
        asked = seen.started
        if asked is None:
            return
        try:
            facts = await _within(REPORT_DEADLINE_S, seen.handle.report.remote())
        except Exception as wrong:
            logger.warning("%s does not answer: %s", seen.name, str(wrong).partition("\n")[0])
            return
        if seen.started is not asked:
            # It is gone, or another by now, and this is what it was.
            return
        self._lost |= {one: str(fact.get("lost_because", "")) for one, fact in facts.items() if fact["is_lost"]}
        serving = {partition: fact for partition, fact in facts.items() if not fact["is_lost"]}
        if serving.keys() != seen.partitions.keys():
            self._changed.set()
        seen.partitions = serving

    async def _bury(self, seen: _ShardSeen) -> None:
        """Forget a shard that is gone; revoke its lease if its death is proven, else leave that to the lease watch."""
        started, seen.started, seen.partitions, seen.model = seen.started, None, {}, None
        if started is None or not _is_here(started):
            return
        if is_gone(started["process_id"], started["process_started_s"]):
            await asyncio.to_thread(self._metadata.revoke, started["holder"], None)
        else:
            seen.before = started

    async def _end_old(self, started: StartedShard) -> None:
        """Ray has made a shard anew: the process before is ended, where it still lives, and its lease with it."""
        if not _is_here(started):
            return
        if await asyncio.to_thread(end, started["process_id"], started["process_started_s"]):
            await asyncio.to_thread(self._metadata.revoke, started["holder"], None)
        else:
            logger.error("process %d of %s cannot be ended", started["process_id"], started["holder"])

    # --- leases ------------------------------------------------------------------------------------------------------

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

    async def _watch_leases(self) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
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
        if holder in self._ending:
            return

        async def ending() -> None:
            try:
                if await asyncio.to_thread(how, *which) is False:
                    logger.error("the process of %s cannot be ended; trying again", holder)
            except Exception as wrong:
                logger.error("%s cannot be ended: %s", holder, wrong)
            finally:
                del self._ending[holder]

        self._ending[holder] = asyncio.create_task(ending(), name=f"end-{holder}")

    # --- partitions --------------------------------------------------------------------------------------------------

    async def _watch_partitions(self) -> None:
        while True:
            try:
                async with asyncio.timeout(WATCH_INTERVAL_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                self._assign_missing()
            except Exception:
                logger.exception("watching the partitions failed; trying again")

    def _assign_missing(self) -> list[asyncio.Task[None]]:
        """Begin to assign whatever nobody serves; return what ends once that is served or has failed."""
        now_s = asyncio.get_running_loop().time()
        served = {partition for seen in self._shards.values() for partition in seen.partitions}
        started = [seen for seen in self._shards.values() if seen.started is not None and seen.is_able]
        if not started:
            return []
        load = Counter(self._assigning.values())
        for seen in started:
            load[seen.name] += len(seen.partitions.keys() - self._assigning.keys())
        homes = [seen for seen in self._shards.values() if not seen.is_spare]
        share = -(-self._partition_count // len(homes))
        begun = []
        for partition in range(self._partition_count):
            if partition in served or partition in self._assigning:
                continue
            if partition in self._failed and now_s < self._failed[partition].again_at_s:
                continue
            home = homes[partition % len(homes)]
            able = [seen for seen in started if not self._has_failed(seen, partition)] or started
            # Where it was if that shard is there and has not stood in for another; else whoever has least to do.
            is_free = home in able and load[home.name] < share
            shard = home if is_free else min(able, key=lambda seen: load[seen.name])
            load[shard.name] += 1
            self._assigning[partition] = shard.name
            task = asyncio.create_task(self._assign(partition, shard), name=f"assign-{partition}")
            self._assigns.add(task)
            task.add_done_callback(self._assigns.discard)
            begun.append(task)
        return begun

    def _has_failed(self, seen: _ShardSeen, partition: int) -> bool:
        return partition in self._failed and seen.holder in self._failed[partition].holders

    async def _assign(self, partition: int, seen: _ShardSeen) -> None:
        if seen.started is None:
            self._assigning.pop(partition, None)
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
            assign = seen.handle.assign.remote(partition, plan_bytes=self._plan_bytes, epoch=epoch)
            opened = await _within(self._assign_deadline_s, assign)
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
            self._assigning.pop(partition, None)
        self._failed.pop(partition, None)
        if seen.holder != holder:
            return
        logger.info("partition %d is served by %s in epoch %d", partition, seen.name, opened)
        seen.partitions[partition] = {"epoch": opened, "is_lost": False}

    def _note_failure(self, partition: int, seen: _ShardSeen, why: str) -> None:
        before = self._failed.get(partition)
        pause_s = min(2 * before.pause_s, FAILED_PAUSE_S_MAX) if before is not None else FAILED_PAUSE_S
        again_at_s = asyncio.get_running_loop().time() + pause_s
        holders = (before.holders if before is not None else frozenset()) | {seen.holder}
        if all(one.holder in holders for one in self._shards.values() if one.started is not None):
            holders = frozenset({seen.holder})
        self._failed[partition] = _Failure(why=why, pause_s=pause_s, again_at_s=again_at_s, holders=holders)

    def _take(self, partition: int, holder: str, living: Collection[str]) -> tuple[str, int] | None:
        """Return who has it now, and in which term; None while the present holder may still be alive.

        Whoever has it and lives opens it again, whatever was meant for it: nobody else can take it from him.
        """
        held = self._metadata.ownership(partition)
        taker = held.holder if held.holder in living else holder
        epoch = held.epoch + 1
        taken = self._metadata.take(partition, holder=taker, seen_epoch=held.epoch, epoch=epoch)
        return (taker, epoch) if taken else None

    # --- models ------------------------------------------------------------------------------------------------------

    async def _watch_models(self) -> None:
        """Apart from all else: a shard takes seconds to load a model, and may hang."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            await self._spread_model()

    async def _spread_model(self) -> None:
        now_s = asyncio.get_running_loop().time()
        others = [
            seen
            for seen in self._shards.values()
            if seen.started is not None and seen.is_able and seen.model != self._model and now_s >= seen.told_again_s
        ]
        await asyncio.gather(*(self._tell_model(seen, self._model) for seen in others))

    async def _tell_model(self, seen: _ShardSeen, model: ModelInForce) -> None:
        """Have a shard score by a model; one that cannot says so in every decision, and is told again later."""
        told, trouble = seen.started, ""
        seen.told_again_s = asyncio.get_running_loop().time() + MODEL_PAUSE_S
        try:
            await _within(MODEL_DEADLINE_S, seen.handle.use_model.remote(model))
        except Exception as wrong:
            trouble = f"{str(wrong).partition(chr(10))[0] or type(wrong).__name__}"
        if seen.started is not told:
            return
        if trouble and trouble != seen.model_trouble:
            logger.error("%s does not take model %s: %s", seen.name, model.version or "prior", trouble)
        seen.model_trouble, seen.is_able = trouble, True
        if not trouble:
            seen.model = model
        self._changed.set()


async def _ended(started: StartedShard) -> None:
    """Return once a process of this node has ended; never for one elsewhere."""
    if _is_here(started):
        await until_gone(started["process_id"], started["process_started_s"])
    else:
        await asyncio.Event().wait()


def _is_dead_here(lease: HolderLease) -> bool:
    is_here = lease.node == node_identity()
    return is_here and not lease.is_revoked and is_gone(lease.process_id, lease.process_started_s)


def _is_here(started: StartedShard) -> bool:
    return started["node"] == node_identity()


async def _within(deadline_s: float, call: Awaitable[Result]) -> Result:
    """Await a call to an actor, for so long at most: Ray itself notices a hung actor after minutes, if ever."""
    return await asyncio.wait_for(_awaited(call), deadline_s)


async def _awaited(call: Awaitable[Result]) -> Result:
    return await call
