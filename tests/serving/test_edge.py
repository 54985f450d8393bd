"""Laws: a request reaches the owner of its household, whole, and its answer comes back unread; whatever goes wrong has
one status, with details; calls that wait travel together; a call is tried twice at most, within its deadline.

A real edge on a grpc.aio server, real exchanges on Unix sockets, no Ray.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pyarrow as pa
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from actors.partition.caller import Caller
from actors.shard.exchange import ExchangeServicer
from hearth.internal.v1 import shard_pb2, shard_pb2_grpc
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
from household.events import NO_TIME_US
from serving import edge, identity
from serving.accepting import AcceptingServer
from serving.edge import PublicServices
from serving.router import Router
from serving.settings import EdgeSettings
from serving.shard_channel import ClientSettings, ShardChannel
from serving.signal_batches import TYPE_BY_OUTCOME, batch_from_signals
from tests.serving.foreign_failure import foreign_failure
from wire.failures import CallFailed, Failure, failed
from wire.frames import SHARD_OPTIONS
from wire.partitions import partition_of
from wire.routes import Routes

PARTITION_COUNT = 8
QUICK = ClientSettings(backoff_first_s=0.001, backoff_max_s=0.01)
Code = grpc.StatusCode


class FakeShard:
    """Answers what a test wants and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, bytes, Any, str]] = []
        self.callers: list[Caller] = []
        self.started: asyncio.Queue[int] = asyncio.Queue()
        self.gate: asyncio.Event | None = None
        self.failures: list[Exception] = []
        self.answer: Callable[[int, bytes], bytes] = self.usual_answer
        self.outbox: asyncio.Queue[delivery_pb2.SubscribeResponse] = asyncio.Queue()
        self.subscribed: asyncio.Queue[Sequence[str]] = asyncio.Queue()
        self.unsubscribed: asyncio.Queue[Sequence[str]] = asyncio.Queue()

    async def call(self, method: int, partition: int, payload: bytes, caller: Caller | None, traceparent: str) -> bytes:
        assert caller is not None
        self.callers.append(caller)
        timeout_s = caller.timeout_s
        self.calls.append((method, partition, payload, timeout_s, traceparent))
        self.started.put_nowait(partition)
        if self.failures:
            raise self.failures.pop(0)
        if self.gate is not None:
            await self.gate.wait()
        return self.answer(method, payload)

    @staticmethod
    def usual_answer(method: int, payload: bytes) -> bytes:
        if method != shard_pb2.METHOD_INGEST:
            return decision_pb2.DecideResponse(decision_id="d1", reasons=["NOTHING_BETTER"]).SerializeToString()
        count = batch_of(payload).num_rows
        return signal_pb2.IngestResponse(
            counts=signal_pb2.SignalCounts(received=count, applied=count)
        ).SerializeToString()

    async def deliveries(
        self, channels: Sequence[str], group: str = ""
    ) -> AsyncGenerator[delivery_pb2.SubscribeResponse, None]:
        self.subscribed.put_nowait(channels)
        try:
            while True:
                yield await self.outbox.get()
        finally:
            self.unsubscribed.put_nowait(channels)


class Frames(shard_pb2_grpc.ShardServiceServicer):
    """Answers every call with its payload and remembers which calls came in one frame."""

    def __init__(self) -> None:
        self.frames: list[list[bytes]] = []

    async def Exchange(self, request_iterator, context):
        await context.send_initial_metadata(())
        async for frame in request_iterator:
            self.frames.append([call.payload for call in frame.calls])
            yield shard_pb2.ExchangeResponse(
                replies=[shard_pb2.Reply(id=call.id, payload=call.payload) for call in frame.calls]
            )


def batch_of(payload: bytes) -> pa.RecordBatch:
    (batch,) = pa.ipc.open_stream(payload)
    return batch


async def listening(address: str, servicer: shard_pb2_grpc.ShardServiceServicer) -> grpc.aio.Server:
    server = grpc.aio.server(options=SHARD_OPTIONS)
    shard_pb2_grpc.add_ShardServiceServicer_to_server(servicer, server)
    server.add_insecure_port(address)
    await server.start()
    return server


