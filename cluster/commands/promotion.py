"""`hearth models promote|show|compare`: which version of the model is champion, why, and what was before.

A version comes into force only if it loads, is of the playbook's feature schema, and has proved better than what is in
force on decisions that neither has seen; being told `--force` replaces the last of these, and no other.
"""

import os
import pwd
from dataclasses import asdict
from pathlib import Path

from cluster.commands.model_names import gives, in_one_line, model_named, only_acceptance, term_named
from cluster.commands.models import LearnedFrom, aliases_refused, plain, read_log, read_plans
from cluster.commands.training_terms import BETTER, WHY
from cluster.config import HearthConfig, utc_now
from cluster.errors import CommandFailed, UsageWrong
from cluster.exporting import log_reader
from cluster.output import print_json, say
from cluster.playbook_in_force import playbook_in_force
from household.plan import Plan, ValueTerm
from household.scoring import feature_schema
from serving.models.bundle import Bundle, BundleRefused, Manifest, checked_name, load_bundle, read_manifest
from serving.models.comparison import PRIOR, Comparison, Contender, Verdict, compare, of_bundle, of_priors
from serving.models.examples import NotEnoughData, TrainingConfig, gather
from serving.models.history import By, Change, last_stage, read_history
from serving.models.in_force import ModelStage
from serving.models.registry import Aliases, list_versions, read_aliases, read_stages
from serving.models.rollout import StageRefused, promote, refusal_of
from serving.models.tables import BadExport


def promote_version(
    config: HearthConfig, version: str, *, is_forced: bool, why: str, as_json: bool, name: str = ""
) -> int:
    """Make a version champion, if it is better or the caller insists."""
    plan = plan_of(config)
    name = model_named(plan, name)
    folder = folder_of(config, version, name)
    before = _champion(config, name)
    if before == folder.name:
        _tell_champion(folder.name, before=folder.name, comparison=None, as_json=as_json)
        return 0
    if gives(folder) is not ValueTerm.ACCEPTANCE:
        if refusal := promote_term(config, plan, folder, is_forced=is_forced, why=why):
            raise CommandFailed(refusal)
        _tell_champion(folder.name, before=before, comparison=None, as_json=as_json)
        return 0
    learned_from = None if is_forced else read_log(config, log_reader(config))
    comparison, refusal = promote_if_better(config, plan, folder, learned_from, is_forced=is_forced, why=why)
    if refusal:
        raise CommandFailed(f"{refusal}; --force promotes it nonetheless")
    _tell_champion(folder.name, before=before, comparison=comparison, as_json=as_json)
    return 0


def show(config: HearthConfig, version: str, *, as_json: bool, name: str = "") -> int:
    """Print all there is to know of a version."""
    plan = plan_of(config)
    name = model_named(plan, name)
    folder = folder_of(config, version, name)
    manifest = _manifest(folder)
    aliases = sorted(alias for alias, points_at in _aliases(config, name).items() if points_at == folder.name)
    refused = ""
    try:
        load(config, plan, folder)
    except CommandFailed as wrong:
        refused = str(wrong)
    changes, stages = history_of(config, name), stages_of(config, name)
    history = [asdict(one) for one in changes if folder.name in (one.champion, one.before, one.version)]
    stage = stages.stage_of(folder.name) or last_stage(changes, folder.name)
    share = stages.share if stage is ModelStage.CANARY else None
    if as_json:
        told = {
            "version": folder.name,
            "model": name,
            "term": manifest.term,
            "aliases": aliases,
            "stage": str(stage),
            "share": share,
            "path": str(folder),
            "created": manifest.created,
            "playbook_version": manifest.playbook_version,
            "feature_schema_hash": manifest.feature_schema_hash,
            "columns": list(manifest.columns),
            "training": plain(dict(manifest.training)),
            "history": history,
            "refused": refused or None,
        }
        print_json(told)
        return 0
    called = f" ({', '.join(aliases)})" if aliases else ""
    print(f"model {folder.name}{called} in {folder}")
    if manifest.term != ValueTerm.ACCEPTANCE:
        print(f"  gives {manifest.term}")
    print(f"  {stage}{f' for {share * 100:g} % of the households' if share is not None else ''}")
    print(f"  made {manifest.created} for playbook {manifest.playbook_version}")
    print(f"  {len(manifest.columns)} columns of feature schema {manifest.feature_schema_hash}")
    print(f"  can be served: {f'no, {refused}' if refused else 'yes'}")
    for fact, value in manifest.training.items():
        if fact not in ("calibration", "reference"):
            print(f"  {in_one_line(fact)}: {in_one_line(value)}")
    for change in history:
        print(f"  {change_text(change)}")
    return 0


def change_text(change: dict[str, str]) -> str:
    """Return a change of the registry for people."""
    if change["before"] != change["champion"]:
        what = f": {change['before'] or PRIOR} -> {change['champion'] or PRIOR}"
    else:
        what = f" for {float(change['share']) * 100:g} % of the households" if change["share"] else ""
    who = f" by {change['who']}" if change["who"] else ""
    why = f": {change['why']}" if change["why"] else ""
    return f"{change['time']} {change['how']}{what}{who}{why}"


