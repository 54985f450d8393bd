"""Signals that were sent where what they are about does not lie any more, on their way to where it does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hearth.internal.v1 import shard_pb2
from serving.places import KnownPlaces
from wire.batches import ipc_bytes
from wire.graph_rows import names_graph, placed


class Piece(NamedTuple):
    """Some signals of a request for one partition."""

    partition: int
    rows: NDArray[np.int64]
    """Of the request, in order."""
    payload: bytes
    """Their signal batch."""


def moved_pieces(piece: Piece, moved: shard_pb2.MovedSignals, places: KnownPlaces) -> list[Piece]:
    """Return what of a piece lies elsewhere, for where it lies; know that from now on."""
    with pa.ipc.open_stream(pa.py_buffer(piece.payload)) as stream:
        batch = stream.read_next_batch()
    rows, partitions = np.array(moved.rows, np.int64), np.array(moved.partitions, np.int64)
    away = batch.take(pa.array(rows))
    keys = placed(away)[1] if names_graph(away) else away.column("household")
    for key, partition in zip(keys.to_pylist(), partitions.tolist(), strict=True):
        places.learn(key, partition)
    found = []
    for partition in np.unique(partitions).tolist():
        chosen = np.flatnonzero(partitions == partition)
        found.append(Piece(partition, piece.rows[rows[chosen]], ipc_bytes(away.take(pa.array(chosen)))))
    return found
