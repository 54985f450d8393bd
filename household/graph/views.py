"""One household's, or subject's, features out of several rows: what they hold is combined in the order of their keys.

Nothing of the state is changed: rows are copied, with their windows, and combined beside it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from household.columns.combining import combine_rows
from household.columns.features import Cells
from household.columns.layout import Layout
from household.columns.windows import CLASSES, Slab, new_slab
from household.kernel import kernel
from household.plan import Plan, Scope

_FIRST_ENTRIES = 1_024


@kernel
def _copy_rows(
    flat: NDArray[np.float64],
    bases: NDArray[np.int64],
    window_cells: NDArray[np.int64],
    slab: Slab,
    copies: NDArray[np.float64],
    kept: Slab,
) -> Any:
    """Set copies[i] to the row at bases[i], windows in `kept`; return entries needed, which may be more than room."""
    needed = kept.free[CLASSES]
    for i in range(bases.shape[0]):
        for j in range(window_cells.shape[0]):
            packed = np.int64(flat[bases[i] + window_cells[j]])
            if packed != 0:
                needed += 1 << ((packed >> 11) & 31)
    if needed > kept.bucket.shape[0]:
        return needed
    for i in range(bases.shape[0]):
        for cell in range(copies.shape[1]):
            copies[i, cell] = flat[bases[i] + cell]
        for j in range(window_cells.shape[0]):
            packed = np.int64(copies[i, window_cells[j]])
            if packed != 0:
                at, cls, length = packed >> 16, (packed >> 11) & 31, packed & 2047
                to = kept.free[CLASSES]
                kept.free[CLASSES] = to + (1 << cls)
                for k in range(length):
                    kept.bucket[to + k] = slab.bucket[at + k]
                    kept.number[to + k] = slab.number[at + k]
                    kept.total[to + k] = slab.total[at + k]
                copies[i, window_cells[j]] = float((to << 16) | (cls << 11) | length)
    return needed


def copied_rows(
    cells: Cells, bases: NDArray[np.int64], windows: NDArray[np.int64], copies: NDArray[np.float64], slab: Slab
) -> Slab:
    """Set copies[i] to the row at bases[i], its windows in another slab; return that one, grown if need be."""
    while (needed := _copy_rows(cells.flat, bases, windows, cells.slab, copies, slab)) > slab.bucket.shape[0]:
        room = new_slab(2 * needed)
        room.bucket[: slab.bucket.shape[0]] = slab.bucket
        room.number[: slab.number.shape[0]] = slab.number
        room.total[: slab.total.shape[0]] = slab.total
        slab = room._replace(free=slab.free)
    return slab


def window_cells(plan: Plan, cells: tuple[int, ...], scope: Scope) -> NDArray[np.int64]:
    """Return the cells of a scope that hold handles of windows."""
    return np.array([cell for window, cell in zip(plan.windows, cells, strict=True) if window.scope is scope], np.int64)


def combined_cells(
    plan: Plan,
    layout: Layout,
    cells: Cells,
    household_rows: tuple[int, ...],
    member_rows: tuple[int, ...],
) -> Cells:
    """Return cells of one household and one member (rows 0 and 0) that have what these rows have together.

    Args:
        plan: in force.
        layout: of the plan.
        cells: of the state; left as they are.
        household_rows: in the order in which they combine.
        member_rows: likewise; -1, and none, for no member.
    """
    members = tuple(row for row in member_rows if row >= 0)
    width, member_width = layout.household_initial.shape[0], layout.member_initial.shape[0]
    count = 1 + len(household_rows)
    flat = np.empty(count * width + (1 + len(members)) * member_width)
    slab = new_slab(_FIRST_ENTRIES)
    households = flat[: count * width].reshape(count, width)
    people = flat[count * width :].reshape(1 + len(members), member_width)
    households[0], people[0] = layout.household_initial, layout.member_initial
    for scope, bases, rows in (
        (Scope.HOUSEHOLD, cells.household_bases[list(household_rows)], households),
        (Scope.MEMBER, cells.member_bases[list(members)], people),
    ):
        slab = copied_rows(cells, bases, window_cells(plan, layout.window_cells, scope), rows[1:], slab)
    view = Cells(
        flat=flat,
        household_bases=np.zeros(1, np.int64),
        member_bases=np.array([count * width], np.int64),
        slab=slab,
    )
    for place in range(1, count):
        view = combine_rows(plan, layout, view, Scope.HOUSEHOLD, 0, place * width)
    for place in range(1, 1 + len(members)):
        view = combine_rows(plan, layout, view, Scope.MEMBER, count * width, count * width + place * member_width)
    return view
