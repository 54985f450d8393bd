"""What a report tells of a version's training: its manifest as far as it can be relied on, and its columns."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cluster.report.facts import ColumnFacts
from household.scoring import ScoreColumn
from serving.models.drift import bin_name
from serving.models.reference import Reference

NUMBERS = (
    *("rows", "positives", "from_us", "to_us", "trees", "holdout_rows", "holdout_positives"),
    *("auc", "logloss", "prior_auc", "prior_logloss"),
)
"""Of a version that was trained here."""


def training_told(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a manifest tells of training, as far as it is what one of Hearth's own says: it is anybody's text."""
    if all(isinstance(told.get(name), int | float) and not isinstance(told.get(name), bool) for name in NUMBERS):
        groups = told.get("calibration")
        is_sound = isinstance(groups, list) and all(
            isinstance(one, list) and len(one) == 3 and all(isinstance(number, int | float) for number in one)
            for one in groups
        )
        left_out = told.get("left_out")
        kept = {name: told[name] for name in NUMBERS}
        kept["label"] = str(told.get("label", ""))
        kept["left_out"] = dict(left_out) if isinstance(left_out, dict) else {}
        return kept | {"calibration": groups if is_sound else []}
    return {name: str(told[name]) for name in ("label", "translated_from") if name in told}


def columns_told(columns: Sequence[ScoreColumn], reference: Reference | None) -> list[ColumnFacts]:
    """Return what is told of each column: its unit and values, and where the rows of training lay."""
    known = {one.name: one for one in reference.columns} if reference is not None else {}
    found = []
    for column in columns:
        one = known.get(column.name)
        counts = np.array(one.counts, np.float64) if one is not None else np.zeros(0)
        share = counts / counts.sum() if counts.sum() else counts
        middle = ""
        if one is not None and share[:-2].sum() > 0:
            place = int(np.searchsorted(np.cumsum(share[:-2]), share[:-2].sum() / 2))
            is_code = bool(column.values) and place < len(column.values)
            middle = column.values[place] if is_code else bin_name(one, place)
        found.append(
            ColumnFacts(
                name=column.name,
                unit=column.unit,
                values=column.values,
                unknown=float(share[-1]) if one is not None else None,
                never=float(share[-2]) if one is not None else None,
                middle=middle,
            )
        )
    return found
