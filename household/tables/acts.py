"""What instances of journeys said, or were about to: the link between an instance and its moments and actions."""

from dataclasses import dataclass
from enum import StrEnum

from household.later import later
from household.tables.contract import (
    Declaration,
    Digest,
    Due,
    Flag,
    MemberRow,
    Number,
    Owner,
    PlanName,
    Shape,
    Text,
    TimeUs,
    named,
)


class ActStatus(StrEnum):
    """How far an act has come. Snapshots hold their places: new ones stand behind the others."""

    PENDING = "pending"
    """Its moment is to be decided."""
    DECIDED = "decided"
    """On its way, or held."""
    SAID = "said"
    """Handed over, or shown to whoever asks."""
    SILENT = "silent"
    """Nothing was said, for whatever reason."""
    WITHDRAWN = "withdrawn"


@dataclass(slots=True)
class ActOfInstance:
    """One visit of an instance to a state that acts. Replaced, never changed."""

    moment_id: Text
    """household / journey / number / state / visit: the key under which it is said once."""
    journey: PlanName
    member: MemberRow
    number: Number
    step: PlanName
    visit: Number
    status: ActStatus
    keep_until_us: TimeUs
    """Nothing makes it be said again by then, and nothing of it can be taken back."""
    action_id: Text = later("")
    was_said: Flag = later(False)
    """Whatever became of it afterwards: its instance has entered for good."""


ACTS = Declaration(
    name="acts",
    row=ActOfInstance,
    owner=Owner.HOUSEHOLD,
    key=("moment_id",),
    due=(Due(column="keep_until_us"),),
    digest=Digest(section="acts", shape=Shape.SET, told=named, is_always_there=False),
)
