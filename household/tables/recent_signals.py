"""Signals that named an identifier, for as long as it may turn out that somebody else held it then."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from household.tables.contract import Bytes, Declaration, Digest, Due, Number, Owner, Shape, TimeUs

if TYPE_CHECKING:
    from household.state import PartitionState
    from household.tables.table import Table


@dataclass(slots=True)
class RecentSignal:
    """An event that was folded, as the columns had it. Replaced, never changed."""

    time_us: TimeUs
    type_index: Number
    """Of the plan in force: all of these are forgotten when another comes into force."""
    values: Bytes
    """(field, value) of those that it carried, 16 bytes each."""


def _settle(state: "PartitionState", table: "Table[RecentSignal]", slots: NDArray[np.int64]) -> None:
    from household.graph.folding import settle_signals  # the fold of features knows this table

    settle_signals(state, slots)


RECENT_SIGNALS = Declaration(
    name="recent_signals",
    row=RecentSignal,
    owner=Owner.HOUSEHOLD,
    due=(Due(column="time_us", after_us=lambda plan: plan.clock.lateness_us + 1),),
    when_due=_settle,
    digest=Digest(
        section="recent_signals",
        shape=Shape.SET,
        told=lambda one, _: [one.time_us, one.type_index, one.values.hex()],
        is_always_there=False,
    ),
)
