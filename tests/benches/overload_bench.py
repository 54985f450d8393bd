"""What overload does: how much is still answered in time at 1 x, 2 x and 5 x of the most that is served.

python -m tests.benches.overload_bench [--seconds 3] [--signals both] [--rates 2000 5000] [--target host:port] [--json]

Without a target: a real edge and two real shards with the telco playbook, each a process of its own, without Ray. All
share the processors with the client, and each refusal costs some of them: beside what was answered (`of_most`) stands
what could be answered at all for that (`limit`, and `limit_apart` if the client had a machine of its own), told from
what each call cost each part, and how many processors others had. It says nothing while they have many: run it alone.
"""

import argparse
import asyncio
import contextlib
import gc
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
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
from actors.shard.config import ShardConfig
from actors.shard.shard import Shard
from hearth.v1 import decision_pb2, signal_pb2, signal_pb2_grpc
from loadtest.bench import counted_event
from loadtest.shipped import SHIPPED_PLAYBOOK
from playbooks.compiler import compile_playbook
from serving import edge
from serving.accepting import AcceptingServer
from serving.admission import Lines
from serving.boundary import set_status
from serving.edge import PublicServices
from serving.gate import Admission
from serving.router import Router
from tests.benches.metering import CLIENT, EDGE, SHARDS, Meter, Prices, Spent, limit_per_s, processor_s
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
BARE = {"answered_us": "/bare/Answer", "refused_by_grpc_us": "/bare/Refuse", "refused_us": "/bare/Gated"}
"""Methods of the bare server: one that answers; one whose handler refuses; one that has an admission and no room."""
GATED = BARE["refused_us"]
DEADLINE_S = 1.0
"""Of a Decide: what is answered later is answered for nobody."""
NORMAL_S = 0.2
"""An answer that takes longer, or none, is no normal one."""
CALM_S = 5.0
"""What is looked at after each load, and so the longest that `normal_after_s` can tell of."""
PIECE_S = 0.25
STRAY_SHARE = 0.05
"""Of the calls in a piece: so many may get no normal answer on a machine that others use as well."""


# --- the parts, each in a process of its own -------------------------------------------------------------------------


