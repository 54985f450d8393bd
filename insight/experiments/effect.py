"""What treating brought: the mean of all who were to be treated less that of control, whoever was in fact exposed."""

import numpy as np
from numpy.typing import NDArray

from insight.intervals import CONFIDENCE, Estimate, estimate


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
    assert outcome.shape == is_control.shape
    if is_control.all() or not is_control.any():
        raise ValueError("everybody is in one arm: there is nothing to compare")
    influence = np.empty_like(outcome)
    means = []
    for arm, sign in ((~is_control, 1.0), (is_control, -1.0)):
        mean = float(outcome[arm].mean())
        influence[arm] = sign * (outcome[arm] - mean) * len(outcome) / int(arm.sum())
        means.append(mean)
    return estimate(means[0] - means[1], influence, np.arange(len(outcome)), confidence=confidence)
