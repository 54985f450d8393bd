"""Makes the models of other libraries in tests/serving/foreign, with the scores that each gives where it was trained.

Run by hand, by a Python that has the library: `python tests/parts/foreign_models.py lightgbm|catboost|xgboost`. Made
with lightgbm 4.7.0, catboost 1.2.10 and xgboost 1.7.6.
"""

import json
import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parents[1] / "serving" / "foreign"
NAMES = ["visits", "balance", "since_visit", "plan_kind", "prior_acceptance", "price_minor"]
ROWS, GOLDEN, TREES = 3_000, 40, 12


def rows(count: int, seed: int) -> np.ndarray:
    """Return (count, columns) float32 as Hearth has them: unknown is NaN, never is 1e30, labels are indices."""
    draw = np.random.default_rng(seed)
    made = np.column_stack(
        [
            draw.poisson(1.5, count),
            draw.normal(0, 40, count),
            np.where(draw.random(count) < 0.3, 1e30, draw.exponential(3_600.0, count)),
            draw.integers(0, 4, count),
            draw.uniform(0.02, 0.6, count),
            draw.integers(0, 30, count) * 100,
        ]
    ).astype(np.float32)
    made[draw.random(made.shape) < 0.1] = np.nan
    made[draw.random(made.shape) < 0.05] = 0.0
    return made


def labels(of: np.ndarray, seed: int) -> np.ndarray:
    """Return (n,) 0 or 1."""
    known = np.nan_to_num(of, nan=0.5)
    margin = known[:, 0] - (known[:, 2] > 1e20) * 1.5 + (known[:, 3] == 2) - known[:, 5] / 1_500 + known[:, 1] / 40
    return (np.random.default_rng(seed).random(len(of)) < 1 / (1 + np.exp(-margin))).astype(np.float64)


def keep(name: str, content: bytes | str, golden: np.ndarray, scores: np.ndarray, *, saved_by: str) -> None:
    """Write a model and its golden scores beside it."""
    file = FOLDER / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    told = {"saved_by": saved_by, "names": NAMES, "scores": [float(one) for one in scores]}
    told["rows"] = [[None if np.isnan(value) else float(value) for value in row] for row in golden]
    (FOLDER / f"{name}.golden").write_text(json.dumps(told) + "\n")


def lightgbm_models(x: np.ndarray, y: np.ndarray, golden: np.ndarray) -> None:
    """Ways to treat what is unknown, a steep sigmoid, and a forest."""
    import lightgbm

    kinds = {
        "lightgbm": {},
        "lightgbm-no-missing": {"use_missing": False, "sigmoid": 0.7},
        "lightgbm-forest": {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6, "feature_fraction": 0.8},
        "lightgbm-zero-is-missing": {"zero_as_missing": True},
    }
    for name, more in kinds.items():
        settings = {"objective": "binary", "num_leaves": 7, "verbose": -1, "num_threads": 1, "seed": 1} | more
        model = lightgbm.train(settings, lightgbm.Dataset(x, y, feature_name=NAMES, params=more), TREES)
        keep(f"{name}.txt", model.model_to_string(), golden, model.predict(golden), saved_by=lightgbm.__version__)


def catboost_models(x: np.ndarray, y: np.ndarray, golden: np.ndarray) -> None:
    """Unknown below everything, and above."""
    import catboost

    for name, mode in (("catboost", "Min"), ("catboost-unknown-is-most", "Max")):
        model = catboost.CatBoostClassifier(
            iterations=TREES, depth=3, nan_mode=mode, border_count=32, verbose=False, thread_count=1, random_seed=1,
            allow_writing_files=False,
        )  # fmt: skip
        model.fit(catboost.Pool(x, y, feature_names=NAMES))
        model.save_model(str(FOLDER / f"{name}.json"), format="json")
        content = (FOLDER / f"{name}.json").read_bytes()
        scores = model.predict_proba(golden)[:, 1]
        keep(f"{name}.json", content, golden, scores, saved_by=catboost.__version__)


def xgboost_models(x: np.ndarray, y: np.ndarray, golden: np.ndarray) -> None:
    """As the oldest that is taken saves it."""
    import xgboost

    for form in ("ubj", "json"):
        data = xgboost.DMatrix(x, y, feature_names=NAMES)
        settings = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1, "seed": 1, "tree_method": "hist"}
        model = xgboost.train(settings, data, TREES)
        scores = model.predict(xgboost.DMatrix(golden, feature_names=NAMES))
        keep(f"xgboost-1.7.{form}", bytes(model.save_raw(form)), golden, scores, saved_by=xgboost.__version__)


if __name__ == "__main__":
    trained_on = rows(ROWS, seed=1)
    make = {"lightgbm": lightgbm_models, "catboost": catboost_models, "xgboost": xgboost_models}[sys.argv[1]]
    make(trained_on, labels(trained_on, seed=2), rows(GOLDEN, seed=3))
