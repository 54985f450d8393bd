"""The ports that Hearth's processes and Ray's listen on: who can reach each, and what protects it."""

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
)
"""Marks of Ray's and Serve's processes in their command lines."""

TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


class Protection(Enum):
    """What stands between a port and whoever can reach it."""

    TOKEN = "a caller needs Ray's token of this run"
    TLS = "TLS, and it asks nobody who he is"
    CALLERS = "TLS, and every caller is asked who he is"
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
    """What it is there for, where that is known."""
    is_ours: bool = True
    """Of the Hearth that was asked about; another Ray may run on the machine."""

    @property
    def is_weak(self) -> bool:
        """Whether anybody on another machine may use it."""
        return self.is_ours and not self.loopback and self.protection not in (Protection.TOKEN, Protection.CALLERS)


def open_ports(
    hearth_pid: int | None,
    *,
    public_port: int | None = None,
    public_protection: Protection = Protection.NONE,
    metrics_port: int | None = None,
    is_shared_ray: bool = False,
) -> list[OpenPort]:
    """Return what our processes and Ray's listen on, as far as this user may see it.

    Args:
        hearth_pid: the Hearth that was asked about; None if none runs.
        public_port: its port for gateways, which Ray's token does not protect.
        public_protection: what does.
        metrics_port: its port for Prometheus, likewise.
        is_shared_ray: it has joined a Ray cluster, all of whose processes count as its own.
    """
    found = []
    family = _family(hearth_pid)
    protections = {public_port: public_protection, metrics_port: Protection.NONE}
    without_token = {public_port: "for gateways", metrics_port: "metrics, for Prometheus"}
    for process in psutil.process_iter(["pid", "name", "cmdline"]):
        is_rays = _is_rays(process)
        if process.pid not in family and not is_rays:
            continue
        connections = []
        with passing_over(psutil.Error, because="it has ended, or is not ours to look into"):
            connections = process.net_connections(kind="tcp")
        listening = [one for one in connections if one.status == psutil.CONN_LISTEN]
        protection = _protection(process) if listening and is_rays else Protection.NONE
        for connection in listening:
            host, port = connection.laddr.ip, connection.laddr.port
            found.append(
                OpenPort(
                    address=host,
                    port=port,
                    process=str(process.info["name"] or "unknown"),
                    pid=process.pid,
                    loopback=host_is_loopback(host),
                    protection=protections.get(port, protection),
                    purpose=without_token.get(port, ""),
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
    command = " ".join(process.info["cmdline"] or [process.info["name"] or ""])
    return any(mark in command for mark in RAY_PROCESSES)


def _protection(process: psutil.Process) -> Protection:
    """Return what Ray asks of whoever calls a process of its: it is told by the environment it was started with."""
    try:
        environment = process.environ()
    except (psutil.Error, OSError):
        return Protection.UNSEEN
    is_on = environment.get("RAY_AUTH_MODE") == "token" and any(environment.get(name) for name in TOKEN_VARIABLES)
    return Protection.TOKEN if is_on else Protection.NONE
