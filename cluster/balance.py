"""Which partition moves where next, if any does; and which is hot. Pure: from what each shard has and does.

A partition's weight is its part of all there is: of what is done, of the households that are held, and of the
partitions. A move is worth it when it brings the heaviest shard and the lightest closer together by enough. What it
takes to begin and what it takes to go on lie apart, so nothing goes to and fro.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

UNEVEN_TIMES = 1.25
"""The heaviest shard has so many times its part: uneven."""
GAIN_OF_A_PART = 0.1
"""A move takes so much of a shard's part from the heaviest, at least."""

BUSY_PER_S = 200.0
"""With less than this being done it counts for less: a handful of calls says nothing of where the work is."""
DOING, HOLDING = 0.5, 0.25
"""Of a partition's weight, what it does and what it holds; the rest is that it is one."""

HOT_TIMES = 4.0
HOT_SHARE_MAX = 0.5
"""Hot is what does so many times a partition's part, and more than a shard's; half of all is hot in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A partition that is served, and how much that is."""

    partition: int
    shard: str
    per_s: float = 0.0
    """Signals and decisions of late."""
    households: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedMove:
    """A move that is worth it."""

    partition: int
    source: str
    target: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hot:
    """A partition that does more than a shard's part."""

    partition: int
    shard: str
    per_s: float
    share: float
    """Of all that is done, 0..1."""


def weights(loads: Collection[Load]) -> dict[int, float]:
    """Return each partition's weight; together they are 1.

    >>> weights([Load(partition=0, shard="a"), Load(partition=1, shard="a")])
    {0: 0.5, 1: 0.5}
    """
    done, held = sum(one.per_s for one in loads), sum(one.households for one in loads)
    doing = DOING * min(1.0, done / BUSY_PER_S)
    holding = HOLDING if held else 0.0
    being = 1.0 - doing - holding
    return {
        one.partition: being / len(loads)
        + (doing * one.per_s / done if done else 0.0)
        + (holding * one.households / held if held else 0.0)
        for one in loads
    }


def by_shard(seats: Collection[str], loads: Collection[Load]) -> dict[str, float]:
    """Return what each seat has of the whole."""
    weight = weights(loads)
    total = dict.fromkeys(seats, 0.0)
    for one in loads:
        if one.shard in total:
            total[one.shard] += weight[one.partition]
    return total


def evacuation(
    seats: Sequence[str], loads: Collection[Load], *, leave: Mapping[str, str], barred: Collection[int] = ()
) -> ProposedMove | None:
    """Return the next move off a shard that is to have nothing; None where there is none to make.

    Args:
        seats: shards that may be given partitions.
        loads: what is served.
        leave: shards that are to have nothing, each with why.
        barred: partitions that are not to move just now.
    """
    total = by_shard(seats, loads)
    for one in sorted(loads, key=lambda load: load.partition):
        if one.shard in leave and one.partition not in barred and total:
            lightest = min(total, key=lambda seat: total[seat])
            return ProposedMove(partition=one.partition, source=one.shard, target=lightest, why=leave[one.shard])
    return None


def next_move(seats: Sequence[str], loads: Collection[Load], *, barred: Collection[int] = ()) -> ProposedMove | None:
    """Return the move that evens things out most; None where none is worth it.

    >>> next_move(["a", "b"], [Load(partition=n, shard="a") for n in range(4)])
    ProposedMove(partition=0, source='a', target='b', why='a has 2.0 times its part, b 0.0')
    """
    if len(seats) < 2 or not loads:
        return None
    weight, total = weights(loads), by_shard(seats, loads)
    part = sum(total.values()) / len(seats)
    heaviest, lightest = max(total, key=lambda seat: total[seat]), min(total, key=lambda seat: total[seat])

    def gain(load: Load) -> float:
        moved = weight[load.partition]
        return total[heaviest] - max(total[heaviest] - moved, total[lightest] + moved)

    movable = [one for one in loads if one.shard == heaviest and one.partition not in barred]
    best = max(movable, key=lambda load: (gain(load), -load.partition), default=None)
    if best is None or gain(best) < GAIN_OF_A_PART * part:
        return None
    why = f"{heaviest} has {total[heaviest] / part:.1f} times its part, {lightest} {total[lightest] / part:.1f}"
    return ProposedMove(partition=best.partition, source=heaviest, target=lightest, why=why)


def is_uneven(seats: Sequence[str], loads: Collection[Load]) -> bool:
    """Return whether the heaviest shard has so much more than its part that it is to change by itself."""
    total = by_shard(seats, loads)
    part = sum(total.values()) / max(len(seats), 1)
    return bool(total) and max(total.values()) > UNEVEN_TIMES * part and next_move(seats, loads) is not None


def hot(seats: Sequence[str], loads: Collection[Load]) -> list[Hot]:
    """Return the partitions that no move helps, busiest first."""
    done = sum(one.per_s for one in loads)
    if done < BUSY_PER_S or len(loads) < 2:
        return []
    bound = min(HOT_SHARE_MAX, max(HOT_TIMES / len(loads), 1.0 / max(len(seats), 1)))
    found = [
        Hot(partition=one.partition, shard=one.shard, per_s=one.per_s, share=one.per_s / done)
        for one in loads
        if one.per_s / done >= bound
    ]
    return sorted(found, key=lambda one: -one.share)
