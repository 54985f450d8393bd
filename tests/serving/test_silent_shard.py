"""Laws: a shard that says nothing while calls wait is taken for stopped: who owns what is asked for, calls that wait
go to the new owner within their own time, and calls that were given up are asked about all the same. While the old
owner is still the owner, nothing is given up.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from actors.shard.exchange import ExchangeServicer
from hearth.internal.v1 import shard_pb2
from serving.router import Router
from tests.serving.test_edge import QUICK, FakeShard, listening, run
from wire.failures import CallFailed
from wire.routes import Routes

IMPATIENT = replace(QUICK, silence_s_max=0.05)
GET = shard_pb2.METHOD_GET


class Owners:
    """Says who owns the one partition, and notes that it was asked."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked = asyncio.Queue[str]()

    async def __call__(self) -> Routes:
        self.asked.put_nowait(self.address)
        return Routes(partition_count=1, owners={0: self.address}, ready=True)


class Stopped:
    """A stopped shard, the one that may take over, and a router."""

    def __init__(self, folder: Path) -> None:
        self.old, self.new = FakeShard(), FakeShard()
        self.old.gate = asyncio.Event()
        self.addresses = [f"unix:{folder}/old.sock", f"unix:{folder}/new.sock"]
        self.owners = Owners(self.addresses[0])
        self.router = Router(self.owners, IMPATIENT)

    async def begin(self) -> None:
        self.servers = [
            await listening(address, ExchangeServicer(shard))
            for address, shard in zip(self.addresses, (self.old, self.new), strict=True)
        ]
        await self.router.refresh()
        await self.owners.asked.get()

    async def end(self) -> None:
        self.old.gate.set()
        await self.router.close()
        await asyncio.gather(*(server.stop(None) for server in self.servers))


def test_a_call_that_waits_for_a_stopped_shard_is_answered_by_the_new_owner(tmp_path: Path):
    async def test():
        world = Stopped(tmp_path)
        await world.begin()
        call = asyncio.ensure_future(world.router.call(GET, 0, b"", timeout_s=8.0))
        await world.old.started.get()
        world.owners.address = world.addresses[1]

        assert await call == FakeShard.usual_answer(GET, b"")
        assert len(world.new.calls) == 1
        await world.end()

    run(test())


def test_the_routes_are_asked_for_although_every_caller_gives_up_first(tmp_path: Path):
    async def test():
        world = Stopped(tmp_path)
        await world.begin()
        while world.owners.asked.empty():
            call = asyncio.ensure_future(world.router.call(GET, 0, b""))
            await asyncio.wait({call}, timeout=0.02)
            call.cancel()
        await world.end()

    run(test())


def test_a_slow_owner_is_asked_about_and_not_given_up(tmp_path: Path):
    async def test():
        world = Stopped(tmp_path)
        await world.begin()
        call = asyncio.ensure_future(world.router.call(GET, 0, b"", timeout_s=8.0))
        for _ in range(3):
            await world.owners.asked.get()
        assert not call.done()
        world.old.gate.set()

        assert await call == FakeShard.usual_answer(GET, b"")
        assert world.new.calls == []
        await world.end()

    run(test())


def test_without_a_new_owner_a_call_ends_with_its_time(tmp_path: Path):
    async def test():
        world = Stopped(tmp_path)
        await world.begin()
        with pytest.raises(CallFailed) as caught:
            await world.router.call(GET, 0, b"", timeout_s=0.2)
        assert caught.value.reason == "DEADLINE_EXCEEDED"
        await world.end()

    run(test())
