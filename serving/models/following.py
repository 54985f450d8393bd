"""Following another registry: what its aliases name comes into service here, and nothing else of it is believed.

`Follower.look` compares where the aliases point with where they pointed when they were last followed
(`followed.json` beside the versions), and acts on a difference only. So a version that was rolled back here stays
rolled back until somebody moves the alias, also over a restart. A version is brought in once, opened in a throw-away
process (adoption.py), and refused with the reason where it cannot be served; who set the alias has decided that it
shall be.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from household.plan import Plan, ValueTerm
from household.scoring import feature_schema
from serving.models import bundle
from serving.models.adoption import Origin, adopt
from serving.models.bundle import (
    BundleExists,
    BundleRefused,
    checked_name,
    read_manifest,
    read_plain,
    replace_durably,
    save_bundle,
)
from serving.models.history import By
from serving.models.in_force import MODEL_NAME, ModelStage
from serving.models.probe import ADOPT
from serving.models.registry import read_stages
from serving.models.rollout import StageRefused, canary, promote, register, roll_back, shadow

FOLLOWED_FILE: Final = "followed.json"
FOLLOWED_BYTES_MAX: Final = 1 << 20

ALIASES: Final = (ModelStage.CHAMPION, ModelStage.CANARY, ModelStage.SHADOW)
"""In the order in which they are acted on: a canary that became champion is canary no more."""


def stand_by() -> None:
    """Have the processes wait that open the next version, so that it is in force sooner after its alias moved."""
    bundle.stand_by(task=ADOPT)
    bundle.stand_by()


class SourceFailed(Exception):
    """The other registry does not answer, or not so that it can be understood; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointed:
    """A version that an alias of the other registry names."""

    number: str
    """Its name there."""
    origin: Origin
    share: float | None = None
    """Of the households, for a canary; None for the usual one."""
    wrong: str = ""
    """What is said of it there and cannot be understood; it is refused then."""


class VersionSource(Protocol):
    """Another registry. What it answers may be anything."""

    def pointed(self) -> Mapping[ModelStage, Pointed]:
        """Return where champion, canary and shadow point. Raises: SourceFailed."""
        ...

    def fetch(self, number: str, into: Path) -> Path:
        """Put the booster of a version into a folder and return its file. Raises: SourceFailed, BundleRefused."""
        ...


