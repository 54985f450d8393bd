"""What is told of where partitions are and how they move, and how much each does of late."""

from collections.abc import Collection, Mapping
from typing import Any

from cluster.balance import Load, by_shard
from cluster.moves import Mover
from cluster.shard_seen import ShardSeen

RATE_OVER_S = 10.0
"""What is done of late is what was done within about this."""


class Rate:
    """How much a partition does of late."""

    def __init__(self) -> None:
        self.per_s = 0.0
        self._seen: tuple[float, int] | None = None
        """When it was looked at, and what had been done by then."""

    def note(self, now_s: float, facts: Mapping[str, Any]) -> None:
        """Take what a shard says of it."""
        if "received" not in facts:
            return
        done = int(facts["received"]) + int(facts.get("decisions", 0))
        if self._seen is None or done < self._seen[1]:
            self._seen = now_s, done
            return
        passed_s = now_s - self._seen[0]
        if passed_s <= 0:
            return
        kept = max(0.0, 1.0 - passed_s / RATE_OVER_S)
        self.per_s = kept * self.per_s + (1.0 - kept) * (done - self._seen[1]) / passed_s
        self._seen = now_s, done


def told_shards(
    shards: Mapping[str, ShardSeen], loads: Collection[Load], *, to_leave: Collection[str], drained: Collection[str]
) -> list[dict[str, Any]]:
    """Return each shard with what it has, in the order of their numbers.

    Args:
        shards: by name.
        loads: what is served.
        to_leave: shards that are to have nothing.
        drained: those of them for which somebody has asked that.
    """
    total = by_shard([*shards], loads)
    return [
        {
            "shard": seen.name,
            "node": seen.host,
            "holder": seen.holder,
            "address": seen.started["address"] if seen.started is not None else "",
            "is_able": seen.is_able,
            "is_spare": seen.is_spare,
            "partitions": sorted(seen.partitions),
            "share": round(total[seen.name], 4),
            "state": _state_of(seen, is_to_leave=seen.name in to_leave, is_drained=seen.name in drained),
        }
        for seen in sorted(shards.values(), key=lambda one: number_of(one.name))
    ]


def _state_of(seen: ShardSeen, *, is_to_leave: bool, is_drained: bool) -> str:
    if seen.started is None:
        return "starting"
    if is_to_leave and seen.partitions:
        return "draining"
    if seen.is_spare and not seen.partitions and not is_drained:
        return "standing by"
    return "drained" if is_to_leave else "serving"


def told_moves(mover: Mover, now_s: float) -> dict[str, Any]:
    """Return the move under way, and what became of those before it."""
    move, ended = mover.under_way, list(mover.ended)
    pauses = sorted(one.pause_s for one in ended if not one.failed)
    newest = {one.partition: one.failed for one in ended}
    told = None
    if move is not None:
        told = {
            "partition": move.partition,
            "source": move.source.name,
            "target": move.target.name,
            "step": move.step.value,
            "why": move.why,
            "for_s": round(now_s - move.began_s, 2),
        }
    return {
        "move": told,
        "moved": mover.moved,
        "pause_p50_ms": _quantile_ms(pauses, 0.5),
        "pause_p95_ms": _quantile_ms(pauses, 0.95),
        "failed": {str(partition): why for partition, why in newest.items() if why},
    }


def number_of(name: str) -> int:
    """Return the number of a shard's name, by which shards are in order.

    >>> number_of("shard-12")
    12
    """
    return int(name.rpartition("-")[2])


def _quantile_ms(values: list[float], share: float) -> float | None:
    return round(1_000 * values[min(len(values) - 1, int(share * len(values)))], 1) if values else None
