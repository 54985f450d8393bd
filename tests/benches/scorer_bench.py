"""What a score costs: XGBoost alone, through a Serve handle, and as a shard asks. One line of JSON per measurement.

python -m tests.benches.scorer_bench [--seconds 3] [--no-serve]
"""

import argparse
import asyncio
import dataclasses
import functools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import xgboost

from actors.partition.model_plane import connect, serve_call
from actors.partition.scoring_settings import ScoringConfig
from serving.models.bundle import BundleDraft, load_bundle, save_bundle
from serving.models.probe import open_booster, predict
from tests.serving.test_bundle import FACTS

SCHEMA = "0123456789abcdef"
COLUMNS = 40
SIZES = (1, 8, 24, 256)


def draft(trees: int = 100, depth: int = 6) -> BundleDraft:
    draw = np.random.default_rng(1)
    rows = draw.normal(size=(20_000, COLUMNS)).astype(np.float32)
    label = (rows[:, :6].sum(axis=1) + draw.normal(size=len(rows)) > 1).astype(np.float32)
    names = [f"c{i}" for i in range(COLUMNS)]
    settings = {"objective": "binary:logistic", "max_depth": depth, "eta": 0.05, "nthread": 1}
    model = bytes(xgboost.train(settings, xgboost.DMatrix(rows, label, feature_names=names), trees).save_raw("ubj"))
    return BundleDraft(
        model=model,
        feature_schema_hash=SCHEMA,
        columns=tuple(names),
        golden_rows=rows[:16],
        golden_scores=predict(open_booster(model), rows[:16]),
        playbook_version="bench",
        training=FACTS,
    )


def show(what: str, times_us: list[float], **more: object) -> float:
    p50, p99 = np.percentile(times_us, [50, 99])
    said = {"what": what, "calls": len(times_us), "p50_us": round(p50), "p99_us": round(p99)} | more
    print(json.dumps(said), flush=True)
    return float(p50)


def timed(call: Callable[[], object], seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e6)
    return times


async def timed_async(call: Callable[[], Awaitable[object]], seconds: float, clients: int = 1) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        while time.perf_counter() < end:
            start = time.perf_counter()
            await call()
            times.append((time.perf_counter() - start) * 1e6)

    await asyncio.gather(*(client() for _ in range(clients)))
    return times


def rows_of(count: int) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(count, COLUMNS)).astype(np.float32)


def bench_alone(folder: Path, seconds: float) -> dict[int, float]:
    from serving.models.scorer import Booster

    booster = Booster(load_bundle(folder))
    p50_us = {}
    for count in SIZES:
        rows = rows_of(count)
        p50_us[count] = show("alone", timed(functools.partial(booster.score, rows), seconds), rows=count)
    return p50_us


async def bench_serve(name: str, folder: Path, alone: dict[int, float], seconds: float) -> None:
    from serving.models.scorer import local_scorer

    call = serve_call(name, deployment="Scorer", feature_schema_hash=SCHEMA)
    for count in SIZES:
        buf = rows_of(count).tobytes()
        await timed_async(functools.partial(call, buf, count), 0.5)
        times = await timed_async(functools.partial(call, buf, count), seconds)
        p50 = float(np.percentile(times, 50))
        show("handle", times, rows=count, times_alone=round(p50 / alone[count], 1))
    scorer = await connect(
        name,
        model_version="bench",
        feature_schema_hash=SCHEMA,
        column_count=COLUMNS,
        local=local_scorer(folder, feature_schema_hash=SCHEMA),
        config=ScoringConfig(),
    )
    rows = rows_of(24)
    for clients in (1, 4, 16, 64):
        before = dataclasses.replace(scorer.counters)
        times = await timed_async(lambda: scorer.score(rows), seconds, clients)
        batches = scorer.counters.batches - before.batches
        show(
            "shard",
            times,
            rows=24,
            clients=clients,
            per_s=round(len(times) / seconds),
            requests_per_batch=round(len(times) / max(batches, 1), 1),
            in_the_shard=scorer.counters.local_requests - before.local_requests,
            degraded=scorer.counters.degraded_requests - before.degraded_requests,
            slice_ms=scorer.counters.slice_us / 1_000,
        )
    scorer.close()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=3.0)
    arguments.add_argument("--no-serve", action="store_true")
    chosen = arguments.parse_args()
    work = Path(tempfile.mkdtemp(prefix="hb-"))
    folder = save_bundle(work / "models", "bench", draft(), created="bench")
    try:
        alone = bench_alone(folder, chosen.seconds)
        if not chosen.no_serve:
            on_serve(work, folder, alone, chosen.seconds)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def on_serve(work: Path, folder: Path, alone: dict[int, float], seconds: float) -> None:
    os.environ.update(
        HOME=str(work),
        RAY_TMPDIR=str(work),
        RAY_AUTH_MODE="disabled",
        RAY_worker_niceness="0",
        RAY_USAGE_STATS_ENABLED="0",
        RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP="0",
        RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD="0",
    )
    import ray
    from ray import serve

    from serving.models.scorer import deploy

    started = time.perf_counter()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    ready = time.perf_counter()
    try:
        name = deploy(folder)
        seconds_of = {"ray": round(ready - started, 1), "serve_and_deploy": round(time.perf_counter() - ready, 1)}
        print(json.dumps({"what": "start_s"} | seconds_of), flush=True)
        asyncio.run(bench_serve(name, folder, alone, seconds))
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
