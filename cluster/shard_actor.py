"""A shard as an actor runs it: composed of its log, its models and the shard itself."""

import asyncio
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actors.clock import WallClock
from actors.log import LogStore
from actors.reject_entries import reject_location
from actors.scoring import ScoringConfig, connect
from actors.segments import SegmentSettings, SegmentStore
from actors.shard import Shard, ShardConfig
from actors.snapshot import snapshot_store
from cluster.coordinator import StartedShard
from cluster.environment import environment_variable, fresh_token
from cluster.leases import LeaseHolder, LeaseSettings
from cluster.logs import start_logging
from cluster.metadata import MetadataStore, MetadataUnavailable
from cluster.node import node_identity, process_started_s
from cluster.watching import TelemetrySettings, shard_telemetry
from household.scoring import Scorer

logger = logging.getLogger(__name__)

REVOKED_EXIT_CODE = 75
"""Of a shard process that found its lease revoked: another owns its partitions, and Ray makes the shard anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Where a shard keeps things."""

    log: str
    """A folder for the embedded log, or kafka://host:port/prefix."""
    segment_bytes: int
    snapshots: str
    """A folder, or the URI of a pyarrow filesystem."""
    metadata_url: str
    clock_jump_us_max: int
    partition_count: int | None = None
    """What a log on Kafka is created with; none leaves that to its URL."""


def open_logs(stores: Stores) -> LogStore:
    """Return the logs, embedded or on Kafka."""
    if stores.log.startswith("kafka://"):
        from actors.kafka import kafka_store

        return kafka_store(stores.log, partition_count=stores.partition_count)
    return SegmentStore(Path(stores.log), settings=SegmentSettings(segment_bytes=stores.segment_bytes))


def open_reject_logs(stores: Stores) -> LogStore:
    """Return the reject logs: beside the log, in segment files small enough that old ones can go one by one."""
    segment_bytes = min(stores.segment_bytes, 16 << 20)
    return open_logs(replace(stores, log=reject_location(stores.log), segment_bytes=segment_bytes))


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
        self._shard = Shard(
            replace(config, address=_own_address(config.address)),
            open_logs(stores),
            clock=WallClock(jump_us_max=stores.clock_jump_us_max),
            lease=self._lease,
            snapshots=snapshot_store(stores.snapshots),
            rejects=open_reject_logs(stores),
            telemetry=self._watched.numbers if self._watched is not None else None,
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
                )
            return self._started

    async def until_gone(self) -> None:
        """Never return: whoever waits learns at once when this process ends."""
        await asyncio.Event().wait()

    async def assign(self, partition: int, *, plan_bytes: bytes, epoch: int) -> int:
        """Take a partition over; return the epoch of its term. One that cannot be opened here is free for others."""
        try:
            return await self._shard.assign(partition, plan_bytes=plan_bytes, epoch=epoch)
        except Exception:
            await asyncio.to_thread(self._give_up, partition, epoch)
            raise

    def _give_up(self, partition: int, epoch: int) -> None:
        try:
            self._metadata.give_up(partition, holder=self._lease.holder, epoch=epoch)
        except MetadataUnavailable as away:
            logger.warning("partition %d is not given up: %s", partition, away)

    async def report(self) -> dict[int, dict[str, Any]]:
        """Return what is known of each partition."""
        return {partition: dict(facts) for partition, facts in self._shard.report().items()}

    async def use_model(self, bundle_path: str, app_name: str) -> None:
        """Score by this model version from the next decision on; by priors for empty arguments."""

        async def make() -> Scorer | None:
            if not bundle_path:
                return None
            from serving.bundle import read_manifest
            from serving.scorer import local_scorer

            manifest = read_manifest(Path(bundle_path))
            schema_hash = manifest.feature_schema_hash
            local = await asyncio.to_thread(local_scorer, Path(bundle_path), feature_schema_hash=schema_hash)
            scorer = await connect(
                app_name,
                model_version=manifest.version,
                feature_schema_hash=schema_hash,
                column_count=len(manifest.columns),
                local=local,
                config=self._scoring,
            )
            if self._watched is not None:
                self._watched.numbers.scoring.append(scorer.counters)
            return scorer

        await self._shard.use_scorer(make)

    async def drain(self) -> None:
        """Finish what waits and close the logs."""
        await self._shard.drain()
        await asyncio.to_thread(self._lease.stop)
        await asyncio.to_thread(self._metadata.close)
        if self._watched is not None:
            await asyncio.to_thread(self._watched.export.stop)
