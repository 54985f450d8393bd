"""A real edge and a real shard behind one loopback port, in a thread of this process: no Ray, real segment files."""

import asyncio
import contextlib
import gc
import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from actors.log.segments import SegmentStore
from actors.partition.telemetry import ShardTelemetry
from actors.rejects.settings import RejectSettings
from actors.shard.config import ShardConfig
from actors.shard.shard import Shard
from actors.snapshots.store import snapshot_store
from cluster.data_dir import LAYOUT_NAME, LAYOUT_VERSION
from household.plan import Plan
from serving import edge
from serving.accepting import AcceptingServer
from serving.boundary import RequestObserver
from serving.edge import PublicServices
from serving.router import Router
from tests.actors.harness import SettableClock
from wire.routes import Routes


@dataclass
class RealHearth:
    """One that answers at `address`; its plan and its clock are the test's."""

    address: str
    clock: SettableClock
    shard: Shard
    loop: asyncio.AbstractEventLoop

    def report(self) -> dict[int, dict[str, int | str | bool]]:
        return self.shard.report()

    def settle(self) -> None:
        """Wait until every reject is written."""
        for owned in self.shard._owned.values():
            assert owned.owner.rejects is not None
            assert owned.owner.rejects.settle(20.0)


@contextmanager
def running(
    data_dir: Path,
    plan: Plan,
    *,
    clock: SettableClock,
    partitions: int = 2,
    telemetry: ShardTelemetry | None = None,
    observer: RequestObserver | None = None,
) -> Iterator[RealHearth]:
    """Run it on a data directory until the end of the block."""
    data_dir.mkdir(exist_ok=True)
    layout = {"layout": LAYOUT_VERSION, "partition_count": partitions, "born": "2026-01-01T00:00:00+00:00"}
    (data_dir / LAYOUT_NAME).write_text(json.dumps(layout))
    sockets = Path(tempfile.mkdtemp(prefix="hearth-"))
    ready: threading.Event = threading.Event()
    found: list[RealHearth] = []
    failed: list[BaseException] = []
    stop = asyncio.Event()

    async def serve() -> None:
        config = ShardConfig(
            name="shard-0", address=f"unix:{sockets}/shard", rejects=RejectSettings(gather_s=0.0, retry_s=0.05)
        )
        logs, rejects = SegmentStore(data_dir / "log"), SegmentStore(data_dir / "rejects")
        snapshots = snapshot_store(str(data_dir / "snapshots"))
        shard = Shard(config, logs, clock=clock, snapshots=snapshots, rejects=rejects, telemetry=telemetry)
        address = await shard.start()
        for partition in range(partitions):
            await shard.assign(partition, plan_bytes=plan.canonical_bytes, epoch=1)

        async def routes() -> Routes:
            return Routes(partition_count=partitions, owners=dict.fromkeys(range(partitions), address), ready=True)

        async def readiness() -> bool:
            return True

        router = Router(routes)
        server = AcceptingServer(edge.SERVER_OPTIONS)
        PublicServices(router, partitions, readiness, observer=observer).add_to(server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        found.append(RealHearth(f"127.0.0.1:{port}", clock, shard, asyncio.get_running_loop()))
        ready.set()
        await stop.wait()
        await server.stop(None)
        await router.close()
        await shard.drain()

    def work() -> None:
        try:
            asyncio.run(serve())
        except BaseException as wrong:  # noqa: BLE001 - it is raised in the test
            failed.append(wrong)
        finally:
            ready.set()

    interval_s = sys.getswitchinterval()
    thread = threading.Thread(target=work, name="real-hearth")
    thread.start()
    try:
        ready.wait()
        if failed:
            raise failed[0]
        yield found[0]
    finally:
        with contextlib.suppress(IndexError, RuntimeError):
            found[0].loop.call_soon_threadsafe(stop.set)
        thread.join()
        # The shard has set both for a process of its own.
        sys.setswitchinterval(interval_s)
        gc.unfreeze()
        shutil.rmtree(sockets, ignore_errors=True)
    if failed:
        raise failed[0]
