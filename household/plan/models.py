"""The section `models`: which model of the registry gives which term of an action's value."""

from dataclasses import dataclass
from enum import StrEnum

from household.later import later


class ValueTerm(StrEnum):
    """A term of a value that a model gives. Records hold them as texts: none is ever renamed."""

    ACCEPTANCE = "acceptance"
    """P(accept) of each candidate."""
    UPLIFT = "uplift"
    """What making the offer adds to the probability of what it is made for, −1 to 1; of each candidate."""
    CHURN = "churn"
    """The hazard: probability that the household leaves within the model's window. One for all candidates."""
    VALUE = "value"
    """What an acceptance brings, in minor units; of each candidate."""

    @property
    def is_of_household(self) -> bool:
        """Whether it is asked once for a household, of its features alone, whatever is weighed."""
        return self is ValueTerm.CHURN


@dataclass(frozen=True, slots=True, kw_only=True)
class TermModels:
    """The registry's name of the model of each term; empty where none gives it."""

    acceptance: str = "acceptance"
    uplift: str = ""
    churn: str = ""
    value: str = ""
    churn_prior: float | None = later(None)
    """Hazard where no model tells it; None where nothing is assumed, so that the term says nothing then."""

    def name_of(self, term: ValueTerm) -> str:
        """Return the registry's name of the model that gives a term; empty for none."""
        match term:
            case ValueTerm.ACCEPTANCE:
                return self.acceptance
            case ValueTerm.UPLIFT:
                return self.uplift
            case ValueTerm.CHURN:
                return self.churn
            case ValueTerm.VALUE:
                return self.value

    @property
    def named(self) -> tuple[tuple[ValueTerm, str], ...]:
        """Each term that has a model, with its name."""
        return tuple((term, self.name_of(term)) for term in ValueTerm if self.name_of(term))