async def serve_bare(port: int) -> None:
    """A server that does nothing: its calls cost what gRPC costs."""
    server = AcceptingServer(())
    refusal = CallFailed(status_of(Failure.OVERLOADED, "refused")).status
    full = Lines()
    full.length = full.room = 1.0

    async def answer(_message: bytes, _context: Any) -> bytes:
        return b""

    async def refuse(_messages: object, context: Any) -> None:
        set_status(context, refusal)

    handler = grpc.unary_unary_rpc_method_handler(answer)
    handlers = {"Answer": handler, "Refuse": grpc.stream_stream_rpc_method_handler(refuse)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare", handlers),))
    server.add_gated_methods({GATED: handler}, {GATED: Admission(lines=full)}, lambda _method: None)
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
    gc.freeze()  # as Ray Serve does
    owners = {partition: shard_address(folder, partition % SHARD_COUNT) for partition in range(PARTITION_COUNT)}

    async def routes() -> Routes:
        return Routes(partition_count=PARTITION_COUNT, owners=owners, ready=True)

    async def is_ready() -> bool:
        return True

    router = Router(routes)
    await router.refresh()
    server = AcceptingServer((*edge.SERVER_OPTIONS, ("grpc.so_reuseport", 1)))
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
    not_normal_s: list[float] = field(default_factory=list)
    """When those calls began that got no normal answer; of the clock that `began_s` is of."""
    began_s: float = field(default_factory=time.perf_counter)

    @property
    def normal_after_s(self) -> float:
        """After which piece of its time hardly a call got no normal answer."""
        pieces = np.floor((np.array(self.not_normal_s) - self.began_s) / PIECE_S).astype(int)
        calls = self.sent / self.seconds * PIECE_S
        return float(1 + np.flatnonzero(np.bincount(pieces) > STRAY_SHARE * calls).max(initial=-1)) * PIECE_S

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
            "refused_p90_ms": ms(self.refused_s, 90),
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
        if ended.code != OK or took_s > NORMAL_S:
            seen.not_normal_s.append(began)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Says what became of a load, measured by the most that is served."""

    most: float
    """Answers per second."""
    prices: Prices

    def figures(self, seen: Seen, spent: Spent) -> dict[str, Any]:
        sent_per_s, answered = seen.sent / seen.seconds, len(seen.ok_s)
        not_answered = max(seen.sent - answered, 1)
        client_s = spent.parts[CLIENT] / seen.sent
        refusal_s = max(0.0, spent.parts[EDGE] - answered * self.prices.edge) / not_answered
        free = os.cpu_count() - spent.others / spent.wall_s

        served_s, times = self.prices.served, sent_per_s / self.most
        limit = limit_per_s(free, sent_per_s, client_s=client_s, refusal_s=refusal_s, served_s=served_s)
        # Of the most that is served then: the processors shorten.
        apart = (served_s - times * refusal_s) / (served_s - refusal_s)
        return {
            "of_most": round(answered / seen.seconds / self.most, 2),
            "limit": round(min(limit / self.most, 1.0), 2),
            "limit_apart": round(min(max(apart, 0.0), 1.0), 2),
            "refusal_edge_us": round(1e6 * refusal_s) if not_answered > answered / 10 else None,
            **seen.figures(),
            **told(spent, seen),
        }


def told(spent: Spent, seen: Seen) -> dict[str, Any]:
    """Return how many processors each part had, and what the client took for a call."""
    return {**spent.cores(), "client_us": round(1e6 * spent.parts[CLIENT] / seen.sent)}


async def measure(
    address: str,
    meter: Meter,
    *,
    seconds: float,
    rates: Sequence[int],
    with_signals: bool,
    say: Callable[[str, dict[str, Any]], None],
) -> None:
    """Find the most that is served, then ask for it once, twice and five times, and look at how it is after each."""
    event = counted_event(compile_playbook(SHIPPED_PLAYBOOK))
    await fill(address, event)
    channel = await WireChannel.connect(address, DECIDE, DEADLINE_S)
    load = Load(channel, event, with_signals=with_signals)

    async def metered(loading: Awaitable[Seen]) -> tuple[Seen, Spent]:
        before = meter.read()
        seen = await loading
        # Of what was sent some is ended only after the time is over.
        return seen, meter.read().since(before)

    await load.closed(16, 1.0)
    closed = [await metered(load.closed(in_flight, seconds)) for in_flight in (32, 96)]
    seen, spent = max(closed, key=lambda one: len(one[0].ok_s))
    judge = Judge(most=len(seen.ok_s) / seen.seconds, prices=Prices.of(spent, answered=len(seen.ok_s), sent=seen.sent))
    say("most, 32 or 96", {**judge.prices.figures(), **seen.figures(), **told(spent, seen)})
    asked = {f"{rate} /s": rate for rate in rates} or {f"{times} x": times * judge.most for times in TIMES}
    for name, rate in asked.items():
        say(f"open {name}", judge.figures(*await metered(load.open(rate, seconds))))
        calm = await load.open(CALM * judge.most, CALM_S)
        say(f"half after {name}", {"normal_after_s": calm.normal_after_s, **calm.figures()})
    for in_flight in IN_FLIGHT:
        say(f"{in_flight} in flight", judge.figures(*await metered(load.closed(in_flight, seconds))))
    say("half after all", (await load.open(CALM * judge.most, 1.5)).figures())
    channel.close()


async def bare_cost_us(address: str, process: psutil.Process, method: str, seconds: float) -> float:
    """Return the processor time of a bare server per call that is asked by 64 at a time."""
    count = 0
    channel = await WireChannel.connect(address, method, 5.0)
    until = time.perf_counter() + seconds

    async def one() -> None:
        nonlocal count
        while time.perf_counter() < until:
            await channel.ask(b"")
            count += 1

    before_s = processor_s(process)
    await asyncio.gather(*(one() for _ in range(64)))
    channel.close()
    return 1e6 * (processor_s(process) - before_s) / max(count, 1)


def run(arguments: argparse.Namespace) -> None:
    port, seconds = arguments.port, arguments.seconds
    say = say_json if arguments.json else say_text
    with part("--bare", str(port + 1)) as bare:
        costs_us = {
            name: round(asyncio.run(bare_cost_us(f"127.0.0.1:{port + 1}", psutil.Process(bare.pid), method, 1.5)))
            for name, method in BARE.items()
        }
        say("bare grpc.aio", costs_us)
    modes = [False, True] if arguments.signals == "both" else [arguments.signals == "with"]
    with tempfile.TemporaryDirectory(prefix="hearth-bench-") as folder, contextlib.ExitStack() as stack:
        pids: dict[str, list[int]] = {EDGE: [], SHARDS: []}
        if arguments.target is None:
            for index in range(SHARD_COUNT):
                shard = stack.enter_context(part("--shard", str(index), "--folder", folder))
                pids[SHARDS].append(shard.pid)
            pids[EDGE].append(stack.enter_context(part("--edge", str(port), "--folder", folder)).pid)
        else:
            pids = {EDGE: arguments.edges, SHARDS: arguments.shards}
        gc.freeze()  # or it would look through all modules' objects in the midst of a load
        address = arguments.target or f"127.0.0.1:{port}"
        for with_signals in modes:
            say("with a signal each" if with_signals else "without signals", {})
            asyncio.run(
                measure(
                    address, Meter(pids), seconds=seconds, rates=arguments.rates, with_signals=with_signals, say=say
                )
            )


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
    parser.add_argument("--rates", type=int, nargs="*", default=[], help="calls per second instead of 1 x, 2 x, 5 x")
    parser.add_argument("--edges", type=int, nargs="*", default=[], help="process ids of the target's edges")
    parser.add_argument("--shards", type=int, nargs="*", default=[], help="process ids of the target's shards")
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
