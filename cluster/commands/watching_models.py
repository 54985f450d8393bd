"""`hearth models watch`: how the versions in service do, held against what they were trained on."""

from dataclasses import asdict
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from prometheus_client.parser import text_string_to_metric_families

from cluster.commands.model_names import model_named
from cluster.commands.models import LearnedFrom, plain, read_log
from cluster.commands.promotion import folder_of, history_of, plan_of, stages_of
from cluster.config import HearthConfig, utc_now
from cluster.data_dir import find_running, read_status
from cluster.errors import CommandFailed
from cluster.exporting import log_reader
from cluster.output import print_json, say
from cluster.scrape import quantile, scrape
from household.plan import ValueTerm
from serving.models.bundle import BundleRefused, read_manifest
from serving.models.calibration import Calibrated, ScoreCalibration
from serving.models.drift import Drift, Drifted
from serving.models.examples import TrainingConfig
from serving.models.findings import Note, write_notes
from serving.models.history import last_stage
from serving.models.in_force import ModelStage
from serving.models.reference import from_plain
from serving.models.registry import Aliases
from serving.models.tables import BadExport, times
from serving.models.watch import Latency, Watched, watch

US_PER_DAY = 86_400_000_000
SCORED_IN = "hearth_model_score_duration_seconds"
SHOWN_MAX = 5
"""Columns that are shown although they have not moved."""


def watch_versions(config: HearthConfig, versions: list[str], *, days: float, as_json: bool, name: str = "") -> int:
    """Print how versions do, of all models those in service if none is named; 1 where something is off."""
    plan = plan_of(config)
    names = [model_named(plan, name)] if name or versions else [one for _, one in plan.models.named]
    folders = [
        folder_of(config, version, one) for one in names for version in versions or _in_service(stages_of(config, one))
    ]
    if not folders:
        say("no model is in service, so there is none to watch; the playbook's priors score")
        if as_json:
            print_json({"versions": []})
        return 0
    decisions, outcomes, plans = _lately(read_log(config, log_reader(config)), days)
    latencies = _latencies(config)
    found: list[tuple[str, Watched]] = []
    for folder in folders:
        stages, history = stages_of(config, folder.parent.name), history_of(config, folder.parent.name)
        try:
            manifest = read_manifest(folder)
        except BundleRefused as refused:
            raise CommandFailed(f"model {folder.name} cannot be watched: {refused}") from refused
        try:
            one = watch(
                folder.name,
                stages.stage_of(folder.name) or last_stage(history, folder.name),
                from_plain(manifest.training.get("reference")),
                manifest.training,
                decisions=decisions,
                outcomes=outcomes,
                plan=plan,
                earlier_plans=plans,
                history=history,
                window_us=TrainingConfig().window_us,
                # Counted of the versions of acceptance alone.
                latency=latencies.get(folder.name) if manifest.term == ValueTerm.ACCEPTANCE else None,
                term=ValueTerm(manifest.term),
            )
        except BadExport as wrong:
            raise CommandFailed(f"the log cannot be watched: {wrong}") from wrong
        found.append((folder.parent.name, one))
    for name in dict.fromkeys(name for name, _ in found):
        _note(config, name, [one for of, one in found if of == name])
    if as_json:
        print_json({"versions": [{"model": name, **_json(one)} for name, one in found]})
    else:
        for name, one in found:
            _print(name, one)
    return 1 if any(one.findings for _, one in found) else 0


def _in_service(stages: Aliases) -> list[str]:
    return [one for one in (stages.champion, stages.canary, *stages.shadows) if one]


def _lately(learned_from: LearnedFrom, days: float) -> LearnedFrom:
    """Return the decisions of the newest days of a log."""
    decisions, outcomes, plans = learned_from
    if not decisions.num_rows:
        return learned_from
    decided_us = times(decisions, "decided_at")
    is_late = decided_us > decided_us.max() - round(days * US_PER_DAY)
    return decisions.filter(pa.array(is_late)), outcomes, plans


def _latencies(config: HearthConfig) -> dict[str, Latency]:
    """Return how long scores of each version take, as the Hearth on the data directory counts; nothing if none does."""
    status = read_status(config.data_dir) if find_running(config.data_dir) is not None else None
    address = (status or {}).get("metrics_address")
    page = scrape(address) if address else None
    return latencies_of(page.text) if page is not None else {}


