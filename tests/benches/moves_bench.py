"""What a move costs those who ask: how long a partition is not served on its way, and how much less is answered then.

python -m tests.benches.moves_bench [--seconds 20] [--log kafka://…] [--json]

A real `hearth up` with two shards; clients ask and send at a steady pace, first while nothing moves, then while one
shard is drained and filled again, over and over. The pause is the coordinator's, from the word to let go to the word
that it serves; the longest wait is what a client saw. Goodput is what was answered a second, moving against not moving.
"""

import argparse
import asyncio
import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from hearth.v1 import admin_pb2, admin_pb2_grpc, decision_pb2, decision_pb2_grpc, signal_pb2, signal_pb2_grpc
from tests.actors.harness import CORNER, signal
from tests.end_to_end.hearth_process import running

GATEWAYS = 8
SOURCES = 2
PAUSE_S = 0.02
CALL_TIMEOUT_S = 5.0
HOUSEHOLDS = 2_000


class Clients:
    """Gateways and sources at a steady pace; they count answers, retries and failures, and the longest wait."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._decisions = decision_pb2_grpc.DecisionServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._signals = signal_pb2_grpc.SignalServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._chance = random.Random(1)
        self._tasks: list[asyncio.Task[None]] = []
        self.begin()

    def begin(self) -> None:
        """Count anew."""
        self.began_s = time.monotonic()
        self.answered = self.retried = self.failed = 0
        self.took_s: list[float] = []

    def told(self) -> dict[str, Any]:
        """Return what was seen since."""
        took_s = sorted(self.took_s)
        return {
            "answers_per_s": round(self.answered / (time.monotonic() - self.began_s), 1),
            "retried": self.retried,
            "failed": self.failed,
            "p50_ms": round(1e3 * took_s[len(took_s) // 2], 1),
            "p99_ms": round(1e3 * took_s[int(0.99 * len(took_s))], 1),
            "longest_ms": round(1e3 * took_s[-1], 1),
        }

    def start(self) -> None:
        """Begin to ask."""
        self._tasks = [asyncio.create_task(self._repeat(self._ask)) for _ in range(GATEWAYS)]
        self._tasks += [asyncio.create_task(self._repeat(self._send)) for _ in range(SOURCES)]

    async def stop(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close()

    async def _repeat(self, call: Any) -> None:
        while True:
            asked_s = time.monotonic()
            request = self._name()
            for tried in range(2):
                try:
                    await call(request)
                except grpc.aio.AioRpcError:
                    self.retried += tried == 0
                    self.failed += tried == 1
                    await asyncio.sleep(0.2)
                else:
                    self.answered += 1
                    break
            self.took_s.append(time.monotonic() - asked_s)
            await asyncio.sleep(self._chance.uniform(0, 2 * PAUSE_S))

    def _name(self) -> str:
        return f"{self._chance.getrandbits(64):x}"

    def _household(self, request: str) -> str:
        return f"home-{int(request, 16) % HOUSEHOLDS}"

    async def _ask(self, request: str) -> None:
        await self._decisions.Decide(
            decision_pb2.DecideRequest(request_id=request, household=self._household(request), channel="app"),
            timeout=CALL_TIMEOUT_S,
        )

    async def _send(self, request: str) -> None:
        now_us = time.time_ns() // 1_000
        sent = [
            signal(
                f"{request}-{number}", f"home-{(int(request, 16) + number) % HOUSEHOLDS}", "visit", now_us, member="m"
            )
            for number in range(20)
        ]
        await self._signals.Ingest(signal_pb2.IngestRequest(signals=sent), timeout=CALL_TIMEOUT_S)


async def _to_and_fro(address: str, seconds: float) -> admin_pb2.Placement:
    """Drain a shard and fill it again for so long; return how things stand at the end."""
    async with grpc.aio.insecure_channel(address) as channel:
        admin = admin_pb2_grpc.AdminServiceStub(channel)  # type: ignore[no-untyped-call]
        until_s, undo = time.monotonic() + seconds, False
        placement = admin_pb2.Placement()
        while time.monotonic() < until_s or undo:
            request = admin_pb2.DrainRequest(name="shard-1", undo=undo)
            placement = (await admin.Drain(request, timeout=CALL_TIMEOUT_S)).placement
            while not placement.is_settled:
                await asyncio.sleep(0.1)
                shown = await admin.ShowPlacement(admin_pb2.ShowPlacementRequest(), timeout=CALL_TIMEOUT_S)
                placement = shown.placement
            undo = not undo
        return placement


async def measured(address: str, seconds: float) -> dict[str, Any]:
    """Return what clients saw at rest and while partitions moved."""
    clients = Clients(address)
    clients.start()
    await asyncio.sleep(min(5.0, seconds))
    clients.begin()
    await asyncio.sleep(seconds)
    at_rest = clients.told()
    clients.begin()
    placement = await _to_and_fro(address, seconds)
    moving = clients.told()
    await clients.stop()
    return {
        "at_rest": at_rest,
        "moving": moving,
        "moves": placement.moved,
        "pause_p50_ms": placement.pause_p50_ms,
        "pause_p95_ms": placement.pause_p95_ms,
        "goodput": round(moving["answers_per_s"] / at_rest["answers_per_s"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of the two halves")
    parser.add_argument("--log", default="", help="kafka://…; segment files if it is not given")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    os.environ["HEARTH_REBALANCE_AFTER_S"] = "0"
    os.environ["HEARTH_SPARE_SHARD_COUNT"] = "0"
    os.environ["HEARTH_EDGE_COUNT"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        playbook = Path(folder) / "corner.yaml"
        playbook.write_text(CORNER, encoding="utf-8")
        options = ["--playbook", str(playbook), "--shards", "2", "--partitions", "8"]
        options += ["--log", given.log] if given.log else []
        with running(Path(folder) / "data", *options) as hearth:
            told = asyncio.run(measured(hearth.address, given.seconds))
    if given.json:
        print(json.dumps(told))
        return
    for name in ("at_rest", "moving"):
        print(f"{name.replace('_', ' ')}: {told[name]}")
    print(
        f"{told['moves']} moves; not served meanwhile: p50 {told['pause_p50_ms']:.0f} ms, "
        f"p95 {told['pause_p95_ms']:.0f} ms; goodput {told['goodput']:.0%}"
    )


if __name__ == "__main__":
    main()
