"""Kinds that read a window: they have no cells of their own, and features with the same buckets share one."""

import numpy as np
from numpy.typing import NDArray

from household.columns.kinds.definition import (
    BUCKET_US,
    LEAST,
    SPAN_US,
    Combination,
    Example,
    Kind,
    Parameter,
    Readings,
    Result,
)
from household.columns.windows import Slab, window_reached, window_read
from household.kernel import inlined
from household.plan import FeatureKind, FieldKind

Floats = NDArray[np.float64]


@inlined
def _read_window_count(flat: Floats, slab: Slab, cell: int, keep: int, terms: Floats, row: int, t: float) -> float:
    bucket_us = np.int64(terms[row, BUCKET_US])
    newest, buckets = np.int64(t) // bucket_us, np.int64(terms[row, SPAN_US]) // bucket_us
    number, _ = window_read(slab, flat[cell], newest - buckets, newest)
    return number


@inlined
def _read_window_sum(flat: Floats, slab: Slab, cell: int, keep: int, terms: Floats, row: int, t: float) -> float:
    bucket_us = np.int64(terms[row, BUCKET_US])
    newest, buckets = np.int64(t) // bucket_us, np.int64(terms[row, SPAN_US]) // bucket_us
    _, total = window_read(slab, flat[cell], newest - buckets, newest)
    return total


@inlined
def _read_trend(flat: Floats, slab: Slab, cell: int, keep: int, terms: Floats, row: int, t: float) -> float:
    bucket_us = np.int64(terms[row, BUCKET_US])
    newest, buckets = np.int64(t) // bucket_us, np.int64(terms[row, SPAN_US]) // bucket_us
    number, _ = window_read(slab, flat[cell], newest - buckets, newest)
    before, _ = window_read(slab, flat[cell], newest - 2 * buckets, newest - buckets)
    return (number - before) / max(before, 1.0)


@inlined
def _read_reached(flat: Floats, slab: Slab, cell: int, keep: int, terms: Floats, row: int, t: float) -> float:
    bucket_us = np.int64(terms[row, BUCKET_US])
    newest, buckets = np.int64(t) // bucket_us, np.int64(terms[row, SPAN_US]) // bucket_us
    return window_reached(slab, flat[cell], newest - buckets, newest, terms[row, LEAST])


WINDOW_COUNT = Kind(
    kind=FeatureKind.WINDOW_COUNT,
    summary="how often in the newest buckets",
    parameters=(Parameter.SPAN, Parameter.BUCKET),
    result=Result.INT,
    unit="events",
    readings=Readings.WHOLE_FROM_ZERO,
    cells=None,
    spans=1,
    read=_read_window_count,
    combination=Combination.EXACT,
    example=Example(
        written="span: 10s, bucket: 5s",
        told=((0, None), (6, None), (7, None)),
        reads=((7, 3.0), (10, 2.0), (15, 0.0)),
    ),
)

WINDOW_SUM = Kind(
    kind=FeatureKind.WINDOW_SUM,
    summary="sum of a field in the newest buckets",
    parameters=(Parameter.SPAN, Parameter.BUCKET, Parameter.FIELD),
    field_kinds=(FieldKind.NUMBER, FieldKind.FLAG),
    result=Result.DOUBLE,
    readings=Readings.SUMS_OF_FIELD,
    cells=None,
    spans=1,
    read=_read_window_sum,
    combination=Combination.BUT_FOR_ROUNDING,
    combination_note="sums are added bucket by bucket; sums of whole numbers are the same",
    example=Example(
        written="span: 10s, bucket: 5s, field: amount",
        told=((0, 7.0), (6, None), (7, 5.0)),
        reads=((7, 12.0), (10, 5.0), (15, 0.0)),
    ),
)

TREND = Kind(
    kind=FeatureKind.TREND,
    summary="newest span less the span before, divided by the larger of that and 1; −0.5 is half as often",
    parameters=(Parameter.SPAN, Parameter.BUCKET),
    result=Result.DOUBLE,
    readings=Readings.FROM_MINUS_ONE,
    cells=None,
    spans=2,
    read=_read_trend,
    combination=Combination.EXACT,
    example=Example(
        written="span: 10s, bucket: 5s",
        told=((0, None), (12, None), (13, None), (14, None)),
        reads=((14, 2.0), (19, 2.0), (25, -1.0)),
    ),
)

WINDOW_REACHED = Kind(
    kind=FeatureKind.WINDOW_REACHED,
    summary="in how many of the newest buckets the sum of a field is at least `least`",
    parameters=(Parameter.SPAN, Parameter.BUCKET, Parameter.FIELD, Parameter.LEAST),
    field_kinds=(FieldKind.NUMBER, FieldKind.FLAG),
    result=Result.INT,
    unit="buckets",
    readings=Readings.WHOLE_FROM_ZERO,
    cells=None,
    spans=1,
    read=_read_reached,
    combination=Combination.BUT_FOR_ROUNDING,
    combination_note="sums are added bucket by bucket; sums of whole numbers are the same",
    example=Example(
        written="span: 10s, bucket: 5s, field: amount, least: 6",
        told=((0, 4.0), (1, 3.0), (6, 5.0), (7, 1.0)),
        reads=((7, 2.0), (10, 1.0), (15, 0.0)),
    ),
)
