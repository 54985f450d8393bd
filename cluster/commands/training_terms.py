"""`hearth models train --term|--learner`: learn what treatment adds, who leaves, or what an acceptance brings.

A version of these is judged on the newest rows of its own set, which it has not seen; what they say stands in its
manifest, and it comes into force only if it does better there than knowing nothing.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from cluster.commands.training_from import How, all_threads
from cluster.config import HearthConfig, utc_now
from cluster.errors import CommandFailed, UsageWrong
from cluster.output import print_json, say
from cluster.playbook_in_force import playbook_in_force
from household.plan import Plan, ValueTerm

if TYPE_CHECKING:
    from serving.models.term_training import Learned, TermExamples

BETTER: Final = "better_than_nothing"
"""Of a manifest: whether the held-out rows say that a version of these terms is good for anything."""
WHY: Final = "judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class TermAsked:
    """What is to be learned."""

    term: ValueTerm
    learner: str = "x"
    """Of an uplift: t, x or dr."""
    label: str = ""
    """Event type that the household has or not, where it is learned from the log."""
    window_hours: float = 24.0
    name: str = ""
    """Of the model; empty for the playbook's."""


def term_asked(term: str, learner: str | None, **others: Any) -> TermAsked | None:
    """Return what options ask for; None for a model of acceptance.

    Raises:
        UsageWrong: they contradict each other, or name what is not known.
    """
    if learner is not None and learner not in ("t", "x", "dr"):
        raise UsageWrong(f"--learner {learner} is none of t, x and dr")
    if term not in [one.value for one in ValueTerm]:
        raise UsageWrong(f"--term {term} is none of {', '.join(ValueTerm)}")
    wanted = ValueTerm(term)
    if learner is not None and wanted not in (ValueTerm.ACCEPTANCE, ValueTerm.UPLIFT):
        raise UsageWrong(f"--learner goes with an uplift; --term {term} has no control group")
    if learner is not None:
        wanted = ValueTerm.UPLIFT
    if wanted is ValueTerm.ACCEPTANCE:
        return None
    return TermAsked(term=wanted, learner=learner or "x", **others)


def train_term(
    config: HearthConfig,
    asked: TermAsked,
    *,
    seed: int,
    rows_min: int,
    positives_min: int,
    how: How,
    is_promoted: bool,
    is_forced: bool,
    as_json: bool,
) -> int:
    """Train a model of another term than acceptance, and save it; make it champion if asked and if it is good."""
    from cluster.commands.leaks import refuse_leaks
    from cluster.commands.model_names import refuse_other_term
    from cluster.commands.models import note_registered
    from cluster.commands.promotion import promote_term
    from household.scoring import feature_schema
    from serving.models.bundle import BundleExists, BundleRefused, save_bundle
    from serving.models.examples import NotEnoughData
    from serving.models.leaks import leaks_in_rows
    from serving.models.tables import BadExport
    from serving.models.term_training import TermConfig

    plan = playbook_in_force(config).plan
    name = asked.name or plan.models.name_of(asked.term) or asked.term.value
    refuse_other_term(plan, name, asked.term)
    learning = TermConfig(rows_min=rows_min, positives_min=positives_min, thread_count=how.threads or all_threads())
    try:
        observed = _observed(config, plan, asked, how)
        if asked.term is not ValueTerm.VALUE:
            columns, outcome = feature_schema(plan).names_for(asked.term), observed.outcome > 0.5
            if leaks := leaks_in_rows(observed.rows, columns, outcome, allowed=how.vouched_for):
                raise refuse_leaks(leaks)
        say(f"learning from {len(observed.outcome):,} rows ...")
        learned = _learned(observed, plan, asked, seed=seed, config=learning)
        is_better, told = judged(learned, asked.term)
        facts = learned.draft.training
        assert isinstance(facts, Mapping), "it is a term's"
        training = {**facts, **told, BETTER: is_better}
        draft = replace(learned.draft, training=training)
        made = utc_now().isoformat(timespec="seconds")
        folder = save_bundle(config.model_path, name, draft, created=made)
    except NotEnoughData as short:
        raise CommandFailed(f"there is too little to learn from: {short}") from short
    except BundleExists as exists:
        raise CommandFailed(f"this very model is in the registry already: {exists}") from exists
    except BadExport as wrong:
        raise UsageWrong(str(wrong)) from wrong
    except BundleRefused as refused:
        raise CommandFailed(f"training failed: {refused}") from refused
    note_registered(config, folder.name, why=f"trained on {len(observed.outcome):,} rows", name=name)
    refusal = promote_term(config, plan, folder, is_forced=is_forced, why=str(told[WHY])) if is_promoted else ""
    if as_json:
        about = {"version": folder.name, "model": name, "term": asked.term, "path": str(folder)}
        shown = {fact: value for fact, value in training.items() if fact != "reference"}
        print_json({**about, "champion": is_promoted and not refusal, "training": shown, "refused": refusal})
    else:
        print(f"model {folder.name} of {name}, which gives {asked.term}, in {folder}")
        print(f"  {told[WHY]}")
        if plan.models.name_of(asked.term) != name:
            print(f"  the playbook asks nobody of that name yet: `models: {{{asked.term}: {name}}}` has it asked")
        if is_promoted and not refusal:
            print("  champion now")
        elif not is_promoted:
            print(f"  `hearth models promote {folder.name} --model {name}` puts it into force")
    if refusal:
        say(refusal)
    return 1 if refusal else 0


