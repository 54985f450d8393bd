"""Local times of a zone as instants: when a day begins, and what a time of the day is that is skipped or comes twice.

A local time that does not exist means the next instant that does; one that exists twice means the first. Instants are
microseconds since 1970 UTC.
"""

from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_ORDINAL = date.max.toordinal() - 1


@cache
def zone_of_name(name: str) -> ZoneInfo:
    """Return a time zone; the same one each time."""
    return ZoneInfo(name)


def local_datetime(zone: str, instant_us: int) -> datetime:
    """Return what clocks show at an instant; before 1970 the start of 1970."""
    return datetime.fromtimestamp(max(instant_us, 0) // 1_000_000, UTC).astimezone(zone_of_name(zone))


def local_day(zone: str, instant_us: int) -> int:
    """Return the ordinal (proleptic Gregorian) of the local calendar day that holds an instant.

    Where a day begins twice, or its midnight is skipped, the day is what lies between its beginning and the next's.
    """
    ordinal = local_datetime(zone, instant_us).toordinal()
    if instant_us < instant_of(zone, ordinal, 0):
        return ordinal - 1
    return ordinal + 1 if instant_us >= instant_of(zone, ordinal + 1, 0) else ordinal


@lru_cache(maxsize=16_384)
def instant_of(zone: str, ordinal: int, minute: int) -> int:
    """Return the instant at which clocks first show a minute of a day, or the next one where they never do.

    Args:
        zone: name of the time zone.
        ordinal: of the calendar day.
        minute: of the day, 0 … 1,439.
    """
    clock = datetime.combine(date.fromordinal(min(ordinal, _LAST_ORDINAL)), time(minute // 60, minute % 60))
    known = zone_of_name(zone)
    first = clock.replace(tzinfo=known, fold=0).astimezone(UTC)
    if first.astimezone(known).replace(tzinfo=None) == clock:
        return _us(first)
    # Clocks jump over it: between what it would be by the offset after the jump and by the one before lies the jump.
    before, after = clock.replace(tzinfo=known, fold=1).astimezone(UTC), first
    offset = after.astimezone(known).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = (before + (after - before) / 2).replace(microsecond=0)
        middle = middle if middle > before else middle + timedelta(seconds=1)
        if middle.astimezone(known).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return _us(after)


def _us(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)


def day_bounds_us(zone: str, instant_us: int) -> tuple[int, int]:
    """Return the local calendar day [from, until) that holds an instant."""
    ordinal = local_day(zone, instant_us)
    return instant_of(zone, ordinal, 0), instant_of(zone, ordinal + 1, 0)


def week_bounds_us(zone: str, instant_us: int) -> tuple[int, int]:
    """Return the local week [Monday, Monday) that holds an instant."""
    ordinal = local_day(zone, instant_us)
    monday = ordinal - (ordinal - 1) % 7
    return instant_of(zone, monday, 0), instant_of(zone, monday + 7, 0)


def month_bounds_us(zone: str, instant_us: int) -> tuple[int, int]:
    """Return the local calendar month [first, first) that holds an instant."""
    first = date.fromordinal(local_day(zone, instant_us)).replace(day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    return instant_of(zone, first.toordinal(), 0), instant_of(zone, following.toordinal(), 0)
