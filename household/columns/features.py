"""How an event changes features and how they read: one update and one read per kind, and the programs over them.

All of it runs inside kernels that release the GIL. Disorder: an event older than the newest of its household counts
with its own time; where only the newest matters (last seen, profile, product held) an older one changes nothing.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from household.columns.decay import decay
from household.columns.layout import Read, Rules, Update
from household.columns.program import Op, binary, unary
from household.columns.windows import Slab, window_add, window_read
from household.kernel import inlined, kernel


class Cells(NamedTuple):
    """All rows of a partition, one after another in one array: a row is found by its base."""

    flat: NDArray[np.float64]
    household_bases: NDArray[np.int64]
    """(households,) where each household's row starts in `flat`."""
    member_bases: NDArray[np.int64]
    slab: Slab


# Plain ints for the kernels: an IntEnum member in a kernel costs compile time for each use.
_U = {name: int(value) for name, value in Update.__members__.items()}
_U_COUNT, _U_DECAYED, _U_NEWEST, _U_LAST = _U["COUNT"], _U["DECAYED"], _U["NEWEST"], _U["LAST"]
_U_DISTINCT, _U_SESSION, _U_PROFILE = _U["DISTINCT"], _U["SESSION"], _U["PROFILE"]
_U_HELD_ON, _U_HELD_OFF, _U_MOST_USED, _U_WINDOW = _U["HELD_ON"], _U["HELD_OFF"], _U["MOST_USED"], _U["WINDOW"]
_R = {name: int(value) for name, value in Read.__members__.items()}
_R_COUNT, _R_DECAYED, _R_NEWEST, _R_LAST = _R["COUNT"], _R["DECAYED"], _R["NEWEST"], _R["LAST"]
_R_DISTINCT, _R_SESSION, _R_PROFILE, _R_HELD = _R["DISTINCT"], _R["SESSION"], _R["PROFILE"], _R["HELD"]
_R_MOST_USED, _R_WINDOW_COUNT, _R_WINDOW_SUM = _R["MOST_USED"], _R["WINDOW_COUNT"], _R["WINDOW_SUM"]
_OP_CONST, _OP_FEATURE, _OP_FIELD = int(Op.CONST), int(Op.FEATURE), int(Op.FIELD)
_OP_SKIP_IF_FALSE, _OP_SKIP_IF_TRUE, _OP_SELECT = int(Op.SKIP_IF_FALSE), int(Op.SKIP_IF_TRUE), int(Op.SELECT)
_OP_ADD, _OP_TRUNCATE, _OP_IS_KNOWN = int(Op.ADD), int(Op.TRUNCATE), int(Op.IS_KNOWN)


@kernel
def _add_decayed(flat: NDArray[np.float64], value: int, as_of: int, t: float, half_life: float) -> None:
    """Add one event at t to a decayed count; the order of two events does not matter but for rounding."""
    newest = flat[as_of]
    if np.isnan(newest):
        flat[value] = 1.0
        flat[as_of] = t
    elif t >= newest:
        flat[value] = flat[value] * decay(t - newest, half_life) + 1.0
        flat[as_of] = t
    else:
        flat[value] += decay(newest - t, half_life)


@kernel
def _add_most_used(flat: NDArray[np.float64], cell: int, values: int, used: int, t: float, half_life: float) -> None:
    newest = flat[cell + values]
    if np.isnan(newest) or t >= newest:
        if not np.isnan(newest):
            factor = decay(t - newest, half_life)
            for j in range(values):
                flat[cell + j] *= factor
        flat[cell + used] += 1.0
        flat[cell + values] = t
    else:
        flat[cell + used] += decay(newest - t, half_life)


@kernel
def _add_newest(flat: NDArray[np.float64], cell: int, keep: int, t: float) -> None:
    place = keep
    while place > 0 and (np.isnan(flat[cell + place - 1]) or flat[cell + place - 1] <= t):
        place -= 1
    for j in range(keep - 1, place, -1):
        flat[cell + j] = flat[cell + j - 1]
    if place < keep:
        flat[cell + place] = t


@kernel
def _add_distinct(flat: NDArray[np.float64], cell: int, keep: int, value: float) -> None:
    for j in range(keep):
        if np.isnan(flat[cell + j]):
            flat[cell + j] = value
            return
        if flat[cell + j] == value:
            return


@kernel
def _extend_session(flat: NDArray[np.float64], cell: int, t: float, gap: float) -> None:
    start, end = flat[cell], flat[cell + 1]
    if np.isnan(start) or t - end >= gap:
        flat[cell], flat[cell + 1] = t, t
    elif t > end:
        flat[cell + 1] = t
    elif t < start and start - t < gap:
        flat[cell] = t


@kernel
def _set_newest(flat: NDArray[np.float64], cell: int, value: float, t: float) -> None:
    if np.isnan(flat[cell + 1]) or t >= flat[cell + 1]:
        flat[cell] = value
        flat[cell + 1] = t


