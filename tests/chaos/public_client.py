"""The traffic of tests/chaos/load.py over the public port: what any gateway and source can do, and no more.

An answer that is an error, or none, is UNKNOWN to the history unless its reason says that nothing was carried out.
"""

from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import TypeVar

import grpc
import grpc.aio
from grpc_status import rpc_status

from hearth.v1 import (
    decision_pb2,
    decision_pb2_grpc,
    delivery_pb2,
    delivery_pb2_grpc,
    household_pb2_grpc,
    signal_pb2,
    signal_pb2_grpc,
)
from loadtest.gateway import waits_s
from serving.signal_batches import DELIVERED, TYPE_BY_OUTCOME, UNDELIVERED
from tests.chaos import client as internal
from tests.chaos.history import Call, History, Kind, Result, Sent
from tests.chaos.load import Load
from wire.failures import reason_of

Answer = TypeVar("Answer")

CALL_TIMEOUT_S = 5.0

CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    # Each channel its own connection: two channels of one process shall not share a replica by chance.
    ("grpc.use_local_subchannel_pool", 1),
)


class PublicChannel:
    """One gateway's connection to Hearth; connects again whenever it breaks."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self.signals = signal_pb2_grpc.SignalServiceStub(self._channel)
        self.decisions = decision_pb2_grpc.DecisionServiceStub(self._channel)
        self.delivery = delivery_pb2_grpc.DeliveryServiceStub(self._channel)
        self.households = household_pb2_grpc.HouseholdServiceStub(self._channel)

    async def connected(self) -> None:
        """Return once a connection stands."""
        await self._channel.channel_ready()

    async def deliveries(
        self, channels: Sequence[str], group: str = ""
    ) -> AsyncIterator[delivery_pb2.SubscribeResponse]:
        """Yield outbound actions until the stream breaks."""
        request = delivery_pb2.SubscribeRequest(channels=channels, gateway="chaos", group=group)
        async for one in self.delivery.Subscribe(request):
            yield one

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()


class PublicClient(internal.Client):
    """The calls of one source, gateway or member."""

    def __init__(self, channel: PublicChannel, partition_count: int, history: History) -> None:
        super().__init__(_never, partition_count, history)
        self._channel = channel

    async def ingest(self, signals: Sequence[signal_pb2.Signal]) -> Call:
        call = self.history.begin(Kind.INGEST, sent=internal._sent(signals))
        request = signal_pb2.IngestRequest(signals=signals)
        answer = await self._told(call, self._channel.signals.Ingest(request, timeout=CALL_TIMEOUT_S))
        if answer is None:
            return call
        return self.history.end(call, Result.OK, counts=internal._counts(answer.counts))

    async def decide(
        self,
        household: str,
        signals: Sequence[signal_pb2.Signal] = (),
        *,
        member: str,
        channel: str,
        request_id: str,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Call:
        call = self.history.begin(
            Kind.DECIDE,
            sent=internal._sent(signals),
            household=household,
            member=member,
            channel=channel,
            request_id=request_id,
        )
        request = decision_pb2.DecideRequest(
            request_id=request_id, household=household, member=member, channel=channel, signals=signals
        )
        told = await self._told(call, self._channel.decisions.Decide(request, timeout=timeout_s))
        if told is None:
            return call
        return self.history.end(
            call,
            Result.OK,
            decision_id=told.decision_id,
            repeated=told.repeated_request,
            counts=internal._counts(told.signal_counts) if told.HasField("signal_counts") else None,
            offered_action=told.action.action_id,
            offered_offer=told.action.offer,
            offered_family=told.action.family,
            offered_status=internal.STATUS_NAMES.get(told.action.status, ""),
        )

    async def report(
        self, household: str, action_id: str, outcome: str, *, member: str, channel: str, request_id: str
    ) -> Call:
        kind = TYPE_BY_OUTCOME[internal.OUTCOMES[outcome]]
        call = self.history.begin(
            Kind.REPORT,
            sent=(Sent(event_id=request_id, household=household, kind=kind, member=member),),
            household=household,
            member=member,
            channel=channel,
            request_id=request_id,
            action_id=action_id,
            outcome=outcome,
        )
        request = decision_pb2.ReportRequest(
            request_id=request_id,
            household=household,
            member=member,
            action_id=action_id,
            outcome=internal.OUTCOMES[outcome],
            channel=channel,
        )
        told = await self._told(call, self._channel.decisions.Report(request, timeout=CALL_TIMEOUT_S))
        return call if told is None else self.history.end(call, Result.OK, effective=told.effective)

    async def ack(self, household: str, action_id: str, *, delivered: bool, request_id: str, channel: str = "") -> Call:
        kind = DELIVERED if delivered else UNDELIVERED
        call = self.history.begin(
            Kind.ACK,
            sent=(Sent(event_id=request_id, household=household, kind=kind),),
            household=household,
            request_id=request_id,
            action_id=action_id,
            outcome="delivered" if delivered else "undelivered",
        )
        request = delivery_pb2.AckRequest(
            request_id=request_id, household=household, action_id=action_id, delivered=delivered, channel=channel
        )
        told = await self._told(call, self._channel.delivery.Ack(request, timeout=CALL_TIMEOUT_S))
        return call if told is None else self.history.end(call, Result.OK, effective=told.effective)

    async def _told(self, call: Call, answer: Awaitable[Answer]) -> Answer | None:
        """Return the answer; None if the call ended without, which is noted."""
        try:
            return await answer
        except grpc.aio.AioRpcError as failed:
            status = rpc_status.from_call(failed)
            reason = reason_of(status) if status is not None else ""
            self.history.end(
                call,
                Result.FAILED if reason in internal.NOT_CARRIED_OUT else Result.UNKNOWN,
                reason=reason or failed.code().name,
                retry_after_s=waits_s(failed, 0, 1.0),
            )
            return None


class PublicLoad(Load):
    """Sources, members and one gateway, all over one connection to the public port."""

    def __init__(self, channel: PublicChannel, partition_count: int, *, seed: int, prefix: str = "home") -> None:
        super().__init__(channel, partition_count, seed=seed, prefix=prefix)  # type: ignore[arg-type]
        self._client = PublicClient(channel, partition_count, self.history)
        self.client = self._client


async def _never(method: int, partition: int, payload: bytes) -> bytes:
    raise AssertionError("a public client makes no internal calls")
