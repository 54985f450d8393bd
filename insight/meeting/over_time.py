"""Figures over time: the same ones as a month's, for each day, week or month that a log reaches over."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Final

import numpy as np

from household.local_time import day_bounds_us, local_day, month_bounds_us, week_bounds_us
from insight.measures.adding_up import figures_of
from insight.measures.definitions import DAY_US
from insight.measures.figures import FigureRow, Period, rows_of
from insight.measures.holdings import held_before
from insight.measures.knowledge import Knowledge
from insight.measures.kpis import WINDOW_US
from insight.measures.velocity import Velocity

DAYS_MOST: Final = 21
WEEKS_MOST: Final = 26
MONTHS_MOST: Final = 24
"""Of longer logs the newest."""

FAMILIES_MANY: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodFigures:
    """One point in time of a curve."""

    period: Period
    rows: dict[str, FigureRow]
    """By KPI and measure, such as `K2.arpu`."""


def steps(asked: Knowledge, *, since_us: int, window_us: int = WINDOW_US) -> list[PeriodFigures]:
    """Return the figures of each period from a time on, the oldest first; the one under way is the last."""
    return [
        step(asked, period, window_us=window_us)
        for period in periods(since_us=since_us, until_us=asked.time_us, zone=asked.zone)
    ]


def lately(asked: Knowledge, *, since_us: int, span_us: int) -> PeriodFigures:
    """Return the figures of the newest so and so much time, of less where a log begins later."""
    start_us = max(since_us, asked.time_us - span_us)
    days = Fraction(asked.time_us - start_us, DAY_US)
    period = Period(name=f"{float(days):.3g} days", start_us=start_us, end_us=asked.time_us, is_over=True, days=days)
    return step(asked, period, window_us=WINDOW_US)


def step(asked: Knowledge, period: Period, *, window_us: int) -> PeriodFigures:
    """Return the figures of one period."""
    figures = figures_of(asked, period, window_us=window_us)
    rows = [row for figure in figures for row in rows_of(figure, by="", grouping=None)]
    velocity = Velocity()
    velocity.add(asked, period, by="", grouping=None)
    rows += velocity.rows(period, by="")
    return PeriodFigures(period=period, rows={f"{row.kpi}.{row.measure}": row for row in rows})


def periods(*, since_us: int, until_us: int, zone: str) -> tuple[Period, ...]:
    """Return the days, or where that would be too many the weeks, or months, that lie between two times.

    >>> day = 86_400_000_000
    >>> [one.name for one in periods(since_us=0, until_us=2 * day + 1, zone="UTC")]
    ['1970-01-01', '1970-01-02', '1970-01-03']
    """
    bounds, most = month_bounds_us, MONTHS_MOST
    if until_us - since_us <= DAYS_MOST * DAY_US:
        bounds, most = day_bounds_us, DAYS_MOST + 1
    elif until_us - since_us <= WEEKS_MOST * 7 * DAY_US:
        bounds, most = week_bounds_us, WEEKS_MOST + 1
    found: list[Period] = []
    last_us = until_us - 1
    while last_us >= since_us and len(found) < most:
        start_us, next_us = bounds(zone, last_us)
        first, behind = local_day(zone, start_us), local_day(zone, next_us)
        is_over = next_us <= until_us
        days = Fraction(behind - first)
        name = date.fromordinal(first).isoformat()
        found.append(
            Period(
                name=name[:7] if bounds is month_bounds_us else name,
                start_us=start_us,
                end_us=min(next_us, until_us),
                is_over=is_over,
                days=days if is_over else days * Fraction(until_us - start_us, next_us - start_us),
            )
        )
        last_us = start_us - 1
    return tuple(reversed(found))


def products_per_household(asked: Knowledge, time_us: int) -> dict[int, int]:
    """Return how many households hold products of one family, of two, and so on up to FAMILIES_MANY and more."""
    household, _ = held_before(asked, time_us).by_family()
    _, families = np.unique(household, return_counts=True)
    numbers, often = np.unique(np.minimum(families, FAMILIES_MANY), return_counts=True)
    return dict(zip(numbers.tolist(), often.tolist(), strict=True))


def series(of: Sequence[PeriodFigures], name: str) -> Iterator[tuple[Period, float]]:
    """Yield a measure where it is known."""
    for step in of:
        row = step.rows.get(name)
        if row is not None and row.value is not None:
            yield step.period, row.value
