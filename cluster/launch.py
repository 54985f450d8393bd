"""`hearth up`: start Ray, the shards, the coordinator and the edge on this machine; stop them all again.

The only module that makes things remote. Whatever it starts dies with it: Ray's processes share their parent's fate.
"""

import contextlib
import logging
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from cluster.commands.models import MODEL_NAME
from cluster.commands.up import announce_ready
from cluster.config import ClockKind, HearthConfig, environment_variable, export_environment, fresh_token
from cluster.data_dir import write_status
from cluster.errors import CommandFailed
from cluster.logs import start_logging
from cluster.output import print_json, say
from cluster.telemetry import edge_observer, telemetry_settings
from playbooks.compiler import compile_playbook
from serving.bundle import BundleRefused, read_aliases, read_manifest
from serving.edge import EdgeSettings
from serving.ingress import COORDINATOR_NAME, COORDINATOR_NAMESPACE, EdgeConfig, Listener, serve_environment

WATCH_INTERVAL_S = 2.0


def run_up(config: HearthConfig) -> int:
    """Run Hearth until SIGINT or SIGTERM; return the exit code.

    Raises:
        CommandFailed: it did not come up, or stopped by itself; says why.
    """
    stop = threading.Event()
    _heed_signals(stop)
    telemetry = telemetry_settings(config)
    start_logging(telemetry.logs, "up")
    edge = EdgeConfig(
        host=config.host,
        port=config.port,
        listener=Listener.OWN,
        development=config.reflection,
        settings=EdgeSettings(
            timeout_s=config.decide_deadline_ms / 1_000, ingest_timeout_s=config.ingest_deadline_ms / 1_000
        ),
        drain_timeout_s=config.drain_deadline_s,
        observer_factory=partial(edge_observer, telemetry),
    )
    _set_environment(serve_environment(edge))
    run_dir = Path(tempfile.mkdtemp(prefix="hearth-"))
    try:
        with _ray(run_dir, config):
            return _serve(config, edge, run_dir, stop)
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)


def _heed_signals(stop: threading.Event) -> None:
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())


def _set_environment(serve: dict[str, str]) -> None:
    """Ray and Serve read these when they are imported; children inherit them."""
    fresh = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": fresh_token(),
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_raylet_start_wait_time_s": "120",
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
    }
    given = {name for name in fresh if environment_variable(name) is not None}
    export_environment(**serve, **{name: value for name, value in fresh.items() if name not in given})


