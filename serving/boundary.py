"""Where calls of the public port meet gRPC: parsed, with a deadline, observed, ended with a status that says why."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeAlias, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2

from serving.access.door import STREAM_LOOK_EVERY_S, Door
from serving.access.principal import ANYBODY, Principal
from serving.access.tokens import KeysWanted
from wire.failures import CallFailed, Failure, code_of, failed, status_of, trailers

logger = logging.getLogger(__name__)

Response = TypeVar("Response")
Context = grpc.aio.ServicerContext[Message, Message]
Handler: TypeAlias = "grpc.RpcMethodHandler[Message, Message]"


REFUSED = frozenset((grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED))


class RequestObserver(Protocol):
    """Told of every request. Called in the event loop: hand over, do not work, do not raise."""

    def began(self, method: str, traceparent: str) -> str:
        """Return the traceparent for the shards; empty when this request is not traced.

        Args:
            method: e.g. "/hearth.v1.DecisionService/Decide".
            traceparent: what the client sent, unchecked; empty for nothing.
        """
        ...

    def ended(
        self, *, method: str, code: grpc.StatusCode, started_ns: int, ended_ns: int, parent: str, traceparent: str
    ) -> None:
        """Called once for each `began`; `parent` is what it was given, `traceparent` what it returned.

        The times are of the monotonic clock.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a call may still use, and the trace it belongs to."""

    timeout_s: float
    traceparent: str
    peer: str = ""
    """From where the call came, as gRPC names it."""
    principal: Principal = ANYBODY
    """Who calls; `ANYBODY` where nobody is asked."""


class Boundary:
    """Makes gRPC's handlers of what answers requests, so that each call is treated alike."""

    def __init__(
        self,
        *,
        observer: RequestObserver | None,
        in_flight_max: int | None,
        refusal: Callable[[], CallFailed],
        door: Door | None = None,
    ) -> None:
        """Take who is told of every request, and how many may be answered at once with what one more is told.

        Args:
            observer: told of every request.
            in_flight_max: how many may be answered at once.
            refusal: what one more is told.
            door: lets callers in; None lets in everybody.
        """
        self._observer = observer
        self._door = door
        self._in_flight_max = in_flight_max
        self._refusal = refusal
        self.in_flight_count = 0
        """Unary calls that are being answered."""

    def unary(
        self,
        method: str,
        handle: Callable[[Any, Limits], Awaitable[Message | bytes]],
        parse: Callable[[bytes], Any],
        timeout_s: float,
        *,
        may_be_refused: bool = True,
    ) -> tuple[str, Handler]:
        """Return a handler by its full name; `parse` makes the request of the bytes that came."""
        in_flight_max = self._in_flight_max if may_be_refused else None

        async def work(message: bytes, context: Context, traceparent: str, principal: Principal) -> Message | bytes:
            if in_flight_max is not None and self.in_flight_count > in_flight_max:
                raise self._refusal()
            request = parsed(message, parse)
            if self._door is not None:
                await self._door.trace(method, principal, request)
            return await handle(request, _limits(context, timeout_s, traceparent, principal))

        async def answer(message: bytes, context: Context) -> Message | bytes:
            self.in_flight_count += 1
            try:
                return await self._guarded(method, context, lambda *known: work(message, context, *known))
            finally:
                self.in_flight_count -= 1

        # Bytes, since what gRPC itself cannot parse it answers with INTERNAL.
        return method, grpc.unary_unary_rpc_method_handler(cast(Any, answer), None, _serialized)

    def client_stream(
        self,
        method: str,
        handle: Callable[[AsyncIterator[bytes], Limits], Coroutine[Any, Any, Message]],
        timeout_s: float,
    ) -> tuple[str, Handler]:
        """Return a handler of many messages, by its full name."""

        async def answer(messages: AsyncIterator[bytes], context: Context) -> Message:
            def work(traceparent: str, principal: Principal) -> Coroutine[Any, Any, Message]:
                answer = handle(messages, _limits(context, timeout_s, traceparent, principal))
                return self._watched(method, context, principal, answer)

            return await self._guarded(method, context, work)

        return method, grpc.stream_unary_rpc_method_handler(cast(Any, answer), None, _serialized)

    def server_stream(
        self,
        method: str,
        handle: Callable[[Any, Limits], AsyncGenerator[Message, None]],
        parse: Callable[[bytes], Any],
    ) -> tuple[str, Handler]:
        """Return a handler that answers with many messages, by its full name."""

        async def work(message: bytes, context: Context, traceparent: str, principal: Principal) -> None:
            answers = handle(parsed(message, parse), _limits(context, float("inf"), traceparent, principal))
            await self._watched(method, context, principal, _pass_on(answers, context))

        async def answer(message: bytes, context: Context) -> None:
            await self._guarded(method, context, lambda *known: work(message, context, *known))

        return method, grpc.unary_stream_rpc_method_handler(cast(Any, answer), None, _serialized)

    def refused_unread(self, method: str) -> None:
        """Tell whoever watches of a call that was refused before its message was read."""
        if self._observer is not None:
            now_ns = time.monotonic_ns()
            traceparent = self._observer.began(method, "")
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            self._observer.ended(
                method=method, code=code, started_ns=now_ns, ended_ns=now_ns, parent="", traceparent=traceparent
            )

    async def _watched(
        self, method: str, context: Context, principal: Principal, work: Coroutine[Any, Any, Response]
    ) -> Response:
        """Await a stream's end; end it when its caller may no longer have it, for what he showed has expired, say."""
        if self._door is None:
            return await work
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait((task,), timeout=STREAM_LOOK_EVERY_S))[0]:
                try:
                    self._door.look(method, context).check_keeps(principal)
                except KeysWanted:
                    logger.debug("a stream of %s goes on until the issuer's keys are fetched", method)
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait((task,))

    async def _answer_of(
        self, method: str, context: Context, traceparent: str, work: Callable[[str, Principal], Awaitable[Response]]
    ) -> Response:
        door = self._door
        if door is None:
            return await work(traceparent, ANYBODY)
        principal = await door.let_in(method, context)
        try:
            return await work(traceparent, principal)
        except CallFailed as failure:
            if failure.code in REFUSED:
                door.note_refusal(method, principal, context, failure.reason)
            raise
        finally:
            door.leave(principal)

    async def _guarded(
        self, method: str, context: Context, work: Callable[[str, Principal], Awaitable[Response]]
    ) -> Response:
        """Await the answer; turn a failure into its status, details included; tell the observer how it ended.

        `work` is given the traceparent to hand on, and who calls.
        """
        started_ns = time.monotonic_ns()
        parent = _traceparent(context)
        traceparent = "" if self._observer is None else self._observer.began(method, parent)
        code = grpc.StatusCode.CANCELLED  # unless it ends otherwise
        try:
            answer = await self._answer_of(method, context, traceparent, work)
            code = grpc.StatusCode.OK
            return answer
        except CallFailed as failure:
            code = failure.code
            await abort(context, failure.status)
        except (grpc.aio.InternalError, grpc.aio.UsageError) as gone:
            # Of writing to a client that has left meanwhile. An end like any other: no defect of ours, nothing to log.
            if not has_left(context):
                raise
            raise asyncio.CancelledError from gone
        except Exception:  # the gRPC boundary: a defect must reach the log, and its caller as INTERNAL
            logger.exception("%s failed", method)
            code = grpc.StatusCode.INTERNAL
            await abort(context, status_of(Failure.INTERNAL, "a defect in Hearth; it was logged"))
        finally:
            if self._observer is not None:
                self._observer.ended(
                    method=method,
                    code=code,
                    started_ns=started_ns,
                    ended_ns=time.monotonic_ns(),
                    parent=parent,
                    traceparent=traceparent,
                )