def compare_versions(
    config: HearthConfig, candidate: str, incumbent: str | None, *, on: Path | None, as_json: bool, name: str = ""
) -> int:
    """Print how a version does against another, the champion if none is named; `prior` names the playbook's priors.

    Args:
        on: a labelled set that neither has seen; None for the decisions of the log.
    """
    from cluster.commands.comparing_on import compare_on, labelled

    plan = plan_of(config)
    name = model_named(plan, name)
    folder = folder_of(config, candidate, name)
    if on is None:
        only_acceptance(folder, "compared on the decisions of the log", "--on FILE names a set that neither has seen")
    if on is not None and (term := gives(folder)) is not ValueTerm.ACCEPTANCE:
        other = _champion(config, name) if incumbent is None else incumbent
        against = folder_of(config, other, name) if other and other != PRIOR else None
        _tell_comparison(compare_on(config, plan, on, term=term, candidate=folder, incumbent=against), as_json=as_json)
        return 0
    ours = of_bundle(load(config, plan, folder))
    if incumbent is None:
        theirs = in_force(config, plan, name)
    elif incumbent == PRIOR:
        theirs = of_priors(plan)
    else:
        theirs = of_bundle(load(config, plan, folder_of(config, incumbent, name)))
    if on is not None:
        comparison = compare(labelled(plan, on), candidate=ours, incumbent=theirs)
    else:
        comparison = compared(plan, read_log(config, log_reader(config)), ours, theirs)
    _tell_comparison(comparison, as_json=as_json)
    return 0


def _tell_comparison(comparison: Comparison, *, as_json: bool) -> None:
    if as_json:
        print_json(_comparison_json(comparison))
    else:
        print(f"{comparison.candidate} against {comparison.incumbent}: {comparison.verdict.value}")
        print(f"  {comparison.why}")


def contender(config: HearthConfig, version: str) -> tuple[Plan, Contender]:
    """Return the playbook in force and a version, an alias, or the priors, as they would score under it.

    Raises:
        CommandFailed: the version is not known, or cannot be served.
    """
    plan = plan_of(config)
    if version == PRIOR:
        return plan, of_priors(plan)
    folder = folder_of(config, version, plan.models.acceptance)
    only_acceptance(folder, "a policy by itself", "name a version of the model of acceptance")
    return plan, of_bundle(load(config, plan, folder))


def plans_known(config: HearthConfig) -> list[Plan]:
    """Return the plans that the log of the data directory holds; none where there is no log."""
    try:
        read = log_reader(config)
    except CommandFailed:
        return []
    return read_plans(config, read)


def promote_if_better(
    config: HearthConfig,
    plan: Plan,
    folder: Path,
    learned_from: LearnedFrom | None,
    *,
    is_forced: bool,
    why: str = "",
) -> tuple[dict[str, object] | None, str]:
    """Make a version champion if it is better than what is in force; return the comparison, and why it was refused.

    Args:
        learned_from: what the log holds; None only where `is_forced`, which compares nothing.

    Raises:
        CommandFailed: the version must not be served at all, or its registry is broken.
    """
    bundle, name = load(config, plan, folder), folder.parent.name
    comparison, compared_with = None, None
    if not is_forced:
        assert learned_from is not None, "only what is forced is not compared"
        compared_with = _champion(config, name)
        comparison = compared(plan, learned_from, of_bundle(bundle), in_force(config, plan, name))
        if refusal := refusal_of(comparison):
            return _comparison_json(comparison), refusal
    by = by_us(why or (comparison.why if comparison is not None else ""))
    _made_champion(config, folder, by=by, is_forced=is_forced, compared_with=compared_with)
    return _comparison_json(comparison) if comparison is not None else None, ""


def promote_term(config: HearthConfig, plan: Plan, folder: Path, *, is_forced: bool, why: str) -> str:
    """Make a version of another term champion, if its held-out rows say that it is good; return why it was refused.

    Raises:
        CommandFailed: the version must not be served at all, or its registry is broken.
    """
    manifest = load(config, plan, folder).manifest
    if not is_forced and manifest.training.get(BETTER) is not True:
        judged = manifest.training.get(WHY, "nothing tells how good it is")
        return f"model {folder.name} is not promoted: {judged}; --force promotes it nonetheless"
    _made_champion(config, folder, by=by_us(why or str(manifest.training.get(WHY, ""))), is_forced=is_forced)
    return ""


def _made_champion(
    config: HearthConfig, folder: Path, *, by: By, is_forced: bool, compared_with: str | None = None
) -> None:
    name = folder.parent.name
    try:
        promote(config.model_path, name, folder.name, by=by, is_forced=is_forced, compared_with=compared_with)
    except StageRefused as refused:
        raise CommandFailed(f"not promoted: {refused}") from refused
    except BundleRefused as wrong:
        raise CommandFailed(aliases_refused(wrong)) from wrong


