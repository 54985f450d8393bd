"""A shard's side of the hop from the edge: calls come in frames, each runs on its own, replies go back in frames.

Whatever reply is ready when the stream is free to write goes into the next frame; no timer is involved.
Calls to one partition stand in line; one that would not get its turn in time is refused, told from how long the first
in line has waited already.
What a call means is the handler's business; this file moves it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final, Protocol

import grpc
import grpc.aio

from actors.partition.caller import Caller, CallerGone
from hearth.internal.v1 import shard_pb2, shard_pb2_grpc
from hearth.v1 import delivery_pb2
from wire.failures import CallFailed, Failure, status_of, trailers
from wire.frames import FRAME_BYTES_MAX, METHODS_IN_LINE

logger = logging.getLogger(__name__)

CALLS_IN_FLIGHT_MAX: Final = 16_384
"""Per stream, whatever their deadlines: what they hold in memory."""
Context = grpc.aio.ServicerContext[shard_pb2.ExchangeRequest, shard_pb2.ExchangeResponse]


_TOO_LATE: Final = status_of(
    Failure.DEADLINE_EXCEEDED, "time ran out before it was its turn; ask again with the same id"
)


class CallHandler(Protocol):
    """Answers calls; a shard, or a stand-in. Calls of one stream start in the order in which they were sent."""

    async def call(self, method: int, partition: int, payload: bytes, caller: Caller | None, traceparent: str) -> bytes:
        """Return the serialized reply to one call of shard_pb2.Method.

        Never cancelled by the stream's end: what was handed to the log must be seen through.

        Raises:
            CallFailed: with the status for the caller. Anything else becomes INTERNAL and is logged.
            CallerGone: the caller did not wait, and nothing was handed to the log.
        """
        ...

    def deliveries(
        self, channels: Sequence[str], group: str = ""
    ) -> AsyncGenerator[delivery_pb2.SubscribeResponse, None]:
        """Yield the outbound actions of all partitions of this shard for these channels, shared within the group.

        Closed when the subscriber is gone; what was yielded and not acknowledged is delivered again to another.

        Raises:
            CallFailed: there is no such channel or group.
        """
        ...


class ExchangeServicer(shard_pb2_grpc.ShardServiceServicer):
    """ShardService on a grpc.aio server; one handler for all its streams."""

    def __init__(self, handler: CallHandler, *, calls_in_flight_max: int = CALLS_IN_FLIGHT_MAX) -> None:
        assert calls_in_flight_max > 0

        self._handler = handler
        self._calls_in_flight_max = calls_in_flight_max
        # asyncio itself keeps no reference to a task, and these outlive the stream that brought them.
        self._tasks: set[asyncio.Task[None]] = set()
        self._queues = Queues()

    @property
    def call_count(self) -> int:
        """Calls that are being answered, over all streams, those included whose stream has ended."""
        return len(self._tasks)

    async def settled(self) -> None:
        """Return once no call is being answered any more. For a shard that drains: refuse new calls first."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def Exchange(self, request_iterator: AsyncIterator[shard_pb2.ExchangeRequest], context: Context) -> None:
        """Carry calls and replies until the edge ends the stream.

        Of its calls, those that were handed to the log are seen through; their replies are dropped.
        """
        await context.send_initial_metadata(())  # tells the edge that it is connected
        stream = _Stream(self._handler, self._tasks, self._queues, self._calls_in_flight_max)
        reading = asyncio.create_task(stream.read(request_iterator))
        try:
            await stream.write(context)
        finally:
            reading.cancel()
            stream.end()

    async def Deliver(
        self, request: shard_pb2.DeliverRequest, context: Context
    ) -> AsyncIterator[shard_pb2.DeliverResponse]:
        """Stream the outbound actions of this shard."""
        await context.send_initial_metadata(())
        try:
            async with aclosing(self._handler.deliveries(tuple(request.channels), request.group)) as deliveries:
                async for delivery in deliveries:
                    yield shard_pb2.DeliverResponse(delivery=delivery)
        except CallFailed as failure:
            await context.abort(failure.code, failure.status.message, trailers(failure.status))


