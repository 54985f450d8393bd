"""What a tick costs where much exists and little is due, and what rows cost in memory.

    python -m tests.benches.tables_bench [--live N] [--due N] [--rounds N]

Two partitions, one with as many live actions as are due at a tick and one with N, tick in turns; each tick expires
the same number of actions. Then asking when the next tick is due, beginning a freeze, putting a row, and bytes per row.
Prints JSON; times are medians in microseconds, of this thread's CPU.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

from household.apply import apply_tick
from household.freeze import Freeze
from household.ledger import next_due_us
from household.plan import Plan
from household.state import PartitionState
from household.tables.actions import ActionStatus, LiveAction
from loadtest.shipped import SHIPPED_PLAYBOOK
from playbooks.compiler import compile_playbook

MONDAY_US = 1_750_000_000_000_000
LATER_US = MONDAY_US + 365 * 24 * 3_600_000_000


def put_actions(state: PartitionState, first: int, count: int, valid_until_us: int) -> None:
    for number in range(first, first + count):
        action_id = f"{number:020x}-0"
        state.actions.put(
            LiveAction(
                *(action_id, action_id[:-2], number, -1, f"offer {number % 20}", f"family {number % 5}"),
                *(valid_until_us, ActionStatus.LIVE),
                decided_us=MONDAY_US,
            )
        )


def state_of(plan: Plan, live: int) -> PartitionState:
    state = PartitionState(plan=plan, stream_clock=False)
    state.now_us = state.tidied_us = MONDAY_US
    put_actions(state, 0, live, LATER_US)
    return state


def took_us(call: Callable[[], object]) -> float:
    began = time.thread_time_ns()
    call()
    return (time.thread_time_ns() - began) / 1e3


def tick_us(state: PartitionState, turn: int, due: int) -> float:
    """Return what the tick costs at which so many more actions expire; others are forgotten as they would be."""
    now_us = MONDAY_US + (turn + 1) * 1_000_000
    put_actions(state, 10_000_000 + turn * due, due, now_us)
    took = took_us(lambda: apply_tick(state, epoch=0, stamp_us=now_us))
    assert state.now_us == now_us
    return took


def begin_us(state: PartitionState) -> float:
    began = time.thread_time_ns()
    freeze = Freeze(state)
    took = (time.thread_time_ns() - began) / 1e3
    freeze.end()
    return took


def run(live: int, due: int, rounds: int) -> dict[str, object]:
    plan = compile_playbook(SHIPPED_PLAYBOOK)
    states = {"few": state_of(plan, due), "many": state_of(plan, live)}
    ticks: dict[str, list[float]] = {name: [] for name in states}
    for turn in range(rounds + 1):
        for name, state in states.items():
            took = tick_us(state, turn, due)
            if turn:  # the first compiles
                ticks[name].append(took)
    found: dict[str, object] = {"live": live, "due": due}
    for name, state in states.items():
        found[f"tick_us_{name}"] = round(statistics.median(ticks[name]), 1)
        found[f"next_due_us_{name}"] = round(
            statistics.median(took_us(lambda s=state: next_due_us(s)) for _ in range(99)), 2
        )
        found[f"freeze_begin_us_{name}"] = round(statistics.median(begin_us(state) for _ in range(9)), 1)
    ratios = [many / few for few, many in zip(ticks["few"], ticks["many"], strict=True)]
    found["tick_ratio"] = round(statistics.median(ratios), 2)
    found["put_us"] = round(
        statistics.median(
            took_us(lambda n=number: put_actions(states["few"], n, 100, LATER_US)) / 100
            for number in range(90_000_000, 90_001_000, 100)
        ),
        2,
    )
    actions = states["many"].actions
    found["bytes_per_action"] = round(actions.size_bytes / len(actions))
    found["bytes_of_texts_per_action"] = round(actions.texts.size_bytes / len(actions))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", type=int, default=1_000_000)
    parser.add_argument("--due", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=31)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.live, arguments.due, arguments.rounds), indent=1))


if __name__ == "__main__":
    main()
