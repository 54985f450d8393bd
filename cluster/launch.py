"""One run of Hearth: start Ray, the shards, the coordinator and the edge; mind them; stop them all again.

What is remote is made here and in state_plane.py. What dies within a run and is not restarted by Ray is restarted here;
what cannot be ends the run, and the supervisor makes another.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.passing_over import passing_over
from actors.shard.kernel_cache import folder_of_cache, is_compiled
from cluster.access import door_factory
from cluster.champion import ChampionFollower
from cluster.client import reachable
from cluster.config import HearthConfig
from cluster.credentials import credentials
from cluster.data_dir import write_status
from cluster.environment import environment_variable, export_environment, fresh_token
from cluster.errors import CommandFailed
from cluster.installation import installation_of
from cluster.live_parts import LiveParts, Restarting
from cluster.output import say
from cluster.ray_node import joined_ray, local_ray, ray_environment
from cluster.restarts import TEMPORARY_FAILURE
from cluster.state_plane import HEAD, StatePlane, node_slots, start_state_plane
from cluster.watching import edge_observer, telemetry_settings
from cluster.wishes import wished_shards
from serving.edge_config import EdgeConfig, Listener
from serving.ingress import serve_environment
from serving.settings import EdgeSettings
from serving.shard_channel import ClientSettings
from wire.routes import COORDINATOR_NAMESPACE

if TYPE_CHECKING:
    from cluster.capturing import Captures, RemoteConnector
    from intake.capture.settings import CaptureSettings

WATCH_INTERVAL_S = 0.5
"""How soon a coordinator that was made anew is told of the shards."""
STATUS_INTERVAL_S = 2.0
SILENT_S_MAX = 20.0
"""A coordinator that answers nothing for so long hangs, and is killed so that Ray makes it anew."""
CAPTURES_STOP_S = 8.0
"""A batch under way is given 3 of them (intake/capture/connector.py); then a connector commits and leaves its group."""
CONTROL_CPU_COUNT = 2
"""What Ray is told to have beyond one per shard: Serve's own actors."""

KERNEL_CACHE = "NUMBA_CACHE_DIR"
COMPILER = "actors.shard.warm"

SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

logger = logging.getLogger(__name__)

Tell = Callable[[dict[str, Any]], None]
"""Is given the messages of a run; see cluster/supervisor.py."""


def run_up(
    config: HearthConfig, run_dir: Path, *, tell: Tell, on_lost: Callable[[str], None], is_first: bool = True
) -> int:
    """Run Hearth until SIGINT or SIGTERM; return the exit code.

    Args:
        config: settled by the supervisor.
        run_dir: for sockets, Ray's files and whatever else ends with the run.
        tell: is given the run's messages, from any thread.
        on_lost: is told from another thread why the run cannot go on; ends the process.
        is_first: it follows no other that fell: what was asked of the placement before is over.

    Raises:
        CommandFailed: it did not come up, or stopped by itself; says why.
    """
    _end_on_signals()
    telemetry = telemetry_settings(config)
    edge = EdgeConfig(
        host=config.host,
        port=config.port,
        tls=config.tls,
        is_plaintext_permitted=config.is_plaintext_permitted,
        listener=Listener.OWN,
        development=config.reflection,
        settings=EdgeSettings(
            timeout_s=config.decide_deadline_ms / 1_000,
            ingest_timeout_s=config.ingest_deadline_ms / 1_000,
            ingest_wait_s_max=config.ingest_wait_ms_max / 1_000,
            ingest_bytes_max=config.ingest_waiting_bytes_max,
        ),
        client=ClientSettings(wait_s_max=config.wait_ms_max / 1_000, installation=installation_of(config.data_dir)),
        drain_timeout_s=config.drain_deadline_s,
        observer_factory=partial(edge_observer, telemetry),
        door_factory=door_factory(config),
        replica_count=config.edge_count,
        resources=HEAD if config.ray_address is not None else {},
    )
    champion = ChampionFollower(config, tell)
    # Beside Ray's start: the champion is proven before any shard serves.
    champion.begin()
    with _ray(config, edge, run_dir, on_lost):
        # Ray has put its own handlers in place.
        _end_on_signals()
        return _serve(config, edge, run_dir, tell, champion, is_first=is_first)


