"""Folding events into the features of given rows once more, and putting rows back to where they began: kernels."""

import numpy as np
from numpy.typing import NDArray

from household.columns.features import Cells, update_features
from household.columns.layout import Rules
from household.columns.windows import CLASSES, give_back, grown_slab
from household.graph.views import window_cells
from household.kernel import kernel
from household.plan import Scope
from household.state import PartitionState


@kernel
def _fold_features(
    rules: Rules,
    cells: Cells,
    types: NDArray[np.int32],
    times_us: NDArray[np.int64],
    values: NDArray[np.float64],
    household_rows: NDArray[np.int32],
    member_rows: NDArray[np.int32],
    first: int,
    stack: NDArray[np.float64],
) -> int:
    """Fold events from `first` into features; stop where the slab needs room. Returns the next event."""
    for i in range(first, types.shape[0]):
        kind = types[i]
        if cells.slab.free[CLASSES] + rules.entries_per_event[kind] >= cells.slab.bucket.shape[0]:
            return i
        update_features(rules, cells, kind, household_rows[i], member_rows[i], values, i, float(times_us[i]), stack)
    count: int = types.shape[0]
    return count


def fold_features(
    state: PartitionState,
    types: NDArray[np.int32],
    times_us: NDArray[np.int64],
    values: NDArray[np.float64],
    household_rows: NDArray[np.int32],
    member_rows: NDArray[np.int32],
    stack: NDArray[np.float64],
) -> None:
    """Fold events (n,), values (fields, n), into the features of these rows, whatever triggers say."""
    done = 0
    while True:
        done = _fold_features(
            state.layout.rules, state.cells, types, times_us, values, household_rows, member_rows, done, stack
        )
        if done == types.shape[0]:
            return
        state.cells = state.cells._replace(slab=grown_slab(state.cells.slab))


def reset_row(state: PartitionState, scope: Scope, row: int) -> None:
    """Put the features of a row back to what they are at first. What its triggers did stays."""
    layout, cells = state.layout, state.cells
    is_member = scope is Scope.MEMBER
    initial = layout.member_initial if is_member else layout.household_initial
    base = int((cells.member_bases if is_member else cells.household_bases)[row])
    windows = window_cells(state.plan, layout.window_cells, scope)
    give_back(cells.slab, cells.flat[base + windows])
    kept = [
        (base + cell, cells.flat[base + cell], cells.flat[base + cell + 1])
        for journey, cell in zip(state.plan.journeys, layout.trigger_cells, strict=True)
        if journey.trigger is not None and journey.trigger.scope is scope
    ]
    cells.flat[base : base + initial.shape[0]] = initial
    for at, fired, instances in kept:
        cells.flat[at], cells.flat[at + 1] = fired, instances
