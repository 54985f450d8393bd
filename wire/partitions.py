"""Which partition a household belongs to: what an edge splits by, and every tool that looks for a household."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from household.relocation.births import birth_of
from wire.batches import ipc_bytes
from wire.graph_rows import names_graph, placed

Pieces: TypeAlias = dict[int, tuple[NDArray[np.int64], bytes]]
"""Partition → (rows of the request, in order; the signal batch of these rows)."""


def partition_of(household: bytes, partition_count: int) -> int:
    """Return the partition of a household key: xxh3_64(key) % partition_count. Fixed for the life of a cluster.

    >>> partition_of(b"household-7", 8)
    4
    """
    return birth_of(household, partition_count)


def split_by_partition(
    batch: pa.RecordBatch, partition_count: int, place_of: Callable[[bytes], int] | None = None
) -> Pieces:
    """Return, per partition that occurs, the rows of the batch that belong to it and their signal batch (IPC).

    Rows keep their order within a partition. The place is looked up once per different key.

    Args:
        batch: a signal batch.
        partition_count: of the cluster.
        place_of: key → partition, where some are known to lie elsewhere than their hash says.
    """
    if batch.num_rows == 0:
        return {}
    household = batch.column("household")
    if names_graph(batch):
        batch, household = placed(batch)
    keys = household.dictionary_encode()
    if place_of is None:
        place_of = lambda key: partition_of(key, partition_count)  # noqa: E731
    key_partitions = np.array([place_of(key) for key in keys.dictionary.to_pylist()], np.int64)
    partitions = key_partitions[keys.indices.to_numpy()]
    first = int(partitions[0])
    if bool((partitions == first).all()):
        return {first: (np.arange(batch.num_rows), ipc_bytes(batch))}

    order = np.argsort(partitions, kind="stable")
    ordered = batch.take(pa.array(order))
    found, starts = np.unique(partitions[order], return_index=True)
    ends = [*starts[1:].tolist(), batch.num_rows]
    return {
        int(partition): (order[start:end], ipc_bytes(_compact(ordered.slice(start, end - start))))
        for partition, start, end in zip(found.tolist(), starts.tolist(), ends, strict=True)
    }


def _compact(piece: pa.RecordBatch) -> pa.RecordBatch:
    """Drop dictionary entries that this piece does not name: 256 pieces would else carry each dictionary 256 times."""
    columns = [
        _reencoded(column) if pa.types.is_dictionary(column.type) and len(column.dictionary) > len(column) else column
        for column in piece.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=piece.schema.names)


def _reencoded(column: pa.DictionaryArray) -> pa.DictionaryArray:
    indices, entries = column.indices, column.dictionary
    encoded = entries.take(indices).dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices.cast(indices.type), encoded.dictionary)
