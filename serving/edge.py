"""The public services: checks a request, finds the shards it concerns, asks them, and says clearly what went wrong.

Plain grpc.aio handlers that know nothing of Ray. Owns admission and default deadlines; keeps no state between requests.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol, TypeAlias, TypeVar, cast

import grpc
import grpc.aio
import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection
from numpy.typing import NDArray

from hearth.internal.v1 import shard_pb2
from hearth.v1 import admin_pb2, decision_pb2, delivery_pb2, household_pb2, signal_pb2
from household.events import LONGEST_KEY, NO_TIME_US
from serving import admin, identity
from serving.accepting import AcceptingServer
from serving.arrow_streams import batch_from_arrow_stream, without_unknown
from serving.batches import Batches
from serving.gate import Admission, Gate
from serving.shard_client import OUTCOME_PATIENCE, QUESTION_PATIENCE, Router
from serving.signal_batches import (
    DELIVERED,
    TYPE_BY_OUTCOME,
    UNDELIVERED,
    TooManyFields,
    batch_from_signals,
    microseconds,
    pass_over,
    report_batch,
)
from serving.status import abort, has_left
from serving.totals import UnknownTotals, add_counts, at_index, merged_response
from wire.batches import MESSAGE_BYTES_MAX, REJECTION_COUNT_MAX, ipc_bytes
from wire.failures import (
    CallFailed,
    Failure,
    FieldViolation,
    InvalidRequest,
    RequestTooLarge,
    failed,
    invalid,
    status_of,
    told_status,
)
from wire.partitions import Pieces, partition_of, split_by_partition

logger = logging.getLogger(__name__)

SIGNAL_SERVICE: Final = "hearth.v1.SignalService"
DECISION_SERVICE: Final = "hearth.v1.DecisionService"
DELIVERY_SERVICE: Final = "hearth.v1.DeliveryService"
HOUSEHOLD_SERVICE: Final = "hearth.v1.HouseholdService"
ADMIN_SERVICE: Final = "hearth.v1.AdminService"
HEALTH_SERVICE: Final = "grpc.health.v1.Health"
PUBLIC_SERVICES: Final = (SIGNAL_SERVICE, DECISION_SERVICE, DELIVERY_SERVICE, HOUSEHOLD_SERVICE)
SERVICE_NAMES: Final = (*PUBLIC_SERVICES, ADMIN_SERVICE, HEALTH_SERVICE)

DECIDE_SIGNAL_COUNT_MAX: Final = 1_000
"""What came with a question must be folded within the question's deadline; more belongs into Ingest."""
CHANNEL_COUNT_MAX: Final = 64
DECISION_COUNT_MAX: Final = 100
STREAM_WRAPPING_BYTES: Final = 5
"""What the message of a stream adds to a batch of the greatest size: a tag and a length."""
RESUBSCRIBE_S: Final = 0.2
"""Between a broken stream of deliveries and the next try."""
THREAD_BYTES: Final = 8 * 1024
"""Larger batches are converted in a thread: this takes about 1 ms, a megabyte about 50, and no decision should wait."""

SERVER_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    # A little above our own limit, so that what is just over it gets our explanation instead of gRPC's.
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX + 1024 * 1024),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # Calls that gRPC holds before a taker hears of them: few, unless the processors are taken. Nobody knows how long
    # they have waited: with its own 3,000 that is seconds. With fewer than 1,000 a burst ends CANCELLED, not refused.
    ("grpc.server.max_pending_requests", 1_000),
    ("grpc.server.max_pending_requests_hard_limit", 1_500),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)

