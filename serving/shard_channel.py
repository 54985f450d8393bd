"""The edge's side of the hop to a shard: one stream with many calls on it.

A call that waits while another frame is being sent travels in the next frame, together with all others that wait then.
No timer is involved: an idle stream sends a lone call at once. Decisions go before ingest batches, which wait for a
while but not for ever. Who has left is told to the shard.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

import grpc
import grpc.aio
from google.rpc import status_pb2

from hearth.internal.v1 import shard_pb2, shard_pb2_grpc
from hearth.v1 import delivery_pb2
from serving.admission import Line, Lines
from wire import hop
from wire.failures import CallFailed, Failure, failed, status_of
from wire.frames import EDGE_OPTIONS, FRAME_BYTES_MAX
from wire.installation import Installation

logger = logging.getLogger(__name__)

BULK_WAIT_S_MAX: Final = 0.1
"""A batch that waits for longer goes before the decisions, one in each frame."""

TIMEOUT_MS_MAX: Final = 2**31 - 1
"""The longest deadline that a frame can tell of; a caller that waits for months is told of no shorter one."""

Exchange = grpc.aio.StreamStreamCall[shard_pb2.ExchangeRequest, shard_pb2.ExchangeResponse]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """Time limits of the hop to the shards."""

    call_timeout_s: float = 1.0
    """For a call that brings none of its own."""
    connect_timeout_s: float = 2.0
    backoff_first_s: float = 0.05
    backoff_max_s: float = 1.0
    """Between attempts to connect; doubles from first to max. Calls fail at once in the meantime."""
    routes_timeout_s: float = 1.0
    """For one question to the coordinator."""
    silence_s_max: float = 0.5
    """A shard that says nothing for so long although it was asked may be stopped; then the routes are asked for."""
    hand_over_s_max: float = 3.0
    """A call waits so long at most for a partition that is being handed over to another shard."""
    take_over_s_max: float = 10.0
    """Calls wait, within their own time, for a partition that lost its owner less than so long ago."""
    wait_s_max: float = 0.2
    """A call that would have to wait for longer is refused."""
    installation: Installation | None = None
    """By which shards know us; None, in tests, says nothing."""
    line_length_min: int = 32
    """Calls to one shard that may wait whatever its pace, which is not known before it has answered some."""

    def __post_init__(self) -> None:
        assert self.call_timeout_s > 0
        assert self.connect_timeout_s > 0
        assert 0 < self.backoff_first_s <= self.backoff_max_s
        assert self.routes_timeout_s > 0
        assert self.silence_s_max > 0
        assert self.hand_over_s_max > 0
        assert self.take_over_s_max > 0
        assert self.wait_s_max > 0
        assert self.line_length_min > 0


@dataclass(slots=True, kw_only=True)
class _OpenCall:
    """A call whose answer is awaited."""

    call_id: int
    method: int
    partition: int
    payload: bytes
    deadline_s: float
    """Of the loop's clock."""
    made_s: float
    traceparent: str
    reply: asyncio.Future[shard_pb2.Reply]
    is_sent: bool = False