@contextlib.contextmanager
def _ray(run_dir: Path, config: HearthConfig) -> Iterator[None]:
    import ray

    ray.init(
        address="local",
        num_cpus=config.shard_count + 2,
        namespace=COORDINATOR_NAMESPACE,
        include_dashboard=False,
        object_store_memory=128 << 20,
        _temp_dir=str(run_dir / "ray"),
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        yield
    finally:
        ray.shutdown()


def _serve(config: HearthConfig, edge: EdgeConfig, run_dir: Path, stop: threading.Event) -> int:
    import ray
    import ray.serve

    from serving import ingress

    logging.getLogger("ray.serve").setLevel(logging.WARNING)

    say("starting shards and edge (the first time on a machine, kernels are compiled: some 20 seconds) ...")
    # Ray has put its own handlers in place, which end the process on the spot.
    _heed_signals(stop)
    coordinator, shards = _start_state_plane(config, run_dir)
    started = coordinator.start.remote(shards)
    try:
        # Beside the shards: the edge comes up on the routes alone, and is healthy when all partitions are served.
        ingress.start(edge)
        ray.get(started)
        report = ray.get(coordinator.report.remote())
        with contextlib.suppress(OSError):
            write_status(config.data_dir, report)
        for partition, why in report["down"].items():
            say(f"warning: partition {partition} is down: {why}")
        announce_ready(config, address=edge.address)
        _stand_watch(config, coordinator, shards, stop)
        say("stopping: finishing what waits ...")
    except ingress.PortInUse as wrong:
        raise CommandFailed(f"{wrong}; choose another with --port") from wrong
    finally:
        with contextlib.suppress(Exception):
            ingress.stop()
        with contextlib.suppress(Exception):
            ray.get(coordinator.stop.remote(), timeout=config.drain_deadline_s + 20)
    return 0


def _start_state_plane(config: HearthConfig, run_dir: Path) -> tuple[Any, dict[str, Any]]:
    """Return the handles of the coordinator and of the shards, which it has yet to be told of."""
    import ray

    from actors.scoring import ScoringConfig
    from actors.shard import ShardConfig
    from cluster.coordinator import Coordinator
    from cluster.metadata import sqlite_url
    from cluster.shard_actor import ShardActor

    plan = compile_playbook(config.playbook_path)
    shard_class = ray.remote(ShardActor)
    shards = {}
    for index in range(config.shard_count):
        name = f"shard-{index}"
        settings = ShardConfig(
            name=name,
            address=f"unix:{run_dir / name}.sock",
            stream_clock=config.clock is ClockKind.STREAM,
            redeliver_after_s=config.redeliver_after_s,
        )
        shards[name] = shard_class.options(
            name=name, max_restarts=-1, max_task_retries=0, num_cpus=1, enable_task_events=False
        ).remote(
            settings,
            log_dir=str(config.data_dir / "log"),
            segment_bytes=config.segment_bytes,
            scoring=ScoringConfig(slice_ms=config.scoring_slice_ms),
            telemetry=telemetry_settings(config),
        )
    coordinator: Any = (
        ray.remote(Coordinator)
        .options(name=COORDINATOR_NAME, max_restarts=-1, max_task_retries=0, num_cpus=0, enable_task_events=False)
        .remote(
            metadata_url=sqlite_url(config.data_dir / "metadata.sqlite"),
            partition_count=config.partition_count,
            plan_bytes=plan.canonical_bytes,
            logs=telemetry_settings(config).logs,
        )
    )
    return coordinator, shards


def _stand_watch(config: HearthConfig, coordinator: Any, shards: dict[str, Any], stop: threading.Event) -> None:
    """Until told to stop: keep the status file fresh, the registry's champion in force, and the coordinator going."""
    import ray

    champion = ""
    while not stop.wait(WATCH_INTERVAL_S):
        try:
            report = ray.get(coordinator.report.remote())
            if not report["shards"]:
                # It died, and Ray has made it anew. The shards know what they own: it asks them.
                say("warning: the coordinator died and is told of the shards again")
                ray.get(coordinator.start.remote(shards))
                champion = ""
                continue
            # On a full disk the old one stands: the file is for people, and no reason to stop deciding.
            with contextlib.suppress(OSError):
                write_status(config.data_dir, report)
            champion = _follow_champion(config, coordinator, champion)
        except ray.exceptions.RayActorError:
            continue


def _follow_champion(config: HearthConfig, coordinator: Any, champion: str) -> str:
    """Put the registry's champion into force if it is another than `champion`; return which was looked at."""
    import ray

    from serving import scorer

    wanted = _champion(config)
    if wanted == champion:
        return champion
    folder = config.model_path / MODEL_NAME / wanted
    try:
        if wanted:
            _check_schema(config, folder)
        app_name = scorer.deploy(folder) if wanted else ""
    except (BundleRefused, RuntimeError) as wrong:
        say(f"warning: model {wanted} is not taken into force: {wrong}")
        return wanted
    ray.get(coordinator.use_model.remote(str(folder) if wanted else "", app_name))
    for version in scorer.deployed_versions():
        if version != wanted:
            scorer.undeploy(version)
    if config.json_lines:
        print_json({"model": wanted})
    else:
        say(f"model {wanted or 'none: the playbook priors score'} is in force")
    return wanted


def _champion(config: HearthConfig) -> str:
    if not (config.model_path / MODEL_NAME).is_dir():
        return ""
    try:
        return read_aliases(config.model_path, MODEL_NAME).get("champion", "")
    except BundleRefused:
        return ""


def _check_schema(config: HearthConfig, folder: Path) -> None:
    from household.scoring import schema_hash

    wanted = schema_hash(compile_playbook(config.playbook_path))
    manifest = read_manifest(folder)
    if manifest.feature_schema_hash != wanted:
        raise BundleRefused(
            folder, f"made for feature schema {manifest.feature_schema_hash}, the playbook in force has {wanted}"
        )
