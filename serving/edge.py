"""The public services: checks a request, finds the shards it concerns, asks them, and says clearly what went wrong.

Plain grpc.aio handlers that know nothing of Ray. Keeps no state between requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import grpc
import grpc.aio
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection

from hearth.internal.v1 import shard_pb2
from hearth.v1 import admin_pb2, decision_pb2, delivery_pb2, household_pb2, playbook_pb2, signal_pb2
from household.events import LONGEST_KEY, NO_TIME_US
from serving import admin, identity
from serving.accepting import AcceptingServer
from serving.access.door import Door
from serving.access.principal import ANYBODY
from serving.boundary import Boundary, Handler, Limits, RequestObserver
from serving.checks import (
    check,
    decide_violations,
    key_violations,
    outcome_violations,
    text_violations,
    whose_violations,
    write_out,
)
from serving.gate import Admission, Gate
from serving.households import Households
from serving.ingest import Ingest
from serving.owners import Owners
from serving.placing import AskPlacement, PlacementServices
from serving.playbooks import TIMEOUT_S, AskPlaybook, PlaybookServices
from serving.router import OUTCOME_PATIENCE, QUESTION_PATIENCE, Router
from serving.settings import EdgeSettings
from serving.signal_batches import DELIVERED, TYPE_BY_OUTCOME, UNDELIVERED, microseconds, report_batch
from serving.subscription import JoinedSubscription
from wire.batches import MESSAGE_BYTES_MAX, ipc_bytes
from wire.failures import Failure, FieldViolation, failed, invalid

SIGNAL_SERVICE: Final = "hearth.v1.SignalService"
DECISION_SERVICE: Final = "hearth.v1.DecisionService"
DELIVERY_SERVICE: Final = "hearth.v1.DeliveryService"
HOUSEHOLD_SERVICE: Final = "hearth.v1.HouseholdService"
PLAYBOOK_SERVICE: Final = "hearth.v1.PlaybookService"
ADMIN_SERVICE: Final = "hearth.v1.AdminService"
HEALTH_SERVICE: Final = "grpc.health.v1.Health"
PUBLIC_SERVICES: Final = (SIGNAL_SERVICE, DECISION_SERVICE, DELIVERY_SERVICE, HOUSEHOLD_SERVICE)
SERVICE_NAMES: Final = (*PUBLIC_SERVICES, PLAYBOOK_SERVICE, ADMIN_SERVICE, HEALTH_SERVICE)

CHANNEL_COUNT_MAX: Final = 64

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

Readiness = Callable[[], Awaitable[bool]]
"""True while every partition has an owner that has caught up with its log."""
NowUs = Callable[[], int]
"""Microseconds since 1970 UTC."""


class PublicServices:
    """All public services, and Health, on one grpc.aio server.

    Must be created and used in one event loop.
    """

    def __init__(
        self,
        router: Router,
        partition_count: int,
        readiness: Readiness,
        *,
        settings: EdgeSettings | None = None,
        now_us: NowUs | None = None,
        observer: RequestObserver | None = None,
        door: Door | None = None,
        ask_placement: AskPlacement | None = None,
        ask_playbook: AskPlaybook | None = None,
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
            door: lets callers in; None lets in everybody.
            ask_placement: asks the coordinator; None where there is none.
            ask_playbook: the same of the playbook.
        """
        assert partition_count > 0

        self._router = router
        self._owners = Owners(router=router, partition_count=partition_count)
        self._readiness = readiness
        self._settings = settings or EdgeSettings()
        self._now_us = now_us
        self._boundary = Boundary(
            observer=observer, in_flight_max=self._settings.in_flight_max, refusal=router.lines.refusal, door=door
        )
        self._ingest = Ingest(self._owners, self._settings)
        self._households = Households(self._owners)
        self._admin = admin.AdminServices(router, partition_count)
        self._placing = PlacementServices(ask_placement)
        self._playbooks = PlaybookServices(ask_playbook)

    @property
    def in_flight_count(self) -> int:
        """Unary calls that are being answered."""
        return self._boundary.in_flight_count

    def add_to(self, server: grpc.aio.Server, *, development: bool = False) -> None:
        """Register all services on a server; in development reflection, too."""
        handlers, admissions = self._handlers(), self._admissions()
        if isinstance(server, AcceptingServer):
            gated = {name: handlers[name] for name in admissions}
            server.add_gated_methods(gated, admissions, self._boundary.refused_unread)
        for service in SERVICE_NAMES:
            methods = {name: handlers[name] for name in handlers if name.startswith(f"/{service}/")}
            server.add_generic_rpc_handlers((Gate(service, methods, admissions, self._boundary.refused_unread),))
        if development:
            reflection.enable_server_reflection((*SERVICE_NAMES, reflection.SERVICE_NAME), server)

    # --- DecisionService ---------------------------------------------------------------------------------------------

    async def decide(self, request: decision_pb2.DecideRequest, limits: Limits) -> bytes:
        """Ask the household's owner for its decision; the answer is passed on unread."""
        check(decide_violations(request))
        limits.principal.check_channels(request.channel)
        write_out(request)
        call = shard_pb2.DecideCall(request=request, request_hash=identity.decide_hash(request))
        if request.signals:
            call.request.ClearField("signals")
            call.signal_batch = ipc_bytes(await self._ingest.with_question(request.signals, limits))
        return await self._owners.of_named(shard_pb2.METHOD_DECIDE, request, call, limits)

    async def report(self, request: decision_pb2.ReportRequest, limits: Limits) -> bytes:
        """Make an outcome durable and fold it, then say what the action's status is."""
        check(
            (
                *key_violations(request_id=request.request_id),
                *whose_violations(request, request.member),
                *key_violations(action_id=request.action_id),
                *text_violations(member=request.member, channel=request.channel),
                *outcome_violations(request.outcome),
            )
        )
        limits.principal.check_channels(request.channel)
        write_out(request)
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
            identifier=request.identifier,
        )
        call = shard_pb2.ReportCall(
            signal_batch=batch,
            household=request.household,
            identifier=request.identifier,
            action_id=request.action_id,
            channel=request.channel,
            request_id=request.request_id,
            request_hash=request_hash,
        )
        return await self._owners.of_named(shard_pb2.METHOD_REPORT, request, call, limits)

    # --- DeliveryService ---------------------------------------------------------------------------------------------

    async def subscribe(
        self, request: delivery_pb2.SubscribeRequest, limits: Limits
    ) -> AsyncGenerator[delivery_pb2.SubscribeResponse, None]:
        """Stream outbound actions of these channels, shared within the group, for as long as the gateway listens."""
        if not 1 <= len(request.channels) <= CHANNEL_COUNT_MAX:
            raise invalid("channels", f"{len(request.channels)} channels; wanted 1..{CHANNEL_COUNT_MAX}")
        check(
            FieldViolation(field=f"channels[{index}]", description=f"wanted 1..{LONGEST_KEY} bytes")
            for index, channel in enumerate(request.channels)
            if not 1 <= len(channel.encode()) <= LONGEST_KEY
        )
        check(text_violations(group=request.group))
        limits.principal.check_channels(*request.channels)
        subscription = JoinedSubscription(self._router, tuple(request.channels), self._settings, group=request.group)
        try:
            while True:
                yield await subscription.next()
        finally:
            await subscription.close()

    async def ack(self, request: delivery_pb2.AckRequest, limits: Limits) -> bytes:
        """Make an acknowledgement durable and fold it."""
        check(
            (
                *key_violations(request_id=request.request_id),
                *whose_violations(request),
                *key_violations(action_id=request.action_id),
                *text_violations(channel=request.channel, group=request.group),
            )
        )
        limits.principal.check_channels(request.channel)
        write_out(request)
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
            identifier=request.identifier,
        )
        call = shard_pb2.ReportCall(
            signal_batch=batch,
            household=request.household,
            identifier=request.identifier,
            action_id=request.action_id,
            channel=request.channel or None,
            group=request.group,
            request_id=request.request_id,
            request_hash=request_hash,
        )
        return await self._owners.of_named(shard_pb2.METHOD_ACK, request, call, limits)

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
        self, request: health_pb2.HealthCheckRequest, _limits: Limits
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

    def _arrival_us(self) -> int:
        return self._now_us() if self._now_us is not None else NO_TIME_US

    # --- the gRPC boundary -------------------------------------------------------------------------------------------

    def _handlers(self) -> dict[str, Handler]:
        settings = self._settings
        short_s, long_s = settings.timeout_s, settings.ingest_timeout_s
        unary, stream = self._boundary.unary, self._boundary.server_stream
        check = watch = health_pb2.HealthCheckRequest.FromString
        explain = household_pb2.ExplainRequest.FromString
        decisions = household_pb2.DecisionsRequest.FromString
        quarantine = household_pb2.QuarantineRequest.FromString
        households = self._households
        handlers = (
            unary(f"/{SIGNAL_SERVICE}/Ingest", self._ingest.one, bytes, long_s),
            self._boundary.client_stream(f"/{SIGNAL_SERVICE}/IngestStream", self._ingest.stream, long_s),
            unary(
                f"/{SIGNAL_SERVICE}/Describe", self._ingest.described, signal_pb2.DescribeRequest.FromString, short_s
            ),
            unary(f"/{DECISION_SERVICE}/Decide", self.decide, decision_pb2.DecideRequest.FromString, short_s),
            unary(f"/{DECISION_SERVICE}/Report", self.report, decision_pb2.ReportRequest.FromString, short_s),
            stream(f"/{DELIVERY_SERVICE}/Subscribe", self.subscribe, delivery_pb2.SubscribeRequest.FromString),
            unary(f"/{DELIVERY_SERVICE}/Ack", self.ack, delivery_pb2.AckRequest.FromString, short_s),
            unary(f"/{HOUSEHOLD_SERVICE}/Get", households.get, household_pb2.GetRequest.FromString, short_s),
            unary(f"/{HOUSEHOLD_SERVICE}/Explain", households.explain, explain, short_s),
            unary(f"/{HOUSEHOLD_SERVICE}/Decisions", households.decisions, decisions, short_s),
            unary(f"/{HOUSEHOLD_SERVICE}/Quarantine", households.quarantine, quarantine, long_s),
            unary(f"/{HOUSEHOLD_SERVICE}/Change", households.change, household_pb2.ChangeRequest.FromString, long_s),
            self._admin_call("Snapshot", self._admin.snapshot, admin_pb2.SnapshotRequest.FromString),
            self._admin_call("Reject", self._admin.reject, admin_pb2.RejectRequest.FromString),
            self._admin_call("ConfirmClock", self._admin.confirm_clock, admin_pb2.ConfirmClockRequest.FromString),
            self._admin_call("Scale", self._placing.scale, admin_pb2.ScaleRequest.FromString),
            self._admin_call("Rebalance", self._placing.rebalance, admin_pb2.RebalanceRequest.FromString),
            self._admin_call("Drain", self._placing.drain, admin_pb2.DrainRequest.FromString),
            self._admin_call("Restart", self._placing.restart, admin_pb2.RestartRequest.FromString),
            self._admin_call("ShowPlacement", self._placing.show, admin_pb2.ShowPlacementRequest.FromString),
            *self._playbook_calls(),
            unary(f"/{HEALTH_SERVICE}/Check", self.check_health, check, short_s, may_be_refused=False),
            stream(f"/{HEALTH_SERVICE}/Watch", self.watch_health, watch),
        )
        return dict(handlers)

    def _playbook_calls(self) -> tuple[tuple[str, Handler], ...]:
        unary, books, asked = self._boundary.unary, self._playbooks, playbook_pb2
        show = asked.ShowPlaybookRequest.FromString
        return (
            unary(f"/{PLAYBOOK_SERVICE}/Push", books.push, asked.PushRequest.FromString, TIMEOUT_S),
            unary(f"/{PLAYBOOK_SERVICE}/Halt", books.halt, asked.HaltRequest.FromString, TIMEOUT_S),
            unary(f"/{PLAYBOOK_SERVICE}/Submit", books.submit, asked.SubmitRequest.FromString, TIMEOUT_S),
            unary(f"/{PLAYBOOK_SERVICE}/Approve", books.approve, asked.ApproveRequest.FromString, TIMEOUT_S),
            unary(f"/{PLAYBOOK_SERVICE}/ShowPlaybook", books.show, show, TIMEOUT_S),
        )

    def _admin_call(
        self, name: str, handle: Callable[..., Awaitable[Message]], parse: Callable[[bytes], Message]
    ) -> tuple[str, Handler]:
        async def answer(request: Message, limits: Limits) -> Message:
            if limits.principal is ANYBODY:
                admin.check_local(limits.peer)
            return await handle(request, timeout_s=limits.timeout_s, traceparent=limits.traceparent)

        return self._boundary.unary(f"/{ADMIN_SERVICE}/{name}", answer, parse, admin.TIMEOUT_S)

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
            f"/{SIGNAL_SERVICE}/Ingest": Admission(lines=self._ingest.lines),
        }
