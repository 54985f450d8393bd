"""How a model version comes into service, and how it is taken back: the whole rule.

1. A version is registered, then **shadow** (scored for every decision and recorded, never used), **canary** (decides
   for a share of the households, which only grows), **champion**, and rolled back or retired. Each step is refused with
   the reason where its check fails; being forced replaces what data would have to prove, and no other.
2. `refusal_of`: a version may be champion if it loads, is of the playbook's feature schema, and has proved better than
   what is in force on decisions that neither has seen.
3. What is in service stands in `aliases.json`, and every change in `history.json` (history.py), oldest first; so a
   rollback finds its way. A champion that was set by hand is in no entry; the next change notes it as what was in force
   before.
4. `choosing.py` says what scores by the registry.

The cluster carries it: `cluster/champion.py` follows the registry, puts what is chosen on Serve and tells the shards.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from serving.models.bundle import read_manifest
from serving.models.history import (
    FORCED,
    ON_TRIAL,
    PRIORS,
    PROMOTED,
    REGISTERED,
    RETIRED,
    ROLLED_BACK,
    SHADOWED,
    By,
    Change,
    before_present,
    note,
    read_history,
)
from serving.models.in_force import ModelStage
from serving.models.registry import Aliases, changing, read_stages, write_stages

if TYPE_CHECKING:
    from serving.models.comparison import Comparison

SHADOWS_MAX: Final = 3
"""Each costs every decision a prediction."""


class StageRefused(Exception):
    """A version does not come into that stage; says why, and what would be right."""


def refusal_of(comparison: Comparison) -> str:
    """Return why a version that is not forced may not be champion; empty if it may."""
    from serving.models.comparison import PRIOR, Verdict

    if comparison.verdict is Verdict.BETTER:
        return ""
    incumbent = f"the champion {comparison.incumbent}" if comparison.incumbent != PRIOR else "the playbook's priors"
    return (
        f"model {comparison.candidate} is not promoted, as it has not proved better than "
        f"{incumbent} ({comparison.verdict.value}): {comparison.why}"
    )


def register(registry: Path, name: str, version: str, *, by: By) -> None:
    """Note that a version is in the registry from now on."""
    with changing(registry, name):
        champion = read_stages(registry, name).champion
        note(registry, name, _beside_champion(by, champion, version, how=REGISTERED))


def shadow(registry: Path, name: str, version: str, *, by: By) -> bool:
    """Have a version scored beside what decides; return False if it is already.

    Raises:
        StageRefused: it decides already, or is retired, or there are enough shadows.
        BundleRefused: it is not in the registry, or its aliases or history cannot be read.
    """
    with changing(registry, name):
        stages = read_stages(registry, name)
        match stages.stage_of(version):
            case ModelStage.SHADOW:
                return False
            case ModelStage.CHAMPION | ModelStage.CANARY as stage:
                raise StageRefused(f"model {version} is {stage}: its scores are recorded as those that decide")
            case _:
                _refuse_retired(stages, version)
        if len(stages.shadows) >= SHADOWS_MAX:
            shadows = ", ".join(stages.shadows)
            raise StageRefused(
                f"{SHADOWS_MAX} versions are in shadow ({shadows}), and each costs every decision a prediction; "
                "`hearth models rollback VERSION` takes one out"
            )
        change = _beside_champion(by, stages.champion, version, how=SHADOWED)
        _change(registry, name, replace(stages, shadows=(*stages.shadows, version)), change)
    return True


def canary(registry: Path, name: str, version: str, share: float, *, by: By, is_forced: bool = False) -> bool:
    """Have a version decide for a share of the households; return False if it does already.

    Args:
        share: above 0 and at most 1, and no less than it has: a smaller one would move households back.
        is_forced: although it was never in shadow.

    Raises:
        StageRefused: see above; or another is canary; or it is champion, or retired.
        BundleRefused: it is not in the registry, or its aliases or history cannot be read.
    """
    if not (math.isfinite(share) and 0 < share <= 1):
        raise StageRefused(f"a canary has a share of the households above 0 % and at most 100 %, not {share * 100:g} %")
    with changing(registry, name):
        stages = read_stages(registry, name)
        stage = stages.stage_of(version)
        if stage is ModelStage.CHAMPION:
            raise StageRefused(f"model {version} is champion, and decides for all households")
        _refuse_retired(stages, version)
        if stages.canary and stages.canary != version:
            raise StageRefused(
                f"model {stages.canary} is canary for {stages.share * 100:g} % of the households, and there is one at "
                "a time: `hearth models rollback` ends its trial, `hearth models promote` makes it champion"
            )
        if stage is ModelStage.CANARY and share == stages.share:
            return False
        if share < stages.share:
            raise StageRefused(
                f"model {version} is canary for {stages.share * 100:g} % of the households, and a smaller share would "
                "move some of them back; `hearth models rollback` moves all of them back"
            )
        is_tried = stage is not None or any(
            change.how == SHADOWED and change.subject == version for change in read_history(registry, name)
        )
        if not is_tried and not is_forced:
            raise StageRefused(
                f"model {version} was never in shadow, so nothing is known of how it scores real decisions; "
                f"`hearth models shadow {version}` comes first"
            )
        change = replace(_beside_champion(by, stages.champion, version, how=ON_TRIAL), share=repr(share))
        _change(registry, name, replace(stages.without(version), canary=version, share=share), change)
    return True


def promote(
    registry: Path, name: str, version: str, *, by: By, is_forced: bool, compared_with: str | None = None
) -> str:
    """Make a version champion and note it; return what was in force before, which may be the same.

    Args:
        compared_with: the champion that it has proved better than, empty for none; None where that plays no part.

    Raises:
        StageRefused: it is retired, or has proved better than what is champion no more.
        BundleRefused: the version is not in the registry, or its aliases or history cannot be read.
    """
    with changing(registry, name):
        stages = read_stages(registry, name)
        _refuse_retired(stages, version)
        before = stages.champion
        if compared_with is not None and before not in (compared_with, version):
            raise StageRefused(
                f"it was compared with {compared_with or 'the priors of the playbook'}, and "
                f"{before or 'no model'} came into force meanwhile; compare it with that"
            )
        if before != version:
            how = FORCED if is_forced else PROMOTED
            change = replace(_beside_champion(by, version, version, how=how), before=before)
            _change(registry, name, replace(stages.without(version), champion=version), change)
    return before


def retire(registry: Path, name: str, version: str, *, by: By) -> bool:
    """Have a version never come into service again; return False if it is retired already. A shadow is taken out.

    Raises:
        StageRefused: it decides.
        BundleRefused: it is not in the registry, or its aliases or history cannot be read.
    """
    with changing(registry, name):
        stages = read_stages(registry, name)
        stage = stages.stage_of(version)
        if stage is ModelStage.RETIRED:
            return False
        if stage in (ModelStage.CHAMPION, ModelStage.CANARY):
            raise StageRefused(f"model {version} is {stage}, and decides; `hearth models rollback` takes it back first")
        change = _beside_champion(by, stages.champion, version, how=RETIRED)
        _change(registry, name, replace(stages.without(version), retired=(*stages.retired, version)), change)
    return True


def to_roll_back(stages: Aliases, version: str = "") -> tuple[str, ModelStage]:
    """Return the version that a rollback takes back, and its stage: the one named, else the canary, else the champion.

    Raises:
        StageRefused: the one named is not in service.
    """
    if not version:
        return (stages.canary, ModelStage.CANARY) if stages.canary else (stages.champion, ModelStage.CHAMPION)
    stage = stages.stage_of(version)
    if stage is None or stage is ModelStage.RETIRED:
        raise StageRefused(f"model {version} is not in service, so there is nothing to take back")
    return version, stage


def roll_back(registry: Path, name: str, version: str = "", *, by: By) -> Change:
    """Take back what came into service last, the canary or else the champion, or the version named; and note it.

    A champion gives way to the one before it; once more goes back one further: what was rolled back is not returned to.

    Raises:
        NothingBefore: nothing is known of the time before.
        StageRefused: the one named is not in service.
        BundleRefused: what was before is no longer in the registry, or its aliases or history cannot be read.
    """
    with changing(registry, name):
        stages = read_stages(registry, name)
        back, stage = to_roll_back(stages, version)
        if stage is ModelStage.CHAMPION:
            history = read_history(registry, name)
            champion = before_present(history, stages.champion, retired=stages.retired)
            change = replace(_beside_champion(by, champion, back, how=ROLLED_BACK), before=stages.champion)
            _change(registry, name, replace(stages.without(champion), champion=champion), change)
        else:
            change = _beside_champion(by, stages.champion, back, how=ROLLED_BACK)
            _change(registry, name, stages.without(back), change)
    return change


def _refuse_retired(stages: Aliases, version: str) -> None:
    if version in stages.retired:
        raise StageRefused(f"model {version} is retired: it was decided that it comes into service no more")


def _beside_champion(by: By, champion: str, version: str, *, how: str) -> Change:
    """Return a change that leaves the champion what it is."""
    return Change(time=by.time, champion=champion, before=champion, how=how, version=version, who=by.who, why=by.why)


def _change(registry: Path, name: str, stages: Aliases, change: Change) -> None:
    """Note a change and make it, in this order: one that was noted and not made is known by the aliases."""
    for version in {change.champion, change.version} - {PRIORS}:
        if version != change.version or change.how != ROLLED_BACK:
            # Before anything is written: what is not there does not come into service.
            read_manifest(registry / name / version)
    note(registry, name, change)
    write_stages(registry, name, stages)
