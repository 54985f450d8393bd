"""All that an edge process needs to know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from serving.access.door import Door
from serving.boundary import RequestObserver
from serving.edge import NowUs
from serving.settings import EdgeSettings
from serving.shard_channel import ClientSettings
from serving.tls import TlsFiles
from wire.addresses import host_is_loopback
from wire.routes import RoutesSource


class Listener(Enum):
    """Which server carries the public services."""

    OWN = "own"
    DIRECT_INGRESS = "direct_ingress"


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeConfig:
    """All that an edge replica needs to know. It travels there pickled, so callables are module-level functions."""

    host: str = "127.0.0.1"
    """Where the public port listens. Only a loopback address goes without TLS, unless plaintext is permitted."""
    port: int = 9_000
    listener: Listener = Listener.OWN
    tls: TlsFiles | None = None
    is_plaintext_permitted: bool = False
    """Beyond loopback; whoever sets it has said so twice (cluster/config.py)."""
    development: bool = False
    """Adds gRPC reflection."""
    settings: EdgeSettings = field(default_factory=EdgeSettings)
    client: ClientSettings = field(default_factory=ClientSettings)
    routes_source: RoutesSource | None = None
    """Who says which shard owns what; None: the coordinator actor."""
    now_us: NowUs | None = None
    """See PublicServices."""
    observer_factory: Callable[[], RequestObserver | None] | None = None
    """Called once in each replica, first of all."""
    door_factory: Callable[[], Door] | None = None
    """Called once in each replica: who lets callers in. None lets in everybody."""
    replica_count: int = 1
    """Processes that listen on the public port."""
    cpu_count: float = 0.0
    """Ray's bookkeeping for one replica, not a limit."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Ray's custom resources that a replica takes, and which so say on what nodes it may run."""
    drain_timeout_s: float = 5.0
    """What a replica that stops gives its open requests."""

    def __post_init__(self) -> None:
        assert 0 < self.port < 65_536
        # Without TLS anyone who reaches the port can ask and report for any household.
        is_closed = self.tls is not None or host_is_loopback(self.host)
        assert is_closed or self.is_plaintext_permitted, "not on loopback, and no TLS"
        assert self.replica_count > 0
        assert self.cpu_count >= 0
        assert self.drain_timeout_s >= 0

    @property
    def address(self) -> str:
        """Where clients find the public services."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
