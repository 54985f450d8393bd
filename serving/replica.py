"""One edge process on Ray Serve: where it listens, whom it asks who owns what, and when it is ready.

Ray is imported inside the functions: Serve reads its environment when imported, and `serve_environment` comes first.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import Any, Final

import grpc
import grpc.aio

from serving.accepting import AcceptingServer
from serving.edge import SERVER_OPTIONS, SERVICE_NAMES, PublicServices
from serving.edge_config import EdgeConfig, Listener
from serving.replica_port import confine_replica_port
from serving.router import Router
from serving.tls import ServerCertificates
from wire.routes import COORDINATOR_NAME, COORDINATOR_NAMESPACE, Routes

FIRST_ROUTES_PAUSE_S: Final = 0.1


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
        routes: Routes = await self._ask("routes")
        return routes

    async def place(self, verb: str, argument: str) -> Mapping[str, Any]:
        """Hand on what is asked of the placement; raises likewise."""
        told: Mapping[str, Any] = await self._ask("place", verb, argument)
        return told

    async def playbook(self, verb: str, request: Mapping[str, Any], asker: Mapping[str, Any]) -> Mapping[str, Any]:
        """Hand on what is asked of the playbook; raises likewise."""
        told: Mapping[str, Any] = await self._ask("playbook", verb, request, asker)
        return told

    async def _ask(self, method: str, *arguments: object) -> Any:
        import ray

        if self._actor is None:
            self._actor = await asyncio.to_thread(ray.get_actor, COORDINATOR_NAME, COORDINATOR_NAMESPACE)
        try:
            return await getattr(self._actor, method).remote(*arguments)
        except ray.exceptions.RayActorError:
            self._actor = None
            raise


class EdgeReplica:
    """One edge process. Comes up when the coordinator answers and its listener stands."""

    async def __init__(self, config: EdgeConfig) -> None:  # type: ignore[misc] # Serve awaits it
        self._config = config
        confine_replica_port()
        # Batches are converted in a thread: with the default of 5 ms each call would wait that long for its turn.
        sys.setswitchinterval(0.0005)
        observer = config.observer_factory() if config.observer_factory is not None else None
        self._door = config.door_factory() if config.door_factory is not None else None
        coordinator = CoordinatorRoutes()
        self._router = Router(config.routes_source or coordinator, config.client)
        routes = await self._first_routes()
        self._partition_count = routes.partition_count
        self.services = PublicServices(
            self._router,
            routes.partition_count,
            self._is_ready,
            settings=config.settings,
            now_us=config.now_us,
            observer=observer,
            door=self._door,
            ask_placement=coordinator.place if config.routes_source is None else None,
            ask_playbook=coordinator.playbook if config.routes_source is None else None,
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
        if self._door is not None:
            await self._door.settled()
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
            if routes is None or not routes.ready:
                continue
            if len(routes.owners.keys() | routes.moving) == self._partition_count:
                return True
        return False


def _listen(server: grpc.aio.Server, config: EdgeConfig, port: int) -> int:
    host = f"[{config.host}]" if ":" in config.host else config.host
    if config.tls is None:
        return server.add_insecure_port(f"{host}:{port}")
    credentials = ServerCertificates(config.tls).credentials()
    _kept.append(credentials)
    return server.add_secure_port(f"{host}:{port}", credentials)


_kept: list[grpc.ServerCredentials] = []
"""gRPC asks them for certificates at each handshake, and does not keep them itself."""


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
