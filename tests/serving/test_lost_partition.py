"""Laws: a call for a partition whose owner has just died waits, within its own time, until another has taken it over,
or the same one is back, and is then answered; it is told in time where that takes too long. Nobody waits for a
partition that has had no owner for long.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import grpc.aio
import pytest

from actors.shard.exchange import ExchangeServicer
from hearth.internal.v1 import shard_pb2
from serving import router as router_module
from serving.router import Router
from tests.serving.test_edge import QUICK, FakeShard, listening, run
from wire.failures import CallFailed
from wire.routes import Routes

GET = shard_pb2.METHOD_GET
ANSWER = FakeShard.usual_answer(GET, b"")


class Dying:
    """A partition, the shard that owns it and dies, and the one that takes it over."""

    def __init__(self, folder: Path) -> None:
        self.shards = [FakeShard(), FakeShard()]
        self.addresses = [f"unix:{folder}/{name}.sock" for name in ("first", "spare")]
        self.servers: list[grpc.aio.Server] = []
        self.routes = self.owned_by(0)
        self.asked = 0
        self.when_asked: Callable[[int], None] = lambda count: None

    def owned_by(self, shard: int | None = None) -> Routes:
        owners = {} if shard is None else {0: self.addresses[shard]}
        return Routes(partition_count=1, owners=owners, ready=bool(owners))

    async def begin(self, shard: int) -> grpc.aio.Server:
        return await listening(self.addresses[shard], ExchangeServicer(self.shards[shard]))

    async def ask(self) -> Routes:
        self.asked += 1
        self.when_asked(self.asked)
        return self.routes


def dying(folder: Path, test: Callable[[Dying, Router], Awaitable[None]], **settings: float) -> None:
    async def whole() -> None:
        world = Dying(folder)
        world.servers = [await world.begin(0), await world.begin(1)]
        router = Router(world.ask, replace(QUICK, **settings))
        await router.refresh()
        await router.channel(world.addresses[0]).connected()
        try:
            assert await router.call(GET, 0, b"", timeout_s=8.0) == ANSWER
            await world.servers[0].stop(None)
            await test(world, router)
        finally:
            await router.close()
            await asyncio.gather(*(server.stop(None) for server in world.servers))

    run(whole())


@pytest.mark.parametrize("is_told", [True, False])
def test_a_call_waits_until_the_partition_is_taken_over(tmp_path: Path, is_told: bool):
    """Whether the coordinator has heard of the death by then or not."""

    async def test(world: Dying, router: Router) -> None:
        asked_before = world.asked

        def take_over_at_last(count: int) -> None:
            if count == asked_before + 1 and is_told:
                world.routes = world.owned_by()
            if count == asked_before + 4:
                world.routes = world.owned_by(1)

        world.when_asked = take_over_at_last
        calls = [router.call(GET, 0, b"", timeout_s=8.0) for _ in range(3)]

        assert await asyncio.gather(*calls) == [ANSWER] * 3
        assert (len(world.shards[0].calls), len(world.shards[1].calls)) == (1, 3)

    dying(tmp_path, test)


def test_a_call_waits_until_the_shard_is_back(tmp_path: Path):
    async def test(world: Dying, router: Router) -> None:
        call = asyncio.ensure_future(router.call(GET, 0, b"", timeout_s=8.0))
        await asyncio.wait([call], timeout=0.15)
        assert not call.done()
        world.servers[0] = await world.begin(0)

        assert await call == ANSWER

    dying(tmp_path, test)


def test_it_is_told_in_time_where_that_takes_too_long(tmp_path: Path):
    async def test(world: Dying, router: Router) -> None:
        world.routes = world.owned_by()
        with pytest.raises(CallFailed) as failure:
            await router.call(GET, 0, b"", timeout_s=0.5)
        assert failure.value.reason == "NO_OWNER"

    dying(tmp_path, test)


def test_nobody_waits_for_what_has_had_no_owner_for_long_until_it_has_had_one_again(tmp_path: Path):
    async def test(world: Dying, router: Router) -> None:
        world.routes = world.owned_by()
        for _ in range(2):
            asked_before = world.asked
            with pytest.raises(CallFailed) as failure:
                await router.call(GET, 0, b"", timeout_s=8.0)
            assert failure.value.reason == "NO_OWNER"
        assert world.asked == asked_before + 1, "it was waited for"

        world.routes = world.owned_by(1)
        assert await router.call(GET, 0, b"", timeout_s=8.0) == ANSWER
        await world.servers[1].stop(None)
        world.routes, asked_before = world.owned_by(), world.asked
        with pytest.raises(CallFailed):
            await router.call(GET, 0, b"", timeout_s=8.0)
        assert world.asked > asked_before + 1, "it was not waited for"

    dying(tmp_path, test, take_over_s_max=0.2)


def test_who_waits_is_in_nobodys_way_and_of_too_many_the_last_are_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(router_module, "WAITERS_MAX", 2)

    async def test(world: Dying, router: Router) -> None:
        world.routes = world.owned_by()
        router.lines.present += 2  # as the gate does
        waiting = [asyncio.ensure_future(router.call(GET, 0, b"", timeout_s=8.0)) for _ in range(2)]
        await asyncio.wait(waiting, timeout=0.15)
        assert router.lines.present == 0
        with pytest.raises(CallFailed) as failure:
            await router.call(GET, 0, b"", timeout_s=8.0)
        assert failure.value.reason == "NO_OWNER"
        assert not any(call.done() for call in waiting)

        world.routes = world.owned_by(1)
        assert await asyncio.gather(*waiting) == [ANSWER] * 2
        assert router.lines.present == 2

    dying(tmp_path, test)