Response = TypeVar("Response")
Context = grpc.aio.ServicerContext[Message, Message]
Handler: TypeAlias = "grpc.RpcMethodHandler[Message, Message]"
Readiness = Callable[[], Awaitable[bool]]
"""True while every partition has an owner that has caught up with its log."""
Clock = Callable[[], int]
"""Microseconds since 1970 UTC."""


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
class EdgeSettings:
    """Limits of the public services."""

    timeout_s: float = 1.0
    """For a call whose client sets no deadline."""
    ingest_timeout_s: float = 30.0
    """For an Ingest, and for each batch of an IngestStream, whose client sets no deadline."""
    in_flight_max: int | None = None
    """Unary calls in one edge process; None leaves it to the pace at which they are answered."""
    ingest_wait_s_max: float = 5.0
    """An Ingest whose batch would have to wait for longer is refused."""
    ingest_bytes_min: int = 32 * 1024 * 1024
    """Of batches that may wait whatever the pace at which they are taken."""
    ingest_bytes_max: int = 256 * 1024 * 1024
    """Of batches that may wait in one edge process, since they are held in memory."""
    stream_depth: int = 4
    """Batches of one IngestStream that are under way at once."""
    delivery_age_s_max: float = 1.0
    """An outbound action that waited longer for a slow gateway is dropped here, to be checked and handed over again."""
    delivery_queue_length: int = 64
    """Deliveries that wait for one slow subscriber before the shards are slowed down."""
    routes_age_s_max: float = 1.0
    """How old a subscription's and a health check's picture of the shards may be."""

    def __post_init__(self) -> None:
        assert 0 < self.timeout_s <= self.ingest_timeout_s
        assert self.in_flight_max is None or self.in_flight_max > 0
        assert self.ingest_wait_s_max > 0
        assert 0 < self.ingest_bytes_min <= self.ingest_bytes_max
        assert self.stream_depth > 0
        # Nothing would ever be handed over.
        assert self.delivery_age_s_max > 0
        assert self.delivery_queue_length > 0
        assert self.routes_age_s_max > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a call may still use, and the trace it belongs to."""

    timeout_s: float
    traceparent: str
    peer: str = ""
    """Who calls, as gRPC names it."""


class PublicServices:
    """SignalService, DecisionService, DeliveryService, HouseholdService and Health on one grpc.aio server.

    Must be created and used in one event loop.
    """

    def __init__(
        self,
        router: Router,
        partition_count: int,
        readiness: Readiness,
        *,
        settings: EdgeSettings | None = None,
        now_us: Clock | None = None,
        observer: RequestObserver | None = None,
    ) -> None:
        """Take what the services need.

        Args:
            router: the way to the shards.
            partition_count: of the cluster, fixed at its birth.
            readiness: what health answers.
            settings: limits.
            now_us: the time of arrival, for reports without a time. None leaves it to the partition's owner: the report
                then carries NO_TIME_US.
            observer: told of every request.
        """
        assert partition_count > 0

        self._router = router
        self._partition_count = partition_count
        self._readiness = readiness
        self._settings = settings or EdgeSettings()
        self._now_us = now_us
        self._observer = observer
        self._in_flight_count = 0
        self._batches = Batches(
            wait_s_max=self._settings.ingest_wait_s_max,
            bytes_min=self._settings.ingest_bytes_min,
            bytes_max=self._settings.ingest_bytes_max,
        )
        self._admin = admin.AdminServices(router, partition_count)

    @property
    def in_flight_count(self) -> int:
        """Unary calls that are being answered."""
        return self._in_flight_count

    def add_to(self, server: grpc.aio.Server, *, development: bool = False) -> None:
        """Register all services on a server; in development reflection, too."""
        handlers, admissions = self._handlers(), self._admissions()
        if isinstance(server, AcceptingServer):
            gated = {name: handlers[name] for name in admissions}
            server.add_gated_methods(gated, admissions, self._refused_unread)
        for service in SERVICE_NAMES:
            methods = {name: handlers[name] for name in handlers if name.startswith(f"/{service}/")}
            server.add_generic_rpc_handlers((Gate(service, methods, admissions, self._refused_unread),))
        if development:
            reflection.enable_server_reflection((*SERVICE_NAMES, reflection.SERVICE_NAME), server)

    # --- SignalService -----------------------------------------------------------------------------------------------

    async def ingest(self, message: bytes, limits: Limits) -> signal_pb2.IngestResponse:
        """Make a batch durable and fold it, then answer with what became of each signal.

        Args:
            message: an IngestRequest; not parsed before it is known to be within the limits.
            limits: of the call.
        """
        _check_size(message)
        with self._batches.joined(len(message), timeout_s=limits.timeout_s):
            pieces, passed_over = await self._pieces(message, signal_pb2.IngestRequest.FromString, limits)
            return await self._ingest_pieces(pieces, passed_over, limits)

    async def ingest_stream(self, messages: AsyncIterator[bytes], limits: Limits) -> signal_pb2.IngestStreamResponse:
        """Ingest batch after batch, a few under way at once; answer with the totals.

        Each owner gets its batches in their order, unless one had to be tried again.

        Args:
            messages: IngestStreamRequests; the next is read when there is room for it.
            limits: of each batch.
        """
        totals = _StreamTotals()
        under_way: deque[asyncio.Task[signal_pb2.IngestResponse]] = deque()
        try:
            async for message in messages:
                if len(under_way) >= self._settings.stream_depth:
                    totals.add(await under_way.popleft())
                _check_size(message, wrapping=STREAM_WRAPPING_BYTES)
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

    async def describe(self, request: signal_pb2.DescribeRequest, limits: Limits) -> bytes:
        """What the playbook in force takes, as the owner of one partition knows it: all have the same."""
        return await self._call(shard_pb2.METHOD_DESCRIBE, 0, request.SerializeToString(), limits)

    async def _known_fields(self, limits: Limits) -> frozenset[str]:
        """Return the names of the fields that the playbook in force knows."""
        described = signal_pb2.DescribeResponse.FromString(await self.describe(signal_pb2.DescribeRequest(), limits))
        return frozenset(field.name for event_type in described.types for field in event_type.fields)

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
            return await self._aside(message, lambda: self._split(parsed(message, parse))), []
        except TooManyFields:
            known = await self._known_fields(limits)

        def split() -> tuple[Pieces, list[signal_pb2.UnknownField]]:
            request = parsed(message, parse)
            if request.arrow_stream:
                stream, passed_over = without_unknown(request.arrow_stream, known)
                request = signal_pb2.IngestRequest(arrow_stream=stream)
            else:
                passed_over = pass_over(request.signals, known)
            return self._split(request), passed_over

        pieces, passed_over = await self._aside(message, split)
        logger.warning("%d fields that no playbook field needs were passed over in a request", len(passed_over))
        return pieces, passed_over

    async def _aside(self, message: bytes, convert: Callable[[], Response]) -> Response:
        """Convert a message, in a thread if it is large."""
        return convert() if len(message) <= THREAD_BYTES else await self._batches.in_thread(convert)

    def _split(self, request: signal_pb2.IngestRequest) -> Pieces:
        if bool(request.signals) == bool(request.arrow_stream):
            raise invalid("signals", "exactly one of signals and arrow_stream is to be given, and not empty")
        if request.arrow_stream:
            batch = batch_from_arrow_stream(request.arrow_stream)
        else:
            batch = batch_from_signals(request.signals)
        return split_by_partition(batch, self._partition_count)

    async def _ingest_pieces(
        self, pieces: Pieces, passed_over: list[signal_pb2.UnknownField], limits: Limits
    ) -> signal_pb2.IngestResponse:
        """Send the pieces to their owners. If one fails the request fails, but not before all have been answered."""
        answers = await asyncio.gather(
            *(
                self._call(shard_pb2.METHOD_INGEST, partition, payload, limits)
                for partition, (_, payload) in pieces.items()
            ),
            return_exceptions=True,
        )
        parts: list[tuple[NDArray[np.int64], signal_pb2.IngestResponse]] = []
        for (rows, _), answer in zip(pieces.values(), answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            parts.append((rows, signal_pb2.IngestResponse.FromString(answer)))
        return merged_response(parts, passed_over)

    # --- DecisionService ---------------------------------------------------------------------------------------------

    async def decide(self, request: decision_pb2.DecideRequest, limits: Limits) -> bytes:
        """Ask the household's owner for its decision; the answer is passed on unread."""
        _check(_decide_violations(request))
        call = shard_pb2.DecideCall(request=request, request_hash=identity.decide_hash(request))
        if request.signals:
            call.request.ClearField("signals")
            call.signal_batch = ipc_bytes(await self._batch(request.signals, limits))
        return await self._call_owner(shard_pb2.METHOD_DECIDE, request.household, call, limits)

    async def _batch(self, signals: Sequence[signal_pb2.Signal], limits: Limits) -> pa.RecordBatch:
        try:
            return batch_from_signals(signals)
        except TooManyFields:
            pass_over(signals, await self._known_fields(limits))
        return batch_from_signals(signals)

    async def report(self, request: decision_pb2.ReportRequest, limits: Limits) -> bytes:
        """Make an outcome durable and fold it, then say what the action's status is."""
        _check(
            (
                *_key_violations(
                    request_id=request.request_id, household=request.household, action_id=request.action_id
                ),
                *_text_violations(member=request.member, channel=request.channel),
                *_outcome_violations(request.outcome),
            )
        )
        request_hash = identity.report_hash(request)
        batch = report_batch(
            request_id=request.request_id,
            household=request.household,
            member=request.member,
            event_type=TYPE_BY_OUTCOME[request.outcome],
            action_id=request.action_id,
            channel=request.channel,
            time_us=microseconds(request.time) if request.HasField("time") else self._arrival_us(),
            request_hash=request_hash,
        )
        call = shard_pb2.ReportCall(
            signal_batch=batch,
            household=request.household,
            action_id=request.action_id,
            channel=request.channel,
            request_id=request.request_id,
            request_hash=request_hash,
        )
        return await self._call_owner(shard_pb2.METHOD_REPORT, request.household, call, limits)

    # --- DeliveryService ---------------------------------------------------------------------------------------------

    async def subscribe(
        self, request: delivery_pb2.SubscribeRequest
    ) -> AsyncGenerator[delivery_pb2.SubscribeResponse, None]:
        """Stream outbound actions of these channels, shared within the group, for as long as the gateway listens."""
        if not 1 <= len(request.channels) <= CHANNEL_COUNT_MAX:
            raise invalid("channels", f"{len(request.channels)} channels; wanted 1..{CHANNEL_COUNT_MAX}")
        _check(
            FieldViolation(field=f"channels[{index}]", description=f"wanted 1..{LONGEST_KEY} bytes")
            for index, channel in enumerate(request.channels)
            if not 1 <= len(channel.encode()) <= LONGEST_KEY
        )
        _check(_text_violations(group=request.group))
        subscription = _Subscription(self._router, tuple(request.channels), self._settings, group=request.group)
        try:
            while True:
                yield await subscription.next()
        finally:
            await subscription.close()

    async def ack(self, request: delivery_pb2.AckRequest, limits: Limits) -> bytes:
        """Make an acknowledgement durable and fold it."""
        _check(
            (
                *_key_violations(
                    request_id=request.request_id, household=request.household, action_id=request.action_id
                ),
                *_text_violations(channel=request.channel, group=request.group),
            )
        )
        request_hash = identity.ack_hash(request)
        batch = report_batch(
            request_id=request.request_id,
            household=request.household,
            member="",
            event_type=DELIVERED if request.delivered else UNDELIVERED,
            action_id=request.action_id,
            channel=request.channel,
            time_us=self._arrival_us(),
            group=request.group,
            request_hash=request_hash,
        )
        call = shard_pb2.ReportCall(
            signal_batch=batch,
            household=request.household,
            action_id=request.action_id,
            channel=request.channel or None,
            group=request.group,
            request_id=request.request_id,
            request_hash=request_hash,
        )
        return await self._call_owner(shard_pb2.METHOD_ACK, request.household, call, limits)

    # --- HouseholdService --------------------------------------------------------------------------------------------

    async def get(self, request: household_pb2.GetRequest, limits: Limits) -> bytes:
        """What is known of a household."""
        _check(_key_violations(household=request.household))
        return await self._call_owner(shard_pb2.METHOD_GET, request.household, request, limits)

    async def explain(self, request: household_pb2.ExplainRequest, limits: Limits) -> bytes:
        """Why it was decided so."""
        _check((*_key_violations(household=request.household), *_text_violations(decision_id=request.decision_id)))
        return await self._call_owner(shard_pb2.METHOD_EXPLAIN, request.household, request, limits)

    async def decisions(self, request: household_pb2.DecisionsRequest, limits: Limits) -> bytes:
        """A household's newest decisions."""
        violations = list(_key_violations(household=request.household))
        if not 0 <= request.limit <= DECISION_COUNT_MAX:
            text = f"is {request.limit}; wanted 0..{DECISION_COUNT_MAX}, 0 meaning 20"
            violations.append(FieldViolation(field="limit", description=text))
        _check(violations)
        return await self._call_owner(shard_pb2.METHOD_DECISIONS, request.household, request, limits)

    # --- Health ------------------------------------------------------------------------------------------------------

    async def check_health(
        self, request: health_pb2.HealthCheckRequest, limits: Limits
    ) -> health_pb2.HealthCheckResponse:
        """SERVING while every partition has an owner that has caught up; unknown services are NOT_FOUND."""
        if request.service and request.service not in SERVICE_NAMES:
            text = f"no service {request.service[:100]!r}; there are {', '.join(SERVICE_NAMES)}"
            raise failed(Failure.UNKNOWN_SERVICE, text)
        return health_pb2.HealthCheckResponse(status=await self._health())

    async def watch_health(
        self, request: health_pb2.HealthCheckRequest
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse, None]:
        """The health now, and again whenever it has changed."""
        is_known = not request.service or request.service in SERVICE_NAMES
        last: int | None = None
        while True:
            status = await self._health() if is_known else health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            if status != last:
                yield health_pb2.HealthCheckResponse(status=status)
                last = status
            await asyncio.sleep(self._settings.routes_age_s_max)

    async def _health(self) -> int:
        is_ready = await self._readiness()
        return health_pb2.HealthCheckResponse.SERVING if is_ready else health_pb2.HealthCheckResponse.NOT_SERVING

    # --- calls -------------------------------------------------------------------------------------------------------

    async def _call_owner(self, method: int, household: str, message: Message, limits: Limits) -> bytes:
        partition = partition_of(household.encode(), self._partition_count)
        return await self._call(method, partition, message.SerializeToString(), limits)

    async def _call(self, method: int, partition: int, payload: bytes, limits: Limits) -> bytes:
        return await self._router.call(
            method, partition, payload, timeout_s=limits.timeout_s, traceparent=limits.traceparent
        )

    def _arrival_us(self) -> int:
        return self._now_us() if self._now_us is not None else NO_TIME_US

    # --- the gRPC boundary -------------------------------------------------------------------------------------------

    def _handlers(self) -> dict[str, Handler]:
        settings = self._settings
        short_s, long_s = settings.timeout_s, settings.ingest_timeout_s
        unary, stream = self._unary, self._server_stream
        check = watch = health_pb2.HealthCheckRequest.FromString
        explain = household_pb2.ExplainRequest.FromString
        decisions = household_pb2.DecisionsRequest.FromString
        handlers = (
            unary(f"/{SIGNAL_SERVICE}/Ingest", self.ingest, bytes, long_s),
            self._client_stream(f"/{SIGNAL_SERVICE}/IngestStream", long_s),
            unary(f"/{SIGNAL_SERVICE}/Describe", self.describe, signal_pb2.DescribeRequest.FromString, short_s),
            unary(f"/{DECISION_SERVICE}/Decide", self.decide, decision_pb2.DecideRequest.FromString, short_s),
            unary(f"/{DECISION_SERVICE}/Report", self.report, decision_pb2.ReportRequest.FromString, short_s),
            stream(f"/{DELIVERY_SERVICE}/Subscribe", self.subscribe, delivery_pb2.SubscribeRequest.FromString),
            unary(f"/{DELIVERY_SERVICE}/Ack", self.ack, delivery_pb2.AckRequest.FromString, short_s),
            unary(f"/{HOUSEHOLD_SERVICE}/Get", self.get, household_pb2.GetRequest.FromString, short_s),
            unary(f"/{HOUSEHOLD_SERVICE}/Explain", self.explain, explain, short_s),
            unary(f"/{HOUSEHOLD_SERVICE}/Decisions", self.decisions, decisions, short_s),
            self._admin_call("Snapshot", self._admin.snapshot, admin_pb2.SnapshotRequest.FromString),
            self._admin_call("Reject", self._admin.reject, admin_pb2.RejectRequest.FromString),
            self._admin_call("ConfirmClock", self._admin.confirm_clock, admin_pb2.ConfirmClockRequest.FromString),
            unary(f"/{HEALTH_SERVICE}/Check", self.check_health, check, short_s),
            stream(f"/{HEALTH_SERVICE}/Watch", self.watch_health, watch),
        )
        return dict(handlers)

    def _unary(
        self,
        method: str,
        handle: Callable[[Any, Limits], Awaitable[Message | bytes]],
        parse: Callable[[bytes], Any],
        timeout_s: float,
    ) -> tuple[str, Handler]:
        in_flight_max = self._settings.in_flight_max
        is_health = method.startswith(f"/{HEALTH_SERVICE}/")  # an overloaded edge is not a dead one

        async def work(message: bytes, context: Context, traceparent: str) -> Message | bytes:
            if in_flight_max is not None and self._in_flight_count > in_flight_max and not is_health:
                raise self._router.lines.refusal()
            return await handle(parsed(message, parse), _limits(context, timeout_s, traceparent))

        async def answer(message: bytes, context: Context) -> Message | bytes:
            self._in_flight_count += 1
            try:
                return await self._guarded(method, context, lambda traceparent: work(message, context, traceparent))
            finally:
                self._in_flight_count -= 1

        # Bytes, since what gRPC itself cannot parse it answers with INTERNAL.
        return method, grpc.unary_unary_rpc_method_handler(cast(Any, answer), None, _serialized)

    def _admin_call(
        self, name: str, handle: Callable[..., Awaitable[Message]], parse: Callable[[bytes], Message]
    ) -> tuple[str, Handler]:
        async def answer(request: Message, limits: Limits) -> Message:
            return await handle(request, peer=limits.peer, timeout_s=limits.timeout_s, traceparent=limits.traceparent)

        return self._unary(f"/{ADMIN_SERVICE}/{name}", answer, parse, admin.TIMEOUT_S)

    def _client_stream(self, method: str, timeout_s: float) -> tuple[str, Handler]:
        async def answer(messages: AsyncIterator[bytes], context: Context) -> signal_pb2.IngestStreamResponse:
            return await self._guarded(
                method,
                context,
                lambda traceparent: self.ingest_stream(messages, _limits(context, timeout_s, traceparent)),
            )

        return method, grpc.stream_unary_rpc_method_handler(cast(Any, answer), None, _serialized)

    def _server_stream(
        self,
        method: str,
        handle: Callable[[Any], AsyncGenerator[Message, None]],
        parse: Callable[[bytes], Any],
    ) -> tuple[str, Handler]:
        async def work(message: bytes, context: Context) -> None:
            await _pass_on(handle(parsed(message, parse)), context)

        async def answer(message: bytes, context: Context) -> None:
            await self._guarded(method, context, lambda _: work(message, context))

        return method, grpc.unary_stream_rpc_method_handler(cast(Any, answer), None, _serialized)

    def _admissions(self) -> dict[str, Admission]:
        questions = (
            f"/{DECISION_SERVICE}/Decide",
            f"/{HOUSEHOLD_SERVICE}/Get",
            f"/{HOUSEHOLD_SERVICE}/Explain",
            f"/{HOUSEHOLD_SERVICE}/Decisions",
        )
        outcomes = (f"/{DECISION_SERVICE}/Report", f"/{DELIVERY_SERVICE}/Ack")
        lines = self._router.lines
        return {
            **dict.fromkeys(questions, Admission(lines=lines, patience=QUESTION_PATIENCE)),
            **dict.fromkeys(outcomes, Admission(lines=lines, patience=OUTCOME_PATIENCE)),
            f"/{SIGNAL_SERVICE}/Ingest": Admission(lines=self._batches.lines),
        }

    def _refused_unread(self, method: str) -> None:
        if self._observer is not None:
            now_ns = time.monotonic_ns()
            traceparent = self._observer.began(method, "")
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            self._observer.ended(
                method=method, code=code, started_ns=now_ns, ended_ns=now_ns, parent="", traceparent=traceparent
            )

    async def _guarded(self, method: str, context: Context, work: Callable[[str], Awaitable[Response]]) -> Response:
        """Await the answer; turn a failure into its status, details included; tell the observer how it ended.

        `work` is given the traceparent to hand on.
        """
        started_ns = time.monotonic_ns()
        parent = _traceparent(context)
        traceparent = "" if self._observer is None else self._observer.began(method, parent)
        code = grpc.StatusCode.CANCELLED  # unless it ends otherwise
        try:
            answer = await work(traceparent)
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


