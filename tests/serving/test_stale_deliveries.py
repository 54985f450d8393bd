"""Deliveries on their way through the edge to a slow gateway.

Law: what waited too long since its shard checked it is not handed over; what is fresh is, in order.
"""

import asyncio

from hearth.v1 import delivery_pb2
from serving.settings import EdgeSettings
from serving.subscription import JoinedSubscription
from wire.routes import Routes

AGE_S_MAX = 0.05


class OneShard:
    """A router to one shard, which hands over what the test gives it."""

    def __init__(self) -> None:
        self.given: asyncio.Queue[str] = asyncio.Queue()

    async def routes(self, *, age_s_max: float) -> Routes:
        return Routes(partition_count=1, owners={0: "unix:/nowhere"}, ready=True)

    def channel(self, address: str) -> "OneShard":
        return self

    async def deliveries(self, channels, group=""):
        while True:
            yield delivery_pb2.SubscribeResponse(household=await self.given.get())


def test_what_waited_too_long_for_the_gateway_is_dropped_and_what_is_fresh_is_not():
    async def course() -> None:
        shard = OneShard()
        subscription = JoinedSubscription(shard, ("push",), EdgeSettings(delivery_age_s_max=AGE_S_MAX))
        try:
            shard.given.put_nowait("fresh")
            assert (await subscription.next()).household == "fresh"
            for name in ("old-1", "old-2"):
                shard.given.put_nowait(name)
            await asyncio.sleep(4 * AGE_S_MAX)
            for name in ("new-1", "new-2"):
                shard.given.put_nowait(name)
            assert [(await subscription.next()).household for _ in range(2)] == ["new-1", "new-2"]
        finally:
            await subscription.close()

    asyncio.run(course())
