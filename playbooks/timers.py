"""Times in the states of a journey: so much later, and then the next such time of a clock or a calendar."""

from enum import StrEnum

from household.plan import NONE, Timer
from playbooks.reading import Reader
from written.problems import Problems


class Weekday(StrEnum):
    """A day of the week."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


def read_timer(reader: Reader | None, what: str, problems: Problems, *, is_last: bool = True) -> Timer:
    """Return a time as it is written; with `is_last` nothing else may stand beside it."""
    if reader is None:
        return Timer(after_us=1)
    after_us = reader.duration_us("after")
    minute = reader.minute_of_day("at") if reader.has("at") else None
    weekday = reader.choice("weekday", Weekday)
    if not (reader.has("after") or reader.has("at") or reader.has("weekday")):
        right = "write 'after: 7d', 'at: \"18:00\"', 'weekday: monday', or several of them"
        problems.add(reader.place, f"{what} says no time", right)
    if is_last:
        reader.finish()
    return Timer(
        after_us=after_us if after_us or minute is not None or weekday is not None else 1,
        minute=NONE if minute is None else minute,
        weekday=NONE if weekday is None else list(Weekday).index(weekday),
    )
