"""A shard as an actor runs it: composed of its log, its models and the shard itself."""

import asyncio
import logging
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.clock import WallClock
from actors.failpoints import Failpoint, reached
from actors.log.contract import LogStore
from actors.log.location import LogLocation, log_store
from actors.partition.lineup import Canary, Lineup, Shadow, TermLineup
from actors.partition.model_plane import MissingModel, connect
from actors.partition.scoring import ServeScorer
from actors.partition.scoring_settings import ScoringConfig
from actors.passing_over import passing_over
from actors.shard.config import ShardConfig
from actors.shard.shard import Shard
from actors.snapshots.store import snapshot_store
from cluster.environment import environment_variable, fresh_token
from cluster.forwarding import Forwarding
from cluster.leases import LeaseHolder, LeaseSettings
from cluster.logs import start_logging
from cluster.metadata import MetadataStore, MetadataUnavailable
from cluster.metadata_tables import NOBODY
from cluster.node import node_identity, node_name, process_started_s
from cluster.shard_seen import HandedOver, NotHandedOver, StartedShard
from cluster.watching import TelemetrySettings, shard_telemetry
from household.scoring import Scorer
from serving.models.in_force import PRIORS_IN_FORCE, ModelInForce, ModelStage

if TYPE_CHECKING:
    from serving.models.scorer import LocalScorer

logger = logging.getLogger(__name__)

REVOKED_EXIT_CODE = 75
"""Of a shard process that found its lease revoked: another owns its partitions, and Ray makes the shard anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Where a shard keeps things."""

    log: LogLocation
    segment_bytes: int
    snapshots: str
    """A folder, or the URI of a pyarrow filesystem."""
    metadata_url: str
    clock_jump_us_max: int
    partition_count: int | None = None
    """What a log on Kafka is created with; none leaves that to its URL."""


def open_logs(stores: Stores) -> LogStore:
    """Return the logs, embedded or on Kafka."""
    return log_store(stores.log, segment_bytes=stores.segment_bytes, partition_count=stores.partition_count)


def open_reject_logs(stores: Stores) -> LogStore:
    """Return the reject logs: beside the log, in segment files small enough that old ones can go one by one."""
    segment_bytes = min(stores.segment_bytes, 16 << 20)
    return open_logs(replace(stores, log=stores.log.rejects, segment_bytes=segment_bytes))


def _own_address(address: str) -> str:
    """Return where to listen on this node, which may have an address of its own."""
    host = environment_variable("HEARTH_SHARD_HOST")
    if host is None or address.startswith("unix:"):
        return address
    return f"{f'[{host}]' if ':' in host else host}:{address.rpartition(':')[2]}"


