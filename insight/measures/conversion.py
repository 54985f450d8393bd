"""K6: who entered a journey and took up a family of it that the household had not, and how much more than control."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from insight.experiments.effect import Measured, difference
from insight.measures.coded import NONE
from insight.measures.figures import Addends, Figure, FigureRow, Noted, Period, one_of_each
from insight.measures.holdings import family_of_events, holding_signals
from insight.measures.journeys import is_control
from insight.measures.knowledge import Knowledge


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenUp:
    """That a household came to hold a family of which it held nothing."""

    time_us: int
    household: int
    family: str
    fact: int


def taken_up(asked: Knowledge) -> list[TakenUp]:
    """Return every time a household came to hold a family, in order of time."""
    facts, families, products = asked.facts, asked.definitions.families, asked.definitions.products
    rows = np.flatnonzero(facts.is_of([name for one in products for name in (one.held, one.ended)]))
    is_held = facts.is_of([one.held for one in products])
    named = {one.product: facts.texts[one.product].codes for one in products if one.product}
    of_type = {name: one for one in products for name in (one.held, one.ended)}
    holding: dict[tuple[int, int], set[tuple[object, ...]]] = defaultdict(set)
    found = []
    for row, family in zip(rows.tolist(), family_of_events(asked, rows).tolist(), strict=True):
        if family < 0:
            continue
        household, kind = int(asked.household[row]), of_type[facts.type.names[int(facts.type.codes[row])]]
        key = (
            int(facts.told.codes[row]),
            int(facts.member.codes[row]) if kind.of == "member" else NONE,
            kind.held,
            int(named[kind.product][row]) if kind.product else NONE,
        )
        held = holding[household, family]
        if not is_held[row]:
            held.discard(key)
            continue
        if not held:
            time_us = int(facts.time_us[row])
            found.append(TakenUp(time_us=time_us, household=household, family=families[family], fact=row))
        held.add(key)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """A household's first entry into a journey in a period."""

    journey: str
    household: int
    time_us: int
    took: tuple[TakenUp, ...]
    """What it took up of the journey's families within the window."""
    is_over: bool
    """Whether its window is over."""


def entered(asked: Knowledge, period: Period, *, window_us: int) -> list[Entered]:
    """Return the households that entered each journey in a period, each by its first entry in it."""
    first: dict[tuple[str, int], int] = {}
    for entry in asked.journeys.entries:
        is_known = asked.known_us is None or entry.learnt_us <= asked.known_us
        if is_known and period.start_us <= entry.time_us < period.end_us:
            key = (entry.journey, asked.by_key[entry.household])
            first[key] = min(first.get(key, entry.time_us), entry.time_us)
    # What a contact starts has no moments: it is entered when its control group is met.
    with_moments = asked.journeys.names.with_moments
    for met in asked.journeys.met:
        is_journey = met.experiment in asked.journeys.families and met.experiment not in with_moments
        is_known = asked.known_us is None or met.time_us <= asked.known_us
        if is_journey and is_known and period.start_us <= met.time_us < period.end_us:
            key = (met.experiment, asked.by_key[met.household])
            first[key] = min(first.get(key, met.time_us), met.time_us)
    of_household: dict[int, list[TakenUp]] = defaultdict(list)
    for one in asked.once(taken_up) if first else ():
        of_household[one.household].append(one)
    return [
        Entered(
            journey=journey,
            household=household,
            time_us=time_us,
            took=tuple(
                one
                for one in of_household[household]
                if time_us <= one.time_us < time_us + window_us
                and one.family in asked.journeys.families.get(journey, ())
            ),
            is_over=time_us + window_us <= asked.time_us,
        )
        for (journey, household), time_us in sorted(first.items())
    ]


