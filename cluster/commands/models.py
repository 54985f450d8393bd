"""`hearth models train|list`: learn an acceptance model from what was decided and what became of it."""

from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from actors.reading import ReadLogs
from cluster.commands.up import check_playbook
from cluster.config import HearthConfig, utc_now
from cluster.errors import CommandFailed
from cluster.exporting import fitted, log_reader
from cluster.output import meter, print_json, say
from household.plan import Plan
from playbooks.compiler import compile_playbook

MODEL_NAME = "acceptance"
"""The one model there is so far: P(accept)."""

OUTCOME_SCHEMA = pa.schema([("type", pa.string()), ("time_us", pa.int64()), ("action_id", pa.string())])
"""What training reads of a report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enough:
    """How much there must be to learn from."""

    decisions: int
    accepted: int


def train(config: HearthConfig, *, seed: int, enough: Enough, is_promoted: bool, as_json: bool) -> int:
    """Train on all that the data directory holds, save the version, make it champion if asked."""
    # XGBoost takes a second to import: only the commands that need it pay.
    from serving.bundle import CHAMPION, BundleExists, BundleRefused, save_bundle, set_alias
    from serving.training import BadExport, NotEnoughData, TrainingConfig
    from serving.training import train as train_model

    read = log_reader(config)
    check_playbook(config)
    plan = compile_playbook(config.playbook_path)
    decisions, outcomes, plans = _read(config, read)
    if not decisions.num_rows:
        raise CommandFailed("the log holds no decisions yet, so there is nothing to learn from")
    say(f"learning from {decisions.num_rows:,} decisions ...")
    try:
        learning = TrainingConfig(rows_min=enough.decisions, positives_min=enough.accepted)
        draft = train_model(decisions, outcomes, plan, seed=seed, earlier_plans=plans, config=learning)
        folder = save_bundle(config.model_path, MODEL_NAME, draft, created=utc_now().isoformat(timespec="seconds"))
    except NotEnoughData as short:
        raise CommandFailed(
            f"there is too little to learn from yet: {short}; the playbook's priors stay in force"
        ) from short
    except BundleExists as exists:
        raise CommandFailed(
            f"this very model is in the registry already: {exists}; `hearth models list` shows it"
        ) from exists
    except (BadExport, BundleRefused) as wrong:
        raise CommandFailed(f"training failed: {wrong}") from wrong
    if is_promoted:
        set_alias(config.model_path, MODEL_NAME, CHAMPION, folder.name)
    facts = asdict(draft.training)
    if as_json:
        print_json({"version": folder.name, "path": str(folder), "champion": is_promoted, "training": _plain(facts)})
    else:
        _print_trained(folder, facts, is_promoted=is_promoted)
    return 0


def list_models(config: HearthConfig, *, as_json: bool) -> int:
    """Print the versions in the registry, oldest first."""
    from serving.bundle import BundleRefused, list_versions, read_aliases, read_manifest

    registry = config.model_path
    aliases = read_aliases(registry, MODEL_NAME) if (registry / MODEL_NAME).is_dir() else {}
    versions: list[dict[str, object]] = []
    for version in list_versions(registry, MODEL_NAME) if (registry / MODEL_NAME).is_dir() else []:
        names = sorted(alias for alias, points_at in aliases.items() if points_at == version)
        entry: dict[str, object] = {"version": version, "aliases": names}
        try:
            manifest = read_manifest(registry / MODEL_NAME / version)
            entry |= {"created": manifest.created, "playbook_version": manifest.playbook_version}
            entry |= {key: manifest.training.get(key) for key in ("rows", "positives", "auc", "prior_auc")}
        except BundleRefused as refused:
            entry["refused"] = str(refused)
        versions.append(entry)
    if as_json:
        print_json({"registry": str(registry), "name": MODEL_NAME, "versions": versions})
    elif not versions:
        print(f"no model in {registry} yet; `hearth models train` makes one")
    else:
        for entry in versions:
            print("  ".join(f"{key}={_short(value)}" for key, value in entry.items() if value not in (None, [])))
    return 0


def _read(config: HearthConfig, read: ReadLogs) -> tuple[pa.Table, pa.Table, list[Plan]]:
    """Return decisions, their outcomes, and the plans they were made under."""
    from actors.codec import PayloadUnreadable
    from actors.export import DECISION_SCHEMA, export_plans, export_table
    from actors.log import LogError
    from actors.snapshot import snapshot_store

    try:
        with meter("reading the log", unit="rows") as show:
            decisions = pa.concat_tables([DECISION_SCHEMA.empty_table(), *export_table(read, "decisions")])
            outcomes, rows = [OUTCOME_SCHEMA.empty_table()], 0
            for table in export_table(read, "signals"):
                rows += table.num_rows
                show(rows, None, f"{rows:,} signals")
                outcomes.append(_outcomes(table))
            plans = export_plans(read, snapshot_store(config.snapshot_location))
            return decisions, pa.concat_tables(outcomes), list(plans.values())
    except (LogError, PayloadUnreadable, OSError) as failed:
        raise CommandFailed(f"the log cannot be read: {failed}") from failed


def _outcomes(table: pa.Table) -> pa.Table:
    """Return the reports among signals; nothing else is learned from, so nothing else is held."""
    return fitted(table.filter(pc.starts_with(table.column("type"), "hearth.")), OUTCOME_SCHEMA)


def _print_trained(folder: Path, facts: dict[str, object], *, is_promoted: bool) -> None:
    print(f"model {folder.name} in {folder}")
    print(f"  learned from {facts['rows']:,} decisions, {facts['positives']:,} of them accepted")
    held_out, prior = facts["holdout_rows"], facts["prior_auc"]
    print(f"  AUC {facts['auc']:.3f} on the newest {held_out:,} (the playbook's priors: {prior:.3f})")
    if is_promoted:
        print("  it is champion now")
    else:
        print("  it is not in force; `--promote` makes it champion")


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _plain(value: object) -> object:
    match value:
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case float() if value != value:
            return None
        case _:
            return value
