"""Outbound actions from a real shard through real edges to gateways, over gRPC.

Laws: gateways at different edges share as those at one do; what one had when it was cut off goes to another; a group or
channel that the playbook does not have is INVALID_ARGUMENT, with what there is; a cap holds though nothing is
acknowledged.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from actors.log.segments import SegmentStore
from actors.shard.config import ShardConfig
from actors.shard.shard import Shard
from hearth.v1 import delivery_pb2, delivery_pb2_grpc, signal_pb2, signal_pb2_grpc
from household.plan import Plan
from serving.edge import PublicServices
from serving.router import Router
from tests.actors.harness import DiskFiles, corner, in_loop
from wire.routes import Routes

SOON = (("check: {source: app}", "check: {source: app, action_window: 1h}"), ("cooldown: 1h", "cooldown: 1ms"))
COPIED = ("push: {outbound: true,", "push: {outbound: true, groups: [main, archive],")


class Client:
    """A source and a gateway at one edge."""

    def __init__(self, target: str) -> None:
        self.channel = grpc.aio.insecure_channel(target)
        self._signals = signal_pb2_grpc.SignalServiceStub(self.channel)
        self.deliveries = delivery_pb2_grpc.DeliveryServiceStub(self.channel)

    async def low(self, household: str) -> None:
        """Let a member of the household become worth a push."""
        signals = []
        for kind in ("consent", "check", "check"):
            one = signal_pb2.Signal(event_id=str(uuid.uuid4()), type=kind, household=household, member="m")
            one.time.FromMicroseconds(time.time_ns() // 1_000)
            if kind == "consent":
                one.fields["marketing"].flag = True
            signals.append(one)
        await self._signals.Ingest(signal_pb2.IngestRequest(signals=signals), timeout=10)

    def subscribe(self, *channels: str, group: str = "") -> grpc.aio.UnaryStreamCall:
        return self.deliveries.Subscribe(delivery_pb2.SubscribeRequest(channels=channels, group=group))


@asynccontextmanager
async def running(directory: Path, plan: Plan, *, edges: int) -> AsyncIterator[list[Client]]:
    """Run one shard and some edges before it."""
    address = f"unix:{directory}/shard.sock"
    config = ShardConfig(name="shard-0", address=address, tick_interval_s=0.05)
    shard = Shard(config, SegmentStore(directory / "log", files=DiskFiles()))
    async with AsyncExitStack() as stack:
        await shard.start()
        stack.push_async_callback(shard.drain)
        await shard.assign(0, plan_bytes=plan.canonical_bytes, epoch=1)

        async def routes() -> Routes:
            return Routes(partition_count=1, owners={0: address}, ready=True)

        async def is_ready() -> bool:
            return True

        clients = []
        for _ in range(edges):
            router = Router(routes)
            stack.push_async_callback(router.close)
            server = grpc.aio.server()
            PublicServices(router, 1, is_ready).add_to(server)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            stack.push_async_callback(server.stop, None)
            client = Client(f"127.0.0.1:{port}")
            stack.push_async_callback(client.channel.close)
            clients.append(client)
        yield clients


class Gateways:
    """Take what comes on some streams, and tell when it has come."""

    def __init__(self, *calls: grpc.aio.UnaryStreamCall) -> None:
        self.got: list[list[str]] = [[] for _ in calls]
        self._came = asyncio.Condition()
        self._tasks = [asyncio.create_task(self._take(place, call)) for place, call in enumerate(calls)]

    async def _take(self, place: int, call: grpc.aio.UnaryStreamCall) -> None:
        async for delivery in call:
            async with self._came:
                self.got[place].append(delivery.household)
                self._came.notify_all()

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with self._came:
            await self._came.wait_for(is_so)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)


@in_loop
async def test_gateways_at_two_edges_share_and_one_takes_over_from_another(tmp_path: Path):
    async with running(tmp_path, corner(*SOON), edges=2) as (first, second):
        calls = [first.subscribe("push"), second.subscribe("push")]
        gateways = Gateways(*calls)
        got, names = gateways.got, []
        while min(map(len, got)) < 3:  # until both listen and have their part
            name = f"h{len(names)}"
            names.append(name)
            await first.low(name)
            await gateways.until(lambda name=name: name in got[0] + got[1])
        assert sorted(got[0] + got[1]) == sorted(names), "each goes to one of them, once"
        had = set(got[1])
        calls[1].cancel()
        await gateways.until(lambda: had <= set(got[0]))
        assert sorted(got[0]) == sorted(names), "each of the other's once, and none of its own again"
        await gateways.close()


@pytest.mark.parametrize(
    ("channels", "group", "reason", "told"),
    [(("push",), "", "UNKNOWN_GROUP", "main, archive"), (("fax",), "main", "UNKNOWN_CHANNEL", "app, push, sms, web")],
)
@in_loop
async def test_a_subscription_that_can_never_be_served_is_refused(tmp_path: Path, channels, group, reason, told):
    async with running(tmp_path, corner(COPIED), edges=1) as (client,):
        call = client.subscribe(*channels, group=group)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert told in str(refused.value.details())
        info = error_details_pb2.ErrorInfo()
        assert any(one.Unpack(info) for one in rpc_status.from_call(refused.value).details)
        assert info.reason == reason


@in_loop
async def test_a_cap_holds_though_nothing_is_acknowledged_and_moments_go_on(tmp_path: Path):
    plan = corner(*SOON, ("outbound: [push, sms]", "outbound: push"))
    async with running(tmp_path, plan, edges=1) as (client,):
        call = client.subscribe("push")
        await client.low("h")
        first = await call.read()
        for _ in range(5):
            await client.low("h")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call.read(), 0.5)
        acked = await client.deliveries.Ack(
            delivery_pb2.AckRequest(
                request_id="a", household="h", action_id=first.action.action_id, delivered=False, channel=first.channel
            )
        )
        assert acked.effective
        call.cancel()
        call = client.subscribe("push")
        await client.low("h")
        assert (await asyncio.wait_for(call.read(), 5.0)).household == "h", "it reached nobody: another may go"
