"""A client of Hearth's public protocol, as docs/gateway.md asks for one: deadlines, and retries with the same ids.

It knows the stubs and nothing of what is behind them.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import grpc
import grpc.aio
import numpy as np
import pyarrow as pa
from google.rpc import error_details_pb2, status_pb2

from hearth.v1 import (
    decision_pb2,
    decision_pb2_grpc,
    delivery_pb2,
    delivery_pb2_grpc,
    household_pb2,
    household_pb2_grpc,
    signal_pb2,
    signal_pb2_grpc,
)
from loadtest.credentials import NOBODY, GatewayCredentials

Answer = TypeVar("Answer")

MESSAGE_BYTES_MAX = 64 * 1024 * 1024
"""What we accept; Explain of a household with many candidates stays far below it."""

DETAILS_KEY = "grpc-status-details-bin"
FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 2.0
EXAMPLES_KEPT = 5

SAME_ID_MAY_SUCCEED = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        # Not by us, or it would not be told as a status: gRPC ends calls so that a server has no time to accept.
        grpc.StatusCode.CANCELLED,
    }
)

DEFECTS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
"""Defects of Hearth: worth one more attempt under the same id, and always on record."""


class GaveUp(Exception):
    """A call failed for good, or went on failing until patience ran out."""

    def __init__(self, call: str, code: grpc.StatusCode, text: str) -> None:
        super().__init__(f"{call}: {code.name}: {text}")
        self.call = call
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryTimes:
    """How long one attempt may take and how long all attempts together."""

    attempt_s: float
    total_s: float

    def __post_init__(self) -> None:
        # With less, the first attempt would never be repeated.
        assert self.total_s >= self.attempt_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Patiences:
    """Deadlines per kind of call; what is stored is repeated longer than what only a person waits for."""

    ingest: RetryTimes = RetryTimes(attempt_s=60.0, total_s=180.0)
    decide: RetryTimes = RetryTimes(attempt_s=2.0, total_s=60.0)
    report: RetryTimes = RetryTimes(attempt_s=2.0, total_s=60.0)
    read: RetryTimes = RetryTimes(attempt_s=5.0, total_s=60.0)


@dataclass(slots=True)
class Troubles:
    """What went wrong on the way and was tried again, or not."""

    retries: dict[str, int] = field(default_factory=dict)
    """By status name."""
    failures: dict[str, int] = field(default_factory=dict)
    """By call and status name; each is a call whose answer never came."""
    examples: list[str] = field(default_factory=list)
    """What the first few of the failures said."""


def arrow_stream(batch: pa.RecordBatch) -> bytes:
    """Return the batch as the Arrow IPC stream that IngestRequest carries."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def told_details(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """Return the google.rpc.Status that Hearth attaches to its errors; an empty one if there is none."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()


def waits_s(error: grpc.aio.AioRpcError, attempt: int, spread: float) -> float:
    """Return the wait before the next attempt: what RetryInfo says, or 50 ms doubled up to 2 s, times `spread`."""
    for detail in told_details(error).details:
        told = error_details_pb2.RetryInfo()
        if detail.Unpack(told):
            return float(told.retry_delay.ToTimedelta().total_seconds())
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(attempt, 10)) * spread


def is_too_large(error: grpc.aio.AioRpcError) -> bool:
    """Return whether gRPC itself refused the message for its size: no later attempt will do better."""
    return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and not told_details(error).details


