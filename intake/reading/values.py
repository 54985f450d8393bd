"""Raw columns as text, numbers, flags and times, whole columns at once; what does not fit is marked, row by row."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NUMBER = r"^\s*[+-]?((\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|nan|NaN|NAN|inf|Inf|INF|infinity|Infinity)\s*$"
INTEGER = r"^\s*-?(\d{1,18}|[1-8]\d{18})\s*$"
"""What surely fits in 64 bits, as Arrow reads it: one with a plus is read as a number."""
ISO_TIME = (
    r"^(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d)(?::(\d\d)(?::(\d\d)(?:[.,](\d+))?)?)?)?"
    r"(?: ?(?:([Zz]|(?i:UTC|GMT))|([+-]\d\d):?(\d\d)?))?$"
)
"""ISO 8601 and RFC 3339, and as databases write it: date, hour, minute, second, fraction; Z, or hours and minutes."""
ISO_COMPACT = (
    (r"^(\d{4})(\d\d)(\d\d)([Tt])", r"\1-\2-\3\4"),
    (r"^(.{10}[Tt]\d\d)(\d\d)(\D|$)", r"\1:\2\3"),
    (r"^(.{10}[Tt]\d\d)(\d\d)(\d\d)(\D|$)", r"\1:\2:\3\4"),
)
"""ISO 8601's basic format, as long as it has a T: eight digits alone may be any number."""
ISO_PLAIN = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$"
"""What Arrow parses as it stands: most cells of most files."""
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

CALENDAR_US_MIN, CALENDAR_US_MAX = -62_167_219_200_000_000, 253_402_300_800_000_000
"""The years 0 to 9999, which a text can name; a column of timestamps may hold more."""

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
    """Return the cells as text, as they stand; whole numbers of other types without a fraction, NaN as no text."""
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_large_string(kind):
        return pc.cast(column, pa.string())
    if pa.types.is_floating(kind):
        whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), 2.0**53))
        integers = pc.cast(pc.if_else(whole, column, 0), pa.int64())
        texts = pc.if_else(whole, pc.cast(integers, pa.string()), pc.cast(column, pa.string()))
        return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.string()), texts)
    if pa.types.is_decimal(kind):
        return pc.replace_substring_regex(pc.cast(column, pa.string()), r"^(-?\d+)\.0+$", r"\1")
    if pa.types.is_timestamp(kind) and kind.tz is not None and not is_known_zone(kind.tz):
        column = column.cast(pa.timestamp(kind.unit, "UTC"))
    return pc.cast(column, pa.string())


def is_known_zone(name: str) -> bool:
    """Tell whether Arrow knows a time zone: of those that a machine has, not quite all."""
    try:
        pc.cast(pa.array([0], pa.timestamp("us", name)), pa.string())
    except pa.ArrowException:
        return False
    return True


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
    """Return `start_us` plus the cells, a number of `unit`s, as microseconds since 1970; nanoseconds rounded down."""
    integers, is_integer = _as_integers(column)
    number = as_number(column)
    factor = UNIT_US[unit]
    values = np.nan_to_num(
        number.values.fill_null(np.nan).to_numpy(zero_copy_only=False), posinf=np.inf, neginf=-np.inf, nan=np.inf
    )
    with np.errstate(over="ignore"):
        in_range = np.abs(values * factor + start_us) < TIME_US_MAX
    safe, whole = np.where(in_range, values, 0), np.where(in_range, integers, 0)
    if unit == "ns":
        from_float, from_integer = np.floor(safe / 1_000).astype(np.int64), whole // 1_000
    else:
        from_float, from_integer = np.round(safe * factor).astype(np.int64), whole * int(factor)
    times = start_us + np.where(is_integer, from_integer, from_float)
    absent = column.is_null().to_numpy(zero_copy_only=False)
    return Converted(pa.array(times, pa.int64(), mask=absent | ~in_range), ~absent & ~in_range)


def _from_plain(text: pa.Array) -> pa.Array | None:
    try:
        return pc.cast(pc.cast(text, pa.timestamp("us", "UTC")), pa.int64())
    except pa.ArrowInvalid:
        return None


