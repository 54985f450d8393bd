"""What overload does: how much is still answered in time at 1 x, 2 x and 5 x of the most that is served.

python -m tests.benches.overload_bench [--seconds 3] [--signals both] [--target host:port] [--json]

Without a target: a real edge and two real shards with the telco playbook, each a process of its own, without Ray. The
load generator takes part of the same processors, and so do refusals: what one costs bare grpc.aio is told, too.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import psutil
import uvloop
from google.rpc import error_details_pb2, status_pb2

from actors.log.segments import SegmentStore
from actors.shard.shard import Shard, ShardConfig
from hearth.v1 import decision_pb2, signal_pb2, signal_pb2_grpc
from loadtest.bench import counted_event
from loadtest.shipped import SHIPPED_PLAYBOOK
from playbooks.compiler import compile_playbook
from serving import edge
from serving.accepting import AcceptingServer
from serving.edge import PublicServices
from serving.shard_client import Router
from serving.status import set_status
from tests.benches.wire_client import OK, WireChannel
from wire.failures import CODES, CallFailed, Failure, status_of
from wire.routes import Routes

PARTITION_COUNT = 8
SHARD_COUNT = 2
HOUSEHOLD_COUNT = 2_000
TIMES = (1, 2, 5)
IN_FLIGHT = (300, 600, 1_000)
CALM = 0.5
DECIDE = "/hearth.v1.DecisionService/Decide"
ANSWERING, REFUSING = "/bare/Answer", "/bare/Refuse"
DEADLINE_S = 1.0
"""Of a Decide: what is answered later is answered for nobody."""


# --- the parts, each in a process of its own -------------------------------------------------------------------------


async def serve_bare(port: int) -> None:
    server = grpc.aio.server()
    refusal = CallFailed(status_of(Failure.OVERLOADED, "refused")).status

    async def answer(_message: bytes, _context: Any) -> bytes:
        return b""

    async def refuse(_messages: object, context: Any) -> None:
        set_status(context, refusal)

    handlers = {
        "Answer": grpc.unary_unary_rpc_method_handler(answer),
        "Refuse": grpc.stream_stream_rpc_method_handler(refuse),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("listening", flush=True)
    await server.wait_for_termination()


async def serve_shard(folder: Path, index: int) -> None:
    plan = compile_playbook(SHIPPED_PLAYBOOK)
    shard = Shard(ShardConfig(name=f"shard-{index}", address=shard_address(folder, index)), SegmentStore(folder))
    await shard.start()
    for partition in range(index, PARTITION_COUNT, SHARD_COUNT):
        await shard.assign(partition, plan_bytes=plan.canonical_bytes, epoch=1)
    print("listening", flush=True)
    await asyncio.Event().wait()


async def serve_edge(folder: Path, port: int) -> None:
    sys.setswitchinterval(0.0005)  # as an edge replica does
    owners = {partition: shard_address(folder, partition % SHARD_COUNT) for partition in range(PARTITION_COUNT)}

    async def routes() -> Routes:
        return Routes(partition_count=PARTITION_COUNT, owners=owners, ready=True)

    async def is_ready() -> bool:
        return True

    router = Router(routes)
    await router.refresh()
    server = (
        AcceptingServer((*edge.SERVER_OPTIONS, ("grpc.so_reuseport", 1)))
        if not os.environ.get("PLAIN")
        else grpc.aio.server(options=(*edge.SERVER_OPTIONS, ("grpc.so_reuseport", 1)))
    )
    PublicServices(router, PARTITION_COUNT, is_ready).add_to(server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("listening", flush=True)
    await server.wait_for_termination()


def shard_address(folder: Path, index: int) -> str:
    return f"unix:{folder}/shard-{index}.sock"


@contextmanager
def part(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a part of the bench as a process until the end of the block."""
    command = [sys.executable, "-m", "tests.benches.overload_bench", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"listening\n"
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


# --- the load --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Seen:
    """What a load came to."""

    seconds: float = 0.0
    sent: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    ok_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    unhinted: int = 0
    """Refusals that do not say when to come again."""
    late_starts_s: list[float] = field(default_factory=list)
    """How late the load generator itself was."""

    def figures(self) -> dict[str, Any]:
        def ms(values: list[float], rank: float) -> float | None:
            return round(1e3 * float(np.percentile(values, rank)), 1) if values else None

        return {
            "sent_per_s": round(self.sent / self.seconds, 1),
            "ok_per_s": round(len(self.ok_s) / self.seconds, 1),
            "ok_p50_ms": ms(self.ok_s, 50),
            "ok_p99_ms": ms(self.ok_s, 99),
            "refused_per_s": round(len(self.refused_s) / self.seconds, 1),
            "refused_p50_ms": ms(self.refused_s, 50),
            "refused_p99_ms": ms(self.refused_s, 99),
            "codes": dict(self.codes),
            "unhinted": self.unhinted,
            "generator_late_p99_ms": ms(self.late_starts_s, 99),
        }


class Load:
    """Asks questions; every call has its deadline and is sent once."""

    def __init__(self, channel: WireChannel, event: str, *, with_signals: bool) -> None:
        self._channel = channel
        self._event = event
        self._with_signals = with_signals
        self._numbers = itertools.count()
        self._run = f"{os.getpid()}-{time.monotonic_ns()}"

    def _request(self) -> decision_pb2.DecideRequest:
        number = next(self._numbers)
        household = f"household-{number * 7_919 % HOUSEHOLD_COUNT}"
        request = decision_pb2.DecideRequest(
            request_id=f"{self._run}-{number}", household=household, member="M1", channel="app"
        )
        if self._with_signals:
            one = request.signals.add(event_id=request.request_id, type=self._event, household=household, member="M1")
            one.time.GetCurrentTime()
        return request

    async def ask(self, seen: Seen) -> float:
        """Ask once; return how long to wait before asking again, as the answer says."""
        request = self._request()
        began = time.perf_counter()
        seen.sent += 1
        ended = await self._channel.ask(request.SerializeToString())
        took_s = time.perf_counter() - began
        seen.codes[CODES[ended.code].name] += 1
        if ended.code == OK:
            seen.ok_s.append(took_s)
        elif ended.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]:
            seen.refused_s.append(took_s)
            told = error_details_pb2.RetryInfo()
            if any(detail.Unpack(told) for detail in status_pb2.Status.FromString(ended.details).details):
                return float(told.retry_delay.ToTimedelta().total_seconds())
            seen.unhinted += 1
        return 0.0

    async def closed(self, in_flight: int, seconds: float, *, patient: bool = True) -> Seen:
        """So many who ask, and ask again as soon as they are answered, or when a refusal says."""
        seen = Seen(seconds=seconds)
        until = time.perf_counter() + seconds

        async def one() -> None:
            while time.perf_counter() < until:
                pause_s = await self.ask(seen)
                if patient and pause_s:
                    await asyncio.sleep(pause_s)

        await asyncio.gather(*(one() for _ in range(in_flight)))
        return seen

    async def open(self, rate: float, seconds: float) -> Seen:
        """So many questions a second at even times, whatever becomes of them."""
        seen, loop = Seen(seconds=seconds), asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for number in range(round(rate * seconds)):
                due = began + number / rate
                if (pause_s := due - loop.time()) > 0:
                    await asyncio.sleep(pause_s)
                seen.late_starts_s.append(max(0.0, loop.time() - due))
                group.create_task(self.ask(seen))
        return seen


