"""`hearth models shadow|canary|rollback|retire`: the steps of a version beside promotion, each refused with its reason.

A version comes into no stage that it cannot be served in, or that its registry's rule (`serving/models/rollout.py`)
forbids. Data may forbid a canary as well: one that has proved worse than what is in force.
"""

from cluster.commands.model_names import gives, model_asked, model_named
from cluster.commands.models import read_log
from cluster.commands.promotion import (
    by_us,
    compared,
    folder_of,
    history_of,
    in_force,
    load,
    plan_of,
    stages_of,
)
from cluster.config import HearthConfig
from cluster.errors import CommandFailed
from cluster.exporting import log_reader
from cluster.output import print_json, say
from household.plan import ValueTerm
from serving.models.bundle import BundleRefused
from serving.models.comparison import Verdict, of_bundle
from serving.models.history import NothingBefore, before_present
from serving.models.in_force import ModelStage
from serving.models.rollout import StageRefused, canary, retire, roll_back, shadow, to_roll_back


def shadow_version(config: HearthConfig, version: str, *, why: str, as_json: bool, name: str = "") -> int:
    """Have a version scored for every decision, and recorded with it; nothing is decided by it."""
    plan = plan_of(config)
    name = model_named(plan, name)
    folder = folder_of(config, version, name)
    load(config, plan, folder)
    try:
        is_new = shadow(config.model_path, name, folder.name, by=by_us(why))
    except (StageRefused, BundleRefused) as refused:
        raise CommandFailed(f"not in shadow: {refused}") from refused
    if as_json:
        print_json({"version": folder.name, "stage": ModelStage.SHADOW, "changed": is_new})
    elif is_new:
        print(f"{folder.name} is in shadow now: decisions record its scores, and nothing is decided by it")
    else:
        print(f"{folder.name} is in shadow already")
    return 0


def canary_version(
    config: HearthConfig,
    version: str,
    share: float,
    *,
    is_forced: bool,
    why: str,
    as_json: bool,
    name: str = "",
) -> int:
    """Have a version decide for a share of the households, unless it has proved worse than what is in force."""
    plan = plan_of(config)
    name = model_named(plan, name)
    folder = folder_of(config, version, name)
    bundle = load(config, plan, folder)
    if not is_forced and gives(folder) is ValueTerm.ACCEPTANCE:
        learned_from, incumbent = read_log(config, log_reader(config)), in_force(config, plan, name)
        comparison = compared(plan, learned_from, of_bundle(bundle), incumbent)
        if comparison.verdict is Verdict.WORSE:
            raise CommandFailed(
                f"no canary: model {folder.name} has proved worse than {comparison.incumbent}: {comparison.why}; "
                "--force makes it canary nonetheless"
            )
    try:
        is_new = canary(config.model_path, name, folder.name, share, by=by_us(why), is_forced=is_forced)
    except (StageRefused, BundleRefused) as refused:
        raise CommandFailed(f"no canary: {refused}") from refused
    if as_json:
        print_json({"version": folder.name, "stage": ModelStage.CANARY, "share": share, "changed": is_new})
    else:
        already = "now" if is_new else "already"
        print(f"{folder.name} is canary {already}: it decides for {share * 100:g} % of the households")
    return 0


def rollback(config: HearthConfig, version: str | None, *, why: str, as_json: bool, name: str = "") -> int:
    """Take back the canary, else the champion, or the version named."""
    name = model_asked(config, name)
    registry, stages = config.model_path, stages_of(config, name)
    named, before = folder_of(config, version, name).name if version is not None else "", ""
    try:
        back, stage = to_roll_back(stages, named)
        if stage is ModelStage.CHAMPION:
            before = before_present(history_of(config, name), stages.champion, retired=stages.retired)
        if before:
            load(config, plan_of(config), registry / name / before)
        # By its name: of two who are alarmed at once, the second must not take back what the first has returned to.
        change = roll_back(registry, name, back, by=by_us(why))
    except NothingBefore:
        raise CommandFailed(
            f"there is no champion before {stages.champion or 'the priors of the playbook'} to go back to; "
            "`hearth models list` shows the versions, and `hearth models promote` puts one into force"
        ) from None
    except (BundleRefused, StageRefused) as wrong:
        raise CommandFailed(f"not rolled back, {stages.champion or 'nothing'} stays champion: {wrong}") from wrong
    except CommandFailed as wrong:
        raise CommandFailed(
            f"not rolled back: {before} was champion before {stages.champion} and cannot be again: {wrong}; "
            "`hearth models promote` puts another into force"
        ) from wrong
    told = {"champion": change.champion or None, "before": change.before or None}
    if stage is not ModelStage.CHAMPION:
        told |= {"rolled_back": back, "stage": str(stage)}
    if as_json:
        print_json(told)
    elif stage is not ModelStage.CHAMPION:
        print(
            f"{back} is {stage} no more; {change.champion or 'the priors of the playbook'} decides for all households"
        )
    elif change.champion:
        print(f"{change.champion} is champion again; before it was {change.before or 'none'}")
    else:
        print(f"the playbook's priors score again, as before {change.before}")
    if stage is ModelStage.CHAMPION and stages.canary:
        say(f"{stages.canary} stays canary for {stages.share * 100:g} % of the households")
    return 0


def retire_version(config: HearthConfig, version: str, *, why: str, as_json: bool, name: str = "") -> int:
    """Have a version never come into service again; its files stay, for what it decided."""
    name = model_asked(config, name)
    folder = folder_of(config, version, name)
    try:
        is_new = retire(config.model_path, name, folder.name, by=by_us(why))
    except (StageRefused, BundleRefused) as refused:
        raise CommandFailed(f"not retired: {refused}") from refused
    if as_json:
        print_json({"version": folder.name, "stage": ModelStage.RETIRED, "changed": is_new})
    else:
        print(
            f"{folder.name} is retired{'' if is_new else ' already'}: it comes into service no more, and its files stay"
        )
    return 0
