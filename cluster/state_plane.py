"""The state plane of one run: the coordinator, the shards and their spares, made remote and held.

With launch.py, which composes a run, and ray_node.py the only modules of cluster/ that know Ray.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.champion import ChampionFollower
from cluster.config import ClockKind, HearthConfig
from cluster.errors import CommandFailed
from cluster.installation import installation_of
from cluster.restarts import TEMPORARY_FAILURE
from cluster.watching import telemetry_settings
from wire.routes import COORDINATOR_NAME

if TYPE_CHECKING:
    from actors.partition.scoring_settings import ScoringConfig

SHARD_SLOT = "shard_slot"
"""Custom resource of a Ray cluster that we join: how many shards, spares included, a node may run."""
HEAD = {"node:__internal_head__": 0.001}
"""What only the head of a Ray cluster has: the launcher is there, and with it the public port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePlane:
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


def start_state_plane(config: HearthConfig, run_dir: Path, champion: ChampionFollower) -> StatePlane:
    """Return the handles of the coordinator and of the shards, which it has yet to be told of."""
    import ray

    from actors.shard.config import ShardConfig
    from actors.snapshots.taking import SnapshotPolicy
    from cluster.coordinator import Coordinator
    from cluster.leases import lease_settings
    from cluster.metadata import sqlite_url
    from cluster.playbook_in_force import plan_bytes_in_force
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
    shard_class = ray.remote(ShardActor)
    places = _places(config)
    installation = installation_of(config.data_dir)

    def make(index: int) -> Any:
        name = f"shard-{index}"
        settings = ShardConfig(
            name=name,
            address=f"unix:{run_dir / name}.sock" if config.ray_address is None else _any_port(config.shard_host),
            installation=installation,
            stream_clock=config.clock is ClockKind.STREAM,
            partition_count=config.partition_count,
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
            plan_bytes=plan_bytes_in_force(config),
            telemetry=telemetry_settings(config),
            end_actor=_end_actor if config.ray_address is not None else None,
        )
    )

    def make_all(first: int, count: int) -> dict[str, Any]:
        return {f"shard-{index}": make(index) for index in range(first, first + count)}

    return StatePlane(
        coordinator=coordinator,
        shards=make_all(0, config.shard_count),
        spares={},
        make_spares=partial(make_all, config.shard_count, config.spare_shard_count),
        champion=champion,
    )


def _scoring(config: HearthConfig) -> ScoringConfig:
    """Return how long shards wait for the model plane; what is more than the most moves up with it."""
    from actors.partition.scoring_settings import ScoringConfig

    most_ms, usual = config.scoring_slice_ms, ScoringConfig()
    return ScoringConfig(
        slice_ms_max=most_ms,
        slice_ms_min=min(usual.slice_ms_min, most_ms),
        patience_ms=max(usual.patience_ms, most_ms),
        warm_up_ms=max(usual.warm_up_ms, most_ms),
    )


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
