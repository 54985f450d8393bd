"""Kinds that count: how often, how often lately, how many of the newest, how many different ones, which most."""

import numpy as np
from numpy.typing import NDArray

from household.columns.decay import decay
from household.columns.kinds.definition import (
    HALF_LIFE_US,
    NAN,
    SPAN_US,
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
from household.plan import FeatureKind, FieldKind

Floats = NDArray[np.float64]

# --- count -----------------------------------------------------------------------------------------------------------


@inlined
def _count(flat: Floats, cell: int, keep: int, terms: Floats, row: int, value: float, t: float) -> None:
    flat[cell] += 1.0


@inlined
def _read_count(flat: Floats, slab: Slab, cell: int, keep: int, terms: Floats, row: int, t: float) -> float:
    return flat[cell]


@inlined
def _combine_counts(flat: Floats, cell: int, other: int, keep: int, terms: Floats, row: int) -> None:
    flat[cell] += flat[other]


COUNT = Kind(
    kind=FeatureKind.COUNT,
    summary="how often, ever",
    result=Result.INT,
    unit="events",
    readings=Readings.WHOLE_FROM_ZERO,
    cells=lambda feature: (Cell(dtype="count", unit="events", initial=0.0),),
    update=_count,
    read=_read_count,
    combine=_combine_counts,
    combination=Combination.EXACT,
    example=Example(written="", told=((1, None), (9, None), (5, None)), reads=((0, 3.0), (99, 3.0))),
)

# --- decayed count ---------------------------------------------------------------------------------------------------


@kernel
def _add_decayed(flat: Floats, cell: int, amount: float, t: float, half_life: float) -> None:
    """Add an amount as of t to a decayed count; the order of two does not matter but for rounding."""
    newest = flat[cell + 1]
    if np.isnan(newest):
        flat[cell] = amount
        flat[cell + 1] = t
    elif t >= newest:
        flat[cell] = flat[cell] * decay(t - newest, half_life) + amount
        flat[cell + 1] = t
    else:
        flat[cell] += amount * decay(newest - t, half_life)


@inlined
def _count_decayed(flat: Floats, cell: int, keep: int, terms: Floats, row: int, value: float, t: float) -> None:
    _add_decayed(flat, cell, 1.0, t, terms[row, HALF_LIFE_US])


@inlined
def _read_decayed(flat: Floats, slab: Slab, cell: int, keep: int, terms: Floats, row: int, t: float) -> float:
    if np.isnan(flat[cell + 1]):
        return 0.0
    return flat[cell] * decay(max(t - flat[cell + 1], 0.0), terms[row, HALF_LIFE_US])


@inlined
def _combine_decayed(flat: Floats, cell: int, other: int, keep: int, terms: Floats, row: int) -> None:
    if not np.isnan(flat[other + 1]):
        _add_decayed(flat, cell, flat[other], flat[other + 1], terms[row, HALF_LIFE_US])


DECAYED_COUNT = Kind(
    kind=FeatureKind.DECAYED_COUNT,
    summary="how often lately: each event counts 1, and half of that after a half-life",
    parameters=(Parameter.HALF_LIFE,),
    result=Result.DOUBLE,
    unit="events",
    readings=Readings.FROM_ZERO,
    cells=lambda feature: (
        Cell(dtype="number", unit="events", initial=0.0),
        Cell(part="as_of", dtype="time", unit="us", initial=NAN),
    ),
    update=_count_decayed,
    read=_read_decayed,
    combine=_combine_decayed,
    combination=Combination.BUT_FOR_ROUNDING,
    combination_note="the older of the two is decayed to the time of the newer and added",
    example=Example(written="half_life: 10s", told=((0, None), (10, None)), reads=((10, 1.5), (20, 0.75))),
)

# --- newest times ----------------------------------------------------------------------------------------------------


@kernel
def _add_newest(flat: Floats, cell: int, keep: int, t: float) -> None:
    place = keep
    while place > 0 and (np.isnan(flat[cell + place - 1]) or flat[cell + place - 1] <= t):
        place -= 1
    for j in range(keep - 1, place, -1):
        flat[cell + j] = flat[cell + j - 1]
    if place < keep:
        flat[cell + place] = t


@kernel
def _count_newest(flat: Floats, cell: int, keep: int, after: float, until: float) -> float:
    number = 0.0
    for j in range(keep):
        if flat[cell + j] > after and flat[cell + j] <= until:
            number += 1.0
    return number


@inlined
def keep_time(flat: Floats, cell: int, keep: int, terms: Floats, row: int, value: float, t: float) -> None:
    _add_newest(flat, cell, keep, t)


@inlined
def _read_newest(flat: Floats, slab: Slab, cell: int, keep: int, terms: Floats, row: int, t: float) -> float:
    return _count_newest(flat, cell, keep, t - terms[row, SPAN_US], t)


@inlined
def combine_newest(flat: Floats, cell: int, other: int, keep: int, terms: Floats, row: int) -> None:
    for j in range(keep):
        if not np.isnan(flat[other + j]):
            _add_newest(flat, cell, keep, flat[other + j])


NEWEST_TIMES = Kind(
    kind=FeatureKind.NEWEST_TIMES,
    summary="how many of the newest `keep` lie less than `span` back; to the microsecond, not by buckets",
    parameters=(Parameter.KEEP, Parameter.SPAN),
    result=Result.INT,
    unit="events",
    readings=Readings.WHOLE_TO_KEEP,
    cells=lambda feature: tuple(
        Cell(part=f"time_{k}", dtype="time", unit="us", initial=NAN) for k in range(feature.keep)
    ),
    update=keep_time,
    read=_read_newest,
    combine=combine_newest,
    combination=Combination.EXACT,
    example=Example(
        written="keep: 3, span: 10s",
        told=((0, None), (1, None), (4, None), (2, None)),
        reads=((4, 3.0), (12, 1.0), (14, 0.0)),
    ),
)

# --- distinct --------------------------------------------------------------------------------------------------------


@kernel
def _add_distinct(flat: Floats, cell: int, keep: int, value: float) -> None:
    for j in range(keep):
        if np.isnan(flat[cell + j]):
            flat[cell + j] = value
            return
        if flat[cell + j] == value:
            return


@kernel
def count_known(flat: Floats, cell: int, keep: int) -> float:
    number = 0.0
    for j in range(keep):
        if not np.isnan(flat[cell + j]):
            number += 1.0
    return number


@inlined
def _keep_value(flat: Floats, cell: int, keep: int, terms: Floats, row: int, value: float, t: float) -> None:
    if not np.isnan(value):
        _add_distinct(flat, cell, keep, value)


@inlined
def _read_distinct(flat: Floats, slab: Slab, cell: int, keep: int, terms: Floats, row: int, t: float) -> float:
    return count_known(flat, cell, keep)


@inlined
def _combine_distinct(flat: Floats, cell: int, other: int, keep: int, terms: Floats, row: int) -> None:
    for j in range(keep):
        if not np.isnan(flat[other + j]):
            _add_distinct(flat, cell, keep, flat[other + j])


DISTINCT = Kind(
    kind=FeatureKind.DISTINCT,
    summary="how many different values, at most `keep`",
    parameters=(Parameter.FIELD, Parameter.KEEP),
    field_kinds=tuple(FieldKind),
    result=Result.INT,
    unit="values",
    readings=Readings.WHOLE_TO_KEEP_OR_VALUES,
    cells=lambda feature: tuple(
        Cell(part=f"value_{k}", dtype="value", unit=feature.unit, initial=NAN) for k in range(feature.keep)
    ),
    update=_keep_value,
    read=_read_distinct,
    combine=_combine_distinct,
    combination=Combination.EXACT,
    example=Example(
        written="field: amount, keep: 2",
        told=((0, 7.0), (1, None), (2, 7.0), (3, 5.0), (4, 6.0)),
        reads=((9, 2.0),),
    ),
)

# --- most used -------------------------------------------------------------------------------------------------------


@kernel
def _age_shares(flat: Floats, cell: int, values: int, t: float, half_life: float) -> None:
    """Bring all shares to time t, if that is newer."""
    newest = flat[cell + values]
    if np.isnan(newest) or t >= newest:
        if not np.isnan(newest):
            factor = decay(t - newest, half_life)
            for j in range(values):
                flat[cell + j] *= factor
        flat[cell + values] = t


@kernel
def add_most_used(flat: Floats, cell: int, values: int, used: int, t: float, half_life: float) -> None:
    newest = flat[cell + values]
    if np.isnan(newest) or t >= newest:
        _age_shares(flat, cell, values, t, half_life)
        flat[cell + used] += 1.0
    else:
        flat[cell + used] += decay(newest - t, half_life)


@kernel
def most_used(flat: Floats, cell: int, values: int) -> float:
    best, most = np.nan, 0.0
    for j in range(values):
        if flat[cell + j] > most:
            best, most = float(j), flat[cell + j]
    return best


@inlined
def _use(flat: Floats, cell: int, keep: int, terms: Floats, row: int, value: float, t: float) -> None:
    if not np.isnan(value):
        add_most_used(flat, cell, keep, np.int64(value), t, terms[row, HALF_LIFE_US])


@inlined
def _read_most_used(flat: Floats, slab: Slab, cell: int, keep: int, terms: Floats, row: int, t: float) -> float:
    return most_used(flat, cell, keep)


@kernel
def add_shares(flat: Floats, cell: int, other: int, values: int, half_life: float) -> None:
    theirs = flat[other + values]
    if np.isnan(theirs):
        return
    _age_shares(flat, cell, values, theirs, half_life)
    factor = decay(flat[cell + values] - theirs, half_life)
    for j in range(values):
        flat[cell + j] += flat[other + j] * factor


@inlined
def _combine_most_used(flat: Floats, cell: int, other: int, keep: int, terms: Floats, row: int) -> None:
    add_shares(flat, cell, other, keep, terms[row, HALF_LIFE_US])


MOST_USED = Kind(
    kind=FeatureKind.MOST_USED,
    summary="the value of an enum field used most lately; unknown before the first",
    parameters=(Parameter.FIELD, Parameter.HALF_LIFE),
    field_kinds=(FieldKind.ENUM,),
    result=Result.ENUM,
    readings=Readings.PLACE_IN_VALUES,
    unseen=NAN,
    cells=lambda feature: (
        *(Cell(part=name, dtype="number", unit="events", initial=0.0) for name in feature.values),
        Cell(part="as_of", dtype="time", unit="us", initial=NAN),
    ),
    has_cell_per_value=True,
    update=_use,
    read=_read_most_used,
    combine=_combine_most_used,
    combination=Combination.BUT_FOR_ROUNDING,
    combination_note="the shares of the older are decayed to the time of the newer and added, value by value",
    example=Example(
        written="field: genre, half_life: 10s",
        told=((0, 2.0), (0, 2.0), (1, None), (30, 1.0)),
        reads=((0, 1.0), (99, 1.0)),
    ),
)
