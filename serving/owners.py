"""The owners of partitions, as those see them who answer a request: asked by partition, household or identifier."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message

from serving.boundary import Limits
from serving.checks import NamesHousehold
from serving.router import Router
from wire.partitions import partition_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """Whoever owns a partition at present."""

    router: Router
    partition_count: int
    """Of the cluster, fixed at its birth."""

    async def of_household(self, method: int, household: str, message: Message, limits: Limits) -> bytes:
        """Return the answer of a household's owner."""
        partition = partition_of(household.encode(), self.partition_count)
        return await self.of_partition(method, partition, message.SerializeToString(), limits)

    async def of_named(self, method: int, request: NamesHousehold, message: Message, limits: Limits) -> bytes:
        """Return the answer of the owner of whom a checked request is about; an identifier lies where its name does."""
        return await self.of_household(method, request.household or request.identifier, message, limits)

    async def of_partition(self, method: int, partition: int, payload: bytes, limits: Limits) -> bytes:
        """Return the answer of a partition's owner.

        Raises:
            CallFailed: as Router.call.
        """
        return await self.router.call(
            method, partition, payload, timeout_s=limits.timeout_s, traceparent=limits.traceparent
        )
