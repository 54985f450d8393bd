"""Figures: sums over what is counted, of whom, and by which parts they split; each knows the events it is made of.

Numerators and denominators are whole numbers, so that parts that do not overlap add up to the whole exactly.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
NO_PART = -1


def none() -> Integers:
    """Return no numbers."""
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A calendar month, as far as it has gone."""

    name: str
    """Such as 2026-11."""
    start_us: int
    end_us: int
    """The next month's beginning, or until when one asks."""
    is_over: bool
    days: Fraction
    """Calendar days, so a month has 28 to 31 whatever clocks do; what has gone by of one that is not over."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Addends:
    """Numbers of households, and which part each is of."""

    household: Integers = field(default_factory=none)
    """(n,) index of whose each is."""
    number: Integers = field(default_factory=none)
    """(n,)"""
    part: Integers = field(default_factory=none)
    """(n,) index of its part; empty where there are none."""

    @property
    def total(self) -> int:
        """The sum of all."""
        return int(self.number.sum())

    def none(self) -> "Addends":
        """Return none of them."""
        return Addends()

    def is_of(self, part: int) -> NDArray[np.bool_]:
        """(n,) which are of a part."""
        return self.part == part if len(self.part) else np.zeros(len(self.household), np.bool_)


def one_of_each(household: Integers, part: Integers | None = None) -> Addends:
    """Return a tally that counts each once."""
    return Addends(household=household, number=np.ones(len(household), np.int64), part=none() if part is None else part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What is to be said beside a figure: of some households what it says of all, once theirs is added."""

    text: str = ""
    """`{}` stands for the count, or for the names."""
    count: int | None = None
    """Nothing is said of none."""
    names: frozenset[str] = frozenset()

    def __add__(self, other: "Noted") -> "Noted":
        count = None if self.count is None and other.count is None else (self.count or 0) + (other.count or 0)
        return Noted(text=self.text or other.text, count=count, names=self.names | other.names)

    def __str__(self) -> str:
        if "{}" not in self.text:
            return self.text
        told = ", ".join(sorted(self.names)) if self.count is None else f"{self.count:,}" if self.count else ""
        return self.text.format(told) if told else ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Figure:
    """One measure in one period, for all of whom it is asked."""

    kpi: str
    measure: str
    period: Period
    scale: Fraction = Fraction(1)
    """The value is numerator × scale / denominator."""
    unit: str
    counted: Addends = field(default_factory=Addends)
    """What the numerator adds up."""
    base: Addends | None = None
    """The units of the denominator, whose parts are empty where it is common to all; None: nothing divides."""
    parts: tuple[str, ...] = ()
    split: str = ""
    """What the parts are: family, category, journey, channel; empty where there are none."""
    events: Addends = field(default_factory=Addends)
    """The facts that it is made of, by their rows."""
    missing: str = ""
    """The signals without which it cannot be told, empty where it can."""
    note: Noted = field(default_factory=Noted)


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureRow:
    """One number."""

    kpi: str
    measure: str
    period: str
    is_over: bool
    by: str
    """What it is split by; empty for the whole."""
    group: str
    value: float | None
    """None where it cannot be told: nobody is counted, or signals are missing."""
    unit: str
    numerator: int
    denominator: int | None
    missing: str
    note: str
    low: float | None = None
    """Of an interval of 95 %, where there is one."""
    high: float | None = None

    @property
    def name(self) -> str:
        """What `--explain` calls it."""
        whole = f"{self.kpi}.{self.measure}/{self.period}"
        return f"{whole}/{self.by}={self.group}" if self.by else whole


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grouping:
    """Which group each household is in: for a split that no part of a figure is."""

    by: str
    of_household: Integers
    """(households,) index of its group."""
    groups: tuple[str, ...]


def rows_of(figure: Figure, *, by: str, grouping: Grouping | None) -> Iterator[FigureRow]:
    """Yield the whole of a figure, and its split where it has one of that name."""
    base = figure.base
    yield row_of(
        figure, by="", group="", numerator=figure.counted.total, denominator=None if base is None else base.total
    )
    if figure.missing or not by:
        return
    for place, group in enumerate(groups_of(figure, by, grouping)):
        counted = _within(figure.counted, figure, by, grouping, place)
        units = None if base is None else _within(base, figure, by, grouping, place)
        if base is not None and figure.split == by and not len(base.part):
            units = np.ones(len(base.number), np.bool_)
        if counted.any() or (units is not None and units.any()):
            numerator = int(figure.counted.number[counted].sum())
            denominator = None if base is None or units is None else int(base.number[units].sum())
            yield row_of(figure, by=by, group=group, numerator=numerator, denominator=denominator)


def events_of(figure: Figure, *, by: str, group: str, grouping: Grouping | None) -> Integers:
    """Return the rows of the facts behind a row of a figure, in order, each once."""
    if not by:
        return np.unique(figure.events.number)
    place = groups_of(figure, by, grouping).index(group)
    return np.unique(figure.events.number[_within(figure.events, figure, by, grouping, place)])


def groups_of(figure: Figure, by: str, grouping: Grouping | None) -> tuple[str, ...]:
    """Return what the groups of a split are called, none where the figure has none of that name."""
    if figure.split == by:
        return figure.parts
    return grouping.groups if grouping is not None and grouping.by == by else ()


def _within(tally: Addends, figure: Figure, by: str, grouping: Grouping | None, place: int) -> NDArray[np.bool_]:
    if figure.split == by:
        return tally.is_of(place)
    assert grouping is not None
    return np.asarray(grouping.of_household[tally.household] == place, np.bool_)


def row_of(figure: Figure, *, by: str, group: str, numerator: int, denominator: int | None) -> FigureRow:
    """Return a row of a figure from what it adds up to."""
    value = None
    if not figure.missing and denominator != 0:
        value = float(Fraction(numerator) * figure.scale / (1 if denominator is None else denominator))
    return FigureRow(
        kpi=figure.kpi,
        measure=figure.measure,
        period=figure.period.name,
        is_over=figure.period.is_over,
        by=by,
        group=group,
        value=value,
        unit=figure.unit,
        numerator=numerator,
        denominator=denominator,
        missing=figure.missing,
        note=str(figure.note),
    )


def missing_of(wanted: Mapping[str, bool]) -> str:
    """Return which signals are missing, as a text; empty where none is.

    >>> missing_of({"wallet.payment": True, "wallet.refund": False})
    'wallet.refund'
    """
    return ", ".join(sorted(name for name, is_there in wanted.items() if not is_there))
