"""What a partition's households claim of items, and what it was last told of how many units are free."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from household.tables.contract import (
    Declaration,
    Digest,
    Due,
    HouseholdRow,
    Number,
    Owner,
    Plain,
    PlanName,
    Shape,
    Text,
    TimeUs,
    named,
)

if TYPE_CHECKING:
    from household.state import PartitionState
    from household.tables.table import Table


class ClaimState(StrEnum):
    """What a claim wants, where that is not answered yet, or what it has. A snapshot holds their names."""

    HOLDING = "holding"
    """It wants a unit to be held."""
    HELD = "held"
    GRANTING = "granting"
    """It was accepted, and wants a unit for good."""
    GRANTED = "granted"
    RELEASING = "releasing"
    """It wants nothing any more, and is forgotten once the home knows."""


@dataclass(slots=True)
class ItemClaim:
    """An action's claim on a unit of an item. Replaced, never changed."""

    claim_id: Text
    """The action's id."""
    item: PlanName
    household: HouseholdRow
    state: ClaimState
    until_us: TimeUs
    """From then on the home knows of no such claim, unless it has a unit."""
    held_until_us: TimeUs = 0
    """As the home has told."""


@dataclass(slots=True)
class KnownStock:
    """How many units of an item are free, as its home last told. Replaced, never changed."""

    item: PlanName
    free: Number
    version: Number
    """Changes of the item's stock that the home had seen: what is older is no news."""


def _hold_over(state: "PartitionState", table: "Table[ItemClaim]", slots: NDArray[np.int64]) -> None:
    from household.claiming import hold_over  # it changes other tables, too

    hold_over(state, [table.row(slot) for slot in slots.tolist()])


def _told(rows: list[KnownStock]) -> Plain:
    # Nothing at all where there is none: it came later.
    return {"known_stock": sorted([one.item, one.free, one.version] for one in rows)} if rows else {}


CLAIMS = Declaration(
    name="claims",
    row=ItemClaim,
    owner=Owner.PARTITION,
    key=("claim_id",),
    along="household",
    due=(
        Due(column="held_until_us", only_if=("state", ClaimState.HELD)),
        Due(column="until_us", only_if=("state", ClaimState.HOLDING)),
    ),
    when_due=_hold_over,
    digest=Digest(
        section="claims", shape=Shape.SET, told=named, household=lambda claim: claim.household, is_always_there=False
    ),
)

KNOWN_STOCK = Declaration(
    name="known_stock", row=KnownStock, owner=Owner.PARTITION, key=("item",), partition_digest=_told
)
