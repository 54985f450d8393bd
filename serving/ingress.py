"""The edge as a Ray Serve deployment, for the launcher: what Serve has to be told, starting it and taking it down.

Two listeners, one switch. OWN: the replica listens with a grpc.aio server of its own; public API only, one stable port
for all replicas of a node, TLS as grpc has it. DIRECT_INGRESS: our handlers ride on Serve's direct-ingress server as
passthrough services, which leans on private parts of Serve (its replica module).
docs/decisions/0007-edge-and-exchange.md compares the two.

Ray is imported inside the functions: Serve reads its environment when imported, and `serve_environment` comes first.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from serving.edge_config import EdgeConfig, Listener
from serving.replica import EdgeReplica

if TYPE_CHECKING:
    from ray import serve

logger = logging.getLogger(__name__)

APPLICATION: Final = "hearth-edge"
"""Serve's application of the first edge process; those of further ones have their number behind it.

An application each: the first answers before the others are started, and Serve would replace it to add a replica.
"""
PROXY_CALLBACK: Final = "serving.replica.confine_listeners"
SERVICER_FUNCTION: Final = "serving.replica.add_public_services"
DIRECT_INGRESS_PORT_COUNT: Final = 100
LISTENING_POLL_S: Final = 0.05
FAILED_POLL_S: Final = 2.0


class PortInUse(Exception):
    """Something else listens on the public port."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} is in use by another process; stop it or choose another port")
        self.address = address


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


def processes() -> dict[str, bool]:
    """Return the edge processes by name, each with whether it answers."""
    from ray import serve

    standing = serve.status().applications.items()
    return {name: one.status == "RUNNING" for name, one in standing if name.startswith(APPLICATION)}


def start_another(config: EdgeConfig) -> str:
    """Begin to start one more edge process; return its name."""
    taken = processes()
    name = next(one for number in itertools.count(1) if (one := f"{APPLICATION}-{number}") not in taken)
    _run(config, name)
    return name


def end_one(name: str) -> None:
    """Begin to end an edge process: it takes no new connections, and finishes the requests it has."""
    from ray import serve

    serve.delete(name, _blocking=False)


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
