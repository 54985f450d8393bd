"""Whether a version treats parts of the households alike: is it as right for each as for all?

Asked of each part: are its scores what came true there, and does it tell who accepts as well as elsewhere. That parts
accept at different rates is no finding; that one is promised too much or too little is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from household.scoring import ScoreColumn
from serving.models.calibration import Calibrated, ScoreCalibration, calibration_of
from serving.models.measures import auc

VALUES_MAX: Final = 20
"""A column with more values divides into nothing that could be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The decisions of one part of the households."""

    by: str
    value: str
    rows: int
    calibration: ScoreCalibration
    auc: float | None
    """None where there is one outcome only."""

    @property
    def is_off(self) -> bool:
        """Whether its scores are not what comes true there, beyond doubt."""
        return self.calibration.verdict in (Calibrated.TOO_HIGH, Calibrated.TOO_LOW)


def parts_of(
    by: str,
    values: NDArray[np.str_],
    scores: NDArray[np.float32],
    accepted: NDArray[np.bool_],
    units: NDArray[np.intp],
    *,
    looks: int,
) -> list[Part]:
    """Return how scores do in each part, largest first.

    Args:
        values: (n,) the part of each decision; empty for none.
        units: (n,) the household of each, counted from 0.
        looks: parts that are looked at together, among which the chance of a false alarm is divided.
    """
    found = []
    for value in np.unique(values[values != ""]).tolist():
        inside = values == value
        positives, rows = int(accepted[inside].sum()), int(inside.sum())
        found.append(
            Part(
                by=by,
                value=value,
                rows=rows,
                calibration=calibration_of(scores[inside], accepted[inside], units[inside], looks=looks),
                auc=auc(scores[inside], accepted[inside]) if 0 < positives < rows else None,
            )
        )
    return sorted(found, key=lambda one: -one.rows)


def coded_values(columns: Sequence[ScoreColumn], rows: NDArray[np.float32]) -> dict[str, NDArray[np.str_]]:
    """Return (n,) the value of each coded column of (n, columns) rows, by its name."""
    found = {}
    for place, column in enumerate(columns):
        if 1 < len(column.values) <= VALUES_MAX:
            codes, last = rows[:, place], len(column.values)
            is_known = (codes >= 0) & (codes < last)
            names = np.array([*column.values, ""], np.str_)
            found[column.name] = names[np.where(is_known, codes, last).astype(np.intp)]
    return found
