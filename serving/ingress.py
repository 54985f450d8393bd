"""The edge as a Ray Serve deployment: who listens where, and what Serve has to be told for it.

Two listeners, one switch. OWN: the replica listens with a grpc.aio server of its own; public API only, one stable port
for all replicas of a node, TLS as grpc has it. DIRECT_INGRESS: our handlers ride on Serve's direct-ingress server as
passthrough services, which leans on private parts of Serve; all of them are here. docs/decisions/0007 compares the two.

Ray is imported inside the functions: Serve reads its environment when imported, and `serve_environment` comes first.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from serving.accepting import AcceptingServer
from serving.edge import SERVER_OPTIONS, SERVICE_NAMES, Clock, EdgeSettings, PublicServices, RequestObserver
from serving.shard_client import ClientSettings, Router
from wire.routes import COORDINATOR_NAME, COORDINATOR_NAMESPACE, Routes, RoutesSource

if TYPE_CHECKING:
    from ray import serve

logger = logging.getLogger(__name__)

APPLICATION: Final = "hearth-edge"
"""Serve's application of the first edge process; those of further ones have their number behind it.

An application each: the first answers before the others are started, and Serve would replace it to add a replica.
"""
PROXY_CALLBACK: Final = "serving.ingress.confine_listeners"
SERVICER_FUNCTION: Final = "serving.ingress.add_public_services"
DIRECT_INGRESS_PORT_COUNT: Final = 100
FIRST_ROUTES_PAUSE_S: Final = 0.1
LISTENING_POLL_S: Final = 0.05
FAILED_POLL_S: Final = 2.0


class Listener(Enum):
    """Which server carries the public services."""

    OWN = "own"
    DIRECT_INGRESS = "direct_ingress"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of a listener with TLS. With `client_ca`, clients have to show a certificate of that authority."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeConfig:
    """All that an edge replica needs to know. It travels there pickled, so callables are module-level functions."""

    host: str = "127.0.0.1"
    """Where the public port listens. Only a loopback address goes without TLS."""
    port: int = 9_000
    listener: Listener = Listener.OWN
    tls: TlsFiles | None = None
    development: bool = False
    """Adds gRPC reflection."""
    settings: EdgeSettings = field(default_factory=EdgeSettings)
    client: ClientSettings = field(default_factory=ClientSettings)
    routes_source: RoutesSource | None = None
    """Who says which shard owns what; None: the coordinator actor."""
    now_us: Clock | None = None
    """See PublicServices."""
    observer_factory: Callable[[], RequestObserver | None] | None = None
    """Called once in each replica, first of all."""
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
        assert self.tls is not None or ipaddress.ip_address(self.host).is_loopback, "not on loopback, and no TLS"
        assert self.replica_count > 0
        assert self.cpu_count >= 0
        assert self.drain_timeout_s >= 0

    @property
    def address(self) -> str:
        """Where clients find the public services."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class PortInUse(Exception):
    """Something else listens on the public port."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} is in use by another process; stop it or choose another port")
        self.address = address


# --- for the launcher ------------------------------------------------------------------------------------------------


def serve_environment(config: EdgeConfig) -> dict[str, str]:
    """Return the settings that must be in the environment of every Ray process before Ray starts.

    Serve reads them when it is imported, in driver, controller and replicas alike. Each is pinned, since the bundle
    RAY_SERVE_THROUGHPUT_OPTIMIZED changes what it means from release to release.
    """
    is_direct = config.listener is Listener.DIRECT_INGRESS
    environment = {
        "RAY_worker_niceness": "0",  # 15 otherwise: any other process on the machine would go first
        "RAY_task_events_report_interval_ms": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
        "RAY_SERVE_ENABLE_HA_PROXY": "0",
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "1" if is_direct else "0",
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        "RAY_SERVE_FREEZE_GC_ON_STARTUP": "1",
        "RAY_SERVE_ENABLE_TASK_EVENTS": "0",
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "1000",
        "RAY_SERVE_REQUEST_LATENCY_BUCKETS_MS": "0.5,1,1.5,2,3,4,5,6,7,8,9,10,12,15,20,30,50,100,250,1000",
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
    }
    if is_direct:
        environment |= {
            "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(config.port),
            "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(config.port + DIRECT_INGRESS_PORT_COUNT),
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(config.drain_timeout_s),
            "RAY_SERVE_PORT_QUARANTINE_S": "0",
            "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": PROXY_CALLBACK,
        }
    return environment


def serve_options(config: EdgeConfig) -> dict[str, Any]:
    """Return the arguments of `serve.start`; with Serve's own listener off, or confined to loopback."""
    if config.listener is Listener.OWN:
        return {"proxy_location": "Disabled"}
    grpc_options = {
        "port": config.port + DIRECT_INGRESS_PORT_COUNT + 1,  # of the head's proxy; confine_listeners binds it nowhere
        "grpc_servicer_functions": [SERVICER_FUNCTION],
        "enable_reflection": config.development,
    }
    return {"http_options": {"host": "127.0.0.1"}, "grpc_options": grpc_options}


