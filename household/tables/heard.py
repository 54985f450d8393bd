"""What journeys with states listened for and heard, for as long as something earlier may still be learned."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from household.tables.contract import (
    Declaration,
    Digest,
    Due,
    MemberRow,
    Number,
    Owner,
    PlanName,
    Shape,
    TimeUs,
    named,
)

if TYPE_CHECKING:
    from household.state import PartitionState
    from household.tables.table import Table

SETTLED_AT_ONCE = 256
"""By one tick; what is left is the next one's."""

ANY = -1
"""It is about whichever instance it fits."""


@dataclass(slots=True)
class Heard:
    """An event that something listened for, or what became of an act. Replaced, never changed."""

    listener: PlanName
    """Its key, or that of what became of an act."""
    time_us: TimeUs
    member: MemberRow
    """Of the event; NO_MEMBER for the household as a whole."""
    correlation: Number
    """Bits of the value that it carries; 0 for none."""
    about: Number
    """Number of the instance that it is about; ANY where nothing says so."""
    visit: Number
    """Of an act: which of the instance's there."""
    event: Number
    """Number of the event, or of the record, among those of the partition: one moves an instance once."""
    keep_until_us: TimeUs


def _settle(state: "PartitionState", table: "Table[Heard]", slots: NDArray[np.int64]) -> None:
    from household.journeys.effects import settle_heard  # what instances are follows from it

    settle_heard(state, slots)


HEARD = Declaration(
    name="heard",
    row=Heard,
    owner=Owner.HOUSEHOLD,
    due=(Due(column="keep_until_us"),),
    when_due=_settle,
    at_once=SETTLED_AT_ONCE,
    digest=Digest(section="heard", shape=Shape.LIST, told=named, is_always_there=False),
)
