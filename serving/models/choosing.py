"""What scores, by the registry: of each term for which the playbook names a model, its champion and what is beside it.

What was in service stays in service while the registry is broken or a champion cannot be served, across a restart as
well. Where nothing can be served that should be, the playbook counts, degraded, and the status says why; of a term
beside acceptance, that term alone.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from household.plan import Plan, ValueTerm
from household.scoring import feature_schema
from serving.models.bundle import MANIFEST_BYTES_MAX, MANIFEST_FILE, BundleRefused, load_bundle, read_plain
from serving.models.history import PRIORS, read_history
from serving.models.in_force import PRIORS_IN_FORCE, ModelBeside, ModelInForce, ModelStage
from serving.models.registry import ALIASES_FILE, Aliases, list_versions, read_stages

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What should be in force, and what keeps the champion itself from it."""

    model: ModelInForce
    trouble: str = ""
    """For people; empty when all is well."""


def choose(
    registry: Path, plan: Callable[[], Plan], *, in_service: ModelInForce | None, remembered: str | None
) -> Choice:
    """Return what should be in force by the registry: its champions, or else what is or was in service.

    Args:
        plan: the one in force; asked for only if something was ever in service.
        in_service: in force now; None at a start.
        remembered: the version of acceptance that was in service before the start, empty for the priors; None where
            nobody knows.
    """
    if not any(registry.glob(f"*/{ALIASES_FILE}")):
        return Choice(model=PRIORS_IN_FORCE)
    served = {} if in_service is None else {one.term: one for one in (in_service, *in_service.terms)}
    choices = [
        _Choosing(registry, plan, term, name, served.get(term)).choose(
            remembered=remembered if term is ValueTerm.ACCEPTANCE else None
        )
        for term, name in plan().models.named
    ]
    acceptance, *others = choices
    terms = tuple(one.model for one in others if not one.model.is_priors)
    troubles = [
        one.trouble if one is acceptance else f"{one.model.term}: {one.trouble}" for one in choices if one.trouble
    ]
    return Choice(model=replace(acceptance.model, terms=terms), trouble="; ".join(troubles))


class _Choosing:
    """The choice of what gives one term."""

    def __init__(
        self, registry: Path, plan: Callable[[], Plan], term: ValueTerm, name: str, in_service: ModelInForce | None
    ) -> None:
        self._registry, self._plan, self._term, self._name = registry, plan, term, name
        # What another model gave is no stand-in: the playbook has changed its mind.
        self._in_service = in_service if in_service is not None and in_service.name == name else None
        if term is not ValueTerm.ACCEPTANCE and self._in_service is not None and self._in_service.missing:
            self._in_service = None
        self._priors = ModelInForce(name=name, term=term)
        self._known = self._known_in_service()

    def choose(self, *, remembered: str | None) -> Choice:
        """Return what should give the term."""
        if not (self._registry / self._name).is_dir():
            return Choice(model=self._priors)
        try:
            stages = read_stages(self._registry, self._name)
        except BundleRefused as broken:
            return self._stay(remembered, f"the champion cannot be told: {broken}")
        return self._with_beside(stages, self._choose_champion(stages.champion, remembered))

    def _known_in_service(self) -> dict[str, ModelInForce]:
        """Return the versions in service, each without what is beside it: they are proven."""
        if self._in_service is None:
            return {}
        models = [self._in_service, *(one.model for one in self._in_service.beside)]
        return {model.version: replace(model, beside=(), terms=()) for model in models if model.version}

    def _choose_champion(self, champion: str, remembered: str | None) -> Choice:
        if not champion:
            return Choice(model=self._priors)
        if champion in self._known:
            return Choice(model=self._known[champion])
        try:
            return Choice(model=self._proven(champion))
        except BundleRefused as refused:
            trouble = f"the champion {champion} cannot be served: {refused}"
            return self._stay(remembered if remembered != champion else None, trouble)

    def _with_beside(self, stages: Aliases, choice: Choice) -> Choice:
        """Return a choice with canary and shadows beside it; without those that cannot be served, which is said."""
        wanted = [(stages.canary, ModelStage.CANARY, stages.share)] if stages.canary else []
        wanted += [(version, ModelStage.SHADOW, 0.0) for version in stages.shadows]
        beside, troubles = [], [choice.trouble] if choice.trouble else []
        for version, stage, share in wanted:
            if version == choice.model.version:
                continue
            try:
                model = self._known[version] if version in self._known else self._proven(version)
            except BundleRefused as refused:
                troubles.append(f"the {stage} {version} cannot be served, and is left out: {refused}")
                continue
            beside.append(ModelBeside(stage=stage, model=model, share=share))
        return Choice(model=replace(choice.model, beside=tuple(beside)), trouble="; ".join(troubles))

    def _stay(self, remembered: str | None, trouble: str) -> Choice:
        """Return what is or was in service, since the champion cannot be told or served."""
        if self._in_service is not None:
            stays = self._in_service.version or "what scored before"
            return Choice(model=replace(self._in_service, terms=()), trouble=f"{trouble}; {stays} stays in service")
        if remembered is None:
            remembered = self._noted_last()
        if remembered:
            try:
                model = self._proven(remembered)
                return Choice(model=model, trouble=f"{trouble}; {remembered} stays in service")
            except BundleRefused as passed:
                logger.debug("nor can %s, which was in service: %s", remembered, passed)
        if remembered == PRIORS or not list_versions(self._registry, self._name):
            return Choice(model=self._priors, trouble=f"{trouble}; the playbook's priors score, as before")
        missing = replace(self._priors, missing=trouble)
        return Choice(model=missing, trouble=f"{trouble}; the playbook's priors score, degraded")

    def _noted_last(self) -> str | None:
        """Return the champion of the newest change; None where nobody can tell."""
        try:
            history = read_history(self._registry, self._name)
        except BundleRefused:
            return None
        return history[-1].champion if history else None

    def _proven(self, version: str) -> ModelInForce:
        made = proven(self._registry / self._name / version, self._plan(), self._term)
        return replace(made, name=self._name)


_proofs: dict[str, str] = {}
"""By digest of a manifest: that of the model which has proved to be as it says. A rollback need not prove it again."""
_PROOFS_KEPT: Final = 64


def proven(folder: Path, plan: Plan, term: ValueTerm) -> ModelInForce:
    """Return a version that gives a term under a playbook; blocks for about a second unless it has been proven.

    Raises:
        BundleRefused: it does not; says why.
    """
    schema = feature_schema(plan)
    columns = schema.names_for(term)
    bundle = load_bundle(
        folder,
        feature_schema_hash=schema.hash,
        columns=columns,
        proven_sha256=_proofs.get(_digest(folder)),
        term=term.value,
    )
    if len(_proofs) >= _PROOFS_KEPT:
        _proofs.clear()
    _proofs[_digest(folder)] = bundle.manifest.digest
    return ModelInForce(
        version=folder.name,
        bundle_path=str(folder.absolute()),
        sha256=bundle.manifest.digest,
        feature_schema_hash=schema.hash,
        columns=columns,
        term=term,
    )


def _digest(folder: Path) -> str:
    """Return the digest of a version's manifest; of nothing where there is none, which is refused elsewhere."""
    try:
        return hashlib.sha256(read_plain(folder / MANIFEST_FILE, MANIFEST_BYTES_MAX)).hexdigest()
    except BundleRefused:
        return ""
