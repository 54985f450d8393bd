"""Intervals of means over units that resemble themselves: clustered by unit, corrected for skewness.

Weighted rewards are skewed: most are 0 and a few are large, and the plain interval of value ± 1.96 standard errors then
ends too low at the top. Hall's transformation takes the third moment into account, needs no draws, and is the plain
interval where nothing is skewed. Source: P. Hall, On the removal of skewness by transformation, JRSS B 54 (1992).
"""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number, and how sure it is."""

    value: float
    low: float
    """Between `low` and `high` lies the truth with the confidence that was asked for."""
    high: float
    standard_error: float


def reach_of(confidence: float) -> float:
    """Return how many standard errors an interval for one look goes to each side.

    >>> round(reach_of(0.95), 2)
    1.96
    """
    return NormalDist().inv_cdf((1 + confidence) / 2)


def unit_sums(influence: NDArray[np.float64], units: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return (units,) the sum of each unit's influence. Decisions of one household resemble each other."""
    return np.asarray(np.bincount(units, influence), np.float64)


def estimate(
    value: float,
    influence: NDArray[np.float64],
    units: NDArray[np.intp],
    *,
    confidence: float = CONFIDENCE,
    reach: float | None = None,
) -> Estimate:
    """Return a value with its interval.

    Args:
        influence: (n,) what each row moves the value by, times n; its mean is 0.
        units: (n,) index of each row's unit, each from 0 to the last used.
        confidence: 0 < confidence < 1.
        reach: how many standard errors the interval goes to each side were nothing skewed; by default what that
            confidence asks for in one look.

    >>> rows = np.array([1.0, 0.0, 1.0, 0.0])
    >>> made = estimate(0.5, rows - 0.5, np.arange(4))
    >>> round(made.low, 3), round(made.high, 3)
    (-0.066, 1.066)
    """
    assert influence.shape == units.shape
    assert 0 < confidence < 1

    sums = unit_sums(influence, units)
    count = len(sums)
    if count < 2:
        return Estimate(value=value, low=-np.inf, high=np.inf, standard_error=np.inf)
    second = float(np.mean(sums**2))
    error = sqrt(second * count / (count - 1) * count) / len(influence)
    if second == 0.0:
        return Estimate(value=value, low=value, high=value, standard_error=0.0)
    skewness = float(np.mean(sums**3)) / second**1.5
    if reach is None:
        reach = reach_of(confidence)
    return Estimate(
        value=value,
        low=value - error * _corrected(reach, skewness, count),
        high=value - error * _corrected(-reach, skewness, count),
        standard_error=error,
    )


def _corrected(quantile: float, skewness: float, count: int) -> float:
    """Return the quantile of a studentised mean of `count` values of that skewness, from one of the normal."""
    tilt = skewness / sqrt(count)
    if abs(tilt) < 1e-9:
        return quantile
    inner = 1.0 + tilt * (quantile - tilt / 6.0)
    return 3.0 / tilt * (float(np.cbrt(inner)) - 1.0)