def edge_application(config: EdgeConfig) -> serve.Application:
    """Return the edge as an application for `serve.run`."""
    from ray import serve

    decorate = serve.deployment(
        name="Edge",
        num_replicas=1 if config.listener is Listener.OWN else config.replica_count,
        ray_actor_options={"num_cpus": config.cpu_count, "resources": dict(config.resources)},
        graceful_shutdown_timeout_s=config.drain_timeout_s + 1,
        graceful_shutdown_wait_loop_s=0.1,
        health_check_period_s=2,
        health_check_timeout_s=10,
    )
    return decorate(EdgeReplica).bind(config)


def begin(config: EdgeConfig) -> threading.Thread:
    """Start Serve's controller, beside all else: it takes seconds to import what it needs. `start` goes on from there.

    What goes wrong, `start` meets again and tells.
    """

    def start_serve() -> None:
        from ray import serve

        with contextlib.suppress(Exception):
            serve.start(**serve_options(config))

    thread = threading.Thread(target=start_serve, name="serve-start", daemon=True)
    thread.start()
    return thread


def start(config: EdgeConfig) -> str:
    """Start Serve if need be and the first edge process on it; return the public address once it listens.

    Ray must run, in the environment of `serve_environment`, and the coordinator must answer.

    Raises:
        PortInUse: the public port is taken.
        RuntimeError: the edge did not come up; Serve's message says why.
    """
    from ray import serve

    check_port(config)
    serve.start(**serve_options(config))
    if config.listener is Listener.OWN:
        _run(config, APPLICATION)
        _await_listening(config)
    else:
        # A route makes no sense without HTTP, but direct ingress counts only applications that have one.
        serve.run(edge_application(config), name=APPLICATION, route_prefix=f"/{APPLICATION}")
    return config.address


def start_others(config: EdgeConfig) -> None:
    """Begin to start the edge processes beyond the first, beside all else: they listen some seconds later."""
    if config.listener is Listener.OWN:
        for number in range(1, config.replica_count):
            _run(config, f"{APPLICATION}-{number}")


def stop() -> None:
    """Take the edge down after its open requests; Serve and other applications go on. May be called twice."""
    from ray import serve

    standing = {name: one for name, one in serve.status().applications.items() if name.startswith(APPLICATION)}
    for name in standing:
        # All are told first; then those are waited for that may have open requests.
        serve.delete(name, _blocking=False)
    for name, one in standing.items():
        # Serve tells of the first one's running some time after it answers.
        if name == APPLICATION or one.status == "RUNNING":
            serve.delete(name)


def _run(config: EdgeConfig, name: str) -> None:
    from ray import serve

    serve.run_many(
        [serve.RunTarget(edge_application(config), name=name, route_prefix=None)],
        wait_for_ingress_deployment_creation=False,
        wait_for_applications_running=False,
    )


def _await_listening(config: EdgeConfig) -> None:
    """Wait until the port is open, which Serve would tell of a second or two later."""
    from ray import serve

    look_again_s = time.monotonic() + FAILED_POLL_S
    while not _is_listening(config):
        if time.monotonic() >= look_again_s:
            look_again_s = time.monotonic() + FAILED_POLL_S
            standing = serve.status().applications.get(APPLICATION)
            if standing is not None and standing.status == "DEPLOY_FAILED":
                raise RuntimeError(f"the edge did not come up: {standing.message}")
        time.sleep(LISTENING_POLL_S)


def _is_listening(config: EdgeConfig) -> bool:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((config.host, config.port)) == 0


