"""Signals that came from an edge, folded, and what it is told of them."""

import numpy as np

from actors.partition import answers
from actors.partition.caller import Caller
from actors.partition.group import Folded
from actors.partition.owner import PartitionOwner
from actors.state_thread import StateThread, Urgency
from hearth.internal.v1 import shard_pb2
from hearth.v1 import signal_pb2
from household.events import EventBatch, Status
from household.relocation.whereabouts import place_of


async def ingested(owner: PartitionOwner, state_thread: StateThread, payload: bytes, caller: Caller) -> bytes:
    """Append, sync and fold a signal batch; return what became of it, and behind that what lies elsewhere.

    Raises:
        What PartitionOwner.signals raises.
    """
    folded = await owner.signals(payload, caller=caller)
    response = signal_pb2.IngestResponse(
        counts=answers.signal_counts(folded.applied.statuses),
        rejections=await answers.rejections(folded, payload),
        unknown_fields=answers.unknown_fields(folded.batch),
    )
    answer = response.SerializeToString()
    if not (folded.applied.statuses == Status.MOVED).any():
        return answer
    moved = await state_thread.run(Urgency.INGEST, lambda: _moved(owner, folded))
    return answer + moved.SerializeToString()


def _moved(owner: PartitionOwner, folded: Folded) -> shard_pb2.MovedSignals:
    """Return the rows of a batch that lie in other partitions, and in which. In the state thread."""
    rows = np.flatnonzero(folded.applied.statuses == Status.MOVED).tolist()
    partitions = [place_of(owner.state, _named(folded.batch, row)) for row in rows]
    return shard_pb2.MovedSignals(rows=rows, partitions=partitions)


def _named(batch: EventBatch, row: int) -> bytes:
    identifier = batch.identifiers[row] if batch.identifiers.offsets.shape[0] else b""
    return identifier or batch.households[row]
