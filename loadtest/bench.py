"""The measurements behind the promises, each against a real Hearth that this command starts and stops.

python -m loadtest.bench fold    the household fold: events per second, and whether the answer is right
python -m loadtest.bench decide  latency of Decide at a fixed arrival rate (open model)
python -m loadtest.bench ryw     read your writes: does the next decision see what was acknowledged
python -m loadtest.bench k6      a foreign client at 100 calls a second, every answer checked
python -m loadtest.bench all     all four
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hearth.v1 import decision_pb2, signal_pb2
from household.plan import Plan
from loadtest.driving import Drive, DriveSettings
from loadtest.gateway import Gateway, GaveUp, arrow_stream
from loadtest.household_fold.generate import ANSWERS, EVENT_COUNT, as_signals, fold_events
from loadtest.household_fold.marks import checksum
from loadtest.k6 import K6Settings, run_k6
from loadtest.server import HearthFailed, run_hearth, running_hearth
from loadtest.shipped import FOLD_PLAYBOOK, SHIPPED_PLAYBOOK
from loadtest.tally import Latencies, Promise
from loadtest.town import MONDAY_US, Town
from loadtest.witness import UNBOUNDED, reading_after, readings, witnesses
from playbooks.compiler import compile_playbook

BATCH_ROWS = 16_384
"""About one megabyte on the wire."""

STREAM_WITHIN_S = 3_600.0
RYW_HOUSEHOLDS = 500
RYW_UNDER_WAY = 16


def fold_batches(event_count: int, batch_rows: int) -> list[bytes]:
    """Return the events as the Arrow streams of one IngestStream call, made before the clock starts."""
    table = pa.Table.from_batches([as_signals(fold_events(event_count))])
    return [arrow_stream(batch) for batch in table.to_batches(max_chunksize=batch_rows)]


def trigger_names(plan: Plan) -> list[str]:
    """Return the journeys that have a trigger, in the playbook's order."""
    return [journey.name for journey in plan.journeys if journey.trigger is not None]


async def fold(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Send the events, export the moments, and compare with the known answer."""
    streams = fold_batches(given.events, given.batch_rows)
    data_dir, exported = folder / "fold", folder / "moments.parquet"
    async with running_hearth(data_dir, FOLD_PLAYBOOK) as hearth:
        gateway = Gateway(hearth.address)
        await gateway.ready(within_s=60)
        began = time.perf_counter()
        answer = await gateway.ingest_stream(streams, STREAM_WITHIN_S)
        elapsed_s = time.perf_counter() - began
        await gateway.close()
    await run_hearth("log", "export", "--data-dir", str(data_dir), "--kind", "moments", "--out", str(exported))
    fired, sum_of_marks = checksum(pq.read_table(exported), trigger_names(compile_playbook(FOLD_PLAYBOOK)))
    expected = ANSWERS.get(given.events)
    counts = answer.counts
    return {
        "events": given.events,
        "fired": fired,
        "checksum": sum_of_marks,
        "events_per_s": round(given.events / elapsed_s, 1),
        "elapsed_s": round(elapsed_s, 3),
        "applied": counts.applied,
        "not_applied": counts.duplicate + counts.late + counts.rejected,
        "expected": list(expected) if expected else None,
        "ok": counts.applied == given.events and (expected is None or expected == (fired, sum_of_marks)),
    }


async def decide(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Fill a Hearth with a town, then ask at a fixed rate, each question when it is due."""
    plan = compile_playbook(SHIPPED_PLAYBOOK)
    town = Town(seed=given.seed, households=given.households, start_us=MONDAY_US, days=given.days, plan=plan)
    async with running_hearth(folder / "decide", SHIPPED_PLAYBOOK) as hearth:
        filled = await Drive(town, DriveSettings(target=hearth.address, ask_share=0.05)).run()
        gateway = Gateway(hearth.address)
        await gateway.ready(within_s=60)
        latencies, failures = await _asked_openly(gateway, town, rate=given.rate, seconds=given.seconds)
        await gateway.close()
    return {
        "rate": given.rate,
        "seconds": given.seconds,
        "households": given.households,
        "decides": len(latencies.ms),
        "failures": failures,
        "latency_ms": latencies.percentiles(),
        "filled_signals_per_s": filled["signals"]["per_s"],
        "violations": filled["violations"],
        "ok": failures == 0 and filled["violations"] == 0,
    }


async def _asked_openly(gateway: Gateway, town: Town, *, rate: float, seconds: float) -> tuple[Latencies, int]:
    """Ask rate × seconds questions at even times, whatever the answers take; latency counts from the due time."""
    latencies, failures, loop = Latencies(), 0, asyncio.get_running_loop()
    channels = [channel.name for channel in town.plan.channels if channel.inbound]
    began = loop.time() + 0.1

    async def ask(number: int, due: float) -> None:
        nonlocal failures
        household = number * 7_919 % town.households
        request = decision_pb2.DecideRequest(
            request_id=f"bench-{number}",
            household=town.wire.household_name(household),
            member="M1",
            channel=channels[number % len(channels)],
        )
        try:
            answer = await gateway.decide(request)
        except GaveUp:
            failures += 1
            return
        latencies.add(loop.time() - due)
        failures += not (answer.decision_id and answer.reasons)

    async with asyncio.TaskGroup() as group:
        for number in range(round(rate * seconds)):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - loop.time()))
            group.create_task(ask(number, due))
    return latencies, failures


