"""Contacts that count against the caps, or hold a place for one that will."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from household.later import later
from household.plan import Plan
from household.tables.contract import (
    ChannelIndex,
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
from household.tables.table import Table


@dataclass(slots=True)
class Contact:
    """One contact that counts against the caps. Replaced, never changed."""

    time_us: TimeUs
    member: MemberRow
    channel: ChannelIndex
    action_id: Text
    is_handed: Flag = later(False)
    """It has reached a gateway: it counts until that says it was not delivered. Before, it only holds a place."""
    # What follows is kept only under a playbook with rules.
    traits: PlanName = later("")
    """household.traits.Traits of its action, as they were at sending."""
    line: Number = later(0)
    """Of whom it reached; 0 where it is not known."""
    address: Number = later(0)
    cost_minor: Number = later(0)
    delivered_us: TimeUs = later(0)
    seen_us: TimeUs = later(0)
    until_us: TimeUs = later(0)
    """Of a pending action: it has no place, but rules that reserve one for what is worth more do until then."""
    value_milli: Number = later(0)
    """What such an action is worth, in thousandths of a minor unit."""

    @property
    def is_pending(self) -> bool:
        """Whether it is of an action that is held: it neither counts nor has a place."""
        return bool(self.until_us) and not self.is_handed


def kept_us(plan: Plan) -> int:
    """Return how long contacts are kept under a plan: as long as the longest window that counts them."""
    return max((plan.policy.remembered_us, *(cap.window_us for cap in plan.policy.caps)))


CONTACTS = Declaration(
    name="contacts",
    row=Contact,
    owner=Owner.HOUSEHOLD,
    due=(
        # The longest window is half-open: a contact exactly its length ago counts against no cap any more.
        Due(column="time_us", after_us=kept_us),
    ),
    digest=Digest(section="contacts", shape=Shape.SET, told=named),
)


def forget_place(contacts: Table[Contact], household: int, action_id: str) -> None:
    """Forget the contact of an action that was never handed over. One that was counts, whatever became of it."""
    contacts.rewrite(household, lambda one: one if one.action_id != action_id or one.is_handed else None)


def forget_places(contacts: Table[Contact], households: NDArray[np.int64], action_ids: NDArray[np.int64]) -> None:
    """Do the same for several actions (n,), each once, of households (n,); the ids as they lie in any table."""
    slots = contacts.slots_with(households, "action_id", action_ids)
    contacts.forget(slots[contacts.values("is_handed", slots) == 0])
