"""How soon a stage of a model version is in force, and what a shadow costs: a real `hearth up` under load.

Register → shadow → canary 5 % → 50 % → promote → rollback, the last with all model replicas killed, while decisions
go on. Each line of JSON tells of a step: seconds until the last decision by what was in force before, calls, failures,
and decisions by another version than the household's own. The last lines compare decisions without and with a shadow.

python -m tests.benches.rollout_bench [--rate 60] [--seconds 6]
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import grpc
import grpc.aio
import numpy as np

from hearth.v1 import decision_pb2, decision_pb2_grpc
from household.canary import is_in_canary
from household.scoring import feature_schema
from serving.models.bundle import save_bundle
from serving.models.history import By
from serving.models.in_force import MODEL_NAME
from serving.models.rollout import canary, promote, roll_back, shadow
from tests.actors.harness import CORNER, corner, signal
from tests.chaos.cluster_processes import Part, find, kill
from tests.end_to_end.hearth_process import running
from tests.serving.test_bundle import make_draft

IN_FORCE_S_MAX = 60.0
FRESH = count()


@dataclass
class Step:
    """What the decisions of one step were like."""

    expected: Callable[[str], str]
    """A household's version once the step is in force."""
    answers: list[tuple[float, str, str, float]] = field(default_factory=list)
    """When it was answered, household, version, and how long it took in ms."""
    failures: list[str] = field(default_factory=list)


class Load:
    """Decisions for households that were never asked about, so that each is scored; at an even rate, whatever comes."""

    def __init__(self, stub: decision_pb2_grpc.DecisionServiceStub, rate: float) -> None:
        self._stub, self._rate = stub, rate
        self.step = Step(expected=lambda _: "prior")
        self._calls: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        while True:
            call = asyncio.create_task(self._decide(self.step))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
            await asyncio.sleep(1 / self._rate)

    async def _decide(self, step: Step) -> None:
        name, began_s = f"b{next(FRESH)}", time.monotonic()
        visit = signal(name, name, "visit", time.time_ns() // 1_000, member="ann")
        request = decision_pb2.DecideRequest(
            request_id=name, household=name, member="ann", channel="app", signals=[visit]
        )
        try:
            told = await self._stub.Decide(request, timeout=5)
        except grpc.aio.AioRpcError as failed:
            step.failures.append(f"{failed.code().name}: {failed.details()}")
            return
        now_s = time.monotonic()
        step.answers.append((now_s, name, told.model_version, (now_s - began_s) * 1_000))


async def change(load: Load, what: str, make: Callable[[], object], expected: Callable[[str], str]) -> None:
    """Change the registry under load, wait until the change is in force, and tell of it."""
    step = load.step = Step(expected=expected)
    began_s = time.monotonic()
    await asyncio.to_thread(make)
    settled_s = began_s
    while time.monotonic() - settled_s < 2.5 and time.monotonic() - began_s < IN_FORCE_S_MAX:
        await asyncio.sleep(0.2)
        others = [at for at, name, version, _ in step.answers if version != expected(name)]
        settled_s = max(others, default=began_s)
    after = [(name, version) for at, name, version, _ in step.answers if at > settled_s]
    by_version = {version: sum(one == version for _, one in after) for version in sorted({one for _, one in after})}
    print(
        json.dumps(
            {
                "step": what,
                "in_force_s": round(settled_s - began_s, 2),
                "calls": len(step.answers) + len(step.failures),
                "failed": len(step.failures),
                "why": step.failures[:1],
                "after": by_version,
                "by_another_version": sum(version != expected(name) for name, version in after),
            }
        ),
        flush=True,
    )


async def measured(load: Load, seconds: float) -> tuple[float, float]:
    """Return p50 and p99 in ms of decisions over some seconds."""
    step = load.step = Step(expected=load.step.expected)
    await asyncio.sleep(seconds)
    times = [took for _, _, _, took in step.answers]
    return float(np.percentile(times, 50)), float(np.percentile(times, 99))


async def bench(address: str, registry: Path, pid: int, *, rate: float, seconds: float) -> None:
    schema, by = feature_schema(corner()), By(time="2026-11-02T00:00:00Z", who="bench")
    for seed, version in enumerate(("v1", "v2"), start=1):
        draft = make_draft(seed, columns=len(schema.names), names=schema.names)
        save_bundle(
            registry, MODEL_NAME, replace(draft, feature_schema_hash=schema.hash), created="now", version=version
        )

    def of(share: float) -> Callable[[str], str]:
        return lambda name: "v2" if is_in_canary(name.encode(), version="v2", share=share) else "v1"

    async with grpc.aio.insecure_channel(address) as channel:
        load = Load(decision_pb2_grpc.DecisionServiceStub(channel), rate)
        running_load = asyncio.create_task(load.run())
        await asyncio.sleep(3)  # the first calls open connections
        await change(
            load, "promote", lambda: promote(registry, MODEL_NAME, "v1", by=by, is_forced=True), lambda _: "v1"
        )
        await asyncio.sleep(20)  # until Serve runs it
        pairs = []
        for _ in range(3):
            without = await measured(load, seconds)
            shadow(registry, MODEL_NAME, "v2", by=by)
            await asyncio.sleep(5)
            pairs.append((without, await measured(load, seconds)))
            if len(pairs) < 3:
                roll_back(registry, MODEL_NAME, "v2", by=by)
                await asyncio.sleep(5)
        for share in (0.05, 0.5):
            await change(
                load,
                f"canary {share:.0%}",
                lambda share=share: canary(registry, MODEL_NAME, "v2", share, by=by),  # type: ignore[misc]
                of(share),
            )
        await change(
            load, "promote", lambda: promote(registry, MODEL_NAME, "v2", by=by, is_forced=True), lambda _: "v2"
        )

        def killed_and_back() -> None:
            kill(find(pid, Part.MODEL))
            roll_back(registry, MODEL_NAME, by=by)

        await change(load, "rollback, replicas killed", killed_and_back, lambda _: "v1")
        running_load.cancel()
    for without, with_one in pairs:
        print(
            json.dumps(
                {
                    "decide_ms": "p50, p99",
                    "without": [round(one, 2) for one in without],
                    "with_a_shadow": [round(one, 2) for one in with_one],
                    "p50_times": round(with_one[0] / without[0], 3),
                }
            )
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=60.0)
    parser.add_argument("--seconds", type=float, default=6.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "corner.yaml").write_text(CORNER, encoding="utf-8")
        with running(folder / "data", "--playbook", str(folder / "corner.yaml"), "--shards", "2") as hearth:
            made = bench(
                hearth.address,
                folder / "data" / "models",
                hearth.process.pid,
                rate=arguments.rate,
                seconds=arguments.seconds,
            )
            asyncio.run(made)


if __name__ == "__main__":
    main()