def as_calendar_time(column: pa.Array, *, zone: str, pattern: str | None) -> Converted:
    """Return the cells, dates with time of day, as microseconds since 1970; `zone` is for those that name none.

    Finer than a microsecond is rounded down. A leap second is the first moment behind it, 24:00 the next day's 00:00.
    """
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return _from_timestamps(column, zone=zone)
    text = pc.utf8_trim_whitespace(as_text(column))
    if pattern is not None:
        return _from_pattern(text, zone=zone, pattern=pattern)
    if pc.all(pc.match_substring_regex(text, ISO_PLAIN)).as_py():
        # None where some are in the calendar of no year; which, shows below.
        times = _from_plain(text)
        if times is not None:
            return Converted(times, np.zeros(len(times), np.bool_))
    usual = _usual_text(text)
    in_zone = _parse_times(usual.zoned, pa.timestamp("us", "UTC"))
    floating = _parse_times(usual.local, pa.timestamp("us"))
    in_zone = pc.add(pc.cast(in_zone, pa.int64()), usual.added_us)
    floating = pc.cast(pc.add(pc.cast(floating, pa.int64()), usual.added_us), pa.timestamp("us"))
    times = pc.coalesce(in_zone, pc.cast(_localized(floating, zone), pa.int64()))
    # A leap second is the last of a day, in UTC.
    is_amiss = pc.and_(usual.is_leap, pc.invert(_is_first_second(times)))
    times = pc.if_else(is_amiss, pa.scalar(None, pa.int64()), times)
    return Converted(times, _wrong(text, pc.is_valid(times)))


@dataclass(frozen=True, slots=True)
class _Usual:
    """Times in the one form that Arrow parses."""

    zoned: pa.Array
    """Null where the cell names no offset, or is no time."""
    local: pa.Array
    added_us: pa.Array
    """What is to be added, for hours and seconds that no clock face has."""
    is_leap: pa.Array


def _usual_text(text: pa.Array) -> _Usual:
    nothing = pa.scalar(None, pa.string())
    for compact, spread in ISO_COMPACT:
        text = pc.replace_substring_regex(text, compact, spread)
    fits = pc.fill_null(pc.match_substring_regex(text, ISO_TIME), False)
    parts = pc.replace_substring_regex(pc.if_else(fits, text, nothing), ISO_TIME, r"\1|\2|\3|\4|\5|\6|\7|\8")
    pieces = pc.split_pattern(parts, "|")
    day, hour, minute, second, fraction, utc, east, east_minutes = (pc.list_element(pieces, at) for at in range(8))
    is_midnight = pc.and_(
        pc.equal(hour, "24"),
        pc.and_(pc.match_substring_regex(minute, "^(00)?$"), pc.match_substring_regex(second, "^(00)?$")),
    )
    is_midnight = pc.fill_null(pc.and_(is_midnight, pc.match_substring_regex(fraction, "^0*$")), False)
    is_leap = pc.fill_null(pc.equal(second, "60"), False)
    micros = pc.utf8_slice_codeunits(pc.utf8_rpad(fraction, 6, "0"), 0, 6)
    clock = pc.binary_join_element_wise(
        pc.if_else(pc.or_(is_midnight, pc.equal(hour, "")), "00", hour),
        _or_zeros(minute),
        _or_zeros(pc.if_else(is_leap, "59", second)),
        ":",
    )
    local = pc.binary_join_element_wise(day, "T", clock, ".", micros, "")
    is_zoned = pc.fill_null(pc.or_(pc.not_equal(utc, ""), pc.not_equal(east, "")), False)
    # A day is a whole day: nobody writes an offset to it.
    is_day_alone = pc.fill_null(pc.equal(hour, ""), False)
    offset = pc.if_else(
        pc.equal(east, ""), pa.scalar("Z"), pc.binary_join_element_wise(east, ":", _or_zeros(east_minutes), "")
    )
    added_us = pc.add(
        pc.if_else(is_midnight, pa.scalar(UNIT_US["d"], pa.int64()), 0),
        pc.if_else(is_leap, pa.scalar(UNIT_US["s"], pa.int64()), 0),
    )
    return _Usual(
        zoned=pc.if_else(
            pc.and_(is_zoned, pc.invert(is_day_alone)), pc.binary_join_element_wise(local, offset, ""), nothing
        ),
        local=pc.if_else(pc.invert(is_zoned), local, nothing),
        added_us=added_us,
        is_leap=is_leap,
    )


def _or_zeros(part: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(part, ""), "00", part)


def _is_first_second(times_us: pa.Array) -> pa.Array:
    into_day_us = times_us.fill_null(0).to_numpy(zero_copy_only=False) % UNIT_US["d"]
    return pa.array(into_day_us < UNIT_US["s"])


