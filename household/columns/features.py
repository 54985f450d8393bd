"""How an event changes features and how they read, whatever their kinds, and the programs over them.

All of it runs inside kernels that release the GIL. Disorder: an event older than the newest of its household counts
with its own time; where only the newest matters (last seen, profile, product held) an older one changes nothing.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from household.columns.dispatch import WINDOW_UPDATE, read_cells, update_cells
from household.columns.kinds.definition import BUCKET_US, UNSEEN
from household.columns.layout import Rules
from household.columns.program import STACK_DEPTH, Op, binary, unary
from household.columns.windows import Slab, window_add
from household.kernel import inlined, kernel


class Cells(NamedTuple):
    """All rows of a partition, one after another in one array: a row is found by its base."""

    flat: NDArray[np.float64]
    household_bases: NDArray[np.int64]
    """(households,) where each household's row starts in `flat`."""
    member_bases: NDArray[np.int64]
    slab: Slab


# Plain ints for the kernels: an IntEnum member in a kernel costs compile time for each use.
_OP_CONST, _OP_FEATURE, _OP_FIELD = int(Op.CONST), int(Op.FEATURE), int(Op.FIELD)
_OP_SKIP_IF_FALSE, _OP_SKIP_IF_TRUE, _OP_SELECT = int(Op.SKIP_IF_FALSE), int(Op.SKIP_IF_TRUE), int(Op.SELECT)
_OP_ADD, _OP_TRUNCATE, _OP_IS_KNOWN = int(Op.ADD), int(Op.TRUNCATE), int(Op.IS_KNOWN)


@inlined
def _update(rules: Rules, u: int, cells: Cells, base: int, values: NDArray[np.float64], i: int, t: float) -> None:
    code, field, keep = rules.updates[u, 0], rules.updates[u, 4], rules.updates[u, 5]
    flat, cell = cells.flat, base + rules.updates[u, 2]
    value = values[field, i] if field >= 0 else np.nan
    if code == WINDOW_UPDATE:
        amount = 0.0 if np.isnan(value) else value
        bucket = np.int64(t) // np.int64(rules.update_terms[u, BUCKET_US])
        flat[cell] = window_add(cells.slab, flat[cell], bucket, keep, amount)
    else:
        update_cells(code, flat, cell, keep, rules.update_terms, u, value, t)


@inlined
def read_feature(rules: Rules, cells: Cells, feature: int, household: int, member: int, t: float) -> float:
    """Return a feature's value as of t. Without a member, a member's feature reads as of one never seen."""
    code, keep = rules.reads[feature, 0], rules.reads[feature, 3]
    if rules.reads[feature, 1] == 1:
        if member < 0:
            return rules.read_terms[feature, UNSEEN]
        cell = cells.member_bases[member] + rules.reads[feature, 2]
    else:
        cell = cells.household_bases[household] + rules.reads[feature, 2]
    return read_cells(code, cells.flat, cells.slab, cell, keep, rules.read_terms, feature, t)


@inlined
def run_program(
    rules: Rules,
    cells: Cells,
    program: int,
    household: int,
    member: int,
    values: NDArray[np.float64],
    i: int,
    t: float,
    stack: NDArray[np.float64],
) -> float:
    """Return a program's value for one household (and member) as of t, with the fields of event i."""
    at, end, depth = rules.program_start[program], rules.program_start[program + 1], 0
    while at < end:
        op, arg = rules.ops[at], rules.args[at]
        at += 1
        if op == _OP_CONST:
            stack[depth] = arg
            depth += 1
        elif op == _OP_FEATURE:
            stack[depth] = read_feature(rules, cells, np.int64(arg), household, member, t)
            depth += 1
        elif op == _OP_FIELD:
            stack[depth] = values[np.int64(arg), i]
            depth += 1
        elif op == _OP_SKIP_IF_FALSE:
            if stack[depth - 1] == 0.0:
                at += np.int64(arg)
        elif op == _OP_SKIP_IF_TRUE:
            if stack[depth - 1] == 1.0:
                at += np.int64(arg)
        elif op == _OP_SELECT:
            depth -= 2
            condition = stack[depth - 1]
            if condition == 1.0:
                stack[depth - 1] = stack[depth]
            elif not np.isnan(condition):
                stack[depth - 1] = stack[depth + 1]
        elif op < _OP_ADD or op in (_OP_TRUNCATE, _OP_IS_KNOWN):
            stack[depth - 1] = unary(op, stack[depth - 1])
        else:
            depth -= 1
            stack[depth - 1] = binary(op, stack[depth - 1], stack[depth])
    return stack[0]


