"""Why a model scores as it does: what each column adds to its scores (SHAP, by XGBoost itself), and over which values.

Contributions are in log odds, and add up to the score of their row together with what the row starts from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import xgboost
from numpy.typing import NDArray

from household.scoring import ScoreColumn
from serving.models.drift import bin_name
from serving.models.probe import prior_margin
from serving.models.reference import histogram_of

ROWS_MAX: Final = 4_000
"""Explained; of more, as many are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnEffect:
    """What a column adds where its values lie."""

    of: str
    """The values, for people."""
    rows: int
    mean: float
    """Log odds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnExplained:
    """What a column does in a model."""

    name: str
    mean_abs: float
    """Mean of the absolute contribution, in log odds: how much it matters for these rows."""
    gain: float
    """Share of what all splits gained in training; 0 for a column that splits nothing."""
    effects: tuple[ColumnEffect, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A model over some rows."""

    rows: int
    start: float
    """Mean of what rows start from before any column adds to it, in log odds."""
    columns: tuple[ColumnExplained, ...]
    """What matters most first."""


class CannotExplain(Exception):
    """A model cannot be explained; says why."""


def contributions(booster: xgboost.Booster, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (n, columns + 1) what each column adds to each row's log odds; the last is what it starts from."""
    names = booster.feature_names
    data = xgboost.DMatrix(rows, feature_names=names, nthread=1)
    margin = prior_margin(booster, rows)
    if margin is not None:
        data.set_base_margin(margin)
    return np.asarray(booster.predict(data, pred_contribs=True, strict_shape=False), np.float64)


def explain(
    booster: xgboost.Booster, rows: NDArray[np.float32], columns: Sequence[ScoreColumn], *, seed: int = 0
) -> Explained:
    """Return what each column does in a model, over (n, columns) rows, n ≥ 1.

    Raises:
        CannotExplain: its trees do not say how many rows of its training went where.
    """
    if len(rows) > ROWS_MAX:
        rows = rows[np.sort(np.random.default_rng(seed).choice(len(rows), ROWS_MAX, replace=False))]
    added = contributions(booster, rows)
    if not np.isfinite(added).all():
        raise CannotExplain("its trees do not say how many rows of its training went where")
    gains = booster.get_score(importance_type="total_gain")
    whole = sum(_gain(one) for one in gains.values()) or 1.0
    units = np.arange(len(rows))
    found = []
    for place, column in enumerate(columns):
        histogram = histogram_of(column.name, rows[:, place], units, codes=len(column.values))
        bins = histogram.bins(rows[:, place])
        effects = []
        for one in np.unique(bins).tolist():
            inside = bins == one
            is_code = column.values and one < len(column.values)
            of = column.values[one] if is_code else bin_name(histogram, one)
            effects.append(ColumnEffect(of=of, rows=int(inside.sum()), mean=float(added[inside, place].mean())))
        found.append(
            ColumnExplained(
                name=column.name,
                mean_abs=float(np.abs(added[:, place]).mean()),
                gain=_gain(gains.get(column.name, 0.0)) / whole,
                effects=tuple(effects),
            )
        )
    found.sort(key=lambda one: -one.mean_abs)
    return Explained(rows=len(rows), start=float(added[:, -1].mean()), columns=tuple(found))


def _gain(told: float | list[float]) -> float:
    return float(np.sum(told))