def _parse_times(text: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        return pc.cast(text, kind)
    except pa.ArrowInvalid:
        # A 30th of February has the right shape and is no date: find such cells one by one.
        return pa.array([_parse_time(one.as_py(), kind) for one in text], pa.int64()).cast(kind)


def _parse_time(text: str | None, kind: pa.DataType) -> int | None:
    if text is None:
        return None
    try:
        return pc.cast(pc.cast(pa.scalar(text), kind), pa.int64()).as_py()  # type: ignore[no-any-return]
    except pa.ArrowInvalid:
        return None


def _from_pattern(text: pa.Array, *, zone: str, pattern: str) -> Converted:
    patterns = spelled_patterns(pattern)
    parsed = [_parse_by_pattern(one, patterns) for one in text.to_pylist()]
    in_zone = pa.array([None if one is None or one.offset is None else one.us_in_utc for one in parsed], pa.int64())
    floating = pa.array([None if one is None else one.local_us for one in parsed], pa.timestamp("us"))
    values = pc.coalesce(in_zone, pc.cast(_localized(floating, zone), pa.int64()))
    return Converted(values, _wrong(text, pc.is_valid(values)))


def spelled_patterns(pattern: str) -> list[tuple[str, bool]]:
    """Return the patterns to try instead of one, each with whether what fits it is in UTC.

    For the names of zones, %Z, only those that are the same everywhere; strptime would take this machine's as well,
    and read UTC as any other word.

    >>> spelled_patterns("%H:%M %Z")
    [('%H:%M UTC', True), ('%H:%M GMT', True), ('%H:%M Z', True)]
    >>> spelled_patterns("%H%%Z")
    [('%H%%Z', False)]
    """
    tokens = re.findall(r"%.|[^%]+|%", pattern, re.DOTALL)
    if "%Z" not in tokens:
        return [(pattern, False)]
    return [("".join(name if one == "%Z" else one for one in tokens), True) for name in ("UTC", "GMT", "Z")]


@dataclass(frozen=True, slots=True)
class _ByPattern:
    """A time as numbers: with an offset the first and the last day of the calendar lie beyond it."""

    local_us: int
    offset: timedelta | None

    @property
    def us_in_utc(self) -> int:
        return self.local_us - (self.offset or timedelta(0)) // timedelta(microseconds=1)


def _parsed(text: str, pattern: str) -> datetime | None:
    try:
        return datetime.strptime(text, pattern)  # noqa: DTZ007
    except (ValueError, OverflowError):
        return None


def _parse_by_pattern(text: str | None, patterns: list[tuple[str, bool]]) -> _ByPattern | None:
    if text is None:
        return None
    for pattern, is_utc in patterns:
        parsed = _parsed(text, pattern)
        if parsed is None:
            continue
        since = parsed.replace(tzinfo=None) - datetime(1970, 1, 1)  # noqa: DTZ001
        offset = timedelta(0) if is_utc and parsed.tzinfo is None else parsed.utcoffset()
        return _ByPattern(since // timedelta(microseconds=1), offset)
    return None


def _from_timestamps(column: pa.Array, *, zone: str) -> Converted:
    if pa.types.is_date(column.type):
        column = pc.cast(column, pa.timestamp("s"), safe=False)
    ticks = column.view(pa.int64()).fill_null(0).to_numpy()
    match column.type.unit:
        case "ns":
            times_us, is_wrong = ticks // 1_000, np.zeros(len(ticks), np.bool_)
        case unit:
            factor = int(UNIT_US[unit])
            is_wrong = (ticks > CALENDAR_US_MAX // factor) | (ticks < CALENDAR_US_MIN // factor)
            times_us = np.where(is_wrong, 0, ticks) * factor
    absent = column.is_null().to_numpy(zero_copy_only=False)
    values = pa.array(times_us, pa.int64(), mask=absent | is_wrong)
    if column.type.tz is None:
        values = pc.cast(_localized(pc.cast(values, pa.timestamp("us")), zone), pa.int64())
    return Converted(values, is_wrong & ~absent)


def _localized(column: pa.Array, zone: str) -> pa.Array:
    # Twice a year an hour occurs twice or not at all: the first of two, and the next that exists, always the same.
    return pc.assume_timezone(column, zone, ambiguous="earliest", nonexistent="latest")


def _as_integers(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    if pa.types.is_integer(column.type):
        cells = pc.cast(column, pa.int64(), safe=False)
        fits = column.is_valid()
    elif pa.types.is_decimal(column.type) and column.type.scale == 0:
        # As databases export whole numbers: a float would lose the last digits of nanoseconds.
        return _as_integers(pc.cast(column, pa.string()))
    elif pa.types.is_string(column.type):
        fits = pc.fill_null(pc.match_substring_regex(column, INTEGER), False)
        cells = pc.cast(pc.utf8_trim_whitespace(pc.if_else(fits, column, "0")), pa.int64())
    else:
        return np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_)
    return cells.fill_null(0).to_numpy(zero_copy_only=False), fits.to_numpy(zero_copy_only=False)


def _wrong(text: pa.Array, fits: pa.Array) -> NDArray[np.bool_]:
    wrong = pc.and_(text.is_valid(), pc.invert(pc.fill_null(fits, False)))
    return wrong.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
