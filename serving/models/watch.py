"""How a version does now, held against what it was trained on: drift, calibration, and how often it could not score.

Looked at are the decisions that training would learn from (examples.py), with those whose window has not ended where
nothing hangs on what became of them. A shadow is judged by the scores that it gave to what others chose.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from household.canary import is_in_canary
from household.plan import Plan, ValueTerm
from household.scoring import feature_schema, schema_hash
from serving.models.calibration import Calibrated, ScoreCalibration, calibration_of
from serving.models.drift import Drift, Drifted, drift_of
from serving.models.examples import (
    decision_rows,
    first_of_each,
    validity_us,
    was_shown,
)
from serving.models.findings import WatchFinding
from serving.models.history import FORCED, ON_TRIAL, PROMOTED, RETIRED, ROLLED_BACK, Change
from serving.models.in_force import ModelStage
from serving.models.measures import auc
from serving.models.reference import Reference, misfit
from serving.models.reported import Reported
from serving.models.tables import flags, text, times
from serving.models.told_scores import decided_by, scores_of

DECISIONS_MIN: Final = 200
HOUSEHOLDS_MIN: Final = 30
"""With fewer nothing is said of drift: an interval of so few is not to be trusted itself."""
DEGRADED_SHARE_MAX: Final = 0.01
"""Of the decisions that a version was asked for."""
ANSWERED_SLOWLY_MS: Final = 50.0
"""Half of the decisions of a version may take no longer to score."""


WORDS: Final[Mapping[WatchFinding, str]] = {
    WatchFinding.FEATURES: "features have drifted",
    WatchFinding.SCORES: "scores have drifted",
    WatchFinding.CALIBRATION: "scores are off",
    WatchFinding.DEGRADED: "decisions are degraded",
    WatchFinding.SLOW: "scores come late",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Degraded:
    """How often a version was to score, and could not."""

    decisions: int
    degraded: int

    @property
    def share(self) -> float:
        """Of the decisions; 0 of none."""
        return self.degraded / self.decisions if self.decisions else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long scores took, as a running Hearth has counted since its shards began."""

    decisions: int
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """How a version does."""

    version: str
    stage: ModelStage
    decisions: int
    """That chose something and were shown: what drift is told by."""
    households: int
    from_us: int | None
    to_us: int | None
    left_out: Mapping[str, int]
    findings: tuple[WatchFinding, ...]
    verdict: str
    """In a sentence."""
    silence: str
    """Why drift is not told; empty where it is."""
    features: tuple[Drift, ...] = ()
    """What has moved furthest first."""
    scores: Drift | None = None
    calibration: ScoreCalibration | None = None
    auc: float | None = None
    trained_auc: float | None = None
    """That of its report."""
    degraded: Degraded
    latency: Latency | None = None
    term: ValueTerm = ValueTerm.ACCEPTANCE


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Seen:
    """Decisions that a version scored, oldest first."""

    rows: NDArray[np.float32]
    scores: NDArray[np.float32]
    units: NDArray[np.intp]
    decided_us: NDArray[np.int64]
    accepted: NDArray[np.bool_]
    is_known: NDArray[np.bool_]
    """(n,) whether it is known whether it was accepted: its window has ended."""
    left_out: dict[str, int]


