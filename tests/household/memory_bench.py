"""What a household takes in memory, and why its cells lie side by side (docs/decisions/0002-columns.md).

`python -m tests.household.memory_bench --json`: folds days of a simulated town under the shipped playbook into one
partition and weighs its parts; then touches what its events touch in random members, laid out by row and by column.
"""

import argparse
import json
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from actors.records.signals import events_from_batch
from household.apply import apply_signals
from household.columns.layout import lay_out
from household.columns.windows import CLASSES
from household.plan import Plan, Scope
from household.state import PartitionState
from loadtest.shipped import SHIPPED_PLAYBOOK
from loadtest.town import MONDAY_US, Town
from playbooks.compiler import compile_playbook
from tests.benches.recovery_bench import signal_batches

ENTRY_BYTES = 4 + 4 + 8
"""Of a bucket in the slab: number of the bucket, count, sum."""

KNOWN_ID_BYTES = 8 + 8 + 8


def folded(plan: Plan, *, households: int, days: float) -> PartitionState:
    """Return a partition that has folded so many days of a town."""
    state = PartitionState(plan=plan, stream_clock=True)
    town = Town(seed=1, households=households, start_us=MONDAY_US, days=days, plan=plan)
    for batch in signal_batches(town, 65_536):
        apply_signals(state, events_from_batch(batch, plan), stamp_us=town.end_us)
    assert state.counters.rejected == 0, "what is rejected weighs nothing"
    return state


def _bytes(arrays: Iterable[NDArray[Any]]) -> int:
    return sum(array.nbytes for array in arrays)


def weigh(state: PartitionState) -> dict[str, float]:
    """Return bytes per household of each part, as used and (last) as allocated."""
    households, members = state.households.count, state.members.count
    layout, cells, dedupe = state.layout, state.cells, state.dedupe
    own = layout.household_initial.size * 8
    of_members = layout.member_initial.size * 8 * members / households
    windows = int(cells.slab.free[CLASSES]) * ENTRY_BYTES / households
    tables = [state.households.arrays, state.members.arrays]
    keys = sum(_bytes(table) for table in tables) / households
    allocated = _bytes(cells[:3]) + _bytes(cells.slab) + sum(_bytes(table) for table in tables)
    return {
        "households": households,
        "members_per_household": round(members / households, 2),
        "events_applied": state.counters.by_status["APPLIED"],
        "features": len(state.plan.features),
        "cells_per_household": layout.household_initial.size,
        "cells_per_member": layout.member_initial.size,
        "windows_per_household": sum(window.scope is Scope.HOUSEHOLD for window in state.plan.windows),
        "windows_per_member": sum(window.scope is Scope.MEMBER for window in state.plan.windows),
        "household_cells_bytes": own,
        "member_cells_bytes": round(of_members),
        "window_entries_bytes": round(windows),
        "bases_bytes": round(8 + 8 * members / households),
        "features_bytes": round(own + of_members + windows + 8 + 8 * members / households),
        "dense_windows_bytes": round(dense_windows_bytes(state.plan, members / households)),
        "key_tables_bytes": round(keys),
        "allocated_bytes": round(allocated / households),
        "known_ids": dedupe.count,
        "known_id_bytes_each": round(dedupe.arrays.times.size * KNOWN_ID_BYTES / max(dedupe.count, 1)),
    }


def dense_windows_bytes(plan: Plan, members: float) -> float:
    """Return what the windows would take with a place for every bucket they may keep."""
    factor = {Scope.HOUSEHOLD: 1.0, Scope.MEMBER: members}
    return sum(factor[window.scope] * window.bucket_count * (ENTRY_BYTES - 4) for window in plan.windows)


@njit(cache=True, error_model="numpy", nogil=True)
def _touch(
    cells: NDArray[np.float64],
    row_step: int,
    cell_step: int,
    rows: NDArray[np.int64],
    kinds: NDArray[np.int64],
    starts: NDArray[np.int64],
    touched: NDArray[np.int64],
) -> None:
    for i in range(rows.shape[0]):
        base = rows[i] * row_step
        for j in range(starts[kinds[i]], starts[kinds[i] + 1]):
            cells[base + touched[j] * cell_step] += 1.0


def touched_cells(plan: Plan) -> list[list[int]]:
    """Return, per event type that touches any, the cells of a member that its features and triggers touch."""
    layout, touched = lay_out(plan), []
    ends = [*sorted({0, *(cell for cell in layout.feature_cells if cell >= 0), *layout.window_cells})]
    for event in range(len(plan.event_types)):
        cells: set[int] = set()
        for index, feature in enumerate(plan.features):
            if feature.scope is Scope.MEMBER and event in (*feature.events, *feature.off_events):
                first = layout.feature_cells[index]
                last = next((end for end in ends if end > first), layout.member_initial.size)
                # Of many cells (kept times, distinct values, shares) the first few are looked at.
                cells.update(range(first, min(last, first + 4)))
        for index, window in enumerate(plan.windows):
            if window.scope is Scope.MEMBER and event in window.events:
                cells.add(layout.window_cells[index])
        for index, journey in enumerate(plan.journeys):
            if journey.trigger is not None and event in journey.trigger.events:
                cells.add(layout.trigger_cells[index])
        if cells:
            touched.append(sorted(cells))
    return touched


def touch(plan: Plan, *, rows: int, events: int) -> dict[str, float]:
    """Return nanoseconds of touching, in random members, what events touch and (`all_`) what a decision reads.

    The best of eleven, taken in turns.
    """
    chance = np.random.default_rng(1)
    width = lay_out(plan).member_initial.size
    per_type = touched_cells(plan)
    rows_touched = chance.integers(0, rows, events)
    cells = np.zeros(rows * width)
    found = {"rows": rows, "cells": width, "cells_per_event": round(sum(map(len, per_type)) / len(per_type), 1)}
    for prefix, kinds in (("", per_type), ("all_", [list(range(width))])):
        starts, touched = np.cumsum([0, *map(len, kinds)]), np.array([cell for one in kinds for cell in one])
        drawn = chance.integers(0, len(kinds), events)
        steps = {f"{prefix}by_row_ns": (width, 1), f"{prefix}by_column_ns": (1, rows)}
        best = dict.fromkeys(steps, float("inf"))
        for _ in range(11):
            for name, (row_step, cell_step) in steps.items():
                began = time.perf_counter()
                _touch(cells, row_step, cell_step, rows_touched, drawn, starts, touched)
                best[name] = min(best[name], time.perf_counter() - began)
        found |= {name: round(seconds / events * 1e9, 1) for name, seconds in best.items()}
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--households", type=int, default=10_000)
    parser.add_argument("--days", type=float, default=14.0)
    given = parser.parse_args()
    plan = compile_playbook(SHIPPED_PLAYBOOK)
    weights = weigh(folded(plan, households=given.households, days=given.days))
    touches = touch(plan, rows=200_000, events=500_000)
    if given.json:
        print(json.dumps({"memory": weights, "touch": touches}))
        return
    for name, value in [*weights.items(), *touches.items()]:
        print(f"{name:<26} {value:>14,}")


if __name__ == "__main__":
    main()
