"""The section `inventory`: things of which there is a number of units, and no more, whatever the time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """So many units. Its home partition follows from its name, and alone grants them."""

    name: str
    number: int
    hold_us: int
    """For so long a unit is held for whom it was offered to."""
