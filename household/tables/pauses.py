"""Offers, and families of them, that a household is not offered again before a time."""

from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from household.tables.contract import Declaration, Digest, Due, Owner, PlanName, Shape, TimeUs
from household.tables.table import Table

if TYPE_CHECKING:
    from household.state import PartitionState


@dataclass(slots=True)
class Pause:
    """What is not offered again, and until when. Replaced, never changed."""

    name: PlanName
    """Of an offer or a family."""
    until_us: TimeUs


def _pauses(name: str, *, is_always_there: bool = True) -> Declaration[Pause]:
    return Declaration(
        name=name,
        row=Pause,
        owner=Owner.HOUSEHOLD,
        key=("name",),
        due=(Due(column="until_us"),),
        digest=Digest(
            section=name,
            shape=Shape.MAP,
            told=lambda one, _: (one.name, one.until_us),
            is_always_there=is_always_there,
        ),
    )


def paused_names(state: "PartitionState", pauses: Table[Pause], household: int) -> Set[str]:
    """Return the names that are not to be offered to a household as of now."""
    if not (kept := state.together(pauses, household)):
        return _NONE_PAUSED
    return {one.name for one in kept if one.until_us > state.now_us}


_NONE_PAUSED: Set[str] = frozenset()


DECLINED_OFFERS = _pauses("declined_offers")
DECLINED_FAMILIES = _pauses("declined_families")
ACCEPTED_OFFERS = _pauses("accepted_offers", is_always_there=False)
"""Until the action that was accepted would have expired."""
