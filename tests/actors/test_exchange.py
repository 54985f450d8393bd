"""Laws: every call is answered once, in its own time; replies that are ready together travel together; a call that
began is seen through, whatever becomes of its stream; one call's failure is its own.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from actors.partition.caller import Caller
from actors.shard.exchange import ExchangeServicer
from hearth.internal.v1 import shard_pb2, shard_pb2_grpc
from hearth.v1 import delivery_pb2
from wire.failures import Failure, FieldViolation, failed
from wire.frames import SHARD_OPTIONS


class Handler:
    """Echoes; waits where a test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, bytes, float | None, str]] = []
        self.callers: list[Caller] = []
        self.gates: dict[bytes, asyncio.Event] = {}
        self.started: asyncio.Queue[bytes] = asyncio.Queue()
        self.finished: list[bytes] = []
        self.outbox: asyncio.Queue[delivery_pb2.SubscribeResponse] = asyncio.Queue()
        self.subscribed: list[Sequence[str]] = []
        self.unsubscribed = asyncio.Event()

    def gate(self, payload: bytes) -> asyncio.Event:
        return self.gates.setdefault(payload, asyncio.Event())

    async def call(self, method: int, partition: int, payload: bytes, caller: Caller | None, traceparent: str) -> bytes:
        assert caller is not None
        self.callers.append(caller)
        timeout_s = caller.timeout_s
        self.calls.append((method, partition, payload, timeout_s, traceparent))
        self.started.put_nowait(payload)
        if payload == b"wrong owner":
            raise failed(
                Failure.WRONG_OWNER,
                "partition 3 is owned by another shard",
                metadata={"partition": "3"},
                violations=(FieldViolation(field="channel", description="is unknown"),),
            )
        if payload == b"defect":
            raise ZeroDivisionError
        if payload in self.gates:
            await self.gates[payload].wait()
        self.finished.append(payload)
        return payload + b"!"

    async def deliveries(
        self, channels: Sequence[str], group: str = ""
    ) -> AsyncGenerator[delivery_pb2.SubscribeResponse, None]:
        self.subscribed.append(channels)
        try:
            while True:
                yield await self.outbox.get()
        finally:
            self.unsubscribed.set()


@asynccontextmanager
async def serving(folder: Path, handler: Handler, **options):
    server = grpc.aio.server(options=SHARD_OPTIONS)
    servicer = ExchangeServicer(handler, **options)
    shard_pb2_grpc.add_ShardServiceServicer_to_server(servicer, server)
    address = f"unix:{folder}/shard.sock"
    server.add_insecure_port(address)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield servicer, shard_pb2_grpc.ShardServiceStub(channel)
    finally:
        await server.stop(None)


def run(test) -> None:
    asyncio.run(asyncio.wait_for(test, 10))


def frame(*payloads: bytes, first_id=1) -> shard_pb2.ExchangeRequest:
    calls = [shard_pb2.Call(id=first_id + index, payload=payload) for index, payload in enumerate(payloads)]
    return shard_pb2.ExchangeRequest(calls=calls)


def replies_of(response: shard_pb2.ExchangeResponse) -> list[tuple[int, int, bytes]]:
    return [(reply.id, reply.code, reply.payload) for reply in response.replies]


def test_a_call_reaches_the_handler_with_all_it_carries(tmp_path: Path):
    async def test():
        handler = Handler()
        async with serving(tmp_path, handler) as (_, stub):
            exchange = stub.Exchange()
            call = shard_pb2.Call(
                id=9, partition=3, method=shard_pb2.METHOD_DECIDE, payload=b"x", timeout_ms=250, traceparent="00-a-b-01"
            )
            await exchange.write(shard_pb2.ExchangeRequest(calls=[call, shard_pb2.Call(id=10, payload=b"y")]))

            assert replies_of(await exchange.read()) == [(9, 0, b"x!"), (10, 0, b"y!")]
            assert handler.calls == [(shard_pb2.METHOD_DECIDE, 3, b"x", 0.25, "00-a-b-01"), (0, 0, b"y", None, "")]

    run(test())


def test_answers_come_in_their_own_time(tmp_path: Path):
    async def test():
        handler = Handler()
        gate = handler.gate(b"slow")
        async with serving(tmp_path, handler) as (_, stub):
            exchange = stub.Exchange()
            await exchange.write(frame(b"slow", b"quick"))

            assert replies_of(await exchange.read()) == [(2, 0, b"quick!")]
            gate.set()
            assert replies_of(await exchange.read()) == [(1, 0, b"slow!")]

    run(test())


def test_replies_that_are_ready_together_travel_together(tmp_path: Path):
    async def test():
        handler = Handler()
        gate = handler.gate(b"held")
        async with serving(tmp_path, handler) as (_, stub):
            exchange = stub.Exchange()
            await exchange.write(frame(*[b"held"] * 100))
            for _ in range(100):
                await handler.started.get()
            gate.set()

            assert len((await exchange.read()).replies) == 100

    run(test())


