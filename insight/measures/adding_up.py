"""Figures of all households, added up over parts of them, of which one is in memory at a time.

Figures are sums over households, so those of parts that no household is split between add up to those of all, to the
last unit. What is no sum, a median and an interval, is kept as what it is made of until all parts are in.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from insight.measures.care import renewal, resolution
from insight.measures.conversion import Trials, cross_category
from insight.measures.figures import Figure, FigureRow, Grouping, Noted, Period, groups_of, row_of, rows_of
from insight.measures.holdings import churn, net_additions, penetration
from insight.measures.knowledge import Knowledge, months_of
from insight.measures.revenue import arpu_of_old, ecosystem_arpu
from insight.measures.use import retention_depth, wallet_frequency
from insight.measures.velocity import Velocity

ORDER = ("K1", "K2", "K3", "K4", "K5", "K6", "ARPU", "churn", "net_additions", "renewal", "resolution")

_BY_SUM = (
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


def figures_of(asked: Knowledge, period: Period, *, window_us: int) -> list[Figure]:
    """Return the figures of a period that are sums."""
    sums = [one for make in _BY_SUM for one in make(asked, period)]
    return [*sums, *cross_category(asked, period, window_us=window_us)]


@dataclass(slots=True)
class _Sum:
    """One figure of one period, as far as it is added up."""

    figure: Figure
    """Of the first part: what all have in common."""
    groups: tuple[str, ...]
    missing: str
    noted: Noted
    numbers: dict[str, list[int]] = field(default_factory=dict)
    """Numerator and denominator, by group; that of the whole is called "*"."""

    def rows(self, by: str) -> Iterator[FigureRow]:
        whole, figure = self.numbers["*"], replace(self.figure, missing=self.missing, note=self.noted)
        yield row_of(figure, by="", group="", numerator=whole[0], denominator=None if figure.base is None else whole[1])
        for group in self.groups if not self.missing else ():
            if f"={group}" in self.numbers:
                counted, base = self.numbers[f"={group}"]
                yield row_of(
                    figure, by=by, group=group, numerator=counted, denominator=None if figure.base is None else base
                )


class Sums:
    """What parts come to."""

    def __init__(self, *, time_us: int, zone: str, months: int, by: str, window_us: int) -> None:
        """Ask for the last calendar months before a time, split by something."""
        self.periods = months_of(time_us=time_us, count=months, zone=zone)
        self._by, self._window_us = by, window_us
        self._sums: list[dict[tuple[str, str], _Sum]] = [{} for _ in self.periods]
        self._trials = [Trials() for _ in self.periods]
        self._velocity = [Velocity() for _ in self.periods]

    def add(self, asked: Knowledge, grouping: Grouping | None = None) -> None:
        """Add one part."""
        for place, period in enumerate(self.periods):
            for figure in figures_of(asked, period, window_us=self._window_us):
                self._add(self._sums[place], figure, grouping)
            self._trials[place].add(asked, period, window_us=self._window_us)
            self._velocity[place].add(asked, period, by=self._by, grouping=grouping)

    def _add(self, sums: dict[tuple[str, str], _Sum], figure: Figure, grouping: Grouping | None) -> None:
        key = figure.kpi, figure.measure
        if key not in sums:
            bare = replace(figure, counted=figure.counted.none(), events=figure.events.none())
            bare = replace(bare, base=None if figure.base is None else figure.base.none())
            groups = groups_of(figure, self._by, grouping) if self._by else ()
            sums[key] = _Sum(figure=bare, groups=groups, missing=figure.missing, noted=figure.note)
        else:
            # It can be told where it can be told of some.
            sums[key].missing = sums[key].missing and figure.missing
            sums[key].noted += figure.note
        for row in rows_of(figure, by=self._by, grouping=grouping):
            number = sums[key].numbers.setdefault(f"={row.group}" if row.by else "*", [0, 0])
            number[0] += row.numerator
            number[1] += row.denominator or 0

    def merge(self, other: "Sums") -> None:
        """Add what other parts came to."""
        for own, theirs in zip(self._sums, other._sums, strict=True):
            for key, one in theirs.items():
                if key not in own:
                    own[key] = one
                    continue
                own[key].missing = own[key].missing and one.missing
                own[key].noted += one.noted
                for group, (counted, base) in one.numbers.items():
                    number = own[key].numbers.setdefault(group, [0, 0])
                    number[0] += counted
                    number[1] += base
        for trials, more in zip(self._trials, other._trials, strict=True):
            trials.merge(more)
        for velocity, moments in zip(self._velocity, other._velocity, strict=True):
            velocity.merge(moments)

    def rows(self) -> list[FigureRow]:
        """Return all rows, the oldest month first, in the order of the KPIs."""
        found: list[FigureRow] = []
        for place, period in enumerate(self.periods):
            for one in self._sums[place].values():
                found += one.rows(self._by)
            found += self._trials[place].rows(period)
            found += self._velocity[place].rows(period, by=self._by)
        return sorted(found, key=lambda row: ORDER.index(row.kpi))