def _ray(
    config: HearthConfig, edge: EdgeConfig, run_dir: Path, on_lost: Callable[[str], None]
) -> contextlib.AbstractContextManager[None]:
    """Return the Ray of this run: one of our own, or the cluster that we join."""
    if config.ray_address is not None:
        environment = serve_environment(edge) | SINGLE_THREADED
        # How Ray's processes know each other is for whoever keeps the cluster.
        export_environment(**environment)
        return joined_ray(config.ray_address, environment=environment, namespace=COORDINATOR_NAMESPACE)
    _set_environment(serve_environment(edge) | ray_environment(run_dir) | _kernel_cache(config))
    _compile_kernels()
    cpu_count = config.shard_count + config.spare_shard_count + CONTROL_CPU_COUNT
    return local_ray(run_dir, cpu_count=cpu_count, namespace=COORDINATOR_NAMESPACE, on_lost=on_lost)


def _end_on_signals() -> None:
    """While all is being started, a stop ends this process on the spot: nothing waits to be finished.

    The supervisor cleans up; without one, Ray's processes share the fate of this one.
    """
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: os._exit(0))


def _heed_signals() -> threading.Event:
    """Return what is set once this process is told to stop."""
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    return stop


def _set_environment(demanded: dict[str, str]) -> None:
    """Ray and Serve read these when they are imported; children inherit them."""
    fresh = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": fresh_token(),
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_raylet_start_wait_time_s": "120",
        **SINGLE_THREADED,
    }
    given = {name for name in fresh if environment_variable(name) is not None}
    export_environment(**demanded, **{name: value for name, value in fresh.items() if name not in given})


def _kernel_cache(config: HearthConfig) -> dict[str, str]:
    """Keep compiled kernels in the data directory where they cannot be beside their sources: not anew at each start."""
    import household

    beside = Path(household.__file__).parent
    is_kept = environment_variable(KERNEL_CACHE) is not None or os.access(beside, os.W_OK)
    return {} if is_kept else {KERNEL_CACHE: str(config.data_dir / "kernels")}


def _compile_kernels() -> None:
    """Begin to compile beside Ray's start, where nothing is compiled yet. Shards wait until it is done."""
    if is_compiled(folder_of_cache(environment_variable(KERNEL_CACHE))):
        return
    say("compiling the kernels, once on a machine: half a minute on two cores ...")
    asked = [sys.executable, "-m", COMPILER]
    threading.Thread(target=subprocess.run, args=(asked,), kwargs={"stdout": subprocess.DEVNULL}, daemon=True).start()


def _serve(
    config: HearthConfig, edge: EdgeConfig, run_dir: Path, tell: Tell, champion: ChampionFollower, *, is_first: bool
) -> int:
    import ray
    import ray.serve

    from cluster.capturing import Captures, connectors_of_run
    from serving import ingress

    logging.getLogger("ray.serve").setLevel(logging.WARNING)

    if config.ray_address is not None:
        # Serve's applications outlive a run that fell, and the edge holds the port; our actors do not.
        with passing_over(Exception, because="nothing of an earlier run may be there"):
            ingress.stop()
    say("starting shards and edge ...")
    connectors = connectors_of_run(config.capture) if config.capture is not None else {}
    captures = Captures(tell=say)
    serving = ingress.begin(edge)
    plane = start_state_plane(config, run_dir, champion, shard_count=wished_shards(config, is_first=is_first))
    introduced = plane.introduce()
    try:
        # Beside the shards: the edge comes up on the routes alone, and is healthy when all partitions are served.
        serving.join()
        ingress.start(edge)
        ray.get(introduced)
        report = ray.get(plane.coordinator.report.remote())
        with passing_over(OSError, because="the file is for people, and no reason not to start"):
            write_status(config.data_dir, report | {"models": champion.report()})
        for partition, why in report["down"].items():
            say(f"warning: partition {partition} is down: {why}")
        from cluster.keeping_rollups import keep_rollups

        stop = _heed_signals()
        tell({"ready": True, "address": edge.address})
        ingress.start_others(edge)
        plane.stand_by()
        captures.start(_start_connectors(config, connectors, target=reachable(edge.address)))
        champion.follow(lambda model: ray.get(plane.coordinator.use_model.remote(model)))
        keep_rollups(config, stop)
        _stand_watch(config, plane, captures, Restarting(LiveParts(plane, edge)), stop)
        say("stopping: finishing what waits ...")
    except ingress.PortInUse as wrong:
        raise CommandFailed(f"{wrong}; choose another with --port") from wrong
    except ray.exceptions.RayError as wrong:
        raise CommandFailed(f"this run of Hearth cannot go on: {wrong}", TEMPORARY_FAILURE) from wrong
    finally:
        # First: what a connector has under way is still acknowledged, and committed.
        with passing_over(Exception, because="the run ends, whatever this says"):
            captures.stop(CAPTURES_STOP_S)
        with passing_over(Exception, because="the run ends, whatever this says"):
            ingress.stop()
        with passing_over(Exception, because="the run ends, whatever this says"):
            ray.get(plane.coordinator.stop.remote(), timeout=config.drain_deadline_s + 20)
        if config.ray_address is not None:
            with passing_over(Exception, because="the run ends, whatever this says"):
                _undeploy_models()
    return 0