async def fill(address: str, event: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = signal_pb2_grpc.SignalServiceStub(channel)
        request = signal_pb2.IngestRequest()
        for number in range(HOUSEHOLD_COUNT):
            one = request.signals.add(
                event_id=f"fill-{number}", type=event, household=f"household-{number}", member="M1"
            )
            one.time.GetCurrentTime()
        await stub.Ingest(request, timeout=30)


async def measure(
    address: str, *, seconds: float, with_signals: bool, say: Callable[[str, dict[str, Any]], None]
) -> None:
    """Find the most that is served, then ask for it once, twice and five times, and look at how it is after each."""
    event = counted_event(compile_playbook(SHIPPED_PLAYBOOK))
    await fill(address, event)
    channel = await WireChannel.connect(address, DECIDE, DEADLINE_S)
    load = Load(channel, event, with_signals=with_signals)
    await load.closed(16, 1.0)
    closed = [await load.closed(in_flight, seconds) for in_flight in (32, 96)]
    most = max(len(seen.ok_s) / seen.seconds for seen in closed)
    say("most, 32 or 96", max(closed, key=lambda seen: len(seen.ok_s)).figures())
    for times in TIMES:
        say(f"open {times} x", judged(await load.open(times * most, seconds), most))
        await asyncio.sleep(0.5)
        say(f"half after {times} x", (await load.open(CALM * most, 1.5)).figures())
    for in_flight in IN_FLIGHT:
        say(f"{in_flight} in flight", judged(await load.closed(in_flight, seconds), most))
    say("half after all", (await load.open(CALM * most, 1.5)).figures())
    channel.close()


def judged(seen: Seen, most: float) -> dict[str, Any]:
    """Return the figures of a load, with what it got of the most."""
    return {"of_most": round(len(seen.ok_s) / seen.seconds / most, 2), **seen.figures()}


def processor_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def bare_cost_us(address: str, process: psutil.Process, method: str, seconds: float) -> float:
    """Return the processor time of a bare server per call that is asked by 64 at a time."""
    count = 0
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(method)
        until = time.perf_counter() + seconds

        async def one() -> None:
            nonlocal count
            while time.perf_counter() < until:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    await call(b"", timeout=5)
                count += 1

        before_s = processor_s(process)
        await asyncio.gather(*(one() for _ in range(64)))
    return 1e6 * (processor_s(process) - before_s) / max(count, 1)


def run(arguments: argparse.Namespace) -> None:
    port, seconds = arguments.port, arguments.seconds
    say = say_json if arguments.json else say_text
    with part("--bare", str(port + 1)) as bare:
        costs_us = {
            name: round(asyncio.run(bare_cost_us(f"127.0.0.1:{port + 1}", psutil.Process(bare.pid), method, 1.5)))
            for name, method in (("answered_us", ANSWERING), ("refused_us", REFUSING))
        }
        say("bare grpc.aio", costs_us)
    modes = [False, True] if arguments.signals == "both" else [arguments.signals == "with"]
    with tempfile.TemporaryDirectory(prefix="hearth-bench-") as folder, contextlib.ExitStack() as stack:
        if arguments.target is None:
            for index in range(SHARD_COUNT):
                stack.enter_context(part("--shard", str(index), "--folder", folder))
            stack.enter_context(part("--edge", str(port), "--folder", folder))
        address = arguments.target or f"127.0.0.1:{port}"
        for with_signals in modes:
            say("with a signal each" if with_signals else "without signals", {})
            asyncio.run(measure(address, seconds=seconds, with_signals=with_signals, say=say))


def say_json(name: str, figures: dict[str, Any]) -> None:
    print(json.dumps({"load": name, **figures}), flush=True)


def say_text(name: str, figures: dict[str, Any]) -> None:
    told = ", ".join(f"{key} {value}" for key, value in figures.items() if value not in (None, 0, 0.0, {}))
    print(f"{name:<20} {told}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--port", type=int, default=19_300)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--signals", choices=["without", "with", "both"], default="both")
    parser.add_argument("--target", help="host:port of a Hearth that runs already, with the telco playbook")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--shard", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--edge", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--bare", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    uvloop.install()  # as Ray does in its actors
    if arguments.shard is not None:
        asyncio.run(serve_shard(arguments.folder, arguments.shard))
    elif arguments.edge:
        asyncio.run(serve_edge(arguments.folder, arguments.edge))
    elif arguments.bare:
        asyncio.run(serve_bare(arguments.bare))
    else:
        run(arguments)


if __name__ == "__main__":
    main()
