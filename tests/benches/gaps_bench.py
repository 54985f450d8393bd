"""How long nobody answers: each part of a running Hearth killed, a stop, a start; beside a start of a bare Ray.

python -m tests.benches.gaps_bench [--only edge,shard,…] [--cold] [--json]

Clients of eight households ask twenty times a second each, through channels that reconnect at once; a gap is the
longest that one of them went without an answer. Seconds are this machine's and what else runs on it; ratios travel. A
bare Ray is `ray.init`, one actor and `serve.start` as Ray has them, and is timed first.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from hearth.v1 import decision_pb2, decision_pb2_grpc
from tests.chaos.bare_ray import bare_ray
from tests.chaos.cluster_processes import Part, find, is_serving, kill, partitions_by_process, until
from tests.end_to_end.hearth_process import Hearth, running

HOUSEHOLDS = 8
ASK_EVERY_S = 0.05
ASK_TIMEOUT_S = 2.0
SETTLED_S = 3.0
"""Answers that are awaited from every household before a part is killed."""
BACK_WITHIN_S = 180.0
QUICK_TRIES = 5

RECONNECT_AT_ONCE = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 250),
    ("grpc.use_local_subchannel_pool", 1),
)


class Askers:
    """One client per household, each with a channel of its own; they notice when they were last answered."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.gaps_s = [0.0] * HOUSEHOLDS
        self.answered_s = [0.0] * HOUSEHOLDS
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Askers":
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(HOUSEHOLDS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, number: int) -> None:
        async with grpc.aio.insecure_channel(self.address, options=RECONNECT_AT_ONCE) as channel:
            decisions = decision_pb2_grpc.DecisionServiceStub(channel)  # type: ignore[no-untyped-call]
            while True:
                request = decision_pb2.DecideRequest(
                    request_id=f"{random.getrandbits(64):x}", household=f"gap-{number}", channel="app"
                )
                try:
                    await decisions.Decide(request, timeout=ASK_TIMEOUT_S)
                except grpc.aio.AioRpcError as failed:
                    if failed.code() is grpc.StatusCode.INVALID_ARGUMENT:
                        raise
                else:
                    now_s = time.monotonic()
                    if self.answered_s[number]:
                        self.gaps_s[number] = max(self.gaps_s[number], now_s - self.answered_s[number])
                    self.answered_s[number] = now_s
                await asyncio.sleep(ASK_EVERY_S)

    async def all_answer(self, *, for_s: float) -> None:
        """Wait until each has been answered, and again after that time."""
        await asyncio.sleep(for_s)
        began_s = time.monotonic()
        while min(self.answered_s) < began_s:
            assert time.monotonic() - began_s < BACK_WITHIN_S, "they are not answered again"
            await asyncio.sleep(0.05)

    async def gap_of(self, break_it: Callable[[], None]) -> float:
        """Return the longest that one of them was not answered around a breakage."""
        await self.all_answer(for_s=SETTLED_S)
        self.gaps_s = [0.0] * HOUSEHOLDS
        await asyncio.to_thread(break_it)
        await self.all_answer(for_s=1.0)
        return max(self.gaps_s)


def parts_of(hearth: Hearth) -> dict[str, Callable[[], None]]:
    """Return what kills each part, by its name."""
    pid = hearth.process.pid

    def kill_a_shard() -> None:
        held = partitions_by_process(hearth.data_dir / "log")
        until(lambda: sum(map(is_serving, find(pid, Part.SHARD))) > 2, within_s=60, what="the spare stands by")
        kill([next(one for one in find(pid, Part.SHARD) if held.get(one.pid))])

    def kill_an_edge() -> None:
        until(lambda: len(find(pid, Part.EDGE)) > 1, within_s=60, what="two edges are there")
        time.sleep(SETTLED_S)
        kill(find(pid, Part.EDGE)[:1])

    return {
        "edge": kill_an_edge,
        "shard": kill_a_shard,
        "coordinator": lambda: kill(find(pid, Part.COORDINATOR)),
        "raylet": lambda: kill(find(pid, Part.RAYLET)),
    }


def quickest_s(command: list[str]) -> float:
    """Return the seconds of the quickest of a few runs: what the command takes, not what else the machine did."""
    took = []
    for _ in range(QUICK_TRIES):
        began_s = time.monotonic()
        subprocess.run(command, capture_output=True, check=True)
        took.append(time.monotonic() - began_s)
    return min(took)


def measure(names: list[str], *, is_cold: bool) -> dict[str, float]:
    """Return seconds by what was measured."""
    took: dict[str, float] = {}
    took["bare Ray, one actor"], took["bare Ray, and Serve"] = bare_ray()
    with tempfile.TemporaryDirectory(prefix="gaps-") as folder:
        data_dir = Path(folder) / "data"
        if is_cold:
            os.environ["NUMBA_CACHE_DIR"] = str(Path(folder) / "kernels")
            began_s = time.monotonic()
            with running(data_dir, ready_within_s=BACK_WITHIN_S) as hearth:
                took["first start on a machine"] = time.monotonic() - began_s
                assert hearth.stop() == 0
        else:
            # Whatever is missing from the caches is in them after this.
            with running(data_dir, ready_within_s=BACK_WITHIN_S) as hearth:
                assert hearth.stop() == 0
        began_s = time.monotonic()
        with running(data_dir, ready_within_s=BACK_WITHIN_S) as hearth:
            took["start"] = time.monotonic() - began_s

            took["python -c pass"] = quickest_s([sys.executable, "-c", "pass"])
            took["hearth status"] = quickest_s(
                [sys.executable, "-m", "cluster.entry", "status", "--data-dir", str(data_dir)]
            )

            async def breaking() -> None:
                for name in names:
                    async with Askers(hearth.address) as askers:
                        took[f"{name} killed"] = await askers.gap_of(parts_of(hearth)[name])

            asyncio.run(breaking())
            began_s = time.monotonic()
            assert hearth.stop() == 0
            took["stop"] = time.monotonic() - began_s
    took["change of playbook (stop, start)"] = took["stop"] + took["start"]
    return took


def main() -> None:
    """Print what each gap takes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="edge,shard,coordinator,raylet", help="parts to be killed, with commas")
    parser.add_argument("--cold", action="store_true", help="compile the kernels, as the first start on a machine does")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name]
    took = measure(names, is_cold=options.cold)
    bare_s = took["bare Ray, and Serve"]
    told: dict[str, Any] = {name: {"s": round(s, 2), "ratio": round(s / bare_s, 2)} for name, s in took.items()}
    if options.json:
        print(json.dumps(told))
        return
    for name, one in told.items():
        print(f"{name:<34} {one['s']:>8.2f} s {one['ratio']:>8.2f} x bare Ray")


if __name__ == "__main__":
    main()
