"""The model versions that Serve runs: put there, and taken off again, apart from whoever follows the registry.

Serve takes seconds to start a replica, and for ever where no machine has room for one. A rollback does not wait for it:
what is asked of Serve is done one after another in a thread of its own, and the follower looks at what has come of it.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serving.models.in_force import ModelInForce, ModelStage

logger = logging.getLogger(__name__)

DEPLOY_AGAIN_S: Final = 30.0
"""After which a version that Serve could not run is tried again."""


def in_own_thread(name: str) -> Callable[[Callable[[], None]], None]:
    """Return what has jobs done one after another, in a thread that starts with the first."""
    jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    started = threading.Event()

    def run() -> None:
        while True:
            jobs.get()()

    def soon(job: Callable[[], None]) -> None:
        jobs.put(job)
        if not started.is_set():
            started.set()
            threading.Thread(target=run, name=name, daemon=True).start()

    return soon


def on_serve(model: ModelInForce) -> list[ModelInForce]:
    """Return the versions that decide, each of which Serve is to run. Shadows are scored where the decision is made."""
    deciding = [
        one
        for each in (model, *model.terms)
        for one in (each, *(beside.model for beside in each.beside if beside.stage is ModelStage.CANARY))
    ]
    return [one for one in deciding if one.version]


@dataclass(slots=True, kw_only=True)
class _Asked:
    at_s: float
    app_name: str = ""
    trouble: str = ""


class ServedVersions:
    """What was asked of Serve, and what came of it. Asked by one thread; jobs may be done in another."""

    def __init__(self, soon: Callable[[Callable[[], None]], None]) -> None:
        self._soon = soon
        self._asked: dict[str, _Asked] = {}
        self.changes = 0
        """Grows whenever something has come of what was asked."""

    def app_of(self, version: str) -> str:
        """Return the application that runs a version (`served_as`); empty while none does."""
        asked = self._asked.get(version)
        return asked.app_name if asked is not None else ""

    def is_settled(self, version: str) -> bool:
        """Return whether Serve runs a version, or has said that it cannot."""
        asked = self._asked.get(version)
        return asked is not None and bool(asked.app_name or asked.trouble)

    def troubles(self, model: ModelInForce) -> list[str]:
        """Return what keeps versions that decide from Serve."""
        asked = [self._asked.get(one.served_as) for one in on_serve(model)]
        return [one.trouble for one in asked if one is not None and one.trouble]

    def run(self, models: Iterable[ModelInForce], *, now_s: float) -> None:
        """Have Serve run versions that it does not run yet and was not asked for, or failed at a while ago."""
        for model in models:
            asked = self._asked.get(model.served_as)
            if asked is None or (asked.trouble and now_s - asked.at_s >= DEPLOY_AGAIN_S):
                self._asked[model.served_as] = fresh = _Asked(at_s=now_s)
                self._soon(lambda model=model, fresh=fresh: self._deploy(model, fresh))  # type: ignore[misc]

    def leave_alone(self, versions: set[str]) -> None:
        """Take all other versions off Serve, those of an earlier run as well; nobody asks them any more."""
        for version in self._asked.keys() - versions:
            del self._asked[version]
        self._soon(lambda: self._undeploy_others(versions))

    def _deploy(self, model: ModelInForce, asked: _Asked) -> None:
        from serving.models import scorer

        if self._asked.get(model.served_as) is not asked:
            return  # not wanted any more
        try:
            asked.app_name = scorer.deploy(
                Path(model.bundle_path),
                feature_schema_hash=model.feature_schema_hash,
                columns=model.columns,
                proven_sha256=model.sha256,
                term=model.term.value,
                served_as=model.served_as,
            )
        except Exception as wrong:  # noqa: BLE001 - whatever fails is tried again, and shards score by themselves
            asked.trouble = f"model {model.served_as} is not on Serve, shards score by themselves: {wrong}"
        self.changes += 1

    def _undeploy_others(self, versions: set[str]) -> None:
        from serving.models import scorer

        try:
            for other in scorer.deployed_versions():
                if other not in versions and other not in self._asked:
                    scorer.undeploy(other)
        except Exception as wrong:  # noqa: BLE001 - it costs memory until the next change, and harms nothing else
            logger.warning("Serve still runs versions that nobody asks: %s", wrong)
