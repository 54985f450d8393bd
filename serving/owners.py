"""The owners of partitions, as those see them who answer a request: asked by partition, household or identifier."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import Message

from serving.boundary import Limits
from serving.checks import NamesHousehold
from serving.places import KnownPlaces
from serving.router import Router
from wire.failures import CallFailed, Failure, failed, moved_to

HOPS_MOST: Final = 4
"""Partitions that are asked one after another for what has moved; two, but while it moves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """Whoever owns a partition at present."""

    router: Router
    partition_count: int
    """Of the cluster, fixed at its birth."""
    places: KnownPlaces = field(init=False)
    """Of what is known to have moved."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", KnownPlaces(self.partition_count))

    async def of_household(self, method: int, household: str, message: Message, limits: Limits) -> bytes:
        """Return the answer of the owner of a household, or of an identifier, wherever it lies.

        Raises:
            CallFailed: as Router.call, and ON_ITS_WAY.
        """
        key, payload = household.encode(), message.SerializeToString()
        asked: list[int] = []
        partition = self.places.of(key)
        while True:
            asked.append(partition)
            try:
                return await self.of_partition(method, partition, payload, limits)
            except CallFailed as away:
                if (place := moved_to(away.status)) is None:
                    raise
                if place in asked or len(asked) == HOPS_MOST:
                    raise on_its_way() from None
                self.places.learn(key, partition := place)

    async def of_named(self, method: int, request: NamesHousehold, message: Message, limits: Limits) -> bytes:
        """Return the answer of the owner of whom a checked request is about; raises as `of_household` does."""
        return await self.of_household(method, request.household or request.identifier, message, limits)

    async def of_partition(self, method: int, partition: int, payload: bytes, limits: Limits) -> bytes:
        """Return the answer of a partition's owner.

        Raises:
            CallFailed: as Router.call.
        """
        return await self.router.call(
            method, partition, payload, timeout_s=limits.timeout_s, traceparent=limits.traceparent
        )


def on_its_way() -> CallFailed:
    """Return what a gateway is told of what has left one partition and has not come to the other yet."""
    return failed(Failure.ON_ITS_WAY, "the household is changing its partition; try again")
