"""Trains the models of other terms than acceptance: uplift by T-, X- and DR-learners, churn, value.

Each is made of boosters that start from their own base, not from the playbook's priors, and none of it leaves the
contract of a bundle (probe.py): an uplift is served as its boosters and how they are put together.

- **T**: P(outcome | treated) less P(outcome | control), each learned on its own arm.
- **X**: what treatment did to the treated, by the control arm's model, and to the controls, by the treated arm's, are
  learned and blended by the probability of being treated. Strong where one arm is small. Künzel et al. (2019).
- **DR**: μ₁ − μ₀ corrected by what each row's own outcome says, weighed by its propensity, is learned in one booster;
  right if either the outcomes or the propensities are. Kennedy (2020).

Rows are ordered by time: the newest 20 % are held out and only reported on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import xgboost
from numpy.typing import NDArray

from household.plan import Plan, ValueTerm
from household.scoring import feature_schema, schema_hash
from serving.models.bundle import BundleDraft
from serving.models.examples import NotEnoughData
from serving.models.probe import BLEND, DIFFERENCE, EFFECT, OWN_MARGIN, OpenModel, together
from serving.models.reference import reference_of, to_plain
from serving.models.training import golden_rows

Floats = NDArray[np.float64]
_Rows = NDArray[np.float32]

FOLDS: Final = 3
"""Of households; the outcome models of a DR-learner are asked of rows that they have not seen."""


class Learner(StrEnum):
    """How an uplift is learned."""

    T = "t"
    X = "x"
    DR = "dr"


@dataclass(frozen=True, slots=True, kw_only=True)
class TermConfig:
    """How to learn."""

    rows_min: int = 500
    positives_min: int = 50
    """With and without the outcome, of each arm a tenth of it."""
    arm_rows_min: int = 100
    """Treated, and control."""
    holdout_share: float = 0.2
    stopping_share: float = 0.15
    rounds_max: int = 300
    stopping_rounds: int = 20
    depth: int = 3
    learning_rate: float = 0.08
    thread_count: int = 1

    def __post_init__(self) -> None:
        assert 0 < self.holdout_share < 0.9
        assert 0 < self.stopping_share < 0.9
        assert self.rows_min > self.positives_min > 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TermExamples:
    """What there is to learn a term from, in any order."""

    rows: _Rows
    """(n, columns) of the term, as they are scored."""
    outcome: Floats
    """(n,) 0 or 1; of a value, minor units."""
    observed_us: NDArray[np.int64]
    """(n,)"""
    households: NDArray[np.generic]
    """(n,) whose row it is."""
    is_treated: NDArray[np.bool_] | None = None
    """(n,) of a trial; None otherwise."""
    propensity: Floats | None = None
    """(n,) probability of being treated; None where nobody tells."""
    left_out: int = 0
    """Rows without an outcome."""

    def part(self, chosen: NDArray[np.generic]) -> "TermExamples":
        """Return some of the rows."""
        return TermExamples(
            rows=np.ascontiguousarray(self.rows[chosen]),
            outcome=self.outcome[chosen],
            observed_us=self.observed_us[chosen],
            households=self.households[chosen],
            is_treated=None if self.is_treated is None else self.is_treated[chosen],
            propensity=None if self.propensity is None else self.propensity[chosen],
            left_out=self.left_out,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learned:
    """A model of a term, and what it says of the rows that were held out."""

    draft: BundleDraft
    held: TermExamples
    scores: _Rows
    """(held,)"""


def learn_uplift(observed: TermExamples, plan: Plan, *, learner: Learner, seed: int, config: TermConfig) -> Learned:
    """Return a model of what treating adds to the probability of the outcome; the same for the same arguments.

    Raises:
        NotEnoughData: an arm is missing or too small, an outcome never came or always, or propensities cannot be used.
    """
    _check_trial(observed, learner, config)
    fitted, held = _split(observed, config)
    for place, part in (("fitted", fitted), ("held out", held)):
        assert part.is_treated is not None
        for name, arm in (("treated", part.is_treated), ("control", ~part.is_treated)):
            _check_both(part.outcome[arm], 3, f"the {name} rows that are {place}")
    way, parts = _boosters(learner, fitted, _Grower(feature_schema(plan).names_for(ValueTerm.UPLIFT), seed, config))
    model = together(way, parts)
    facts = {
        "learner": learner.value,
        "treated": int(observed.is_treated.sum()) if observed.is_treated is not None else 0,
        "control": int((~observed.is_treated).sum()) if observed.is_treated is not None else 0,
        "effect_observed": _effect(held),
    }
    return _learned(ValueTerm.UPLIFT, model, observed, fitted, held, plan, seed, facts)


def _boosters(learner: Learner, fitted: TermExamples, grow: "_Grower") -> tuple[str, list[bytes]]:
    """Return the boosters of an uplift, and how they make it."""
    assert fitted.is_treated is not None
    treated, control = fitted.part(fitted.is_treated), fitted.part(~fitted.is_treated)
    match learner:
        case Learner.T:
            return DIFFERENCE, [grow.chance(control), grow.chance(treated)]
        case Learner.X:
            of_control, of_treated = grow.chance(control), grow.chance(treated)
            on_control = OpenModel(of_treated).predict(control.rows).astype(np.float64) - control.outcome
            on_treated = treated.outcome - OpenModel(of_control).predict(treated.rows).astype(np.float64)
            is_treated = fitted.is_treated.astype(np.float64)
            parts = [grow.effect(control, on_control), grow.effect(treated, on_treated)]
            return BLEND, [*parts, grow.chance(fitted, is_treated)]
        case Learner.DR:
            return EFFECT, [grow.effect(fitted, _doubly_robust(fitted, grow))]


def learn_churn(observed: TermExamples, plan: Plan, *, seed: int, config: TermConfig) -> Learned:
    """Return a model of the hazard: P(the household leaves within the window of the label), by its features alone.

    Raises:
        NotEnoughData: too few rows, or too few that left or stayed.
    """
    fitted, held = _split(observed, config)
    for name, part in (("fitted", fitted), ("held out", held)):
        _check_both(part.outcome, 3, f"the rows that are {name}")
    _check_both(observed.outcome, config.positives_min, "the set")
    grow = _Grower(feature_schema(plan).names_for(ValueTerm.CHURN), seed, config)
    return _learned(ValueTerm.CHURN, grow.chance(fitted), observed, fitted, held, plan, seed, {})


def learn_value(observed: TermExamples, plan: Plan, *, seed: int, config: TermConfig) -> Learned:
    """Return a model of what an acceptance brings, in minor units.

    Raises:
        NotEnoughData: too few rows, or all of them brought the same.
    """
    fitted, held = _split(observed, config)
    if len(np.unique(fitted.outcome)) < 2:
        raise NotEnoughData(f"all {len(fitted.outcome)} rows brought the same, so there is nothing to learn")
    grow = _Grower(feature_schema(plan).names_for(ValueTerm.VALUE), seed, config)
    return _learned(ValueTerm.VALUE, grow.effect(fitted, fitted.outcome), observed, fitted, held, plan, seed, {})


def _split(observed: TermExamples, config: TermConfig) -> tuple[TermExamples, TermExamples]:
    """Return the rows to learn from and those held out, the newest; rows of one time are on one side."""
    count = len(observed.outcome)
    if count < config.rows_min:
        raise NotEnoughData(f"{count} rows with an outcome, {config.rows_min} needed")
    in_time = np.argsort(observed.observed_us, kind="stable")
    from_us = observed.observed_us[in_time][round(count * (1 - config.holdout_share))]
    held = observed.observed_us[in_time] >= from_us
    if held.all():
        # All of one time, as a trial read at its end: whole households by lot, the same ones every time.
        units = np.unique(observed.households, return_inverse=True)[1]
        held = np.random.default_rng(0).random(units.max() + 1)[units][in_time] < config.holdout_share
    return observed.part(in_time[~held]), observed.part(in_time[held])


def _check_trial(observed: TermExamples, learner: Learner, config: TermConfig) -> None:
    """Refuse what no uplift can be learned from, and say what is missing."""
    is_treated = observed.is_treated
    if is_treated is None:
        raise NotEnoughData("nothing tells who was treated and who was not: a column `arm` is needed")
    treated, control = int(is_treated.sum()), int((~is_treated).sum())
    if not control:
        raise NotEnoughData(
            f"no control rows among {treated}: without households that were left alone nothing tells what would have "
            "come anyway; give a journey a share of `control`, or declare an experiment, and wait for its window"
        )
    if not treated:
        raise NotEnoughData(f"no treated rows among {control}: nothing tells what treatment does")
    for name, count in (("treated", treated), ("control", control)):
        if count < config.arm_rows_min:
            raise NotEnoughData(f"{count} {name} rows, {config.arm_rows_min} needed")
    _check_both(observed.outcome, config.positives_min, "the set")
    if learner is not Learner.DR:
        return
    if observed.propensity is None:
        raise NotEnoughData(
            "a DR-learner needs the probability with which each row was treated: a column `treated_propensity`, or "
            "`arms` as `hearth models dataset` writes them; a T- or X-learner (--learner) does without"
        )
    outside = ~((observed.propensity > 0) & (observed.propensity < 1))
    if outside.any():
        raise NotEnoughData(
            f"{int(outside.sum())} rows were treated with probability {observed.propensity[outside][0]:g}: where "
            "nobody was left alone, or nobody treated, nothing tells the difference; leave such rows out"
        )


def _check_both(outcome: Floats, least: int, where: str) -> None:
    ones = int(outcome.sum())
    if ones < least or len(outcome) - ones < least:
        raise NotEnoughData(f"{ones} of {len(outcome)} with the outcome in {where}; {least} with and without needed")


class _Grower:
    """Grows the boosters of one model."""

    def __init__(self, names: Sequence[str], seed: int, config: TermConfig) -> None:
        self._names, self._seed, self._config = list(names), seed, config

    def chance(self, of: TermExamples, label: Floats | None = None) -> bytes:
        """Return a booster of the probability of the outcome, or of another label of 0 and 1."""
        label = of.outcome if label is None else label
        mean = float(np.clip(label.mean(), 1e-4, 1 - 1e-4))
        return self._grown(of.rows, label, {"objective": "binary:logistic", "eval_metric": "logloss"}, mean)

    def effect(self, of: TermExamples, label: Floats) -> bytes:
        """Return a booster of a number of either sign."""
        settings = {"objective": "reg:squarederror", "eval_metric": "rmse", "lambda": 10.0}
        return self._grown(of.rows, label, settings, float(label.mean()))

    def _grown(self, rows: _Rows, label: Floats, settings: dict[str, Any], base: float) -> bytes:
        config = self._config
        # What stops it is drawn, not the newest: arms differ in how long they have been there.
        stops = np.random.default_rng(self._seed).random(len(label)) < config.stopping_share
        if not 0 < int(stops.sum()) < len(label):
            stops[: max(1, len(label) // 5)] = True
        parameters: dict[str, Any] = {
            "tree_method": "hist",
            "max_depth": config.depth,
            "eta": config.learning_rate,
            "subsample": 0.8,
            "colsample_bytree": 0.8,
            # A leaf of a few households is noise, which a difference of two models doubles.
            "min_child_weight": max(5.0, len(label) / 200)
            * (base * (1 - base) if "logistic" in str(settings) else 1.0),
            "lambda": 2.0,
            "base_score": base,
            "nthread": config.thread_count,
            "seed": self._seed,
        } | settings
        booster = xgboost.train(
            parameters,
            self._matrix(rows[~stops], label[~stops]),
            config.rounds_max,
            evals=[(self._matrix(rows[stops], label[stops]), "stopping")],
            early_stopping_rounds=config.stopping_rounds,
            verbose_eval=False,
        )
        best = booster[: booster.best_iteration + 1]
        best.set_attr(**{OWN_MARGIN: "1"})
        return bytes(best.save_raw("ubj"))

    def _matrix(self, rows: _Rows, label: Floats) -> xgboost.DMatrix:
        return xgboost.DMatrix(rows, label, feature_names=self._names, nthread=self._config.thread_count)


def _doubly_robust(fitted: TermExamples, grow: _Grower) -> Floats:
    """Return (n,) an unbiased guess of each row's effect, by outcome models that have not seen its household."""
    assert fitted.is_treated is not None
    assert fitted.propensity is not None
    units = np.unique(fitted.households, return_inverse=True)[1]
    fold = np.random.default_rng(0).permutation(units.max() + 1)[units] % FOLDS
    of_control, of_treated = np.empty(len(fold)), np.empty(len(fold))
    for number in range(FOLDS):
        asked, others = fold == number, fold != number
        for arm, into in ((~fitted.is_treated, of_control), (fitted.is_treated, of_treated)):
            model = OpenModel(grow.chance(fitted.part(others & arm)))
            into[asked] = model.predict(np.ascontiguousarray(fitted.rows[asked]))
    own = np.where(fitted.is_treated, of_treated, of_control)
    chance = np.where(fitted.is_treated, fitted.propensity, fitted.propensity - 1)
    return np.asarray(of_treated - of_control + (fitted.outcome - own) / chance, np.float64)


