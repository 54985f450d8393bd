"""`hearth models compare --on FILE`: two versions on a labelled set that neither has seen.

The one way for terms whose outcomes the log does not have. Each row is a loss: the log loss of a hazard, the squared
error of a value, and of an uplift that of Y·(W − p) / (p·(1 − p)), whose mean is the effect and which ranks uplifts as
the true effect would (Athey and Imbens 2016).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cluster.commands.promotion import load
from cluster.commands.training_terms import interval_of, log_losses
from cluster.config import HearthConfig
from cluster.errors import UsageWrong
from household.plan import Plan, ValueTerm
from household.scoring import feature_schema
from serving.models.comparison import PRIOR, Comparison, Verdict, silence_of
from serving.models.dataset import LABEL
from serving.models.examples import Examples
from serving.models.probe import OpenModel
from serving.models.tables import BadExport, flags, text, times
from serving.models.term_sets import read_observed
from serving.models.term_training import TermExamples
from serving.models.training_sets import DECIDED, HOUSEHOLD, TrainingSet

LABELLED_MAX = 200_000
"""Rows of a labelled set that a version of acceptance is held against; of more, about as many are drawn."""
ROWS_LEAST = 100
HOUSEHOLDS_LEAST = 20

Floats = NDArray[np.float64]


def labelled(plan: Plan, file: Path) -> Examples:
    """Return the rows of a set as `hearth models dataset` writes it, or of as many as fit, with their labels."""
    try:
        source = TrainingSet(file, feature_schema(plan))
        sample = source.sample(LABELLED_MAX, also=(DECIDED, HOUSEHOLD))
        count = sample.num_rows
        is_told = HOUSEHOLD in sample.column_names
        return Examples(
            rows=source.rows_of(sample),
            accepted=flags(sample, LABEL),
            propensity=np.ones(count),
            decided_us=times(sample, DECIDED),
            households=text(sample, HOUSEHOLD) if is_told else np.arange(count).astype(np.str_),
            left_out={},
        )
    except BadExport as wrong:
        raise UsageWrong(f"--on: {wrong}") from wrong


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Side:
    """One of the two that are compared."""

    version: str
    seen_to_us: int | None
    losses: Floats
    """(n,)"""


def compare_on(
    config: HearthConfig, plan: Plan, file: Path, *, term: ValueTerm, candidate: Path, incumbent: Path | None
) -> Comparison:
    """Return how a version of another term than acceptance does against another, or against knowing nothing.

    Raises:
        UsageWrong: the file is no set of the term.
        CommandFailed: a version cannot be served.
    """
    try:
        held = read_observed(file, feature_schema(plan), term)
    except BadExport as wrong:
        raise UsageWrong(f"--on: {wrong}") from wrong
    if term is ValueTerm.UPLIFT and (held.is_treated is None or held.is_treated.all() or not held.is_treated.any()):
        raise UsageWrong(f"--on: {file} tells of no trial: treated and controls are needed, in a column `arm`")
    target = _target(held, term)
    ours = _side(config, plan, candidate, held, term, target)
    theirs = (
        _side(config, plan, incumbent, held, term, target)
        if incumbent is not None
        else _nothing(plan, held, target, term)
    )
    known = [one.seen_to_us for one in (ours, theirs) if one.seen_to_us is not None]
    seen_to_us = max(known) if len(known) == 2 else None
    is_unseen = held.observed_us > (seen_to_us if seen_to_us is not None else 2**62)
    rows, households = int(is_unseen.sum()), len(np.unique(held.households[is_unseen]))
    told = {"candidate": ours.version, "incumbent": theirs.version, "seen_to_us": seen_to_us, "rows": rows}
    told |= {"positives": int((held.outcome[is_unseen] > 0.5).sum()), "households": households}
    if seen_to_us is None:
        silent = ours if ours.seen_to_us is None else theirs
        why = silence_of(silent.version)
        return Comparison(**told, verdict=Verdict.TOO_LITTLE, why=why)  # type: ignore[arg-type]
    if rows < ROWS_LEAST or households < HOUSEHOLDS_LEAST:
        why = f"neither has seen {rows} rows of {households} households; {ROWS_LEAST} of {HOUSEHOLDS_LEAST} are needed"
        return Comparison(**told, verdict=Verdict.TOO_LITTLE, why=why)  # type: ignore[arg-type]
    low, high = interval_of((ours.losses - theirs.losses)[is_unseen], held.households[is_unseen])
    verdict = Verdict.BETTER if high < 0 else Verdict.WORSE if low > 0 else Verdict.NOT_BETTER
    loss = "log loss" if term is ValueTerm.CHURN else "squared error"
    our_loss, their_loss = (float(one.losses[is_unseen].mean()) for one in (ours, theirs))
    why = (
        f"on {rows:,} rows of {households:,} households that neither has seen: {loss} {our_loss:.5g} against "
        f"{their_loss:.5g} (difference {our_loss - their_loss:+.5g}, 95% between {low:+.5g} and {high:+.5g})"
    )
    return Comparison(**told, verdict=verdict, why=why)  # type: ignore[arg-type]


def _target(held: TermExamples, term: ValueTerm) -> Floats:
    if term is not ValueTerm.UPLIFT:
        return held.outcome
    assert held.is_treated is not None
    chance = held.propensity if held.propensity is not None else np.full(len(held.outcome), held.is_treated.mean())
    if not ((chance > 0) & (chance < 1)).all():
        raise UsageWrong("--on: some rows were treated with probability 0 or 1; leave them out, they tell nothing")
    return np.asarray(held.outcome * (held.is_treated - chance) / (chance * (1 - chance)), np.float64)


def _side(config: HearthConfig, plan: Plan, folder: Path, held: TermExamples, term: ValueTerm, target: Floats) -> _Side:
    bundle = load(config, plan, folder)
    seen = bundle.manifest.training.get("seen_to_us")
    is_time = isinstance(seen, int) and not isinstance(seen, bool)
    scores = OpenModel(bundle.model).predict(held.rows).astype(np.float64)
    return _Side(version=bundle.version, seen_to_us=seen if is_time else None, losses=_losses(scores, target, term))


def _nothing(plan: Plan, held: TermExamples, target: Floats, term: ValueTerm) -> _Side:
    """Return what is said where no model is asked: the margin of a value, and of all else the same of everybody."""
    said = np.full(len(target), float(target.mean()))
    if term is ValueTerm.VALUE:
        said = held.rows[:, feature_schema(plan).names.index("margin_minor")].astype(np.float64)
    elif term is ValueTerm.CHURN and plan.models.churn_prior is not None:
        said = np.full(len(target), plan.models.churn_prior)
    return _Side(version=PRIOR, seen_to_us=-(2**62), losses=_losses(said, target, term))


def _losses(scores: Floats, target: Floats, term: ValueTerm) -> Floats:
    return log_losses(scores, target) if term is ValueTerm.CHURN else (scores - target) ** 2
