"""How good scores are: in order, and as probabilities."""

import numpy as np
from numpy.typing import NDArray


def auc(scores: NDArray[np.floating], accepted: NDArray[np.bool_]) -> float:
    """Return P(a random acceptance scores above a random refusal), ties counting half.

    >>> auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
    0.875
    """
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2
    positives = int(accepted.sum())
    above = float(rank[place][accepted].sum()) - positives * (positives + 1) / 2
    return above / (positives * (len(accepted) - positives))


def logloss(scores: NDArray[np.floating], accepted: NDArray[np.bool_]) -> float:
    """Return the mean of −ln P(what happened), with probabilities held within [1e-6, 1 − 1e-6]."""
    likely = np.clip(np.asarray(scores, np.float64), 1e-6, 1 - 1e-6)
    return float(-np.log(np.where(accepted, likely, 1 - likely)).mean())
