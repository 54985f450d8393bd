"""Components taken out of one partition's state, and put into another's."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from household.relocation.component import Component, rows_of
from household.relocation.ids import known_ids, learn_ids
from household.relocation.packing import packed, unpacked
from household.relocation.rows import copy_rows, drop_rows, tell_events
from household.state import NEVER_US, PartitionState
from household.tables.graph_events import GRAPH_EVENTS


def taken_out(state: PartitionState, components: Sequence[Component], roots: Mapping[str, str]) -> bytes:
    """Return all that a state knows of components, and let it know nothing of them any more.

    Args:
        state: changed in place.
        components: none of them twice.
        roots: by name, what goes along with it.
    """
    rows = np.unique(np.concatenate([rows_of(state, one) for one in components]))
    alone = PartitionState(
        plan=state.plan, stream_clock=state.stream_clock, partition=state.partition, now_us=state.now_us
    )
    for one in components:
        tell_events(state, alone, one.events)
    copy_rows(state, alone, rows)
    ids = known_ids(state, roots)
    for one in components:
        if one.events:
            state.graph.drop(one.names[0])
    drop_rows(state, rows)
    return packed(alone, names=roots, ids=ids)


def put_in(state: PartitionState, data: bytes) -> Mapping[str, str]:
    """Let a state know components; return their names and what goes along with each.

    Nothing is to be known there of any of them.

    Raises:
        ComponentUnreadable: another plan is in force, for one; nothing has changed.
    """
    told = unpacked(data, state.plan, stream_clock=state.stream_clock)
    alone = told.state
    # What was forgotten there since it would be late must be late here.
    state.now_us = max(state.now_us, alone.now_us)
    tell_events(alone, state, _keys(alone))
    rows = copy_rows(alone, state, np.arange(alone.households.count))
    learn_ids(state, told.ids)
    if rows and state.tidied_us == NEVER_US:
        state.tidied_us = state.now_us
    # Whoever owns the partition decides what waits to be decided.
    state.arisen.update(dict.fromkeys(row for row in rows if state.pending.of(row)))
    return told.names


def _keys(state: PartitionState) -> Iterable[bytes]:
    return [one.key for one in state.tables.of(GRAPH_EVENTS)]