class ShardChannel:
    """One long-lived stream to one shard, shared by all callers of this process.

    Calls answer in their own time. When the stream breaks, every open call fails with OUTCOME_UNKNOWN (it may have been
    carried out) and the channel connects again; a call made while that does not succeed fails with SHARD_UNREACHABLE
    (it was not carried out). Must be created and used in one event loop.
    """

    def __init__(self, address: str, settings: ClientSettings, lines: Lines | None = None) -> None:
        self.address = address
        self._settings = settings
        self.line = Line(
            lines or Lines(),
            wait_s_max=settings.wait_s_max,
            length_min=settings.line_length_min,
            monotonic_s=asyncio.get_running_loop().time,
        )
        self._left: list[int] = []
        """Calls that were sent and whose callers have left since."""
        self._ids = itertools.count(1)
        self._open: dict[int, _OpenCall] = {}
        self._waiting: deque[_OpenCall] = deque()
        self._waiting_bulk: deque[_OpenCall] = deque()
        self._wake = asyncio.Event()
        self._is_down = False
        self._is_retired = False
        self._has_stood = False
        self._connected = asyncio.Event()
        self._unanswered_since_s: float | None = None
        """When it was first asked what it has not answered, after it was heard last."""
        self._grpc_channel: grpc.aio.Channel | None = None
        self._running = asyncio.get_running_loop().create_task(self._run(), name=f"shard channel {address}")

    @property
    def open_call_count(self) -> int:
        """How many calls wait for an answer."""
        return len(self._open)

    @property
    def is_silent(self) -> bool:
        """Whether the shard has said nothing for too long, though calls wait for its answers."""
        if self._unanswered_since_s is None or not self._open:
            return False
        now_s = asyncio.get_running_loop().time()
        return now_s - self._unanswered_since_s > self._settings.silence_s_max

    @property
    def is_lost(self) -> bool:
        """Whether the shard cannot be reached: its stream broke or could not be made, and stands no more."""
        return self._is_down or (self._has_stood and not self._connected.is_set())

    async def connected(self) -> None:
        """Return once the stream stands."""
        await self._connected.wait()

    async def call(
        self, method: int, partition: int, payload: bytes, *, timeout_s: float | None = None, traceparent: str = ""
    ) -> bytes:
        """Return the owner's answer to one call.

        A caller that is cancelled is forgotten; its call may be carried out all the same.

        Raises:
            CallFailed: the shard's status; or SHARD_UNREACHABLE, OUTCOME_UNKNOWN, DEADLINE_EXCEEDED.
        """
        if self._is_down:
            raise failed(Failure.SHARD_UNREACHABLE, "the partition's shard cannot be reached at present")

        loop = asyncio.get_running_loop()
        now_s = loop.time()
        limit_s = self._settings.call_timeout_s if timeout_s is None else timeout_s
        call = _OpenCall(
            call_id=next(self._ids),
            method=method,
            partition=partition,
            payload=payload,
            deadline_s=now_s + limit_s,
            made_s=now_s,
            traceparent=traceparent,
            reply=loop.create_future(),
        )
        self._open[call.call_id] = call
        if self._unanswered_since_s is None:
            self._unanswered_since_s = now_s
        (self._waiting_bulk if method == shard_pb2.METHOD_INGEST else self._waiting).append(call)
        self._wake.set()
        try:
            async with asyncio.timeout_at(call.deadline_s):
                reply = await call.reply
        except TimeoutError:
            raise deadline_exceeded() from None
        finally:
            del self._open[call.call_id]
            if call.is_sent and (call.reply.cancelled() or not call.reply.done()):
                self._left.append(call.call_id)
                self._wake.set()
            if self._is_retired:
                self._wake.set()
        if reply.code:
            raise CallFailed(status_pb2.Status.FromString(reply.payload))
        return reply.payload

    async def deliveries(
        self, channels: Sequence[str], group: str = ""
    ) -> AsyncGenerator[delivery_pb2.SubscribeResponse, None]:
        """Yield the shard's outbound actions of these channels, shared within a group, until its stream breaks.

        Raises:
            grpc.aio.AioRpcError: the stream broke.
        """
        await self.connected()
        assert self._grpc_channel is not None, "connected without a channel"
        stub = shard_pb2_grpc.ShardServiceStub(self._grpc_channel)
        request = shard_pb2.DeliverRequest(channels=channels, group=group)
        responses = stub.Deliver(request, metadata=hop.introduction(self._settings.installation))
        try:
            async for response in responses:
                yield response.delivery
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Closing a connection cancels its streams, which grpc.aio tells as if it were this task that was cancelled.
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "the stream to the shard broke"
            ) from None
        finally:
            responses.cancel()

    def retire(self) -> None:
        """Close the channel as soon as its open calls are answered; it takes no further ones afterwards."""
        self._is_retired = True
        self.line.close()
        self._wake.set()

    def give_up(self) -> None:
        """Wait no longer for open calls: they fail with OUTCOME_UNKNOWN."""
        self._fail_open_calls(Failure.OUTCOME_UNKNOWN, "the shard is silent and owns the partition no longer")

    async def ended(self) -> None:
        """Return once the channel has closed."""
        await asyncio.wait((self._running,))

    async def close(self) -> None:
        """Close the channel; open calls fail with OUTCOME_UNKNOWN. May be called twice."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        backoff_s = self._settings.backoff_first_s
        try:
            while not self._is_finished():
                was_connected = await self._serve_one_connection()
                if self._is_finished():
                    break
                backoff_s = self._settings.backoff_first_s if was_connected else backoff_s
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, self._settings.backoff_max_s)
        finally:
            self._is_down = True
            self._fail_open_calls(Failure.OUTCOME_UNKNOWN, "the edge is closing its stream to the shard")

    def _is_finished(self) -> bool:
        return self._is_retired and not self._open

    async def _serve_one_connection(self) -> bool:
        """Connect and serve until the stream breaks or the channel is retired; True if the stream stood at all."""
        installation = self._settings.installation
        async with hop.channel(self.address, EDGE_OPTIONS, installation) as grpc_channel:
            stub = shard_pb2_grpc.ShardServiceStub(grpc_channel)
            exchange = stub.Exchange(metadata=hop.introduction(installation))
            try:
                async with asyncio.timeout(self._settings.connect_timeout_s):
                    await exchange.wait_for_connection()
            except (TimeoutError, grpc.aio.AioRpcError) as error:
                self._is_down = True
                self._fail_open_calls(Failure.SHARD_UNREACHABLE, "the partition's shard cannot be reached")
                logger.info("shard at %s cannot be reached: %s", self.address, reason_of_end(error))
                return False

            self._grpc_channel, self._is_down, self._has_stood = grpc_channel, False, True
            self._left.clear()  # of another stream
            self._connected.set()
            try:
                await self._exchange(exchange)
            finally:
                self._connected.clear()
                self._grpc_channel = None
                self._fail_open_calls(Failure.OUTCOME_UNKNOWN, "the stream to the shard broke before it answered")
        return True

    async def _exchange(self, exchange: Exchange) -> None:
        reader = asyncio.create_task(self._read(exchange))
        writer = asyncio.create_task(self._write(exchange))
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            reader.cancel()
            writer.cancel()
            exchange.cancel()
            results = await asyncio.gather(reader, writer, return_exceptions=True)
        for error in results:
            if isinstance(error, Exception):
                logger.info("stream to shard at %s ended: %s", self.address, reason_of_end(error))

    async def _read(self, exchange: Exchange) -> None:
        async for frame in exchange:
            for reply in frame.replies:
                call = self._open.get(reply.id)
                if call is not None and not call.reply.done():
                    call.reply.set_result(reply)
            is_owing = any(not call.reply.done() for call in self._open.values())
            self._unanswered_since_s = asyncio.get_running_loop().time() if is_owing else None

    async def _write(self, exchange: Exchange) -> None:
        """Send whatever waits as one frame, then whatever has come to wait meanwhile as the next."""
        while not self._is_finished():
            frame = self._next_frame()
            if frame.calls or frame.left:
                await exchange.write(frame)
            else:
                self._wake.clear()
                await self._wake.wait()

    def _next_frame(self) -> shard_pb2.ExchangeRequest:
        frame, byte_count = shard_pb2.ExchangeRequest(left=self._left), 0
        self._left.clear()
        now_s = asyncio.get_running_loop().time()
        is_bulk_due = bool(self._waiting_bulk) and now_s - self._waiting_bulk[0].made_s > BULK_WAIT_S_MAX
        while (self._waiting or self._waiting_bulk) and byte_count < FRAME_BYTES_MAX:
            is_bulk, is_bulk_due = is_bulk_due or not self._waiting, False
            call = self._waiting_bulk.popleft() if is_bulk else self._waiting.popleft()
            if call.call_id not in self._open:
                continue  # its caller has given up
            call.is_sent = True
            frame.calls.add(
                id=call.call_id,
                partition=call.partition,
                method=call.method,
                payload=call.payload,
                timeout_ms=int(min(max(1, (call.deadline_s - now_s) * 1_000), TIMEOUT_MS_MAX)),
                traceparent=call.traceparent,
            )
            byte_count += len(call.payload)
        return frame

    def _fail_open_calls(self, failure: Failure, message: str) -> None:
        self._waiting.clear()
        self._waiting_bulk.clear()
        self._unanswered_since_s = None
        status = status_of(failure, message)
        for call in self._open.values():
            if not call.reply.done():
                payload = status.SerializeToString()
                call.reply.set_result(shard_pb2.Reply(id=call.call_id, code=status.code, payload=payload))


def deadline_exceeded() -> CallFailed:
    """Return what a caller is told whose time is over."""
    message = "time ran out before the household's shard answered; it may have been done: ask again with the same id"
    return failed(Failure.DEADLINE_EXCEEDED, message)


def reason_of_end(error: BaseException) -> str:
    """Return why a connection or a question ended, for a log."""
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name} {error.details()}"
    return f"{type(error).__name__} {error}"
