"""The estimators: what a policy would have brought per decision, each with how every decision moves it.

For n decisions with rewards r, weights w = (probability the policy gives to what was done) / (its propensity):

    IPS    mean of w·r
    SNIPS  Σ w·r / Σ w
    DR     mean of q̂(policy) + w·(r − q̂(what was done)), with an outcome model q̂ that did not see the decision

A slate that is named as one action is matched whole, and IPS is then the standard slate estimator.
Sources: Horvitz and Thompson (1952); Swaminathan and Joachims (2015); Dudík, Langford and Li (2011).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Valued:
    """What an estimator says, and how each decision moves it."""

    value: float
    influence: Floats
    """(n,) derivative with regard to each decision's share, mean 0."""


def mean_of(rewards: Floats) -> Valued:
    """Return what was in force brought: no estimate of another policy."""
    value = float(rewards.mean())
    return Valued(value=value, influence=rewards - value)


def ips(rewards: Floats, weights: Floats) -> Valued:
    """Return the inverse-propensity estimate of (n,) rewards.

    >>> ips(np.array([1.0, 0.0]), np.array([1.5, 0.5])).value
    0.75
    """
    return mean_of(weights * rewards)


def snips(rewards: Floats, weights: Floats) -> Valued:
    """Return the self-normalised estimate: no effect of adding a constant to all rewards, a little biased."""
    total = float(weights.sum())
    assert total > 0, "the effective sample is looked at before"
    value = float(weights @ rewards) / total
    return Valued(value=value, influence=weights * (rewards - value) / weights.mean())


def doubly_robust(rewards: Floats, weights: Floats, *, expected_done: Floats, expected_policy: Floats) -> Valued:
    """Return the doubly robust estimate.

    Args:
        expected_done: (n,) the outcome model's reward for what was done.
        expected_policy: (n,) its mean reward for what the policy would do.
    """
    return mean_of(expected_policy + weights * (rewards - expected_done))


def effective_sample(weights: Floats) -> float:
    """Return (Σ w)² / Σ w²: how many decisions made by the policy itself would tell as much.

    >>> effective_sample(np.array([1.0, 1.0, 0.0, 0.0]))
    2.0
    """
    squares = float(weights @ weights)
    return float(weights.sum()) ** 2 / squares if squares else 0.0
