"""What those who run Hearth, and its own connectors, may ask: snapshots, rejects, the clock.

Where nobody is asked who he is, they are for this machine only: a caller from elsewhere is refused, whatever address
the public port listens on. Where everybody is, serving/access/rights.py says who may.
"""

from __future__ import annotations

import asyncio
import ipaddress
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Final

from hearth.internal.v1 import shard_pb2
from hearth.v1 import admin_pb2
from serving.router import Router
from wire.batches import MESSAGE_BYTES_MAX
from wire.failures import Failure, FieldViolation, InvalidRequest, RequestTooLarge, failed, shortened
from wire.partitions import partition_of
from wire.positions import POSITION_BYTES_MAX, place_of
from wire.rejects import (
    DETAIL_LENGTH_MAX,
    ORIGINAL_BYTES_MAX,
    REASON_BYTES_MAX,
    REASON_FORM,
    REJECT_COUNT_MAX,
    is_mark,
)

TIMEOUT_S: Final = 120.0
"""For a call whose client sets no deadline: a snapshot writes and reads a whole partition."""


class AdminServices:
    """AdminService, which asks the owners of all partitions, or of those it concerns."""

    def __init__(self, router: Router, partition_count: int) -> None:
        self._router = router
        self._partition_count = partition_count

    async def snapshot(
        self, request: admin_pb2.SnapshotRequest, *, timeout_s: float, traceparent: str
    ) -> admin_pb2.SnapshotResponse:
        """Write and verify a snapshot of every partition; fails if one does, though others may be written."""
        payloads = dict.fromkeys(range(self._partition_count), b"")
        answers = await self._ask(shard_pb2.METHOD_SNAPSHOT, payloads, timeout_s, traceparent)
        snapshots = [admin_pb2.PartitionSnapshot.FromString(answer) for answer in answers]
        return admin_pb2.SnapshotResponse(snapshots=snapshots)

    async def reject(
        self, request: admin_pb2.RejectRequest, *, timeout_s: float, traceparent: str
    ) -> admin_pb2.RejectResponse:
        """Keep rejects with the partitions they belong to."""
        _check(request)
        parts: dict[int, admin_pb2.RejectRequest] = {}
        for reject in request.rejects:
            partition = reject_partition(reject.position, self._partition_count)
            kept = parts.setdefault(partition, admin_pb2.RejectRequest()).rejects.add()
            kept.CopyFrom(reject)
            kept.detail = shortened(reject.detail, DETAIL_LENGTH_MAX)
            kept.original = reject.original[:ORIGINAL_BYTES_MAX]
        payloads = {partition: part.SerializeToString() for partition, part in parts.items()}
        answers = await self._ask(shard_pb2.METHOD_REJECT, payloads, timeout_s, traceparent)
        return admin_pb2.RejectResponse(kept=sum(admin_pb2.RejectResponse.FromString(one).kept for one in answers))

    async def confirm_clock(
        self, request: admin_pb2.ConfirmClockRequest, *, timeout_s: float, traceparent: str
    ) -> admin_pb2.ConfirmClockResponse:
        """Tell every owner that the clock, as it is now, is right."""
        payloads = dict.fromkeys(range(self._partition_count), b"")
        answers = await self._ask(shard_pb2.METHOD_CONFIRM_CLOCK, payloads, timeout_s, traceparent)
        return admin_pb2.ConfirmClockResponse(partitions=len(answers))

    async def _ask(self, method: int, payloads: Mapping[int, bytes], timeout_s: float, traceparent: str) -> list[bytes]:
        """Return the owners' answers. If one fails the request fails, but not before all have been answered."""
        answers = await asyncio.gather(
            *(
                self._router.call(method, partition, payload, timeout_s=timeout_s, traceparent=traceparent)
                for partition, payload in payloads.items()
            ),
            return_exceptions=True,
        )
        answered = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            answered.append(answer)
        return answered


def reject_partition(position: str, partition_count: int) -> int:
    """Return the partition that keeps what stood at a position: of an event in a log, that log's own.

    >>> reject_partition("log:3/17/42", 8), reject_partition("file:calls.csv/9", 8)
    (3, 3)
    """
    place = place_of(position)
    if place is not None and place[0] < partition_count:
        return place[0]
    return partition_of(position.encode(), partition_count)


def is_local(peer: str) -> bool:
    """Tell whether a caller, as gRPC names it, is on this machine.

    >>> is_local("ipv4:127.0.0.1:5"), is_local("ipv6:%5B::1%5D:5"), is_local("unix:"), is_local("ipv4:10.0.0.9:5")
    (True, True, True, False)
    """
    kind, _, rest = urllib.parse.unquote(peer).partition(":")
    if kind in ("unix", "unix-abstract"):
        return True
    try:
        address = ipaddress.ip_address(rest.rpartition(":")[0].strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def check_local(peer: str) -> None:
    """Refuse a caller from elsewhere."""
    if not is_local(peer):
        raise failed(Failure.NOT_LOCAL, "this call is for programs on Hearth's own machine")


def _check(request: admin_pb2.RejectRequest) -> None:
    if (byte_count := request.ByteSize()) > MESSAGE_BYTES_MAX:
        raise RequestTooLarge(f"the request has {byte_count:,} bytes; at most {MESSAGE_BYTES_MAX:,}")
    if not 1 <= len(request.rejects) <= REJECT_COUNT_MAX:
        text = f"{len(request.rejects):,} rejects; wanted 1..{REJECT_COUNT_MAX:,}"
        raise InvalidRequest(FieldViolation(field="rejects", description=text))
    if found := tuple(_violations(request)):
        raise InvalidRequest(*found)


def _violations(request: admin_pb2.RejectRequest) -> Iterable[FieldViolation]:
    for index, reject in enumerate(request.rejects):
        where = f"rejects[{index}]"
        if not 1 <= len(reject.position.encode()) <= POSITION_BYTES_MAX:
            text = f"has {len(reject.position.encode())} bytes; wanted 1..{POSITION_BYTES_MAX}"
            yield FieldViolation(field=f"{where}.position", description=text)
        if len(reject.reason) > REASON_BYTES_MAX or not REASON_FORM.fullmatch(reject.reason):
            text = f"wanted 1..{REASON_BYTES_MAX} capitals, digits, _ and :"
            yield FieldViolation(field=f"{where}.reason", description=text)
        if place_of(reject.position) is not None and not is_mark(reject.reason):
            text = "names an event in a log, of which the partition's owner knows by itself"
            yield FieldViolation(field=f"{where}.position", description=text)
