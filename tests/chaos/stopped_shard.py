"""A client that talks directly to a shard, past every edge, and goes on listening while the shard is stopped.

What it sends then waits in the shard's socket. Nothing here gives up: no pings, no deadlines of its own.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

import grpc
import grpc.aio
from google.rpc import status_pb2

from hearth.internal.v1 import shard_pb2, shard_pb2_grpc
from hearth.v1 import household_pb2
from tests.actors.harness import signal
from tests.chaos import client as internal
from tests.chaos.history import History
from wire import hop
from wire.failures import CallFailed, reason_of
from wire.installation import Installation

OPTIONS: tuple[tuple[str, int | str], ...] = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Told:
    """One answer."""

    method: int
    sent_s: float
    told_s: float
    """Both of time.monotonic."""
    reason: str
    """Empty: it was carried out."""


class NoAnswer(Exception):
    """The stream ended first."""


class DirectProbe:
    """One stream to one shard."""

    def __init__(self, address: str, partition_count: int, history: History, installation: Installation) -> None:
        self._channel = hop.channel(address, OPTIONS, installation)
        self._exchange = shard_pb2_grpc.ShardServiceStub(self._channel).Exchange(
            metadata=hop.introduction(installation)
        )
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[shard_pb2.Reply]] = {}
        self._writing = asyncio.Lock()
        self._reading = asyncio.create_task(self._read())
        self._asking: set[asyncio.Task[object]] = set()
        self.told: list[Told] = []
        self.client = internal.Client(self.call, partition_count, history)

    @property
    def waiting(self) -> int:
        """How many calls have no answer."""
        return len(self._waiting)

    def ask(self, known: Sequence[tuple[int, str, str]]) -> None:
        """Send calls of all kinds for these (partition, household, request id), and wait for none.

        Every other one gets no signals: the first record ends an outdated term, and decisions are written later.
        """
        for place, (partition, household, request_id) in enumerate(known):
            name = f"direct-{household}-{next(self._ids)}"
            again = self.client.decide(household, member="ann", channel="app", request_id=request_id)
            fresh = self.client.decide(household, member="ann", channel="app", request_id=name)
            event = signal(f"{name}-event", household, "visit", time.time_ns() // 1_000, member="ann")
            signals = [self.client.ingest([event])] if place % 2 else []
            for work in (again, fresh, *signals, self._get(partition, household)):
                task: asyncio.Task[object] = asyncio.create_task(_quietly(work))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)

    async def _get(self, partition: int, household: str) -> None:
        await self.call(
            shard_pb2.METHOD_GET, partition, household_pb2.GetRequest(household=household).SerializeToString()
        )

    async def call(self, method: int, partition: int, payload: bytes) -> bytes:
        """Send one call; return its answer, whenever that comes.

        Raises:
            CallFailed: the shard's status.
            NoAnswer
        """
        number, sent_s = next(self._ids), time.monotonic()
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        frame = shard_pb2.ExchangeRequest()
        frame.calls.add(
            id=number, partition=partition, method=method, payload=payload, timeout_ms=int(PATIENCE_S * 1_000)
        )
        try:
            async with self._writing:
                await self._exchange.write(frame)
            reply = await answer
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise NoAnswer from None
        finally:
            self._waiting.pop(number, None)
        status = status_pb2.Status.FromString(reply.payload) if reply.code else None
        reason = "" if status is None else reason_of(status) or "UNKNOWN"
        self.told.append(Told(method, sent_s, time.monotonic(), reason))
        if status is not None:
            raise CallFailed(status)
        return reply.payload

    async def _read(self) -> None:
        try:
            async for frame in self._exchange:
                for reply in frame.replies:
                    answer = self._waiting.get(reply.id)
                    if answer is not None and not answer.done():
                        answer.set_result(reply)
        except grpc.aio.AioRpcError:
            pass
        finally:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(NoAnswer())

    async def ended(self, within_s: float) -> bool:
        """Return whether the shard has ended the stream within so long."""
        done, _ = await asyncio.wait({self._reading}, timeout=within_s)
        return bool(done)

    async def close(self) -> None:
        """Listen no longer."""
        self._reading.cancel()
        self._exchange.cancel()
        for task in self._asking:
            task.cancel()
        await asyncio.gather(self._reading, *self._asking, return_exceptions=True)
        await self._channel.close()


async def _quietly(work: Awaitable[object]) -> None:
    # Whatever became of it, `told` holds the answers there were.
    with contextlib.suppress(CallFailed, NoAnswer):
        await work
