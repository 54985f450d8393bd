"""This machine and its processes, as far as ownership depends on them."""

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

from actors.passing_over import passing_over

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_STATE, _STARTED = 0, 19
"""Fields 3 and 22 of proc(5), behind the process's name."""

END_WITHIN_S = 5.0
"""The kernel ends a killed process at once, unless it is stuck in the storage."""


def node_identity() -> str:
    """Return what tells apart machines, boots of one machine and containers: within one, process ids mean something."""
    return f"{_BOOT_ID.read_text().strip()}/{os.readlink('/proc/self/ns/pid')}"


def node_name() -> str:
    """Return the name of this machine or container, as people and Kubernetes have it."""
    return socket.gethostname()


def process_started_s(process_id: int | None = None) -> float:
    """Return when a process, by default this one, was started: with its id, what tells it from all others of this node.

    Seconds since the machine was started. As a time of day it would be another after somebody has set the clock, and a
    living process taken for one that is gone.
    """
    return _looked_up(os.getpid() if process_id is None else process_id)[1]


def is_gone(process_id: int, started_s: float | None = None) -> bool:
    """Return whether a process of this node is dead, be it that a later one has its id."""
    try:
        state, since_s = _looked_up(process_id)
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZXx" or (started_s is not None and since_s != started_s)


def _looked_up(process_id: int) -> tuple[str, float]:
    """Return the state of a process, as the kernel abbreviates it, and when it was started."""
    # The name, in brackets, may hold anything.
    fields = Path(f"/proc/{process_id}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return fields[_STATE], int(fields[_STARTED]) / os.sysconf("SC_CLK_TCK")


def _descriptor_of(process_id: int) -> int | None:
    try:
        return os.pidfd_open(process_id)
    except ProcessLookupError:
        return None


async def until_gone(process_id: int, started_s: float) -> None:
    """Return as soon as a process of this node has ended: the kernel says so, nobody has to ask."""
    descriptor = _descriptor_of(process_id)
    if descriptor is None:
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        # Between the two it may have ended, and another process have taken its id.
        if not is_gone(process_id, started_s):
            await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def end(process_id: int, started_s: float) -> bool:
    """Kill a process of this node, a stopped one too; return whether it is gone. Blocks for some seconds at most."""
    deadline_s = time.monotonic() + END_WITHIN_S
    while not is_gone(process_id, started_s):
        if time.monotonic() > deadline_s:
            return False
        with passing_over(ProcessLookupError, because="it is gone"):
            os.kill(process_id, signal.SIGKILL)
        time.sleep(0.01)
    return True
