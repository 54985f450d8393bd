"""The state plane of one run: the coordinator, the shards and their spares, made remote and held.

With launch.py, which composes a run, and ray_node.py the only modules of cluster/ that know Ray.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.passing_over import passing_over
from cluster.balance_told import number_of
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
DRAIN_S_MAX, ASK_S_MAX = 30.0, 10.0
HEAD = {"node:__internal_head__": 0.001}
"""What only the head of a Ray cluster has: the launcher is there, and with it the public port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePlane:
    """The handles that this process holds; with them the actors live and die."""

    coordinator: Any
    shards: dict[str, Any]
    spares: dict[str, Any]
    make: Callable[[int], Any]
    """Return a shard of a number that nobody has."""
    spare_count: int

    champion: ChampionFollower
    kept: Any
    """What the coordinator is made anew of. Ray keeps small arguments of an actor itself, and forgets larger ones."""

    def introduce(self) -> Any:
        """Tell the coordinator of the shards and of the model in force; return what is ready once they serve."""
        return self.coordinator.start.remote(self.shards, self.spares, self.champion.in_force)

    def stand_by(self) -> None:
        """Make the spares and tell the coordinator of them. After all is served: they would be in the way before."""
        self.spares.update(self._made(self.spare_count))
        self.coordinator.add_spares.remote(self.spares)

    def _made(self, count: int) -> dict[str, Any]:
        taken = {number_of(name) for name in (*self.shards, *self.spares)}
        free = (number for number in itertools.count() if number not in taken)
        return {f"shard-{number}": self.make(number) for number in itertools.islice(free, count)}

    def staff(self, placement: Mapping[str, Any]) -> None:
        """Make the shards that are missing, and end those that are too many and own nothing any more.

        `placement`: as the coordinator reports it.
        """
        import ray

        known = {one["shard"] for one in placement["shards"]}
        # One that is made already and not known to it yet, since it was not there to be told, is told of again.
        unknown = {name: handle for name, handle in self.shards.items() if name not in known}
        unknown |= self._made(max(0, placement["missing"] - len(unknown)))
        if unknown:
            self.shards.update(unknown)
            self.coordinator.add_shards.remote(unknown)
        for name in placement["retirable"]:
            if name in self.shards and ray.get(self.coordinator.retire.remote(name)):
                ray.kill(self.shards.pop(name), no_restart=True)

    def ask(self, verb: str, argument: str) -> Mapping[str, Any]:
        """Ask the coordinator of the placement; see Balancer.ask."""
        import ray

        told: Mapping[str, Any] = ray.get(self.coordinator.place.remote(verb, argument), timeout=ASK_S_MAX)
        return told

    def note_restart(self, told: dict[str, Any]) -> None:
        """Tell the coordinator how far a rolling restart is."""
        self.coordinator.note_restart.remote(told)

    def renew_shard(self, name: str) -> None:
        """Let a shard that has nothing end in order, beside all else; Ray makes it anew."""
        handle = self.shards.get(name) or self.spares.get(name)
        if handle is not None:
            threading.Thread(target=_renew, args=(handle,), name=f"renew-{name}", daemon=True).start()

    def renew_coordinator(self) -> None:
        """Let Ray make the coordinator anew; it has to be told of the shards then."""
        _end_actor(self.coordinator)


def _renew(handle: Any) -> None:
    import ray

    with passing_over(ray.exceptions.RayError, because="it is ended all the same"):
        ray.get(handle.drain.remote(), timeout=DRAIN_S_MAX)
    _end_actor(handle)


