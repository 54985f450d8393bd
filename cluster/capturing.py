"""The capture connectors of one run: looked after beside the edge, and stopped before the shards are.

Knows no Ray: launch.py makes the actors. What a connector is: intake/capture/.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cluster.environment import utc_now
from cluster.errors import UsageWrong, ending_as_commands_do
from intake.errors import IntakeFailed

if TYPE_CHECKING:
    from intake.capture.settings import CaptureSettings

LOOK_EVERY_S = 1.0
PAUSE_S = 1.0
"""Before a connector that failed is made anew; doubled up to PAUSE_S_MAX, and forgotten once it ran so long."""
PAUSE_S_MAX = 30.0

FAILED = frozenset({"failed", "silent"})
"""States that do not pass by themselves."""


class RemoteConnector(Protocol):
    """One connector in a process of its own, which is made anew by itself when that process dies."""

    def status(self) -> dict[str, object]:
        """Return what it says of itself; `state` is "silent" if it says nothing for long. Never raises."""
        ...

    def make_anew(self) -> None:
        """End it as a kill would; another takes its place."""
        ...

    def tell_to_stop(self) -> None:
        """Let it have acknowledged what is under way, commit and end. Does not wait."""
        ...

    def await_stopped(self, timeout_s: float) -> None:
        """Wait until it has, but no longer than this. Never raises."""
        ...


@ending_as_commands_do()
def connectors_of_run(path: Path) -> "dict[str, CaptureSettings]":
    """Return the connectors that a file lists, by the names of their actors; each with a member name of its own.

    So one that is made anew gets its partitions back at once.

    Raises:
        UsageWrong: naming the file and what in it is wrong.
    """
    # Most runs have none, and what reads messages takes a second to import.
    from intake.capture.settings import load_connectors

    named: dict[str, CaptureSettings] = {}
    members: dict[tuple[str, str, str], str] = {}
    for index, settings in enumerate(load_connectors(path)):
        name = f"capture-{index}"
        own = settings if settings.member else settings.model_copy(update={"member": f"hearth-{name}"})
        key = (own.bootstrap, own.group, own.member)
        if key in members:
            raise UsageWrong(
                f"{path}: connectors.{index}.member: {own.member} is that of {members[key]} in the same group: "
                "the one would end the other"
            )
        members[key] = f"connectors.{index}"
        named[name] = own
    return named


def check_connectors(path: Path) -> None:
    """Look whether the connectors that a file lists can be made; nothing is asked of Kafka.

    Raises:
        UsageWrong: naming the file, the connector, and what is wrong with it or its mapping.
    """
    from intake.capture.decoders import decoder_of
    from intake.capture.kafka_source import KafkaSource

    for index, settings in enumerate(connectors_of_run(path).values()):
        try:
            decoder_of(settings, now=utc_now())
            KafkaSource(settings).close()
        except IntakeFailed as wrong:
            raise UsageWrong(f"{path}: connectors.{index}: {wrong}") from wrong


@dataclass(slots=True)
class _Watched:
    connector: RemoteConnector
    made_at_s: float
    failed_at_s: float | None = None
    pause_s: float = PAUSE_S
    status: dict[str, object] = field(default_factory=lambda: {"state": "starting"})


class Captures:
    """Looks after the connectors of one run, in a thread of its own."""

    def __init__(self, *, tell: Callable[[str], None], monotonic_s: Callable[[], float] = time.monotonic) -> None:
        """`tell`: is told, for people, when a connector has failed."""
        self._tell = tell
        self._monotonic_s = monotonic_s
        self._watched: dict[str, _Watched] = {}
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="captures", daemon=True)

    def start(self, connectors: Mapping[str, RemoteConnector]) -> None:
        """Begin to look after these. Once."""
        now_s = self._monotonic_s()
        self._watched = {name: _Watched(connector, now_s) for name, connector in connectors.items()}
        if self._watched:
            self._thread.start()

    def look(self) -> None:
        """Ask each how it is; make those anew that have failed, each after its pause."""
        for name, watched in self._watched.items():
            watched.status = watched.connector.status()
            if watched.status.get("state") not in FAILED:
                watched.failed_at_s = None
            elif not self._is_stopping.is_set():
                self._mend(name, watched)

    def report(self) -> dict[str, dict[str, object]]:
        """Return what each said last, by name."""
        return {name: dict(watched.status) for name, watched in self._watched.items()}

    def stop(self, timeout_s: float) -> None:
        """Let all commit what Hearth has acknowledged, and end; those that do not are left to be killed."""
        self._is_stopping.set()
        deadline_s = self._monotonic_s() + timeout_s
        for watched in self._watched.values():
            watched.connector.tell_to_stop()
        for watched in self._watched.values():
            watched.connector.await_stopped(max(deadline_s - self._monotonic_s(), 0.0))

    def _mend(self, name: str, watched: _Watched) -> None:
        now_s = self._monotonic_s()
        if watched.failed_at_s is None:
            watched.failed_at_s = now_s
            if now_s - watched.made_at_s >= PAUSE_S_MAX:
                watched.pause_s = PAUSE_S
            why = watched.status.get("trouble") or "it does not answer"
            self._tell(f"warning: {name} has failed and is made anew in {watched.pause_s:.0f} s: {why}")
        if now_s >= watched.failed_at_s + watched.pause_s:
            watched.connector.make_anew()
            watched.made_at_s, watched.failed_at_s = now_s, None
            watched.pause_s = min(2 * watched.pause_s, PAUSE_S_MAX)

    def _follow(self) -> None:
        while not self._is_stopping.wait(LOOK_EVERY_S):
            self.look()
