"""Laws: of those who come at once no more are let in than there is room for; many are taken in one turn of the loop;
whoever leaves, is refused or is let in leaves nothing behind when the server stops.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2

from serving.accepting import AcceptingServer
from serving.admission import FULL_SHARE, Line, Lines
from serving.gate import Admission
from wire.failures import told_status

METHOD = "/test.Gated/Ask"
ROOM = 20
BURST = 100


@dataclass
class World:
    """A server with one method, which answers nobody before it is told to."""

    lines: Lines = field(default_factory=Lines)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    handled: int = 0
    refused_count: int = 0
    left: int = 0
    turns: int = 0
    refused_in: Counter[int] = field(default_factory=Counter)
    """Turn of the loop → how many were refused in it."""
    server: AcceptingServer = field(init=False)
    call: grpc.aio.UnaryUnaryMultiCallable = field(init=False)

    async def answer(self, message: bytes, _context: object) -> bytes:
        self.handled += 1
        self._look()
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        return message

    def refused(self, method: str) -> None:
        assert method == METHOD
        self.refused_in[self.turns] += 1
        self.refused_count += 1
        self._look()

    def _look(self) -> None:
        if self.handled + self.refused_count == BURST:
            self.may_answer.set()

    async def burst(self) -> Counter[grpc.StatusCode]:
        """Send many at once; nobody is answered before each is let in or refused."""
        self.handled = self.refused_count = 0
        self.may_answer.clear()
        return Counter(await asyncio.gather(*(self.ask() for _ in range(BURST))))

    async def ask(self) -> grpc.StatusCode:
        try:
            await self.call(b"question", timeout=30)
        except grpc.aio.AioRpcError as error:
            details = told_status(error).details
            assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in details)
            return error.code()
        return grpc.StatusCode.OK

    def count_turns(self) -> None:
        self.turns += 1
        asyncio.get_running_loop().call_soon(self.count_turns)


@asynccontextmanager
async def world_of() -> AsyncIterator[World]:
    world = World()
    line = Line(world.lines, wait_s_max=1.0, length_min=ROOM, monotonic_s=asyncio.get_running_loop().time)
    assert line.room == ROOM
    handler = grpc.unary_unary_rpc_method_handler(world.answer)
    world.server = AcceptingServer(())
    world.server.add_gated_methods({METHOD: handler}, {METHOD: Admission(lines=world.lines)}, world.refused)
    port = world.server.add_insecure_port("127.0.0.1:0")
    await world.server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        world.call = channel.unary_unary(METHOD)
        yield world
    await world.server.stop(None)


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - of gRPC's own threads nobody tells
        await asyncio.sleep(0)


def run(test):
    async def limited():
        async with asyncio.timeout(60), world_of() as world:
            await test(world)

    asyncio.run(limited())


def test_of_those_who_come_at_once_no_more_are_let_in_than_there_is_room_for():
    async def test(world):
        for _ in range(3):  # whoever has ended makes room
            codes = await world.burst()
            assert codes == {grpc.StatusCode.OK: FULL_SHARE * ROOM, grpc.StatusCode.RESOURCE_EXHAUSTED: BURST - 17}
            assert world.handled == codes[grpc.StatusCode.OK]
        assert sum(world.refused_in.values()) == 3 * (BURST - 17)

    run(test)


def test_many_are_taken_in_one_turn_of_the_loop():
    async def test(world):
        world.count_turns()
        for _ in range(50):
            await world.burst()
            if max(world.refused_in.values()) > 1:
                return
        pytest.fail("never more than one in a turn")

    run(test)


def test_who_leaves_makes_room():
    async def test(world):
        calls = [world.call(b"question") for _ in range(ROOM - 3)]
        await until(lambda: world.handled == len(calls))
        assert world.lines.is_full()
        for call in calls:
            call.cancel()
        await until(lambda: not world.lines.present)
        assert world.left == len(calls)

    run(test)


def test_a_server_that_stops_ends_its_calls_and_takers_and_logs_nothing(caplog):
    async def test(world):
        caplog.set_level(logging.INFO)
        calls = [asyncio.ensure_future(world.call(b"question").code()) for _ in range(BURST)]
        await until(lambda: world.handled == FULL_SHARE * ROOM)
        await world.server.stop(None)
        await asyncio.gather(*calls)
        await until(lambda: not world.server._server._tasks)
        assert world.lines.present == 0
        assert caplog.messages == []

    run(test)


def test_a_defect_in_telling_of_a_refusal_is_logged_and_the_caller_is_told_all_the_same(caplog):
    async def test(world):
        def defect(_method):
            raise ZeroDivisionError("a defect")

        world.server._server._on_refusal = defect
        world.may_answer.set()
        codes = Counter(await asyncio.gather(*(world.ask() for _ in range(BURST))))
        assert codes.keys() <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert ("a defect" in caplog.text) == (grpc.StatusCode.RESOURCE_EXHAUSTED in codes)

    run(test)