def watch(
    version: str,
    stage: ModelStage,
    reference: Reference | None,
    training: Mapping[str, object],
    *,
    decisions: pa.Table,
    outcomes: pa.Table,
    plan: Plan,
    earlier_plans: Sequence[Plan],
    history: Sequence[Change],
    window_us: int,
    latency: Latency | None = None,
    term: ValueTerm = ValueTerm.ACCEPTANCE,
) -> Watched:
    """Return how a version does on decisions, as `hearth log export` tells them, in any order.

    What came true of another term than acceptance the log does not tell, so its scores are held against nothing.

    Raises:
        BadExport: a column is missing or holds something else.
    """
    seen = _seen(version, stage, decisions, outcomes, plan, earlier_plans, window_us=window_us, term=term)
    households = int(seen.units.max()) + 1 if len(seen.units) else 0
    names = feature_schema(plan).names_for(term)
    features: tuple[Drift, ...] = ()
    scores = None
    if reference is None:
        silence = "its manifest does not tell what it was trained on, so drift cannot be told; train it anew, or "
        silence += "register it with --trained-on"
    elif misfit(reference, names):
        silence = "it was trained on other columns than the playbook in force has"
    elif len(seen.rows) < DECISIONS_MIN or households < HOUSEHOLDS_MIN:
        silence = (
            f"too few decisions: {len(seen.rows):,} of {households:,} households, {DECISIONS_MIN} of {HOUSEHOLDS_MIN} "
            "are needed"
        )
    else:
        silence = ""
        looks = len(reference.columns) + 1
        found = [
            drift_of(column, seen.rows[:, place], seen.units, looks=looks)
            for place, column in enumerate(reference.columns)
        ]
        features = tuple(sorted(found, key=lambda one: -one.psi))
        scores = drift_of(reference.scores, seen.scores, seen.units, looks=looks)
    known = seen.is_known
    calibration = None
    if term is ValueTerm.ACCEPTANCE:
        calibration = calibration_of(seen.scores[known], seen.accepted[known], seen.units[known])
    is_told = calibration is not None and 0 < calibration.accepted < calibration.rows
    trained = training.get("auc")
    watched = Watched(
        version=version,
        stage=stage,
        decisions=len(seen.rows),
        households=households,
        from_us=int(seen.decided_us[0]) if len(seen.decided_us) else None,
        to_us=int(seen.decided_us[-1]) if len(seen.decided_us) else None,
        left_out=seen.left_out,
        findings=(),
        verdict="",
        silence=silence,
        features=features,
        scores=scores,
        calibration=calibration,
        auc=auc(seen.scores[known], seen.accepted[known]) if is_told else None,
        trained_auc=float(trained) if isinstance(trained, int | float) else None,
        degraded=degraded_of(version, decisions, history, term=term),
        latency=latency,
        term=term,
    )
    findings = tuple(_findings(watched))
    return replace(watched, findings=findings, verdict=_verdict(watched, findings))


def _findings(watched: Watched) -> list[WatchFinding]:
    calibration, latency = watched.calibration, watched.latency
    found = []
    if any(one.verdict is Drifted.MOVED for one in watched.features):
        found.append(WatchFinding.FEATURES)
    if watched.scores is not None and watched.scores.verdict is Drifted.MOVED:
        found.append(WatchFinding.SCORES)
    if calibration is not None and calibration.verdict in (Calibrated.TOO_HIGH, Calibrated.TOO_LOW):
        found.append(WatchFinding.CALIBRATION)
    if watched.degraded.decisions >= DECISIONS_MIN and watched.degraded.share > DEGRADED_SHARE_MAX:
        found.append(WatchFinding.DEGRADED)
    if latency is not None and latency.p50_ms is not None and latency.p50_ms > ANSWERED_SLOWLY_MS:
        found.append(WatchFinding.SLOW)
    return found


def _verdict(watched: Watched, findings: tuple[WatchFinding, ...]) -> str:
    if findings:
        return "; ".join(WORDS[one] for one in findings)
    if watched.silence:
        return f"nothing is off that can be told; {watched.silence}"
    drifts = (*watched.features, *([watched.scores] if watched.scores is not None else []))
    unknown = [one.name for one in drifts if one.verdict is Drifted.UNKNOWN]
    is_open = watched.calibration is not None and watched.calibration.verdict is Calibrated.UNKNOWN
    if unknown or is_open:
        open_questions = [f"{len(unknown)} of {len(drifts)} columns"] * bool(unknown) + ["calibration"] * is_open
        return f"nothing is off that can be told; too few decisions for {' and '.join(open_questions)}"
    if watched.calibration is None:
        return f"columns and scores are as they were in training; what came true of {watched.term} is not in the log"
    return "nothing to report: columns, scores and calibration are as they were in training"


