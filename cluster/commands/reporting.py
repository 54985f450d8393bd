"""`hearth models report`: all there is to know of a version, in one HTML file."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cluster.commands.arbitrated_policy import policy_of_version
from cluster.commands.attaching import attached_to, run_of
from cluster.commands.comparing_on import labelled
from cluster.commands.model_names import model_named, only_acceptance
from cluster.commands.models import LearnedFrom, plain, read_log
from cluster.commands.promotion import (
    change_text,
    folder_of,
    history_of,
    in_force,
    load,
    plan_of,
    stages_of,
)
from cluster.config import HearthConfig, utc_now
from cluster.errors import CommandFailed, UsageWrong
from cluster.exporting import log_reader, write_whole
from cluster.output import print_json, say
from cluster.report.facts import Missing, Quality, ReportFacts, ScoredTenth
from cluster.report.trained import columns_told, training_told
from cluster.report.verdict import judged, off
from household.plan import Plan
from household.scoring import feature_schema
from insight.evaluation.evaluate import Evaluation, evaluate
from insight.evaluation.exported import read_exported
from insight.tables import BadTable
from serving.models.bundle import Bundle
from serving.models.calibration import ScoreCalibration, calibration_of
from serving.models.comparison import PRIOR, Comparison, Contender, compare, of_bundle, of_priors
from serving.models.examples import Examples, NotEnoughData, TrainingConfig, gather
from serving.models.explaining import CannotExplain, Explained, explain
from serving.models.fairness import Part, coded_values, parts_of
from serving.models.history import Change, last_stage
from serving.models.in_force import ModelStage
from serving.models.measures import auc, logloss
from serving.models.probe import open_booster
from serving.models.reference import Reference, from_plain
from serving.models.tables import BadExport
from serving.models.watch import Watched, watch

TENTHS = 10
PARTS_LEAST = 50
"""Decisions of a part of the households that is shown."""

NO_LOG = "There are no decisions in the log whose outcomes are known, and that this version has not seen."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Subject:
    """The version, and what its report is made from."""

    config: HearthConfig
    plan: Plan
    bundle: Bundle
    contender: Contender
    stage: ModelStage
    history: Sequence[Change]
    log: LearnedFrom
    examples: Examples | None
    """What has an outcome; None where there is too little."""
    too_little: str

    @property
    def unseen(self) -> NDArray[np.bool_]:
        """(n,) the examples that the version has not learned from."""
        assert self.examples is not None
        seen = self.contender.seen_to_us
        return np.asarray(self.examples.decided_us > (seen if seen is not None else -(2**62)))


def report_version(
    config: HearthConfig,
    version: str,
    out: Path | None,
    *,
    on: Path | None,
    mlflow: str,
    run: str,
    as_json: bool,
    name: str = "",
) -> int:
    """Write the report of a version, held against the log, or a labelled set; put it into MLflow where it is asked."""
    page_of = _page()
    plan = plan_of(config)
    name = model_named(plan, name)
    folder = folder_of(config, version, name)
    only_acceptance(
        folder,
        "reported on as one that does",
        "`hearth models show` tells what its own held-out rows say, `hearth models watch` how it does in service, and "
        "`hearth models uplift` what a trial says of an uplift",
    )
    bundle = load(config, plan, folder)
    run = run_of(bundle, run) if mlflow else ""
    out = out if out is not None else Path(f"model-{folder.name}.html")
    history = history_of(config, name)
    log = _log(config, folder.name)
    examples, too_little = _examples(plan, log) if on is None else (labelled(plan, on), "")
    subject = _Subject(
        config=config,
        plan=plan,
        bundle=bundle,
        contender=of_bundle(bundle),
        stage=stages_of(config, name).stage_of(folder.name) or last_stage(history, folder.name),
        history=history,
        log=log,
        examples=examples,
        too_little=too_little,
    )
    facts = _facts(subject)
    page = page_of(facts).encode()
    write_whole(out, lambda file: file.write_bytes(page))
    attached = attached_to(mlflow, run, out) if mlflow else ""
    if as_json:
        told: dict[str, object] = {"version": folder.name, "file": str(out), "bytes": len(page)}
        told |= {"verdict": facts.verdict, "reasons": list(facts.reasons), "artifact": attached or None}
        told["quality"] = None if facts.quality is None else plain(asdict(facts.quality))
        told["comparisons"] = [plain(asdict(one)) for one in facts.comparisons]
        told["off"] = [f"{one.by}: {one.value}" for one in off(facts.parts)]
        print_json(told)
    else:
        print(f"{out}{attached and f', and {attached}'}: {facts.verdict}")
        for reason in facts.reasons:
            print(f"  {reason}")
    return 0


def _page() -> Any:
    try:
        from cluster.report.page import page_of
    except ImportError as missing:
        raise CommandFailed(
            f"a report needs {missing.name}, which is not installed: pip install 'hearth[report]'"
        ) from missing
    return page_of


def _log(config: HearthConfig, version: str) -> LearnedFrom:
    """Return what the log holds; nothing where there is a registry and no log."""
    try:
        read = log_reader(config)
    except UsageWrong as no_log:
        say(f"nothing was decided here ({no_log})")
        return pa.table({}), pa.table({}), []
    say(f"reading what {version} and others decided ...")
    return read_log(config, read, is_whole=True)


def _examples(plan: Plan, log: LearnedFrom) -> tuple[Examples | None, str]:
    decisions, outcomes, plans = log
    if not decisions.num_rows:
        return None, "The log holds no decisions."
    try:
        config = TrainingConfig(rows_min=4, positives_min=3)
        return gather(decisions, outcomes, plan, earlier_plans=plans, config=config), ""
    except NotEnoughData as short:
        return None, f"Too little is known of what became of decisions: {short}."
    except BadExport as wrong:
        raise CommandFailed(f"the log cannot be reported on: {wrong}") from wrong


def _facts(it: _Subject) -> ReportFacts:
    manifest, schema = it.bundle.manifest, feature_schema(it.plan)
    training = training_told(manifest.training)
    reference = from_plain(manifest.training.get("reference"))
    explained, explained_on = _explained(it)
    watched = _watched(it, reference)
    comparisons = _comparisons(it)
    parts = _parts(it)
    unseen, too_little = _judged(it), it.too_little or NO_LOG
    verdict, reasons = judged(it.stage, comparisons, watched, parts, unseen=unseen, too_little=too_little)
    return ReportFacts(
        version=it.bundle.version,
        stage=str(it.stage),
        made=manifest.created,
        written=utc_now().isoformat(timespec="minutes"),
        playbook_version=manifest.playbook_version,
        feature_schema_hash=manifest.feature_schema_hash,
        training=training,
        history=[
            change_text(asdict(one))
            for one in it.history
            if it.bundle.version in (one.champion, one.before, one.version)
        ],
        columns=columns_told(schema.columns, reference),
        judged_on=_judged_on(it),
        judged=unseen,
        quality=_quality(it),
        explained=explained,
        explained_on=explained_on,
        watched=watched,
        tenths=_tenths(it),
        parts=parts,
        comparisons=comparisons,
        evaluations=_evaluations(it),
        verdict=verdict,
        reasons=reasons,
    )


def _judged_on(it: _Subject) -> str:
    if it.examples is None:
        return it.too_little
    count, households = int(it.unseen.sum()), len(np.unique(it.examples.households[it.unseen]))
    if it.contender.seen_to_us is None:
        return (
            f"Held against {count:,} decisions of {households:,} households. What it has learned from is not told, so "
            "it may have seen them: its numbers may be better than it is."
        )
    return f"Held against {count:,} decisions of {households:,} households that it has not seen."


def _scored(
    it: _Subject,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.intp], NDArray[np.float32]] | None:
    """Return scores, outcomes, households and rows of what the version has not seen; None where there is nothing."""
    if it.examples is None or not it.unseen.any():
        return None
    rows = it.examples.rows[it.unseen]
    _, units = np.unique(it.examples.households[it.unseen], return_inverse=True)
    return it.contender.score(rows), it.examples.accepted[it.unseen], np.asarray(units, np.intp), rows


def _judged(it: _Subject) -> ScoreCalibration | None:
    scored = _scored(it)
    return calibration_of(*scored[:3]) if scored is not None else None


def _quality(it: _Subject) -> Quality | None:
    scored = _scored(it)
    if scored is None or not 0 < int(scored[1].sum()) < len(scored[1]):
        return None
    scores, accepted = scored[:2]
    brier = float(((scores.astype(np.float64) - accepted) ** 2).mean())
    return Quality(rows=len(scores), auc=auc(scores, accepted), logloss=logloss(scores, accepted), brier=brier)


def _explained(it: _Subject) -> tuple[Explained | Missing, str]:
    booster, columns = open_booster(it.bundle.model), feature_schema(it.plan).columns
    if it.examples is None:
        return Missing(why=f"{it.too_little} What it looks at is told over real decisions."), ""
    is_unseen = bool(it.unseen.any())
    rows = it.examples.rows[it.unseen] if is_unseen else it.examples.rows
    try:
        explained = explain(booster, rows, columns)
    except CannotExplain as wrong:
        return Missing(why=f"It cannot be explained: {wrong}."), ""
    whose = "that it has not seen" if is_unseen else "which it may have learned from"
    return explained, f"Over {explained.rows:,} decisions {whose}."


def _watched(it: _Subject, reference: Reference | None) -> Watched | Missing:
    decisions, outcomes, plans = it.log
    if not decisions.num_rows:
        return Missing(why="The log holds no decisions.")
    has_decided = pc.any(pc.equal(decisions["model_version"].cast(pa.string()), it.bundle.version)).as_py()
    if not has_decided and it.stage is not ModelStage.SHADOW:
        return Missing(why=f"{it.bundle.version} has decided nothing yet.")
    return watch(
        it.bundle.version,
        it.stage,
        reference,
        it.bundle.manifest.training,
        decisions=decisions,
        outcomes=outcomes,
        plan=it.plan,
        earlier_plans=plans,
        history=it.history,
        window_us=TrainingConfig().window_us,
    )


def _tenths(it: _Subject) -> list[ScoredTenth]:
    scored = _scored(it)
    if scored is None:
        return []
    scores, accepted, _, _ = scored
    if not accepted.any():
        return []
    order = np.argsort(-scores, kind="stable")
    found, gained = [], 0
    for number, part in enumerate(np.array_split(order, TENTHS), start=1):
        if len(part):
            count = int(accepted[part].sum())
            gained += count
            rate = count / len(part)
            found.append(
                ScoredTenth(
                    number=number,
                    rows=len(part),
                    score=float(scores[part].mean(dtype=np.float64)),
                    accepted=count,
                    rate=rate,
                    lift=rate / float(accepted.mean()),
                    gained=gained / int(accepted.sum()),
                )
            )
    return found


def _comparisons(it: _Subject) -> list[Comparison]:
    if it.examples is None:
        return []
    others = [of_priors(it.plan)]
    champion = in_force(it.config, it.plan, it.bundle.path.parent.name)
    if champion.version not in (PRIOR, it.bundle.version):
        others.insert(0, champion)
    return [compare(it.examples, candidate=it.contender, incumbent=other) for other in others]


def _evaluations(it: _Subject) -> list[Evaluation] | Missing:
    decisions, outcomes, _ = it.log
    if not decisions.num_rows:
        return Missing(why="The log holds no decisions.")
    found = []
    try:
        logged = read_exported(decisions, outcomes, file="the log", window_us=TrainingConfig().window_us)
        for version in (it.bundle.version, PRIOR):
            policy, kept = policy_of_version(it.config, version, decisions, logged)
            found.append(evaluate(kept, policy))
    except (BadTable, BadExport) as wrong:
        return Missing(why=f"The data cannot tell: {wrong}.")
    return found


def _parts(it: _Subject) -> list[Part] | Missing:
    scored = _scored(it)
    if scored is None:
        return Missing(why=it.too_little or NO_LOG)
    scores, accepted, units, rows = scored
    by = coded_values(feature_schema(it.plan).columns, rows)
    large = {name: np.where(np.isin(values, _frequent(values)), values, "") for name, values in by.items()}
    looks = sum(len(np.unique(values[values != ""])) for values in large.values())
    found = [
        part
        for name, values in large.items()
        for part in parts_of(name, values, scores, accepted, units, looks=max(looks, 1))
    ]
    return found or Missing(why="No column divides the households into parts of enough decisions.")


def _frequent(values: NDArray[np.str_]) -> NDArray[np.str_]:
    names, counts = np.unique(values, return_counts=True)
    return names[counts >= PARTS_LEAST]