class _Subscription:
    """Outbound actions of some channels from all shards, wherever the partitions are."""

    def __init__(self, router: Router, channels: tuple[str, ...], settings: EdgeSettings, *, group: str = "") -> None:
        self._router = router
        self._channels = channels
        self._group = group
        self._refusal: asyncio.Future[NoReturn] = asyncio.get_running_loop().create_future()
        """Failed once a shard says that there is no such channel or group."""
        self._routes_age_s_max = settings.routes_age_s_max
        self._age_s_max = settings.delivery_age_s_max
        self._queue: asyncio.Queue[tuple[float, delivery_pb2.SubscribeResponse]] = asyncio.Queue(
            settings.delivery_queue_length
        )
        """Deliveries, and when they came in the loop's time."""
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._following = asyncio.create_task(self._follow())

    async def next(self) -> delivery_pb2.SubscribeResponse:
        """Return the next delivery that is fresh from its shard.

        Consent, quiet hours and the lease were checked when it left there. What has waited here for a slow gateway is
        dropped: nobody has it, so the shard hands it over again, after checking again.

        Raises:
            CallFailed: a shard refuses the subscription.
        """
        while True:
            came_s, delivery = await self._next_of_any()
            if asyncio.get_running_loop().time() - came_s <= self._age_s_max:
                return delivery

    async def _next_of_any(self) -> tuple[float, delivery_pb2.SubscribeResponse]:
        getting = asyncio.ensure_future(self._queue.get())
        try:
            await asyncio.wait((getting, self._refusal), return_when=asyncio.FIRST_COMPLETED)
            return getting.result() if getting.done() else self._refusal.result()
        finally:
            getting.cancel()

    async def close(self) -> None:
        if not self._refusal.cancel() and not self._refusal.cancelled():
            self._refusal.exception()  # seen, whether or not anybody waited for it
        tasks = (self._following, *self._pumps.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self) -> None:
        """Keep one stream to each shard that owns something."""
        while True:
            routes = await self._router.routes(age_s_max=self._routes_age_s_max)
            addresses = set(routes.owners.values()) if routes is not None else set()
            for address in self._pumps.keys() - addresses:
                self._pumps.pop(address).cancel()
            for address in addresses - self._pumps.keys():
                self._pumps[address] = asyncio.create_task(self._pump(address))
            await asyncio.sleep(self._routes_age_s_max)

    async def _pump(self, address: str) -> None:
        """Take the deliveries of one shard, again after its stream broke: what is not acknowledged comes again."""
        while True:
            channel = self._router.channel(address)
            try:
                async with aclosing(channel.deliveries(self._channels, self._group)) as deliveries:
                    async for delivery in deliveries:
                        await self._queue.put((asyncio.get_running_loop().time(), delivery))
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    if not self._refusal.done():
                        self._refusal.set_exception(CallFailed(told_status(error)))
                    return
                logger.info("deliveries of shard at %s ended: %s", address, error.code().name)
            await asyncio.sleep(RESUBSCRIBE_S)


