"""Actions that were decided, and what has become of each."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from household.later import later
from household.plan import NONE
from household.tables.contract import (
    ChannelIndex,
    Declaration,
    Digest,
    Due,
    Flag,
    HouseholdRow,
    MemberRow,
    Owner,
    PlanName,
    Shape,
    Text,
    TimeUs,
    named,
)

if TYPE_CHECKING:
    from household.state import PartitionState
    from household.tables.table import Table


class ActionStatus(StrEnum):
    """What has become of an action. A snapshot holds their names: new ones stand behind the others."""

    LIVE = "live"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


@dataclass(slots=True)
class LiveAction:
    """An action that was decided, and what has become of it. Replaced, never changed."""

    action_id: Text
    decision_id: Text
    household: HouseholdRow
    member: MemberRow
    offer: PlanName
    family: PlanName
    valid_until_us: TimeUs
    status: ActionStatus
    settled_us: TimeUs = 0
    why: PlanName = later("")
    """Why it was withdrawn, where something no longer held."""
    channel: ChannelIndex = later(NONE)
    """Outbound channel on which it was last handed over."""
    handed_us: TimeUs = later(0)
    """`now` of that; 0 for never."""
    decided_us: TimeUs = later(0)
    """0 where it was not kept yet."""
    journey: PlanName = later("")
    """Whose moment brought it up; kept only under a playbook with rules."""
    is_shown: Flag = later(False)
    """It was given to a channel, and counted: household/showing.py."""


def _expire(state: "PartitionState", table: "Table[LiveAction]", slots: NDArray[np.int64]) -> None:
    """Expire what was live; forget what was settled long enough ago that nobody retries its request any more."""
    is_live = table.values("status", slots) == list(ActionStatus).index(ActionStatus.LIVE)
    state.inventory.expired(state, slots[is_live])
    expired = list(ActionStatus).index(ActionStatus.EXPIRED)
    table.set(slots[is_live], status=expired, settled_us=int(state.now_us))
    table.forget(slots[~is_live])


ACTIONS = Declaration(
    name="actions",
    row=LiveAction,
    owner=Owner.PARTITION,
    key=("action_id",),
    along="household",
    due=(
        Due(column="valid_until_us", only_if=("status", ActionStatus.LIVE)),
        Due(column="settled_us", after_us=lambda plan: plan.clock.request_window_us + 1),
    ),
    when_due=_expire,
    digest=Digest(
        section="actions", shape=Shape.SET, told=named, household=lambda action: action.household, is_always_there=False
    ),
)
