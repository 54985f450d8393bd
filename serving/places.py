"""Where names lie that are not where their hash says, as far as this edge was told."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from wire.partitions import partition_of

PLACES_MOST: Final = 1_000_000
"""Names that an edge remembers, some 200 bytes each. What it forgets costs one call more."""


class KnownPlaces:
    """The partitions of names. One that is out of date costs one call more: owners know better, and say so."""

    def __init__(self, partition_count: int, *, most: int = PLACES_MOST) -> None:
        """Know of nothing that moved."""
        self.partition_count = partition_count
        self._most = most
        self._by_key: OrderedDict[bytes, int] = OrderedDict()

    def of(self, key: bytes) -> int:
        """Return the partition to ask for a household's key or an identifier."""
        known = self._by_key.get(key)
        if known is not None:
            return known
        return partition_of(key, self.partition_count)

    def learn(self, key: bytes, partition: int) -> None:
        """Know what an owner said."""
        self._by_key[key] = partition
        self._by_key.move_to_end(key)
        if len(self._by_key) > self._most:
            self._by_key.popitem(last=False)