# --- checks ----------------------------------------------------------------------------------------------------------


def _check(violations: Iterable[FieldViolation]) -> None:
    if found := tuple(violations):
        raise InvalidRequest(*found)


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


def _batch_of_stream(message: bytes) -> signal_pb2.IngestRequest:
    return signal_pb2.IngestStreamRequest.FromString(message).batch


def _check_size(message: bytes, *, wrapping: int = 0) -> None:
    if (byte_count := len(message) - wrapping) > MESSAGE_BYTES_MAX:
        text = f"the request has {byte_count:,} bytes; at most {MESSAGE_BYTES_MAX:,}: send smaller batches"
        raise RequestTooLarge(text)


def _key_violations(**keys: str) -> Iterator[FieldViolation]:
    for name, key in keys.items():
        length = len(key.encode())
        if not 1 <= length <= LONGEST_KEY:
            what = "is missing" if length == 0 else f"has {length} bytes"
            yield FieldViolation(field=name, description=f"{what}; wanted 1..{LONGEST_KEY} bytes")


def _text_violations(**texts: str) -> Iterator[FieldViolation]:
    for name, text in texts.items():
        if (length := len(text.encode())) > LONGEST_KEY:
            yield FieldViolation(field=name, description=f"has {length} bytes; wanted at most {LONGEST_KEY}")


