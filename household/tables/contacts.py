"""Contacts that count against the caps, or hold a place for one that will."""

from dataclasses import dataclass

from household.later import later
from household.tables.contract import (
    ChannelIndex,
    Declaration,
    Digest,
    Due,
    Flag,
    MemberRow,
    Owner,
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


CONTACTS = Declaration(
    name="contacts",
    row=Contact,
    owner=Owner.HOUSEHOLD,
    due=(
        # The longest window is half-open: a contact exactly its length ago counts against no cap any more.
        Due(column="time_us", after_us=lambda plan: max((cap.window_us for cap in plan.policy.caps), default=0)),
    ),
    digest=Digest(section="contacts", shape=Shape.SET, told=named),
)


def forget_place(contacts: Table[Contact], household: int, action_id: str) -> None:
    """Forget the contact of an action that was never handed over. One that was counts, whatever became of it."""
    contacts.rewrite(household, lambda one: one if one.action_id != action_id or one.is_handed else None)