@dataclass(slots=True, kw_only=True)
class Follower:
    """Brings what a source's aliases name into service here."""

    source: VersionSource
    name: str
    """Of the source, for the names of versions and for people."""
    registry: Path
    plan: Callable[[], Plan]
    by: Callable[[str], By]
    """Who follows, given why."""
    usual_share: float
    """Of the households, for a canary that names none."""
    model: str = MODEL_NAME
    """What the followed model is called in this registry."""
    term: ValueTerm = ValueTerm.ACCEPTANCE
    """What it gives."""
    _refused: dict[ModelStage, tuple[str, str]] = field(default_factory=dict)
    """(where it points, under which schema) when it was refused: it is tried again once either is another."""
    _failed: dict[ModelStage, str] = field(default_factory=dict)
    """What was told of a version that could not be fetched."""

    def look(self) -> list[str]:
        """Act on every alias that points elsewhere than it did; return what to tell people, a line each.

        Raises:
            SourceFailed: nothing was changed.
            BundleRefused: this registry cannot be read or written.
        """
        pointed = self.source.pointed()
        followed = self._followed()
        told = []
        for alias in ALIASES:
            now = pointed.get(alias)
            where = self._where(alias, now)
            if where == followed.get(alias, ""):
                self._refused.pop(alias, None)
                continue
            schema = feature_schema(self.plan()).hash
            if self._refused.get(alias) == (where, schema):
                continue
            try:
                line = self._end(alias, followed[alias]) if now is None else self._act(alias, now)
            except (BundleRefused, StageRefused) as refused:
                self._refused[alias] = where, schema
                told.append(f"{alias} {now.number if now else ''}: refused, what is in service stays: {refused}")
                continue
            except SourceFailed as failed:
                # Tried again at every look, since it may be there by then; and the other aliases need not wait for it.
                if self._failed.get(alias) != str(failed):
                    told.append(f"{alias}: {failed}; what is in service stays")
                self._failed[alias] = str(failed)
                continue
            self._failed.pop(alias, None)
            followed = {name: place for name, place in {**followed, alias: where}.items() if place}
            self._note(followed)
            told.append(line)
        return told

    def _where(self, alias: ModelStage, now: Pointed | None) -> str:
        if now is None:
            return ""
        return f"{now.number}@{self._share(now):g}" if alias is ModelStage.CANARY else now.number

    def _share(self, now: Pointed) -> float:
        return self.usual_share if now.share is None else now.share

    def _version(self, number: str) -> str:
        return checked_name(f"{self.name}-{number}")

    def _act(self, alias: ModelStage, now: Pointed) -> str:
        if now.wrong:
            raise StageRefused(now.wrong)
        version = self._brought_in(now)
        by = self.by(f"{alias} of {self.name}")
        stages = read_stages(self.registry, self.model)
        if alias is not ModelStage.CHAMPION and stages.champion == version:
            return f"{version} is champion, so it is no {alias} besides"
        match alias:
            case ModelStage.CHAMPION:
                before = promote(self.registry, self.model, version, by=by, is_forced=True)
                return f"{version} is champion; before it was {before or 'none: the priors of the playbook'}"
            case ModelStage.CANARY:
                if stages.canary and stages.canary != version and stages.canary.startswith(f"{self.name}-"):
                    # The alias has left it, and there is one at a time.
                    roll_back(self.registry, self.model, stages.canary, by=by)
                share = self._share(now)
                canary(self.registry, self.model, version, share, by=by, is_forced=True)
                return f"{version} is canary for {share * 100:g} % of the households"
            case _:
                for other in stages.shadows:
                    if other != version and other.startswith(f"{self.name}-"):
                        roll_back(self.registry, self.model, other, by=by)
                shadow(self.registry, self.model, version, by=by)
                return f"{version} is in shadow"

    def _end(self, alias: ModelStage, followed: str) -> str:
        """Return what became of a version that the alias has left for none."""
        version = self._version(followed.partition("@")[0])
        if read_stages(self.registry, self.model).stage_of(version) is not alias:
            return f"{alias} names nothing any more; {version} is not {alias} here either"
        if alias is ModelStage.CHAMPION:
            return f"champion names nothing any more; {version} stays champion until it names another"
        roll_back(self.registry, self.model, version, by=self.by(f"{alias} of {self.name} names it no more"))
        return f"{version} is {alias} no more"

    def _brought_in(self, now: Pointed) -> str:
        """Return the version here of one there, fetched and checked if it is not here yet."""
        version, plan = self._version(now.number), self.plan()
        folder, schema = self.registry / self.model / version, feature_schema(plan)
        if folder.exists():
            manifest = read_manifest(folder)
            if (known := manifest.training.get("made_of", "")) != now.origin.made_of:
                raise BundleRefused(
                    folder,
                    f"is another model of this number (of {known or 'nothing'}, and now of "
                    f"{now.origin.made_of or 'nothing'}): versions never change, so register it under a new number",
                )
            if manifest.feature_schema_hash != schema.hash:
                raise BundleRefused(
                    folder,
                    f"is of feature schema {manifest.feature_schema_hash}, the playbook in force of {schema.hash}",
                )
            if manifest.term != self.term:
                raise BundleRefused(folder, f"gives {manifest.term}, and {self.model} is to give {self.term}")
            return version
        with tempfile.TemporaryDirectory(prefix="hearth-model-") as into:
            file = self.source.fetch(now.number, Path(into))
            draft = adopt(file, schema=schema, playbook_version=plan.version, origin=now.origin, term=self.term)
        by = self.by(f"{self.name} {now.number}")
        try:
            save_bundle(self.registry, self.model, draft, created=by.time, version=version)
        except BundleExists:
            return version
        register(self.registry, self.model, version, by=by)
        return version

    def _followed(self) -> dict[str, str]:
        """Return where each alias pointed when it was last followed."""
        of_us = self._followed_of_all().get(self.name, {})
        if not isinstance(of_us, dict):
            raise BundleRefused(self._file, f"says {str(of_us)[:100]!r} of {self.name}; mend it, or move it away")
        return {str(alias): str(where) for alias, where in of_us.items()}

    @property
    def _file(self) -> Path:
        return self.registry / self.model / FOLLOWED_FILE

    def _followed_of_all(self) -> dict[str, Any]:
        if not self._file.exists():
            return {}
        content = read_plain(self._file, FOLLOWED_BYTES_MAX)
        try:
            told = json.loads(content)
        except (ValueError, RecursionError) as wrong:
            raise BundleRefused(self._file, f"is not JSON: {wrong}; mend it, or move it away") from wrong
        if not isinstance(told, dict):
            raise BundleRefused(self._file, "does not say what was followed; mend it, or move it away")
        return told

    def _note(self, followed: dict[str, str]) -> None:
        told = self._followed_of_all() | {self.name: followed}
        replace_durably(self._file, json.dumps(told, indent=1, sort_keys=True).encode() + b"\n")
