"""A shard as an actor runs it: composed of its log, its models and the shard itself."""

import asyncio
from pathlib import Path
from typing import Any

from actors.scoring import ScoringConfig, connect
from actors.segments import SegmentSettings, SegmentStore
from actors.shard import Shard, ShardConfig
from cluster.logs import start_logging
from cluster.telemetry import TelemetrySettings, shard_telemetry
from household.scoring import Scorer


class ShardActor:
    """Methods for the coordinator; gateways' calls come over the shard's own server."""

    def __init__(
        self,
        config: ShardConfig,
        *,
        log_dir: str,
        segment_bytes: int,
        scoring: ScoringConfig,
        telemetry: TelemetrySettings | None = None,
    ) -> None:
        self._scoring = scoring
        self._watched = None
        if telemetry is not None:
            start_logging(telemetry.logs, config.name)
            self._watched = shard_telemetry(telemetry, config.name)
        store = SegmentStore(Path(log_dir), settings=SegmentSettings(segment_bytes=segment_bytes))
        self._shard = Shard(config, store, telemetry=self._watched.numbers if self._watched is not None else None)
        self._is_started = False
        self._address = config.address

    async def start(self) -> str:
        """Open the server; return its address. Called again, it only returns the address."""
        if not self._is_started:
            self._address = await self._shard.start()
            self._is_started = True
        return self._address

    async def assign(self, partition: int, *, plan_bytes: bytes, epoch: int) -> int:
        """Take a partition over; return the epoch of its term."""
        return await self._shard.assign(partition, plan_bytes=plan_bytes, epoch=epoch)

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
        if self._watched is not None:
            await asyncio.to_thread(self._watched.export.stop)
