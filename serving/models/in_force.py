"""Which models score: what the launcher has chosen and proven, for the coordinator and the shards to take."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from household.plan import ValueTerm

MODEL_NAME: Final = "acceptance"
"""The registry's name of the model of acceptance, unless the playbook names another."""


class ModelStage(StrEnum):
    """How far a version has come into service."""

    REGISTERED = "registered"
    SHADOW = "shadow"
    """Scored for every decision and recorded with it, never used."""
    CANARY = "canary"
    """Decides for a share of the households."""
    CHAMPION = "champion"
    REPLACED = "replaced"
    """It was champion, and another took its place."""
    ROLLED_BACK = "rolled back"
    RETIRED = "retired"
    """Not to come into service again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInForce:
    """A model version that is in force, or what stands in its place."""

    version: str = ""
    """Empty for the playbook's priors."""
    bundle_path: str = ""
    """Readable on every node."""
    sha256: str = ""
    """Digest of the model (`Manifest.digest`), which has been proven."""
    feature_schema_hash: str = ""
    columns: tuple[str, ...] = ()
    """Those of the playbook in force, in order; the model's are the same."""
    app_name: str = ""
    """The Serve application that runs it; empty while none does, so that shards score by themselves."""
    missing: str = ""
    """Why no version can be used though one should be in force: the priors score, degraded. Empty otherwise."""
    beside: tuple["ModelBeside", ...] = ()
    """What scores beside it: a canary, shadows."""
    name: str = MODEL_NAME
    """Of the model, as playbooks and the registry have it."""
    term: ValueTerm = ValueTerm.ACCEPTANCE
    """What it gives."""
    terms: tuple["ModelInForce", ...] = ()
    """What gives the other terms, for which the playbook names models and the registry has something; of acceptance
    only."""

    @property
    def is_priors(self) -> bool:
        """Whether the priors score because nothing else is wanted."""
        return not self.version and not self.missing and not self.beside and not self.terms

    @property
    def served_as(self) -> str:
        """What Serve and a shard know this version by: two models may each have a version of one name."""
        return self.version if self.name == MODEL_NAME or not self.version else f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBeside:
    """A model version that scores beside the one in force."""

    stage: ModelStage
    """SHADOW or CANARY."""
    model: ModelInForce
    share: float = 0.0
    """Of the households that a canary decides for, 0 to 1."""


PRIORS_IN_FORCE: Final = ModelInForce()
