"""Raw columns as text, numbers, flags and times, whole columns at once; what does not fit is marked, row by row."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NUMBER = r"^\s*[+-]?((\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|nan|NaN|NAN|inf|Inf|INF|infinity|Infinity)\s*$"
INTEGER = r"^\s*-?\d{1,18}\s*$"
"""As Arrow reads them: one with a plus is read as a number."""
ISO_ZONED = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)$"
ISO_LOCAL = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?$"
TRUE_WORDS, FALSE_WORDS = ("true", "1", "yes", "t", "y"), ("false", "0", "no", "f", "n")

UNIT_US = {
    "ns": 0.001,
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
"""Microseconds per unit of time."""

TIME_US_MAX = 1 << 53
"""Event times are exact in a float64 up to here (year 2255)."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A column in its new type."""

    values: pa.Array
    """Null where the cell was empty or does not fit."""
    is_wrong: NDArray[np.bool_]
    """(rows,) where the cell held something that does not fit."""


def as_text(column: pa.Array) -> pa.Array:
    """Return the cells as text, as they stand; whole floating numbers without a fraction."""
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_large_string(kind):
        return pc.cast(column, pa.string())
    if pa.types.is_floating(kind):
        whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**53))
        integers = pc.cast(pc.if_else(whole, column, 0), pa.int64())
        return pc.if_else(whole, pc.cast(integers, pa.string()), pc.cast(column, pa.string()))
    return pc.cast(column, pa.string())


def as_number(column: pa.Array) -> Converted:
    """Return the cells as float64. NaN is a value, kept for Hearth to refuse; an empty cell is none.

    >>> as_number(pa.array(["1.5", " 2 ", "two", None, "nan"])).is_wrong.tolist()
    [False, False, True, False, False]
    """
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Converted(pc.cast(column, pa.float64(), safe=False), np.zeros(len(column), np.bool_))
    if pa.types.is_boolean(kind):
        return Converted(pc.cast(column, pa.float64()), np.zeros(len(column), np.bool_))
    text = as_text(column)
    fits = pc.fill_null(pc.match_substring_regex(text, NUMBER), False)
    trimmed = pc.utf8_trim_whitespace(pc.if_else(fits, text, pa.scalar(None, pa.string())))
    return Converted(pc.cast(trimmed, pa.float64()), _wrong(text, fits))


def as_flag(column: pa.Array) -> Converted:
    """Return the cells as truth values: true/false, 1/0, yes/no, t/f, y/n."""
    if pa.types.is_boolean(column.type):
        return Converted(column, np.zeros(len(column), np.bool_))
    text = pc.utf8_lower(pc.utf8_trim_whitespace(as_text(column)))
    is_true = pc.is_in(text, pa.array(TRUE_WORDS))
    fits = pc.or_(is_true, pc.is_in(text, pa.array(FALSE_WORDS)))
    return Converted(pc.if_else(fits, is_true, pa.scalar(None, pa.bool_())), _wrong(text, fits))


def as_counted_time(column: pa.Array, *, unit: str, start_us: int) -> Converted:
    """Return `start_us` plus the cells, a number of `unit`s, as microseconds since 1970."""
    integers, is_integer = _as_integers(column)
    number = as_number(column)
    factor = UNIT_US[unit]
    values = np.nan_to_num(
        number.values.fill_null(np.nan).to_numpy(zero_copy_only=False), posinf=np.inf, neginf=-np.inf, nan=np.inf
    )
    with np.errstate(over="ignore"):
        in_range = np.abs(values * factor + start_us) < TIME_US_MAX
    from_float = start_us + np.round(np.where(in_range, values, 0) * factor).astype(np.int64)
    from_integer = start_us + np.where(in_range, integers, 0) * int(factor) if factor >= 1 else from_float
    times = np.where(is_integer, from_integer, from_float)
    absent = column.is_null().to_numpy(zero_copy_only=False)
    return Converted(pa.array(times, pa.int64(), mask=absent | ~in_range), ~absent & ~in_range)


def as_calendar_time(column: pa.Array, *, zone: str, pattern: str | None) -> Converted:
    """Return the cells, dates with time of day, as microseconds since 1970; `zone` is for those that name none."""
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return _from_timestamps(column, zone=zone)
    text = pc.utf8_trim_whitespace(as_text(column))
    if pattern is not None:
        return _from_pattern(text, zone=zone, pattern=pattern)
    nothing = pa.scalar(None, pa.string())
    # Beyond microseconds Arrow refuses to parse; the wire keeps no more.
    short = pc.replace_substring_regex(text, r"(\.\d{6})\d+", r"\1")
    zoned = pc.fill_null(pc.match_substring_regex(short, ISO_ZONED), False)
    local = pc.fill_null(pc.match_substring_regex(short, ISO_LOCAL), False)
    in_zone = _parse_times(pc.if_else(zoned, short, nothing), pa.timestamp("us", "UTC"))
    floating = _parse_times(pc.if_else(local, short, nothing), pa.timestamp("us"))
    times = pc.coalesce(pc.cast(in_zone, pa.int64()), pc.cast(_localized(floating, zone), pa.int64()))
    return Converted(times, _wrong(text, pc.is_valid(times)))


def _parse_times(text: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        return pc.cast(text, kind)
    except pa.ArrowInvalid:
        # A 30th of February has the right shape and is no date: find such cells one by one.
        return pa.array([_parse_time(one.as_py(), kind) for one in text], kind)


def _parse_time(text: str | None, kind: pa.DataType) -> datetime | None:
    if text is None:
        return None
    try:
        return pc.cast(pa.scalar(text), kind).as_py()  # type: ignore[no-any-return]
    except pa.ArrowInvalid:
        return None


def _from_pattern(text: pa.Array, *, zone: str, pattern: str) -> Converted:
    times = []
    for one in text.to_pylist():
        try:
            parsed = None if one is None else datetime.strptime(one, pattern)  # noqa: DTZ007
        except ValueError:
            parsed = None
        if parsed is not None and parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=ZoneInfo(zone))
        times.append(parsed)
    values = pc.cast(pa.array(times, pa.timestamp("us", "UTC")), pa.int64())
    return Converted(values, _wrong(text, pc.is_valid(values)))


def _from_timestamps(column: pa.Array, *, zone: str) -> Converted:
    if pa.types.is_date(column.type) or column.type.tz is None:
        column = _localized(pc.cast(column, pa.timestamp("us"), safe=False), zone)
    values = pc.cast(pc.cast(column, pa.timestamp("us", "UTC"), safe=False), pa.int64())
    return Converted(values, np.zeros(len(column), np.bool_))


def _localized(column: pa.Array, zone: str) -> pa.Array:
    # Twice a year an hour occurs twice or not at all: the first of two, and the next that exists, always the same.
    return pc.assume_timezone(column, zone, ambiguous="earliest", nonexistent="latest")


def _as_integers(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    if pa.types.is_integer(column.type):
        cells = pc.cast(column, pa.int64(), safe=False)
        fits = column.is_valid()
    elif pa.types.is_string(column.type):
        fits = pc.fill_null(pc.match_substring_regex(column, INTEGER), False)
        cells = pc.cast(pc.utf8_trim_whitespace(pc.if_else(fits, column, "0")), pa.int64())
    else:
        return np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_)
    return cells.fill_null(0).to_numpy(zero_copy_only=False), fits.to_numpy(zero_copy_only=False)


def _wrong(text: pa.Array, fits: pa.Array) -> NDArray[np.bool_]:
    wrong = pc.and_(text.is_valid(), pc.invert(pc.fill_null(fits, False)))
    return wrong.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
