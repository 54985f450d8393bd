"""The parts of this run that a rolling restart replaces, as the launcher holds them: shards, edges, coordinator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cluster.rolling import RollingRestart
from serving import ingress

if TYPE_CHECKING:
    from cluster.state_plane import StatePlane
    from serving.edge_config import EdgeConfig


@dataclass(slots=True)
class LiveParts:
    """What a rolling restart asks for (cluster.rolling.Parts)."""

    plane: StatePlane
    edge: EdgeConfig

    def ask(self, verb: str, argument: str) -> Mapping[str, Any]:
        return self.plane.ask(verb, argument)

    def renew_shard(self, name: str) -> None:
        self.plane.renew_shard(name)

    def edges(self) -> list[str]:
        return sorted(ingress.processes())

    def start_edge(self) -> str:
        return ingress.start_another(self.edge)

    def is_edge_ready(self, name: str) -> bool:
        return ingress.processes().get(name, False)

    def end_edge(self, name: str) -> None:
        ingress.end_one(name)

    def renew_coordinator(self) -> None:
        self.plane.renew_coordinator()


@dataclass(slots=True)
class Restarting:
    """Carries out the rolling restart that was asked for, look by look."""

    parts: LiveParts
    _under_way: RollingRestart | None = field(default=None)

    def look(self, placement: Mapping[str, Any]) -> None:
        """Do what is to be done now, given what the coordinator reports."""
        if not placement["is_restart_wanted"]:
            self._under_way = None
            return
        if self._under_way is None:
            self._under_way = RollingRestart.begin(self.parts, placement)
        elif self._under_way.is_over:
            # To a coordinator that was replaced last of all and knows nothing of it yet.
            self.parts.plane.note_restart(self._under_way.told)
            self.parts.ask("restarted", "")
            self._under_way = None
            return
        try:
            self._under_way.look(placement)
        finally:
            self.parts.plane.note_restart(self._under_way.told)
