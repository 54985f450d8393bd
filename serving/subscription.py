"""A gateway's subscription: the outbound actions of some channels from all shards, wherever the partitions are."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import Final, NoReturn

import grpc
import grpc.aio

from hearth.v1 import delivery_pb2
from serving.router import Router
from serving.settings import EdgeSettings
from wire.failures import CallFailed, told_status

logger = logging.getLogger(__name__)

RESUBSCRIBE_S: Final = 0.2
"""Between a broken stream of deliveries and the next try."""


class JoinedSubscription:
    """Outbound actions of some channels from all shards, wherever the partitions are."""

    def __init__(self, router: Router, channels: tuple[str, ...], settings: EdgeSettings, *, group: str = "") -> None:
        self._router = router
        self._channels = channels
        self._group = group
        self._refusal: asyncio.Future[NoReturn] = asyncio.get_running_loop().create_future()
        """Failed once a shard says that there is no such channel or group."""
        self._routes_age_s_max = settings.routes_age_s_max
        self._age_s_max = settings.delivery_age_s_max
        self._queue: asyncio.Queue[tuple[float, delivery_pb2.SubscribeResponse]] = asyncio.Queue(
            settings.delivery_queue_length
        )
        """Deliveries, and when they came in the loop's time."""
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._following = asyncio.create_task(self._follow())

    async def next(self) -> delivery_pb2.SubscribeResponse:
        """Return the next delivery that is fresh from its shard.

        Consent, quiet hours and the lease were checked when it left there. What has waited here for a slow gateway is
        dropped: nobody has it, so the shard hands it over again, after checking again.

        Raises:
            CallFailed: a shard refuses the subscription.
        """
        while True:
            came_s, delivery = await self._next_of_any()
            if asyncio.get_running_loop().time() - came_s <= self._age_s_max:
                return delivery

    async def _next_of_any(self) -> tuple[float, delivery_pb2.SubscribeResponse]:
        getting = asyncio.ensure_future(self._queue.get())
        try:
            await asyncio.wait((getting, self._refusal), return_when=asyncio.FIRST_COMPLETED)
            return getting.result() if getting.done() else self._refusal.result()
        finally:
            getting.cancel()

    async def close(self) -> None:
        """Take no more."""
        if not self._refusal.cancel() and not self._refusal.cancelled():
            self._refusal.exception()  # seen, whether or not anybody waited for it
        tasks = (self._following, *self._pumps.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self) -> None:
        """Keep one stream to each shard that owns something."""
        while True:
            routes = await self._router.routes(age_s_max=self._routes_age_s_max)
            addresses = set(routes.owners.values()) if routes is not None else set()
            for address in self._pumps.keys() - addresses:
                self._pumps.pop(address).cancel()
            for address in addresses - self._pumps.keys():
                self._pumps[address] = asyncio.create_task(self._pump(address))
            await asyncio.sleep(self._routes_age_s_max)

    async def _pump(self, address: str) -> None:
        """Take the deliveries of one shard, again after its stream broke: what is not acknowledged comes again."""
        while True:
            channel = self._router.channel(address)
            try:
                async with aclosing(channel.deliveries(self._channels, self._group)) as deliveries:
                    async for delivery in deliveries:
                        await self._queue.put((asyncio.get_running_loop().time(), delivery))
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    if not self._refusal.done():
                        self._refusal.set_exception(CallFailed(told_status(error)))
                    return
                logger.info("deliveries of shard at %s ended: %s", address, error.code().name)
            await asyncio.sleep(RESUBSCRIBE_S)
