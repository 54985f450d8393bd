"""Opening and asking a model, and the process in which an unknown one proves harmless.

Mutated .ubj files have crashed XGBoost, so a model is first opened in a process of its own: this file
(`python serving/models/probe.py`), which therefore imports nothing of Hearth. It reads the question on standard input
and answers `ok` or the reason.
"""

from __future__ import annotations

import json
import resource
import struct
import sys
from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xgboost

SCORE_TOLERANCE: Final = 1e-6
"""Absolute; golden scores may differ in the last bits between machine types, as their exp does."""

PROBE_MEMORY_BYTES: Final = 8 << 30
"""Address space, of which XGBoost and its libraries map about 2 GiB."""

PRIOR_COLUMN: Final = "prior_acceptance"
"""Column of a score row, see household/scoring.py; not imported from there, since the probe runs this file alone."""

OBJECTIVES: Final = ("binary:logistic", "reg:logistic")
"""What gives one probability per row, from a margin in log odds, where the playbook's priors enter."""

HEADER: Final = "<QQII"
"""What a probe is asked begins with: length of the model and of its columns' names, shape of the golden rows."""


def predict(booster: xgboost.Booster, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (n,) float32 scores of `rows`, (n, columns). The one call to XGBoost's predictor."""
    return np.asarray(booster.inplace_predict(rows, base_margin=prior_margin(booster, rows)), np.float32)


def prior_margin(booster: xgboost.Booster, rows: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return (n,) log odds of the playbook's priors, which the trees correct; None for a model without that column.

    So a model that has seen little says what the business said, and a new offer starts from its own prior.
    """
    names = booster.feature_names or []
    if PRIOR_COLUMN not in names:
        return None
    return log_odds(rows[:, names.index(PRIOR_COLUMN)])


def log_odds(prior: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ln(p / (1 − p)), with p held within [0.0001, 0.9999]; 0 for an unknown one."""
    held = np.clip(np.nan_to_num(prior, nan=0.5), 1e-4, 1 - 1e-4)
    return np.asarray(np.log(held / (1 - held)), np.float32)


def open_booster(model: bytes) -> xgboost.Booster:
    """Return the booster in `model`, single-threaded. Only for bytes that were checked, or in the probe."""
    import xgboost  # whoever only reads manifests does without it

    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(model))
    booster.set_param({"nthread": 1})
    return booster


def not_probabilities(scores: NDArray[np.float32]) -> str:
    """Return what keeps (n,) scores from being probabilities; empty if nothing does."""
    if bool((scores >= 0).all() and (scores <= 1).all()):
        return ""
    wrong = scores[~((scores >= 0) & (scores <= 1))][0]
    return f"gives the score {wrong:g}, which is no probability"


def difference(columns: Sequence[str], wanted: Sequence[str]) -> str:
    """Return the first place where columns are not those wanted, half a sentence; empty if they are the same."""
    for place, (column, other) in enumerate(zip_longest(columns, wanted)):
        if column != other:
            named, meant = (f"'{one}'" if one is not None else "missing" for one in (column, other))
            return f"column {place} is {named}, and {meant}"
    return ""


def _answer_probe() -> None:
    """Be the process in which a model is tried: read the question on standard input, answer `ok` or the reason."""
    import xgboost

    resource.setrlimit(resource.RLIMIT_AS, (PROBE_MEMORY_BYTES, PROBE_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asked = sys.stdin.buffer.read()
    length, names_length, count, columns = struct.unpack_from(HEADER, asked)
    model_at = struct.calcsize(HEADER)
    names_at = model_at + length
    golden_at = names_at + names_length
    golden = np.frombuffer(asked[golden_at:], np.float32)
    rows, expected = golden[: count * columns].reshape(count, columns), golden[count * columns :]
    try:
        booster = open_booster(asked[model_at:names_at])
        wrong = _misfit(booster, json.loads(asked[names_at:golden_at])) or _misses(booster, rows, expected)
    except (xgboost.core.XGBoostError, ValueError, TypeError, KeyError) as failed:
        wrong = "does not load: " + " ".join(str(failed).split())[:400]
    sys.stdout.write(wrong or "ok")


def _misfit(booster: xgboost.Booster, columns: list[str]) -> str:
    """Return why a model must not be asked about rows of these columns; empty if it may."""
    if booster.num_features() != len(columns):
        return f"has {booster.num_features()} columns, the manifest {len(columns)}"
    if not booster.feature_names:
        return "does not name its columns, so nothing tells in which order they stand"
    if other := difference(booster.feature_names, columns):
        return f"{other} in the manifest"
    learner = json.loads(booster.save_config())["learner"]
    objective = learner["objective"]["name"]
    if objective not in OBJECTIVES:
        return f"has the objective {objective}; it must give a probability: {' or '.join(OBJECTIVES)}"
    return ""


def _misses(booster: xgboost.Booster, rows: NDArray[np.float32], expected: NDArray[np.float32]) -> str:
    """Return how far a model is from its golden scores, or from probabilities; empty if it is neither."""
    trees, scores = booster.num_boosted_rounds(), predict(booster, rows)
    if scores.shape != expected.shape:
        return f"gives scores {scores.shape} for {len(rows)} rows; it must give one per row"
    if not np.allclose(scores, expected, rtol=0, atol=SCORE_TOLERANCE):
        return f"{trees} trees do not give the golden scores of the manifest"
    edges = np.array([np.full(rows.shape[1], edge, np.float32) for edge in (np.nan, 0.0, -1e30, 1e30)])
    return not_probabilities(np.concatenate([scores, predict(booster, edges)]))


if __name__ == "__main__":
    _answer_probe()
