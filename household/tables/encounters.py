"""What else rules of the contact policy count: answers to members who asked, and what members refused.

Rows are put only under a playbook with a rule that counts them.
"""

from dataclasses import dataclass
from enum import StrEnum

from household.plan import Plan
from household.tables.contacts import kept_us
from household.tables.contract import (
    ChannelIndex,
    Declaration,
    Digest,
    Due,
    MemberRow,
    Number,
    Owner,
    PlanName,
    Shape,
    Text,
    TimeUs,
    named,
)


class EncounterKind(StrEnum):
    """What happened. A snapshot holds their names: new ones stand behind the others."""

    ANSWERED = "answered"
    REFUSED = "refused"


@dataclass(slots=True)
class Encounter:
    """One answer, or one refusal. Replaced, never changed."""

    time_us: TimeUs
    kind: EncounterKind
    member: MemberRow
    channel: ChannelIndex
    """NONE where it is not known on which it was refused."""
    action_id: Text
    traits: PlanName
    line: Number
    address: Number
    cost_minor: Number


def _kept_us(plan: Plan) -> int:
    """Return how long they are kept: an action counts once on a channel, however often it is the answer there.

    So also beyond all windows an answer is known for as long as its action may be given again.
    """
    return max((kept_us(plan), *(offer.valid_us for offer in plan.offers)))


ENCOUNTERS = Declaration(
    name="encounters",
    row=Encounter,
    owner=Owner.HOUSEHOLD,
    due=(Due(column="time_us", after_us=_kept_us),),
    digest=Digest(section="encounters", shape=Shape.SET, told=named, is_always_there=False),
)
