"""The processes of one running Hearth by what they are, and which partitions a shard's process holds."""

import contextlib
import signal
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import psutil


class Part(StrEnum):
    """What a process is, by what its command line begins with or contains."""

    RUNNER = "cluster.runner"
    RAYLET = "raylet/raylet"
    GCS = "gcs/gcs_server"
    SHARD = "ray::ShardActor"
    COORDINATOR = "ray::Coordinator"
    CONTROLLER = "ray::ServeController"
    EDGE = "ray::ServeReplica:hearth-edge"
    MODEL = "ray::ServeReplica:model-"


def family(pid: int) -> list[psutil.Process]:
    """Return all descendants of a process."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def find(pid: int, part: Part) -> list[psutil.Process]:
    """Return the descendants of a process that are such a part; others may be ending while we look."""
    found = []
    for process in family(pid):
        with contextlib.suppress(psutil.Error):
            if part in " ".join(process.cmdline()[:3]) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def kill(processes: list[psutil.Process]) -> None:
    """Kill processes as a power cut would."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)


def partitions_by_process(log_directory: Path) -> dict[int, set[int]]:
    """Return which partitions each process says it holds; those of the dead are stale."""
    found: dict[int, set[int]] = {}
    for lock in log_directory.glob("p-*.lock"):
        holder = lock.read_text().strip()
        if holder:
            found.setdefault(int(holder), set()).add(int(lock.stem.removeprefix("p-")))
    return found


def is_serving(process: psutil.Process) -> bool:
    """Tell whether a shard's process has opened its server: it owns partitions, or could at once."""
    with contextlib.suppress(psutil.Error):
        return any(Path(one.laddr).match("shard-*.sock") for one in process.net_connections(kind="unix"))
    return False


def until(condition: Callable[[], bool], *, within_s: float, what: str) -> float:
    """Wait for a condition; return the seconds it took.

    Raises:
        AssertionError: it did not come about.
    """
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < within_s, f"{what}: not within {within_s:g} s"
        time.sleep(0.05)
    return time.monotonic() - began_s
