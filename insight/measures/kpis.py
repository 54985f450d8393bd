"""All figures: K1 to K6, and those of old, by month, and what each is made of."""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from insight.measures.adding_up import Sums, figures_of
from insight.measures.definitions import DAY_US
from insight.measures.figures import FigureRow, Grouping, Integers, events_of, rows_of
from insight.measures.journeys import Met
from insight.measures.knowledge import Knowledge, months_of

SPLITS: Final = ("journey", "segment", "family", "category", "channel", "arm")
WINDOW_US: Final = 30 * DAY_US
"""In which a journey's family is to be taken up, for K6."""

NOT_MET: Final = "not met"
UNKNOWN_SEGMENT: Final = "none"


class NoSuchRow(Exception):
    """There is no row of that name."""


def kpis(
    asked: Knowledge, *, months: int, by: str = "", grouping: Grouping | None = None, window_us: int = WINDOW_US
) -> list[FigureRow]:
    """Return all rows of the last months, the oldest first, in the order of the KPIs."""
    sums = Sums(time_us=asked.time_us, zone=asked.zone, months=months, by=by, window_us=window_us)
    sums.add(asked, grouping)
    return sums.rows()


def explained(
    asked: Knowledge, name: str, *, months: int, grouping: Grouping | None = None, window_us: int = WINDOW_US
) -> list[str]:
    """Return the ids of the events behind a row, in order of their times.

    Args:
        name: of the row, as `kpis` has it.

    Raises:
        NoSuchRow: there is none of that name, or it is no sum of events.
    """
    return in_order([events_behind(asked, name, months=months, grouping=grouping, window_us=window_us)], name)


def in_order(parts: Iterable[list[tuple[int, str]] | None], name: str) -> list[str]:
    """Return the ids of the events behind a row of parts of all households, in order of their times.

    Args:
        parts: time and id of each; None where the row is none of a part.

    Raises:
        NoSuchRow: it is none of any part.
    """
    found = [one for one in parts if one is not None]
    if not found:
        raise NoSuchRow(
            f"there is no row {name!r} that is made of events; `hearth kpis` lists all, with the same --by and --months"
        )
    return [text for _, text in sorted((event for one in found for event in one), key=lambda event: event[0])]


def events_behind(
    asked: Knowledge, name: str, *, months: int, grouping: Grouping | None = None, window_us: int = WINDOW_US
) -> list[tuple[int, str]] | None:
    """Return the time and the id of each event behind a row; None where there is no such row."""
    rows = _events_of(asked, name, months=months, grouping=grouping, window_us=window_us)
    if rows is None:
        return None
    times, ids = asked.facts.time_us, asked.facts.event_id
    return [(int(times[row]), text) for row in rows.tolist() if (text := ids.text(row))]


def _events_of(
    asked: Knowledge, name: str, *, months: int, grouping: Grouping | None, window_us: int
) -> Integers | None:
    """Return the rows of the facts behind a row; None where it is none of these households."""
    whole, month, split = (*name.split("/", 2), "", "")[:3]
    by, _, group = split.partition("=")
    for period in months_of(time_us=asked.time_us, count=months, zone=asked.zone):
        for figure in figures_of(asked, period, window_us=window_us) if period.name == month else ():
            is_it = f"{figure.kpi}.{figure.measure}" == whole
            if is_it and any(row.name == name for row in rows_of(figure, by=by, grouping=grouping)):
                return events_of(figure, by=by, group=group, grouping=grouping)
    return None


def by_arm(asked: Knowledge, experiment: str) -> Grouping:
    """Return who is in which arm of an experiment by when one asks, each household by its first."""
    return by_arms(asked, asked.journeys.arms(experiment, time_us=asked.time_us, known_us=asked.known_us))


def by_arms(asked: Knowledge, met_by_key: Mapping[str, Met]) -> Grouping:
    """Return the same of some households, of arms of any: all have the same groups."""
    arms: dict[int, tuple[int, str]] = {}
    for key in met_by_key.keys() & asked.by_key.keys():
        household, met = asked.by_key[key], met_by_key[key]
        arms[household] = min(arms.get(household, (met.time_us, met.arm)), (met.time_us, met.arm))
    groups = (*sorted({met.arm for met in met_by_key.values()}), NOT_MET)
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