@inlined
def update_features(
    rules: Rules,
    cells: Cells,
    kind: int,
    household: int,
    member: int,
    values: NDArray[np.float64],
    i: int,
    t: float,
    stack: NDArray[np.float64],
) -> None:
    """Apply one event (row i of a batch) to every feature that listens to its type."""
    for u in range(rules.update_start[kind], rules.update_start[kind + 1]):
        is_member = rules.updates[u, 1] == 1
        if is_member and member < 0:
            continue
        where = rules.updates[u, 3]
        if where >= 0 and run_program(rules, cells, where, household, member, values, i, t, stack) != 1.0:
            continue
        base = cells.member_bases[member] if is_member else cells.household_bases[household]
        _update(rules, u, cells, base, values, i, t)


def read_and_run(
    rules: Rules,
    cells: Cells,
    household: int,
    member: int,
    as_of_us: int,
    readings: NDArray[np.float64],
    programs: NDArray[np.int64],
    results: NDArray[np.float64],
) -> None:
    """Fill what features read, and what programs that need no event come to, as of a time.

    Args:
        rules: of the plan.
        cells: of whom is asked about.
        household: row in `cells`.
        member: row in `cells`, or −1.
        as_of_us: as of when.
        readings: (features,) to be filled; empty where nobody wants them.
        programs: (n,) NaN is the value of a number below 0.
        results: (n,) to be filled.
    """
    _read_and_run(
        *rules, *cells[:-1], *cells.slab, household, member, float(as_of_us), _NOTHING, np.empty(STACK_DEPTH),
        readings, programs, results,
    )  # fmt: skip


_NOTHING = np.full((1, 1), np.nan)


@kernel
def _read_and_run(
    update_start: NDArray[np.int64],
    updates: NDArray[np.int64],
    update_terms: NDArray[np.float64],
    reads: NDArray[np.int64],
    read_terms: NDArray[np.float64],
    program_start: NDArray[np.int64],
    ops: NDArray[np.int64],
    args: NDArray[np.float64],
    trigger_start: NDArray[np.int64],
    trigger_list: NDArray[np.int64],
    triggers: NDArray[np.int64],
    cooldowns: NDArray[np.float64],
    field_start: NDArray[np.int64],
    fields: NDArray[np.int64],
    field_range: NDArray[np.float64],
    entries_per_event: NDArray[np.int64],
    is_report: NDArray[np.uint8],
    flat: NDArray[np.float64],
    household_bases: NDArray[np.int64],
    member_bases: NDArray[np.int64],
    bucket: NDArray[np.int32],
    number: NDArray[np.int32],
    total: NDArray[np.float64],
    free: NDArray[np.int64],
    household: int,
    member: int,
    t: float,
    nothing: NDArray[np.float64],
    stack: NDArray[np.float64],
    readings: NDArray[np.float64],
    programs: NDArray[np.int64],
    results: NDArray[np.float64],
) -> None:
    # The arrays come each by itself: to see of which types a tuple's are, at each call, takes three times as long as
    # all that is done here.
    rules = Rules(
        update_start, updates, update_terms, reads, read_terms, program_start, ops, args, trigger_start, trigger_list,
        triggers, cooldowns, field_start, fields, field_range, entries_per_event, is_report,
    )  # fmt: skip
    cells = Cells(flat, household_bases, member_bases, Slab(bucket, number, total, free))
    for feature in range(readings.shape[0]):
        readings[feature] = read_feature(rules, cells, feature, household, member, t)
    for j in range(programs.shape[0]):
        results[j] = np.nan
        if programs[j] >= 0:
            results[j] = run_program(rules, cells, programs[j], household, member, nothing, 0, t, stack)
