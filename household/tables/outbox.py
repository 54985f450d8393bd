"""What was accepted for sending and is not delivered, withdrawn or expired yet, in the order it was decided."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from household.later import later
from household.plan import NONE
from household.tables.contacts import forget_places
from household.tables.contract import (
    Carriage,
    ChannelIndex,
    ChannelIndices,
    Declaration,
    Digest,
    Due,
    Flag,
    HouseholdRow,
    MemberRow,
    Names,
    Owner,
    Shape,
    Text,
    TimeUs,
    named,
)

if TYPE_CHECKING:
    from household.state import PartitionState
    from household.tables.table import Table


@dataclass(slots=True)
class Outbound:
    """An action accepted for sending, not yet delivered, withdrawn or expired. Replaced, never changed."""

    action_id: Text
    decision_id: Text
    household: HouseholdRow
    member: MemberRow
    channel: ChannelIndex
    send_before_us: TimeUs
    not_before_us: TimeUs = later(0)
    """Held until then."""
    fallbacks: ChannelIndices = later(())
    """Channels to try next, in this order, when this one cannot deliver."""
    handed_us: TimeUs = later(0)
    """`now` when it was first handed over on this channel; 0 for not yet."""
    is_fallback: Flag = later(False)
    """It went out on another channel before, which could not deliver it, or on which nobody answered."""
    copies: Names = later(())
    """Groups of subscribers that are still to acknowledge a copy of their own."""
    is_delivered: Flag = later(False)
    """It stays only for its copies."""


def _expire(state: "PartitionState", table: "Table[Outbound]", slots: NDArray[np.int64]) -> None:
    """Take out what may not be sent any more. The contact of what was never handed over is given back."""
    state.counters.expired += int(np.count_nonzero(table.values("is_delivered", slots) == 0))
    state.scarcity.release_expired(state, slots)
    forget_places(state.contacts, table.values("household", slots), table.values("action_id", slots))
    table.forget(slots)


def _carried(carriage: Carriage) -> None:
    """What another plan has no channel for expires at the next tick."""
    before_us = carriage.column("send_before_us")
    is_gone = carriage.column("channel") == NONE
    carriage.put("send_before_us", np.where(is_gone, np.minimum(before_us, carriage.now_us), before_us))


OUTBOX = Declaration(
    name="outbox",
    row=Outbound,
    owner=Owner.PARTITION,
    key=("action_id",),
    along="household",
    due=(Due(column="send_before_us"),),
    when_due=_expire,
    digest=Digest(
        section="outbox", shape=Shape.SET, told=named, household=lambda item: item.household, is_always_there=False
    ),
    carried=_carried,
)
