"""What treating brought: the mean of all who were to be treated less that of control, whoever was in fact exposed.

With what households did before they were met, the difference is adjusted where that narrows it (CUPED): what an arm
was ahead already is taken off, by a slope of each arm's own, so it never widens however unequal the arms are. Source:
Deng, Xu, Kohavi, Walker, Improving the sensitivity of online controlled experiments (2013); Lin, Agnostic notes on
regression adjustments (2013).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from insight.intervals import CONFIDENCE, Estimate, estimate, reach_of, unit_sums

Floats = NDArray[np.float64]

NARROWS_BY: Final = 0.99
"""An adjustment is used where the standard error becomes this part of what it was, or less."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """One measure of all households of two arms."""

    outcome: Floats
    """(rows,) what is measured of each from its assignment on; a sum where there are several of it."""
    is_control: NDArray[np.bool_]
    """(rows,) its arm, as it was first recorded; one for all rows of a unit."""
    per: Floats | None = None
    """(rows,) what the outcome is divided by in each arm, such as members; None: rows."""
    before: Floats | None = None
    """(rows, columns) what was known of each before it was met; None: nothing."""
    units: NDArray[np.intp] | None = None
    """(rows,) the household of each row, each from 0 to the last used; None: each row is one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Difference:
    """What the treated are ahead of control, and how each row moves it."""

    treated: float
    """Their mean, as it was measured."""
    control: float
    value: float
    """The difference of the means, adjusted if `is_adjusted`."""
    influence: Floats
    """(rows,) what each row moves the value by, times the rows."""
    control_influence: Floats
    """(rows,) what each row moves control's mean by, times the rows."""
    units: NDArray[np.intp]
    is_adjusted: bool
    narrowed_to: float
    """Standard error of the adjusted difference, as a part of that of the plain one; 1 with nothing before."""

    @property
    def unit_count(self) -> int:
        """How many households."""
        return int(self.units.max()) + 1

    @property
    def variance(self) -> float:
        """Of the value, times the households: what it costs to know it better."""
        return self.estimate().standard_error ** 2 * self.unit_count

    def estimate(self, *, confidence: float = CONFIDENCE, reach: float | None = None) -> Estimate:
        """Return the value with its interval, as `insight.intervals.estimate`, wider where tails are heavy."""
        if reach is None:
            reach = reach_of(confidence)
        return estimate(self.value, self.influence, self.units, reach=for_tails(reach, self.influence, self.units))

    def relative(self, *, confidence: float = CONFIDENCE) -> Estimate | None:
        """Return the value as a part of control's mean, by the delta method; None where control has nothing."""
        if self.control <= 0.0:
            return None
        part = self.value / self.control
        influence = (self.influence - part * self.control_influence) / self.control
        reach = for_tails(reach_of(confidence), influence, self.units)
        return estimate(part, influence, self.units, reach=reach)


def difference(measured: Measured) -> Difference:
    """Return what the treated are ahead of control.

    Raises:
        ValueError: there is nobody in one of the arms.

    >>> control = np.array([True, True, False, False])
    >>> difference(Measured(outcome=np.array([1.0, 2.0, 4.0, 5.0]), is_control=control)).value
    3.0
    """
    outcome, is_control = measured.outcome, measured.is_control
    assert outcome.shape == is_control.shape
    if is_control.all() or not is_control.any():
        raise ValueError("everybody is in one arm: there is nothing to compare")
    per = np.ones(len(outcome)) if measured.per is None else measured.per
    units = np.arange(len(outcome)) if measured.units is None else measured.units
    moves, means = np.zeros(len(outcome)), []
    for arm in (~is_control, is_control):
        if not per[arm].any():
            raise ValueError("there is nobody to divide by in one arm: there is nothing to compare")
        mean = float(outcome[arm].sum() / per[arm].sum())
        moves[arm] = (outcome[arm] - mean * per[arm]) / per[arm].mean()
        means.append(mean)
    plain = _influence(moves, is_control)
    value, influence, narrowed_to = means[0] - means[1], plain, 1.0
    if measured.before is not None:
        ahead, adjusted = _adjusted(moves, is_control, measured.before)
        spread = float(np.sqrt(np.mean(unit_sums(plain, units) ** 2)))
        narrowed_to = float(np.sqrt(np.mean(unit_sums(adjusted, units) ** 2))) / spread if spread else 1.0
        if narrowed_to <= NARROWS_BY:
            value, influence = value - ahead, adjusted
    return Difference(
        treated=means[0],
        control=means[1],
        value=value,
        influence=influence,
        control_influence=np.where(is_control, -plain, 0.0),
        units=units,
        is_adjusted=narrowed_to <= NARROWS_BY,
        narrowed_to=narrowed_to,
    )


def for_tails(reach: float, influence: Floats, units: NDArray[np.intp]) -> float:
    """Return the reach of Student's t in place of that of the normal: what households bring has heavy tails.

    A few of them make most of the variance, which is then known as badly as that of few. The degrees of freedom are
    those of a variance that is known so badly (Satterthwaite); the quantile is Cornish and Fisher's.
    """
    sums = unit_sums(influence, units)
    second = float(np.mean(sums**2))
    if second == 0.0:
        return reach
    excess = float(np.mean(sums**4)) / second**2 - 1.0
    return reach + (reach**3 + reach) * excess / (8.0 * len(sums))


def _influence(moves: Floats, is_control: NDArray[np.bool_], *, fitted: int = 0) -> Floats:
    """Return (rows,) how each row moves the difference, times the rows; a mean and `fitted` slopes cost freedom."""
    influence, rows = np.empty(len(moves)), len(moves)
    for arm, sign in ((~is_control, 1.0), (is_control, -1.0)):
        count = int(arm.sum())
        freedom = max(count - 1 - fitted, 1)
        influence[arm] = sign * moves[arm] * (rows / np.sqrt(count * freedom))
    return influence


def _adjusted(moves: Floats, is_control: NDArray[np.bool_], before: Floats) -> tuple[float, Floats]:
    """Return what the treated were ahead by already, and how each row moves what is left without it."""
    before = before - before.mean(axis=0)
    ahead, left, slopes = 0.0, np.empty(len(moves)), []
    for arm, sign in ((~is_control, 1.0), (is_control, -1.0)):
        centre = before[arm].mean(axis=0)
        own = before[arm] - centre
        slope = np.linalg.lstsq(own, moves[arm], rcond=None)[0]
        ahead += sign * float(slope @ centre)
        left[arm] = moves[arm] - own @ slope
        slopes.append(slope)
    return ahead, _influence(left, is_control, fitted=before.shape[1]) + before @ (slopes[0] - slopes[1])


def intention_to_treat(
    outcome: NDArray[np.float64], is_control: NDArray[np.bool_], *, confidence: float = CONFIDENCE
) -> Estimate:
    """Return the difference between the arms, with its interval.

    Args:
        outcome: (households,) what is measured of each, from its assignment on.
        is_control: (households,) its arm, as it was first recorded.
        confidence: 0 < confidence < 1.

    Raises:
        ValueError: there is nobody in one of the arms.

    >>> found = intention_to_treat(np.array([1.0, 2.0, 4.0, 5.0]), np.array([True, True, False, False]))
    >>> found.value
    3.0
    """
    return difference(Measured(outcome=outcome, is_control=is_control)).estimate(confidence=confidence)
