"""How far what a version meets now is from what it was trained on, with an interval: the PSI, and a test that holds.

The population stability index is Σ (p − q) ln(p / q) over the bins of a histogram, p now and q then. Of few rows it is
large by chance alone; of many, a test against "exactly the same" finds any triviality. So the question is whether it is
**beyond** `MOVED`, and the answer an interval: what chance adds is taken off, and the variance counts households, not
rows, since the rows of one resemble each other (Rao and Scott 1981).
"""

import math
from dataclasses import dataclass
from enum import Enum
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serving.models.reference import ReferenceHistogram, inflation_of

MOVED: Final = 0.1
"""The PSI up to which a column is taken for the same; 0.25 is commonly called a large shift."""
MOVED_FAR: Final = 0.25

ALPHA: Final = 0.01
"""How often anything at all is said to have moved that has not, over all columns of one look."""


class Drifted(Enum):
    """What is known of a column."""

    STEADY = "steady"
    """Within MOVED, beyond doubt."""
    MOVED = "moved"
    """Beyond it, beyond doubt."""
    UNKNOWN = "cannot be told"
    """The interval holds MOVED: too few decisions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One column now against then."""

    name: str
    psi: float
    """Less what chance adds; never below 0."""
    low: float
    high: float
    verdict: Drifted
    what: str
    """Where it has moved most, for people: `unknown 2.0 % -> 31.5 %`."""


def drift_of(
    reference: ReferenceHistogram, values: NDArray[np.float32], units: NDArray[np.intp], *, looks: int
) -> Drift:
    """Return how far (n,) values are from a reference.

    Args:
        units: (n,) the household of each, counted from 0.
        looks: columns that are looked at together, among which the chance of a false alarm is divided.
    """
    rows, bins = len(values), reference.bins(values)
    count = reference.bin_count
    now, then = np.bincount(bins, minlength=count).astype(np.float64), np.array(reference.counts, np.float64)
    is_used = (now + then) > 0
    kinds = int(is_used.sum())
    p = (now[is_used] + 0.5) / (rows + 0.5 * kinds)
    q = (then[is_used] + 0.5) / (then.sum() + 0.5 * kinds)
    found = float(((p - q) * np.log(p / q)).sum())
    per_row = inflation_of(bins, units, count) / rows
    per_reference = reference.inflation / then.sum()
    # What chance adds to an index of shares that are the same, and how much that varies.
    by_chance = (kinds - 1) * (per_row + per_reference)
    slope = np.zeros(count)
    slope[is_used] = np.log(p / q) + 1 - q / p
    mean = float(slope[bins].mean())
    by_household = np.bincount(units, slope[bins] - mean)
    back = -np.log(p / q) - p / q + 1
    variance = float((by_household**2).sum()) / rows**2
    variance += per_reference * max(0.0, float((q * back**2).sum() - (q * back).sum() ** 2))
    variance += 2 * (kinds - 1) * (per_row + per_reference) ** 2
    psi = max(0.0, found - by_chance)
    reach = NormalDist().inv_cdf(1 - ALPHA / max(looks, 1) / 2) * math.sqrt(variance)
    low, high = max(0.0, found - by_chance - reach), max(0.0, found - by_chance + reach)
    verdict = Drifted.MOVED if low > MOVED else Drifted.STEADY if high < MOVED else Drifted.UNKNOWN
    return Drift(name=reference.name, psi=psi, low=low, high=high, verdict=verdict, what=_most(reference, now, then))


def _most(reference: ReferenceHistogram, now: NDArray[np.float64], then: NDArray[np.float64]) -> str:
    p, q = now / max(now.sum(), 1.0), then / then.sum()
    part = (p - q) * np.log((p + 1e-6) / (q + 1e-6))
    place = int(np.argmax(part))
    return f"{bin_name(reference, place)} {q[place]:.1%} -> {p[place]:.1%}"


def bin_name(reference: ReferenceHistogram, place: int) -> str:
    """Return what a bin holds, for people."""
    cuts = reference.cuts
    if place == len(cuts) + 1:
        return "never"
    if place == len(cuts) + 2:
        return "unknown"
    if not cuts:
        return "any"
    if place == 0:
        return f"below {cuts[0]:g}"
    return f"{cuts[-1]:g} and above" if place == len(cuts) else f"{cuts[place - 1]:g} to {cuts[place]:g}"