def check_port(config: EdgeConfig) -> None:
    """Raise PortInUse if someone listens on the public port: replicas share it, so a stranger would share it, too."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((config.host, config.port))
        except OSError:
            raise PortInUse(config.address) from None


# --- in the replica --------------------------------------------------------------------------------------------------


class CoordinatorRoutes:
    """Asks the coordinator actor; finds it by name at the first use and again after it died."""

    def __init__(self) -> None:
        self._actor: Any = None

    async def __call__(self) -> Routes:
        """Return the present routes.

        Raises:
            ValueError: there is no coordinator.
            ray.exceptions.RayError: it does not answer.
        """
        import ray

        if self._actor is None:
            self._actor = await asyncio.to_thread(ray.get_actor, COORDINATOR_NAME, COORDINATOR_NAMESPACE)
        try:
            routes: Routes = await self._actor.routes.remote()
        except ray.exceptions.RayActorError:
            self._actor = None
            raise
        return routes


class EdgeReplica:
    """One edge process. Comes up when the coordinator answers and its listener stands."""

    async def __init__(self, config: EdgeConfig) -> None:  # type: ignore[misc] # Serve awaits it
        self._config = config
        # Batches are converted in a thread: with the default of 5 ms each call would wait that long for its turn.
        sys.setswitchinterval(0.0005)
        observer = config.observer_factory() if config.observer_factory is not None else None
        self._router = Router(config.routes_source or CoordinatorRoutes(), config.client)
        routes = await self._first_routes()
        self._partition_count = routes.partition_count
        self.services = PublicServices(
            self._router,
            routes.partition_count,
            self._is_ready,
            settings=config.settings,
            now_us=config.now_us,
            observer=observer,
        )
        self._server: AcceptingServer | None = None
        if config.listener is Listener.OWN:
            self._server = AcceptingServer((*SERVER_OPTIONS, ("grpc.so_reuseport", 1)))
            self.services.add_to(self._server, development=config.development)
            _listen(self._server, config, config.port)
            await self._server.start()
        else:
            _in_this_process["replica"] = self
            confine_listeners()

    @property
    def config(self) -> EdgeConfig:
        """What this replica was made with."""
        return self._config

    async def __del__(self) -> None:
        """Called and awaited by Serve when the replica stops: let open requests end, then close the streams."""
        if self._server is not None:
            await self._server.stop(self._config.drain_timeout_s)
        await self._router.close()

    def record_autoscaling_stats(self) -> Mapping[str, float]:
        """What Serve's autoscaling may go by, since it does not see requests that pass it by."""
        return {"in_flight": float(self.services.in_flight_count)}

    async def _first_routes(self) -> Routes:
        while True:
            routes = await self._router.routes(age_s_max=0.0)
            if routes is not None:
                return routes
            await asyncio.sleep(FIRST_ROUTES_PAUSE_S)

    async def _is_ready(self) -> bool:
        # Bad news is not believed for long: Hearth may have become ready since, and says so to whoever started it.
        for age_s_max in (self._config.settings.routes_age_s_max, 0.0):
            routes = await self._router.routes(age_s_max=age_s_max)
            if routes is not None and routes.ready and len(routes.owners) == self._partition_count:
                return True
        return False


def _listen(server: grpc.aio.Server, config: EdgeConfig, port: int) -> None:
    host = f"[{config.host}]" if ":" in config.host else config.host
    if config.tls is None:
        server.add_insecure_port(f"{host}:{port}")
        return
    client_ca = config.tls.client_ca.read_bytes() if config.tls.client_ca is not None else None
    credentials = grpc.ssl_server_credentials(
        [(config.tls.key.read_bytes(), config.tls.certificate.read_bytes())],
        root_certificates=client_ca,
        require_client_auth=client_ca is not None,
    )
    server.add_secure_port(f"{host}:{port}", credentials)


# --- Serve's private parts -------------------------------------------------------------------------------------------

_in_this_process: dict[str, EdgeReplica] = {}
"""How the servicer function, which gets nothing but a server, finds the replica: Serve makes the replica first."""


def add_public_services(_servicer: object, server: Any) -> None:
    """Register our handlers unwrapped on the direct-ingress server of this replica.

    For gRPCOptions.grpc_servicer_functions. Serve calls it in the head's proxy, too; there is no replica there, and
    nothing is registered.
    """
    replica = _in_this_process.get("replica")
    if replica is None:
        return
    for service in SERVICE_NAMES:
        server.add_passthrough_service(service)
    replica.services.add_to(server)


def confine_listeners() -> list[Any]:
    """Make Serve's gRPC servers in this process listen where the config says, instead of on all interfaces.

    Also Serve's proxy callback, which wants a list of HTTP middlewares; the head's proxy then listens nowhere.
    """
    from ray.serve._private import default_impl

    def add_grpc_address(server: Any, server_address: str) -> None:
        replica = _in_this_process.get("replica")
        if replica is not None:
            _listen(server, replica.config, int(server_address.rpartition(":")[2]))

    vars(default_impl)["add_grpc_address"] = add_grpc_address
    return []
