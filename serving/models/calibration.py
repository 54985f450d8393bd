"""Whether scores mean what they say: of decisions that were scored 0.2, one in five should be accepted.

With intervals over households, as the decisions of one resemble each other.
"""

import math
from dataclasses import dataclass
from enum import Enum
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

CONFIDENCE: Final = 0.99
TOLERANCE: Final = 0.1
"""Scores are off where they differ from what came true by more than a tenth of that, beyond doubt."""
GROUPS: Final = 10
LEAST: Final = 20
"""Acceptances, refusals and households: with fewer nothing is said."""


class Calibrated(Enum):
    """What is known of the scores of a version."""

    RIGHT = "right"
    """Within TOLERANCE, beyond doubt."""
    TOO_HIGH = "too high"
    TOO_LOW = "too low"
    UNKNOWN = "cannot be told"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreGroup:
    """A part of the decisions, by score."""

    predicted: float
    observed: float
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCalibration:
    """Scores against what came true."""

    verdict: Calibrated
    rows: int
    accepted: int
    households: int
    predicted: float | None = None
    """Mean score; None, as all that follow, where there is too little."""
    observed: float | None = None
    ratio: float | None = None
    """Of predicted to observed, 1 if right."""
    ratio_interval: tuple[float, float] | None = None
    groups: tuple[ScoreGroup, ...] = ()
    """Tenths, by score."""


def calibration_of(
    scores: NDArray[np.float32], accepted: NDArray[np.bool_], units: NDArray[np.intp], *, looks: int = 1
) -> ScoreCalibration:
    """Return how (n,) scores do against (n,) outcomes.

    Args:
        units: (n,) the household of each, counted from 0.
        looks: how many are looked at together, among which the chance of a false alarm is divided.
    """
    rows, positives = len(scores), int(accepted.sum())
    households = len(np.unique(units))
    if min(positives, rows - positives, households) < LEAST:
        return ScoreCalibration(verdict=Calibrated.UNKNOWN, rows=rows, accepted=positives, households=households)
    likely, happened = scores.astype(np.float64), accepted.astype(np.float64)
    predicted, observed = float(likely.mean()), float(happened.mean())
    ratio = predicted / observed
    # The logarithm of a ratio of two means over the same households, by the delta method.
    deviation = np.bincount(units, likely / predicted - happened / observed) / rows
    reach = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / max(looks, 1) / 2) * math.sqrt(float((deviation**2).sum()))
    low, high = ratio * math.exp(-reach), ratio * math.exp(reach)
    if low > 1 + TOLERANCE:
        verdict = Calibrated.TOO_HIGH
    elif high < 1 / (1 + TOLERANCE):
        verdict = Calibrated.TOO_LOW
    else:
        is_within = low >= 1 / (1 + TOLERANCE) and high <= 1 + TOLERANCE
        verdict = Calibrated.RIGHT if is_within else Calibrated.UNKNOWN
    parts = [part for part in np.array_split(np.argsort(scores, kind="stable"), GROUPS) if len(part)]
    return ScoreCalibration(
        verdict=verdict,
        rows=rows,
        accepted=positives,
        households=households,
        predicted=predicted,
        observed=observed,
        ratio=ratio,
        ratio_interval=(low, high),
        groups=tuple(
            ScoreGroup(predicted=float(likely[part].mean()), observed=float(happened[part].mean()), rows=len(part))
            for part in parts
        ),
    )
