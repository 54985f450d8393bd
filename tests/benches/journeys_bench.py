"""How much an instance of a journey takes, and how fast instances move: on events, and as time passes.

    python -m tests.benches.journeys_bench --live 100000

Tells bytes per live instance (rows, index, heap, chains and texts of the tables of journeys, less what empty ones
take), moves per second of processor by an event that ends a wait and by a timer, and what events cost that no journey
listens for, with such a journey in the playbook and without.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from household.apply import apply_epoch, apply_signals, apply_tick
from household.events import EventBatch, keys_of
from household.plan import Plan
from household.state import PartitionState
from tests.household.journey_world import plan_of
from tests.household.shop import DAY, NOON_US, S

ROWS = 10_000

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


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--live", type=int, default=100_000)
    live = arguments.parse_args().live
    with tempfile.TemporaryDirectory() as folder:
        text = JOURNEY.replace(
            "then: second, timeout: {after: 30d, then: second}", "then: second, timeout: {after: 30d, then: over}"
        )
        plan = plan_of(Path(folder), text)
    without = replace(plan, journeys=())
    bare, state = new_state(without), new_state(plan)
    empty = held_bytes(state)
    for warm in (new_state(plan), new_state(without)):
        all_of(warm, "wallet.topup", 10, NOON_US)
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


if __name__ == "__main__":
    main()
