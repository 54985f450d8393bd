"""How much of a capacity that all households share is a partition's."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CapacityShare:
    """One of the partitions. Nobody asks the others: in each window their shares add up to the whole."""

    partition: int = 0
    partition_count: int = 1

    def of(self, whole: int, from_us: int, until_us: int) -> int:
        """Return this partition's share of a whole in a window.

        What cannot be divided goes round, window by window, so that none is always without.

        >>> [CapacityShare(partition, 4).of(6, 0, 60) for partition in range(4)]
        [1, 2, 1, 2]
        >>> [CapacityShare(0, 4).of(1, minute * 60, minute * 60 + 60) for minute in range(4)]
        [0, 0, 0, 1]
        """
        turn = from_us // max(until_us - from_us, 1)
        place = (self.partition + turn) % self.partition_count
        return (place + 1) * whole // self.partition_count - place * whole // self.partition_count
