"""Ray nodes on this machine, each with a raylet and workers of its own, in one process that reaps them.

As a program it is told on stdin what to add, in JSON lines; `ray_nodes` is the test's end of it. Ray reads its
environment when it is imported, and a raylet that was killed must be reaped: its workers take a zombie for alive.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]

HEALTH_CHECK_PERIOD_MS, HEALTH_CHECK_TIMEOUT_MS, HEALTH_CHECK_FAILURES = 500, 1_000, 3

ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_health_check_period_ms": str(HEALTH_CHECK_PERIOD_MS),
    "RAY_health_check_timeout_ms": str(HEALTH_CHECK_TIMEOUT_MS),
    "RAY_health_check_failure_threshold": str(HEALTH_CHECK_FAILURES),
    "RAY_health_check_initial_delay_ms": "1000",
}
STARTS_WITHIN_S = 120.0


class Node:
    """One node: its raylet and everything below it."""

    def __init__(self, raylet: int) -> None:
        self._raylet = psutil.Process(raylet)

    def processes(self) -> list[psutil.Process]:
        """Return what runs of it, the raylet first."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self._raylet, *self._raylet.children(recursive=True)]
        return []


class RayNodes:
    """A Ray cluster on this machine that grows when told to."""

    def __init__(self, process: subprocess.Popen[str], environment: dict[str, str]) -> None:
        self._process = process
        self.environment = environment
        """What whoever joins it needs in its environment."""
        self.address = ""

    @property
    def pid(self) -> int:
        """Of the process below which all of it is."""
        return self._process.pid

    def add(self, name: str, *, slots: int, **environment: str) -> Node:
        """Start a node, the head first; return once it is part of the cluster."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"name": name, "slots": slots, "environment": environment}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        alarm = threading.Timer(STARTS_WITHIN_S, _end, (self._process,))
        alarm.start()
        line = self._process.stdout.readline()
        alarm.cancel()
        assert line, f"node {name} does not start"
        added = json.loads(line)
        self.address = added["address"]
        return Node(added["raylet"])


@contextmanager
def ray_nodes(folder: Path, **settings: str) -> Iterator[RayNodes]:
    """Run a cluster without nodes, of what its environment says besides; nothing of it is left at the end."""
    # Ray's sockets lie below it, and their paths must be short.
    home = Path(tempfile.mkdtemp(prefix="hn-"))
    environment = {**ENVIRONMENT, **settings, "HOME": str(home), "RAY_TMPDIR": str(home)}
    paths = f"{REPOSITORY}:{REPOSITORY / 'protos'}"
    with (folder / "ray_nodes.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.ray_nodes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, **environment, "PYTHONPATH": paths},
        )
    try:
        yield RayNodes(process, environment)
    finally:
        _end(process)
        process.wait()
        for pipe in filter(None, (process.stdin, process.stdout)):
            pipe.close()
        shutil.rmtree(home, ignore_errors=True)


def _end(process: subprocess.Popen[str]) -> None:
    """Kill it and all below it: once it is gone, nobody finds them."""
    family = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    for one in family:
        with contextlib.suppress(psutil.Error):
            one.kill()
    process.kill()
    psutil.wait_procs(family, timeout=10)


def main() -> None:
    from ray.cluster_utils import Cluster

    nodes: list = []
    threading.Thread(target=_reap, args=(nodes,), daemon=True).start()
    cluster = Cluster(initialize_head=False, shutdown_at_exit=False)
    for line in sys.stdin:
        order = json.loads(line)
        node = cluster.add_node(
            num_cpus=order["slots"] + 2,
            resources={"shard_slot": order["slots"]},
            include_dashboard=False,
            env_vars=order["environment"],
        )
        nodes.append(node)
        raylet = node.all_processes["raylet"][0].process.pid
        print(json.dumps({"address": cluster.address, "raylet": raylet}), flush=True)


def _reap(nodes: list) -> None:
    while True:
        for node in list(nodes):
            for kept in list(node.all_processes.values()):
                for one in kept:
                    one.process.poll()
        time.sleep(0.05)


if __name__ == "__main__":
    main()
