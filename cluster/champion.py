"""The registry followed: what `serving/models/rollout.py` chooses is carried to Serve and the shards.

Also the data directory's memory of what was in service, which that rule asks for at a start.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from actors.passing_over import passing_over
from cluster.config import HearthConfig
from cluster.output import say
from cluster.remembered_playbook import PLAYBOOK_NAME
from cluster.served_versions import ServedVersions, in_own_thread, on_serve
from serving.models.choosing import choose
from serving.models.in_force import ModelInForce, ModelStage

if TYPE_CHECKING:
    from household.plan import Plan

LOOK_INTERVAL_S: Final = 1.0
TRY_AGAIN_S: Final = 30.0
"""After which a champion that was refused, or could not be put on Serve, is tried again though nothing has changed."""
CHOICE_S_MAX: Final = 20.0
"""So long a start waits for the champion to be proven; then it starts without, and says so in every decision."""

MEMORY_NAME: Final = "model.json"
"""In the data directory: the version in service."""


def recall(data_dir: Path) -> str | None:
    """Return the version that was in service on this data directory, empty for the priors; None if it is not known."""
    try:
        version = json.loads((data_dir / MEMORY_NAME).read_text())["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, str) else None


def remember(data_dir: Path, version: str) -> None:
    """Keep which version is in service. On a full disk the older one stands: it is for bad times only."""
    if recall(data_dir) != version and (version or (data_dir / MEMORY_NAME).exists()):
        from serving.models.bundle import replace_durably

        with passing_over(OSError, because="the registry's history says it as well"):
            replace_durably(data_dir / MEMORY_NAME, json.dumps({"version": version}).encode() + b"\n")


class ChampionFollower:
    """Puts the registry's champion into force whenever it is another; in a thread, since proving it takes seconds."""

    def __init__(
        self,
        config: HearthConfig,
        tell: Callable[[dict[str, Any]], None],
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        soon: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        """`soon` does what Serve is asked, one after another, in a thread of its own unless told otherwise."""
        self._config = config
        self._monotonic_s = monotonic_s
        self._plane = ServedVersions(soon or in_own_thread("models-on-serve"))
        self._registry = config.model_path
        self._data_dir = config.data_dir
        self._plan: Plan | None = None
        self._plan_stamp: tuple[int, int] | None = None
        """What the file of the playbook in force looked like when it was read."""
        self._tell = tell
        self._use_model: Callable[[ModelInForce], None] = lambda _: None
        self._in_force = ModelInForce(missing="the champion is still being proven")
        self._given: ModelInForce | None = None
        """What shards were told last; None if they never were."""
        self._trouble = ""
        self._told_trouble = ""
        self._refused: tuple[object, float] | None = None
        """What the registry looked like when it was refused last, and when that was."""
        self._is_chosen = threading.Event()
        self._may_follow = threading.Event()
        self._thread = threading.Thread(target=self._run, name="champion-follower", daemon=True)

    def begin(self) -> None:
        """Begin to choose what is in force first; beside all that a start has to do."""
        self._thread.start()

    @property
    def in_force(self) -> ModelInForce:
        """What shards are to score by; waits for the first choice, though not for ever."""
        self._is_chosen.wait(CHOICE_S_MAX)
        self._given = given = self._in_force
        return given

    def follow(self, use_model: Callable[[ModelInForce], None]) -> None:
        """Put what is in force on Serve, and follow the registry from now on; `use_model` has shards score by it."""
        self._use_model = use_model
        self._may_follow.set()

    def report(self) -> dict[str, object]:
        """Return what a status page shows."""
        model = self._in_force
        return {
            "in_force": model.version,
            "is_on_serve": bool(model.app_name),
            "is_missing": bool(model.missing),
            "trouble": self._trouble,
            "beside": [
                {
                    "version": one.model.version,
                    "stage": str(one.stage),
                    "share": one.share,
                    "is_on_serve": bool(one.model.app_name),
                }
                for one in model.beside
            ],
            "terms": [
                {
                    "term": str(one.term),
                    "name": one.name,
                    "version": one.version,
                    "is_on_serve": bool(one.app_name),
                    "is_missing": bool(one.missing),
                }
                for one in model.terms
            ],
        }

    def _run(self) -> None:
        try:
            self._choose_first()
        except Exception as wrong:  # noqa: BLE001 - a start goes on without, and says so in every decision
            self._trouble = f"the champion cannot be proven: {wrong}"
            self._in_force = ModelInForce(missing=self._trouble)
        self._is_chosen.set()
        self._tell_trouble()
        self._may_follow.wait()
        while True:
            self.look()
            time.sleep(LOOK_INTERVAL_S)

    def _plan_in_force(self) -> Plan:
        from cluster.playbook_in_force import playbook_in_force

        if self._plan is None:
            self._plan_stamp = _state_of(self._data_dir / PLAYBOOK_NAME)
            self._plan = playbook_in_force(self._config).plan
        return self._plan

    def _has_other_features(self) -> bool:
        """Return whether a playbook has come into force that has other features than the one models were proven for."""
        stamp = _state_of(self._data_dir / PLAYBOOK_NAME)
        if self._plan is None or self._plan_stamp in (None, stamp):
            self._plan_stamp = stamp
            return False
        from household.scoring import schema_hash

        before, self._plan = self._plan, None
        return schema_hash(before) != schema_hash(self._plan_in_force())

    def _choose_first(self) -> None:
        choice = choose(self._registry, self._plan_in_force, in_service=None, remembered=recall(self._data_dir))
        self._in_force, self._trouble = choice.model, choice.trouble
        if not choice.model.missing:
            remember(self._data_dir, choice.model.version)
        self._tell_trouble()

    def look(self) -> None:
        """Compare the registry with what is in force, and act on a difference."""
        try:
            self._look()
        except Exception as wrong:  # noqa: BLE001 - whatever fails is tried again, and what is in force stays
            self._trouble = f"the champion cannot be put into force yet: {str(wrong).partition(chr(10))[0]}"
        self._tell_trouble()

    def _look(self) -> None:
        if self._given is not None and self._given != self._in_force:
            # The start did not wait until it was chosen.
            self._put_into_force(self._in_force)
        if is_other := self._has_other_features():
            self._refused = None
        looks, now_s = (self._looks(), self._plane.changes), self._monotonic_s()
        if self._refused is not None and self._refused[0] == looks and now_s - self._refused[1] < TRY_AGAIN_S:
            return
        before = self._in_force
        # What scored by other features is proven anew, and found wanting.
        in_service = None if before.missing or is_other else before
        choice = choose(self._registry, self._plan_in_force, in_service=in_service, remembered=recall(self._data_dir))
        # Shards score by themselves first: what takes Serve long, or what it cannot do, must not keep a change waiting.
        self._put_into_force(self._ready(choice.model))
        self._plane.run(on_serve(choice.model), now_s=now_s)
        self._put_into_force(self._ready(choice.model))
        troubles = [one for one in (choice.trouble, *self._plane.troubles(choice.model)) if one]
        self._trouble = "; ".join(troubles)
        self._refused = ((looks[0], self._plane.changes), now_s) if troubles else None
        after = self._in_force
        if after != before:
            self._plane.leave_alone({model.served_as for model in on_serve(choice.model)})
        if (after.version, after.app_name) != (before.version, before.app_name):
            self._tell({"model": after.version})

    def _ready(self, model: ModelInForce) -> ModelInForce:
        """Return what shards may be told: each version with its application, a new canary only once it has one.

        One that decides already goes on, on Serve or not: its households stay with it. One that Serve cannot run is
        scored by the shards.
        """
        decides = {
            one.served_as
            for each in (self._in_force, *self._in_force.terms)
            for one in (each, *(beside.model for beside in each.beside))
        }
        beside = tuple(
            replace(one, model=replace(one.model, app_name=self._plane.app_of(one.model.served_as)))
            for one in model.beside
            if one.stage is ModelStage.SHADOW
            or one.model.served_as in decides
            or self._plane.is_settled(one.model.served_as)
        )
        terms = tuple(map(self._ready, model.terms))
        return replace(model, app_name=self._plane.app_of(model.served_as), beside=beside, terms=terms)

    def _put_into_force(self, model: ModelInForce) -> None:
        if model == self._in_force and self._given in (None, model):
            return
        self._use_model(model)
        self._in_force = self._given = model
        if not model.missing:
            remember(self._data_dir, model.version)

    def _looks(self) -> object:
        """Return what changes whenever the aliases or a version of any model in the registry do."""
        try:
            files = [
                file
                for pattern in ("*/aliases.json", "*/*/manifest.json", "*/*/*.ubj")
                for file in sorted(self._registry.glob(pattern))
            ]
            return [(str(file), *_state_of(file)) for file in files]
        except OSError as wrong:
            return str(wrong)

    def _tell_trouble(self) -> None:
        if self._trouble != self._told_trouble:
            self._told_trouble = self._trouble
            if self._trouble:
                say(f"warning: {self._trouble}")


def _state_of(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)
