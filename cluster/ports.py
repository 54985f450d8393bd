"""Ports: is one free, and if not, who has it."""

import errno
import socket
import time

import psutil

from cluster.errors import CommandFailed

POLL_S = 0.1


class PortUnusable(CommandFailed):
    """The port cannot be listened on; names the process that has it where that can be found."""


def check_port(
    host: str, port: int, *, patience_s: float = 0.0, setting: str = "--port", host_setting: str = "HEARTH_HOST"
) -> int:
    """Return the port to listen on: `port` itself when it is free, a free one for 0.

    Args:
        host: address to listen on.
        port: 0 for any.
        patience_s: how long to wait for one that is taken.
        setting: what chooses another port, for the message.
        host_setting: what chooses another address, likewise.

    Raises:
        PortUnusable: it is taken, not permitted, or `host` is not this machine's.
    """
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            return _free_port(host, port, setting, host_setting)
        except PortUnusable:
            if time.monotonic() >= deadline_s:
                raise
            time.sleep(POLL_S)


def _free_port(host: str, port: int, setting: str, host_setting: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As every server does: a port whose last connections are only fading away is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Two sockets may both be bound with SO_REUSEADDR, but only one may listen.
            probe.listen(1)
        except OSError as failed:
            raise PortUnusable(_explain(host, port, failed, setting, host_setting)) from failed
        return int(probe.getsockname()[1])


def holder_of(port: int) -> str | None:
    """Return "name, process id" of what listens on the port, or None where it cannot be found."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return None
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or not connection.laddr or connection.laddr.port != port:
            continue
        if connection.pid is None:
            return None
        try:
            return f"{psutil.Process(connection.pid).name()}, process {connection.pid}"
        except psutil.Error:
            return f"process {connection.pid}"
    return None


def _explain(host: str, port: int, failed: OSError, setting: str, host_setting: str) -> str:
    match failed.errno:
        case errno.EADDRINUSE:
            holder = holder_of(port)
            taken_by = f" by {holder}" if holder else ""
            return f"port {port} on {host} is in use{taken_by}; stop that, or choose another with {setting} (0: any)"
        case errno.EACCES:
            return f"port {port} may not be used by this user; choose one above 1023 with {setting}"
        case errno.EADDRNOTAVAIL:
            return (
                f"{host} is not an address of this machine, so nothing can listen there; "
                f"set {host_setting} to one that is"
            )
        case _:
            return f"{host}:{port} cannot be listened on: {failed.strerror or failed}"
