"""Kinds that tell of a rhythm: at which hour something happens most, and how far apart."""

import numpy as np
from numpy.typing import NDArray

from household.columns.kinds.counts import (
    add_most_used,
    add_shares,
    combine_newest,
    count_known,
    keep_time,
    most_used,
)
from household.columns.kinds.definition import (
    HALF_LIFE_US,
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
from household.plan import FeatureKind

Floats = NDArray[np.float64]

# --- peak hour -------------------------------------------------------------------------------------------------------

_HOURS, _HOUR_US = 24, 3_600_000_000


@inlined
def _hour(t: float) -> int:
    return (np.int64(t) // _HOUR_US) % _HOURS


@inlined
def _use_hour(flat: Floats, cell: int, keep: int, terms: Floats, row: int, value: float, t: float) -> None:
    add_most_used(flat, cell, _HOURS, _hour(t), t, terms[row, HALF_LIFE_US])


@inlined
def _read_peak_hour(flat: Floats, slab: Slab, cell: int, keep: int, terms: Floats, row: int, t: float) -> float:
    most = most_used(flat, cell, _HOURS)
    if np.isnan(most):
        return np.nan
    return 1.0 if most == float(_hour(t)) else 0.0


@inlined
def _combine_peak_hour(flat: Floats, cell: int, other: int, keep: int, terms: Floats, row: int) -> None:
    add_shares(flat, cell, other, _HOURS, terms[row, HALF_LIFE_US])


PEAK_HOUR = Kind(
    kind=FeatureKind.PEAK_HOUR,
    summary="true in the hour of the day (of UTC) in which it happens most lately; unknown before the first",
    parameters=(Parameter.HALF_LIFE,),
    result=Result.BOOL,
    readings=Readings.TRUTH,
    unseen=NAN,
    cells=lambda feature: (
        *(Cell(part=f"hour_{hour}", dtype="number", unit="events", initial=0.0) for hour in range(_HOURS)),
        Cell(part="as_of", dtype="time", unit="us", initial=NAN),
    ),
    update=_use_hour,
    read=_read_peak_hour,
    combine=_combine_peak_hour,
    combination=Combination.BUT_FOR_ROUNDING,
    combination_note="the shares of the older are decayed to the time of the newer and added, hour by hour",
    example=Example(
        written="half_life: 10h",
        told=((0, None), (1, None), (3_600, None), (90_000, None)),
        reads=((90_001, 1.0), (172_800, 0.0), (176_400, 1.0)),
    ),
)

# --- median gap ------------------------------------------------------------------------------------------------------


@kernel
def _gap_of_rank(flat: Floats, cell: int, gaps: int, rank: int) -> float:
    """Return the gap that has so many smaller ones before it, of those between times that lie newest first."""
    for j in range(gaps):
        gap = flat[cell + j] - flat[cell + j + 1]
        smaller, alike = 0, 0
        for i in range(gaps):
            other = flat[cell + i] - flat[cell + i + 1]
            if other < gap:
                smaller += 1
            elif other == gap:
                alike += 1
        if smaller <= rank < smaller + alike:
            return gap
    return np.nan


@inlined
def _read_median_gap(flat: Floats, slab: Slab, cell: int, keep: int, terms: Floats, row: int, t: float) -> float:
    gaps = np.int64(count_known(flat, cell, keep)) - 1
    if gaps < 2:
        return np.nan
    below, above = _gap_of_rank(flat, cell, gaps, (gaps - 1) // 2), _gap_of_rank(flat, cell, gaps, gaps // 2)
    return (below + above) / 2.0 / terms[row, UNIT_US]


MEDIAN_GAP = Kind(
    kind=FeatureKind.MEDIAN_GAP,
    summary="median of the gaps between the newest `keep`, in `unit`; unknown before there are two gaps",
    parameters=(Parameter.KEEP, Parameter.UNIT),
    result=Result.DOUBLE,
    readings=Readings.FROM_ZERO,
    unseen=NAN,
    cells=lambda feature: tuple(
        Cell(part=f"time_{k}", dtype="time", unit="us", initial=NAN) for k in range(feature.keep)
    ),
    update=keep_time,
    read=_read_median_gap,
    combine=combine_newest,
    combination=Combination.EXACT,
    example=Example(
        written="keep: 5, unit: seconds",
        told=((0, None), (10, None), (13, None), (33, None), (12, None)),
        reads=((33, 6.0), (99, 6.0)),
    ),
)
