"""An experiment on households of which it is known what became of each under every arm: what it says, and what is true.

Each is drawn into one arm, and all that is estimated comes from what became of it there. What it would have become in
the others is the truth, by which the estimate is judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from household.experiments.drawing import position
from insight.experiments.effect import Measured, difference
from insight.intervals import Estimate, estimate

Floats = NDArray[np.float64]

CONTROL, BATCH, MOMENT = "control", "batch", "moment"
ARMS: Final = (CONTROL, BATCH, MOMENT)
"""In the order of the rows of what became of a town."""
MEASURES: Final = ("conversion", "ARPU", "margin", "retention")
PAIRS: Final = ((MOMENT, BATCH), (MOMENT, CONTROL), (BATCH, CONTROL))

MINOR_PER_MAJOR: Final = 100.0
MONTH_DAYS: Final = 30.0
_BITS = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownFates:
    """What became of all."""

    arms: Sequence[str]
    outcomes: Mapping[str, Floats]
    """By measure: (arms, households)."""
    before: Floats
    """(households, columns) what was known of each before."""

    @property
    def households(self) -> int:
        """How many."""
        return len(self.before)


def fates_of(columns: Mapping[str, Floats], *, days: float) -> KnownFates:
    """Return what became of a town in the measures that are judged; money per household and 30 days, in major units.

    Args:
        columns: as the town's archive has them: (arms, households) conversion, revenue_minor, margin_minor and left,
            and (households,) revenue_before_minor and taken_before.
        days: in which it came about.
    """
    month = MONTH_DAYS / days / MINOR_PER_MAJOR
    return KnownFates(
        arms=ARMS,
        outcomes={
            "conversion": columns["conversion"],
            "ARPU": columns["revenue_minor"] * month,
            "margin": columns["margin_minor"] * month,
            "retention": 1.0 - columns["left"],
        },
        before=np.stack([columns["revenue_before_minor"], columns["taken_before"]], axis=1),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Advantage:
    """What one arm is ahead of another in one measure."""

    measure: str
    arm: str
    over: str
    effect: Estimate
    """Of the experiment, by intention to treat, with the past taken off where that narrows."""
    is_adjusted: bool
    truth: Estimate
    """Mean of all households' own differences, with the interval that comes of there being no more of them."""

    @property
    def holds(self) -> bool:
        """Whether the experiment's interval holds the truth of these households."""
        return self.effect.low <= self.truth.value <= self.effect.high


def drawn(salt: str, birth_ids: Sequence[bytes], arms: int) -> NDArray[np.intp]:
    """Return (households,) the arm of each, all alike in size, drawn as Hearth draws.

    >>> drawn("town", [b"H000000", b"H000001", b"H000002"], 3).tolist()
    [0, 1, 1]
    """
    return np.array([position(salt, one) * arms >> _BITS for one in birth_ids], np.intp)


def experiment(known: KnownFates, birth_ids: Sequence[bytes], *, salt: str) -> list[Advantage]:
    """Return what an experiment on all says, a third of the households in each arm."""
    assigned = drawn(salt, birth_ids, len(known.arms))
    return [
        advantage(known, assigned, measure=measure, arm=arm, over=over) for measure in MEASURES for arm, over in PAIRS
    ]


def told(one: Advantage) -> str:
    """Return an advantage in one line: points of a hundred, or money per household and 30 days."""
    scale = MINOR_PER_MAJOR if one.measure in ("conversion", "retention") else 1.0
    numbers = [one.effect.value, one.effect.low, one.effect.high, one.truth.value]
    value, low, high, truth = (f"{scale * number:+.2f}" for number in numbers)
    notes = ("" if one.holds else ", outside") + (", past taken off" if one.is_adjusted else "")
    return (
        f"{one.measure}, {one.arm} over {one.over}".ljust(36)
        + f"{value} ({low} to {high})".ljust(28)
        + (f"truth {truth}{notes}")
    )


def advantage(
    known: KnownFates,
    assigned: NDArray[np.intp],
    *,
    measure: str,
    arm: str,
    over: str,
    chosen: NDArray[np.intp] | None = None,
) -> Advantage:
    """Return what an arm is ahead of another.

    Args:
        known: what became of all.
        assigned: (households,) the arm each was drawn into.
        measure: name of an outcome.
        arm: the one that is judged.
        over: the one that it is compared with.
        chosen: (drawn,) which households there are in the experiment, some more than once; None for each once. Then
            `assigned` is theirs.

    Raises:
        ValueError: there is nobody in one of the arms.
    """
    outcome = known.outcomes[measure]
    which, other = known.arms.index(arm), known.arms.index(over)
    households = np.arange(known.households) if chosen is None else chosen
    rows = np.flatnonzero((assigned == which) | (assigned == other))
    seen = outcome[assigned[rows], households[rows]]
    found = difference(
        Measured(outcome=seen, is_control=assigned[rows] == other, before=known.before[households[rows]])
    )
    own = outcome[which] - outcome[other]
    return Advantage(
        measure=measure,
        arm=arm,
        over=over,
        effect=found.estimate(),
        is_adjusted=found.is_adjusted,
        truth=estimate(float(own.mean()), own - own.mean(), np.arange(len(own))),
    )
