"""What a partition scores by: the model in force for most, the canary for its households, shadows beside them."""

from dataclasses import dataclass

from household.canary import is_in_canary
from household.plan import Plan, ValueTerm
from household.scoring import Scorer, schema_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A version that decides for a share of the households."""

    version: str
    share: float
    """0 to 1."""
    scorer: Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """A version whose scores are recorded, and never used."""

    version: str
    scorer: Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineup:
    """All versions that score at present; replaced as a whole, so that no decision sees half of a change."""

    champion: Scorer | None = None
    """None for the playbook's priors."""
    canary: Canary | None = None
    shadows: tuple[Shadow, ...] = ()
    terms: tuple["TermLineup", ...] = ()
    """What gives other terms of values than acceptance."""
    schema_hash: str = ""
    """Of the features that all of them score by; empty where nobody has said."""

    def knows(self, plan: Plan) -> bool:
        """Return whether what a plan reads is what its versions were trained on."""
        return not self.schema_hash or self.schema_hash == schema_hash(plan)

    @property
    def is_priors(self) -> bool:
        """Whether no model is to be asked."""
        return self.champion is None and self.canary is None and not self.shadows and not self.terms

    def terms_for(self, plan: Plan) -> tuple["TermLineup", ...]:
        """Return what gives the terms for which a playbook names these very models."""
        return tuple(one for one in self.terms if plan.models.name_of(one.term) == one.name)

    def scorer_for(self, birth_id: bytes) -> Scorer | None:
        """Return what decides for a household, by its birth id; None for the playbook's priors."""
        canary = self.canary
        if canary is not None and is_in_canary(birth_id, version=canary.version, share=canary.share):
            return canary.scorer
        return self.champion


@dataclass(frozen=True, slots=True, kw_only=True)
class TermLineup:
    """The versions of the model that gives one other term of values than acceptance."""

    term: ValueTerm
    name: str
    """Of the model, as playbooks and the registry have it."""
    lineup: Lineup
