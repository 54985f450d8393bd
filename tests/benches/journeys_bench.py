"""How much an instance of a journey takes, and how fast instances move: on events, and as time passes.

    python -m tests.benches.journeys_bench [size] --live 100000
    python -m tests.benches.journeys_bench durable --live 100000 --processes 2
    python -m tests.benches.journeys_bench timers --live 1000000

`size` tells bytes per live instance (rows, index, heap, chains and texts of the tables of journeys, less what empty
ones take), moves per second of processor by an event that ends a wait and by a timer, and what events cost that no
journey listens for, with such a journey in the playbook and without. `durable`: moves per second of time, the records
of events appended and synced, decoded and folded, by so many processes at once, each with a partition and so many
households. `timers`: so many timers due within one minute, worked off by ticks that are appended and synced, each alone
as the owner of a partition does it: how long all take, and how long the longest, for which a decision would wait.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from actors.log.contract import Epoch, PartitionId, Record, RecordKind
from actors.log.segments import SegmentStore
from actors.records import codec
from actors.records.signals import decode_signals
from household.apply import apply_epoch, apply_signals, apply_tick
from household.events import EventBatch, keys_of
from household.plan import Plan
from household.state import PartitionState
from tests.household.journey_world import plan_of
from tests.household.shop import DAY, NOON_US, S

ROWS = 10_000
RECORD_EVENTS = 1_000
"""Events of a record: as an edge under load sends them together."""

MOVES = ("wallet.payment", "wallet.payment")
LOOK_US = 10_000
"""Time between two looks at what is due."""

JOURNEY = """
trigger: {on: wallet.topup}
goal: {on: loan.asked}
states:
  first: {wait: {on: wallet.payment}, then: second, timeout: {after: 30d, then: second}}
  second: {wait: {on: wallet.payment}, then: over, timeout: {after: 30d, then: over}}
  over: {pause: {after: 1d}, then: end}