def _decide_violations(request: decision_pb2.DecideRequest) -> Iterator[FieldViolation]:
    yield from _key_violations(request_id=request.request_id, household=request.household, channel=request.channel)
    yield from _text_violations(member=request.member)
    if (count := len(request.signals)) > DECIDE_SIGNAL_COUNT_MAX:
        text = f"{count:,} signals; at most {DECIDE_SIGNAL_COUNT_MAX:,} come with a question: send them by Ingest"
        yield FieldViolation(field="signals", description=text)
        return
    for index, signal in enumerate(request.signals):
        if signal.household != request.household:
            text = "names another household than the question; wanted the same: send others by Ingest"
            yield FieldViolation(field=f"signals[{index}].household", description=text)


def _outcome_violations(outcome: int) -> Iterator[FieldViolation]:
    if outcome not in TYPE_BY_OUTCOME:
        wanted = ", ".join(decision_pb2.Outcome.Name(known) for known in TYPE_BY_OUTCOME)
        yield FieldViolation(field="outcome", description=f"is {outcome}; wanted one of {wanted}")


# --- small things of a call ------------------------------------------------------------------------------------------


def _limits(context: Context, timeout_s: float, traceparent: str) -> Limits:
    remaining_s = cast(float | None, context.time_remaining())  # None without a deadline
    return Limits(
        timeout_s=timeout_s if remaining_s is None else remaining_s, traceparent=traceparent, peer=context.peer()
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


class _StreamTotals:
    """The answer to a stream of batches, as far as it came."""

    def __init__(self) -> None:
        self._totals = signal_pb2.IngestStreamResponse()
        self._unknown = UnknownTotals()

    def add(self, response: signal_pb2.IngestResponse) -> None:
        """Add the next batch; its rejection indices go on where the batches before it ended."""
        totals = self._totals
        for rejection in response.rejections[: REJECTION_COUNT_MAX - len(totals.rejections)]:
            totals.rejections.append(at_index(rejection, totals.counts.received + rejection.index))
        add_counts(totals.counts, response.counts)
        self._unknown.add(response.unknown_fields)

    def response(self) -> signal_pb2.IngestStreamResponse:
        """Return it."""
        self._totals.unknown_fields.extend(self._unknown.shown())
        return self._totals
