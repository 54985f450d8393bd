"""This machine and its processes, as far as ownership depends on them."""

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

END_WITHIN_S = 5.0
"""The kernel ends a killed process at once, unless it is stuck in the storage."""


def node_identity() -> str:
    """Return what tells apart machines, boots of one machine and containers: within one, process ids mean something."""
    return f"{_BOOT_ID.read_text().strip()}/{os.readlink('/proc/self/ns/pid')}"


def process_started_s() -> float:
    """Return when this process was started: with its id, what no other process of this node ever has in common."""
    return float(psutil.Process().create_time())


def is_gone(process_id: int, started_s: float | None = None) -> bool:
    """Return whether a process of this node is dead, be it that a later one has its id."""
    try:
        process = psutil.Process(process_id)
        is_another = started_s is not None and process.create_time() != started_s
        return is_another or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def end(process_id: int, started_s: float) -> bool:
    """Kill a process of this node, a stopped one too; return whether it is gone. Blocks for some seconds at most."""
    deadline_s = time.monotonic() + END_WITHIN_S
    while not is_gone(process_id, started_s):
        if time.monotonic() > deadline_s:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)
        time.sleep(0.01)
    return True
