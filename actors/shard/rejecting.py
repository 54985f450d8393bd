"""What senders could not get in, kept among a partition's rejects."""

import asyncio

from actors.partition.owner import PartitionOwner
from actors.rejects.entries import reject_of_request
from hearth.v1 import admin_pb2
from wire.failures import Failure, failed


async def keep_rejects(owner: PartitionOwner, payload: bytes, now_us: int) -> admin_pb2.RejectResponse:
    """Answer a Reject.

    Raises:
        CallFailed: this shard keeps none.
    """
    rejects = [reject_of_request(one, now_us) for one in admin_pb2.RejectRequest.FromString(payload).rejects]
    if owner.rejects is None:
        raise failed(Failure.NO_REJECTS, "this shard keeps no rejects")
    kept: int = await asyncio.wrap_future(owner.rejects.keep(rejects))
    return admin_pb2.RejectResponse(kept=kept)
