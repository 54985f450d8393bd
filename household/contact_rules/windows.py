"""When calendar windows begin and end."""

from household.local_time import day_bounds_us, month_bounds_us, week_bounds_us
from household.plan import Span

MINUTE_US = 60_000_000

_BOUNDS = {Span.DAY: day_bounds_us, Span.WEEK: week_bounds_us, Span.MONTH: month_bounds_us}

_REMEMBERED = 512
_newest: dict[tuple[Span, str], tuple[int, int]] = {}
"""By span and zone, the window that was asked for last: it is asked for again and again."""


def window_of(span: Span, zone: str, instant_us: int) -> tuple[int, int]:
    """Return the window [from, until) of a calendar span that holds an instant, in a time zone."""
    if span is Span.MINUTE:
        from_us = instant_us - instant_us % MINUTE_US
        return from_us, from_us + MINUTE_US
    known = _newest.get((span, zone))
    if known is None or not known[0] <= instant_us < known[1]:
        if len(_newest) >= _REMEMBERED:
            _newest.clear()
        known = _newest[span, zone] = _BOUNDS[span](zone, instant_us)
    return known
