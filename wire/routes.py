"""Who owns what: what the coordinator says and edges go by."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

COORDINATOR_NAME: Final = "hearth-coordinator"
COORDINATOR_NAMESPACE: Final = "hearth"
"""By which edges find the coordinator among Ray's actors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """Where each partition is served, as the coordinator last said."""

    partition_count: int
    owners: Mapping[int, str] = field(default_factory=dict)
    """Partition → address of its owner: `unix:/path` or `host:port`."""
    ready: bool = False
    """Every partition has an owner that has caught up with its log, or has one in a moment."""
    moving: frozenset[int] = frozenset()
    """Partitions that are being handed over to another shard: they are served again in a moment, and calls wait."""


class RoutesSource(Protocol):
    """Says who owns what now. Asked when something went wrong and by health checks, never per request."""

    def __call__(self) -> Awaitable[Routes]: ...
