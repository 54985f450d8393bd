"""The coordinator: gives partitions to shards, watches them, and tells the edges who owns what.

Stateless: the truth is in the metadata store, and who is alive shows by asking. A plain class; launch.py makes it an
actor. Shards are actor handles; a call to one is `handle.method.remote(…)`, awaited with a deadline.

A partition is taken over in four steps: its holder is known to be without a lease (takeover.py); a new holder is chosen
and swapped in (placement.py); it opens its term in the log; it serves. From a living holder it moves by that holder's
own word (moves.py, balancer.py). Ray may run two shards of one name for a while: the leases and the log's epochs
decide, never Ray.
"""

import asyncio
import logging
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.balancer import Balancer
from cluster.logs import start_logging
from cluster.metadata import MetadataStore, MetadataUnavailable
from cluster.model_notes import ModelNotes
from cluster.model_spread import ModelSpread
from cluster.moves import Mover
from cluster.node import until_gone
from cluster.placement import Placement
from cluster.playbook_desk import PlaybookDesk
from cluster.playbook_spread import PlaybookSpread
from cluster.shard_seen import ShardSeen, StartedShard, awaited, is_here, within
from cluster.takeover import TakeOver
from cluster.watching import TelemetrySettings, coordinator_telemetry
from serving.models.in_force import PRIORS_IN_FORCE, ModelInForce
from wire.routes import Routes

if TYPE_CHECKING:
    from cluster.metrics import Points

logger = logging.getLogger(__name__)

WATCH_INTERVAL_S = 0.25
REPORT_DEADLINE_S = 5.0
START_DEADLINE_S = 120.0
RETIRE_DEADLINE_S = 30.0
RETRY_S = 0.2
"""Between two tries to reach a shard that Ray is making anew."""


class NotIntroduced(Exception):
    """A coordinator that was just made knows of no owners yet: whoever has routes keeps them."""


