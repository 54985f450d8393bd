"""The arms that a household was drawn into: once met, for good."""

from dataclasses import dataclass
from enum import StrEnum

from household.plan.experiments import CONTROL, Layer
from household.tables.contract import Declaration, Digest, Number, Owner, PlanName, Shape, TimeUs, named


class AssignedBy(StrEnum):
    """Why a household is in an arm. A snapshot holds their names: new ones stand behind the others."""

    DRAWN = "drawn"
    """By the experiment's salt and the household's birth id."""
    DRAWN_OF_JOURNEY = "drawn_of_journey"
    """As a journey's `control` always was."""
    SHARED = "shared"
    """In control, since a household that shares a member or an address with it is."""


@dataclass(slots=True)
class Assignment:
    """A household's arm in an experiment. Never replaced, never forgotten."""

    experiment: PlanName
    layer: Layer
    arm: PlanName
    share_bp: Number
    """Of the arm, as it was then."""
    salt: PlanName
    version: PlanName
    """Of the playbook under which it was met."""
    met_us: TimeUs
    """`now` of the decision that met it."""
    reason: AssignedBy

    @property
    def is_control(self) -> bool:
        """Whether the household is not treated."""
        return self.arm == CONTROL


ARMS = Declaration(
    name="arms",
    row=Assignment,
    owner=Owner.HOUSEHOLD,
    key=("experiment",),
    digest=Digest(section="arms", shape=Shape.SET, told=named, is_always_there=False),
)
