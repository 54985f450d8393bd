"""How a model version comes into service, and how it is taken back: the whole rule.

1. A version is registered, then **shadow** (scored for every decision and recorded, never used), **canary** (decides
   for a share of the households, which only grows), **champion**, and rolled back or retired. Each step is refused with
   the reason where its check fails; being forced replaces what data would have to prove, and no other.
2. `refusal_of`: a version may be champion if it loads, is of the playbook's feature schema, and has proved better than
   what is in force on decisions that neither has seen.
3. What is in service stands in `aliases.json`, and every change in `history.json` (history.py), oldest first; so a
   rollback finds its way. A champion that was set by hand is in no entry; the next change notes it as what was in force
   before.
4. `choose` says what scores by the registry. What was in service stays in service while the registry is broken or its
   champion cannot be served, across a restart as well. Where nothing can be served that should be, the priors score,
   degraded, and the status says why. A canary or shadow that cannot be served is left out, and said.

The cluster carries it: `cluster/champion.py` follows the registry, puts what is chosen on Serve and tells the shards.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from household.plan import Plan
from household.scoring import feature_schema
from serving.models.bundle import (
    MANIFEST_BYTES_MAX,
    MANIFEST_FILE,
    MODEL_FILE,
    BundleRefused,
    load_bundle,
    read_manifest,
    read_plain,
)
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
from serving.models.in_force import MODEL_NAME, PRIORS_IN_FORCE, ModelBeside, ModelInForce, ModelStage
from serving.models.registry import Aliases, changing, list_versions, read_stages, write_stages

if TYPE_CHECKING:
    from serving.models.comparison import Comparison

logger = logging.getLogger(__name__)

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


def promote(registry: Path, name: str, version: str, *, by: By, is_forced: bool) -> str:
    """Make a version champion and note it; return what was in force before, which may be the same.

    Raises:
        StageRefused: it is retired.
        BundleRefused: the version is not in the registry, or its aliases or history cannot be read.
    """
    with changing(registry, name):
        stages = read_stages(registry, name)
        _refuse_retired(stages, version)
        before = stages.champion
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
            champion = before_present(read_history(registry, name), stages.champion)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What should be in force, and what keeps the champion itself from it."""

    model: ModelInForce
    trouble: str = ""
    """For people; empty when all is well."""


def choose(
    registry: Path, plan: Callable[[], Plan], *, in_service: ModelInForce | None, remembered: str | None
) -> Choice:
    """Return what should be in force by the registry: its champion, or else what is or was in service.

    Args:
        plan: the one in force; asked for only if there is a model.
        in_service: in force now; None at a start.
        remembered: the version that was in service before the start, empty for the priors; None where nobody knows.
    """
    if not (registry / MODEL_NAME).is_dir():
        return Choice(model=PRIORS_IN_FORCE)
    try:
        stages = read_stages(registry, MODEL_NAME)
    except BundleRefused as broken:
        return _stay(registry, plan, in_service, remembered, f"the champion cannot be told: {broken}")
    known = _known(in_service)
    choice = _choose_champion(registry, plan, stages.champion, known, in_service, remembered)
    return _with_beside(registry, plan, stages, known, choice)


def _known(in_service: ModelInForce | None) -> dict[str, ModelInForce]:
    """Return the versions in service, each without what is beside it: they are proven."""
    if in_service is None:
        return {}
    models = [in_service, *(one.model for one in in_service.beside)]
    return {model.version: replace(model, beside=()) for model in models if model.version}


def _choose_champion(
    registry: Path,
    plan: Callable[[], Plan],
    champion: str,
    known: dict[str, ModelInForce],
    in_service: ModelInForce | None,
    remembered: str | None,
) -> Choice:
    if not champion:
        return Choice(model=PRIORS_IN_FORCE)
    if champion in known:
        return Choice(model=known[champion])
    try:
        return Choice(model=_proven(registry, plan(), champion))
    except BundleRefused as refused:
        trouble = f"the champion {champion} cannot be served: {refused}"
        return _stay(registry, plan, in_service, remembered if remembered != champion else None, trouble)


