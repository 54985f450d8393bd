"""A stream of deliveries whose connection is closed beneath it.

Law: whoever listens is told that the stream broke, and so listens again; only who was cancelled is cancelled. grpc.aio
says of both that they were cancelled.
"""

import asyncio

import grpc
import pytest

from serving import shard_channel
from serving.shard_channel import ClientSettings, ShardChannel


class Responses:
    """A stream that waits, and ends as it is told."""

    def __init__(self, ending: asyncio.Future) -> None:
        self._ending = ending

    def __aiter__(self):
        return self

    async def __anext__(self):
        await self._ending

    def cancel(self) -> None: ...


def listening(monkeypatch, course) -> None:
    async def run() -> None:
        ending = asyncio.get_running_loop().create_future()
        stub = type(
            "Stub", (), {"__init__": lambda self, channel: None, "Deliver": lambda self, _, metadata: Responses(ending)}
        )
        monkeypatch.setattr(shard_channel.shard_pb2_grpc, "ShardServiceStub", stub)
        channel = ShardChannel("unix:nowhere", ClientSettings())
        channel._running.cancel()
        channel._grpc_channel = object()
        channel._connected.set()
        listener = asyncio.create_task(anext(channel.deliveries(("push",))))
        await asyncio.sleep(0)
        await course(ending, listener)

    asyncio.run(run())


def test_a_stream_whose_connection_was_closed_broke(monkeypatch):
    async def course(ending, listener):
        ending.set_exception(asyncio.CancelledError())
        with pytest.raises(grpc.aio.AioRpcError) as broken:
            await listener
        assert broken.value.code() is grpc.StatusCode.UNAVAILABLE

    listening(monkeypatch, course)


def test_a_listener_that_was_cancelled_is_cancelled(monkeypatch):
    async def course(_, listener):
        listener.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listener

    listening(monkeypatch, course)
