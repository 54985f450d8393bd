"""The kind for products: which lines hold one. One that gives it up takes nothing of another's."""

import math

import numpy as np
from numpy.typing import NDArray

from household.columns.kinds.definition import NAN, Cell, Combination, Example, Kind, Parameter, Readings, Result
from household.columns.windows import Slab
from household.kernel import inlined, kernel
from household.plan import FeatureKind, FieldKind

Floats = NDArray[np.float64]

OF_NO_LINE = -1.0
"""Stands for the line of events that name none: the household as such holds it."""


@kernel
def _holds(as_of: float) -> bool:
    """A time with a minus stands for given up then."""
    return math.copysign(1.0, as_of) > 0.0


@kernel
def _is_rather_kept(line: float, as_of: float, other: float, other_as_of: float) -> bool:
    """Where there is no room for both: one that is held, then the newer, then the one of the larger number."""
    if _holds(as_of) != _holds(other_as_of):
        return _holds(as_of)
    if abs(as_of) != abs(other_as_of):
        return abs(as_of) > abs(other_as_of)
    return line > other


@kernel
def _cell_of(flat: Floats, cell: int, keep: int, line: float) -> int:
    """Return the cell of a line; -1 if it is not among those that are told apart."""
    for at in range(cell, cell + 2 * keep, 2):
        if flat[at] == line:
            return at
    return -1


@kernel
def _add_line(flat: Floats, cell: int, keep: int, line: float, as_of: float) -> None:
    """Tell a line apart that was not: in a free place, or in that of the one that is least to be kept."""
    least = cell
    for at in range(cell, cell + 2 * keep, 2):
        if np.isnan(flat[at]):
            flat[at], flat[at + 1] = line, as_of
            return
        if _is_rather_kept(flat[least], flat[least + 1], flat[at], flat[at + 1]):
            least = at
    if _is_rather_kept(line, as_of, flat[least], flat[least + 1]):
        flat[least], flat[least + 1] = line, as_of


@kernel
def _tell_line(flat: Floats, cell: int, keep: int, line: float, as_of: float) -> None:
    at = _cell_of(flat, cell, keep, line)
    if at < 0:
        _add_line(flat, cell, keep, line, as_of)
    elif abs(as_of) >= abs(flat[at + 1]):
        flat[at + 1] = as_of


@inlined
def _hold(flat: Floats, cell: int, keep: int, terms: Floats, row: int, value: float, t: float) -> None:
    _tell_line(flat, cell, keep, OF_NO_LINE if np.isnan(value) else value, t)


@inlined
def _let_go(flat: Floats, cell: int, keep: int, terms: Floats, row: int, value: float, t: float) -> None:
    _tell_line(flat, cell, keep, OF_NO_LINE if np.isnan(value) else value, math.copysign(t, -1.0))


@kernel
def _count_holding(flat: Floats, cell: int, keep: int) -> float:
    number = 0.0
    for j in range(keep):
        if not np.isnan(flat[cell + 2 * j]) and _holds(flat[cell + 2 * j + 1]):
            number += 1.0
    return number


@inlined
def _read_holding(flat: Floats, slab: Slab, cell: int, keep: int, terms: Floats, row: int, t: float) -> float:
    return _count_holding(flat, cell, keep)


@kernel
def _is_newer(as_of: float, other: float) -> bool:
    """Of what two know of one line: the newer."""
    return abs(as_of) > abs(other) or (abs(as_of) == abs(other) and _holds(as_of))


@kernel
def _add_lines(flat: Floats, cell: int, other: int, keep: int) -> None:
    # What both know comes first: only then is it known which lines there is no room for. One bit for each of the 64
    # lines at most says that it is done with.
    known = 0
    for j in range(keep):
        its = other + 2 * j
        at = _cell_of(flat, cell, keep, flat[its])
        if at >= 0:
            known |= 1 << j
            # Of two of one time that it is held, whoever is combined with whom.
            if _is_newer(flat[its + 1], flat[at + 1]):
                flat[at + 1] = flat[its + 1]
    for j in range(keep):
        its = other + 2 * j
        if not np.isnan(flat[its]) and not (known >> j) & 1:
            _add_line(flat, cell, keep, flat[its], flat[its + 1])


@inlined
def _combine_lines(flat: Floats, cell: int, other: int, keep: int, terms: Floats, row: int) -> None:
    _add_lines(flat, cell, other, keep)


LINES_HOLDING = Kind(
    kind=FeatureKind.LINES_HOLDING,
    summary=(
        "how many lines hold it, at most `keep`: of each line, a value of `field`, the newest of `events` and "
        "`off_events` decides"
    ),
    parameters=(Parameter.FIELD, Parameter.KEEP, Parameter.OFF_EVENTS),
    field_kinds=tuple(FieldKind),
    result=Result.INT,
    unit="lines",
    readings=Readings.WHOLE_TO_KEEP,
    cells=lambda feature: tuple(
        cell
        for k in range(feature.keep)
        for cell in (
            Cell(part=f"line_{k}", dtype="value", initial=NAN),
            Cell(part=f"line_{k}_as_of", dtype="time", unit="us", initial=NAN),
        )
    ),
    update=_hold,
    update_off=_let_go,
    read=_read_holding,
    combine=_combine_lines,
    combination=Combination.INEXACT,
    combination_note=(
        "of a line that both had the newer event counts, of two in the same microsecond that it is held; lines beyond "
        "`keep` are not counted, and which those are may be others"
    ),
    example=Example(
        written="field: amount, keep: 3, off_events: off",
        told=((0, 7.0), (1, 5.0), (2, None)),
        off=(3.0,),
        reads=((9, 2.0),),
    ),
)
