"""What has to lie together, where that is, and where it is to go."""

import struct
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from household.events import EventBatch
from household.graph.events import GraphKind
from household.graph.membership import is_cause, names_of
from household.relocation.births import key_of, rank_of
from household.relocation.component import component_of
from household.relocation.notes import Lies
from household.relocation.whereabouts import is_here, place_of
from household.state import PartitionState
from household.tables.graph_events import GraphEvent
from household.tables.relocations import HERE

AWAY = 2
"""Marks a row of a batch, among those that are bad, whose household lies elsewhere."""


def root_of(state: PartitionState, name: str) -> str:
    """Return the first of all names that one, which lies here, is tied to, or is to be."""
    roots = []
    for one in component_of(state, name).names:
        place = state.places.get(key_of(one))
        roots.append(one if place is None or not place.root else min(one, place.root, key=rank_of))
    return min(roots, key=rank_of)


def lies(state: PartitionState, name: str) -> Lies:
    """Return what is known here of where a name lies."""
    partition = place_of(state, key_of(name))
    return Lies(partition=partition, root=root_of(state, name) if partition == state.partition else "")


def names_needed(event: GraphEvent) -> list[str]:
    """Return all names that have to lie in one partition for a graph event to be applied there; in their order."""
    names = {one for one in names_of(event) if not is_cause(one)}
    if event.kind in (GraphKind.UNMERGE, GraphKind.CONFIRM):
        # They hold where the household lies that the event names as its own.
        (length,) = struct.unpack_from("<H", event.key)
        names.add(event.key[2 : 2 + length].decode(errors="surrogateescape"))
    return sorted(names - {""})


def all_here(state: PartitionState, event: GraphEvent) -> bool:
    """Return whether all that a graph event needs lies in this partition."""
    return all(is_here(state, key_of(name)) for name in names_needed(event))


def may_have_some(state: PartitionState) -> bool:
    """Return whether anything left that may not have come, or waits for what lies elsewhere. From any thread."""
    return bool(len(state.departures) or len(state.waiting))


def marked(state: PartitionState, batch: EventBatch) -> NDArray[np.uint8]:
    """Return `is_bad` of a batch with AWAY at events whose household, or identifier, lies elsewhere."""
    if state.partition_count == 1 or batch.count == 0:
        return batch.is_bad
    rows = state.households.find_all(batch.households.offsets, batch.households.letters)
    is_away = away_rows(state)[rows] != 0
    known = dict[bytes, bool]()
    # Whoever has a row and did not leave lies here. Of all others it follows from their names.
    for place in np.flatnonzero(rows < 0).tolist():
        key = batch.households[place]
        if (found := known.get(key)) is None:
            found = known[key] = not is_here(state, key)
        is_away[place] = found
    return np.where(is_away, batch.is_bad | AWAY, batch.is_bad).astype(np.uint8) if is_away.any() else batch.is_bad


def away_rows(state: PartitionState) -> NDArray[np.uint8]:
    """Return 1 for each row of a household that has left, with room behind it: the last is 0, for no row at all."""
    if state.away is None:
        state.away = np.zeros(16, np.uint8)
        note_away(state, (one.name for one in state.places if one.partition != HERE), is_away=True)
    if state.away.shape[0] <= state.households.count:
        state.away = np.append(state.away, np.zeros(state.households.count + 16, np.uint8))
    return state.away


def note_away(state: PartitionState, keys: Iterable[bytes], *, is_away: bool) -> None:
    """Know which rows have left, or came, from now on."""
    away = away_rows(state)
    for key in keys:
        if (row := state.households.find(key)) >= 0:
            away[row] = is_away
