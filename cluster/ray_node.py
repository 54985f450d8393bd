"""Ray on this machine: started for one run, its GCS kept going, and its loss told.

GCS, the store of Ray's control plane, keeps its tables in RocksDB and is started again on its port when it dies; live
actors go on meanwhile. Ray itself restarts it only on Kubernetes, so this leans on private parts of Ray's node object.
All of them are in this module and in lean_ray.py, which refuse a Ray in which they are not as Hearth knows them. A
raylet cannot be started again: with it the run is lost.

Ray is imported inside the functions: it reads its environment when imported, and `ray_environment` comes first.
"""

import contextlib
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cluster.errors import CommandFailed
from cluster.lean_ray import LOOPBACK_ENVIRONMENT, lean_start
from cluster.output import say
from cluster.restarts import TEMPORARY_FAILURE, RestartBudget, RestartPolicy

KNOWN_RAY = "2.60"
POLL_S = 0.2
"""How soon a dead GCS or raylet is noticed: a waitpid each, nothing more."""

GCS, RAYLET = "gcs_server", "raylet"


class RayChanged(CommandFailed):
    """Ray's node object is not what this module knows."""

    def __init__(self, version: str, what: str) -> None:
        super().__init__(
            f"Ray {version} cannot be kept going: {what}; Hearth knows Ray {KNOWN_RAY}, install the locked requirements"
        )


class RayNotUp(CommandFailed):
    """Ray did not start, as on a machine that is too busy: Ray gives its own raylet 30 s."""

    def __init__(self, why: str) -> None:
        super().__init__(f"Ray did not start: {why}", TEMPORARY_FAILURE)


def ray_environment(run_dir: Path) -> dict[str, str]:
    """Return the settings that must be in the environment of every Ray process of a run before Ray starts.

    `run_dir` belongs to this run alone: a GCS that found the tables of another run would revive its actors.
    """
    return {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(run_dir / "gcs"), **LOOPBACK_ENVIRONMENT}


@contextlib.contextmanager
def local_ray(run_dir: Path, *, cpu_count: int, namespace: str, on_lost: Callable[[str], None]) -> Iterator[None]:
    """Run Ray on this machine in the environment of `ray_environment`, and keep its GCS going.

    Args:
        run_dir: where Ray keeps its sockets, logs and tables.
        cpu_count: what Ray believes this machine has: bookkeeping for actors, not a limit.
        namespace: of the actors' names.
        on_lost: told why, once, from another thread, when this Ray has ended for good. Calls into Ray may hang then.

    Raises:
        RayNotUp: it did not start.
        RayChanged: this Ray is not one that can be kept going.
    """
    import ray

    (run_dir / "gcs").mkdir(exist_ok=True)
    try:
        with lean_start(demand_known):
            ray.init(
                address="local",
                num_cpus=cpu_count,
                namespace=namespace,
                include_dashboard=False,
                object_store_memory=128 << 20,
                _temp_dir=str(run_dir / "ray"),
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except RayChanged:
        ray.shutdown()
        raise
    except Exception as wrong:
        raise RayNotUp(str(wrong)) from wrong
    try:
        keeper = NodeKeeper(_own_node(), on_lost)
        keeper.start()
        try:
            yield
        finally:
            keeper.stand_down()
    finally:
        ray.shutdown()


@contextlib.contextmanager
def joined_ray(address: str, *, environment: dict[str, str], namespace: str) -> Iterator[None]:
    """Connect to a Ray cluster that others keep going, from one of its nodes.

    Args:
        address: host:port of its GCS.
        environment: what the processes of our actors, Serve's included, find in theirs.
        namespace: of the actors' names.

    Raises:
        RayNotUp: it cannot be reached.
    """
    import ray

    try:
        ray.init(
            address=address,
            namespace=namespace,
            runtime_env={"env_vars": environment},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as wrong:
        raise RayNotUp(f"the cluster at {address} cannot be joined: {wrong}") from wrong
    try:
        yield
    finally:
        ray.shutdown()


class NodeKeeper:
    """Watches GCS and raylet of the node that this process started."""

    def __init__(self, node: Any, on_lost: Callable[[str], None]) -> None:
        self._node = _checked(node)
        self._on_lost = on_lost
        self._budget = RestartBudget(RestartPolicy(count_max=20, pause_first_s=0.5, pause_s_max=4.0))
        self._is_standing_down = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ray-node-keeper", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stand_down(self) -> None:
        """Restart nothing and tell of nothing from here on: Ray is about to be stopped."""
        self._is_standing_down.set()

    def _watch(self) -> None:
        while not self._is_standing_down.wait(POLL_S):
            why = self._look()
            if why is not None:
                self._on_lost(why)
                break
        # The kernel kills what a thread started when that thread ends, and the GCS has to outlive this one.
        threading.Event().wait()

    def _look(self) -> str | None:
        """Restart the GCS if need be; return why the node is lost, None if it is not."""
        raylet = _process(self._node, RAYLET).poll()
        if raylet is not None:
            return f"Ray's raylet ended with code {raylet}"
        ended = _process(self._node, GCS).poll()
        if ended is None or self._is_standing_down.is_set():
            return None
        pause_s = self._budget.spend(time.monotonic())
        if pause_s is None:
            return f"Ray's GCS does not stay up: it ended {self._budget.policy.count_max} times, now with code {ended}"
        say(f"warning: Ray's GCS ended with code {ended} and is started again")
        if self._is_standing_down.wait(pause_s):
            return None
        try:
            self._start_gcs()
        except (OSError, AssertionError) as wrong:
            return f"Ray's GCS cannot be started again: {wrong}"
        return None

    def _start_gcs(self) -> None:
        node = self._node
        # As if there had been none; on the port that every process of the run knows.
        node._gcs_address, node._gcs_client = None, None
        del node.all_processes[GCS]
        node.start_gcs_server()


def _own_node() -> Any:
    from ray._private import worker

    return getattr(worker, "_global_node", None)


def _checked(node: Any) -> Any:
    """Return the node.

    Raises:
        RayChanged: it lacks what this module uses.
    """
    demand_known(node is not None, "there is no ray._private.worker._global_node")
    processes: Any = getattr(node, "all_processes", None)
    demand_known(isinstance(processes, dict), "its node has no all_processes")
    for name in (GCS, RAYLET):
        kept = getattr((processes.get(name) or [None])[0], "process", None)
        demand_known(isinstance(kept, subprocess.Popen), f"its node tells of no {name} process")
    for name in ("_gcs_address", "_gcs_client", "start_gcs_server"):
        demand_known(hasattr(node, name), f"its node has no {name}")
    port = getattr(getattr(node, "_ray_params", None), "gcs_server_port", None)
    demand_known(isinstance(port, int) and port > 0, f"the port of its GCS is {port!r}")
    return node


def demand_known(is_so: bool, what: str) -> None:
    """Raise RayChanged with what is wrong, unless it is so."""
    import ray

    if not is_so:
        raise RayChanged(ray.__version__, what)


def _process(node: Any, name: str) -> "subprocess.Popen[bytes]":
    """Return a process of the node. Polling it reaps it, too: workers do not notice that their raylet is a zombie."""
    process: subprocess.Popen[bytes] = node.all_processes[name][0].process
    return process
