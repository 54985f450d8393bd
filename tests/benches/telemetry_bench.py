"""What telemetry costs: Decide in a shard in this process, with telemetry off, with metrics, and with 1 % traced.

python -m tests.benches.telemetry_bench [--seconds 2] [--rounds 9] [--json]

The variants take turns within one run, so that what else the machine does meets all of them. Calls enter where the
exchange hands them over; the log's files are real, their syncs are not, and priors score: what is left is the shard's
own work, of which telemetry would be the largest share. "off again" is the same as "off": the noise of the method. CPU
time per call says more than the clock on a machine that is not idle. Metrics are exported between the turns, and one
export is timed by itself.
"""

import argparse
import asyncio
import gc
import json
import statistics
import tempfile
import threading
import time
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from actors.log.segments import SegmentStore
from actors.partition.caller import NOBODY_LEAVES
from actors.shard.config import ShardConfig
from actors.shard.shard import Shard
from actors.shard.warm import warm_kernels
from cluster.logs import LogSettings
from cluster.spans import Spans
from cluster.telemetry import WatchedShard
from cluster.watching import TelemetrySettings, shard_telemetry
from hearth.internal.v1 import shard_pb2
from hearth.v1 import decision_pb2
from serving.signal_batches import batch_from_signals
from tests.actors.harness import MONDAY, DiskFiles, SettableClock, corner, signal
from wire.batches import ipc_bytes

HOUSEHOLDS = 256
CLIENTS = 16
TRACE_SHARE = 0.01


class Collector(BaseHTTPRequestHandler):
    """Takes whatever is sent."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None: ...


@contextmanager
def collector():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


@dataclass
class Variant:
    """A shard, watched or not, and what was measured of it."""

    name: str
    shard: Shard
    watched: WatchedShard | None
    trace_share: float
    number: int = 0
    calls_per_s: list[float] = field(default_factory=list)
    cpu_us_per_call: list[float] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)

    async def ask(self, household: str, traceparent: str) -> None:
        self.number += 1
        request = decision_pb2.DecideRequest(request_id=f"{self.number}", household=household, channel="app")
        call = shard_pb2.DecideCall(request=request)
        await self.shard.call(shard_pb2.METHOD_DECIDE, 0, call.SerializeToString(), NOBODY_LEAVES, traceparent)

    async def measure(self, seconds: float) -> None:
        """Let clients ask one after another, each for its own households."""
        spans = Spans(self.watched.export) if self.watched is not None else None
        until = time.perf_counter() + seconds
        count = 0

        async def client(own: int) -> None:
            nonlocal count
            turn = own
            while (began := time.perf_counter()) < until:
                turn = (turn + CLIENTS) % HOUSEHOLDS
                traceparent = spans.draw(self.trace_share) if spans is not None else ""
                began = time.perf_counter()
                await self.ask(f"household-{turn}", traceparent)
                self.latencies_s.append(time.perf_counter() - began)
                count += 1

        started, cpu_started = time.perf_counter(), time.process_time()
        await asyncio.gather(*(client(own) for own in range(CLIENTS)))
        self.calls_per_s.append(count / (time.perf_counter() - started))
        self.cpu_us_per_call.append(1e6 * (time.process_time() - cpu_started) / count)

    def figures(self) -> dict[str, float]:
        latencies = sorted(self.latencies_s)
        percentiles = {f"p{rank}_ms": 1e3 * latencies[len(latencies) * rank // 100] for rank in (50, 99)}
        rates = {
            "calls_per_s": statistics.median(self.calls_per_s),
            "cpu_us_per_call": statistics.median(self.cpu_us_per_call),
        }
        return {**rates, **percentiles}

    def compared(self, off: "Variant") -> dict[str, float]:
        """Return the median over the rounds of this variant's figures by those of `off` in the same round."""

        def ratio(own: list[float], other: list[float]) -> float:
            return statistics.median(one / another for one, another in zip(own, other, strict=True))

        return {
            "calls_ratio": ratio(self.calls_per_s, off.calls_per_s),
            "cpu_ratio": ratio(self.cpu_us_per_call, off.cpu_us_per_call),
            "p99_ratio": self.figures()["p99_ms"] / off.figures()["p99_ms"],
        }

    def export_ms(self) -> float:
        """Return the CPU time of collecting and sending all numbers once."""
        assert self.watched is not None
        started = time.thread_time()
        self.watched.export._export()
        return 1e3 * (time.thread_time() - started)


async def variant(name: str, folder: Path, stack: AsyncExitStack, endpoint: str | None, share: float) -> Variant:
    settings = TelemetrySettings(
        endpoint=endpoint, trace_share=share, interval_s=3_600.0, logs=LogSettings(folder=folder, level="info")
    )
    watched = shard_telemetry(settings, name)
    shard = Shard(
        ShardConfig(name=name, address="unix:"),
        SegmentStore(folder / name, files=DiskFiles()),
        clock=SettableClock(),
        telemetry=watched.numbers if watched is not None else None,
    )
    await shard.assign(0, plan_bytes=corner().canonical_bytes, epoch=1)
    stack.push_async_callback(shard.drain)
    if watched is not None:
        stack.callback(watched.export.stop)
    visits = [signal(f"{number}", f"household-{number}", "visit", MONDAY) for number in range(HOUSEHOLDS)]
    batch = ipc_bytes(batch_from_signals(visits))
    await shard.call(shard_pb2.METHOD_INGEST, 0, batch, NOBODY_LEAVES, "")
    return Variant(name, shard, watched, share)


async def run(seconds: float, rounds: int) -> dict[str, dict[str, float]]:
    warm_kernels()
    with tempfile.TemporaryDirectory() as folder, collector() as endpoint:
        async with AsyncExitStack() as stack:
            wanted: dict[str, tuple[str | None, float]] = {
                "off": (None, 0.0),
                "off again": (None, 0.0),
                "metrics": (endpoint, 0.0),
                "metrics, 1 % traced": (endpoint, TRACE_SHARE),
            }
            variants = [await variant(name, Path(folder), stack, *how) for name, how in wanted.items()]
            for each in variants:
                await each.measure(min(1.0, seconds))
                each.calls_per_s.clear()
                each.cpu_us_per_call.clear()
                each.latencies_s.clear()
            gc.freeze()
            for turn in range(rounds):
                for each in variants if turn % 2 == 0 else reversed(variants):
                    await each.measure(seconds)
            results = {each.name: each.figures() | each.compared(variants[0]) for each in variants}
            results["one export of metrics"] = {"cpu_ms": statistics.median(variants[2].export_ms() for _ in range(9))}
            return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each variant per round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = asyncio.run(run(arguments.seconds, arguments.rounds))
    if arguments.json:
        print(json.dumps(results))
        return
    for name, figures in results.items():
        print(f"{name:<21} " + "  ".join(f"{key} {value:,.3f}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
