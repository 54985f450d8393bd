"""What partitions tell each other of scarce items: what is asked of an item's home, and what that answers.

The same bytes travel and stand in the log (actors/records/codec.py).
"""

from dataclasses import dataclass

from household.tables.holds import HoldStatus, Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class WishTold:
    """What a claim wants of the item's home."""

    claim_id: str
    item: str
    wish: Wish
    until_us: int
    """From then on an unknown claim is none: what comes so late has no effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WishAnswer:
    """What the home has made of it."""

    claim_id: str
    wish: Wish
    status: HoldStatus
    held_until_us: int
    """Of what is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StockTold:
    """How many units of an item are free."""

    item: str
    free: int
    """Less than 0 where the playbook has fewer by now than were given away."""
    version: int
    """Grows with each change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryNote:
    """What comes into one partition at once: as an item's home, or as that of households."""

    asked: tuple[WishTold, ...] = ()
    answered: tuple[WishAnswer, ...] = ()
    stock: tuple[StockTold, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.asked or self.answered or self.stock)
