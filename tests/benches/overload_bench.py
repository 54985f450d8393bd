"""What overload does: how much is still answered in time at 1 x, 2 x and 5 x of the most that is served.

python -m tests.benches.overload_bench [--seconds 5] [--edges 1] [--target host:port] [--json]

Without a target: a real edge and two real shards with the telco playbook, each a process of its own, without Ray.
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
import uvloop
from google.rpc import error_details_pb2

from actors.segments import SegmentStore
from actors.shard import Shard, ShardConfig
from hearth.v1 import decision_pb2, decision_pb2_grpc, signal_pb2, signal_pb2_grpc
from loadtest.bench import counted_event
from loadtest.gateway import told_details
from loadtest.shipped import SHIPPED_PLAYBOOK
from playbooks.compiler import compile_playbook
from serving import edge
from serving.edge import PublicServices
from serving.shard_client import Router, Routes

PARTITION_COUNT = 8
SHARD_COUNT = 2
HOUSEHOLD_COUNT = 2_000
DEADLINE_S = 1.0
"""Of a Decide: what is answered later is answered for nobody."""


# --- the parts, each in a process of its own -------------------------------------------------------------------------


async def serve_bare(port: int) -> None:
    server = grpc.aio.server()
    decision_pb2_grpc.add_DecisionServiceServicer_to_server(Bare(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print("listening", flush=True)
    await server.wait_for_termination()


class Bare(decision_pb2_grpc.DecisionServiceServicer):
    async def Decide(self, request, context):
        return decision_pb2.DecideResponse(reasons=["NO_CANDIDATES"])


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
    server = grpc.aio.server(options=(*edge.SERVER_OPTIONS, ("grpc.so_reuseport", 1)))
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

    def __init__(self, address: str, event: str, *, with_signals: bool) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._stub = decision_pb2_grpc.DecisionServiceStub(self._channel)
        self._event = event
        self._with_signals = with_signals
        self._numbers = itertools.count()
        self._run = f"{os.getpid()}-{time.monotonic_ns()}"

    async def close(self) -> None:
        await self._channel.close()

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
        try:
            await self._stub.Decide(request, timeout=DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            seen.codes[error.code().name] += 1
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                seen.refused_s.append(time.perf_counter() - began)
                told = error_details_pb2.RetryInfo()
                if any(detail.Unpack(told) for detail in told_details(error).details):
                    return float(told.retry_delay.ToTimedelta().total_seconds())
                seen.unhinted += 1
            return 0.0
        seen.codes["OK"] += 1
        seen.ok_s.append(time.perf_counter() - began)
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


async def measure(address: str, *, seconds: float, with_signals: bool, say: Callable[[str, Any], None]) -> None:
    event = counted_event(compile_playbook(SHIPPED_PLAYBOOK))
    await fill(address, event)
    load = Load(address, event, with_signals=with_signals)
    await load.closed(16, 1.0)
    most = 0.0
    for in_flight in (16, 48, 128):
        seen = await load.closed(in_flight, seconds)
        say(f"closed {in_flight}", seen.figures())
        most = max(most, len(seen.ok_s) / seconds)
    for times in (0.5, 1, 2, 5):
        say(f"open {times} x", (await load.open(times * most, seconds)).figures())
        say("after", (await load.open(0.5 * most, 2.0)).figures())
    for in_flight in (300, 600, 1_000):
        say(f"closed {in_flight}", (await load.closed(in_flight, seconds)).figures())
    say("after", (await load.open(0.5 * most, 2.0)).figures())
    say("closed 1000 impatient", (await load.closed(1_000, seconds, patient=False)).figures())
    await load.close()


def run(arguments: argparse.Namespace) -> None:
    def say(name: str, figures: Any) -> None:
        print(f"{name:<24}", json.dumps(figures), flush=True)

    async def both(address: str) -> None:
        for with_signals in (False, True):
            if with_signals in arguments.signals:
                print("with a signal each" if with_signals else "without signals")
                await measure(address, seconds=arguments.seconds, with_signals=with_signals, say=say)

    with tempfile.TemporaryDirectory(prefix="hearth-bench-") as folder:
        shards = (part("--shard", str(index), "--folder", folder) for index in range(SHARD_COUNT))
        with contextlib.ExitStack() as stack:
            for each in (*shards, part("--edge", str(arguments.port), "--folder", folder)):
                stack.enter_context(each)
            asyncio.run(both(f"127.0.0.1:{arguments.port}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--port", type=int, default=19_300)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--signals", type=json.loads, default=[False, True])
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
