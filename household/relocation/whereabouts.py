"""Where a name lies: here, or where it went. One that never moved lies where its hash says."""

from typing import TYPE_CHECKING

from household.relocation.births import birth_of
from household.tables.relocations import HERE

if TYPE_CHECKING:
    from household.state import PartitionState


class LiesElsewhere(Exception):
    """What is asked about lies in another partition, or is to be asked for there."""

    def __init__(self, partition: int) -> None:
        super().__init__(f"it lies in partition {partition}")
        self.partition = partition


def place_of(state: "PartitionState", key: bytes) -> int:
    """Return the partition in which a name lies, as far as is known here: this one, or where to ask."""
    if state.partition_count == 1:
        return state.partition
    place = state.places.get(key)
    if place is not None:
        return state.partition if place.partition == HERE else place.partition
    return birth_of(key, state.partition_count)


def is_here(state: "PartitionState", key: bytes) -> bool:
    """Return whether a name lies in this partition."""
    return place_of(state, key) == state.partition


def check_here(state: "PartitionState", key: bytes) -> None:
    """Raise LiesElsewhere unless a name lies in this partition."""
    if (partition := place_of(state, key)) != state.partition:
        raise LiesElsewhere(partition)