class World:
    """One edge, its shards, and a client's stubs."""

    def __init__(self, folder: Path) -> None:
        self.addresses = [f"unix:{folder}/shard-{index}.sock" for index in (0, 1)]
        self.shards = [FakeShard(), FakeShard()]
        self.servers: list[grpc.aio.Server] = []
        self.owners = {partition: self.addresses[partition % 2] for partition in range(PARTITION_COUNT)}
        self.is_ready = True
        self.asked_count = 0
        self.when_asked: Callable[[], None] = lambda: None
        self.observed: list[tuple[str, Code]] = []
        self.address = f"unix:{folder}/edge.sock"
        self.services: PublicServices
        self.port = 0
        """With TLS."""

    def connect(self, channel: grpc.aio.Channel) -> None:
        self.channel: Any = channel
        self.signals: Any = signal_pb2_grpc.SignalServiceStub(channel)
        self.decisions: Any = decision_pb2_grpc.DecisionServiceStub(channel)
        self.delivery: Any = delivery_pb2_grpc.DeliveryServiceStub(channel)
        self.households: Any = household_pb2_grpc.HouseholdServiceStub(channel)
        self.health: Any = health_pb2_grpc.HealthStub(channel)

    async def routes(self) -> Routes:
        self.asked_count += 1
        self.when_asked()
        return Routes(partition_count=PARTITION_COUNT, owners=dict(self.owners), ready=self.is_ready)

    async def readiness(self) -> bool:
        return self.is_ready

    def began(self, method: str, traceparent: str) -> str:
        return traceparent if traceparent.endswith("01") else ""

    def ended(self, *, method: str, code: Code, started_ns: int, ended_ns: int, parent: str, traceparent: str) -> None:
        assert started_ns <= ended_ns
        assert traceparent == self.began(method, parent)
        self.observed.append((method, code))

    def shard_of(self, household: str) -> FakeShard:
        return self.shards[partition_of(household.encode(), PARTITION_COUNT) % 2]


@asynccontextmanager
async def world_of(
    folder: Path, *, development=False, now_us=lambda: 1_700_000_000_000_000, door=None, tls=None, **settings
):
    world = World(folder)
    router = Router(world.routes, QUICK)
    services = PublicServices(
        router,
        PARTITION_COUNT,
        world.readiness,
        settings=EdgeSettings(**settings),
        now_us=now_us,
        observer=world,
        door=door,
    )
    server = AcceptingServer(edge.SERVER_OPTIONS)
    services.add_to(server, development=development)
    world.services, address = services, world.address
    if tls is not None:
        world.port = server.add_secure_port("localhost:0", tls)
    server.add_insecure_port(address)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(router.close)
        for shard_address, shard in zip(world.addresses, world.shards, strict=True):
            world.servers.append(await listening(shard_address, ExchangeServicer(shard)))
        await server.start()
        stack.push_async_callback(server.stop, None)
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(address, options=[("grpc.max_send_message_length", -1)])
        )
        world.connect(channel)
        try:
            yield world
        finally:
            for shard in world.shards:
                if shard.gate is not None:
                    shard.gate.set()
            await asyncio.gather(*(shard_server.stop(None) for shard_server in world.servers))


def run(test: Awaitable[None]) -> None:
    async def limited():
        async with asyncio.timeout(10):
            await test

    asyncio.run(limited())


def with_world(**options):
    """Run a test coroutine `test(world)` in a fresh world."""

    def decorate(test):
        def wrapper(tmp_path: Path):
            async def inside():
                async with world_of(tmp_path, **options) as world:
                    await test(world)

            run(inside())

        wrapper.__name__, wrapper.__doc__ = test.__name__, test.__doc__
        return wrapper

    return decorate


def decide_request(household="h1", **changed) -> decision_pb2.DecideRequest:
    return decision_pb2.DecideRequest(**({"request_id": "r1", "household": household, "channel": "app"} | changed))


def report_request(**changed) -> decision_pb2.ReportRequest:
    usual: dict[str, Any] = {"request_id": "r1", "household": "h1", "action_id": "a1", "channel": "app"}
    return decision_pb2.ReportRequest(**(usual | {"outcome": decision_pb2.OUTCOME_ACCEPT} | changed))


def ack_request(**changed) -> delivery_pb2.AckRequest:
    return delivery_pb2.AckRequest(**({"request_id": "r1", "household": "h1", "action_id": "a1"} | changed))


def signals_of(count: int) -> list[signal_pb2.Signal]:
    return [signal_pb2.Signal(event_id=f"e{row}", household=f"h{row}", type="a.b") for row in range(count)]


def wrong_owner() -> Exception:
    return failed(Failure.NOT_OWNED_HERE, "partition 1 is owned by another shard")


