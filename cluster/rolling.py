"""A rolling restart: shards, edges and the coordinator are replaced one after another, while all goes on.

A shard makes way first: its partitions move to others, spares included. An edge process is followed by another before
it ends. The coordinator comes last. The metadata store knows that a restart was asked for, whichever coordinator there
is; the launcher does it, one look at a time, and what fails is tried again at a later look.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from cluster.balance_told import number_of

logger = logging.getLogger(__name__)

COORDINATOR = "coordinator"
TOLD_AGAIN_LOOKS = 120
"""A shard that has not ended after so many looks is told again."""


class RestartRefused(Exception):
    """It cannot go on; says why, and what would help."""


class Parts(Protocol):
    """What a running Hearth is made of, as its launcher holds it. Calls return at once, save `ask`."""

    def ask(self, verb: str, argument: str) -> Mapping[str, Any]:
        """Ask the coordinator, as Balancer.ask has it."""
        ...

    def renew_shard(self, name: str) -> None:
        """Let a shard that has nothing end in order; Ray makes it anew."""
        ...

    def edges(self) -> list[str]:
        """Return the edge processes, by name."""
        ...

    def start_edge(self) -> str:
        """Begin to start another edge process; return its name."""
        ...

    def is_edge_ready(self, name: str) -> bool:
        """Return whether it answers."""
        ...

    def end_edge(self, name: str) -> None:
        """Begin to end an edge process: it takes no new connections, and finishes what it has."""
        ...

    def renew_coordinator(self) -> None:
        """Let Ray make the coordinator anew."""
        ...


@dataclass(slots=True)
class RollingRestart:
    """One restart, from its beginning to its end."""

    parts: Parts
    left: list[str]
    """What is still to be replaced, in order."""
    done: list[str] = field(default_factory=list)
    _holder: str = ""
    """Which process the shard was that is being replaced; empty before it is told to end."""
    _looks: int = 0
    """Since it was told to end."""
    _follower: str = ""
    """The edge process that is to follow the one that is being replaced; empty before it was begun."""

    @classmethod
    def begin(cls, parts: Parts, placement: Mapping[str, Any]) -> RollingRestart:
        """Return a restart of all there is. Spares first: the shards' partitions go there."""
        shards = sorted(placement["shards"], key=lambda one: (not one["is_spare"], number_of(one["shard"])))
        edges = [f"edge {name}" for name in parts.edges()]
        return cls(parts, [*(one["shard"] for one in shards), *edges, COORDINATOR])

    @property
    def is_over(self) -> bool:
        """Whether all is replaced."""
        return not self.left

    @property
    def told(self) -> dict[str, Any]:
        """How far it is."""
        return {"done": self.done, "left": self.left}

    def look(self, placement: Mapping[str, Any]) -> None:
        """Do what is to be done now, given what the coordinator reports. Called every so often."""
        if self.is_over:
            return
        now = self.left[0]
        match now.split(" "):
            case ["edge", name]:
                is_done = self._replace_edge(name)
            case [name] if name == COORDINATOR:
                self.parts.renew_coordinator()
                is_done = True
            case _:
                is_done = self._replace_shard(now, placement)
        if is_done:
            logger.info("%s is replaced", now)
            self.done.append(self.left.pop(0))
            self._holder = self._follower = ""
            self._looks = 0

    def _replace_shard(self, name: str, placement: Mapping[str, Any]) -> bool:
        seen = next((one for one in placement["shards"] if one["shard"] == name), None)
        if seen is None:
            return True  # it is not wanted any more
        if self._holder:
            self._looks += 1
            if seen["holder"] == self._holder and self._looks % TOLD_AGAIN_LOOKS == 0:
                self.parts.renew_shard(name)
            if seen["holder"] in ("", self._holder) or not seen["is_able"]:
                return False
            self.parts.ask("made-way", name)
            return True
        if not seen["holder"]:
            return False  # it is being made anew as it is; whichever it will be is replaced
        told = self.parts.ask("make-way", name)
        if "refused" in told:
            raise RestartRefused(str(told["refused"]))
        now = next(one for one in told["shards"] if one["shard"] == name)
        if not now["partitions"] and now["holder"] == seen["holder"] and told["move"] is None:
            self._holder = seen["holder"]
            self.parts.renew_shard(name)
        return False

    def _replace_edge(self, name: str) -> bool:
        if name not in self.parts.edges():
            return True
        if not self._follower:
            self._follower = self.parts.start_edge()
        if not self.parts.is_edge_ready(self._follower):
            return False
        self.parts.end_edge(name)
        return True
