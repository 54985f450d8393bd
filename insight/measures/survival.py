"""How long something takes, where for some it has not happened yet: those are censored, never dropped.

Kaplan and Meier's estimate with Greenwood's variance; the interval of the median is where the log-log interval of the
curve crosses a half (Brookmeyer and Crowley, 1982).
"""

from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

HALF = 0.5
_ROUNDING = 1e-12
"""A product of fractions that is a half may come out a hair above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Median:
    """When half have done it."""

    value: int | None
    """None where fewer than half have."""
    low: int | None
    high: int | None


def median_time(durations: NDArray[np.int64], is_done: NDArray[np.bool_], *, confidence: float = 0.95) -> Median:
    """Return the median of durations.

    Args:
        durations: (n,) until it was done, or until one looked.
        is_done: (n,)
        confidence: of the interval.

    >>> median_time(np.array([3, 5, 5, 8, 9]), np.array([True, True, False, True, False])).value
    8
    """
    reach = NormalDist().inv_cdf((1 + confidence) / 2)
    left, spread = 1.0, 0.0
    value = low = high = None
    for time in np.unique(durations[is_done]).tolist():
        at_risk = int((durations >= time).sum())
        done = int((is_done & (durations == time)).sum())
        left *= 1 - done / at_risk
        spread += done / (at_risk * (at_risk - done)) if at_risk > done else 0.0
        if left <= _ROUNDING:
            lower, upper = 0.0, 1.0  # where nobody is left, the formula has no limits
        else:
            width = reach * sqrt(spread) / abs(log(left))
            lower, upper = left ** exp(width), left ** exp(-width)
        low = time if low is None and lower <= HALF + _ROUNDING else low
        value = time if value is None and left <= HALF + _ROUNDING else value
        high = time if high is None and upper <= HALF + _ROUNDING else high
    return Median(value=value, low=low, high=high)


def quantile(durations: NDArray[np.int64], share: float) -> int | None:
    """Return the least duration that at least that share of all do not exceed; None of none.

    >>> quantile(np.array([10, 20, 30, 40]), 0.5), quantile(np.array([10, 20, 30, 40]), 0.99)
    (20, 40)
    """
    if not len(durations):
        return None
    place = int(np.ceil(share * len(durations) - _ROUNDING)) - 1
    return int(np.sort(durations)[max(place, 0)])
