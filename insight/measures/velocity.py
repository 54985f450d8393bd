"""K4: how soon a signal is answered, and how soon it is taken up."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from insight.measures.coded import NONE
from insight.measures.figures import FigureRow, Grouping, Period
from insight.measures.journeys import CONVERTING, JourneyEntry
from insight.measures.knowledge import Knowledge
from insight.measures.survival import Median, median_time, quantile

MILLISECOND_US = 1_000
MINUTE_US = 60_000_000
WHOLE = "*"
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class Velocity:
    """K4 of a period: signal → handed to a gateway, and signal → conversion.

    Those that were not taken up by when one asks are censored. Of a control group nothing is handed over; it is left
    out here, and what it does by itself is in the increments of K6.
    """

    def __init__(self) -> None:
        self._groups: dict[str, _Durations] = {}
        self._is_any = self._is_handed_known = False

    def add(self, asked: Knowledge, period: Period, *, by: str, grouping: Grouping | None) -> None:
        """Add the entries of some households."""
        self._is_any |= asked.journeys.names.is_any
        self._is_handed_known |= asked.journeys.is_handed_known
        entries = [one for one in asked.journeys.entries if _is_asked(one, asked, period) and not one.is_withheld]
        self._take(asked, entries, WHOLE)
        for group, own in _groups(asked, entries, by, grouping):
            self._take(asked, own, f"={group}")

    def _take(self, asked: Knowledge, entries: Sequence[JourneyEntry], group: str) -> None:
        # It is known when it is recorded, so what was handed over behind either time is nothing yet.
        until_us = asked.time_us if asked.known_us is None else min(asked.time_us, asked.known_us + 1)
        answered = [(one.answered_us, one.time_us) for one in entries]
        handed = [at_us - time_us for at_us, time_us in answered if at_us is not None and at_us < until_us]
        durations, is_done = until_conversion(asked, entries)
        self._of(group).add(_Durations(handed=[np.array(handed, np.int64)], lasted=[durations], is_done=[is_done]))

    def _of(self, group: str) -> "_Durations":
        return self._groups.setdefault(group, _Durations(handed=[], lasted=[], is_done=[]))

    def merge(self, other: "Velocity") -> None:
        """Add what there is of other households."""
        self._is_any |= other._is_any
        self._is_handed_known |= other._is_handed_known
        for group, durations in other._groups.items():
            self._of(group).add(durations)

    def rows(self, period: Period, *, by: str) -> Iterator[FigureRow]:
        """Yield the rows of the whole, and of each group."""
        missing = "" if self._is_any else "moments of journeys (nothing was decided yet)"
        note = "" if self._is_handed_known else "hand-overs are not known: only what was answered counts"
        for group in sorted(self._groups):
            durations = self._groups[group]
            split, of = ("", "") if group == WHOLE else (by, group.removeprefix("="))
            yield from _rows(period, durations, by=split, group=of, missing=missing, note=note)


@dataclass(slots=True, kw_only=True)
class _Durations:
    """What quantiles and medians are taken of."""

    handed: list[NDArray[np.int64]]
    lasted: list[NDArray[np.int64]]
    """Until it was taken up, or until one asks."""
    is_done: list[NDArray[np.bool_]]

    def add(self, other: "_Durations") -> None:
        self.handed += other.handed
        self.lasted += other.lasted
        self.is_done += other.is_done


def _is_asked(entry: JourneyEntry, asked: Knowledge, period: Period) -> bool:
    is_known = asked.known_us is None or entry.learnt_us <= asked.known_us
    return is_known and period.start_us <= entry.time_us < period.end_us


def _groups(
    asked: Knowledge, entries: Sequence[JourneyEntry], by: str, grouping: Grouping | None
) -> Iterator[tuple[str, list[JourneyEntry]]]:
    name: Callable[[JourneyEntry], str]
    if by == "journey":
        name = _journey
    elif by == "channel":
        name = _channel
    elif grouping is not None and grouping.by == by:
        of_household, groups, by_key = grouping.of_household, grouping.groups, asked.by_key
        name = lambda one: groups[int(of_household[by_key[one.household]])]  # noqa: E731
    else:
        return
    for group in sorted({name(one) for one in entries}):
        yield group, [one for one in entries if name(one) == group]


def _journey(entry: JourneyEntry) -> str:
    return entry.journey


def _channel(entry: JourneyEntry) -> str:
    return entry.channel or "none"


def _rows(
    period: Period, durations: _Durations, *, by: str, group: str, missing: str, note: str
) -> Iterator[FigureRow]:
    handed, lasted = np.concatenate(durations.handed), np.concatenate(durations.lasted)
    is_done = np.concatenate(durations.is_done)
    for name, share in QUANTILES.items():
        found = quantile(handed, share)
        yield _row(
            period,
            measure=f"handed_{name}",
            by=by,
            group=group,
            value=None if found is None else found / MILLISECOND_US,
            unit="ms from the signal",
            count=len(handed),
            entries=len(lasted),
            missing=missing,
            note=note,
        )
    median = median_time(lasted, is_done)
    yield _row(
        period,
        measure="conversion_median",
        by=by,
        group=group,
        value=_minutes(median.value),
        low=_minutes(median.low),
        high=_minutes(median.high),
        unit="minutes from the signal",
        count=int(is_done.sum()),
        entries=len(lasted),
        missing=missing,
        note=_told(median, len(lasted)),
    )


def _told(median: Median, entries: int) -> str:
    return "fewer than half have taken it up" if entries and median.value is None else ""


def until_conversion(asked: Knowledge, entries: Sequence[JourneyEntry]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return how long each entry took until an action of it was accepted, or until one asks, and whether it was."""
    facts = asked.facts
    taken: dict[str, int] = {}
    actions = facts.texts["action_id"]
    for row in np.flatnonzero(facts.is_of(CONVERTING) & (actions.codes != NONE)).tolist():
        taken.setdefault(actions.names[int(actions.codes[row])], int(facts.time_us[row]))
    times = [min((taken[action] for action in one.actions if action in taken), default=None) for one in entries]
    durations = [
        (asked.time_us if time is None else time) - one.time_us for time, one in zip(times, entries, strict=True)
    ]
    return np.array(durations, np.int64), np.array([time is not None for time in times], np.bool_)


def _minutes(time_us: int | None) -> float | None:
    return None if time_us is None else time_us / MINUTE_US


def _row(
    period: Period,
    *,
    measure: str,
    by: str,
    group: str,
    value: float | None,
    unit: str,
    count: int,
    entries: int,
    missing: str,
    note: str,
    low: float | None = None,
    high: float | None = None,
) -> FigureRow:
    return FigureRow(
        kpi="K4",
        measure=measure,
        period=period.name,
        is_over=period.is_over,
        by=by,
        group=group,
        value=value,
        unit=unit,
        numerator=count,
        denominator=entries,
        missing=missing,
        note=note,
        low=low,
        high=high,
    )
