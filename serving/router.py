"""The way from a partition to its owner: who owns what, and who is let into the line of each shard.

Who would not be answered in time is not let in.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import grpc

from hearth.internal.v1 import shard_pb2
from serving.admission import Lines
from serving.shard_channel import ClientSettings, ShardChannel, deadline_exceeded, reason_of_end
from wire.failures import CallFailed, Failure, failed
from wire.frames import METHODS_IN_LINE
from wire.routes import Routes, RoutesSource

logger = logging.getLogger(__name__)

QUESTION_PATIENCE: Final = 1.0
OUTCOME_PATIENCE: Final = 1.5
"""Outcomes go on when questions are refused: caps and journeys need them, and they are told until they are known."""

PATIENCES: Final[dict[int, float]] = {
    shard_pb2.METHOD_DECIDE: QUESTION_PATIENCE,
    shard_pb2.METHOD_GET: QUESTION_PATIENCE,
    shard_pb2.METHOD_EXPLAIN: QUESTION_PATIENCE,
    shard_pb2.METHOD_DECISIONS: QUESTION_PATIENCE,
    shard_pb2.METHOD_GRAPH: QUESTION_PATIENCE,
    shard_pb2.METHOD_REPORT: OUTCOME_PATIENCE,
    shard_pb2.METHOD_ACK: OUTCOME_PATIENCE,
}
"""How many times as long the line may be for them. Batches have a line of their own."""
assert PATIENCES.keys() == METHODS_IN_LINE, "a method in line whose patience nobody told"

MOVING_POLL_S: Final = 0.02
"""How often it is asked whether a partition is served again that is on its way from one shard to another."""

LOST_POLL_S: Final = 0.05
"""How often it is asked whether one is served again whose owner is gone."""
LOST_SHARE: Final = 0.8
"""Of the time that a call has left, it waits so much for a partition whose owner is gone: enough is left to say so."""
WAITERS_MAX: Final = 2_000
"""Calls of one edge that wait for lost partitions; those that come then are told at once."""

UNANSWERED: Final = frozenset(
    (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
)
"""Replies that cost the shard next to nothing, and so say nothing of how quickly it answers."""


class Router:
    """The way from a partition to its owner.

    A call that fails because the owner is gone or another one is tried once more, with fresh routes and within its
    deadline; while the partition is on its way to another shard, or has just lost its owner and is being taken over, it
    waits. That is safe: each call is idempotent by its request_id or event ids.
    Must be created and used in one event loop.
    """

    def __init__(self, source: RoutesSource, settings: ClientSettings | None = None) -> None:
        self._source = source
        self._settings = settings or ClientSettings()
        self._routes: Routes | None = None
        self._asked_s = float("-inf")
        self._asking: asyncio.Task[Routes] | None = None
        self._channels: dict[str, ShardChannel] = {}
        self.lines = Lines()
        """Of all shards: those who wait for their answers."""
        self._lost_since_s: dict[int, float] = {}
        """By partition: when a call first found its owner gone, until it is served again."""
        self._found: dict[int, asyncio.Future[None]] = {}
        """By lost partition that calls wait for: done once it is served again."""
        self._finding: asyncio.Task[None] | None = None
        self._waiter_count = 0
        self._retired: list[ShardChannel] = []
        """Of shards that own nothing any more, until their open calls have ended."""
        self._watching: asyncio.Task[None] | None = None

    async def call(
        self, method: int, partition: int, payload: bytes, *, timeout_s: float | None = None, traceparent: str = ""
    ) -> bytes:
        """Return the answer of the partition's owner.

        Calls to one owner are sent in the order in which they were made, save those that are tried once more.

        Raises:
            CallFailed: the shard's status; or OVERLOADED, NO_OWNER, SHARD_UNREACHABLE, OUTCOME_UNKNOWN,
                DEADLINE_EXCEEDED.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + (self._settings.call_timeout_s if timeout_s is None else timeout_s)
        try:
            return await self._call_owner(method, partition, payload, deadline_s, traceparent)
        except CallFailed as failure:
            is_old = loop.time() - self._asked_s > self._settings.silence_s_max
            if failure.code is grpc.StatusCode.DEADLINE_EXCEEDED and is_old:
                # A stopped shard ends no stream: without a look at the routes, all calls would go on to it for ever.
                # One look does for all that ran out of time together: overload is none of the coordinator's making.
                self._ask_soon()
            if not _is_worth_another_try(failure):
                raise
            was_refused = failure.reason == Failure.NOT_OWNED_HERE.reason
        try:
            async with asyncio.timeout_at(deadline_s):
                await self._until_served(partition, was_refused=was_refused, deadline_s=deadline_s)
        except TimeoutError:
            raise deadline_exceeded() from None
        try:
            answer = await self._call_owner(method, partition, payload, deadline_s, traceparent)
        except CallFailed as failure:
            raise _as_public(failure) from None
        self._lost_since_s.pop(partition, None)
        return answer

    async def _until_served(self, partition: int, *, was_refused: bool, deadline_s: float) -> None:
        """Ask for the routes anew; return once the partition is not on its way to another shard, which takes a moment.

        Nor is being taken over, which takes a second or two from a warm spare; one that is not served for longer may
        never be, and nobody waits for it.

        `was_refused`: by the owner that the routes named. A question that was under way by then may have been answered
        before the partition set out, and is asked again.
        """
        may_be_old = was_refused and self._asking is not None
        await self.refresh()
        if may_be_old:
            await self.refresh()
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._settings.hand_over_s_max
        while self._routes is not None and partition in self._routes.moving and loop.time() < until_s:
            await asyncio.sleep(MOVING_POLL_S)
            await self.refresh()
        if self._is_lost(partition):
            await self._until_taken_over(partition, deadline_s)

    async def _until_taken_over(self, partition: int, deadline_s: float) -> None:
        """Wait for a partition whose owner is gone, unless it has been without one for long, or too many wait already.

        Who waits is in no line: it keeps nobody from partitions that are served.
        """
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        since_s = self._lost_since_s.setdefault(partition, now_s)
        until_s = min(now_s + LOST_SHARE * (deadline_s - now_s), since_s + self._settings.take_over_s_max)
        if until_s <= now_s or self._waiter_count >= WAITERS_MAX:
            return
        found = self._found.setdefault(partition, loop.create_future())
        self._waiter_count += 1
        self.lines.present -= 1
        if self._finding is None or self._finding.done():
            self._finding = asyncio.create_task(self._find(), name="lost partitions")
        try:
            # Found or not: it is asked once more, and says so.
            await asyncio.wait((found,), timeout=until_s - now_s)
        finally:
            self._waiter_count -= 1
            self.lines.present += 1

    async def _find(self) -> None:
        """Ask for the routes while anybody waits for a lost partition, and wake all whose partition is served."""
        while self._waiter_count:
            await asyncio.sleep(LOST_POLL_S)
            await self.refresh()
            for partition in [one for one in self._found if not self._is_lost(one)]:
                self._found.pop(partition).set_result(None)
        self._found.clear()

    def _is_lost(self, partition: int) -> bool:
        """Return whether the routes name no owner that can be reached."""
        address = self._routes.owners.get(partition) if self._routes is not None else None
        return address is None or self.channel(address).is_lost

    async def _call_owner(
        self, method: int, partition: int, payload: bytes, deadline_s: float, traceparent: str
    ) -> bytes:
        channel = self._channel_of(partition)
        limit_s = deadline_s - asyncio.get_running_loop().time()
        patience = PATIENCES.get(method)
        if patience is None:
            return await channel.call(method, partition, payload, timeout_s=limit_s, traceparent=traceparent)
        channel.line.join(timeout_s=limit_s, patience=patience)
        is_answered = False
        try:
            answer = await channel.call(method, partition, payload, timeout_s=limit_s, traceparent=traceparent)
            is_answered = True
            return answer
        except CallFailed as failure:
            is_answered = failure.code not in UNANSWERED
            raise
        finally:
            channel.line.leave(is_answered=is_answered)

    async def routes(self, *, age_s_max: float) -> Routes | None:
        """Return routes that are at most so old, asking for new ones if need be; None if none were ever had."""
        if asyncio.get_running_loop().time() - self._asked_s > age_s_max:
            await self.refresh()
        return self._routes

    async def refresh(self) -> None:
        """Ask for the routes anew. Many who ask at once ask once; without an answer the old routes stay.

        Whoever joins a question that is under way gets an answer that may be older than his asking by that question.
        """
        await asyncio.wait((self._ask_soon(),))

    def _ask_soon(self) -> asyncio.Task[Routes]:
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._take_routes)
        return self._asking

    def channel(self, address: str) -> ShardChannel:
        """Return the channel to a shard; makes it at the first use."""
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = ShardChannel(address, self._settings, self.lines)
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch_for_silence(), name="silent shards")
        return channel

    async def _watch_for_silence(self) -> None:
        """Find the new owner while calls wait for a stopped one: that ends no stream, and takes their whole time."""
        while True:
            await asyncio.sleep(self._settings.silence_s_max / 2)
            if any(channel.is_silent for channel in self._channels.values()):
                self._ask_soon()
            for channel in self._retired:
                if channel.is_silent:
                    channel.give_up()
            self._retired = [channel for channel in self._retired if channel.open_call_count]

    async def close(self) -> None:
        """Close all channels; open calls fail with OUTCOME_UNKNOWN."""
        channels, self._channels = self._channels, {}
        for task in (self._asking, self._watching, self._finding):
            if task is not None:
                task.cancel()
        await asyncio.gather(*(channel.close() for channel in channels.values()))

    async def _ask(self) -> Routes:
        async with asyncio.timeout(self._settings.routes_timeout_s):
            return await self._source()

    def _take_routes(self, asking: asyncio.Task[Routes]) -> None:
        self._asking = None
        if asking.cancelled():
            return
        if (error := asking.exception()) is not None:
            logger.warning("no answer to who owns what: %s", reason_of_end(error))
            return
        self._routes = asking.result()
        self._asked_s = asyncio.get_running_loop().time()
        known = set(self._routes.owners.values())
        for address in [address for address in self._channels if address not in known]:
            channel = self._channels.pop(address)
            channel.retire()
            self._retired.append(channel)
        for address in known:
            self.channel(address)  # connected before it is needed, and its line counted
        self._lost_since_s = {one: since for one, since in self._lost_since_s.items() if self._is_lost(one)}

    def _channel_of(self, partition: int) -> ShardChannel:
        address = self._routes.owners.get(partition) if self._routes is not None else None
        if address is None:
            raise failed(Failure.NO_OWNER, f"partition {partition} has no owner at present")
        return self.channel(address)


def _is_worth_another_try(failure: CallFailed) -> bool:
    return failure.code is grpc.StatusCode.UNAVAILABLE or failure.reason == Failure.NOT_OWNED_HERE.reason


def _as_public(failure: CallFailed) -> CallFailed:
    """A shard's WRONG_OWNER is FAILED_PRECONDITION between us; to a gateway it is a matter of waiting."""
    if failure.reason != Failure.NOT_OWNED_HERE.reason:
        return failure
    return failed(Failure.WRONG_OWNER, "the household's partition is moving to another shard")