def counted_event(plan: Plan) -> str:
    """Return an event type that needs no fields and that a feature counts without an upper bound."""
    for event in plan.event_types:
        counted = any(one.kind in UNBOUNDED for one in witnesses(plan, event.name))
        if counted and event.source != "hearth" and not any(use.required for use in event.fields):
            return event.name
    raise HearthFailed(
        f"playbook '{plan.name}' counts no event type that needs no fields: there is nothing to read back"
    )


async def read_your_writes(
    gateway: Gateway, plan: Plan, *, trials: int, run: str, start_us: int
) -> tuple[Promise, list[str]]:
    """Ingest one signal, wait for its acknowledgement, Decide: the decision's features must hold exactly those sent.

    Trials of different households are under way together; of one household, one after the other. Returns the trials
    that were answered, and for each that was not, why; it ends its household's trials.
    """
    event = counted_event(plan)
    found = [one for one in witnesses(plan, event) if reading_after(one, 1) is not None]
    promise, failures = Promise(), []
    household_count = min(RYW_HOUSEHOLDS, trials)
    under_way = asyncio.Semaphore(RYW_UNDER_WAY)

    async def trial(household: str, count: int) -> None:
        request_id = f"{household}-{count}"
        await _ingest_one(gateway, event, household, request_id, start_us + count * 1_000_000)
        request = decision_pb2.DecideRequest(request_id=request_id, household=household, member="M1", channel="app")
        answer = await gateway.decide(request)
        explained = await gateway.explain(household, answer.decision_id)
        seen = readings(explained.decision.features)
        wrong = {one.name: seen.get(one.name) for one in found if seen.get(one.name) != reading_after(one, count)}
        promise.hold(not wrong, f"{request_id}: {wrong} after {count} signals")

    async def household_trials(number: int) -> None:
        for count in range(1, len(range(number, trials, household_count)) + 1):
            async with under_way:
                try:
                    await trial(f"{run}-{number:06d}", count)
                except GaveUp as wrong:
                    failures.append(str(wrong))
                    return

    async with asyncio.TaskGroup() as group:
        for number in range(household_count):
            group.create_task(household_trials(number))
    return promise, failures


async def _ingest_one(gateway: Gateway, event: str, household: str, event_id: str, time_us: int) -> None:
    signal = signal_pb2.Signal(event_id=event_id, type=event, household=household, member="M1")
    signal.time.FromMicroseconds(time_us)
    answer = await gateway.ingest_signals([signal])
    assert answer.counts.applied == 1, f"{event_id}: {answer.counts} {answer.rejections}"