class Gateway:
    """All public calls, each repeated under its own ids until it is answered or patience is over."""

    def __init__(
        self,
        target: str,
        *,
        patiences: Patiences = Patiences(),
        seed: int = 0,
        credentials: GatewayCredentials = NOBODY,
    ) -> None:
        options = [
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
            # grpc's own back-off after a refused connection grows to two minutes; a restarted Hearth is back sooner.
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        self._channel = credentials.channel(target, options)
        self._signals = signal_pb2_grpc.SignalServiceStub(self._channel)
        self._decisions = decision_pb2_grpc.DecisionServiceStub(self._channel)
        self._deliveries = delivery_pb2_grpc.DeliveryServiceStub(self._channel)
        self._households = household_pb2_grpc.HouseholdServiceStub(self._channel)
        self._patiences = patiences
        self._draw = np.random.default_rng(seed)
        self.troubles = Troubles()

    async def close(self) -> None:
        """Close the connection; calls under way are cancelled. Closing twice does nothing."""
        await self._channel.close()

    async def ready(self, within_s: float) -> None:
        """Wait until the server takes connections.

        Raises:
            GaveUp: it did not within the time.
        """
        try:
            await asyncio.wait_for(self._channel.channel_ready(), within_s)
        except TimeoutError as late:
            raise GaveUp("connect", grpc.StatusCode.UNAVAILABLE, f"no connection within {within_s:g} s") from late

    async def ingest(self, batch: pa.RecordBatch) -> signal_pb2.IngestResponse:
        """Send one columnar batch."""
        request = signal_pb2.IngestRequest(arrow_stream=arrow_stream(batch))
        return await self._until_answered("Ingest", self._signals.Ingest, request, self._patiences.ingest)

    async def ingest_signals(self, signals: Sequence[signal_pb2.Signal]) -> signal_pb2.IngestResponse:
        """Send signals as messages."""
        request = signal_pb2.IngestRequest(signals=signals)
        return await self._until_answered("Ingest", self._signals.Ingest, request, self._patiences.ingest)

    async def ingest_stream(self, streams: Sequence[bytes], within_s: float) -> signal_pb2.IngestStreamResponse:
        """Send batches, each an Arrow IPC stream, as one call; not repeated when it breaks."""

        async def requests() -> AsyncIterator[signal_pb2.IngestStreamRequest]:
            for stream in streams:
                yield signal_pb2.IngestStreamRequest(batch=signal_pb2.IngestRequest(arrow_stream=stream))

        response: signal_pb2.IngestStreamResponse = await self._signals.IngestStream(requests(), timeout=within_s)
        return response

    async def decide(self, request: decision_pb2.DecideRequest) -> decision_pb2.DecideResponse:
        """Ask what to do next."""
        return await self._until_answered("Decide", self._decisions.Decide, request, self._patiences.decide)

    async def report(self, request: decision_pb2.ReportRequest) -> decision_pb2.ReportResponse:
        """Say what became of an action."""
        return await self._until_answered("Report", self._decisions.Report, request, self._patiences.report)

    async def ack(self, request: delivery_pb2.AckRequest) -> delivery_pb2.AckResponse:
        """Take an outbound action over."""
        return await self._until_answered("Ack", self._deliveries.Ack, request, self._patiences.report)

    async def get(self, household: str) -> household_pb2.GetResponse:
        """Read a household."""
        request = household_pb2.GetRequest(household=household)
        return await self._until_answered("Get", self._households.Get, request, self._patiences.read)

    async def find(self, identifier: str) -> household_pb2.GetResponse:
        """Read the household of whoever an identifier means, with identifiers as they are."""
        request = household_pb2.GetRequest(identifier=identifier, whole_identifiers=True)
        return await self._until_answered("Get", self._households.Get, request, self._patiences.read)

    async def explain(self, household: str, decision_id: str = "") -> household_pb2.ExplainResponse:
        """Read why something was decided."""
        request = household_pb2.ExplainRequest(household=household, decision_id=decision_id)
        return await self._until_answered("Explain", self._households.Explain, request, self._patiences.read)

    async def subscribe(
        self, channels: Sequence[str], name: str, *, group: str = ""
    ) -> AsyncIterator[delivery_pb2.SubscribeResponse]:
        """Yield outbound actions until cancelled; a stream that ends is opened again after a wait."""
        request = delivery_pb2.SubscribeRequest(channels=channels, gateway=name, group=group)
        attempt = 0
        while True:
            try:
                async for delivery in self._deliveries.Subscribe(request):
                    attempt = 0
                    yield delivery
                wait_s = FIRST_WAIT_S
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    self._count(self.troubles.failures, "Subscribe UNIMPLEMENTED")
                    return
                self._count(self.troubles.retries, error.code().name)
                wait_s = waits_s(error, attempt, self._spread())
                attempt += 1
            await asyncio.sleep(wait_s)

    async def _until_answered(
        self, name: str, call: Callable[..., Awaitable[Answer]], request: object, patience: RetryTimes
    ) -> Answer:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + patience.total_s
        attempt = 0
        while True:
            try:
                return await call(request, timeout=patience.attempt_s)
            except grpc.aio.AioRpcError as error:
                code = error.code()
                wait_s = waits_s(error, attempt, self._spread())
                may_succeed = code in SAME_ID_MAY_SUCCEED or (code in DEFECTS and attempt == 0)
                hopeless = not may_succeed or is_too_large(error)
                if hopeless or loop.time() + wait_s > give_up_at:
                    self._count(self.troubles.failures, f"{name} {code.name}")
                    if len(self.troubles.examples) < EXAMPLES_KEPT:
                        self.troubles.examples.append(f"{name} {code.name}: {error.details()}")
                    raise GaveUp(name, code, error.details() or "") from error
                self._count(self.troubles.retries, code.name)
                attempt += 1
                await asyncio.sleep(wait_s)

    def _spread(self) -> float:
        return float(self._draw.uniform(0.5, 1.0))

    @staticmethod
    def _count(counts: dict[str, int], key: str) -> None:
        counts[key] = counts.get(key, 0) + 1
