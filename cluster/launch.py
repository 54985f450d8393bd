"""One run of Hearth: start Ray, the shards, the coordinator and the edge; mind them; stop them all again.

The only module that makes things remote. What dies within a run and is not restarted by Ray is restarted here; what
cannot be ends the run, and the supervisor makes another.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.passing_over import passing_over
from cluster.champion import ChampionFollower
from cluster.config import ClockKind, HearthConfig
from cluster.data_dir import write_status
from cluster.environment import environment_variable, export_environment, fresh_token
from cluster.errors import CommandFailed
from cluster.output import say
from cluster.ray_node import joined_ray, local_ray, ray_environment
from cluster.restarts import TEMPORARY_FAILURE
from cluster.watching import edge_observer, telemetry_settings
from serving.edge_config import EdgeConfig, Listener
from serving.ingress import serve_environment
from serving.settings import EdgeSettings
from serving.shard_channel import ClientSettings
from wire.routes import COORDINATOR_NAME, COORDINATOR_NAMESPACE

if TYPE_CHECKING:
    from actors.partition.scoring import ScoringConfig
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

SHARD_SLOT = "shard_slot"
"""Custom resource of a Ray cluster that we join: how many shards, spares included, a node may run."""
HEAD = {"node:__internal_head__": 0.001}
"""What only the head of a Ray cluster has: the launcher is there, and with it the public port."""

KERNEL_CACHE = "NUMBA_CACHE_DIR"

SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

logger = logging.getLogger(__name__)

Tell = Callable[[dict[str, Any]], None]
"""Is given the messages of a run; see cluster/supervisor.py."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _StatePlane:
    """The handles that this process holds; with them the actors live and die."""

    coordinator: Any
    shards: dict[str, Any]
    spares: dict[str, Any]
    make_spares: Callable[[], dict[str, Any]]

    champion: ChampionFollower

    def introduce(self) -> Any:
        """Tell the coordinator of the shards and of the model in force; return what is ready once they serve."""
        return self.coordinator.start.remote(self.shards, self.spares, self.champion.in_force)

    def stand_by(self) -> None:
        """Make the spares and tell the coordinator of them. After all is served: they would be in the way before."""
        self.spares.update(self.make_spares())
        self.coordinator.add_spares.remote(self.spares)


def run_up(config: HearthConfig, run_dir: Path, *, tell: Tell, on_lost: Callable[[str], None]) -> int:
    """Run Hearth until SIGINT or SIGTERM; return the exit code.

    Args:
        config: settled by the supervisor.
        run_dir: for sockets, Ray's files and whatever else ends with the run.
        tell: is given the run's messages, from any thread.
        on_lost: is told from another thread why the run cannot go on; ends the process.

    Raises:
        CommandFailed: it did not come up, or stopped by itself; says why.
    """
    _end_on_signals()
    telemetry = telemetry_settings(config)
    edge = EdgeConfig(
        host=config.host,
        port=config.port,
        listener=Listener.OWN,
        development=config.reflection,
        settings=EdgeSettings(
            timeout_s=config.decide_deadline_ms / 1_000,
            ingest_timeout_s=config.ingest_deadline_ms / 1_000,
            ingest_wait_s_max=config.ingest_wait_ms_max / 1_000,
            ingest_bytes_max=config.ingest_waiting_bytes_max,
        ),
        client=ClientSettings(wait_s_max=config.wait_ms_max / 1_000),
        drain_timeout_s=config.drain_deadline_s,
        observer_factory=partial(edge_observer, telemetry),
        replica_count=config.edge_count,
        resources=HEAD if config.ray_address is not None else {},
    )
    champion = ChampionFollower(config, tell)
    # Beside Ray's start: the champion is proven before any shard serves.
    champion.begin()
    with _ray(config, edge, run_dir, on_lost):
        # Ray has put its own handlers in place.
        _end_on_signals()
        return _serve(config, edge, run_dir, tell, champion)


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


def _serve(config: HearthConfig, edge: EdgeConfig, run_dir: Path, tell: Tell, champion: ChampionFollower) -> int:
    import ray
    import ray.serve

    from cluster.capturing import Captures, connectors_of_run
    from serving import ingress

    logging.getLogger("ray.serve").setLevel(logging.WARNING)

    if config.ray_address is not None:
        # Serve's applications outlive a run that fell, and the edge holds the port; our actors do not.
        with passing_over(Exception, because="nothing of an earlier run may be there"):
            ingress.stop()
    say("starting shards and edge (the first time on a machine, kernels are compiled: some 20 seconds) ...")
    connectors = connectors_of_run(config.capture) if config.capture is not None else {}
    captures = Captures(tell=say)
    serving = ingress.begin(edge)
    plane = _start_state_plane(config, run_dir, champion)
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
        stop = _heed_signals()
        tell({"ready": True, "address": edge.address})
        ingress.start_others(edge)
        plane.stand_by()
        captures.start(_start_connectors(config, connectors, target=edge.address))
        champion.follow(lambda model: ray.get(plane.coordinator.use_model.remote(model)))
        _stand_watch(config, plane, captures, stop)
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


