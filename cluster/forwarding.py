"""From a shard to the owners of other partitions, the way that edges go: for what partitions tell each other."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from wire.failures import Failure, failed
from wire.installation import Installation

if TYPE_CHECKING:
    from serving.router import Router

TIMEOUT_S = 5.0
"""For an answer. Whoever asks asks again."""

ROUTES_AGE_S = 60.0
"""Older ones are asked for anew; those that turn out to be wrong are so at once."""


class Forwarding:
    """Made at the first call: most shards never need it. For one event loop."""

    def __init__(self, installation: Installation | None) -> None:
        """`installation`: by which shards know us."""
        self._installation = installation
        self._router: Router | None = None
        self._making = asyncio.Lock()

    async def call(self, method: int, partition: int, payload: bytes) -> bytes:
        """Return the answer of a partition's owner.

        Raises:
            CallFailed: as Router.call.
        """
        async with self._making:
            if self._router is None:
                self._router = await self._made()
        if await self._router.routes(age_s_max=ROUTES_AGE_S) is None:
            raise failed(Failure.NO_OWNER, "nobody says who owns what at present")
        return await self._router.call(method, partition, payload, timeout_s=TIMEOUT_S)

    async def _made(self) -> "Router":
        # Much of an edge comes with it: a shard starts without, and decides meanwhile.
        return (await asyncio.to_thread(_router_of_coordinator, self._installation))()

    async def close(self) -> None:
        """End what is under way."""
        if self._router is not None:
            await self._router.close()


def _router_of_coordinator(installation: Installation | None) -> "Callable[[], Router]":
    from serving.replica import CoordinatorRoutes
    from serving.router import Router
    from serving.shard_channel import ClientSettings

    return lambda: Router(CoordinatorRoutes(), ClientSettings(installation=installation))
