"""`hearth models train|list`: learn an acceptance model from what was decided and what became of it."""

import tempfile
from dataclasses import asdict, dataclass, replace
from enum import Enum
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from actors.log.reading import ReadLogs
from cluster.commands.model_names import model_asked, refuse_other_term
from cluster.config import HearthConfig, utc_now
from cluster.errors import CommandFailed, UsageWrong
from cluster.exporting import log_reader
from cluster.output import meter, print_json, say
from cluster.playbook_in_force import playbook_in_force
from household.plan import Plan, PlanUnreadable, ValueTerm

if TYPE_CHECKING:
    from cluster.commands.training_from import How
    from serving.models.bundle import BundleDraft
    from serving.models.examples import TrainingConfig

_TIME = pa.timestamp("us", tz="UTC")
OUTCOME_SCHEMA = pa.schema([("type", pa.string()), ("time", _TIME), ("recorded_at", _TIME), ("action_id", pa.string())])
"""What training reads of a report."""

IN_MEMORY_MAX = 400_000
"""Decisions that are learned from in memory: some gigabytes while they are read."""

NOT_LEARNED_FROM = ("candidates", "slate", "withdrawals", "reasons", "moments")
"""Columns of decisions that training does not read, and that would be most of what it holds."""


LearnedFrom: TypeAlias = tuple[pa.Table, pa.Table, list[Plan]]
"""Decisions, their outcomes, and the plans they were made under."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enough:
    """How much there must be to learn from."""

    decisions: int
    accepted: int


def train(
    config: HearthConfig,
    *,
    seed: int,
    enough: Enough,
    how: "How",
    is_promoted: bool,
    is_forced: bool,
    as_json: bool,
    name: str = "",
) -> int:
    """Train on all that the data directory holds, or on a training set; make it champion if asked and if it is better.

    Nothing is saved unless all of it went well.
    """
    # XGBoost takes a second to import: only the commands that need it pay.
    from serving.models.bundle import BundleExists, BundleRefused, TrainingFacts, save_bundle
    from serving.models.examples import NotEnoughData
    from serving.models.tables import BadExport

    if is_forced and not is_promoted:
        raise UsageWrong("--force goes with --promote: it has a model promoted that has not proved better")
    read = log_reader(config)
    plan = playbook_in_force(config).plan
    name = name or plan.models.acceptance
    refuse_other_term(plan, name, ValueTerm.ACCEPTANCE)
    _check_aliases(config, name)
    try:
        draft, learned_from = _learned(config, read, plan, seed=seed, enough=enough, how=how)
        folder = save_bundle(config.model_path, name, draft, created=utc_now().isoformat(timespec="seconds"))
    except NotEnoughData as short:
        raise CommandFailed(
            f"there is too little to learn from yet: {short}; the playbook's priors stay in force"
        ) from short
    except BundleExists as exists:
        raise CommandFailed(
            f"this very model is in the registry already: {exists}; `hearth models list` shows it, and "
            "`hearth models promote` puts it into force"
        ) from exists
    except (BadExport, BundleRefused) as wrong:
        raise CommandFailed(f"training failed: {wrong}") from wrong
    comparison, refusal = None, ""
    assert isinstance(draft.training, TrainingFacts), "it was trained here"
    note_registered(config, folder.name, why=f"trained on {draft.training.rows:,} decisions", name=name)
    if is_promoted:
        from cluster.commands.promotion import promote_if_better

        # What it was fitted to or stopped by is compared on by nobody.
        learned_from = learned_from or read_log(config, read, since_us=draft.training.seen_to_us)
        comparison, refusal = promote_if_better(config, plan, folder, learned_from, is_forced=is_forced)
    facts = asdict(draft.training)
    is_champion = is_promoted and not refusal
    if as_json:
        told: dict[str, object] = {"version": folder.name, "path": str(folder), "champion": is_champion}
        told["training"] = plain({name: value for name, value in facts.items() if name != "reference"})
        if comparison is not None:
            told["comparison"] = comparison
        if refusal:
            told["refused"] = refusal
        print_json(told)
    else:
        _print_trained(folder, facts, is_champion=is_champion, is_promoted=is_promoted)
    if refusal:
        say(f"{refusal}; `hearth models promote {folder.name} --force` puts it into force nonetheless")
    return 1 if refusal else 0


def _learned(
    config: HearthConfig, read: ReadLogs, plan: Plan, *, seed: int, enough: Enough, how: "How"
) -> "tuple[BundleDraft, LearnedFrom | None]":
    """Return a trained model, and what the log holds as far as that was read.

    Raises:
        CommandFailed: there is nothing to learn from, it leaks, or it was stopped.
        NotEnoughData, BadExport
    """
    from cluster.commands.leaks import refuse_leaks
    from cluster.commands.training_from import all_threads, train_on_disk
    from serving.models.examples import TrainingConfig
    from serving.models.leaks import LeaksFound
    from serving.models.training import train as train_model

    learning = TrainingConfig(
        rows_min=enough.decisions,
        positives_min=enough.accepted,
        thread_count=how.threads or (1 if how.source is None else all_threads()),
        allowed=how.vouched_for,
    )
    if how.source is not None:
        return train_on_disk(config, plan, how.source, seed=seed, learning=learning, device=how.device), None
    if (count := _decision_count(read)) > IN_MEMORY_MAX:
        say(f"learning from {count:,} decisions by way of a training set on disk ...")
        return _by_way_of_disk(config, plan, seed=seed, learning=learning, how=how), None
    if how.device != "cpu":
        raise UsageWrong(f"--device {how.device} goes with --from; write a training set with `hearth models dataset`")
    learned_from = read_log(config, read)
    decisions, outcomes, plans = learned_from
    if not decisions.num_rows:
        raise CommandFailed("the log holds no decisions yet, so there is nothing to learn from")
    say(f"learning from {decisions.num_rows:,} decisions ...")
    try:
        return train_model(decisions, outcomes, plan, seed=seed, earlier_plans=plans, config=learning), learned_from
    except LeaksFound as found:
        raise refuse_leaks(found.leaks) from found


def _decision_count(read: ReadLogs) -> int:
    from actors.log.contract import LogError, RecordKind

    try:
        return sum(stored.record.kind is RecordKind.DECISION for _, stored in read())
    except LogError as failed:
        raise CommandFailed(f"the log cannot be read: {failed}") from failed


def _by_way_of_disk(
    config: HearthConfig, plan: Plan, *, seed: int, learning: "TrainingConfig", how: "How"
) -> "BundleDraft":
    """Return a model of a log that is too long to be held: written as a training set first, which is removed then."""
    from cluster.commands.dataset import written_set
    from cluster.commands.training_from import all_threads, train_on_disk
    from serving.models.bundle import TrainingFacts

    config.model_path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".training-", dir=config.model_path) as folder:
        source = Path(folder) / "set"
        counts = written_set(config, plan, source)
        learning = replace(learning, thread_count=how.threads or all_threads())
        draft = train_on_disk(config, plan, source, seed=seed, learning=learning, device=how.device)
    facts = draft.training
    assert isinstance(facts, TrainingFacts), "it was trained here"
    left_out = {reason: count for reason, count in {**counts.left_out, **facts.left_out}.items() if count}
    return replace(draft, training=replace(facts, left_out=left_out))


def note_registered(config: HearthConfig, version: str, *, why: str, name: str) -> None:
    """Note in the history that a version is in the registry from now on."""
    from cluster.commands.promotion import by_us
    from serving.models.bundle import BundleRefused
    from serving.models.rollout import register

    try:
        register(config.model_path, name, version, by=by_us(why))
    except BundleRefused as broken:
        raise CommandFailed(f"model {version} is in the registry, and its history cannot be read: {broken}") from broken


def list_models(config: HearthConfig, *, as_json: bool, name: str = "") -> int:
    """Print the versions in the registry, oldest first."""
    from serving.models.bundle import BundleRefused, read_manifest
    from serving.models.history import Change, last_stage, read_history
    from serving.models.registry import Aliases, list_versions, read_aliases, read_stages

    name = model_asked(config, name)
    registry = config.model_path
    is_there = (registry / name).is_dir()
    aliases, stages, history, refused = {}, Aliases(), list[Change](), ""
    try:
        if is_there:
            aliases, stages = read_aliases(registry, name), read_stages(registry, name)
            history = read_history(registry, name)
    except BundleRefused as broken:
        refused = aliases_refused(broken)
    known = list_versions(registry, name) if is_there else []
    for alias, version in aliases.items():
        if version not in known:
            refused = f"{registry / name / 'aliases.json'}: {alias} is {version}, which is not in the registry"
    versions: list[dict[str, object]] = []
    for version in known:
        called = sorted(alias for alias, points_at in aliases.items() if points_at == version)
        entry: dict[str, object] = {"version": version, "aliases": called}
        entry["stage"] = str(stages.stage_of(version) or last_stage(history, version))
        if version == stages.canary:
            entry["share"] = stages.share
        try:
            manifest = read_manifest(registry / name / version)
            entry |= {"created": manifest.created, "playbook_version": manifest.playbook_version}
            entry |= {key: plain(manifest.training.get(key)) for key in ("rows", "positives", "auc", "prior_auc")}
        except BundleRefused as wrong:
            entry["refused"] = str(wrong)
        versions.append(entry)
    if as_json:
        told: dict[str, object] = {"registry": str(registry), "name": name, "versions": versions}
        print_json(told | ({"refused": refused} if refused else {}))
    elif not versions:
        no_data = "" if is_there or config.data_dir.is_dir() else f" (there is no data directory {config.data_dir})"
        print(f"no model in {registry / name} yet{no_data}; `hearth models train` makes one")
    else:
        for entry in versions:
            print("  ".join(f"{key}={_short(value)}" for key, value in entry.items() if value not in (None, [])))
    if others := sorted(one.parent.name for one in registry.glob("*/history.json") if one.parent.name != name):
        say(f"other models in {registry}: {', '.join(others)} (--model NAME)")
    if refused:
        raise CommandFailed(refused)
    return 0


def aliases_refused(broken: Exception) -> str:
    """Return what a command says when it cannot tell which version is champion."""
    return f"which version is champion cannot be told: {broken}; mend the file, or move it away and promote a version"


def _check_aliases(config: HearthConfig, name: str) -> None:
    """Learn that the registry is broken before a model is learned that could not be put into force."""
    from serving.models.bundle import BundleRefused
    from serving.models.registry import read_aliases

    try:
        read_aliases(config.model_path, name)
    except BundleRefused as broken:
        raise CommandFailed(aliases_refused(broken)) from broken


def read_log(
    config: HearthConfig, read: ReadLogs, *, is_whole: bool = False, since_us: int | None = None
) -> LearnedFrom:
    """Return decisions, their outcomes, and the plans they were made under.

    Args:
        config: where the log is.
        read: what reads it.
        is_whole: with the columns of decisions that training does not read.
        since_us: decisions that were made after that; None for all.

    Raises:
        CommandFailed: the log cannot be read.
    """
    from actors.exports.log_export import export_plans, export_table
    from actors.log.contract import LogError
    from actors.records.payload import PayloadUnreadable
    from actors.snapshots.store import snapshot_store

    try:
        with meter("reading the log", unit="rows") as show:
            snapshots = snapshot_store(config.snapshot_location)
            tables = export_table(read, "decisions", snapshots)
            unread = [] if is_whole else list(NOT_LEARNED_FROM)
            decisions = pa.concat_tables([_after(table.drop_columns(unread), since_us) for table in tables])
            outcomes, rows = [OUTCOME_SCHEMA.empty_table()], 0
            for table in export_table(read, "signals", snapshots):
                rows += table.num_rows
                show(rows, None, f"{rows:,} signals")
                outcomes.append(_outcomes(table))
            plans = export_plans(read, snapshots)
            return decisions, pa.concat_tables(outcomes), list(plans.values())
    except (LogError, PayloadUnreadable, PlanUnreadable, OSError) as failed:
        raise CommandFailed(f"the log cannot be read: {failed}") from failed


def _after(decisions: pa.Table, since_us: int | None) -> pa.Table:
    if since_us is None:
        return decisions
    return decisions.filter(pc.greater(decisions["decided_at"], pa.scalar(since_us, _TIME)))


def read_plans(config: HearthConfig, read: ReadLogs) -> list[Plan]:
    """Return the plans that decisions were made under.

    Raises:
        CommandFailed: the log cannot be read.
    """
    from actors.exports.log_export import export_plans
    from actors.log.contract import LogError
    from actors.records.payload import PayloadUnreadable
    from actors.snapshots.store import snapshot_store

    try:
        return list(export_plans(read, snapshot_store(config.snapshot_location)).values())
    except (LogError, PayloadUnreadable, PlanUnreadable, OSError) as failed:
        raise CommandFailed(f"the log cannot be read: {failed}") from failed


def _outcomes(table: pa.Table) -> pa.Table:
    """Return the reports among signals; nothing else is learned from, so nothing else is held."""
    reports = table.filter(pc.starts_with(table.column("type"), "hearth."))
    # A log without a single report has no column of action ids.
    columns = [
        reports.column(field.name) if field.name in table.column_names else pa.nulls(reports.num_rows, field.type)
        for field in OUTCOME_SCHEMA
    ]
    return pa.table(columns, schema=OUTCOME_SCHEMA)


def _print_trained(folder: Path, facts: dict[str, object], *, is_champion: bool, is_promoted: bool) -> None:
    print(f"model {folder.name} in {folder}")
    print(f"  learned from {facts['rows']:,} decisions, {facts['positives']:,} of them accepted")
    held_out, prior = facts["holdout_rows"], facts["prior_auc"]
    print(f"  AUC {facts['auc']:.3f} on the newest {held_out:,} (the playbook's priors: {prior:.3f})")
    if is_champion:
        print("  it is champion now")
    elif is_promoted:
        print("  it is saved, and not in force")
    else:
        print("  it is not in force; `--promote` makes it champion")


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def plain(value: object) -> object:
    """Return a value for JSON, which has no NaN and no enums."""
    match value:
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case float() if not isfinite(value):
            return None
        case Enum():
            return plain(value.value)
        case _:
            return value
