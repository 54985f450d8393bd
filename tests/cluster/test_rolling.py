"""Laws of a rolling restart: every shard, every edge and the coordinator is another process at its end, each replaced
once; a shard is ended only when it has nothing and nothing is on its way to it; an edge is ended only when another
answers; what has gone by itself holds nothing up, and what did not end is told again.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from cluster.rolling import COORDINATOR, TOLD_AGAIN_LOOKS, RestartRefused, RollingRestart


class FakeParts:
    """A Hearth of shards that hand over one partition a look, and of edges that take a look to come up."""

    def __init__(self, *shards: str, spares: tuple[str, ...] = ("shard-2",), edges: int = 2) -> None:
        self.partitions = {name: 0 if name in spares else 2 for name in (*shards, *spares)}
        self.spares = spares
        self.lives = dict.fromkeys(self.partitions, 1)
        self.making_way: set[str] = set()
        self.up = {f"edge-{number}": True for number in range(edges)}
        self.edges_made = edges
        self.ended: list[str] = []
        self.is_deaf = False
        """Whoever is told to end does not."""
        self.move: dict[str, Any] | None = None
        self.refusal = ""

    def placement(self) -> dict[str, Any]:
        return {
            "move": self.move,
            "shards": [
                {
                    "shard": name,
                    "is_spare": name in self.spares,
                    "partitions": list(range(count)),
                    "holder": f"{name}/{self.lives[name]}" if self.lives[name] else "",
                    "is_able": bool(self.lives[name]),
                }
                for name, count in self.partitions.items()
            ],
        }

    def ask(self, verb: str, argument: str) -> Mapping[str, Any]:
        if self.refusal:
            return {"refused": self.refusal}
        match verb:
            case "make-way":
                self.making_way.add(argument)
                if self.partitions[argument]:
                    other = next(name for name in self.partitions if name not in self.making_way)
                    self.partitions[argument] -= 1
                    self.partitions[other] += 1
            case "made-way":
                self.making_way.remove(argument)
        return self.placement()

    def renew_shard(self, name: str) -> None:
        assert self.partitions[name] == 0
        assert name in self.making_way
        assert self.move is None
        self.ended.append(name)
        if not self.is_deaf:
            self.lives[name] += 1

    def edges(self) -> list[str]:
        return sorted(self.up)

    def start_edge(self) -> str:
        name = f"edge-{self.edges_made}"
        self.edges_made += 1
        self.up[name] = False
        return name

    def is_edge_ready(self, name: str) -> bool:
        before, self.up[name] = self.up[name], True
        return before

    def end_edge(self, name: str) -> None:
        self.ended.append(name)
        del self.up[name]
        assert any(self.up.values()), "nobody answers"

    def renew_coordinator(self) -> None:
        self.ended.append(COORDINATOR)


def carried_out(parts: FakeParts, *, looks: int = 100) -> RollingRestart:
    restart = RollingRestart.begin(parts, parts.placement())
    for _ in range(looks):
        restart.look(parts.placement())
        if restart.is_over:
            break
    return restart


def test_everything_is_replaced_once_the_spare_first_and_the_coordinator_last():
    parts = FakeParts("shard-0", "shard-1")
    restart = carried_out(parts)

    assert restart.is_over
    assert parts.ended == ["shard-2", "shard-0", "shard-1", "edge-0", "edge-1", COORDINATOR]
    assert parts.edges() == ["edge-2", "edge-3"]
    assert set(parts.lives.values()) == {2}
    assert sum(parts.partitions.values()) == 4
    assert parts.making_way == set()
    assert restart.told == {
        "done": ["shard-2", "shard-0", "shard-1", "edge edge-0", "edge edge-1", COORDINATOR],
        "left": [],
    }


def test_a_lone_edge_is_followed_before_it_ends():
    parts = FakeParts("shard-0", edges=1)
    assert carried_out(parts).is_over
    assert parts.edges() == ["edge-1"]


def test_a_shard_is_not_ended_while_something_moves_or_it_is_being_made_anew():
    parts = FakeParts("shard-0", "shard-1", spares=())
    parts.partitions["shard-0"] = 0
    parts.move = {"partition": 1}
    restart = carried_out(parts, looks=10)
    assert parts.ended == []
    parts.move, parts.lives["shard-0"] = None, 0
    restart.look(parts.placement())
    assert parts.ended == []
    parts.lives["shard-0"] = 7
    restart.look(parts.placement())
    assert parts.ended == ["shard-0"]


def test_what_does_not_end_is_told_again_and_what_is_gone_is_passed_over():
    parts = FakeParts("shard-0")
    parts.is_deaf = True
    restart = carried_out(parts, looks=TOLD_AGAIN_LOOKS + 2)
    assert parts.ended == ["shard-2", "shard-2"]
    del parts.partitions["shard-2"], parts.up["edge-1"]
    parts.partitions["shard-0"] = 0
    parts.is_deaf = False
    for _ in range(20):
        restart.look(parts.placement())
    assert restart.is_over
    assert parts.ended == ["shard-2", "shard-2", "shard-0", "edge-0", COORDINATOR]


def test_what_cannot_make_way_stops_it_with_the_reason():
    parts = FakeParts("shard-0", "shard-1")
    parts.refusal = "nobody is there who could take the partitions of shard-2"
    restart = RollingRestart.begin(parts, parts.placement())
    with pytest.raises(RestartRefused, match="nobody is there"):
        restart.look(parts.placement())
    assert parts.ended == []
    parts.refusal = ""
    for _ in range(100):
        restart.look(parts.placement())
    assert restart.is_over
