"""Laws: a call for a partition that is on its way from one shard to another waits until it is served, within its own
time, and is then answered by the new owner; it is never told of the move unless that takes too long. An edge is ready
meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from actors.shard.exchange import ExchangeServicer
from hearth.internal.v1 import shard_pb2
from serving.router import Router
from tests.serving.test_edge import QUICK, FakeShard, listening, run, wrong_owner
from wire.failures import CallFailed
from wire.routes import Routes

GET = shard_pb2.METHOD_GET


class Moving:
    """A partition, the shard it leaves, and the one it goes to."""

    def __init__(self, folder: Path) -> None:
        self.old, self.new = FakeShard(), FakeShard()
        self.addresses = [f"unix:{folder}/old.sock", f"unix:{folder}/new.sock"]
        self.routes = Routes(partition_count=1, owners={0: self.addresses[0]}, ready=True)
        self.asked = 0
        self.when_asked: Callable[[int], None] = lambda count: None

    async def ask(self) -> Routes:
        self.asked += 1
        self.when_asked(self.asked)
        return self.routes

    def sets_out(self) -> None:
        self.old.failures = [wrong_owner() for _ in range(10)]
        self.routes = Routes(partition_count=1, owners={}, ready=True, moving=frozenset({0}))

    def arrives(self) -> None:
        self.routes = Routes(partition_count=1, owners={0: self.addresses[1]}, ready=True)


def moving(folder: Path, test: Callable[[Moving, Router], Awaitable[None]], **settings: float) -> None:
    async def whole() -> None:
        world = Moving(folder)
        servers = [
            await listening(address, ExchangeServicer(shard))
            for address, shard in zip(world.addresses, (world.old, world.new), strict=True)
        ]
        router = Router(world.ask, replace(QUICK, **settings))
        await router.refresh()
        await router.channel(world.addresses[0]).connected()
        try:
            await test(world, router)
        finally:
            await router.close()
            await asyncio.gather(*(server.stop(None) for server in servers))

    run(whole())


def test_a_call_waits_for_the_new_owner(tmp_path: Path):
    async def test(world: Moving, router: Router) -> None:
        world.sets_out()
        asked_before = world.asked

        def arrive_at_last(count: int) -> None:
            if count == asked_before + 4:
                world.arrives()

        world.when_asked = arrive_at_last

        assert await router.call(GET, 0, b"", timeout_s=8.0) == FakeShard.usual_answer(GET, b"")
        assert (len(world.old.calls), len(world.new.calls)) == (1, 1)

    moving(tmp_path, test)


def test_a_call_whose_question_was_asked_a_moment_too_early_asks_again(tmp_path: Path):
    """Many calls share one question; an answer from before the partition set out would lead back to the old owner."""

    async def test(world: Moving, router: Router) -> None:
        stays, answered = world.routes, asyncio.Event()

        async def slowly() -> Routes:
            world.asked += 1
            if world.asked == 2:
                await answered.wait()
                return stays
            world.arrives()
            return world.routes

        router._source = slowly
        world.sets_out()
        early = asyncio.ensure_future(router.refresh())
        await asyncio.sleep(0)
        call = asyncio.ensure_future(router.call(GET, 0, b"", timeout_s=8.0))
        await world.old.started.get()
        answered.set()

        assert await call == FakeShard.usual_answer(GET, b"")
        await early

    moving(tmp_path, test)


def test_a_call_waits_no_longer_than_for_so_long(tmp_path: Path):
    async def test(world: Moving, router: Router) -> None:
        world.sets_out()
        with pytest.raises(CallFailed) as failure:
            await router.call(GET, 0, b"", timeout_s=8.0)
        assert failure.value.reason == "NO_OWNER"
        with pytest.raises(CallFailed) as failure:
            await router.call(GET, 0, b"", timeout_s=0.03)
        assert failure.value.reason == "DEADLINE_EXCEEDED"

    moving(tmp_path, test, hand_over_s_max=0.1)
