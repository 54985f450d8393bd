"""What a shadow and a canary cost every decision: p50 of Decide over a real `hearth up`, without and with them.

The three take turns in one run, each round in another order, so that what else the machine does falls on all alike;
each line of JSON is a round. The last tells the medians over all rounds and how many times that of nobody beside the
champion they are; exit code 1 says that one is above the bound. tests/chaos/test_rollout.py has the stages themselves.

python -m tests.benches.rollout_bench [--rate 60] [--seconds 4] [--rounds 6]
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from enum import StrEnum
from itertools import count
from pathlib import Path

import grpc
import grpc.aio
import numpy as np

from hearth.v1 import decision_pb2, decision_pb2_grpc
from household.scoring import feature_schema
from serving.models.bundle import save_bundle
from serving.models.history import By
from serving.models.in_force import MODEL_NAME
from serving.models.rollout import canary, promote, roll_back, shadow
from tests.actors.harness import CORNER, corner, signal
from tests.chaos.cluster_processes import Part, find
from tests.end_to_end.hearth_process import running
from tests.serving.test_bundle import make_draft

TIMES_MAX = 1.15
SETTLES_S = 4.0
"""After a change, before anything is measured: it is in force after one or two, and the first scores are slow."""
REPLICAS_WITHIN_S = 60.0
SHARE = 0.5
FRESH = count()
BY = By(time="2026-11-02T00:00:00Z", who="bench")


class Beside(StrEnum):
    """What scores beside the champion."""

    NOBODY = "nobody"
    SHADOW = "a shadow"
    CANARY = "a canary"


class Load:
    """Decisions for households that were never asked about, so that each is scored; at an even rate, whatever comes."""

    def __init__(self, stub: decision_pb2_grpc.DecisionServiceStub, rate: float) -> None:
        self._stub, self._rate = stub, rate
        self.took_ms: list[float] = []
        self.versions: Counter[str] = Counter()
        self.failures: list[str] = []

    async def run(self) -> None:
        calls: set[asyncio.Task[None]] = set()
        while True:
            call = asyncio.create_task(self._decide())
            calls.add(call)
            call.add_done_callback(calls.discard)
            await asyncio.sleep(1 / self._rate)

    async def measured(self, seconds: float) -> list[float]:
        """Return how long decisions took over some seconds, in ms."""
        self.took_ms, self.versions = [], Counter()
        await asyncio.sleep(seconds)
        return self.took_ms

    async def _decide(self) -> None:
        name, began_s = f"b{next(FRESH)}", time.monotonic()
        took_ms, versions = self.took_ms, self.versions
        visit = signal(name, name, "visit", time.time_ns() // 1_000, member="ann")
        request = decision_pb2.DecideRequest(
            request_id=name, household=name, member="ann", channel="app", signals=[visit]
        )
        try:
            told = await self._stub.Decide(request, timeout=5)
        except grpc.aio.AioRpcError as failed:
            self.failures.append(f"{failed.code().name}: {failed.details()}")
            return
        took_ms.append((time.monotonic() - began_s) * 1_000)
        versions[told.model_version] += 1


async def replicas(pid: int, count: int) -> None:
    """Wait until Serve runs so many: one that starts or ends is the work of the machine, and of no turn."""
    until_s = time.monotonic() + REPLICAS_WITHIN_S
    while len(find(pid, Part.MODEL)) != count:
        assert time.monotonic() < until_s, f"there are not {count} replicas of models after {REPLICAS_WITHIN_S:g} s"
        await asyncio.sleep(0.5)


async def turn(load: Load, registry: Path, pid: int, beside: Beside, seconds: float) -> list[float]:
    """Return what decisions take with something beside the champion, which is gone afterwards."""
    match beside:
        case Beside.NOBODY:
            pass
        case Beside.SHADOW:
            shadow(registry, MODEL_NAME, "v2", by=BY)
        case Beside.CANARY:
            canary(registry, MODEL_NAME, "v2", SHARE, by=BY, is_forced=True)
    await replicas(pid, 2 if beside is Beside.CANARY else 1)
    await asyncio.sleep(SETTLES_S)
    took_ms = await load.measured(seconds)
    wanted = {"v1", "v2"} if beside is Beside.CANARY else {"v1"}
    assert set(load.versions) == wanted, f"{beside}: decided by {dict(load.versions)}"
    if beside is not Beside.NOBODY:
        roll_back(registry, MODEL_NAME, "v2", by=BY)
    await replicas(pid, 1)
    return took_ms


async def bench(
    address: str, registry: Path, pid: int, *, rate: float, seconds: float, rounds: int
) -> dict[Beside, float]:
    """Return how many times the median without anybody beside that with each is; tell of every round."""
    schema = feature_schema(corner())
    for seed, version in enumerate(("v1", "v2"), start=1):
        draft = make_draft(seed, columns=len(schema.names), names=schema.names)
        save_bundle(
            registry, MODEL_NAME, replace(draft, feature_schema_hash=schema.hash), created="now", version=version
        )
    promote(registry, MODEL_NAME, "v1", by=BY, is_forced=True)
    all_ms: dict[Beside, list[float]] = {one: [] for one in Beside}
    async with grpc.aio.insecure_channel(address) as channel:
        load = Load(decision_pb2_grpc.DecisionServiceStub(channel), rate)
        running_load = asyncio.create_task(load.run())
        await replicas(pid, 1)
        await asyncio.sleep(10)  # until every connection is warm
        order = list(Beside)
        for number in range(rounds):
            order = [*order[1:], order[0]]
            took_ms = {one: await turn(load, registry, pid, one, seconds) for one in order}
            for one, times in took_ms.items():
                all_ms[one] += times
            p50 = {str(one): round(float(np.median(took_ms[one])), 2) for one in Beside}
            print(json.dumps({"round": number + 1, "p50_ms": p50}), flush=True)
        running_load.cancel()
    times = {one: float(np.median(all_ms[one]) / np.median(all_ms[Beside.NOBODY])) for one in Beside}
    told = {
        "decisions": {str(one): len(all_ms[one]) for one in Beside},
        "failed": len(load.failures),
        "p50_ms": {str(one): round(float(np.median(all_ms[one])), 2) for one in Beside},
        "p99_ms": {str(one): round(float(np.percentile(all_ms[one], 99)), 2) for one in Beside},
        "p50_times": {str(one): round(times[one], 3) for one in Beside},
        "at_most": TIMES_MAX,
    }
    print(json.dumps(told), flush=True)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=6)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "corner.yaml").write_text(CORNER, encoding="utf-8")
        with running(folder / "data", "--playbook", str(folder / "corner.yaml"), "--shards", "1") as hearth:
            made = bench(
                hearth.address,
                folder / "data" / "models",
                hearth.process.pid,
                rate=arguments.rate,
                seconds=arguments.seconds,
                rounds=arguments.rounds,
            )
            times = asyncio.run(made)
    sys.exit(any(one > TIMES_MAX for one in times.values()))


if __name__ == "__main__":
    main()