def _effect(held: TermExamples) -> float:
    assert held.is_treated is not None
    return float(held.outcome[held.is_treated].mean() - held.outcome[~held.is_treated].mean())


def _learned(
    term: ValueTerm,
    model: bytes,
    observed: TermExamples,
    fitted: TermExamples,
    held: TermExamples,
    plan: Plan,
    seed: int,
    facts: dict[str, Any],
) -> Learned:
    opened = OpenModel(model)
    golden = golden_rows(observed.rows, seed)
    scores = opened.predict(held.rows)
    training: dict[str, Any] = {
        "rows": len(observed.outcome),
        "left_out": {"without_label": observed.left_out},
        "seed": seed,
        "from_us": int(observed.observed_us.min()),
        "to_us": int(observed.observed_us.max()),
        "seen_to_us": int(fitted.observed_us.max()),
        "holdout_rows": len(held.outcome),
        "predicted_mean": float(scores.mean(dtype=np.float64)),
        "observed_mean": float(observed.outcome.mean()),
        "trees": sum(one.num_boosted_rounds() for one in opened.boosters),
        "reference": to_plain(
            reference_of(
                feature_schema(plan),
                observed.rows,
                observed.households,
                scores=scores,
                scored_households=held.households,
            )
        ),
    }
    draft = BundleDraft(
        model=model,
        feature_schema_hash=schema_hash(plan),
        columns=feature_schema(plan).names_for(term),
        golden_rows=golden,
        golden_scores=opened.predict(golden),
        playbook_version=plan.version,
        training=training | facts,
        term=term.value,
    )
    return Learned(draft=draft, held=held, scores=scores)
