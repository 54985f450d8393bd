"""Where a decision's record stands: in this partition's log, or, of a household that came later, in another's.

The record stays where it was written. Of this log it is the offset; of another's the partition stands above it.
"""

_SHIFT = 48

OWN_BELOW = 1 << _SHIFT
"""Positions in this partition's own log are below that."""


def parts_of(position: int) -> tuple[int | None, int]:
    """Return the partition in whose log a record stands, None for this one's, and its offset."""
    partition, offset = position >> _SHIFT, position & (OWN_BELOW - 1)
    return (partition - 1 if partition else None), offset


def carried(position: int, source: int, target: int) -> int:
    """Return a position of one partition as another has it; what is less than 0 stands nowhere.

    >>> parts_of(carried(7, 3, 5)), parts_of(carried(carried(7, 3, 5), 5, 3))
    ((3, 7), (None, 7))
    """
    if position < 0:
        return position
    partition, offset = parts_of(position)
    partition = source if partition is None else partition
    return offset if partition == target else ((partition + 1) << _SHIFT) | offset
