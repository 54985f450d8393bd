"""What the home partition of items knows: who has which unit, and how many are held and granted of each item."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from household.tables.contract import Declaration, Due, Number, Owner, Plain, PlanName, Text, TimeUs

if TYPE_CHECKING:
    from household.state import PartitionState
    from household.tables.table import Table


class Wish(StrEnum):
    """What a claim wants of the home. It only grows, in this order: what comes late and is less is nothing."""

    HOLD = "hold"
    GRANT = "grant"
    RELEASE = "release"

    @property
    def rank(self) -> int:
        """Its place in that order."""
        return _RANKS[self]


_RANKS = {wish: place for place, wish in enumerate(Wish)}


class HoldStatus(StrEnum):
    """What the home has made of a claim. A snapshot holds their names."""

    HELD = "held"
    GRANTED = "granted"
    RELEASED = "released"
    EXPIRED = "expired"
    """Its hold is over, or its time was before it came."""
    REFUSED = "refused"
    """Nothing was free."""


@dataclass(slots=True)
class Hold:
    """One claim, as the home of its item knows it. Replaced, never changed."""

    claim_id: Text
    item: PlanName
    wish: Wish
    """The greatest that came."""
    status: HoldStatus
    until_us: TimeUs
    """From then on a claim that has no unit is forgotten."""
    held_until_us: TimeUs = 0


@dataclass(slots=True)
class Stock:
    """Units of one item that are not free. Replaced, never changed."""

    item: PlanName
    held: Number
    granted: Number
    version: Number
    """Times that either of them changed."""


def _time_came(state: "PartitionState", _table: "Table[Hold]", slots: NDArray[np.int64]) -> None:
    state.inventory.expire_holds(int(state.now_us), slots)


def _told_holds(rows: list[Hold]) -> Plain:
    # Nothing at all where there is none: it came later.
    told = sorted(
        [one.claim_id, one.item, one.wish.value, one.status.value, one.until_us, one.held_until_us] for one in rows
    )
    return {"holds": told} if rows else {}


def _told_stock(rows: list[Stock]) -> Plain:
    return {"stock": sorted([one.item, one.held, one.granted, one.version] for one in rows)} if rows else {}


HOLDS = Declaration(
    name="holds",
    row=Hold,
    owner=Owner.PARTITION,
    key=("claim_id",),
    due=(
        Due(column="held_until_us", only_if=("status", HoldStatus.HELD)),
        Due(column="until_us", only_if=("status", HoldStatus.RELEASED)),
        Due(column="until_us", only_if=("status", HoldStatus.EXPIRED)),
        Due(column="until_us", only_if=("status", HoldStatus.REFUSED)),
    ),
    when_due=_time_came,
    partition_digest=_told_holds,
)

STOCK = Declaration(name="stock", row=Stock, owner=Owner.PARTITION, key=("item",), partition_digest=_told_stock)