def _with_beside(
    registry: Path, plan: Callable[[], Plan], stages: Aliases, known: dict[str, ModelInForce], choice: Choice
) -> Choice:
    """Return a choice with canary and shadows beside it; without those that cannot be served, which is said."""
    wanted = [(stages.canary, ModelStage.CANARY, stages.share)] if stages.canary else []
    wanted += [(version, ModelStage.SHADOW, 0.0) for version in stages.shadows]
    beside, troubles = [], [choice.trouble] if choice.trouble else []
    for version, stage, share in wanted:
        if version == choice.model.version:
            continue
        try:
            model = known[version] if version in known else _proven(registry, plan(), version)
        except BundleRefused as refused:
            troubles.append(f"the {stage} {version} cannot be served, and is left out: {refused}")
            continue
        beside.append(ModelBeside(stage=stage, model=model, share=share))
    return Choice(model=replace(choice.model, beside=tuple(beside)), trouble="; ".join(troubles))


def _stay(
    registry: Path, plan: Callable[[], Plan], in_service: ModelInForce | None, remembered: str | None, trouble: str
) -> Choice:
    """Return what is or was in service, since the champion cannot be told or served."""
    if in_service is not None:
        stays = in_service.version or "what scored before"
        return Choice(model=in_service, trouble=f"{trouble}; {stays} stays in service")
    if remembered is None:
        remembered = _noted_last(registry)
    if remembered:
        try:
            model = _proven(registry, plan(), remembered)
            return Choice(model=model, trouble=f"{trouble}; {remembered} stays in service")
        except BundleRefused as passed:
            logger.debug("nor can %s, which was in service: %s", remembered, passed)
    if remembered == PRIORS or not list_versions(registry, MODEL_NAME):
        return Choice(model=PRIORS_IN_FORCE, trouble=f"{trouble}; the playbook's priors score, as before")
    return Choice(model=ModelInForce(missing=trouble), trouble=f"{trouble}; the playbook's priors score, degraded")


def _noted_last(registry: Path) -> str | None:
    """Return the champion of the newest change; None where nobody can tell."""
    try:
        history = read_history(registry, MODEL_NAME)
    except BundleRefused:
        return None
    return history[-1].champion if history else None


_proofs: dict[str, str] = {}
"""By digest of a manifest: that of the model which has proved to be as it says. A rollback need not prove it again."""
_PROOFS_KEPT: Final = 64


def _proven(registry: Path, plan: Plan, version: str) -> ModelInForce:
    schema = feature_schema(plan)
    folder = registry / MODEL_NAME / version
    bundle = load_bundle(
        folder, feature_schema_hash=schema.hash, columns=schema.names, proven_sha256=_proofs.get(_digest(folder))
    )
    if len(_proofs) >= _PROOFS_KEPT:
        _proofs.clear()
    _proofs[_digest(folder)] = bundle.manifest.sha256[MODEL_FILE]
    return ModelInForce(
        version=version,
        bundle_path=str(folder.absolute()),
        sha256=bundle.manifest.sha256[MODEL_FILE],
        feature_schema_hash=schema.hash,
        columns=schema.names,
    )


def _digest(folder: Path) -> str:
    """Return the digest of a version's manifest; of nothing where there is none, which is refused elsewhere."""
    try:
        return hashlib.sha256(read_plain(folder / MANIFEST_FILE, MANIFEST_BYTES_MAX)).hexdigest()
    except BundleRefused:
        return ""


def _change(registry: Path, name: str, stages: Aliases, change: Change) -> None:
    """Note a change and make it, in this order: one that was noted and not made is known by the aliases."""
    for version in {change.champion, change.version} - {PRIORS}:
        if version != change.version or change.how != ROLLED_BACK:
            # Before anything is written: what is not there does not come into service.
            read_manifest(registry / name / version)
    note(registry, name, change)
    write_stages(registry, name, stages)
