"""Where a name lies at first: in which of how many partitions, by its hash alone."""

import xxhash


def birth_of(name: bytes, partition_count: int) -> int:
    """Return the partition of a name: xxh3_64(name) % partition_count. Fixed for the life of a cluster.

    >>> birth_of(b"household-7", 8)
    4
    """
    return xxhash.xxh3_64_intdigest(name) % partition_count


def key_of(name: str) -> bytes:
    """Return a name as a key."""
    return name.encode(errors="surrogateescape")


def rank_of(name: str) -> tuple[int, str]:
    """Return the place of a name among all names: of names that are tied together the first one says where they lie."""
    return xxhash.xxh3_64_intdigest(key_of(name)), name
