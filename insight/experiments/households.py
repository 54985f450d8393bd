"""What the households of an experiment did, before they met it and in the time it is measured in.

A household counts once its time is over: from its assignment (or exposure) on, so long, and the allowed lateness. So it
counts once and for good, which is what intervals that hold at all looks ask for. It is known by the key it was
assigned by, whatever it was merged with since; its arm is its first.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from insight.experiments.effect import Measured
from insight.measures.coded import NONE
from insight.measures.definitions import DAY_US
from insight.measures.holdings import family_of_events
from insight.measures.knowledge import Knowledge
from insight.measures.revenue import Revenue

Floats = NDArray[np.float64]

MEASURES: Final = ("conversion", "arpu", "activation", "retention")
HABIT_DAYS: Final = 30


class Lives:
    """What every household that facts tell of did, for whoever asks of spans of its time."""

    def __init__(self, asked: Knowledge) -> None:
        """Look it up."""
        self._asked = asked
        facts, definitions = asked.facts, asked.definitions
        told = facts.told.codes
        revenue = asked.once(Revenue)
        self._revenue = _by_household(told[revenue.sale], revenue.time_us, revenue.net_minor)
        self._margin = _by_household(told[revenue.sale], revenue.time_us, revenue.margin_minor)
        taken = [np.flatnonzero(facts.is_of(types)) for types in definitions.taken_up.values()]
        self._extra = {
            family: _by_household(told[rows], facts.time_us[rows], np.ones(len(rows), np.int64))
            for family, rows in zip(definitions.taken_up, taken, strict=True)
        }
        self._changes: dict[int, list[tuple[int, str, tuple[object, ...], bool]]] = defaultdict(list)
        by_type = {name: one for one in definitions.products for name in (one.held, one.ended)}
        rows = np.flatnonzero(facts.is_of(by_type))
        for row, family in zip(rows.tolist(), family_of_events(asked, rows).tolist(), strict=True):
            if family == NONE:
                continue
            name = facts.type.names[int(facts.type.codes[row])]
            kind = by_type[name]
            product = int(facts.texts[kind.product].codes[row]) if kind.product else NONE
            member = int(facts.member.codes[row]) if kind.of == "member" else NONE
            of_whom = (kind.held, product, member)
            change = (int(facts.time_us[row]), definitions.families[family], of_whom, name == kind.held)
            self._changes[int(told[row])].append(change)
        self._code = {name: code for code, name in enumerate(facts.told.names)}

    def revenue_minor(self, household: str, start_us: int, end_us: int) -> int:
        """Return what a household brought in [start, end), net."""
        return _sum_within(self._revenue, self._code.get(household, NONE), start_us, end_us)

    def margin_minor(self, household: str, start_us: int, end_us: int) -> int:
        """Return what is left of it once it is delivered."""
        return _sum_within(self._margin, self._code.get(household, NONE), start_us, end_us)

    def took(self, household: str, families: frozenset[str], start_us: int, end_us: int) -> bool:
        """Return whether it took up one of these families in [start, end), of which it held nothing."""
        code = self._code.get(household, NONE)
        if any(_sum_within(self._extra[one], code, start_us, end_us) for one in families & self._extra.keys()):
            return True
        holding: dict[str, set[tuple[object, ...]]] = defaultdict(set)
        for time_us, family, product, is_held in self._changes.get(code, ()):
            if time_us >= end_us:
                break
            if is_held and not holding[family] and time_us >= start_us and family in families:
                return True
            (holding[family].add if is_held else holding[family].discard)(product)
        return False

    def held(self, household: str, at_us: int) -> int:
        """Return how many products it held just before a time."""
        holding: set[tuple[object, ...]] = set()
        for time_us, _, product, is_held in self._changes.get(self._code.get(household, NONE), ()):
            if time_us >= at_us:
                break
            (holding.add if is_held else holding.discard)(product)
        return len(holding)


_Series = Mapping[int, tuple[NDArray[np.int64], NDArray[np.int64]]]


def _by_household(household: NDArray[np.int64], time_us: NDArray[np.int64], number: NDArray[np.int64]) -> _Series:
    """Return by household the times, in order, and the sums up to each."""
    order = np.lexsort((time_us, household))
    household, time_us, number = household[order], time_us[order], number[order]
    bounds = np.flatnonzero(np.diff(household, prepend=-2, append=-2))
    return {
        int(household[begin]): (time_us[begin:end], np.concatenate([[0], np.cumsum(number[begin:end])]))
        for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    }


def _sum_within(series: _Series, code: int, start_us: int, end_us: int) -> int:
    if code not in series:
        return 0
    times, sums = series[code]
    begin, end = np.searchsorted(times, (start_us, end_us))
    return int(sums[end] - sums[begin])


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A household of an experiment."""

    household: str
    arm: str
    from_us: int
    """When its time begins: met, or exposed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """What became of the households whose time is over."""

    members: tuple[Member, ...]
    outcome: Mapping[str, Floats]
    """By measure: (households,)."""
    per: Mapping[str, Floats]
    """By measure, where it is not a mean per household: what it is divided by."""
    before: Floats
    """(households, columns) what was known before."""

    def measured(self, measure: str, arms: Sequence[str], control: str) -> Measured:
        """Return one measure of some arms and of control, all that are not control as treated."""
        rows = np.array([one.arm in (*arms, control) for one in self.members], np.bool_)
        is_control = np.array([one.arm == control for one in self.members], np.bool_)[rows]
        per = self.per[measure][rows] if measure in self.per else None
        return Measured(outcome=self.outcome[measure][rows], is_control=is_control, per=per, before=self.before[rows])


def margins(lives: Lives, members: Sequence[Member], *, window_us: int) -> Floats:
    """Return (members,) what each brought in [from, from + window) that is left once it is delivered, minor units."""
    return np.array(
        [lives.margin_minor(one.household, one.from_us, one.from_us + window_us) for one in members], np.float64
    )


def outcomes(
    lives: Lives, members: Sequence[Member], families: frozenset[str], *, window_us: int, every_family: frozenset[str]
) -> Outcomes:
    """Return what became of households in [from, from + window).

    conversion: took up a family that the experiment is about; activation: any family; arpu: net minor units, made
    30 days'; retention: of those that held a product when their time began, those that hold one at its end.

    Args:
        members: whose time is over.
    """
    spans = [(one.household, one.from_us, one.from_us + window_us) for one in members]
    thirty = HABIT_DAYS * DAY_US / window_us
    held = np.array([lives.held(key, start) for key, start, _ in spans], np.float64)
    still = np.array([lives.held(key, end) > 0 for key, _, end in spans], np.float64)
    paid_before = np.array([lives.revenue_minor(key, start - window_us, start) for key, start, _ in spans], np.float64)
    return Outcomes(
        members=tuple(members),
        outcome={
            "conversion": np.array([lives.took(*span[:1], families, *span[1:]) for span in spans], np.float64),
            "arpu": np.array([lives.revenue_minor(*span) for span in spans], np.float64) * thirty,
            "activation": np.array([lives.took(*span[:1], every_family, *span[1:]) for span in spans], np.float64),
            "retention": still * (held > 0),
        },
        per={"retention": (held > 0).astype(np.float64)},
        before=np.column_stack([paid_before, held]) if members else np.empty((0, 2)),
    )