def details_of(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """Return what the trailer holds: reason, retry_ms and violations (field → description)."""
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    found: dict[str, Any] = {}
    for detail in status.details:
        info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            assert info.domain == "hearth"
            found["reason"] = info.reason
        elif detail.Unpack(retry):
            found["retry_ms"] = retry.retry_delay.ToMilliseconds()
        elif detail.Unpack(bad):
            found["violations"] = {violation.field: violation.description for violation in bad.field_violations}
    return found


async def failure_of(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


# --- what reaches a shard --------------------------------------------------------------------------------------------


@with_world()
async def test_a_decide_reaches_the_owner_of_its_household_and_the_answer_comes_back_unread(world: World):
    for number in range(20):
        household = f"household-{number}"
        answer = await world.decisions.Decide(decide_request(household, member="m1"))

        assert answer == decision_pb2.DecideResponse(decision_id="d1", reasons=["NOTHING_BETTER"])
        method, partition, payload, _, _ = world.shard_of(household).calls[-1]
        assert method == shard_pb2.METHOD_DECIDE
        assert partition == partition_of(household.encode(), PARTITION_COUNT)
        asked = decide_request(household, member="m1")
        assert shard_pb2.DecideCall.FromString(payload) == shard_pb2.DecideCall(
            request=asked, request_hash=identity.decide_hash(asked)
        )
    assert len(world.shards[0].calls) + len(world.shards[1].calls) == 20


@with_world()
async def test_the_signals_of_a_decide_travel_as_a_batch(world: World):
    signals = [signal_pb2.Signal(event_id="e1", household="h1", type="app.balance_check")]
    await world.decisions.Decide(decide_request(signals=signals))

    call = shard_pb2.DecideCall.FromString(world.shard_of("h1").calls[0][2])
    assert call.request == decide_request()
    assert call.request_hash == identity.decide_hash(decide_request(signals=signals))
    assert batch_of(call.signal_batch).equals(batch_from_signals(signals))


@pytest.mark.parametrize("outcome", list(TYPE_BY_OUTCOME))
def test_a_report_becomes_a_signal_of_its_reserved_type(tmp_path: Path, outcome: int):
    @with_world()
    async def test(world: World):
        request = report_request(outcome=outcome, member="m1")
        await world.decisions.Report(request)

        method, _, payload, _, _ = world.shard_of("h1").calls[0]
        call = shard_pb2.ReportCall.FromString(payload)
        assert method == shard_pb2.METHOD_REPORT
        assert (call.household, call.action_id, call.request_id) == ("h1", "a1", "r1")
        assert call.request_hash == identity.report_hash(request)
        assert batch_of(call.signal_batch).to_pylist() == [
            {
                "event_id": b"r1",
                "household": b"h1",
                "member": b"m1",
                "type": TYPE_BY_OUTCOME[outcome],
                "time": 1_700_000_000_000_000,
                "s:action_id": "a1",
                "s:channel": "app",
                "source": b"hearth",
                "request_hash": call.request_hash,
            }
        ]

    test(tmp_path)


@with_world()
async def test_a_report_keeps_the_time_it_brings(world: World):
    request = report_request()
    request.time.FromMicroseconds(1_234_567)
    await world.decisions.Report(request)

    call = shard_pb2.ReportCall.FromString(world.shard_of("h1").calls[0][2])
    assert batch_of(call.signal_batch).column("time").to_pylist() == [1_234_567]


@with_world(now_us=None)
async def test_without_a_clock_the_owner_is_left_to_stamp_a_report(world: World):
    await world.decisions.Report(report_request())

    call = shard_pb2.ReportCall.FromString(world.shard_of("h1").calls[0][2])
    assert batch_of(call.signal_batch).column("time").to_pylist() == [NO_TIME_US]


@with_world()
async def test_an_acknowledgement_says_delivered_or_not(world: World):
    for delivered, event_type in ((True, "hearth.delivered"), (False, "hearth.undelivered")):
        await world.delivery.Ack(ack_request(delivered=delivered))

        method, _, payload, _, _ = world.shard_of("h1").calls[-1]
        batch = batch_of(shard_pb2.ReportCall.FromString(payload).signal_batch)
        assert method == shard_pb2.METHOD_ACK
        assert batch.column("type").to_pylist() == [event_type]


@with_world()
async def test_questions_about_a_household_are_passed_on(world: World):
    world.shard_of("h1").answer = lambda method, payload: b""
    await world.households.Get(household_pb2.GetRequest(household="h1"))
    await world.households.Explain(household_pb2.ExplainRequest(household="h1", decision_id="d1"))
    await world.households.Decisions(household_pb2.DecisionsRequest(household="h1", limit=100))

    assert [(method, payload) for method, _, payload, _, _ in world.shard_of("h1").calls] == [
        (shard_pb2.METHOD_GET, household_pb2.GetRequest(household="h1").SerializeToString()),
        (shard_pb2.METHOD_EXPLAIN, household_pb2.ExplainRequest(household="h1", decision_id="d1").SerializeToString()),
        (shard_pb2.METHOD_DECISIONS, household_pb2.DecisionsRequest(household="h1", limit=100).SerializeToString()),
    ]


@with_world()
async def test_what_is_left_of_the_deadline_and_a_sampled_trace_travel_on(world: World):
    sampled, unsampled = (("traceparent", f"00-{'a' * 32}-{'b' * 16}-{flag}") for flag in ("01", "00"))
    await world.decisions.Decide(decide_request(), timeout=5, metadata=(sampled,))
    await world.decisions.Decide(decide_request(), metadata=(unsampled,))

    (first, second) = world.shard_of("h1").calls
    # The client's clock for it starts before ours, in whole milliseconds rounded up.
    assert 4 < first[3] <= 5.1
    assert 0.5 < second[3] <= 1
    assert (first[4], second[4]) == (sampled[1], "")


# --- ingest ----------------------------------------------------------------------------------------------------------


def rejecting_odd_events(method: int, payload: bytes) -> bytes:
    batch = batch_of(payload)
    ids = batch.column("event_id").to_pylist()
    odd = [index for index, event_id in enumerate(ids) if int(event_id[1:]) % 2]
    response = signal_pb2.IngestResponse()
    response.counts.received, response.counts.rejected = len(ids), len(odd)
    response.counts.applied = len(ids) - len(odd)
    for index in odd[:100]:
        response.rejections.add(index=index, event_id=ids[index].decode(), reason="FUTURE")
    return response.SerializeToString()


@pytest.mark.parametrize("form", ["signals", "arrow_stream"])
def test_a_batch_goes_to_all_its_owners_and_comes_back_as_one_answer(tmp_path: Path, form: str):
    @with_world()
    async def test(world: World):
        for shard in world.shards:
            shard.answer = rejecting_odd_events
        request = signal_pb2.IngestRequest(signals=signals_of(300))
        if form == "arrow_stream":
            table = pa.table(
                {
                    "event_id": [f"e{row}" for row in range(300)],
                    "household": [f"h{row}" for row in range(300)],
                    "type": ["a.b"] * 300,
                    "time": np.arange(300),
                }
            )
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
            request = signal_pb2.IngestRequest(arrow_stream=sink.getvalue().to_pybytes())

        answer = await world.signals.Ingest(request)

        assert answer.counts == signal_pb2.SignalCounts(received=300, applied=150, rejected=150)
        assert [(found.index, found.event_id) for found in answer.rejections] == [
            (row, f"e{row}") for row in range(1, 200, 2)
        ]
        assert sorted(partition for shard in world.shards for _, partition, _, _, _ in shard.calls) == list(range(8))
        assert all(20 < call[3] <= 30 for shard in world.shards for call in shard.calls)

    test(tmp_path)


@with_world()
async def test_an_ingest_fails_with_the_piece_that_failed(world: World):
    world.shards[1].failures = [foreign_failure(Code.UNAVAILABLE, "RECOVERING", retry_after_ms=70)] * 8
    error = await failure_of(world.signals.Ingest(signal_pb2.IngestRequest(signals=signals_of(100))))

    assert error.code() is Code.UNAVAILABLE
    assert details_of(error) == {"reason": "RECOVERING", "retry_ms": 70}
    assert {call[1] for call in world.shards[0].calls} == {0, 2, 4, 6}


async def batches(*requests: signal_pb2.IngestRequest) -> AsyncGenerator[signal_pb2.IngestStreamRequest, None]:
    for request in requests:
        yield signal_pb2.IngestStreamRequest(batch=request)


@with_world()
async def test_a_stream_of_batches_is_answered_with_totals(world: World):
    for shard in world.shards:
        shard.answer = rejecting_odd_events
    requests = [signal_pb2.IngestRequest(signals=signals_of(50)) for _ in range(10)]

    answer = await world.signals.IngestStream(batches(*requests))

    assert answer.counts == signal_pb2.SignalCounts(received=500, applied=250, rejected=250)
    assert [found.index for found in answer.rejections] == list(range(1, 200, 2))


@with_world(stream_depth=3)
async def test_a_few_batches_are_under_way_at_once_and_their_order_is_kept(world: World):
    shard = world.shard_of("h1")
    await world.decisions.Decide(decide_request())
    await shard.started.get()
    shard.calls.clear()
    shard.gate = asyncio.Event()
    requests = [
        signal_pb2.IngestRequest(signals=[signal_pb2.Signal(event_id=f"e{number}", household="h1")])
        for number in range(20)
    ]

    call = asyncio.ensure_future(world.signals.IngestStream(batches(*requests)))
    for _ in range(3):
        await shard.started.get()
    await world.health.Check(health_pb2.HealthCheckRequest())  # goes round the edge's loop; no fourth is sent
    assert len(shard.calls) == 3
    shard.gate.set()
    await call

    ids = [batch_of(payload).column("event_id").to_pylist() for _, _, payload, _, _ in shard.calls]
    assert ids == [[f"e{number}".encode()] for number in range(20)]


@with_world()
async def test_a_wrong_batch_ends_its_stream(world: World):
    good = signal_pb2.IngestRequest(signals=signals_of(1))
    error = await failure_of(world.signals.IngestStream(batches(good, signal_pb2.IngestRequest())))

    assert error.code() is Code.INVALID_ARGUMENT
    assert details_of(error)["reason"] == "INVALID_REQUEST"


# --- requests that are wrong -----------------------------------------------------------------------------------------

LONG = "x" * 129
INVALID = [
    ("decisions.Decide", decide_request(request_id=""), ["request_id"]),
    ("decisions.Decide", decide_request(request_id=LONG), ["request_id"]),
    ("decisions.Decide", decide_request(household=""), ["household"]),
    ("decisions.Decide", decide_request(household="ü" * 65), ["household"]),
    ("decisions.Decide", decide_request(channel=""), ["channel"]),
    ("decisions.Decide", decide_request(member=LONG), ["member"]),
    ("decisions.Decide", decision_pb2.DecideRequest(), ["request_id", "household", "channel"]),
    ("decisions.Decide", decide_request(signals=signals_of(3)), ["signals[0].household", "signals[2].household"]),
    ("decisions.Decide", decide_request(signals=signals_of(1_001)), ["signals"]),
    ("decisions.Report", report_request(outcome=0), ["outcome"]),
    ("decisions.Report", report_request(outcome=99), ["outcome"]),
    ("decisions.Report", report_request(action_id="", request_id=""), ["request_id", "action_id"]),
    ("delivery.Ack", ack_request(request_id=LONG), ["request_id"]),
    ("delivery.Ack", ack_request(household="", action_id=""), ["household", "action_id"]),
    ("households.Get", household_pb2.GetRequest(), ["household"]),
    ("households.Explain", household_pb2.ExplainRequest(household="h", decision_id=LONG), ["decision_id"]),
    ("households.Decisions", household_pb2.DecisionsRequest(household="h", limit=101), ["limit"]),
    ("households.Decisions", household_pb2.DecisionsRequest(household="h", limit=-1), ["limit"]),
    ("signals.Ingest", signal_pb2.IngestRequest(), ["signals"]),
    ("signals.Ingest", signal_pb2.IngestRequest(signals=signals_of(1), arrow_stream=b"x"), ["signals"]),
    ("signals.Ingest", signal_pb2.IngestRequest(signals=signals_of(10_001)), ["signals"]),
    ("signals.Ingest", signal_pb2.IngestRequest(arrow_stream=b"not arrow"), ["arrow_stream"]),
]


def test_wrong_requests_are_refused_with_each_field_named(tmp_path: Path):
    @with_world()
    async def test(world: World):
        for method, request, fields in INVALID:
            service, name = method.split(".")
            error = await failure_of(getattr(getattr(world, service), name)(request))

            assert error.code() is Code.INVALID_ARGUMENT, (method, error)
            details = details_of(error)
            assert details["reason"] == "INVALID_REQUEST"
            assert list(details["violations"]) == fields, method
            assert "retry_ms" not in details
        assert not world.shards[0].calls
        assert not world.shards[1].calls

    test(tmp_path)


@with_world()
async def test_subscriptions_name_their_channels(world: World):
    for channels, field in (([], "channels"), (["push", ""], "channels[1]"), (["x"] * 65, "channels")):
        error = await failure_of(world.delivery.Subscribe(delivery_pb2.SubscribeRequest(channels=channels)).read())
        assert list(details_of(error)["violations"]) == [field]


@with_world()
async def test_a_message_over_16_mib_is_refused_with_the_way_out(world: World):
    just_over = signal_pb2.IngestRequest(arrow_stream=bytes(16 * 1024 * 1024 + 1))
    error = await failure_of(world.signals.Ingest(just_over))
    assert error.code() is Code.RESOURCE_EXHAUSTED
    assert details_of(error) == {"reason": "REQUEST_TOO_LARGE"}
    assert "at most 16,777,216: send smaller batches" in str(error.details())

    far_over = signal_pb2.IngestRequest(arrow_stream=bytes(18 * 1024 * 1024))
    assert (await failure_of(world.signals.Ingest(far_over))).code() is Code.RESOURCE_EXHAUSTED


# --- what else goes wrong --------------------------------------------------------------------------------------------


@with_world()
async def test_a_partition_without_an_owner_is_unavailable_for_a_while(world: World):
    world.owners.clear()
    error = await failure_of(world.decisions.Decide(decide_request()))

    assert error.code() is Code.UNAVAILABLE
    assert details_of(error) == {"reason": "NO_OWNER", "retry_ms": 500}


@with_world()
async def test_a_call_to_a_past_owner_is_tried_once_more_at_the_new_one(world: World):
    partition = partition_of(b"h1", PARTITION_COUNT)
    old, new = world.shard_of("h1"), world.shards[1 - world.shards.index(world.shard_of("h1"))]
    await world.decisions.Decide(decide_request())
    old.failures = [wrong_owner()]
    world.owners[partition] = world.addresses[world.shards.index(new)]

    answer = await world.decisions.Decide(decide_request())

    assert answer.decision_id == "d1"
    assert (len(old.calls), len(new.calls)) == (2, 1)
    assert new.calls[0][2] == old.calls[1][2]
    assert world.asked_count == 2


@with_world()
async def test_nothing_is_tried_more_than_twice(world: World):
    shard = world.shard_of("h1")
    await world.decisions.Decide(decide_request())
    shard.failures = [wrong_owner() for _ in range(5)]

    error = await failure_of(world.decisions.Decide(decide_request()))

    assert error.code() is Code.UNAVAILABLE
    assert details_of(error) == {"reason": "WRONG_OWNER", "retry_ms": 200}
    assert len(shard.calls) == 3


@pytest.mark.parametrize("code", [Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED, Code.INTERNAL])
def test_other_failures_of_a_shard_go_straight_to_the_caller(tmp_path: Path, code: Code):
    @with_world()
    async def test(world: World):
        shard = world.shard_of("h1")
        await world.decisions.Decide(decide_request())
        shard.failures = [foreign_failure(code, "UNKNOWN_CHANNEL", violations={"channel": "is unknown"})]

        error = await failure_of(world.decisions.Decide(decide_request()))

        assert error.code() is code
        assert details_of(error) == {"reason": "UNKNOWN_CHANNEL", "violations": {"channel": "is unknown"}}
        assert len(shard.calls) == 2

    test(tmp_path)


@with_world(timeout_s=0.05)
async def test_a_call_without_a_deadline_gets_the_default_one(world: World):
    world.shard_of("h1").gate = asyncio.Event()
    error = await failure_of(world.decisions.Decide(decide_request()))

    assert error.code() is Code.DEADLINE_EXCEEDED
    assert details_of(error) == {"reason": "DEADLINE_EXCEEDED"}
    assert len(world.shard_of("h1").calls) == 1


@with_world()
async def test_a_shard_that_cannot_be_reached_is_unavailable_and_is_found_again(world: World):
    await world.decisions.Decide(decide_request())
    index = world.shards.index(world.shard_of("h1"))
    await world.servers[index].stop(None)

    error = await failure_of(world.decisions.Decide(decide_request(), timeout=5))
    assert error.code() is Code.UNAVAILABLE
    assert details_of(error) == {"reason": "SHARD_UNREACHABLE", "retry_ms": 500}

    world.servers[index] = await listening(world.addresses[index], ExchangeServicer(world.shards[index]))
    codes = {Code.UNAVAILABLE}
    while codes == {Code.UNAVAILABLE}:  # as often as it takes to connect again
        call = world.decisions.Decide(decide_request(), timeout=5)
        codes = {await call.code()}
    assert codes == {Code.OK}


@with_world(in_flight_max=1)
async def test_above_the_limit_calls_are_refused_at_once(world: World):
    shard = world.shard_of("h1")
    shard.gate = asyncio.Event()
    first = asyncio.ensure_future(world.decisions.Decide(decide_request(), timeout=5))
    await shard.started.get()

    error = await failure_of(world.decisions.Decide(decide_request()))
    assert error.code() is Code.RESOURCE_EXHAUSTED
    assert details_of(error) == {"reason": "OVERLOADED", "retry_ms": 100}
    health = await world.health.Check(health_pb2.HealthCheckRequest())
    assert health.status == health_pb2.HealthCheckResponse.SERVING

    shard.gate.set()
    assert (await first).decision_id == "d1"
    shard.gate = None
    assert (await world.decisions.Decide(decide_request())).decision_id == "d1"


def test_a_defect_is_internal_says_nothing_and_is_logged(tmp_path: Path, caplog):
    @with_world()
    async def test(world: World):
        for shard in world.shards:
            shard.answer = lambda method, payload: b"\xff not a response"
        error = await failure_of(world.signals.Ingest(signal_pb2.IngestRequest(signals=signals_of(1))))

        assert error.code() is Code.INTERNAL
        assert details_of(error) == {"reason": "INTERNAL"}
        assert error.details() == "a defect in Hearth; it was logged"

    test(tmp_path)
    assert "/hearth.v1.SignalService/Ingest failed" in caplog.text


@with_world()
async def test_every_request_is_observed_with_its_end(world: World):
    await world.decisions.Decide(decide_request())
    await failure_of(world.decisions.Decide(decide_request(household="")))
    await failure_of(world.signals.IngestStream(batches(signal_pb2.IngestRequest())))

    assert world.observed == [
        ("/hearth.v1.DecisionService/Decide", Code.OK),
        ("/hearth.v1.DecisionService/Decide", Code.INVALID_ARGUMENT),
        ("/hearth.v1.SignalService/IngestStream", Code.INVALID_ARGUMENT),
    ]


# --- the stream to a shard -------------------------------------------------------------------------------------------


def test_calls_that_wait_travel_in_one_frame(tmp_path: Path):
    async def test():
        servicer = Frames()
        server = await listening(f"unix:{tmp_path}/s.sock", servicer)
        channel = ShardChannel(f"unix:{tmp_path}/s.sock", QUICK)  # not connected yet, so all of them wait
        payloads = [b"%d" % number for number in range(500)]

        answers = await asyncio.gather(*(channel.call(shard_pb2.METHOD_DECIDE, 0, payload) for payload in payloads))

        assert answers == payloads
        assert servicer.frames == [payloads]
        assert channel.open_call_count == 0
        await channel.close()
        await server.stop(None)

    run(test())


def test_a_lone_call_does_not_wait_and_what_comes_meanwhile_goes_together(tmp_path: Path):
    async def test():
        servicer = Frames()
        server = await listening(f"unix:{tmp_path}/s.sock", servicer)
        channel = ShardChannel(f"unix:{tmp_path}/s.sock", QUICK)
        await channel.connected()

        assert await channel.call(shard_pb2.METHOD_GET, 0, b"alone") == b"alone"
        assert servicer.frames == [[b"alone"]]
        await channel.close()
        await server.stop(None)

    run(test())


def test_decisions_go_before_ingests_and_a_frame_has_a_limit(tmp_path: Path):
    async def test():
        servicer = Frames()
        server = await listening(f"unix:{tmp_path}/s.sock", servicer)
        channel = ShardChannel(f"unix:{tmp_path}/s.sock", QUICK)
        bulk = [b"i" * 700_000 + b"%d" % number for number in range(3)]

        await asyncio.gather(
            *(channel.call(shard_pb2.METHOD_INGEST, 0, payload) for payload in bulk),
            channel.call(shard_pb2.METHOD_DECIDE, 0, b"decide"),
        )

        assert servicer.frames == [[b"decide", bulk[0], bulk[1]], [bulk[2]]]
        await channel.close()
        await server.stop(None)

    run(test())


def test_a_caller_that_gave_up_is_not_sent(tmp_path: Path):
    async def test():
        servicer = Frames()
        server = await listening(f"unix:{tmp_path}/s.sock", servicer)
        channel = ShardChannel(f"unix:{tmp_path}/s.sock", QUICK)
        calls = [asyncio.ensure_future(channel.call(shard_pb2.METHOD_GET, 0, name)) for name in (b"a", b"b")]
        await asyncio.wait(calls, timeout=0)  # both have begun
        calls[0].cancel()

        assert await calls[1] == b"b"
        assert servicer.frames == [[b"b"]]
        await channel.close()
        await server.stop(None)

    run(test())


def test_a_caller_with_a_deadline_in_months_is_answered_like_any_other(tmp_path: Path):
    async def test():
        servicer = Frames()
        server = await listening(f"unix:{tmp_path}/s.sock", servicer)
        channel = ShardChannel(f"unix:{tmp_path}/s.sock", QUICK)
        patient = channel.call(shard_pb2.METHOD_GET, 0, b"patient", timeout_s=3e6)
        usual = channel.call(shard_pb2.METHOD_GET, 0, b"usual")

        assert await asyncio.gather(patient, usual) == [b"patient", b"usual"]
        assert servicer.frames == [[b"patient", b"usual"]]
        await channel.close()
        await server.stop(None)

    run(test())


def test_a_broken_stream_fails_what_is_open_and_connects_again(tmp_path: Path):
    async def test():
        address, shard = f"unix:{tmp_path}/s.sock", FakeShard()
        shard.gate = asyncio.Event()
        server = await listening(address, ExchangeServicer(shard))
        channel = ShardChannel(address, QUICK)
        calls = [asyncio.ensure_future(channel.call(shard_pb2.METHOD_GET, 0, b"", timeout_s=5)) for _ in range(3)]
        for _ in range(3):
            await shard.started.get()
        await server.stop(None)

        for failure in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(failure, CallFailed)
            assert (failure.code, failure.reason) == (Code.UNAVAILABLE, "OUTCOME_UNKNOWN")
        assert channel.open_call_count == 0

        shard.gate.set()
        server = await listening(address, ExchangeServicer(shard))
        await channel.connected()
        assert await channel.call(shard_pb2.METHOD_GET, 0, b"") == FakeShard.usual_answer(shard_pb2.METHOD_GET, b"")
        await channel.close()
        await server.stop(None)

    run(test())


def test_a_retired_channel_sees_its_calls_through_and_closes(tmp_path: Path):
    async def test():
        address, shard = f"unix:{tmp_path}/s.sock", FakeShard()
        shard.gate = asyncio.Event()
        server = await listening(address, ExchangeServicer(shard))
        channel = ShardChannel(address, QUICK)
        call = asyncio.ensure_future(channel.call(shard_pb2.METHOD_GET, 0, b""))
        await shard.started.get()
        channel.retire()
        shard.gate.set()

        assert await call == FakeShard.usual_answer(shard_pb2.METHOD_GET, b"")
        await channel.ended()
        await server.stop(None)

    run(test())


@with_world()
async def test_many_who_need_routes_ask_once(world: World):
    await asyncio.gather(*(world.decisions.Decide(decide_request(f"h{number}")) for number in range(50)))

    assert world.asked_count == 1


# --- delivery --------------------------------------------------------------------------------------------------------


@with_world(routes_age_s_max=0.01)
async def test_a_subscription_hears_all_shards_and_finds_one_again_that_went_away(world: World):
    subscription = world.delivery.Subscribe(delivery_pb2.SubscribeRequest(channels=["push", "sms"]))
    for index, shard in enumerate(world.shards):
        assert await shard.subscribed.get() == ("push", "sms")
        await shard.outbox.put(delivery_pb2.SubscribeResponse(household=f"from {index}"))
    heard = Counter([(await subscription.read()).household, (await subscription.read()).household])
    assert heard == {"from 0": 1, "from 1": 1}

    await world.servers[0].stop(None)
    await world.shards[0].unsubscribed.get()
    world.servers[0] = await listening(world.addresses[0], ExchangeServicer(world.shards[0]))
    await world.shards[0].subscribed.get()
    await world.shards[0].outbox.put(delivery_pb2.SubscribeResponse(household="again"))
    assert (await subscription.read()).household == "again"

    subscription.cancel()
    for shard in world.shards:
        await shard.unsubscribed.get()


@with_world(routes_age_s_max=0.01)
async def test_a_subscription_leaves_a_shard_that_owns_nothing_any_more(world: World):
    subscription = world.delivery.Subscribe(delivery_pb2.SubscribeRequest(channels=["push"]))
    for shard in world.shards:
        await shard.subscribed.get()
    world.owners = dict.fromkeys(range(PARTITION_COUNT), world.addresses[1])

    await world.shards[0].unsubscribed.get()
    await world.shards[1].outbox.put(delivery_pb2.SubscribeResponse(household="still here"))
    assert (await subscription.read()).household == "still here"
    subscription.cancel()


# --- health and reflection -------------------------------------------------------------------------------------------


@with_world(routes_age_s_max=0.01)
async def test_health_says_whether_every_partition_is_served(world: World):
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    watch = world.health.Watch(health_pb2.HealthCheckRequest())
    for is_ready, expected in ((True, serving), (False, not_serving), (True, serving)):
        world.is_ready = is_ready
        assert (await watch.read()).status == expected
        for service in ("", *edge.SERVICE_NAMES):
            answer = await world.health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == expected
    watch.cancel()


@with_world()
async def test_an_unknown_service_has_no_health(world: World):
    error = await failure_of(world.health.Check(health_pb2.HealthCheckRequest(service="hearth.v1.Nothing")))
    assert error.code() is Code.NOT_FOUND
    assert details_of(error) == {"reason": "UNKNOWN_SERVICE"}

    watch = world.health.Watch(health_pb2.HealthCheckRequest(service="hearth.v1.Nothing"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


@pytest.mark.parametrize("development", [True, False])
def test_reflection_is_on_in_development_only(tmp_path: Path, development: bool):
    @with_world(development=development)
    async def test(world: World):
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(world.channel)
        if not development:
            # Nothing is asked: it is refused before that could be sent, which then fails by itself.
            assert (await failure_of(stub.ServerReflectionInfo().read())).code() is Code.UNIMPLEMENTED
            return
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        names = {service.name for service in (await call.read()).list_services_response.service}
        assert names == {*edge.SERVICE_NAMES, "grpc.reflection.v1alpha.ServerReflection"}

    test(tmp_path)