async def ryw(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Count violations of read-your-writes over many trials."""
    plan = compile_playbook(SHIPPED_PLAYBOOK)
    async with running_hearth(folder / "ryw", SHIPPED_PLAYBOOK) as hearth:
        gateway = Gateway(hearth.address)
        await gateway.ready(within_s=60)
        began = time.perf_counter()
        promise, failures = await read_your_writes(gateway, plan, trials=given.trials, run="RYW", start_us=MONDAY_US)
        elapsed_s = time.perf_counter() - began
        await gateway.close()
    return {
        "trials": promise.trials,
        "violations": promise.violations,
        "examples": promise.examples,
        "failures": len(failures),
        "failure_examples": failures[:5],
        "retries": gateway.troubles.retries,
        "trials_per_s": round(promise.trials / elapsed_s, 1),
        "ok": promise.violations == 0 and promise.trials == given.trials,
    }


async def k6(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Let k6, which knows nothing of us but the .proto files, ask for a town's households on every inbound channel."""
    plan = compile_playbook(SHIPPED_PLAYBOOK)
    town = Town(seed=given.seed, households=1_000, start_us=MONDAY_US, days=1.0, plan=plan)
    channels = ",".join(channel.name for channel in plan.channels if channel.inbound)
    async with running_hearth(folder / "k6", SHIPPED_PLAYBOOK) as hearth:
        await Drive(town, DriveSettings(target=hearth.address, ask_share=0.05)).run()
        settings = K6Settings(target=hearth.address, seconds=round(given.seconds), channels=channels)
        summary = await asyncio.to_thread(run_k6, settings)
    checks = {check["name"]: [check["passes"], check["fails"]] for check in summary["checks"]}
    kept = ("calls", "per_s", "errors", "dropped", "actions", "latency_ms", "ok")
    return {
        "rate": settings.rate,
        "seconds": settings.seconds,
        "checks": checks,
        **{name: summary[name] for name in kept},
    }


# --- the command ----------------------------------------------------------------------------------------------------

BENCHES: dict[str, Callable[[argparse.Namespace, Path], Coroutine[Any, Any, dict[str, Any]]]] = {
    "fold": fold,
    "decide": decide,
    "ryw": ryw,
    "k6": k6,
}


def _arguments() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bench", choices=[*BENCHES, "all"])
    arguments.add_argument("--json", action="store_true", help="one JSON object per bench, on one line each")
    arguments.add_argument("--events", type=int, default=EVENT_COUNT, help="fold: only the first N")
    arguments.add_argument("--batch-rows", type=int, default=BATCH_ROWS, help="fold: rows per batch")
    arguments.add_argument("--rate", type=float, default=200.0, help="decide: questions per second")
    arguments.add_argument("--seconds", type=float, default=30.0, help="decide, k6: for how long")
    arguments.add_argument("--households", type=int, default=2_000, help="decide: size of the town")
    arguments.add_argument("--days", type=float, default=2.0, help="decide: what the town has lived before")
    arguments.add_argument("--seed", type=int, default=1, help="decide: of the town")
    arguments.add_argument("--trials", type=int, default=10_000, help="ryw: how many")
    return arguments


def _as_text(name: str, result: dict[str, Any]) -> str:
    verdict = "ok" if result["ok"] else "FAILED"
    return f"{name}: {verdict}: " + ", ".join(f"{key} {value}" for key, value in result.items() if key != "ok")


def main() -> int:
    """Run one bench or all; exit 1 if one of them could not run or found a promise broken."""
    given = _arguments().parse_args()
    all_ok = True
    for name in BENCHES if given.bench == "all" else [given.bench]:
        with tempfile.TemporaryDirectory(prefix="hearth-bench-") as folder:
            try:
                result = asyncio.run(BENCHES[name](given, Path(folder)))
            except (HearthFailed, GaveUp) as wrong:
                print(f"{name}: {wrong}", file=sys.stderr)
                return 1
        tagged = result if given.bench != "all" else {"bench": name, **result}
        print(json.dumps(tagged) if given.json else _as_text(name, result), flush=True)
        all_ok = all_ok and bool(result["ok"])
    return 0 if all_ok else 1


if __name__ == "__main__":
    sys.exit(main())
