"""Trains the acceptance model from logged decisions and what became of them; examples.py says which, and as what.

**Holdout.** The newest 20 %. Early stopping looks at the newest 15 % of the rest, so nothing is tuned on the holdout.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import xgboost
from numpy.typing import NDArray

from household.plan import Plan
from household.scoring import NEVER, feature_schema, schema_hash
from serving.models.bundle import BundleDraft, TrainingFacts
from serving.models.examples import Examples, NotEnoughData, TrainingConfig, gather
from serving.models.leaks import LeaksFound, leaks_in_rows
from serving.models.measures import auc, logloss
from serving.models.probe import PRIOR_COLUMN, log_odds, open_booster, predict
from serving.models.reference import reference_of, to_plain

LABEL: Final = (
    "1 when hearth.accept of the action came within [decided, decided + min(window, validity of the offer)), else 0; "
    "of offers shown and not withheld whose window has ended"
)

GOLDEN_ROWS: Final = 16


def train(
    decisions: pa.Table,
    outcomes: pa.Table,
    plan: Plan,
    *,
    seed: int,
    earlier_plans: Sequence[Plan] = (),
    config: TrainingConfig | None = None,
) -> BundleDraft:
    """Return a model of P(accept), with its report; the same draft to the last bit for the same arguments.

    Args:
        decisions: as `hearth log export --kind decisions` writes it, any order.
        outcomes: as `hearth log export --kind signals` writes it; other types than hearth.* are passed over.
        plan: whose feature schema the model is for.
        earlier_plans: plans of other playbook versions in `decisions`, to take their offers' priors and margins from.

    Raises:
        NotEnoughData: fewer rows or acceptances than the config asks for.
        BadExport: a column is missing or holds something else.
        LeaksFound: a column knows what it is to predict.
    """
    config = config or TrainingConfig()
    examples = gather(decisions, outcomes, plan, earlier_plans=earlier_plans, config=config)
    holdout = round(len(examples.rows) * (1 - config.holdout_share))
    stopping = round(holdout * (1 - config.stopping_share))
    bounds = (0, stopping, holdout, len(examples.rows))
    for name, start, end in zip(("training", "early stopping", "holdout"), bounds, bounds[1:], strict=False):
        positives = int(examples.accepted[start:end].sum())
        if not 0 < positives < end - start:
            raise NotEnoughData(f"{name} part: {positives} of {end - start} accepted; it needs both outcomes")

    if leaks := leaks_in_rows(examples.rows, feature_schema(plan).names, examples.accepted, allowed=config.allowed):
        raise LeaksFound(leaks)
    model = _fit(examples, stopping, holdout, plan, seed=seed, config=config)
    booster = open_booster(model)
    golden = golden_rows(examples.rows, seed)
    return BundleDraft(
        model=model,
        feature_schema_hash=schema_hash(plan),
        columns=feature_schema(plan).names,
        golden_rows=golden,
        golden_scores=predict(booster, golden),
        playbook_version=plan.version,
        training=_facts(examples, holdout, booster, plan, seed=seed, config=config),
    )


def _fit(examples: Examples, stopping: int, holdout: int, plan: Plan, *, seed: int, config: TrainingConfig) -> bytes:
    weights = np.ones(holdout)
    if config.weigh_by_propensity:
        weights = 1 / np.clip(examples.propensity[:holdout], config.propensity_least, 1)
        weights /= weights.mean()
    names = list(feature_schema(plan).names)

    def matrix(start: int, end: int) -> xgboost.DMatrix:
        label = examples.accepted[start:end].astype(np.float32)
        rows = examples.rows[start:end]
        return xgboost.DMatrix(
            rows,
            label,
            weight=weights[start:end],
            # The trees correct the playbook's priors; `predict` starts from the same margin.
            base_margin=log_odds(rows[:, names.index(PRIOR_COLUMN)]),
            feature_names=names,
            nthread=config.thread_count,
        )

    booster = xgboost.train(
        parameters_of(config, seed),
        matrix(0, stopping),
        config.rounds_max,
        evals=[(matrix(stopping, holdout), "stopping")],
        early_stopping_rounds=config.stopping_rounds,
        verbose_eval=False,
    )
    return best_of(booster)


def parameters_of(config: TrainingConfig, seed: int) -> dict[str, Any]:
    """Return how trees are grown."""
    return {
        "objective": "binary:logistic",
        "eval_metric": "logloss",
        "tree_method": "hist",
        "max_depth": config.depth,
        "eta": config.learning_rate,
        "subsample": 0.8,
        "colsample_bytree": 0.8,
        "min_child_weight": 5,
        "lambda": 2.0,
        "nthread": config.thread_count,
        "seed": seed,
    }


def best_of(booster: xgboost.Booster) -> bytes:
    """Return a model as it is saved: trees beyond the best would be saved, and scored, as well."""
    return bytes(booster[: booster.best_iteration + 1].save_raw("ubj"))


def _facts(
    examples: Examples, holdout: int, booster: xgboost.Booster, plan: Plan, *, seed: int, config: TrainingConfig
) -> TrainingFacts:
    rows, accepted = examples.rows[holdout:], examples.accepted[holdout:]
    scores = predict(booster, rows)
    priors = rows[:, feature_schema(plan).names.index(PRIOR_COLUMN)]
    tenths = [part for part in np.array_split(np.argsort(scores, kind="stable"), 10) if len(part)]
    return TrainingFacts(
        label=LABEL,
        window_us=config.window_us,
        seed=seed,
        rows=len(examples.rows),
        positives=int(examples.accepted.sum()),
        left_out=examples.left_out,
        from_us=int(examples.decided_us[0]),
        to_us=int(examples.decided_us[-1]),
        holdout_rows=len(rows),
        holdout_positives=int(accepted.sum()),
        auc=auc(scores, accepted),
        logloss=logloss(scores, accepted),
        prior_auc=auc(priors, accepted),
        prior_logloss=logloss(priors, accepted),
        predicted_mean=float(scores.mean(dtype=np.float64)),
        observed_mean=float(accepted.mean()),
        calibration=tuple(
            (float(scores[part].mean(dtype=np.float64)), float(accepted[part].mean()), len(part)) for part in tenths
        ),
        trees=booster.num_boosted_rounds(),
        weighted=config.weigh_by_propensity,
        seen_to_us=int(examples.decided_us[holdout - 1]),
        reference=to_plain(
            reference_of(
                feature_schema(plan),
                examples.rows,
                examples.households,
                scores=scores,
                scored_households=examples.households[holdout:],
            )
        ),
    )


def golden_rows(rows: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Return rows like those scored, but of nobody: each column is drawn on its own. Plus three of the edges."""
    draw = np.random.default_rng(seed)
    columns = rows.shape[1]
    drawn = rows[draw.integers(0, len(rows), (GOLDEN_ROWS, columns)), np.arange(columns)]
    edges = np.array([np.full(columns, edge, np.float32) for edge in (np.nan, 0.0, NEVER)])
    return np.concatenate([drawn, edges])
