"""All figures: K1 to K6, and those of old, by month, and what each is made of."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from insight.measures.care import renewal, resolution
from insight.measures.conversion import cross_category, increments
from insight.measures.definitions import DAY_US
from insight.measures.facts import NONE
from insight.measures.figures import Figure, FigureRow, Grouping, Period, events_of, rows_of
from insight.measures.holdings import churn, net_additions, penetration
from insight.measures.knowledge import Knowledge, months_of
from insight.measures.revenue import arpu_of_old, ecosystem_arpu
from insight.measures.use import retention_depth, wallet_frequency
from insight.measures.velocity import velocity

SPLITS: Final = ("journey", "segment", "family", "category", "channel", "arm")
WINDOW_US: Final = 30 * DAY_US
"""In which a journey's family is to be taken up, for K6."""

NOT_MET: Final = "not met"
UNKNOWN_SEGMENT: Final = "none"

_BY_SUM: tuple[Callable[[Knowledge, Period], list[Figure]], ...] = (
    penetration,
    ecosystem_arpu,
    retention_depth,
    wallet_frequency,
    arpu_of_old,
    churn,
    net_additions,
    renewal,
    resolution,
)


class NoSuchRow(Exception):
    """There is no row of that name."""


def kpis(
    asked: Knowledge, *, months: int, by: str = "", grouping: Grouping | None = None, window_us: int = WINDOW_US
) -> list[FigureRow]:
    """Return all rows of the last months, the oldest first, in the order of the KPIs."""
    found: list[FigureRow] = []
    for period in months_of(time_us=asked.time_us, count=months, zone=asked.zone):
        for figure in figures_of(asked, period, window_us=window_us):
            found += rows_of(figure, by=by, grouping=grouping)
        found += increments(asked, period, window_us=window_us)
        found += velocity(asked, period, by=by, grouping=grouping)
    return sorted(found, key=lambda row: _ORDER.index(row.kpi))


_ORDER = ("K1", "K2", "K3", "K4", "K5", "K6", "ARPU", "churn", "net_additions", "renewal", "resolution")


def figures_of(asked: Knowledge, period: Period, *, window_us: int = WINDOW_US) -> list[Figure]:
    """Return the figures of a period that are sums."""
    sums = [one for make in _BY_SUM for one in make(asked, period)]
    return [*sums, *cross_category(asked, period, window_us=window_us)]


def explained(
    asked: Knowledge, name: str, *, months: int, grouping: Grouping | None = None, window_us: int = WINDOW_US
) -> list[str]:
    """Return the ids of the events behind a row, in order of their times.

    Args:
        name: of the row, as `kpis` has it.

    Raises:
        NoSuchRow: there is none of that name, or it is no sum of events.
    """
    whole, month, split = (*name.split("/", 2), "", "")[:3]
    by, _, group = split.partition("=")
    for period in months_of(time_us=asked.time_us, count=months, zone=asked.zone):
        if period.name != month:
            continue
        for figure in figures_of(asked, period, window_us=window_us):
            if f"{figure.kpi}.{figure.measure}" != whole:
                continue
            if not any(row.name == name for row in rows_of(figure, by=by, grouping=grouping)):
                break
            return _ids(asked, events_of(figure, by=by, group=group, grouping=grouping).tolist())
    raise NoSuchRow(f"there is no row {name!r} that is made of events; `hearth kpis` lists them under `row`")


def _ids(asked: Knowledge, rows: Sequence[int]) -> list[str]:
    codes = asked.facts.event_id.codes
    return [asked.facts.event_id.names[int(codes[row])] for row in rows if codes[row] != NONE]


def by_arm(asked: Knowledge, experiment: str) -> Grouping:
    """Return who is in which arm of an experiment by when one asks, each household by its first."""
    arms: dict[int, tuple[int, str]] = {}
    for key, met in asked.journeys.arms(experiment, time_us=asked.time_us).items():
        household = asked.by_key[key]
        arms[household] = min(arms.get(household, (met.time_us, met.arm)), (met.time_us, met.arm))
    groups = (*sorted({arm for _, arm in arms.values()}), NOT_MET)
    of_household = np.full(len(asked.households), len(groups) - 1, np.int64)
    for household, (_, arm) in arms.items():
        of_household[household] = groups.index(arm)
    return Grouping(by="arm", of_household=of_household, groups=groups)


def by_segment(asked: Knowledge, segments: dict[str, str]) -> Grouping:
    """Return who is in which segment: of each household key, one."""
    groups = (*sorted(set(segments.values())), UNKNOWN_SEGMENT)
    of_household = np.full(len(asked.households), len(groups) - 1, np.int64)
    for key, segment in sorted(segments.items()):
        if key in asked.by_key:
            of_household[asked.by_key[key]] = groups.index(segment)
    return Grouping(by="segment", of_household=of_household, groups=groups)
