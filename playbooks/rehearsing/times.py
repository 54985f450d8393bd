"""Times of rehearsals: how they are written, and which instant each is."""

import re
from datetime import date
from typing import assert_never

from household.local_time import instant_of, local_day
from playbooks import values
from playbooks.rehearsing.script import Base, When
from playbooks.timers import Weekday

WHEN_HELP = (
    "write how long after the start (7d), or after the step before (+2h), a time (18:00, monday 09:00, "
    "2026-03-02 10:00), or due; each may be shifted: due - 1us"
)

_SHIFTED = re.compile(r"(?P<base>.+?)(?: (?P<sign>[+-]) (?P<shift>\S+))?")
_MICROSECONDS = re.compile(r"(\d{1,15})us")
_DAYS_PER_WEEK = 7


def duration_us(text: str) -> int | None:
    """Return a duration in microseconds, as in a playbook, or so many `us`.

    >>> duration_us("1us"), duration_us("7d"), duration_us("soon")
    (1, 604800000000, None)
    """
    if found := _MICROSECONDS.fullmatch(text):
        return int(found[1])
    return values.duration_us(text)


def read_when(text: str) -> When | None:
    """Return a time as it is written; None if it is none.

    >>> read_when("7d").shift_us, read_when("due - 1us").shift_us, read_when("monday 09:00").minute
    (604800000000, -1, 540)
    """
    found = _SHIFTED.fullmatch(text.strip())
    if found is None:
        return None
    shift_us = 0
    if found["shift"]:
        length_us = duration_us(found["shift"])
        if length_us is None:
            return None
        shift_us = -length_us if found["sign"] == "-" else length_us
    return _based(found["base"].strip(), shift_us, text)


def _based(base: str, shift_us: int, text: str) -> When | None:
    if base == Base.DUE:
        return When(base=Base.DUE, shift_us=shift_us, text=text)
    if base.startswith("+"):
        length_us = duration_us(base[1:].strip())
        return None if length_us is None else When(shift_us=length_us + shift_us, text=text)
    length_us = duration_us(base)
    if length_us is not None:
        return When(base=Base.START, shift_us=length_us + shift_us, text=text)
    day, _, clock = base.partition(" ")
    minute = values.minute_of_day(clock or "00:00")
    if minute is None:
        return None
    if day in list(Weekday):
        ordinal = list(Weekday).index(Weekday(day))
        return When(base=Base.WEEKDAY, ordinal=ordinal, minute=minute, shift_us=shift_us, text=text)
    if re.fullmatch(r"\d{4}-\d\d-\d\d", day):
        try:
            ordinal = date.fromisoformat(day).toordinal()
        except ValueError:
            return None
        return When(base=Base.DAY, ordinal=ordinal, minute=minute, shift_us=shift_us, text=text)
    minute = values.minute_of_day(base)
    return None if minute is None else When(base=Base.CLOCK, minute=minute, shift_us=shift_us, text=text)


def instant_us(when: When, *, start_us: int, before_us: int, due_us: int | None, zone: str) -> int | None:
    """Return which instant a time is; None for `due` where nothing is.

    Args:
        when: as it is written.
        start_us: of the rehearsal.
        before_us: the step before.
        due_us: when what is waited for is over; None where nothing is.
        zone: of local times.
    """
    match when.base:
        case Base.START:
            at_us = start_us
        case Base.BEFORE:
            at_us = before_us
        case Base.DUE:
            if due_us is None:
                return None
            at_us = due_us
        case Base.DAY:
            at_us = instant_of(zone, when.ordinal, when.minute)
        case Base.WEEKDAY | Base.CLOCK:
            at_us = _next_us(when, before_us, zone)
        case _:
            assert_never(when.base)
    return at_us + when.shift_us


def _next_us(when: When, before_us: int, zone: str) -> int:
    ordinal = local_day(zone, before_us)
    while True:
        # A Monday has an ordinal of 1 beyond whole weeks.
        is_day = when.base is Base.CLOCK or (ordinal - 1) % _DAYS_PER_WEEK == when.ordinal
        if is_day and (at_us := instant_of(zone, ordinal, when.minute)) > before_us:
            return at_us
        ordinal += 1
