"""A Hearth of one edge and one shard whose numbers are shown as the coordinator shows them, and that can be hurt."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio

from actors.log.segments import SegmentStore
from actors.partition.caller import Caller
from actors.partition.lineup import Lineup
from actors.partition.telemetry import ShardTelemetry
from actors.rejects.settings import RejectSettings
from actors.shard.config import ShardConfig
from actors.shard.shard import Shard
from actors.snapshots.store import snapshot_store
from cluster.exposition import Exposition
from cluster.metrics import Points, shard_points
from cluster.spans import Spans
from cluster.telemetry import EdgeTelemetry, Telemetry
from hearth.internal.v1 import shard_pb2
from hearth.v1 import decision_pb2, decision_pb2_grpc, delivery_pb2_grpc, signal_pb2, signal_pb2_grpc
from serving.edge import PublicServices
from serving.router import Router
from tests.actors.harness import (
    MONDAY,
    DiskFiles,
    ScriptedScorer,
    SettableClock,
    SettableLease,
    corner,
    signal,
)
from tests.actors.test_rejects import FullDisk
from tests.deploy.alerting import Page, page_of
from wire.routes import Routes

HOMES = [f"home-{number}" for number in range(4)]
COORDINATOR_WELL = {
    "hearth.partitions": 1,
    "hearth.partitions.down": 0,
    "hearth.shards.missing": 0,
    "hearth.shards.without_model": 0,
}


class Watched:
    """What a test hurts, and what is shown of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock, self.lease, self.scorer = SettableClock(), SettableLease(), ScriptedScorer()
        self.disk, self.reject_disk = DiskFiles(), FullDisk()
        self.monotonic_s = 0.0
        self.own: dict[str, Points] = {name: [({}, value)] for name, value in COORDINATOR_WELL.items()}
        self.kept = ShardTelemetry()
        export = Telemetry("hearth-edge", "edge-1", spans=None, metrics=None, interval_s=3_600.0)
        self.edge = EdgeTelemetry(Spans(export), trace_share=0.0)
        self.shown = Exposition(lambda: self.own, monotonic_s=lambda: self.monotonic_s)
        self.is_telling = True
        self.owned = True
        self._asked = 0
        rejects = SegmentStore(folder / "rejects", files=self.reject_disk)
        self.shard = Shard(
            ShardConfig(
                name="shard-0",
                address=f"unix:{folder}/shard.sock",
                rejects=RejectSettings(gather_s=0.0, retry_s=0.01, waiting_rows_max=8),
            ),
            SegmentStore(folder / "log", files=self.disk),
            clock=self.clock,
            lease=self.lease,
            snapshots=snapshot_store(str(folder / "snapshots")),
            rejects=rejects,
            telemetry=self.kept,
        )
        self.signals: Any = None
        self.decisions: Any = None
        self.delivery: Any = None
        self.channel: Any = None

    @property
    def owner(self) -> Any:
        return self.shard._owned[0].owner

    async def ingest(self, kind: str = "visit", *, age_us: int = 0, fields: Any = None, home: str = HOMES[0]) -> None:
        self._asked += 1
        one = signal(f"e-{self._asked}", home, kind, self.clock.at_us - age_us, member="M", fields=fields)
        await self.signals.Ingest(signal_pb2.IngestRequest(signals=[one]))

    async def decide(self, home: str = HOMES[0]) -> None:
        self._asked += 1
        request = decision_pb2.DecideRequest(request_id=f"r-{self._asked}", household=home, channel="app")
        await self.decisions.Decide(request, timeout=10)

    async def snapshot(self) -> None:
        await self.shard.call(shard_pb2.METHOD_SNAPSHOT, 0, b"", Caller(None), "")

    async def go_on(self) -> None:
        """What happens when all is well."""
        for number in range(20):
            await self.ingest(home=HOMES[number % 4])
        await self.decide()
        await self.snapshot()

    def page(self) -> Page:
        if self.is_telling:
            self.shown.take("shard-0", shard_points(self.kept))
        self.shown.take("edge-1", self.edge.points())
        return page_of(list(self.shown.collect()))


@asynccontextmanager
async def watched() -> AsyncIterator[Watched]:
    """Run one, with a client."""
    with tempfile.TemporaryDirectory(prefix="hearth") as folder:
        it = Watched(Path(folder))

        async def lineup() -> Lineup:
            return Lineup(champion=it.scorer)

        async def routes() -> Routes:
            return Routes(partition_count=1, owners={0: f"unix:{folder}/shard.sock"} if it.owned else {}, ready=True)

        async def readiness() -> bool:
            return True

        await it.shard.start()
        router = Router(routes)
        server = grpc.aio.server()
        try:
            await it.shard.assign(0, plan_bytes=corner().canonical_bytes, epoch=1)
            await it.shard.use_lineup(lineup)
            PublicServices(router, 1, readiness, observer=it.edge).add_to(server)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                it.signals = signal_pb2_grpc.SignalServiceStub(channel)
                it.decisions = decision_pb2_grpc.DecisionServiceStub(channel)
                it.delivery = delivery_pb2_grpc.DeliveryServiceStub(channel)
                it.channel = channel
                yield it
        finally:
            await server.stop(None)
            await router.close()
            await it.shard.drain()


__all__ = ["HOMES", "MONDAY", "Watched", "watched"]