def compared(plan: Plan, learned_from: LearnedFrom, ours: Contender, theirs: Contender) -> Comparison:
    """Return how one does against another on the decisions of the log that neither has seen."""
    decisions, outcomes, plans = learned_from
    try:
        examples = gather(
            decisions,
            outcomes,
            plan,
            earlier_plans=plans,
            # What is enough is for the comparison to say.
            config=TrainingConfig(rows_min=4, positives_min=3),
        )
    except NotEnoughData as short:
        return Comparison(
            candidate=ours.version,
            incumbent=theirs.version,
            verdict=Verdict.TOO_LITTLE,
            why=str(short),
            seen_to_us=None,
            rows=0,
            positives=0,
            households=0,
        )
    except BadExport as wrong:
        raise CommandFailed(f"the log cannot be compared on: {wrong}") from wrong
    return compare(examples, candidate=ours, incumbent=theirs)


def in_force(config: HearthConfig, plan: Plan, name: str) -> Contender:
    """Return what scores acceptance now: the champion of that name, or the priors where none can be served."""
    champion = _champion(config, name)
    if not champion:
        return of_priors(plan)
    try:
        return of_bundle(load(config, plan, config.model_path / name / champion))
    except CommandFailed as wrong:
        say(f"the champion {champion} cannot score ({wrong}), so the playbook's priors are compared with")
        return of_priors(plan)


def load(config: HearthConfig, plan: Plan, folder: Path) -> Bundle:
    """Return a version that can be served under a playbook; a CommandFailed says why one cannot."""
    schema, wanted = feature_schema(plan), term_named(plan, folder.parent.name)
    try:
        columns = schema.names_for(ValueTerm(read_manifest(folder).term))
        term = wanted.value if wanted is not None else None
        return load_bundle(folder, feature_schema_hash=schema.hash, columns=columns, term=term)
    except BundleRefused as refused:
        raise CommandFailed(f"model {folder.name} cannot be served: {refused}") from refused


def plan_of(config: HearthConfig) -> Plan:
    """Return the plan of the playbook in force."""
    return playbook_in_force(config).plan


def folder_of(config: HearthConfig, version: str, name: str) -> Path:
    """Return the folder of a version, or of what an alias points at.

    Raises:
        CommandFailed: neither is known; says what is.
    """
    try:
        folder = config.model_path / checked_name(name)
    except ValueError as wrong:
        raise UsageWrong(f"--model {wrong}") from wrong
    aliases = _aliases(config, name)
    wanted = aliases.get(version, version)
    known = list_versions(config.model_path, name) if folder.is_dir() else []
    if wanted not in known:
        alias = f" (the alias {version})" if version in aliases else ""
        there_are = f"there are {', '.join(known)}" if known else "there are none; `hearth models train` makes one"
        raise CommandFailed(f"no version {wanted!r}{alias} in {folder}: {there_are}")
    return folder / wanted


def _manifest(folder: Path) -> Manifest:
    try:
        return read_manifest(folder)
    except BundleRefused as refused:
        raise CommandFailed(f"model {folder.name} cannot be shown: {refused}") from refused


def _aliases(config: HearthConfig, name: str) -> dict[str, str]:
    try:
        return read_aliases(config.model_path, name)
    except BundleRefused as broken:
        raise CommandFailed(aliases_refused(broken)) from broken


def stages_of(config: HearthConfig, name: str) -> Aliases:
    """Return what is in service as what.

    Raises:
        CommandFailed: the registry's file is broken.
    """
    try:
        return read_stages(config.model_path, name)
    except BundleRefused as broken:
        raise CommandFailed(aliases_refused(broken)) from broken


def _champion(config: HearthConfig, name: str) -> str:
    return stages_of(config, name).champion


def history_of(config: HearthConfig, name: str) -> list[Change]:
    """Return every change of the registry, oldest first; a CommandFailed says that the file is broken."""
    try:
        return read_history(config.model_path, name)
    except BundleRefused as broken:
        raise CommandFailed(f"what was champion before cannot be told: {broken}; mend the file, or move it away") from (
            broken
        )


def _tell_champion(version: str, *, before: str, comparison: dict[str, object] | None, as_json: bool) -> None:
    if as_json:
        print_json({"champion": version, "before": before or None, "comparison": comparison})
    elif before == version:
        print(f"{version} is champion already")
    else:
        print(f"{version} is champion now; before it was {before or 'none: the priors of the playbook'}")
        if comparison is not None:
            print(f"  {comparison['why']}")


def _comparison_json(comparison: Comparison) -> dict[str, object]:
    made = plain(asdict(comparison))
    assert isinstance(made, dict)
    return made


def by_us(why: str = "") -> By:
    """Return who changes the registry here and now: the account this process runs under."""
    try:
        who = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        who = f"uid {os.getuid()}"
    return By(time=utc_now().isoformat(timespec="seconds"), who=who, why=why)
