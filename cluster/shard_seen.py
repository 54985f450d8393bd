"""A shard as the coordinator sees it, and calls to it that end in time."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict, TypeVar

from cluster.node import node_identity
from serving.models.in_force import ModelInForce

Result = TypeVar("Result")


class StartedShard(TypedDict):
    """What a shard says of itself once it serves."""

    address: str
    holder: str
    node: str
    process_id: int
    process_started_s: float
    """Tells it apart from a later process of the same id."""
    host: NotRequired[str]
    """The node's name, as people have it."""


class HandedOver(TypedDict):
    """What a shard says that has let go of a partition."""

    epoch: int
    """Of the next owner's term, at least."""
    ends_at: int
    """Where its log ends."""


class NotHandedOver(Exception):
    """A shard did not let go of a partition, or has and could not make another its owner."""


@dataclass(slots=True, eq=False)
class ShardSeen:
    name: str
    handle: Any
    is_spare: bool
    """It was made to stand in for another; it owns nothing until then."""
    started: StartedShard | None = None
    """None while it is being made."""
    before: StartedShard | None = None
    """What it was until Ray let go of it, though its process of this node was there still."""
    partitions: dict[int, dict[str, Any]] = field(default_factory=dict)
    """What it serves, as it said last."""
    model: ModelInForce | None = None
    """What it scores by, as it was last told; None if it was never told, or did not take it."""
    is_able: bool = False
    """Whether it may be given partitions: it has the model in force, or has said why not."""
    told_again_s: float = 0.0
    """Loop time from which it is told again of a model that it did not take."""
    model_trouble: str = ""

    @property
    def holder(self) -> str:
        """Under which name it holds its lease; empty while it is being made."""
        return self.started["holder"] if self.started is not None else ""

    @property
    def host(self) -> str:
        """The name of its node; empty while it is being made."""
        return self.started.get("host", "") if self.started is not None else ""


def is_here(started: StartedShard) -> bool:
    """Return whether a shard's process is one of this node's."""
    return started["node"] == node_identity()


async def within(deadline_s: float, call: Awaitable[Result]) -> Result:
    """Await a call to an actor, for so long at most: Ray itself notices a hung actor after minutes, if ever."""
    return await asyncio.wait_for(awaited(call), deadline_s)


async def awaited(call: Awaitable[Result]) -> Result:
    """Await what Ray gives for a call, which is no coroutine."""
    return await call