def cross_category(asked: Knowledge, period: Period, *, window_us: int) -> list[Figure]:
    """Return K6: of households that entered a journey in the month, those that took up a family of it in the window.

    The denominator is frozen with each entry's window; those whose window is still open are told apart.
    """
    all_of_them = asked.once(entered, period, window_us=window_us)
    journeys = asked.journeys.names.entered
    over = [one for one in all_of_them if one.is_over]
    took = [(one, taken) for one in over for taken in one.took]
    is_any = asked.journeys.names.is_any or bool(all_of_them)
    missing = "" if is_any else "moments of journeys (nothing was decided yet)"
    still_open = [one for one in all_of_them if not one.is_over]
    figure = Figure(
        kpi="K6",
        measure="conversion",
        period=period,
        unit="share of entries",
        missing=missing or holding_signals(asked),
        note=Noted(text="{} entries whose window is still open are not counted", count=len(still_open)),
        counted=_tally([one for one in over if one.took], journeys),
        base=_tally(over, journeys),
        parts=journeys,
        split="journey",
        events=Addends(
            household=np.array([one.household for one, _ in took], np.int64),
            number=np.array([taken.fact for _, taken in took], np.int64),
            part=np.array([journeys.index(one.journey) for one, _ in took], np.int64),
        ),
    )
    families = asked.definitions.families
    by_family = replace(
        figure,
        measure="families",
        unit="families taken up per entry",
        counted=one_of_each(
            np.array([one.household for one, _ in took], np.int64),
            np.array([families.index(taken.family) for _, taken in took], np.int64),
        ),
        base=one_of_each(np.array([one.household for one in over], np.int64)),
        parts=families,
        split="family",
        events=replace(figure.events, part=np.array([families.index(taken.family) for _, taken in took], np.int64)),
    )
    is_open = replace(
        figure,
        measure="open",
        unit="entries",
        note=Noted(),
        counted=_tally(still_open, journeys),
        base=None,
        events=Addends(),
    )
    return [figure, by_family, is_open]


def _tally(entries: list[Entered], journeys: tuple[str, ...]) -> Addends:
    return one_of_each(
        np.array([one.household for one in entries], np.int64),
        np.array([journeys.index(one.journey) for one in entries], np.int64),
    )


class Trials:
    """How much more of those not in control took up a family of a journey that they entered in a period."""

    def __init__(self) -> None:
        self._outcomes: dict[str, list[tuple[NDArray[np.float64], NDArray[np.bool_]]]] = {}
        """By journey: what became of households, and which are in control."""

    def add(self, asked: Knowledge, period: Period, *, window_us: int) -> None:
        """Add some households."""
        over = [one for one in asked.once(entered, period, window_us=window_us) if one.is_over]
        for journey in sorted({one.journey for one in over}):
            met = asked.journeys.arms(journey, time_us=asked.time_us, known_us=asked.known_us)
            # Of one that was merged, the first of its arms.
            by_time = sorted(met.items(), key=lambda of: of[1].time_us, reverse=True)
            arm_of = {asked.by_key[key]: one.arm for key, one in by_time}
            drawn = [one for one in over if one.journey == journey and one.household in arm_of]
            outcome = np.array([float(bool(one.took)) for one in drawn], np.float64)
            control = np.array([is_control(arm_of[one.household]) for one in drawn], np.bool_)
            self._outcomes.setdefault(journey, []).append((outcome, control))

    def merge(self, other: "Trials") -> None:
        """Add what there is of other households."""
        for journey, outcomes in other._outcomes.items():
            self._outcomes.setdefault(journey, []).extend(outcomes)

    def rows(self, period: Period) -> Iterator[FigureRow]:
        """Yield a row for each journey, with its interval of 95 %."""
        for journey in sorted(self._outcomes):
            outcome, control = (np.concatenate(parts) for parts in zip(*self._outcomes[journey], strict=True))
            yield _increment(period, journey, outcome, control)


def _increment(period: Period, journey: str, outcome: NDArray[np.float64], control: NDArray[np.bool_]) -> FigureRow:
    counts = Counter(control.tolist())
    told = FigureRow(
        kpi="K6",
        measure="increment",
        period=period.name,
        is_over=period.is_over,
        by="journey",
        group=journey,
        value=None,
        unit="share of entries, more than control",
        numerator=counts[False],
        denominator=counts[True],
        missing="",
        note="",
    )
    if min(counts[True], counts[False]) < 2:
        few = f"{counts[True]:,} in control and {counts[False]:,} treated: nothing to compare"
        return replace(told, missing=few)
    found = difference(Measured(outcome=outcome, is_control=control)).estimate()
    note = f"{counts[False]:,} treated and {counts[True]:,} in control, by intention to treat; for one look"
    return replace(told, value=found.value, low=found.low, high=found.high, note=note)


def increments(asked: Knowledge, period: Period, *, window_us: int) -> Iterator[FigureRow]:
    """Yield for each journey how much more of those not in control took up a family, with its interval of 95 %."""
    trials = Trials()
    trials.add(asked, period, window_us=window_us)
    yield from trials.rows(period)
