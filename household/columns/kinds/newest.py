"""Kinds for which the newest event decides: when it was, what it said, how long it has been going on."""

import math

import numpy as np
from numpy.typing import NDArray

from household.columns.kinds.definition import (
    GAP_US,
    NAN,
    UNIT_US,
    Cell,
    Combination,
    Example,
    Kind,
    Parameter,
    Readings,
    Result,
)
from household.columns.windows import Slab
from household.kernel import inlined, kernel
from household.plan import Feature, FeatureKind, FieldKind

Floats = NDArray[np.float64]

# --- last seen -------------------------------------------------------------------------------------------------------


@inlined
def _see(flat: Floats, cell: int, keep: int, terms: Floats, row: int, value: float, t: float) -> None:
    if np.isnan(flat[cell]) or t > flat[cell]:
        flat[cell] = t


@inlined
def _read_last_seen(flat: Floats, slab: Slab, cell: int, keep: int, terms: Floats, row: int, t: float) -> float:
    return np.inf if np.isnan(flat[cell]) else max(t - flat[cell], 0.0) / terms[row, UNIT_US]


@inlined
def _combine_last_seen(flat: Floats, cell: int, other: int, keep: int, terms: Floats, row: int) -> None:
    if np.isnan(flat[cell]) or flat[other] > flat[cell]:
        flat[cell] = flat[other]


LAST_SEEN = Kind(
    kind=FeatureKind.LAST_SEEN,
    summary="time since the newest, in `unit`; **infinite when there was none**",
    parameters=(Parameter.UNIT,),
    result=Result.DOUBLE,
    readings=Readings.FROM_ZERO,
    unseen=math.inf,
    cells=lambda feature: (Cell(dtype="time", unit="us", initial=NAN),),
    update=_see,
    read=_read_last_seen,
    combine=_combine_last_seen,
    combination=Combination.EXACT,
    example=Example(written="unit: seconds", told=((4, None), (1, None)), reads=((4, 0.0), (10, 6.0))),
)

# --- session length --------------------------------------------------------------------------------------------------


@kernel
def _extend_session(flat: Floats, cell: int, t: float, gap: float) -> None:
    start, end = flat[cell], flat[cell + 1]
    if np.isnan(start) or t - end >= gap:
        flat[cell], flat[cell + 1] = t, t
    elif t > end:
        flat[cell + 1] = t
    elif t < start and start - t < gap:
        flat[cell] = t


@kernel
def _join_sessions(flat: Floats, cell: int, other: int, gap: float) -> None:
    start, end = flat[other], flat[other + 1]
    if np.isnan(start):
        return
    if np.isnan(flat[cell]) or start - flat[cell + 1] >= gap:
        flat[cell], flat[cell + 1] = start, end
    elif flat[cell] - end < gap:
        flat[cell], flat[cell + 1] = min(flat[cell], start), max(flat[cell + 1], end)


@inlined
def _go_on(flat: Floats, cell: int, keep: int, terms: Floats, row: int, value: float, t: float) -> None:
    _extend_session(flat, cell, t, terms[row, GAP_US])


@inlined
def _read_session(flat: Floats, slab: Slab, cell: int, keep: int, terms: Floats, row: int, t: float) -> float:
    return 0.0 if np.isnan(flat[cell]) else (flat[cell + 1] - flat[cell]) / terms[row, UNIT_US]


@inlined
def _combine_sessions(flat: Floats, cell: int, other: int, keep: int, terms: Floats, row: int) -> None:
    _join_sessions(flat, cell, other, terms[row, GAP_US])


SESSION_LENGTH = Kind(
    kind=FeatureKind.SESSION_LENGTH,
    summary="length of the newest session; a gap ends one",
    parameters=(Parameter.GAP, Parameter.UNIT),
    result=Result.DOUBLE,
    readings=Readings.FROM_ZERO,
    cells=lambda feature: (
        Cell(part="start", dtype="time", unit="us", initial=NAN),
        Cell(part="end", dtype="time", unit="us", initial=NAN),
    ),
    update=_go_on,
    read=_read_session,
    combine=_combine_sessions,
    combination=Combination.INEXACT,
    combination_note=(
        "two newest sessions less than a gap apart become one, else the newer stays; of sessions before them, which "
        "the other's events might have joined to the newest, nothing is known, so it may read shorter"
    ),
    example=Example(written="gap: 5s, unit: seconds", told=((0, None), (7, None), (11, None)), reads=((99, 4.0),)),
)

