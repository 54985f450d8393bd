"""Where a household lies, for whoever reads logs: in which partition as of a time, or on its way between two.

A log tells of its own partition alone. What left it says where to, and what is known of it from then on stands in
another log; between the two it is a row of the partition that it left.
"""

from collections.abc import Callable
from dataclasses import dataclass

from actors.log.contract import PartitionId
from household.relocation.packing import unpacked
from household.relocation.whereabouts import place_of
from household.state import PartitionState

HOPS_MOST = 64
"""A household goes on only for the sake of an earlier name, so it is found in far fewer."""


@dataclass(frozen=True, slots=True)
class OnItsWay:
    """A household that has left a partition and is not known there to have come."""

    source: int
    target: int
    number: int
    state: PartitionState
    """That knows what left at once, and nothing else."""

    def has_come(self, target: PartitionState) -> bool:
        """Return whether the partition that it went to has it."""
        arrival = target.arrivals.get(self.source)
        return arrival is not None and arrival.number >= self.number


@dataclass(frozen=True, slots=True)
class Lying:
    """Where a household lies, and the state that knows it."""

    partition: PartitionId
    """While it is on its way: that it left."""
    state: PartitionState


def next_place(state: PartitionState, household: bytes) -> PartitionId | None:
    """Return the partition in which a household lies as far as one knows; None for this one."""
    place = place_of(state, household)
    return None if place == state.partition else PartitionId(place)


def on_its_way(state: PartitionState, household: bytes) -> OnItsWay | None:
    """Return what has left this partition with a household, the newest; None where that is known to have come."""
    for one in sorted(state.departures, key=lambda one: one.number, reverse=True):
        found = unpacked(one.data, state.plan, stream_clock=state.stream_clock)
        if household.decode(errors="surrogateescape") in found.names:
            return OnItsWay(state.partition, one.target, one.number, found.state)
    return None


def lying(
    household: bytes, first: PartitionId, state_in: Callable[[PartitionId], PartitionState | None]
) -> Lying | None:
    """Return where a household lies as of a time.

    Args:
        household: its key.
        first: the partition in which it lay at first, by its name.
        state_in: returns a partition's state as of then; None where nothing of it was there.

    Returns:
        None where a partition that it went to has no state then, or does not have it although it is known to have come
        there: by clocks that differ.
    """
    partition, way = first, None
    for _ in range(HOPS_MOST):
        state = state_in(partition)
        if way is not None and (state is None or not way.has_come(state)):
            return Lying(PartitionId(way.source), way.state)
        if state is None:
            return None
        target = next_place(state, household)
        if target is None:
            return Lying(partition, state)
        partition, way = target, on_its_way(state, household)
    return None