class Coordinator:
    """Keeps every partition owned by a live shard."""

    def __init__(
        self,
        *,
        metadata_url: str,
        partition_count: int,
        plan_bytes: bytes,
        data_dir: Path | None = None,
        lease_margin_ms: int,
        assign_deadline_s: float = 600.0,
        uneven_after_s: float = 0.0,
        telemetry: TelemetrySettings | None = None,
        end_actor: Callable[[Any], None] | None = None,
    ) -> None:
        """`data_dir`: where the playbook is kept, with what goes before `plan_bytes`. `uneven_after_s`: when partitions
        move by themselves, 0 for never. `end_actor`: kill a shard that hangs.
        """
        if telemetry is not None:
            start_logging(telemetry.logs, "coordinator")
        self._metadata = MetadataStore(metadata_url)
        self._partition_count = partition_count
        self._assign_deadline_s = assign_deadline_s
        self._shards: dict[str, ShardSeen] = {}
        self._lost: dict[int, str] = {}
        """Why an owner ended its term, the last time."""
        self._changed = asyncio.Event()
        self._spread = PlaybookSpread(self._shards, plan_bytes=plan_bytes, partition_count=partition_count)
        self._desk = PlaybookDesk(self._spread, data_dir=data_dir, model=lambda: self._models.model)
        self._mover = Mover(
            self._metadata,
            self._shards,
            plan_bytes=lambda: self._spread.plan_bytes,
            deadline_s=assign_deadline_s,
            changed=self._changed,
        )
        self._balancer = Balancer(
            self._metadata,
            self._shards,
            self._mover,
            partition_count=partition_count,
            uneven_after_s=uneven_after_s,
        )
        self._placement = Placement(
            self._metadata,
            self._shards,
            partition_count=partition_count,
            plan_bytes=lambda: self._spread.plan_bytes,
            deadline_s=assign_deadline_s,
            in_gap=lambda: self._mover.in_gap,
            may_take=self._balancer.may_take,
        )
        self._takeover = TakeOver(
            self._metadata,
            self._shards,
            lease_margin_ms=lease_margin_ms,
            changed=self._changed,
            end_actor=end_actor,
        )
        self._models = ModelSpread(self._shards, changed=self._changed)
        self._notes = ModelNotes()
        self._knows_its_shards = False
        self._page = coordinator_telemetry(telemetry, self._numbers) if telemetry is not None else None
        self._tasks: list[asyncio.Task[None]] = []
        self._watching: dict[str, asyncio.Task[None]] = {}
        """By the name of the shard that is watched."""

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
        self._models.model = model
        self._shards |= {name: ShardSeen(name, handle, is_spare=False) for name, handle in shards.items()}
        self._shards |= {name: ShardSeen(name, handle, is_spare=True) for name, handle in (spares or {}).items()}
        await self._balancer.load()
        await self._desk.load()
        running = await self._takeover.running_shards()
        # All at once: they are started and serve, and whoever asks for routes waits for this.
        known = [seen for seen in self._shards.values() if seen.name in running]
        await asyncio.gather(*(self._begin_quietly(seen, REPORT_DEADLINE_S) for seen in known))
        self._knows_its_shards = True
        if all(seen.started is None for seen in self._shards.values()):
            # Beside each other, on as many cores; which of them compiles the kernels they settle among themselves.
            homes = [seen for seen in self._shards.values() if not seen.is_spare]
            await asyncio.gather(*(self._begin_quietly(seen, self._assign_deadline_s) for seen in homes))
        # All of them, or the first that has the model would be given everything.
        await self._models.await_told()
        first = self._placement.assign_missing()
        # Beside the first assignments: one that takes long must not keep the others from being watched.
        for seen in self._shards.values():
            self._watch(seen)
        self._tasks += [asyncio.create_task(self._takeover.watch_leases()), asyncio.create_task(self._models.watch())]
        self._tasks += [asyncio.create_task(self._watch_partitions()), asyncio.create_task(self._balancer.run())]
        self._tasks.append(asyncio.create_task(self._desk.run()))
        await asyncio.gather(*first)

    async def add_spares(self, spares: dict[str, Any]) -> None:
        """Start shards that stand in for one that dies. Those that are known are left alone."""
        self._add(spares, is_spare=True)

    async def add_shards(self, shards: dict[str, Any]) -> None:
        """Start further shards to divide the partitions among. Those that are known are left alone."""
        self._add(shards, is_spare=False)

    def _add(self, shards: dict[str, Any], *, is_spare: bool) -> None:
        if not self._knows_its_shards:
            # It was made anew just now: whoever tells it of its shards tells it of these, too.
            return
        for name, handle in shards.items():
            if name not in self._shards:
                self._shards[name] = seen = ShardSeen(name, handle, is_spare=is_spare)
                self._watch(seen)

    def _watch(self, seen: ShardSeen) -> None:
        self._watching[seen.name] = asyncio.create_task(self._watch_shard(seen))

    async def retire(self, name: str) -> bool:
        """Let go of a shard that is too many, before it is ended; False if it is not, or not yet."""
        if name not in self._shards:
            return self._knows_its_shards
        if name not in self._balancer.retirable():
            return False
        seen = self._shards.pop(name)
        self._watching.pop(name).cancel()
        if seen.started is not None:
            try:
                await within(RETIRE_DEADLINE_S, seen.handle.drain.remote())
            except Exception as wrong:
                logger.warning("%s does not end in order: %s", name, str(wrong).partition("\n")[0])
        logger.info("%s is not wanted any more", name)
        return True

    async def place(self, verb: str, argument: str) -> dict[str, Any]:
        """Take what is asked of the placement; see Balancer.ask. Raises NotIntroduced: ask again in a moment."""
        if not self._knows_its_shards:
            raise NotIntroduced
        return await self._balancer.ask(verb, argument)

    async def playbook(self, verb: str, request: Mapping[str, Any], asker: Mapping[str, Any]) -> dict[str, Any]:
        """Take what is asked of the playbook; see PlaybookDesk.ask. Raises NotIntroduced: ask again in a moment."""
        if not self._knows_its_shards:
            raise NotIntroduced
        return await self._desk.ask(verb, request, asker)

    async def note_restart(self, told: dict[str, Any]) -> None:
        """Learn how far a rolling restart is, from the launcher, who does it."""
        self._balancer.restart = told

    async def note_slots(self, slots: dict[str, int]) -> None:
        """Learn how many shards each node of the cluster may run."""
        self._balancer.note_slots(slots)

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
        moving = self._mover.in_gap
        addresses = {partition: address for partition, (_, address) in owners.items() if partition not in moving}
        return Routes(
            partition_count=self._partition_count,
            owners=addresses,
            ready=len(addresses) + len(moving) == self._partition_count,
            moving=moving,
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
            "down": {
                partition: self._why_down(partition) for partition in self._down(partitions.keys() | self._mover.in_gap)
            },
            "model": self._models.model.bundle_path,
            "model_version": self._models.model.version,
            "model_trouble": {seen.name: seen.model_trouble for seen in self._shards.values() if seen.model_trouble},
            "shards": sorted(self._shards),
            "placement": self._balancer.report() if self._knows_its_shards else None,
            "metrics_address": self._page.address if self._page is not None else "",
        }

    async def take_numbers(self, process: str, points: "dict[str, Points]") -> None:
        """Show on the page for Prometheus what an edge or a shard counts."""
        if self._page is not None:
            self._page.take(process, points)

    def _numbers(self) -> "dict[str, Points]":
        """Return what is counted here, by name; asked from other threads."""
        shards = tuple(self._shards.values())
        served = {partition for seen in shards for partition in tuple(seen.partitions)} | self._mover.in_gap
        plain = {
            "hearth.partitions": self._partition_count,
            "hearth.partitions.down": len(self._down(served)),
            "hearth.shards.missing": sum(seen.started is None for seen in shards),
            "hearth.shards.without_model": sum(bool(seen.model_trouble) for seen in shards),
        }
        numbers: dict[str, Points] = {name: [({}, value)] for name, value in plain.items()}
        return numbers | self._notes.points(self._models.model)

    def _down(self, served: Collection[int]) -> list[int]:
        # Right after a coordinator was made anew it knows of no shard, and so of nothing that is wrong.
        return [partition for partition in range(self._partition_count) if self._shards and partition not in served]

    def _why_down(self, partition: int) -> str:
        if partition in self._placement.failed:
            return self._placement.failed[partition].why
        if partition in self._lost:
            return f"its owner gave it up ({self._lost[partition]}), and it is given to another"
        return "it is given to a shard"

    async def use_model(self, model: ModelInForce) -> None:
        """Score by another model from the next decision on."""
        await self._models.use(model)

    async def stop(self) -> None:
        """Drain every shard: what waits is finished, each log is closed and each lease given back."""
        tasks = (
            *self._tasks,
            *self._watching.values(),
            *self._placement.tasks,
            *self._models.telling,
            *self._takeover.ending.values(),
        )
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # One that is not there owns nothing, and may wait for its place in Ray for ever.
        drains = [seen.handle.drain.remote() for seen in self._shards.values() if seen.started is not None]
        await asyncio.gather(*drains, return_exceptions=True)
        await asyncio.to_thread(self._metadata.close)

    # --- shards ------------------------------------------------------------------------------------------------------

    async def _watch_shard(self, seen: ShardSeen) -> None:
        """From its start to its end, over and over; Ray makes it anew each time."""
        while True:
            try:
                if seen.started is None:
                    await self._begin(seen, START_DEADLINE_S)
                await self._accompany(seen)
            except Exception as wrong:
                logger.warning("%s is gone: %s", seen.name, str(wrong).partition("\n")[0])
            try:
                await self._takeover.bury(seen)
            except MetadataUnavailable as wrong:
                # Its renewals have come to an end, which the lease watch will see.
                logger.warning("the lease of %s is not revoked yet: %s", seen.name, wrong)
            self._changed.set()
            await asyncio.sleep(RETRY_S)

    async def _begin_quietly(self, seen: ShardSeen, deadline_s: float) -> None:
        try:
            await self._begin(seen, deadline_s)
        except Exception as wrong:
            # It is tried again from now on, like any that goes later.
            logger.error("%s does not start: %s", seen.name, str(wrong) or type(wrong).__name__)
        await self._look_at(seen)

    async def _begin(self, seen: ShardSeen, deadline_s: float) -> None:
        started: StartedShard = await within(deadline_s, seen.handle.start.remote())
        seen.started = started
        self._models.begin(seen)
        logger.info("%s serves at %s as %s", seen.name, started["address"], started["holder"])
        before, seen.before = seen.before, None
        if before is not None and before["holder"] != started["holder"]:
            await self._takeover.end_old(before)
        self._changed.set()

    async def _accompany(self, seen: ShardSeen) -> None:
        """Ask it how it is; return or raise once its process is gone.

        Of a process on this node the kernel tells at once. Of others Ray does, by failing a call that never ends, which
        it looks at every two seconds.
        """
        assert seen.started is not None, f"{seen.name} is not started"
        ends = {
            asyncio.ensure_future(awaited(seen.handle.until_gone.remote())),
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

    async def _look_at_times(self, seen: ShardSeen) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            await self._look_at(seen)

    async def _look_at(self, seen: ShardSeen) -> None:
        """Bring up to date what a started shard serves. One that is merely silent is left to its lease."""
        asked = seen.started
        if asked is None:
            return
        try:
            facts = await within(REPORT_DEADLINE_S, seen.handle.report.remote())
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
                self._placement.assign_missing()
            except Exception:
                logger.exception("watching the partitions failed; trying again")


async def _ended(started: StartedShard) -> None:
    """Return once a process of this node has ended; never for one elsewhere."""
    if is_here(started):
        await until_gone(started["process_id"], started["process_started_s"])
    else:
        await asyncio.Event().wait()