"""


def batch(plan: Plan, kind: str, count: int, first: int, time_us: int) -> EventBatch:
    """Return one event for each of so many households."""
    return EventBatch(
        ids=keys_of([b"%s-%d-%d" % (kind.encode(), time_us, first + row) for row in range(count)]),
        households=keys_of([b"h%d" % (first + row) for row in range(count)]),
        members=keys_of([b"m"] * count),
        types=np.full(count, plan.event_type_by_name[kind], np.int32),
        times_us=np.full(count, time_us, np.int64),
        values=np.full((len(plan.fields), count), np.nan),
        is_bad=np.zeros(count, np.uint8),
        plan_version=plan.version,
    )


def all_of(state: PartitionState, kind: str, count: int, now_us: int) -> float:
    """Let an event happen to all households; return the seconds of processor it took."""
    took = 0.0
    for first in range(0, count, ROWS):
        some = batch(state.plan, kind, min(ROWS, count - first), first, now_us)
        took += seconds(lambda some=some: apply_signals(state, some, stamp_us=now_us))
    return took


def seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def pass_time(state: PartitionState, now_us: int) -> None:
    """Tick until nothing is due: one tick does so much at once."""
    apply_tick(state, epoch=1, stamp_us=now_us)
    while any((due := one.next_due_us()) is not None and due <= now_us for one in (state.heard, state.instances)):
        apply_tick(state, epoch=1, stamp_us=now_us)


def held_bytes(state: PartitionState) -> int:
    return sum(one.size_bytes for one in (state.instances, state.heard, state.acts)) + state.tables.texts.size_bytes


def new_state(plan: Plan) -> PartitionState:
    state = PartitionState(plan=plan, stream_clock=False)
    apply_epoch(state, epoch=1)
    apply_tick(state, epoch=1, stamp_us=NOON_US)
    return state


def bench_plan() -> Plan:
    with tempfile.TemporaryDirectory() as folder:
        text = JOURNEY.replace(
            "then: second, timeout: {after: 30d, then: second}", "then: second, timeout: {after: 30d, then: over}"
        )
        return plan_of(Path(folder), text)


def size(live: int) -> None:
    plan = bench_plan()
    without = replace(plan, journeys=())
    bare, state = new_state(without), new_state(plan)
    empty = held_bytes(state)
    for warm in (new_state(plan), new_state(without)):
        all_of(warm, "wallet.topup", 10, NOON_US)
        all_of(warm, "wallet.payment", 10, NOON_US + S)
        pass_time(warm, NOON_US + 40 * DAY)
    entering = all_of(state, "wallet.topup", live, NOON_US) - all_of(bare, "wallet.topup", live, NOON_US)
    print(f"{len(state.instances):,} instances entered: {live / entering:,.0f} a second")
    print(f"{(held_bytes(state) - empty) / live:.0f} bytes each, with what was heard of the last day")
    idle, idle_bare = (all_of(one, "app.visit", live, NOON_US + S) for one in (state, bare))
    print(f"an event that nothing listens for: {idle / idle_bare:.2f} times what it costs without journeys")
    moving = all_of(state, "wallet.payment", live, NOON_US + 2 * S) - all_of(
        bare, "wallet.payment", live, NOON_US + 2 * S
    )
    print(f"moved by an event: {live / moving:,.0f} a second")
    ticked = seconds(lambda: pass_time(state, NOON_US + 2 * DAY))
    print(f"what was heard is settled: {live / ticked:,.0f} a second")
    print(f"{(held_bytes(state) - empty) / live:.0f} bytes each, settled")
    ticked = seconds(lambda: pass_time(state, NOON_US + 31 * DAY))
    print(f"moved by time: {live / ticked:,.0f} a second")


def payloads(kind: str, count: int, time_us: int) -> list[bytes]:
    """Return records of one event for each of so many households, as a log holds them."""
    found = []
    for first in range(0, count, RECORD_EVENTS):
        names = [f"h{row}" for row in range(first, min(count, first + RECORD_EVENTS))]
        rows = pa.record_batch(
            {
                "event_id": [f"{kind}-{time_us}-{name}" for name in names],
                "household": names,
                "member": ["m"] * len(names),
                "type": pa.array([kind] * len(names)).dictionary_encode(),
                "time": pa.array([time_us] * len(names), pa.int64()),
            }
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_batch(rows)
        found.append(sink.getvalue().to_pybytes())
    return found


def durable(live: int) -> dict[str, float]:
    """Let events move instances in one partition: each record appended, synced, decoded and folded."""
    plan = bench_plan()
    state = new_state(plan)
    for warm in ("wallet.topup", "wallet.payment"):
        apply_signals(new_state(plan), decode_signals(payloads(warm, 10, NOON_US)[0], plan), stamp_us=NOON_US)
    rounds = [payloads(kind, live, NOON_US + place * S) for place, kind in enumerate(["wallet.topup", *MOVES])]
    with tempfile.TemporaryDirectory() as folder:
        log = SegmentStore(Path(folder)).open(PartitionId(0))
        took = []
        for place, records in enumerate(rounds):
            began_s = time.perf_counter()
            for payload in records:
                stamp_us = NOON_US + place * S
                kind, layout = RecordKind.SIGNALS, codec.SIGNALS_LAYOUT
                record = Record(kind=kind, version=layout, epoch=Epoch(1), stamp_us=stamp_us, payload=payload)
                log.append([record])
                apply_signals(state, decode_signals(payload, plan), stamp_us=stamp_us)
            took.append(time.perf_counter() - began_s)
        log.close()
    assert {one.step for one in state.instances} == {"over"}
    return {"entries": live, "entering_s": took[0], "moves": live * len(MOVES), "moving_s": sum(took[1:])}


def durable_together(live: int, processes: int) -> None:
    words = [sys.executable, "-m", "tests.benches.journeys_bench", "durable", "--live", str(live), "--one"]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    told = [json.loads(one.communicate()[0]) for one in running]
    moved = sum(one["moves"] / one["moving_s"] for one in told)
    entered = sum(one["entries"] / one["entering_s"] for one in told)
    print(
        f"{processes} processes, {live:,} households each: {moved:,.0f} durable moves a second, {entered:,.0f} entries"
    )


def timers(live: int) -> None:
    plan = bench_plan()
    state, warm = new_state(plan), new_state(plan)
    all_of(warm, "wallet.topup", 10, NOON_US)
    pass_time(warm, NOON_US + 31 * DAY)
    took_s = seconds(lambda: enter_within_a_minute(state, live))
    print(f"{len(state.instances):,} live after {took_s:.0f} s")
    pass_time(state, NOON_US + 29 * DAY)
    ticks_ms, now_us = [], NOON_US + 30 * DAY
    with tempfile.TemporaryDirectory() as folder:
        log = SegmentStore(Path(folder)).open(PartitionId(0))
        began_s = time.perf_counter()
        while now_us < NOON_US + 30 * DAY + 61 * S:
            now_us += LOOK_US
            while (due_us := state.instances.next_due_us()) is not None and due_us <= now_us:
                tick_s = time.perf_counter()
                record = Record(
                    kind=RecordKind.TICK, version=codec.TICK_LAYOUT, epoch=Epoch(1), stamp_us=now_us, payload=b""
                )
                log.append([record])
                apply_tick(state, epoch=1, stamp_us=now_us)
                ticks_ms.append((time.perf_counter() - tick_s) * 1e3)
        took_s = time.perf_counter() - began_s
        log.close()
    assert all(one.step == "over" for one in state.instances)
    ticks_ms.sort()
    late = sum(one.since_us > NOON_US + 30 * DAY + 60 * S for one in state.instances)
    print(
        f"{live:,} timers of one minute worked off in {took_s:.1f} s by {len(ticks_ms):,} ticks: "
        f"p50 {ticks_ms[len(ticks_ms) // 2]:.2f} ms, p99 {ticks_ms[len(ticks_ms) * 99 // 100]:.2f} ms, "
        f"longest {ticks_ms[-1]:.1f} ms; {late} moved late"
    )


def enter_within_a_minute(state: PartitionState, live: int) -> None:
    for first in range(0, live, ROWS):
        now_us = NOON_US + first * 60 * S // live
        apply_signals(state, batch(state.plan, "wallet.topup", min(ROWS, live - first), first, now_us), stamp_us=now_us)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("what", nargs="?", choices=("size", "durable", "timers"), default="size")
    arguments.add_argument("--live", type=int, default=100_000)
    arguments.add_argument("--processes", type=int, default=2)
    arguments.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    match given.what:
        case "size":
            size(given.live)
        case "durable" if given.one:
            print(json.dumps(durable(given.live)))
        case "durable":
            durable_together(given.live, given.processes)
        case "timers":
            timers(given.live)


if __name__ == "__main__":
    main()
