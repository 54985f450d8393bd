"""The ports that Hearth's processes and Ray's listen on: who can reach each, and what protects it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum

import psutil

from actors.passing_over import passing_over
from wire.addresses import host_is_loopback

RAY_PROCESSES = (
    "raylet",
    "gcs_server",
    "ray::",
    "haproxy",
    "plasma_store",
    "dashboard",
    "ray.util",
    "_private/workers",
    "_private/monitor",
)
"""Marks of Ray's and Serve's processes in their command lines."""

LAUNCHER = "cluster.runner"

PURPOSES = (
    ("gcs_server", "Ray's tables of nodes and actors"),
    ("raylet", "Ray's scheduler and objects of a node"),
    ("DashboardAgent", "Ray's agent of a node: what is asked of it, and Ray's numbers"),
    ("RuntimeEnvAgent", "Ray's environments of workers"),
    ("runtime_env", "Ray's environments of workers"),
    ("dashboard", "Ray's dashboard, and Ray's numbers"),
    ("_private/monitor", "Ray's autoscaler: its numbers"),
    ("ray.util.client", "Ray's clients from elsewhere"),
    ("ray::ServeReplica", "Ray's calls to a process of Serve: an edge or a model"),
    ("ray::ServeController", "Ray's calls to Serve's controller"),
    ("ray::", "Ray's calls to an actor of Hearth"),
    ("_private/workers", "Ray's calls to a worker that stands by"),
    (LAUNCHER, "Ray's answers to Hearth's launcher"),
)
"""What a process listens for, by a mark of its command line; the first that fits."""

SHOWING_NUMBERS = ("DashboardAgent", "dashboard/agent", "dashboard/dashboard", "_private/monitor")
"""Marks of those that open a page of Ray's own numbers, too, for which nobody needs a token."""

TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


class Protection(Enum):
    """What stands between a port and whoever can reach it."""

    TOKEN = "a caller needs Ray's token of this run"
    NUMBERS = "a caller needs Ray's token of this run, but for a page of Ray's own numbers, which anybody may read"
    TLS = "TLS, and it asks nobody who he is"
    CALLERS = "TLS, and every caller is asked who he is"
    INSTALLATION = "a caller needs the pass word of this installation; beyond this machine its certificate, too"
    NONE = "nothing but its address"
    UNSEEN = "of another user: what protects it cannot be seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPort:
    """A port that a process of ours or of Ray's listens on."""

    address: str
    port: int
    process: str
    pid: int
    loopback: bool
    protection: Protection = Protection.NONE
    purpose: str = ""
    """What it is there for; empty where nobody knows."""
    is_ours: bool = True
    """Of the Hearth that was asked about; another Ray may run on the machine."""

    @property
    def is_weak(self) -> bool:
        """Whether anybody on another machine may use it."""
        return self.is_ours and not self.loopback and self.protection not in ASKING

    @property
    def is_unexplained(self) -> bool:
        """Whether it is ours, and nobody knows what for."""
        return self.is_ours and not self.purpose


ASKING = (Protection.TOKEN, Protection.CALLERS, Protection.INSTALLATION)
"""Whoever does not belong there gets no answer."""


def open_ports(
    hearth_pid: int | None,
    *,
    public_port: int | None = None,
    public_protection: Protection = Protection.NONE,
    metrics_port: int | None = None,
    shard_ports: Collection[int] = (),
    is_shared_ray: bool = False,
) -> list[OpenPort]:
    """Return what our processes and Ray's listen on, as far as this user may see it.

    Args:
        hearth_pid: the Hearth that was asked about; None if none runs.
        public_port: its port for gateways, which Ray's token does not protect.
        public_protection: what does.
        metrics_port: its port for Prometheus, likewise.
        shard_ports: those on which its shards listen for its edges, where they do so by TCP.
        is_shared_ray: it has joined a Ray cluster, all of whose processes count as its own.
    """
    found = []
    family = _family(hearth_pid)
    by_installation = Protection.INSTALLATION, "an edge's calls to a shard"
    not_rays: dict[int | None, tuple[Protection, str]] = {
        **dict.fromkeys(shard_ports, by_installation),
        public_port: (public_protection, "for gateways"),
        metrics_port: (Protection.NONE, "metrics, for Prometheus"),
    }
    for process in psutil.process_iter(["pid", "name", "cmdline"]):
        is_rays = _is_rays(process)
        if process.pid not in family and not is_rays:
            continue
        connections = []
        with passing_over(psutil.Error, because="it has ended, or is not ours to look into"):
            connections = process.net_connections(kind="tcp")
        listening = [one for one in connections if one.status == psutil.CONN_LISTEN]
        of_ray = (_protection(process), _purpose(process)) if listening else (Protection.NONE, "")
        for connection in listening:
            host, port = connection.laddr.ip, connection.laddr.port
            protection, purpose = not_rays.get(port, of_ray)
            found.append(
                OpenPort(
                    address=host,
                    port=port,
                    process=str(process.info["name"] or "unknown"),
                    pid=process.pid,
                    loopback=host_is_loopback(host),
                    protection=protection,
                    purpose=purpose,
                    is_ours=process.pid in family or is_shared_ray,
                )
            )
    return sorted(set(found), key=lambda one: (one.loopback, one.port, one.pid))


def _family(pid: int | None) -> set[int]:
    if pid is None:
        return set()
    try:
        return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    except psutil.Error:
        return {pid}


def _is_rays(process: psutil.Process) -> bool:
    return any(mark in _command(process) for mark in RAY_PROCESSES)


def _purpose(process: psutil.Process) -> str:
    # The name goes before the arguments: a raylet's tell of the agents that it is to start.
    told = (str(process.info["name"]), _command(process))
    return next((purpose for text in told for mark, purpose in PURPOSES if mark in text), "")


def _command(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or [process.info["name"] or ""])


def _protection(process: psutil.Process) -> Protection:
    """Return what Ray asks of whoever calls a process of its: it is told by the environment it was started with.

    A launcher has made up the token only after it was started, for those that it has started since.
    """
    try:
        told = [process, *(process.children() if LAUNCHER in _command(process) else ())]
        environments = [_environment(one) for one in told]
    except (psutil.Error, OSError):
        return Protection.UNSEEN
    if not any(map(_asks_for_a_token, environments)):
        return Protection.NONE
    return Protection.NUMBERS if _is_showing_numbers(process) else Protection.TOKEN


def _environment(process: psutil.Process) -> dict[str, str]:
    # Ray's agents wipe theirs where they give themselves another name; a raylet started them, with its own.
    parent = process.parent()
    return process.environ() or (parent.environ() if parent is not None else {})


def _is_showing_numbers(process: psutil.Process) -> bool:
    # A raylet's arguments tell of the agents that it is to start.
    return process.info["name"] != "raylet" and any(mark in _command(process) for mark in SHOWING_NUMBERS)


def _asks_for_a_token(environment: Mapping[str, str]) -> bool:
    return environment.get("RAY_AUTH_MODE") == "token" and any(environment.get(name) for name in TOKEN_VARIABLES)