def parsed(message: bytes, parse: Callable[[bytes], Response]) -> Response:
    """Return the request that a message holds.

    Raises:
        CallFailed: MALFORMED; it holds none.
    """
    try:
        return parse(message)
    except DecodeError:
        text = f"the {len(message):,} bytes are no message of this method: were they made with its .proto?"
        raise failed(Failure.MALFORMED, text) from None


async def abort(context: grpc.aio.ServicerContext[Any, Any], status: status_pb2.Status) -> NoReturn:
    """End a call with a status, its details included (trailer `grpc-status-details-bin`).

    Raises:
        asyncio.CancelledError: the client has left meanwhile. That is no defect, and gRPC makes no traceback of it.
    """
    try:
        await context.abort(code_of(status), status.message, trailers(status))
    except (grpc.aio.UsageError, grpc.aio.InternalError) as gone:
        if not has_left(context):
            raise
        raise asyncio.CancelledError from gone


def has_left(context: grpc.aio.ServicerContext[Any, Any]) -> bool:
    """Return whether a call has ended for its client, who then hears nothing of it any more."""
    return bool(context.done() or context.cancelled())


def set_status(context: grpc.aio.ServicerContext[Any, Any], status: status_pb2.Status) -> None:
    """Say how a call ends, details included; it ends when its handler returns."""
    context.set_code(code_of(status))
    context.set_details(status.message)
    context.set_trailing_metadata(trailers(status))


def _limits(context: Context, timeout_s: float, traceparent: str, principal: Principal) -> Limits:
    remaining_s = cast(float | None, context.time_remaining())  # None without a deadline
    return Limits(
        timeout_s=timeout_s if remaining_s is None else remaining_s,
        traceparent=traceparent,
        peer=context.peer(),
        principal=principal,
    )


def _traceparent(context: Context) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent":
            return str(value)
    return ""


async def _pass_on(messages: AsyncGenerator[Message, None], context: Context) -> None:
    async with aclosing(messages):
        async for message in messages:
            await context.write(message)


def _serialized(message: Message | bytes) -> bytes:
    """Replies of shards are bytes already and are passed on unread."""
    return message if isinstance(message, bytes) else message.SerializeToString()