def start_state_plane(
    config: HearthConfig, run_dir: Path, champion: ChampionFollower, *, shard_count: int | None = None
) -> StatePlane:
    """Return the handles of the coordinator and of the shards, which it has yet to be told of.

    `shard_count`: how many were asked for of a run before this one; None for as many as the settings say.
    """
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
    count = shard_count if shard_count is not None else config.shard_count
    places = _places(config, count)

    def place_of(number: int) -> dict[str, Any]:
        return places[number] if number < len(places) else _any_place(config)

    installation = installation_of(config.data_dir)

    def make(number: int) -> Any:
        name = f"shard-{number}"
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
            name=name, max_restarts=-1, max_task_retries=0, enable_task_events=False, **place_of(number)
        ).remote(
            settings,
            stores=stores,
            lease=lease,
            scoring=_scoring(config),
            telemetry=telemetry_settings(config),
        )

    # Of a hundred thousand bytes and more, it would be gone when the coordinator has died: "deleted by the reference
    # counting protocol". An object that we hold is there for every coordinator that Ray makes.
    plan_bytes = ray.put(plan_bytes_in_force(config))
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
            uneven_after_s=config.rebalance_after_s,
            partition_count=config.partition_count,
            plan_bytes=plan_bytes,
            data_dir=config.data_dir.absolute(),
            telemetry=telemetry_settings(config),
            end_actor=_end_actor if config.ray_address is not None else None,
        )
    )

    return StatePlane(
        coordinator=coordinator,
        shards={f"shard-{number}": make(number) for number in range(count)},
        spares={},
        make=make,
        spare_count=config.spare_shard_count,
        champion=champion,
        kept=plan_bytes,
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


def _any_place(config: HearthConfig) -> dict[str, Any]:
    """Return Ray's options of a shard that may be wherever there is room."""
    # On a machine of our own nobody else asks Ray for processors, and shards come and go.
    return {"num_cpus": 0} if config.ray_address is None else {"num_cpus": 1, "resources": {SHARD_SLOT: 1}}


def _places(config: HearthConfig, shard_count: int) -> list[dict[str, Any]]:
    """Return Ray's options by which shards and spares, in order, are dealt out to the nodes of a cluster that we join.

    A shard whose node is gone is made anew wherever a slot is free.

    Raises:
        CommandFailed: the cluster has fewer slots than shards; spares may have to wait for one.
    """
    count = shard_count + config.spare_shard_count
    if config.ray_address is None:
        return [_any_place(config)] * count
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}
    # The head first, so that the same cluster is dealt out in the same way.
    order = sorted(nodes, key=lambda node_id: (not HEAD.keys() <= nodes[node_id].keys(), node_id))
    slots = deal_out({node_id: int(nodes[node_id].get(SHARD_SLOT, 0)) for node_id in order})
    if len(slots) < shard_count:
        raise CommandFailed(
            f"the Ray cluster at {config.ray_address} has {len(slots)} {SHARD_SLOT} for {shard_count} shards: "
            f"start its nodes with --resources '{{\"{SHARD_SLOT}\": N}}'",
            TEMPORARY_FAILURE,
        )
    places = [_any_place(config) for _ in range(count)]
    for place, node_id in zip(places, slots, strict=False):
        place["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id, soft=True)
    return places


def node_slots() -> dict[str, int]:
    """Return how many shards each living node of the cluster may run, by its name."""
    import ray

    living = (node for node in ray.nodes() if node["Alive"])
    slots: Counter[str] = Counter()
    for node in living:
        slots[node["NodeManagerHostname"]] += int(node["Resources"].get(SHARD_SLOT, 0))
    return dict(slots)


def deal_out(slots_by_node: dict[str, int]) -> list[str]:
    """Return the node of each slot in the order in which they are taken: one of every node, round after round.

    >>> deal_out({"head": 2, "second": 1, "third": 0})
    ['head', 'second', 'head']
    """
    rounds = range(max(slots_by_node.values(), default=0))
    return [node_id for taken in rounds for node_id, count in slots_by_node.items() if count > taken]


def _end_actor(handle: Any) -> None:
    """Kill an actor, as far as its node obeys; Ray makes it anew."""
    import ray

    ray.kill(handle, no_restart=False)