class ShardActor:
    """Methods for the coordinator; gateways' calls come over the shard's own server."""

    def __init__(
        self,
        config: ShardConfig,
        *,
        stores: Stores,
        lease: LeaseSettings,
        scoring: ScoringConfig,
        telemetry: TelemetrySettings | None = None,
    ) -> None:
        self._scoring = scoring
        self._model: ModelInForce | None = PRIORS_IN_FORCE
        self._locals: dict[str, LocalScorer] = {}
        """By version: those that score, in this process."""
        self._served: dict[str, ServeScorer] = {}
        """By version: those that Serve runs, connected and warm. One that leaves Serve is connected to anew."""
        self._changing_model = asyncio.Lock()
        self._watched = None
        self._metadata = MetadataStore(stores.metadata_url, call_deadline_s=lease.call_deadline_ms / 1_000)
        self._lease = LeaseHolder(
            self._metadata,
            holder=f"{config.name}/{fresh_token()[:12]}",
            node=node_identity(),
            process_id=os.getpid(),
            process_started_s=process_started_s(),
            # Nothing may be finished, flushed or answered any more: end where we stand.
            on_revoked=lambda: os._exit(REVOKED_EXIT_CODE),
            settings=lease,
        )
        if telemetry is not None:
            start_logging(telemetry.logs, config.name)
            self._watched = shard_telemetry(telemetry, config.name)
        self._forwarding = Forwarding(config.installation)
        self._shard = Shard(
            replace(config, address=_own_address(config.address)),
            open_logs(stores),
            clock=WallClock(jump_us_max=stores.clock_jump_us_max),
            lease=self._lease,
            snapshots=snapshot_store(stores.snapshots),
            rejects=open_reject_logs(stores),
            telemetry=self._watched.numbers if self._watched is not None else None,
            forward=self._forwarding.call,
        )
        self._starting = asyncio.Lock()
        self._address: str | None = None
        self._started: StartedShard | None = None

    async def start(self) -> StartedShard:
        """Open the server, get the lease; return how to reach it and who it is. Called again, it only returns that."""
        async with self._starting:
            if self._address is None:
                self._address = await self._shard.start()
            if self._started is None:
                # The store may be away: this is called again then.
                await asyncio.to_thread(self._lease.start, self._address)
                self._started = StartedShard(
                    address=self._address,
                    holder=self._lease.holder,
                    node=node_identity(),
                    process_id=os.getpid(),
                    process_started_s=process_started_s(),
                    host=node_name(),
                )
            return self._started

    async def until_gone(self) -> None:
        """Never return: whoever waits learns at once when this process ends."""
        await asyncio.Event().wait()

    async def assign(self, partition: int, *, plan_bytes: bytes, epoch: int, ends_at: int | None = None) -> int:
        """Take a partition over; return the epoch of its term. One that cannot be opened here is free for others.

        `ends_at`: where its log ends, if its owner before has handed it over.
        """

        async def check() -> None:
            await asyncio.to_thread(self._check_owner, partition)

        try:
            return await self._shard.assign(partition, plan_bytes=plan_bytes, epoch=epoch, ends_at=ends_at, check=check)
        except Exception:
            await asyncio.to_thread(self._give_up, partition, epoch)
            raise

    async def prepare(self, partition: int) -> int:
        """Come close behind the owner of a partition, to own it next; return how many records that took."""
        return await self._shard.prepare(partition)

    async def forget(self, partition: int) -> None:
        """It is not to be owned next."""
        await self._shard.forget(partition)

    async def hand_over(self, partition: int, *, to: str) -> HandedOver:
        """Let go of a partition and make another shard its owner.

        Raises:
            NotHandedOver: another owns it by now, or the one that was to may own nothing.
            PartitionLost, MetadataUnavailable: the ownership row says whose it is.
        """
        # Before it lets go: should it be given anew what it is about to let go of, passing on fails.
        seen_epoch = (await asyncio.to_thread(self._metadata.ownership, partition)).epoch

        async def pass_on(epoch: int) -> int:
            # The log may have seen a later term than the metadata.
            next_epoch = max(seen_epoch, epoch) + 1
            change = partial(self._metadata.pass_on, partition, holder=self._lease.holder, epoch=seen_epoch)
            if not await asyncio.to_thread(change, to=to, next_epoch=next_epoch):
                raise NotHandedOver(f"partition {partition} is not passed on to {to}")
            return next_epoch

        ends_at, epoch = await self._shard.hand_over(partition, pass_on)
        reached(Failpoint.MOVE_PASSED_ON)
        return HandedOver(epoch=epoch, ends_at=ends_at)

    def _check_owner(self, partition: int) -> None:
        """Raise if it is another's: it was handed over since it was given to this one."""
        with passing_over(MetadataUnavailable, because="the lease says whether anything may be written"):
            held = self._metadata.ownership(partition)
            if held.holder not in (NOBODY, self._lease.holder):
                raise NotHandedOver(f"partition {partition} is {held.holder}'s")

    def _give_up(self, partition: int, epoch: int) -> None:
        try:
            self._metadata.give_up(partition, holder=self._lease.holder, epoch=epoch)
        except MetadataUnavailable as away:
            logger.warning("partition %d is not given up: %s", partition, away)

    async def ready_plan(self, plan_bytes: bytes) -> str:
        """Read and lay out a plan that is to come into force; return its version."""
        return await self._shard.ready_plan(plan_bytes)

    async def use_plan(self, partition: int, plan_bytes: bytes, number: int) -> bool:
        """Put a plan into force on a partition; return whether that changed anything. Raises as Shard.use_plan does."""
        return await self._shard.use_plan(partition, plan_bytes, number)

    async def instances(self) -> dict[tuple[str, str], int]:
        """Return how many instances of journeys live here: (journey, state) → count."""
        return await self._shard.instances()

    async def report(self) -> dict[int, dict[str, Any]]:
        """Return what is known of each partition."""
        return {partition: dict(facts) for partition, facts in self._shard.report().items()}

    async def use_model(self, model: ModelInForce) -> None:
        """Score by this model, and what is beside it, from the next decision on. Told again of what it has: nothing.

        Raises:
            BundleRefused: one of them cannot be served; what scored before goes on. Of another term than acceptance,
                all else is in force, and decisions say that this term is missing.
        """
        async with self._changing_model:
            if model == self._model:
                return
            # It serves nothing yet: should it have to without the model, its decisions say so.
            is_first = not self._shard.report()
            if is_first and model.version:
                await self._miss(f"model {model.version} is not loaded yet")
            left_out: list[Exception] = []
            try:
                await self._shard.use_lineup(lambda: self._lineup_of(model, left_out))
            except Exception as wrong:
                if is_first:
                    await self._miss(f"model {model.version} is not loaded: {wrong}")
                raise
            self._model = None if left_out else model
            if left_out:
                # What has come into force stays; told of it again, what was left out is tried again.
                raise left_out[0]

    async def _miss(self, why: str) -> None:
        async def make() -> Lineup:
            return Lineup(champion=MissingModel(why))

        await self._shard.use_lineup(make)

    async def _lineup_of(self, model: ModelInForce, left_out: list[Exception]) -> Lineup:
        """Return all that scores, loaded and warm; versions that scored before are taken over as they are.

        What cannot be loaded of another term than acceptance is added to `left_out`.
        """
        from serving.models.bundle import BundleRefused

        locals_, served = self._locals, self._served
        self._locals, self._served = {}, {}
        try:
            lineup = await self._versions_of(model, locals_, served)
            terms = []
            for one in model.terms:
                try:
                    versions = await self._versions_of(one, locals_, served)
                except (BundleRefused, OSError, ValueError, RuntimeError) as wrong:
                    left_out.append(wrong)
                    versions = Lineup(champion=MissingModel(f"model {one.served_as} is not loaded: {wrong}"))
                terms.append(TermLineup(term=one.term, name=one.name, lineup=versions))
        except BaseException:
            # What scored before goes on, and is kept for the next change.
            self._locals, self._served = locals_, served
            raise
        return replace(lineup, terms=tuple(terms))

    async def _versions_of(
        self, model: ModelInForce, locals_: dict[str, "LocalScorer"], served: dict[str, ServeScorer]
    ) -> Lineup:
        """Return the versions of one model that score."""
        champion = await self._champion_of(model, locals_, served)
        canary, shadows = None, []
        for one in model.beside:
            version = one.model.version
            if one.stage is ModelStage.CANARY:
                scorer = await self._scorer_of(one.model, locals_, served)
                canary = Canary(version=version, share=one.share, scorer=scorer)
            else:
                shadows.append(Shadow(version=version, scorer=await self._local_of(one.model, locals_)))
        return Lineup(champion=champion, canary=canary, shadows=tuple(shadows), schema_hash=model.feature_schema_hash)

    async def _champion_of(
        self, model: ModelInForce, locals_: dict[str, "LocalScorer"], served: dict[str, ServeScorer]
    ) -> Scorer | None:
        if not model.version:
            return MissingModel(model.missing) if model.missing else None
        return await self._scorer_of(model, locals_, served)

    async def _local_of(self, model: ModelInForce, locals_: dict[str, "LocalScorer"]) -> "LocalScorer":
        from serving.models.scorer import local_scorer

        local = locals_.get(model.served_as)
        if local is None:
            local = await asyncio.to_thread(
                local_scorer,
                Path(model.bundle_path),
                feature_schema_hash=model.feature_schema_hash,
                columns=model.columns,
                proven_sha256=model.sha256,
                term=model.term.value,
            )
        self._locals[model.served_as] = local
        return local

    async def _scorer_of(
        self, model: ModelInForce, locals_: dict[str, "LocalScorer"], served: dict[str, ServeScorer]
    ) -> Scorer:
        from serving.models.bundle import read_manifest
        from serving.models.probe import RANGES

        local = await self._local_of(model, locals_)
        if not model.app_name:
            return local
        scorer = served.get(model.served_as)
        if scorer is None:
            scorer = await connect(
                model.app_name,
                model_version=model.version,
                feature_schema_hash=model.feature_schema_hash,
                column_count=len(model.columns),
                local=local,
                config=self._scoring,
                rows=read_manifest(Path(model.bundle_path)).golden_rows,
                bounds=RANGES[model.term.value],
            )
            if self._watched is not None:
                self._watched.numbers.scoring.append(scorer.counters)
        self._served[model.served_as] = scorer
        return scorer

    async def drain(self) -> None:
        """Finish what waits and close the logs."""
        await self._shard.drain()
        await self._forwarding.close()
        await asyncio.to_thread(self._lease.stop)
        await asyncio.to_thread(self._metadata.close)
        if self._watched is not None:
            await asyncio.to_thread(self._watched.export.stop)