def latencies_of(page: str) -> dict[str, Latency]:
    """Return how long scores of each version took, from a page of numbers."""
    buckets: dict[str, dict[float, float]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == f"{SCORED_IN}_bucket":
                of = buckets.setdefault(sample.labels.get("hearth_model_version", ""), {})
                bound = float(sample.labels["le"])
                of[bound] = of.get(bound, 0.0) + sample.value
    latencies = {}
    for version, of in buckets.items():
        half, most = (quantile(share, of) for share in (0.5, 0.99))
        latencies[version] = Latency(
            decisions=round(max(of.values(), default=0.0)),
            p50_ms=half * 1_000 if half is not None and np.isfinite(half) else None,
            p99_ms=most * 1_000 if most is not None and np.isfinite(most) else None,
        )
    return latencies


def _note(config: HearthConfig, name: str, found: list[Watched]) -> None:
    """Leave what was found to a running Hearth, for its metrics."""
    at = utc_now().isoformat(timespec="seconds")
    notes = [Note(version=one.version, at=at, findings=one.findings, verdict=one.verdict) for one in found]
    try:
        write_notes(config.model_path, name, notes)
    except OSError as failed:
        say(f"warning: what was found is not noted in {config.model_path} ({failed.strerror}), so no metric shows it")


def _json(one: Watched) -> dict[str, object]:
    told = plain(asdict(one))
    assert isinstance(told, dict)
    return told | {"degraded": {**told["degraded"], "share": one.degraded.share}}


def _print(name: str, one: Watched) -> None:
    whose = "" if one.term is ValueTerm.ACCEPTANCE else f" of {name}, which gives {one.term}"
    print(f"model {one.version}{whose} ({one.stage}): {one.verdict}")
    if one.from_us is not None and one.to_us is not None:
        span = f"{_day(one.from_us)} to {_day(one.to_us)}"
        print(f"  {one.decisions:,} decisions of {one.households:,} households, {span}")
    else:
        whose = "no decision records its scores" if one.stage is ModelStage.SHADOW else "it has decided nothing"
        print(f"  {whose} in this time")
    if one.left_out:
        print("  left out: " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(one.left_out.items())))
    if one.silence:
        print(f"  drift: {one.silence}")
    else:
        _print_drift(one)
    if one.calibration is not None:
        print(f"  calibration: {_calibration(one.calibration)}")
    if one.auc is not None:
        trained = f", {one.trained_auc:.3f} in its report" if one.trained_auc is not None else ""
        print(f"  AUC {one.auc:.3f}{trained}")
    if one.degraded.decisions:
        print(
            f"  degraded: {one.degraded.degraded:,} of {one.degraded.decisions:,} decisions ({one.degraded.share:.2%})"
        )
    if one.latency is not None and one.latency.p50_ms is not None:
        most = f"{one.latency.p99_ms:g} ms" if one.latency.p99_ms is not None else "more than is counted"
        print(f"  scores came within {one.latency.p50_ms:g} ms in half, {most} in 99 of 100 of its decisions")


def _print_drift(one: Watched) -> None:
    moved = [each for each in one.features if each.verdict is Drifted.MOVED]
    steady = sum(each.verdict is Drifted.STEADY for each in one.features)
    unknown = len(one.features) - len(moved) - steady
    print(f"  columns: {len(moved)} moved, {steady} steady, {unknown} cannot be told")
    for each in moved or one.features[:SHOWN_MAX]:
        print(f"    {_drift(each)}")
    if one.scores is not None:
        print(f"  scores: {_drift(one.scores)}")


def _drift(one: Drift) -> str:
    return f"{one.name}: {one.verdict.value}, PSI {one.psi:.3f} ({one.low:.3f} to {one.high:.3f}); {one.what}"


def _calibration(found: ScoreCalibration) -> str:
    if found.ratio is None or found.ratio_interval is None:
        return f"too few outcomes: {found.accepted:,} of {found.rows:,} accepted, {found.households:,} households"
    low, high = found.ratio_interval
    words = {Calibrated.RIGHT: "right", Calibrated.UNKNOWN: Calibrated.UNKNOWN.value}
    verdict = words.get(found.verdict, f"scores are {found.verdict.value}")
    return (
        f"{verdict}: {found.predicted:.4f} predicted, {found.observed:.4f} accepted, "
        f"ratio {found.ratio:.2f} ({low:.2f} to {high:.2f})"
    )


def _day(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