@inlined
def _update(rules: Rules, u: int, cells: Cells, base: int, values: NDArray[np.float64], i: int, t: float) -> None:
    kind, field, keep = rules.updates[u, 0], rules.updates[u, 4], rules.updates[u, 5]
    flat, cell = cells.flat, base + rules.updates[u, 2]
    value = values[field, i] if field >= 0 else np.nan
    half_life = rules.update_params[u, 0]
    if kind == _U_WINDOW:
        amount = 0.0 if np.isnan(value) else value
        bucket = np.int64(t) // np.int64(rules.update_params[u, 2])
        flat[cell] = window_add(cells.slab, flat[cell], bucket, keep, amount)
    elif kind == _U_COUNT:
        flat[cell] += 1.0
    elif kind == _U_DECAYED:
        _add_decayed(flat, cell, cell + 1, t, half_life)
    elif kind == _U_LAST:
        if np.isnan(flat[cell]) or t > flat[cell]:
            flat[cell] = t
    elif kind == _U_NEWEST:
        _add_newest(flat, cell, keep, t)
    elif kind == _U_SESSION:
        _extend_session(flat, cell, t, rules.update_params[u, 1])
    elif kind == _U_HELD_ON:
        _set_newest(flat, cell, 1.0, t)
    elif kind == _U_HELD_OFF:
        _set_newest(flat, cell, 0.0, t)
    elif not np.isnan(value):
        if kind == _U_PROFILE:
            _set_newest(flat, cell, value, t)
        elif kind == _U_DISTINCT:
            _add_distinct(flat, cell, keep, value)
        elif kind == _U_MOST_USED:
            _add_most_used(flat, cell, keep, np.int64(value), t, half_life)


@kernel
def _most_used(flat: NDArray[np.float64], cell: int, values: int) -> float:
    best, most = np.nan, 0.0
    for j in range(values):
        if flat[cell + j] > most:
            best, most = float(j), flat[cell + j]
    return best


@kernel
def _count_newest(flat: NDArray[np.float64], cell: int, keep: int, after: float, until: float) -> float:
    number = 0.0
    for j in range(keep):
        if flat[cell + j] > after and flat[cell + j] <= until:
            number += 1.0
    return number


@kernel
def _count_known(flat: NDArray[np.float64], cell: int, keep: int) -> float:
    number = 0.0
    for j in range(keep):
        if not np.isnan(flat[cell + j]):
            number += 1.0
    return number


@inlined
def _read_window(slab: Slab, handle: float, kind: int, t: float, span: float, bucket_us: float) -> float:
    newest = np.int64(t) // np.int64(bucket_us)
    buckets = np.int64(span) // np.int64(bucket_us)
    number, total = window_read(slab, handle, newest - buckets, newest)
    if kind == _R_WINDOW_COUNT:
        return number
    if kind == _R_WINDOW_SUM:
        return total
    before, _ = window_read(slab, handle, newest - 2 * buckets, newest - buckets)
    return (number - before) / max(before, 1.0)


@inlined
def _unseen(kind: int, initial: float) -> float:
    """What a member's feature reads where no member is known."""
    if kind == _R_LAST:
        return np.inf
    if kind == _R_PROFILE:
        return initial
    return np.nan if kind == _R_MOST_USED else 0.0


@inlined
def read_feature(rules: Rules, cells: Cells, feature: int, household: int, member: int, t: float) -> float:
    """Return a feature's value as of t. Without a member, a member's feature reads as of one never seen."""
    kind, keep = rules.reads[feature, 0], rules.reads[feature, 3]
    if rules.reads[feature, 1] == 1:
        if member < 0:
            return _unseen(kind, rules.read_params[feature, 3])
        cell = cells.member_bases[member] + rules.reads[feature, 2]
    else:
        cell = cells.household_bases[household] + rules.reads[feature, 2]
    flat = cells.flat
    if kind >= _R_WINDOW_COUNT:
        span, bucket_us = rules.read_params[feature, 0], rules.read_params[feature, 4]
        return _read_window(cells.slab, flat[cell], kind, t, span, bucket_us)
    if kind in (_R_COUNT, _R_PROFILE, _R_HELD):
        return flat[cell]
    if kind == _R_DECAYED:
        if np.isnan(flat[cell + 1]):
            return 0.0
        return flat[cell] * decay(max(t - flat[cell + 1], 0.0), rules.read_params[feature, 1])
    if kind == _R_LAST:
        return np.inf if np.isnan(flat[cell]) else max(t - flat[cell], 0.0) / rules.read_params[feature, 2]
    if kind == _R_NEWEST:
        return _count_newest(flat, cell, keep, t - rules.read_params[feature, 0], t)
    if kind == _R_SESSION:
        return 0.0 if np.isnan(flat[cell]) else (flat[cell + 1] - flat[cell]) / rules.read_params[feature, 2]
    if kind == _R_MOST_USED:
        return _most_used(flat, cell, keep)
    return _count_known(flat, cell, keep)


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


@kernel
def read_all(rules: Rules, cells: Cells, household: int, member: int, t: float, readings: NDArray[np.float64]) -> None:
    """Fill `readings` (features,) as of t."""
    for feature in range(rules.reads.shape[0]):
        readings[feature] = read_feature(rules, cells, feature, household, member, t)


@kernel
def run_all(
    rules: Rules,
    cells: Cells,
    programs: NDArray[np.int64],
    household: int,
    member: int,
    t: float,
    nothing: NDArray[np.float64],
    stack: NDArray[np.float64],
    results: NDArray[np.float64],
) -> None:
    """Fill `results` with the value of each program that needs no event, as of t; NaN for a program number below 0."""
    for j in range(programs.shape[0]):
        results[j] = np.nan
        if programs[j] >= 0:
            results[j] = run_program(rules, cells, programs[j], household, member, nothing, 0, t, stack)
