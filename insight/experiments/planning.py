"""How many households an experiment needs, and how long it still takes."""

from collections.abc import Mapping
from math import ceil
from statistics import NormalDist
from typing import Final

from insight.experiments.anytime import TUNED_AT, anytime_reach
from insight.intervals import CONFIDENCE

POWER: Final = 0.8
DAY_US: Final = 86_400_000_000


def households_needed(
    *, variance: float, effect: float, power: float = POWER, confidence: float = CONFIDENCE, reach: float | None = None
) -> int:
    """Return after how many households, of both arms together, an effect of that size shows with that probability.

    Args:
        variance: of the difference, times the households it was found with (`Difference.variance`, `share_variance`).
        effect: in the unit of the outcome, not 0.
        reach: standard errors the interval goes to each side; by default what one look asks for.

    >>> households_needed(variance=share_variance(0.10, treated_share=0.5), effect=0.02)
    7064
    """
    assert effect != 0.0
    assert 0 < power < 1
    if reach is None:
        reach = NormalDist().inv_cdf((1 + confidence) / 2)
    return ceil(variance * ((reach + NormalDist().inv_cdf(power)) / effect) ** 2)


def households_needed_anytime(
    *,
    variance: float,
    effect: float,
    power: float = POWER,
    confidence: float = CONFIDENCE,
    tuned_at: int = TUNED_AT,
) -> int:
    """Return the same where one may look whenever one likes; arguments as of `households_needed`."""
    low, high = 1, 2
    while not _shows(high, variance, effect, power, confidence, tuned_at):
        low, high = high, high * 2
    while low + 1 < high:
        middle = (low + high) // 2
        if _shows(middle, variance, effect, power, confidence, tuned_at):
            high = middle
        else:
            low = middle
    return high


def _shows(units: int, variance: float, effect: float, power: float, confidence: float, tuned_at: int) -> bool:
    reach = anytime_reach(units, confidence=confidence, tuned_at=tuned_at)
    return households_needed(variance=variance, effect=effect, power=power, reach=reach) <= units


def share_variance(share: float, *, treated_share: float) -> float:
    """Return the variance of the difference of two shares that are about the same, times the households.

    >>> round(share_variance(0.10, treated_share=0.9), 6)
    1.0
    """
    return mean_variance(share * (1 - share), treated_share=treated_share)


def mean_variance(variance: float, *, treated_share: float) -> float:
    """Return the variance of the difference of two means of that variance per household, times the households."""
    assert 0 < treated_share < 1
    return variance / treated_share + variance / (1 - treated_share)


def days_needed(needed: int, *, there: int, met_by_day: Mapping[int, int], recent_days: int = 28) -> float | None:
    """Return how many days it takes until so many households are there, met as fast as in the last weeks.

    Args:
        there: households that count already.
        met_by_day: households that were newly met, by day; days without any may be left out.
        recent_days: how many days up to the newest are looked at.

    Returns:
        0 where enough are there; None where nobody is met any more.
    """
    if needed <= there:
        return 0.0
    newest = max(met_by_day, default=0)
    begin = max(newest - recent_days + 1, min(met_by_day, default=0))
    met = sum(count for day, count in met_by_day.items() if day >= begin)
    return (needed - there) * (newest - begin + 1) / met if met else None
