"""From what the arms of an experiment differ in to a verdict in words: launch, do not, not enough yet.

The verdict hangs on one measure and its anytime interval, so it may be asked for every day, and the first that is not
*not enough yet* ends the experiment: *launch* on a true loss comes about once in forty experiments at most, however
often one looks. It says *do not* of an effect that may not be worth having, and of one that harms what is not to be
harmed. Where the arms are not what was drawn, or control was treated, nothing they differ in means anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from insight.experiments.anytime import TUNED_AT, anytime_reach
from insight.experiments.effect import Difference, Measured, difference
from insight.experiments.planning import households_needed_anytime
from insight.intervals import CONFIDENCE, Estimate

HOUSEHOLDS_LEAST: Final = 100
"""In each arm, before anything is said: with fewer, no interval holds what it promises."""

OUTCOMES_LEAST: Final = 5
"""Households that differ from most, in each arm, were both alike. Below, a rare outcome says nothing yet."""

WORTHWHILE_PART: Final = 0.1
"""Of control's mean: the least effect worth having, where nobody says which."""


class LaunchVerdict(StrEnum):
    """What is to be done."""

    LAUNCH = "launch"
    DO_NOT = "do not"
    NOT_YET = "not enough yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stakes:
    """What an effect has to be, per household in the unit of the measure."""

    break_even: float = 0.0
    """At which treating costs what it brings."""
    worthwhile: float | None = None
    """The least beyond that worth having, above 0; None: a tenth of control's mean."""
    confidence: float = CONFIDENCE
    """Of all intervals; shared among the arms that are compared with control, so that it holds for all at once."""
    tuned_at: int = TUNED_AT

    def __post_init__(self) -> None:
        assert self.worthwhile is None or self.worthwhile > 0
        assert 0 < self.confidence < 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one arm is ahead of control in one measure."""

    measure: str
    arm: str
    treated_households: int
    control_households: int
    treated: float
    """Mean."""
    control: float
    effect: Estimate
    """With the interval of one look, planned beforehand."""
    anytime: Estimate
    """With the interval that holds at all looks; the verdict hangs on it."""
    relative: Estimate | None
    """As a part of control's mean; one look."""
    is_adjusted: bool
    narrowed_to: float
    """What is left of the standard error once households' past is taken off; 1: nothing known of it."""
    variance: float
    """Of the effect, times the households."""
    confidence: float
    """Of the intervals; that of all arms at once is what was asked for."""
    is_enough: bool
    """Whether there is enough for intervals to hold."""

    @property
    def households(self) -> int:
        """In both arms."""
        return self.treated_households + self.control_households


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmVerdict:
    """Whether to launch what an arm was treated with."""

    arm: str
    verdict: LaunchVerdict
    why: str
    worthwhile: float | None
    """The least effect beyond break-even that was looked for; None where control has nothing to take a tenth of."""
    households_needed: int | None
    """In both arms, until the least worthwhile effect most likely (80 %) shows; None where that cannot be told."""


def read(measured: Measured, *, measure: str, arm: str, arms: int, stakes: Stakes) -> Reading | None:
    """Return what an arm is ahead of control, None where there is nobody in one of them.

    Args:
        arms: that are compared with control.
    """
    try:
        found = difference(measured)
    except ValueError:
        return None
    confidence = 1.0 - (1.0 - stakes.confidence) / arms
    reach = anytime_reach(found.unit_count, confidence=confidence, tuned_at=stakes.tuned_at)
    control_households = len(np.unique(found.units[measured.is_control]))
    counts = (found.unit_count - control_households, control_households)
    return Reading(
        measure=measure,
        arm=arm,
        treated_households=counts[0],
        control_households=counts[1],
        treated=found.treated,
        control=found.control,
        effect=found.estimate(confidence=confidence),
        anytime=found.estimate(confidence=confidence, reach=reach),
        relative=found.relative(confidence=confidence),
        is_adjusted=found.is_adjusted,
        narrowed_to=found.narrowed_to,
        variance=found.variance if found.unit_count > 1 else np.inf,
        confidence=confidence,
        is_enough=min(counts) >= HOUSEHOLDS_LEAST and _different(measured, found) * min(counts) >= OUTCOMES_LEAST,
    )


def _different(measured: Measured, found: Difference) -> float:
    """Return the share of households whose outcome is not what most have."""
    values = np.bincount(found.units, measured.outcome)
    _, often = np.unique(values, return_counts=True)
    return 1.0 - float(often.max()) / len(values)


def decide_arm(
    reading: Reading | None, *, arm: str, guards: Sequence[Reading], unsound: str, stakes: Stakes
) -> ArmVerdict:
    """Return the verdict on one arm.

    Args:
        reading: of the measure that it hangs on; None where there is nobody in an arm.
        guards: of the measures that must not be harmed.
        unsound: why the arms cannot be compared, empty where they can.
    """
    if reading is None:
        verdict, why = LaunchVerdict.NOT_YET, "nobody's time is over in one of the arms"
        if unsound:
            verdict, why = LaunchVerdict.DO_NOT, f"the arms cannot be compared: {unsound}"
        return ArmVerdict(arm=arm, verdict=verdict, why=why, worthwhile=None, households_needed=None)
    worthwhile = stakes.worthwhile
    if worthwhile is None:
        worthwhile = WORTHWHILE_PART * reading.control if reading.control > 0 else None
    needed = None
    if worthwhile is not None and 0.0 < reading.variance < np.inf:
        needed = households_needed_anytime(
            variance=reading.variance,
            effect=worthwhile,
            confidence=reading.confidence,
            tuned_at=stakes.tuned_at,
        )
    verdict, why = _decided(reading, guards, unsound, stakes.break_even, worthwhile)
    return ArmVerdict(arm=arm, verdict=verdict, why=why, worthwhile=worthwhile, households_needed=needed)


def _decided(
    reading: Reading, guards: Sequence[Reading], unsound: str, break_even: float, worthwhile: float | None
) -> tuple[LaunchVerdict, str]:
    if unsound:
        return LaunchVerdict.DO_NOT, f"the arms cannot be compared: {unsound}"
    span = reading.anytime
    told = f"{reading.measure} {span.value:+.4g} per household, {span.low:+.4g} to {span.high:+.4g} whenever looked at"
    if not reading.is_enough:
        few = f"{reading.treated_households:,} treated and {reading.control_households:,} in control"
        return LaunchVerdict.NOT_YET, f"{few} do not tell enough of {reading.measure} for an interval to hold"
    harmed = [one for one in guards if one.is_enough and one.anytime.high < 0.0]
    if harmed:
        worst = harmed[0].anytime
        what = f"{harmed[0].measure} {worst.value:+.4g} per household, {worst.low:+.4g} to {worst.high:+.4g}"
        return LaunchVerdict.DO_NOT, f"it harms what is not to be harmed: {what}"
    cost = f", less than the {break_even:.4g} it costs" if break_even else ""
    if span.high < break_even:
        return LaunchVerdict.DO_NOT, f"it loses: {told}{cost}"
    if span.low > break_even:
        return LaunchVerdict.LAUNCH, f"it brings more than it costs: {told}"
    if worthwhile is not None and span.high < break_even + worthwhile:
        return LaunchVerdict.DO_NOT, f"it brings less than is worth having ({break_even + worthwhile:.4g}): {told}"
    return LaunchVerdict.NOT_YET, f"it may bring something or nothing: {told}"