class Queues:
    """Since when the calls to each partition have waited, over all streams of a shard."""

    def __init__(self) -> None:
        self._since_s: dict[int, dict[Caller, float]] = {}
        """By partition; of its callers the first came first."""

    def is_late(self, partition: int, timeout_s: float, now_s: float) -> bool:
        """Return whether a newcomer would be too late: the first in line has already waited as long as it may."""
        queue = self._since_s.get(partition)
        while queue:
            first, since_s = next(iter(queue.items()))
            if first.is_waiting:
                return now_s - since_s >= timeout_s
            del queue[first]  # it gets no turn any more
        return False

    def join(self, partition: int, caller: Caller, now_s: float) -> None:
        """Get in line."""
        self._since_s.setdefault(partition, {})[caller] = now_s

    def leave(self, partition: int, caller: Caller) -> None:
        """Get out of line."""
        queue = self._since_s.get(partition, {})
        queue.pop(caller, None)
        if not queue:
            self._since_s.pop(partition, None)


class _Stream:
    """One Exchange: what is under way on it and what waits to be written."""

    def __init__(
        self, handler: CallHandler, tasks: set[asyncio.Task[None]], queues: Queues, calls_in_flight_max: int
    ) -> None:
        self._handler = handler
        self._tasks = tasks
        self._queues = queues
        self._callers: dict[int, Caller] = {}
        """Of the calls that are under way, by id."""
        self._calls_in_flight_max = calls_in_flight_max
        self._in_flight_count = 0
        self._replies: deque[tuple[int, int, bytes]] = deque()
        self._wake = asyncio.Event()
        self._is_read_out = False
        self._is_gone = False

    def end(self) -> None:
        """Nobody reads replies any more: whoever called has left."""
        self._is_gone = True
        for caller in self._callers.values():
            caller.leave()

    async def read(self, frames: AsyncIterator[shard_pb2.ExchangeRequest]) -> None:
        try:
            async for frame in frames:
                for call_id in frame.left:
                    if (caller := self._callers.get(call_id)) is not None:
                        caller.leave()
                for call in frame.calls:
                    self._start(call)
        finally:
            self._is_read_out = True
            self._wake.set()

    async def write(self, context: Context) -> None:
        """Write replies until the edge has ended its side and everything is answered."""
        while True:
            frame = self._next_frame()
            if frame.replies:
                await context.write(frame)
            elif self._is_read_out and self._in_flight_count == 0:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    def _start(self, call: shard_pb2.Call) -> None:
        if self._in_flight_count >= self._calls_in_flight_max:
            self._refuse(
                call, f"{self._calls_in_flight_max} calls are being answered on this stream, which is the most"
            )
            return
        caller = Caller(call.timeout_ms / 1_000 if call.timeout_ms else None)
        is_quick = call.method in METHODS_IN_LINE
        if is_quick:
            now_s = asyncio.get_running_loop().time()
            if caller.timeout_s is not None and self._queues.is_late(call.partition, caller.timeout_s, now_s):
                self._refuse(call, f"partition {call.partition}: too many wait to be answered in time")
                return
            self._queues.join(call.partition, caller, now_s)
        self._callers[call.id] = caller
        self._in_flight_count += 1
        task = asyncio.create_task(self._answer(call, caller, is_quick=is_quick))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _refuse(self, call: shard_pb2.Call, message: str) -> None:
        refusal = status_of(Failure.OVERLOADED, message)
        self._reply(call.id, refusal.code, refusal.SerializeToString())

    async def _answer(self, call: shard_pb2.Call, caller: Caller, *, is_quick: bool) -> None:
        try:
            payload = await self._handler.call(call.method, call.partition, call.payload, caller, call.traceparent)
            code = 0
        except CallFailed as failure:
            code, payload = failure.status.code, failure.status.SerializeToString()
        except CallerGone:
            code, payload = _TOO_LATE.code, _TOO_LATE.SerializeToString()
        except Exception:  # the gRPC boundary: one call's defect must not end its stream
            logger.exception("method %s failed on partition %s", call.method, call.partition)
            defect = status_of(Failure.INTERNAL, "a defect in the shard; it was logged")
            code, payload = defect.code, defect.SerializeToString()
        finally:
            self._in_flight_count -= 1
            del self._callers[call.id]
            if is_quick:
                self._queues.leave(call.partition, caller)
        self._reply(call.id, code, payload)

    def _reply(self, call_id: int, code: int, payload: bytes) -> None:
        if not self._is_gone:
            self._replies.append((call_id, code, payload))
            self._wake.set()

    def _next_frame(self) -> shard_pb2.ExchangeResponse:
        frame, byte_count = shard_pb2.ExchangeResponse(), 0
        while self._replies and byte_count < FRAME_BYTES_MAX:
            call_id, code, payload = self._replies.popleft()
            frame.replies.add(id=call_id, code=code, payload=payload)
            byte_count += len(payload)
        return frame