def _seen(
    version: str,
    stage: ModelStage,
    decisions: pa.Table,
    outcomes: pa.Table,
    plan: Plan,
    earlier_plans: Sequence[Plan],
    *,
    window_us: int,
    term: ValueTerm,
) -> _Seen:
    plans: dict[str, Plan] = {each.version: each for each in (*earlier_plans, plan)}
    left_out, reported = Counter[str](), Reported.of(outcomes)
    table = decisions.take(np.argsort(times(decisions, "decided_at"), kind="stable"))
    newest_us = max(
        (int(of.max()) for of in (times(table, "decided_at"), times(outcomes, "time")) if len(of)), default=0
    )
    scores = scores_of(version, table, term=term, is_shadow=stage is ModelStage.SHADOW)
    names = feature_schema(plan).names_for(term)

    def keep(mask: NDArray[np.bool_], reason: str) -> None:
        nonlocal table, scores
        if reason:
            left_out[reason] += int((~mask).sum())
        table, scores = table.filter(pa.array(mask)), scores[mask]

    # Those of other versions are nothing that was left out.
    keep(_is_of(version, stage, table, term), "")
    keep(text(table, "action_id") != "", "nothing_chosen")
    keep(~np.isnan(scores), "not_scored")
    keep(~flags(table, "withheld"), "withheld")
    keep(text(table, "feature_schema_hash") == schema_hash(plan), "other_schema")
    keep(np.isin(text(table, "playbook_version"), list(plans)), "unknown_playbook")
    keep(first_of_each(text(table, "action_id")), "repeated_action")
    keep(was_shown(table, reported, plans), "not_shown")
    decided_us = times(table, "decided_at")
    ends_us = decided_us + np.minimum(validity_us(table, plans), window_us)
    _, units = np.unique(text(table, "household"), return_inverse=True)
    return _Seen(
        rows=decision_rows(table, plans, plan)[:, : len(names)]
        if table.num_rows
        else np.empty((0, len(names)), np.float32),
        scores=scores.astype(np.float32),
        units=np.asarray(units, np.intp),
        decided_us=decided_us,
        accepted=reported.was_accepted(table, ends_us),
        is_known=ends_us <= newest_us,
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def _is_of(version: str, stage: ModelStage, table: pa.Table, term: ValueTerm) -> NDArray[np.bool_]:
    """Return (n,) which decisions a version scored, as what decided or as a shadow."""
    if stage is not ModelStage.SHADOW:
        by = decided_by(table, term)
        return np.asarray((by.version == version) & ~by.degraded)
    return np.asarray(~np.isnan(scores_of(version, table, term=term, is_shadow=True)))


def degraded_of(
    version: str, decisions: pa.Table, history: Sequence[Change], *, term: ValueTerm = ValueTerm.ACCEPTANCE
) -> Degraded:
    """Return how often a version was to decide, and how often something worse did.

    Which version was to decide is what the registry's history says of that time, and of that household.
    """
    by = decided_by(decisions, term)
    scored = int(((by.version == version) & ~by.degraded).sum())
    worse = decisions.filter(pa.array(by.degraded))
    wanted = to_decide(history, times(worse, "decided_at"), text(worse, "household"))
    degraded = int((wanted == version).sum())
    return Degraded(decisions=scored + degraded, degraded=degraded)


def to_decide(history: Sequence[Change], times_us: NDArray[np.int64], households: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return (n,) the version that was to decide for each household at each time, by the history; empty for the priors.

    >>> def change(day: int, champion: str, before: str, how: str, version: str = "", share: str = "") -> Change:
    ...     time = f"2026-11-0{day}T00:00:00+00:00"
    ...     return Change(time=time, champion=champion, before=before, how=how, version=version, share=share)
    >>> history = [change(1, "a", "", "promoted"), change(2, "a", "a", "canary", "b", "1.0")]
    >>> history += [change(3, "a", "a", "rolled back", "b")]
    >>> day_us = 86_400_000_000
    >>> first_us = 1_793_491_200_000_000
    >>> to_decide(history, first_us + day_us * np.array([-1, 0, 1, 2]), np.array(["h"] * 4)).tolist()
    ['', 'a', 'b', 'a']
    """
    steps, champion, canary, share = [(-(2**62), "", "", 0.0)], "", "", 0.0
    for change in history:
        champion = change.champion
        if change.how == ON_TRIAL:
            canary, share = change.subject, _number(change.share)
        elif change.subject == canary and change.how in (PROMOTED, FORCED, ROLLED_BACK, RETIRED):
            canary, share = "", 0.0
        steps.append((_us(change.time), champion, canary, share))
    place = np.searchsorted(np.array([step[0] for step in steps]), times_us, side="right") - 1
    wanted = [
        canary if canary and is_in_canary(household.encode(), version=canary, share=share) else champion
        for household, (_, champion, canary, share) in zip(
            households.tolist(), (steps[at] for at in place.tolist()), strict=True
        )
    ]
    return np.array(wanted, np.str_)


def _number(share: str) -> float:
    try:
        return float(share)
    except ValueError:
        return 0.0


def _us(time: str) -> int:
    try:
        return round(datetime.fromisoformat(time).timestamp() * 1e6)
    except ValueError:
        return -(2**62)