def _start_connectors(
    config: HearthConfig, connectors: dict[str, CaptureSettings], *, target: str
) -> dict[str, RemoteConnector]:
    """Return the capture connectors, each an actor that is at work, and tries again until Hearth takes what it has."""
    import ray

    from cluster.capture_actor import CaptureActor

    capture_class = ray.remote(CaptureActor)
    return {
        name: _ConnectorActor(
            capture_class.options(
                name=name,
                max_restarts=-1,
                max_task_retries=0,
                num_cpus=0,
                enable_task_events=False,
                # Where the public port is: rejects are taken from Hearth's own machine only.
                resources=HEAD if config.ray_address is not None else None,
            ).remote(settings, target, credentials())
        )
        for name, settings in connectors.items()
    }


class _ConnectorActor:
    """The actor of a capture connector; Ray makes it anew whenever its process is gone."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._stopped: Any = None

    def status(self) -> dict[str, object]:
        """Return what it says."""
        import ray

        try:
            status: dict[str, object] = ray.get(self._handle.status.remote(), timeout=SILENT_S_MAX)
        except ray.exceptions.GetTimeoutError:
            return {"state": "silent"}
        except ray.exceptions.RayError as wrong:
            return {"state": "starting", "trouble": str(wrong).partition("\n")[0]}
        return status

    def make_anew(self) -> None:
        """Kill it; Ray does the rest."""
        import ray

        ray.kill(self._handle, no_restart=False)

    def tell_to_stop(self) -> None:
        """Begin to stop it."""
        self._stopped = self._handle.stop.remote()

    def await_stopped(self, timeout_s: float) -> None:
        """Wait for that."""
        import ray

        with passing_over(ray.exceptions.RayError, because="it was told to stop, and may be gone"):
            ray.get(self._stopped, timeout=timeout_s)


def _undeploy_models() -> None:
    """Leave no model behind in a cluster that goes on."""
    from serving.models import scorer

    for version in scorer.deployed_versions():
        scorer.undeploy(version)


def _stand_watch(
    config: HearthConfig, plane: StatePlane, captures: Captures, restarting: Restarting, stop: threading.Event
) -> None:
    """Until told to stop: keep the coordinator going and the status file fresh."""
    import ray

    answered_s = written_s = time.monotonic()
    introduced = None
    while not stop.wait(WATCH_INTERVAL_S):
        now_s = time.monotonic()
        try:
            report = ray.get(plane.coordinator.report.remote(), timeout=SILENT_S_MAX)
            answered_s = time.monotonic()
            if not report["shards"]:
                # It died, and Ray has made it anew. The shards know what they own: it asks them. Once is enough: Ray
                # may let later calls overtake the one that tells of the shards.
                if introduced is None or ray.wait([introduced], timeout=0)[0]:
                    say("warning: the coordinator died and is told of the shards again")
                    introduced = plane.introduce()
            elif report["placement"] is not None:
                _take_care(plane, restarting, report["placement"])
            if report["shards"] and now_s - written_s >= STATUS_INTERVAL_S:
                written_s = now_s
                if config.ray_address is not None:
                    plane.coordinator.note_slots.remote(node_slots())
                with passing_over(OSError, because="on a full disk the old one stands: it is for people"):
                    more = {"capture": captures.report(), "models": plane.champion.report()}
                    write_status(config.data_dir, report | more)
        except ray.exceptions.GetTimeoutError:
            say(f"warning: the coordinator has not answered for {now_s - answered_s:.0f} s and is made anew")
            ray.kill(plane.coordinator, no_restart=False)
        except ray.exceptions.RayActorError:
            continue


def _take_care(plane: StatePlane, restarting: Restarting, placement: Mapping[str, Any]) -> None:
    """Make and end what the placement asks for. What fails is tried again at the next look."""
    try:
        plane.staff(placement)
        restarting.look(placement)
    except Exception as wrong:  # noqa: BLE001 - the coordinator may be away, Serve may be busy
        logger.warning("what is asked of the placement is not done yet: %s", str(wrong).partition("\n")[0])