# --- profile and product held ----------------------------------------------------------------------------------------


@kernel
def _set_newest(flat: Floats, cell: int, value: float, t: float) -> None:
    if np.isnan(flat[cell + 1]) or t >= flat[cell + 1]:
        flat[cell] = value
        flat[cell + 1] = t


@kernel
def _take_newer(flat: Floats, cell: int, other: int) -> None:
    """Of two of one time the larger, whoever is combined with whom."""
    ours, theirs = flat[cell + 1], flat[other + 1]
    if np.isnan(theirs) or theirs < ours or (theirs == ours and flat[other] <= flat[cell]):
        return
    flat[cell], flat[cell + 1] = flat[other], theirs


@inlined
def _combine_newest_values(flat: Floats, cell: int, other: int, keep: int, terms: Floats, row: int) -> None:
    _take_newer(flat, cell, other)


@inlined
def _read_value(flat: Floats, slab: Slab, cell: int, keep: int, terms: Floats, row: int, t: float) -> float:
    return flat[cell]


@inlined
def _tell(flat: Floats, cell: int, keep: int, terms: Floats, row: int, value: float, t: float) -> None:
    if not np.isnan(value):
        _set_newest(flat, cell, value, t)


def _profile_cells(feature: Feature) -> tuple[Cell, ...]:
    return (
        Cell(dtype="value", unit=feature.unit, initial=NAN if feature.initial is None else feature.initial),
        Cell(part="as_of", dtype="time", unit="us", initial=NAN),
    )


PROFILE = Kind(
    kind=FeatureKind.PROFILE,
    summary="the newest value; `initial` before the first (otherwise unknown)",
    parameters=(Parameter.FIELD, Parameter.INITIAL),
    field_kinds=(FieldKind.NUMBER, FieldKind.FLAG, FieldKind.ENUM),
    result=Result.FIELD,
    readings=Readings.FIELD,
    unseen=None,
    cells=_profile_cells,
    is_recoded=True,
    update=_tell,
    read=_read_value,
    combine=_combine_newest_values,
    combination=Combination.BUT_FOR_TIES,
    combination_note="the newer value stays; of two told in the same microsecond the larger, as the order is not known",
    example=Example(
        written="field: amount, initial: 1.5",
        told=((5, 7.0), (2, 3.0), (9, None)),
        reads=((0, 7.0), (99, 7.0)),
    ),
)


@inlined
def _take_up(flat: Floats, cell: int, keep: int, terms: Floats, row: int, value: float, t: float) -> None:
    _set_newest(flat, cell, 1.0, t)


@inlined
def _give_up(flat: Floats, cell: int, keep: int, terms: Floats, row: int, value: float, t: float) -> None:
    _set_newest(flat, cell, 0.0, t)


PRODUCT_HELD = Kind(
    kind=FeatureKind.PRODUCT_HELD,
    summary="true after one of `events`, false after one of `off_events`",
    parameters=(Parameter.OFF_EVENTS,),
    result=Result.BOOL,
    readings=Readings.TRUTH,
    cells=lambda feature: (
        Cell(dtype="flag", initial=0.0),
        Cell(part="as_of", dtype="time", unit="us", initial=NAN),
    ),
    update=_take_up,
    update_off=_give_up,
    read=_read_value,
    combine=_combine_newest_values,
    combination=Combination.BUT_FOR_TIES,
    combination_note="what the newer event said stays; of two in the same microsecond, that it is held",
    example=Example(written="off_events: off", told=((0, None), (5, None)), off=(3.0,), reads=((9, 1.0),)),
)