def _observed(config: HearthConfig, plan: Plan, asked: TermAsked, how: How) -> "TermExamples":
    from household.scoring import feature_schema
    from serving.models.term_sets import read_observed

    schema = feature_schema(plan)
    if how.source is not None:
        return read_observed(how.source, schema, asked.term)
    if asked.term is not ValueTerm.UPLIFT:
        what = "who left, and when" if asked.term is ValueTerm.CHURN else "what acceptances brought"
        made = (
            " (`hearth models dataset --as-of` adds features to such a list)" if asked.term is ValueTerm.CHURN else ""
        )
        raise UsageWrong(f"--term {asked.term} needs --from: the log does not say {what}{made}")
    if not asked.label:
        raise UsageWrong(
            "an uplift needs an outcome that households in control may have, too: --label EVENT names an event type, "
            "or --from a training set"
        )
    from cluster.commands.dataset import written_set
    from serving.models.dataset import DatasetConfig

    wanted = DatasetConfig(label=asked.label, window_us=round(asked.window_hours * 3.6e9))
    config.model_path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".training-", dir=config.model_path) as folder:
        source = Path(folder) / "set"
        written_set(config, plan, source, wanted)
        return read_observed(source, schema, asked.term)


def _learned(observed: "TermExamples", plan: Plan, asked: TermAsked, *, seed: int, config: Any) -> "Learned":
    from serving.models.term_training import Learner, learn_churn, learn_uplift, learn_value

    match asked.term:
        case ValueTerm.UPLIFT:
            return learn_uplift(observed, plan, learner=Learner(asked.learner), seed=seed, config=config)
        case ValueTerm.CHURN:
            return learn_churn(observed, plan, seed=seed, config=config)
        case _:
            return learn_value(observed, plan, seed=seed, config=config)


def judged(learned: "Learned", term: ValueTerm) -> tuple[bool, dict[str, Any]]:
    """Return whether the held-out rows say that a model is good for something, and what else they say."""
    if term is ValueTerm.UPLIFT:
        return _judged_uplift(learned)
    outcome, scores = learned.held.outcome, learned.scores.astype(np.float64)
    if term is ValueTerm.CHURN:
        from serving.models.measures import auc

        usual = float(np.clip(outcome.mean(), 1e-6, 1 - 1e-6))
        losses = log_losses(scores, outcome) - log_losses(np.full(len(outcome), usual), outcome)
        told: dict[str, Any] = {
            "auc": auc(scores, outcome > 0.5),
            "logloss": float(log_losses(scores, outcome).mean()),
        }
        what, than = "log loss", f"saying {usual:.4f} of everybody"
    else:
        margins = learned.held.rows[:, list(learned.draft.columns).index("margin_minor")].astype(np.float64)
        losses = (scores - outcome) ** 2 - (margins - outcome) ** 2
        told = {"rmse": sqrt(float(((scores - outcome) ** 2).mean()))}
        what, than = "squared error", "the playbook's margins"
    low, high = interval_of(losses, learned.held.households)
    is_better = high < 0
    verdict = "better" if is_better else "not better beyond doubt"
    why = f"{verdict} than {than} on {len(outcome):,} rows that it has not seen: {what} {low:+.5g} to {high:+.5g}"
    return is_better, {**told, WHY: why}


def _judged_uplift(learned: "Learned") -> tuple[bool, dict[str, Any]]:
    from insight.uplift.evaluate import UpliftVerdict, evaluate_uplift
    from insight.uplift.trial import Trial

    held = learned.held
    assert held.is_treated is not None
    share = np.full(len(held.outcome), held.is_treated.mean())
    trial = Trial(
        is_treated=held.is_treated,
        outcome=held.outcome,
        score=learned.scores.astype(np.float64),
        propensity=share if held.propensity is None else held.propensity,
        is_propensity_known=held.propensity is not None,
        units=np.unique(held.households, return_inverse=True)[1],
    )
    found = evaluate_uplift(trial)
    if found.refusal is not None:
        return False, {WHY: f"{found.refusal.reason.value}: {found.refusal.why}"}
    assert found.verdict is not None
    qini = None if found.qini is None else found.qini.value
    return found.verdict is UpliftVerdict.TARGETS, {"qini": qini, WHY: f"{found.verdict.value}: {found.why}"}


def log_losses(scores: NDArray[np.float64], outcome: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n,) the log loss of probabilities, given (n,) outcomes of 0 or 1."""
    likely = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.asarray(-np.log(np.where(outcome > 0.5, likely, 1 - likely)), np.float64)


def interval_of(losses: NDArray[np.float64], households: NDArray[np.generic]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of (n,) differences, those of one household together."""
    units = np.unique(households, return_inverse=True)[1]
    mean = float(losses.mean())
    sums = np.bincount(units, weights=losses - mean)
    count = len(sums)
    error = sqrt(float((sums**2).sum()) * count / max(count - 1, 1)) / len(losses)
    return mean - 1.96 * error, mean + 1.96 * error