def test_a_failed_call_gets_its_status_with_details(tmp_path: Path):
    async def test():
        async with serving(tmp_path, Handler()) as (_, stub):
            exchange = stub.Exchange()
            await exchange.write(frame(b"wrong owner"))
            (reply,) = (await exchange.read()).replies

            status = status_pb2.Status.FromString(reply.payload)
            bad_request, info, retry = (
                error_details_pb2.BadRequest(),
                error_details_pb2.ErrorInfo(),
                error_details_pb2.RetryInfo(),
            )
            details = zip(status.details, (bad_request, info, retry), strict=True)
            assert [detail.Unpack(into) for detail, into in details] == [True, True, True]
            assert reply.code == status.code == grpc.StatusCode.UNAVAILABLE.value[0]
            assert (info.reason, info.domain, dict(info.metadata)) == ("WRONG_OWNER", "hearth", {"partition": "3"})
            assert retry.retry_delay.ToMilliseconds() == 200
            assert bad_request.field_violations[0].field == "channel"

    run(test())


def test_a_defect_in_one_call_is_internal_and_the_stream_goes_on(tmp_path: Path, caplog):
    async def test():
        async with serving(tmp_path, Handler()) as (_, stub):
            exchange = stub.Exchange()
            await exchange.write(frame(b"defect"))
            (reply,) = (await exchange.read()).replies
            assert reply.code == grpc.StatusCode.INTERNAL.value[0]
            assert "ZeroDivisionError" not in status_pb2.Status.FromString(reply.payload).message

            await exchange.write(frame(b"next"))
            assert replies_of(await exchange.read()) == [(1, 0, b"next!")]

    run(test())
    assert "ZeroDivisionError" in caplog.text


def test_calls_above_the_limit_are_refused_at_once_with_a_time_to_retry(tmp_path: Path):
    async def test():
        handler = Handler()
        gate = handler.gate(b"held")
        async with serving(tmp_path, handler, calls_in_flight_max=2) as (_, stub):
            exchange = stub.Exchange()
            await exchange.write(frame(b"held", b"held", b"over"))
            (refused,) = (await exchange.read()).replies

            status = status_pb2.Status.FromString(refused.payload)
            retry = error_details_pb2.RetryInfo()
            assert refused.id == 3
            assert status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
            assert status.details[1].Unpack(retry)
            assert retry.retry_delay.ToMilliseconds() == 100

            gate.set()
            assert replies_of(await exchange.read()) == [(1, 0, b"held!"), (2, 0, b"held!")]
            await exchange.write(frame(b"after"))
            assert replies_of(await exchange.read()) == [(1, 0, b"after!")]

    run(test())


def test_the_end_of_a_stream_does_not_end_its_calls(tmp_path: Path):
    async def test():
        handler = Handler()
        gate = handler.gate(b"in the log")
        async with serving(tmp_path, handler) as (servicer, stub):
            exchange = stub.Exchange()
            await exchange.write(frame(b"in the log"))
            await handler.started.get()
            exchange.cancel()

            other = stub.Exchange()
            await other.write(frame(b"other"))
            await other.read()
            assert servicer.call_count == 1
            gate.set()
            await servicer.settled()
            assert handler.finished == [b"other", b"in the log"]
            assert servicer.call_count == 0

    run(test())


def test_an_edge_that_is_done_writing_still_gets_its_replies(tmp_path: Path):
    async def test():
        handler = Handler()
        gate = handler.gate(b"held")
        async with serving(tmp_path, handler) as (_, stub):
            exchange = stub.Exchange()
            await exchange.write(frame(b"held"))
            await exchange.done_writing()
            await handler.started.get()
            gate.set()

            assert replies_of(await exchange.read()) == [(1, 0, b"held!")]
            assert await exchange.read() is grpc.aio.EOF
            assert await exchange.code() is grpc.StatusCode.OK

    run(test())


def test_large_replies_are_spread_over_frames(tmp_path: Path):
    async def test():
        handler = Handler()
        gate = handler.gate(large := b"x" * 700_000)
        async with serving(tmp_path, handler) as (_, stub):
            exchange = stub.Exchange()
            await exchange.write(frame(*[large] * 5))
            for _ in range(5):
                await handler.started.get()
            gate.set()

            counts = [len((await exchange.read()).replies) for _ in range(3)]
            assert counts == [2, 2, 1]

    run(test())


def test_deliveries_flow_until_the_subscriber_is_gone(tmp_path: Path):
    async def test():
        handler = Handler()
        async with serving(tmp_path, handler) as (_, stub):
            deliveries = stub.Deliver(shard_pb2.DeliverRequest(channels=["push", "sms"]))
            await handler.outbox.put(delivery_pb2.SubscribeResponse(household="h1", attempt=1))

            assert (await deliveries.read()).delivery.household == "h1"
            assert handler.subscribed == [("push", "sms")]
            deliveries.cancel()
            await handler.unsubscribed.wait()

    run(test())
