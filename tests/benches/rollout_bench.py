"""What a shadow and a canary cost every decision: p50 of Decide over a real `hearth up`, without and with them.

The three take turns in one run, each round in another order, so that what else the machine does falls on all alike;
each line of JSON is a round. The last tells the medians over all rounds, how many times that of nobody beside the
champion they are, and what a decision took of the processor, part by part, beyond what each takes while nobody asks:
that hangs least on what else the machine does. So many a second could be answered at all if no processor were ever
idle, the client's share included. Exit code 1 says that one is above the bound. Stages: tests/chaos/test_rollout.py.

python -m tests.benches.rollout_bench [--rate 60] [--seconds 4] [--rounds 6] [--slice-ms 100]
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
import numpy as np
import psutil

from hearth.v1 import decision_pb2, decision_pb2_grpc
from household.scoring import feature_schema
from serving.models.bundle import save_bundle
from serving.models.history import By
from serving.models.in_force import MODEL_NAME
from serving.models.rollout import canary, promote, roll_back, shadow
from tests.actors.harness import CORNER, corner, signal
from tests.benches.metering import processor_s
from tests.chaos.cluster_processes import Part, family, find
from tests.end_to_end.hearth_process import running
from tests.serving.test_bundle import make_draft

TIMES_MAX = 1.15
SETTLES_S = 4.0
"""After a change, before anything is measured: it is in force after one or two, and the first scores are slow."""
IDLE_S = 8.0
REPLICAS_WITHIN_S = 60.0
SHARE = 0.5
FRESH = count()
BY = By(time="2026-11-02T00:00:00Z", who="bench")


class Beside(StrEnum):
    """What scores beside the champion."""

    NOBODY = "nobody"
    SHADOW = "a shadow"
    CANARY = "a canary"


@dataclass(slots=True, kw_only=True)
class Told:
    """What was measured with something beside the champion."""

    took_ms: list[float] = field(default_factory=list)
    wall_s: float = 0.0
    spent_s: Counter[str] = field(default_factory=Counter)
    """Of processor, by part."""

    def add(self, other: "Told") -> None:
        self.took_ms += other.took_ms
        self.wall_s += other.wall_s
        self.spent_s.update(other.spent_s)

    @property
    def p50_ms(self) -> float:
        return float(np.median(self.took_ms))

    def each_ms(self, idle_cores: dict[str, float]) -> dict[str, float]:
        """Return what each part took of the processor for a decision, beyond what it takes while nobody asks."""
        beyond = {part: spent_s - idle_cores[part] * self.wall_s for part, spent_s in self.spent_s.items()}
        return {part: 1_000 * max(0.0, spent_s) / len(self.took_ms) for part, spent_s in beyond.items()}


class Metered:
    """Reads what each part of a Hearth has taken of the processor, and the bench itself."""

    PARTS: Final = {"shards": Part.SHARD, "edges": Part.EDGE, "models": Part.MODEL}

    def __init__(self, pid: int) -> None:
        self._pid = pid

    async def over(self, waiting: Awaitable[list[float]]) -> Told:
        """Return what was spent while something went on; what begins or ends meanwhile is not told."""
        groups = {name: find(self._pid, part) for name, part in self.PARTS.items()}
        known = {one.pid for group in groups.values() for one in group}
        groups["others"] = [one for one in family(self._pid) if one.pid not in known]
        groups["client"] = [psutil.Process()]
        before, began_s = {name: self._read(group) for name, group in groups.items()}, time.monotonic()
        took_ms = await waiting
        after = {name: self._read(group) for name, group in groups.items()}
        spent_s = Counter[str]()
        for name, then in before.items():
            spent_s[name] = sum(after[name][one] - then[one] for one in then.keys() & after[name].keys())
        return Told(took_ms=took_ms, wall_s=time.monotonic() - began_s, spent_s=spent_s)

    @staticmethod
    def _read(group: list[psutil.Process]) -> dict[int, float]:
        read = dict[int, float]()
        for one in group:
            with contextlib.suppress(psutil.Error):
                read[one.pid] = processor_s(one)
        return read


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
        """Return how long the decisions of some seconds took, in ms; what is asked for later is not among them."""
        took_ms, self.versions = [], Counter()
        self.took_ms = took_ms
        await asyncio.sleep(seconds)
        self.took_ms = []
        return took_ms

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


async def turn(load: Load, registry: Path, pid: int, beside: Beside, seconds: float) -> Told:
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
    told = await Metered(pid).over(load.measured(seconds))
    wanted = {"v1", "v2"} if beside is Beside.CANARY else {"v1"}
    assert set(load.versions) == wanted, f"{beside}: decided by {dict(load.versions)}"
    if beside is not Beside.NOBODY:
        roll_back(registry, MODEL_NAME, "v2", by=BY)
    await replicas(pid, 1)
    return told


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
    of_all = {one: Told() for one in Beside}
    async with grpc.aio.insecure_channel(address) as channel:
        load = Load(decision_pb2_grpc.DecisionServiceStub(channel), rate)
        await replicas(pid, 1)
        await asyncio.sleep(IDLE_S)  # until what is started is started
        quiet = await Metered(pid).over(load.measured(IDLE_S))
        idle_cores = {part: spent_s / quiet.wall_s for part, spent_s in quiet.spent_s.items()}
        print(json.dumps({"idle_cores": rounded(idle_cores)}), flush=True)
        running_load = asyncio.create_task(load.run())
        await asyncio.sleep(10)  # until every connection is warm
        order = list(Beside)
        for number in range(rounds):
            order = [*order[1:], order[0]]
            of_round = {one: await turn(load, registry, pid, one, seconds) for one in order}
            for one, told in of_round.items():
                of_all[one].add(told)
            print(json.dumps({"round": number + 1, "p50_ms": p50s(of_round)}), flush=True)
        running_load.cancel()
    nobody = of_all[Beside.NOBODY]
    times = {one: told.p50_ms / nobody.p50_ms for one, told in of_all.items()}
    said = {
        "decisions": {str(one): len(told.took_ms) for one, told in of_all.items()},
        "failed": len(load.failures),
        "failures": dict(Counter(load.failures).most_common(3)),
        "p50_ms": p50s(of_all),
        "p99_ms": {str(one): round(float(np.percentile(told.took_ms, 99)), 2) for one, told in of_all.items()},
        "processor_ms_each": {str(one): rounded(told.each_ms(idle_cores)) for one, told in of_all.items()},
        "answered_per_s_at_most": {str(one): most_per_s(told, idle_cores) for one, told in of_all.items()},
        "p50_times": {str(one): round(times[one], 3) for one in Beside},
        "at_most": TIMES_MAX,
    }
    print(json.dumps(said), flush=True)
    return times


def p50s(told: dict[Beside, Told]) -> dict[str, float]:
    return {str(one): round(told[one].p50_ms, 2) for one in Beside}


def rounded(parts: dict[str, float]) -> dict[str, float]:
    return {part: round(value, 3) for part, value in parts.items()}


def most_per_s(told: Told, idle_cores: dict[str, float]) -> int:
    """Return how many decisions a second the processors of this machine could take if none were ever idle."""
    free = len(os.sched_getaffinity(0)) - sum(idle_cores.values())
    return round(1_000 * free / sum(told.each_ms(idle_cores).values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--slice-ms", type=float, help="scoring_slice_ms: 1 has shards score by themselves")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "corner.yaml").write_text(CORNER, encoding="utf-8")
        if arguments.slice_ms is not None:
            os.environ["HEARTH_SCORING_SLICE_MS"] = str(arguments.slice_ms)
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
