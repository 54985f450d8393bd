"""Uplift and Qini curves, their areas, and the uplift of those with the highest scores.

Areas are told as a share of the perfect order's, for outcomes of 0 and 1, exactly as scikit-uplift defines them:
`qini_auc_score` and `uplift_auc_score`. Rows of equal score are one step, and count by their share where a limit cuts
through them, so the order of a file plays no part. Sources: Radcliffe (2007); Devriendt, Guns and Verbeke (2020).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS: Final = 400
DRAWN_ROWS_MAX: Final = 40_000_000
"""Draws times rows; beyond this fewer draws are made, though never fewer than 100."""


class Ordered:
    """Rows by falling score, those of one score together."""

    def __init__(self, score: Floats) -> None:
        self._order = np.argsort(-score, kind="stable")
        self._last = np.flatnonzero(np.append(np.diff(score[self._order]) != 0.0, True))
        step = np.empty(len(score), np.intp)
        step[self._order] = np.searchsorted(self._last, np.arange(len(score)))
        # (n,) where the step of each row begins and ends, in rows from the top.
        self._ends = (self._last + 1.0)[step]
        self._starts = np.concatenate([[0.0], self._last[:-1] + 1.0])[step]

    def sums(self, values: Floats) -> Floats:
        """Return (scores,) the sums of (n,) values over all of at least each score, highest first."""
        return np.asarray(np.cumsum(values[self._order])[self._last], np.float64)

    def within(self, low: float, high: float) -> Floats:
        """Return (n,) how much of each row lies in the ranks from `low` to `high`, shares of all rows.

        >>> Ordered(np.array([3.0, 1.0, 1.0, 2.0])).within(0.0, 0.75).tolist()
        [1.0, 0.5, 0.5, 1.0]
        """
        count = len(self._order)
        covered = np.minimum(self._ends, high * count) - np.maximum(self._starts, low * count)
        return np.asarray(np.clip(covered, 0.0, None) / (self._ends - self._starts), np.float64)

    def ranks(self) -> Floats:
        """Return (n,) the share of rows with a higher score, those of the same score counting half."""
        return np.asarray((self._starts + self._ends) / 2 / len(self._order), np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sums:
    """Sums over all of at least each score."""

    rows: Floats
    treated: Floats
    control: Floats
    treated_outcome: Floats
    control_outcome: Floats


def _sums(ordered: Ordered, outcome: Floats, is_treated: NDArray[np.bool_], design: Floats, times: Floats) -> _Sums:
    weight = design * times
    return _Sums(
        rows=ordered.sums(times),
        treated=ordered.sums(weight * is_treated),
        control=ordered.sums(weight * ~is_treated),
        treated_outcome=ordered.sums(weight * is_treated * outcome),
        control_outcome=ordered.sums(weight * ~is_treated * outcome),
    )


def _ratio(over: Floats, under: Floats) -> Floats:
    return np.divide(over, under, out=np.zeros_like(over), where=under != 0)


def uplift_curve(sums: _Sums) -> Floats:
    """Return (scores,) how many more outcomes treating all of at least each score brings."""
    return (_ratio(sums.treated_outcome, sums.treated) - _ratio(sums.control_outcome, sums.control)) * sums.rows


def qini_curve(sums: _Sums) -> Floats:
    """Return (scores,) outcomes of the treated less those the same number of controls would have had."""
    return sums.treated_outcome - sums.control_outcome * _ratio(sums.treated, sums.control)


def _area_over_diagonal(rows: Floats, curve: Floats) -> float:
    x, y = np.concatenate([[0.0], rows]), np.concatenate([[0.0], curve])
    return float(np.trapezoid(y, x)) - float(x[-1] * y[-1]) / 2


class Coefficients:
    """Qini coefficient and AUUC of one trial with outcomes of 0 and 1, under changing weights: sorted once."""

    def __init__(self, score: Floats, outcome: Floats, is_treated: NDArray[np.bool_], design: Floats) -> None:
        self._arguments = (outcome, is_treated, design)
        self._ordered = Ordered(score)
        treated = is_treated.astype(np.float64)
        self._perfect_qini = Ordered(outcome * treated - outcome * (1 - treated))
        responders = float(((outcome == 1) & ~is_treated).sum())
        idle = float(((outcome == 0) & is_treated).sum())
        self._perfect_uplift = Ordered(2.0 * (outcome == treated) + (outcome if responders > idle else treated))

    def __call__(self, times: Floats) -> tuple[float, float]:
        """Return Qini coefficient and AUUC where each row counts `times` times; NaN where no order is better."""
        found = _sums(self._ordered, *self._arguments, times)
        return (
            self._share(found, self._perfect_qini, qini_curve, times),
            self._share(found, self._perfect_uplift, uplift_curve, times),
        )

    def _share(self, found: _Sums, perfect: Ordered, curve: Callable[[_Sums], Floats], times: Floats) -> float:
        best = _sums(perfect, *self._arguments, times)
        most = _area_over_diagonal(best.rows, curve(best))
        return _area_over_diagonal(found.rows, curve(found)) / most if most else float("nan")


def drawn(
    measure: Callable[[Floats], tuple[float, float]], units: NDArray[np.intp], *, seed: int, confidence: float
) -> list[tuple[float, float]]:
    """Return the intervals of two measures over draws of whole households with replacement."""
    unit_count = int(units.max()) + 1
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(max(100, min(DRAWS, DRAWN_ROWS_MAX // len(units)))):
        times = np.bincount(draw.integers(0, unit_count, unit_count), minlength=unit_count)
        found.append(measure(times[units].astype(np.float64)))
    ends = np.nanquantile(np.array(found), [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return [(float(ends[0, place]), float(ends[1, place])) for place in range(2)]
