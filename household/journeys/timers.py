"""Timers of journeys: so much later, and then the next such time of a clock or a calendar."""

from household.local_time import instant_of, local_day
from household.plan import NONE, Timer

_DAYS_PER_WEEK = 7


def timer_due_us(timer: Timer, since_us: int, zone: str) -> int:
    """Return when a timer is due that began at a time; a local time exactly then is that, unless nothing passed.

    Args:
        timer: what is waited for.
        since_us: when it began.
        zone: name of the time zone in which local times are.
    """
    from_us = since_us + timer.after_us
    if timer.minute == NONE and timer.weekday == NONE:
        return from_us
    # What begins at six and waits for six o'clock waits a day: otherwise a loop would not take any time.
    earliest_us = from_us if timer.after_us else from_us + 1
    minute = max(timer.minute, 0)
    # From the day before on: where clocks are put back over midnight, a day's times lie around its beginning.
    ordinal = local_day(zone, earliest_us) - 1
    while True:
        # A Monday has an ordinal of 1 beyond whole weeks.
        is_day = timer.weekday == NONE or (ordinal - 1) % _DAYS_PER_WEEK == timer.weekday
        if is_day and (at_us := instant_of(zone, ordinal, minute)) >= earliest_us:
            return at_us
        ordinal += 1