def _start_state_plane(config: HearthConfig, run_dir: Path, champion: ChampionFollower) -> _StatePlane:
    """Return the handles of the coordinator and of the shards, which it has yet to be told of."""
    import ray

    from actors.shard.shard import ShardConfig
    from actors.snapshots.taking import SnapshotPolicy
    from cluster.coordinator import Coordinator
    from cluster.leases import lease_settings
    from cluster.metadata import sqlite_url
    from cluster.playbook_in_force import playbook_in_force
    from cluster.shard_actor import ShardActor, Stores

    stores = Stores(
        log=config.log_location,
        segment_bytes=config.segment_bytes,
        snapshots=config.snapshot_location,
        metadata_url=config.metadata_url or sqlite_url(config.data_dir / "metadata.sqlite"),
        clock_jump_us_max=int(config.clock_jump_s_max * 1e6),
        partition_count=config.partition_count,
    )
    lease = lease_settings(config.lease_term_s)
    plan = playbook_in_force(config).plan
    shard_class = ray.remote(ShardActor)
    places = _places(config)

    def make(index: int) -> Any:
        name = f"shard-{index}"
        settings = ShardConfig(
            name=name,
            address=f"unix:{run_dir / name}.sock" if config.ray_address is None else _any_port(config.shard_host),
            stream_clock=config.clock is ClockKind.STREAM,
            redeliver_after_s=config.redeliver_after_s,
            snapshots=SnapshotPolicy(
                events=config.snapshot_events,
                records=config.snapshot_records,
                interval_s=config.snapshot_interval_s,
                log_retention_s=config.log_retention_hours * 3_600,
            ),
        )
        return shard_class.options(
            name=name, max_restarts=-1, max_task_retries=0, num_cpus=1, enable_task_events=False, **places[index]
        ).remote(
            settings,
            stores=stores,
            lease=lease,
            scoring=_scoring(config),
            telemetry=telemetry_settings(config),
        )

    coordinator: Any = (
        ray.remote(Coordinator)
        .options(
            name=COORDINATOR_NAME,
            max_restarts=-1,
            max_task_retries=0,
            num_cpus=0,
            enable_task_events=False,
            resources=HEAD if config.ray_address is not None else None,
        )
        .remote(
            metadata_url=stores.metadata_url,
            lease_margin_ms=lease.margin_ms,
            partition_count=config.partition_count,
            plan_bytes=plan.canonical_bytes,
            logs=telemetry_settings(config).logs,
            end_actor=_end_actor if config.ray_address is not None else None,
        )
    )

    def make_all(first: int, count: int) -> dict[str, Any]:
        return {f"shard-{index}": make(index) for index in range(first, first + count)}

    return _StatePlane(
        coordinator=coordinator,
        shards=make_all(0, config.shard_count),
        spares={},
        make_spares=partial(make_all, config.shard_count, config.spare_shard_count),
        champion=champion,
    )


def _scoring(config: HearthConfig) -> ScoringConfig:
    """Return how long shards wait for the model plane; what is more than the most moves up with it."""
    from actors.partition.scoring import ScoringConfig

    most_ms, usual = config.scoring_slice_ms, ScoringConfig()
    return ScoringConfig(
        slice_ms_max=most_ms,
        slice_ms_min=min(usual.slice_ms_min, most_ms),
        patience_ms=max(usual.patience_ms, most_ms),
        warm_up_ms=max(usual.warm_up_ms, most_ms),
    )


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
            ).remote(settings, target)
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


def _any_port(host: str) -> str:
    return f"[{host}]:0" if ":" in host else f"{host}:0"


def _places(config: HearthConfig) -> list[dict[str, Any]]:
    """Return Ray's options by which shards and spares, in order, are dealt out to the nodes of a cluster that we join.

    A shard whose node is gone is made anew wherever a slot is free.

    Raises:
        CommandFailed: the cluster has fewer slots than shards; spares may have to wait for one.
    """
    count = config.shard_count + config.spare_shard_count
    if config.ray_address is None:
        return [{}] * count
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    # The head first, so that the same cluster is dealt out in the same way.
    order = sorted(nodes, key=lambda node_id: (not HEAD.keys() <= nodes[node_id].keys(), node_id))
    slots = deal_out({node_id: int(nodes[node_id].get(SHARD_SLOT, 0)) for node_id in order})
    if len(slots) < config.shard_count:
        raise CommandFailed(
            f"the Ray cluster at {config.ray_address} has {len(slots)} {SHARD_SLOT} for {config.shard_count} shards: "
            f"start its nodes with --resources '{{\"{SHARD_SLOT}\": N}}'",
            TEMPORARY_FAILURE,
        )
    places: list[dict[str, Any]] = [{"resources": {SHARD_SLOT: 1}} for _ in range(count)]
    for place, node_id in zip(places, slots, strict=False):
        place["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id, soft=True)
    return places


def deal_out(slots_by_node: dict[str, int]) -> list[str]:
    """Return the node of each slot in the order in which they are taken: one of every node, round after round.

    >>> deal_out({"head": 2, "second": 1, "third": 0})
    ['head', 'second', 'head']
    """
    rounds = range(max(slots_by_node.values(), default=0))
    return [node_id for taken in rounds for node_id, count in slots_by_node.items() if count > taken]


def _end_actor(handle: Any) -> None:
    """Kill a shard on another node, as far as that node obeys; Ray makes it anew."""
    import ray

    ray.kill(handle, no_restart=False)


def _stand_watch(config: HearthConfig, plane: _StatePlane, captures: Captures, stop: threading.Event) -> None:
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
            elif now_s - written_s >= STATUS_INTERVAL_S:
                written_s = now_s
                with passing_over(OSError, because="on a full disk the old one stands: it is for people"):
                    more = {"capture": captures.report(), "models": plane.champion.report()}
                    write_status(config.data_dir, report | more)
        except ray.exceptions.GetTimeoutError:
            say(f"warning: the coordinator has not answered for {now_s - answered_s:.0f} s and is made anew")
            ray.kill(plane.coordinator, no_restart=False)
        except ray.exceptions.RayActorError:
            continue
