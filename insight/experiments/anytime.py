"""Intervals that hold whenever one looks: a confidence sequence, so that looking every day costs nothing.

An interval of 95 % for one look misses the truth at some of twenty looks far more often than once in twenty. A
confidence sequence holds it at *all* looks, ever, with 95 %; it is half again as wide, for which an experiment may
end as soon as it says enough. Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, Time-uniform central limit theory
and asymptotic confidence sequences, Annals of Statistics 52 (2024), theorem 2.2: normal mixture.
"""

from math import log, sqrt
from typing import Final

TUNED_AT: Final = 10_000
"""Households at which the sequence is narrowest; a tenth or ten times of them make it wider by a fifth at most. Fixed
before anything is known: chosen by what was seen, it would hold no more."""


def anytime_reach(units: int, *, confidence: float, tuned_at: int = TUNED_AT) -> float:
    """Return how many standard errors a confidence sequence goes to each side.

    Args:
        units: households by now, each counted once and for good.
        confidence: 0 < confidence < 1; that the truth is inside at all looks.
        tuned_at: households at which it is narrowest; not to be chosen by what was seen.

    >>> [round(anytime_reach(units, confidence=0.95), 2) for units in (1_000, 10_000, 100_000)]
    [3.76, 3.04, 3.26]
    """
    assert units >= 1
    assert 0 < confidence < 1
    wrong = 1.0 - confidence
    # The rho that is best there, by its expansion for small `wrong` (their appendix B.1).
    grown = units * (-2 * log(wrong) + log(-2 * log(wrong)) + 1) / tuned_at
    return sqrt(2 * (grown + 1) / grown * log(sqrt(grown + 1) / wrong))
