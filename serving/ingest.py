"""Signals on their way to their owners: batches that came one by one, in a stream, or with a question."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hearth.internal.v1 import shard_pb2
from hearth.v1 import signal_pb2
from household.graph.events import GRAPH_FIELDS, PROBABILITY
from serving.access.principal import Principal
from serving.arrow_streams import batch_from_arrow_stream, without_unknown
from serving.batches import Batches
from serving.boundary import Limits, Response, parsed
from serving.checks import check_outcomes, check_size
from serving.moved_signals import Piece, moved_pieces
from serving.owners import HOPS_MOST, Owners, on_its_way
from serving.settings import EdgeSettings
from serving.signal_batches import TooManyFields, batch_from_signals, pass_over
from serving.totals import StreamTotals, merged_response
from wire.failures import invalid
from wire.partitions import Pieces, split_by_partition

logger = logging.getLogger(__name__)

STREAM_WRAPPING_BYTES: Final = 5
"""What the message of a stream adds to a batch of the greatest size: a tag and a length."""
THREAD_BYTES: Final = 8 * 1024
"""Larger batches are converted in a thread: this takes about 1 ms, a megabyte about 50, and no decision should wait."""


class Ingest:
    """Makes batches of signals durable. Must be created and used in one event loop."""

    def __init__(self, owners: Owners, settings: EdgeSettings) -> None:
        self._owners = owners
        self._stream_depth = settings.stream_depth
        self._batches = Batches(
            wait_s_max=settings.ingest_wait_s_max,
            bytes_min=settings.ingest_bytes_min,
            bytes_max=settings.ingest_bytes_max,
        )
        self.lines = self._batches.lines
        """In which batches wait."""

    async def one(self, message: bytes, limits: Limits) -> signal_pb2.IngestResponse:
        """Make a batch durable and fold it, then answer with what became of each signal.

        Args:
            message: an IngestRequest; not parsed before it is known to be within the limits.
            limits: of the call.
        """
        check_size(message)
        with self._batches.joined(len(message), timeout_s=limits.timeout_s):
            pieces, passed_over = await self._pieces(message, signal_pb2.IngestRequest.FromString, limits)
            return await self._ingest_pieces(pieces, passed_over, limits)

    async def stream(self, messages: AsyncIterator[bytes], limits: Limits) -> signal_pb2.IngestStreamResponse:
        """Ingest batch after batch, a few under way at once; answer with the totals.

        Each owner gets its batches in their order, unless one had to be tried again.

        Args:
            messages: IngestStreamRequests; the next is read when there is room for it.
            limits: of each batch.
        """
        totals = StreamTotals()
        under_way: deque[asyncio.Task[signal_pb2.IngestResponse]] = deque()
        try:
            async for message in messages:
                if len(under_way) >= self._stream_depth:
                    totals.add(await under_way.popleft())
                check_size(message, wrapping=STREAM_WRAPPING_BYTES)
                async with self._batches.room(len(message)):
                    pieces, passed_over = await self._pieces(message, _batch_of_stream, limits)
                    ingesting = self._ingest_joined(pieces, passed_over, len(message), limits)
                    under_way.append(asyncio.create_task(ingesting))
                    await asyncio.sleep(0)  # it joins the line
            while under_way:
                totals.add(await under_way.popleft())
        finally:
            for task in under_way:
                task.cancel()
        return totals.response()

    async def described(self, request: signal_pb2.DescribeRequest, limits: Limits) -> bytes:
        """What the playbook in force takes, as the owner of one partition knows it: all have the same."""
        return await self._owners.of_partition(shard_pb2.METHOD_DESCRIBE, 0, request.SerializeToString(), limits)

    async def _known_fields(self, limits: Limits) -> frozenset[str]:
        """Return the names of the fields that the playbook in force knows, and those of graph events, as each does."""
        described = signal_pb2.DescribeResponse.FromString(await self.described(signal_pb2.DescribeRequest(), limits))
        declared = (field.name for event_type in described.types for field in event_type.fields)
        return frozenset((*declared, *GRAPH_FIELDS, PROBABILITY))

    async def _ingest_joined(
        self, pieces: Pieces, passed_over: list[signal_pb2.UnknownField], size: int, limits: Limits
    ) -> signal_pb2.IngestResponse:
        with self._batches.joined(size, timeout_s=None):
            return await self._ingest_pieces(pieces, passed_over, limits)

    async def _pieces(
        self, message: bytes, parse: Callable[[bytes], signal_pb2.IngestRequest], limits: Limits
    ) -> tuple[Pieces, list[signal_pb2.UnknownField]]:
        """Return the pieces of a request, and the fields that were passed over because it has too many of them."""
        try:
            return await self._aside(message, lambda: self._split(parsed(message, parse), limits.principal)), []
        except TooManyFields:
            known = await self._known_fields(limits)

        def split() -> tuple[Pieces, list[signal_pb2.UnknownField]]:
            request = parsed(message, parse)
            if request.arrow_stream:
                stream, passed_over = without_unknown(request.arrow_stream, known)
                request = signal_pb2.IngestRequest(arrow_stream=stream)
            else:
                passed_over = pass_over(request.signals, known)
            return self._split(request, limits.principal), passed_over

        pieces, passed_over = await self._aside(message, split)
        logger.warning("%d fields that no playbook field needs were passed over in a request", len(passed_over))
        return pieces, passed_over

    async def _aside(self, message: bytes, convert: Callable[[], Response]) -> Response:
        """Convert a message, in a thread if it is large."""
        return convert() if len(message) <= THREAD_BYTES else await self._batches.in_thread(convert)

    def _split(self, request: signal_pb2.IngestRequest, principal: Principal) -> Pieces:
        if bool(request.signals) == bool(request.arrow_stream):
            raise invalid("signals", "exactly one of signals and arrow_stream is to be given, and not empty")
        if request.arrow_stream:
            batch = batch_from_arrow_stream(request.arrow_stream)
        else:
            batch = batch_from_signals(request.signals)
        check_outcomes(batch, principal)
        return split_by_partition(batch, self._owners.partition_count, self._owners.places.of)

    async def _ingest_pieces(
        self, pieces: Pieces, passed_over: list[signal_pb2.UnknownField], limits: Limits
    ) -> signal_pb2.IngestResponse:
        """Send the pieces to their owners, and what has moved to where it lies.

        If one fails the request fails, but not before all have been answered.
        """
        parts: list[tuple[NDArray[np.int64], signal_pb2.IngestResponse]] = []
        left = [Piece(partition, rows, payload) for partition, (rows, payload) in pieces.items()]
        for _ in range(HOPS_MOST):
            answers = await asyncio.gather(
                *(
                    self._owners.of_partition(shard_pb2.METHOD_INGEST, one.partition, one.payload, limits)
                    for one in left
                ),
                return_exceptions=True,
            )
            moved: list[Piece] = []
            for piece, answer in zip(left, answers, strict=True):
                if isinstance(answer, BaseException):
                    raise answer
                parts.append((piece.rows, signal_pb2.IngestResponse.FromString(answer)))
                told = shard_pb2.MovedSignals.FromString(answer)
                if told.rows:
                    moved += moved_pieces(piece, told, self._owners.places)
            if not moved:
                return merged_response(parts, passed_over)
            left = moved
        raise on_its_way()

    async def with_question(self, signals: Sequence[signal_pb2.Signal], limits: Limits) -> pa.RecordBatch:
        """Return the batch of the signals that came with a question."""
        try:
            batch = batch_from_signals(signals)
        except TooManyFields:
            pass_over(signals, await self._known_fields(limits))
            batch = batch_from_signals(signals)
        check_outcomes(batch, limits.principal)
        return batch


def _batch_of_stream(message: bytes) -> signal_pb2.IngestRequest:
    return signal_pb2.IngestStreamRequest.FromString(message).batch
