"""A component: names that graph events tie together, their events, and the rows that have what is known of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from household.graph.graph import BASE, span_key
from household.graph.timeline import ALWAYS_US
from household.state import PartitionState

_ROW_BYTES = 256
"""Of a row of a table, its words among them, or a graph event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """What moves together, because events that share a name may depend on one another."""

    names: tuple[str, ...]
    """Of households, subjects and identifiers; in their order."""
    events: tuple[bytes, ...]
    """Keys of its graph events, in the order in which they hold."""


def component_of(state: PartitionState, name: str) -> Component:
    """Return the component of a name; it alone, if no graph event spoke of it."""
    names, events = state.graph.membership.tied(name) if state.graph else ({name}, ())
    return Component(names=tuple(sorted(names)), events=tuple(events))


def size_of(state: PartitionState, component: Component) -> int:
    """Return about how many bytes a component comes to as it travels, by what there is most of. Rather too many."""
    rows = rows_of(state, component).tolist()
    told = sum(len(table.slots_of(row)) for table in (state.recent_signals, state.heard) for row in rows)
    cells = len(rows) * (state.layout.household_initial.shape[0] + state.layout.member_initial.shape[0])
    return 32 * int(cells) + _ROW_BYTES * (told + len(component.events) + len(component.names))


def rows_of(state: PartitionState, component: Component) -> NDArray[np.int64]:
    """Return the rows of households that have what is known of a component, in their order."""
    timelines = state.graph.membership.timelines if state.graph else {}
    found = set()
    for name in component.names:
        timeline = timelines.get(name)
        for start_us in timeline.spoken_of_us if timeline is not None else (ALWAYS_US,):
            text = span_key(name, start_us)
            for key in (text, text + BASE):
                found.add(state.households.find(key.encode(errors="surrogateescape")))
    return np.array(sorted(found - {-1}), np.int64)
