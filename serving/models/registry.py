"""A registry: the versions of a model in it, and which of them are in service.

`<registry>/<name>/aliases.json` says which version is champion, canary and shadow, and which are retired; versions
themselves are folders (bundle.py).
"""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from serving.models.bundle import NAME, BundleRefused, checked_name, read_manifest, read_plain, replace_durably
from serving.models.in_force import ModelStage

CHAMPION: Final = "champion"
CANARY: Final = "canary"
SHADOW: Final = "shadow"
RETIRED: Final = "retired"

ALIASES_FILE: Final = "aliases.json"

ALIASES_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Aliases:
    """What `aliases.json` holds. Whether the versions are in the registry is for whoever opens them."""

    champion: str = ""
    """Empty for none."""
    canary: str = ""
    share: float = 0.0
    """Of the households that the canary decides for, above 0 and at most 1; 0 without a canary."""
    shadows: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    others: Mapping[str, str] = field(default_factory=dict)
    """Names that somebody gave by hand; kept, and meaning nothing here."""

    def stage_of(self, version: str) -> ModelStage | None:
        """Return the stage of a version; None for one that is not in service and not retired."""
        if version == self.champion:
            return ModelStage.CHAMPION
        if version == self.canary:
            return ModelStage.CANARY
        if version in self.shadows:
            return ModelStage.SHADOW
        return ModelStage.RETIRED if version in self.retired else None

    def without(self, version: str) -> "Aliases":
        """Return them without a version, whatever it was in service as."""
        is_canary = version == self.canary
        return replace(
            self,
            champion="" if version == self.champion else self.champion,
            canary="" if is_canary else self.canary,
            share=0.0 if is_canary else self.share,
            shadows=tuple(one for one in self.shadows if one != version),
        )


def read_stages(registry: Path, name: str) -> Aliases:
    """Return which versions of `name` are in service as what; nothing where nothing was ever set.

    Raises:
        BundleRefused: the file cannot be read, or is not what `write_stages` writes.
    """
    file = registry / checked_name(name) / ALIASES_FILE
    try:
        told = json.loads(read_plain(file, ALIASES_BYTES_MAX, may_be_link=True), object_pairs_hook=_each_once)
    except BundleRefused as refused:
        if isinstance(refused.__cause__, FileNotFoundError):
            return Aliases()
        raise
    except (ValueError, RecursionError) as wrong:
        raise BundleRefused(file, f"not JSON: {wrong}") from wrong
    if not isinstance(told, dict):
        raise BundleRefused(file, "not an object of alias: version")
    try:
        return _aliases_of(told)
    except ValueError as wrong:
        raise BundleRefused(file, f"not an object of alias: version: {wrong}") from wrong


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{doubled[:100]!r} is told twice, and only one of the two can be meant")
    return told


def _aliases_of(told: dict[str, Any]) -> Aliases:
    canary, share = told.get(CANARY, ""), 0.0
    if CANARY in told:
        if not isinstance(canary, dict) or set(canary) != {"version", "share"}:
            raise ValueError(f'{CANARY!r} is {str(canary)[:100]!r}, and {{"version": …, "share": …}} is needed')
        share, canary = canary["share"], canary["version"]
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 < share <= 1:
            raise ValueError(f"the share of {CANARY!r} is {str(share)[:100]!r}, and above 0 and at most 1 is needed")
    shadows, retired = (_several(told, name) for name in (SHADOW, RETIRED))
    others = {alias: version for alias, version in told.items() if alias not in (CHAMPION, CANARY, SHADOW, RETIRED)}
    for alias, version in [
        *((CHAMPION, told[CHAMPION]) for _ in range(CHAMPION in told)),
        *((CANARY, canary) for _ in range(CANARY in told)),
        *((SHADOW, one) for one in shadows),
        *((RETIRED, one) for one in retired),
        *others.items(),
    ]:
        if not (isinstance(version, str) and NAME.fullmatch(alias) and NAME.fullmatch(version)):
            raise ValueError(f"{alias!r} is {str(version)[:100]!r}")
    return Aliases(
        champion=told.get(CHAMPION, ""),
        canary=canary,
        share=float(share),
        shadows=shadows,
        retired=retired,
        others=others,
    )


def _several(told: dict[str, Any], alias: str) -> tuple[Any, ...]:
    """Return the versions of an alias that may have several; one alone may stand without a list."""
    versions = told.get(alias, [])
    return tuple(versions) if isinstance(versions, list) else (versions,)


def write_stages(registry: Path, name: str, aliases: Aliases) -> None:
    """Put other versions in service. Readers see the old file or the new one, never a part."""
    told: dict[str, Any] = dict(aliases.others)
    if aliases.champion:
        told[CHAMPION] = aliases.champion
    if aliases.canary:
        told[CANARY] = {"version": aliases.canary, "share": aliases.share}
    if aliases.shadows:
        told[SHADOW] = list(aliases.shadows)
    if aliases.retired:
        told[RETIRED] = list(aliases.retired)
    content = json.dumps(told, indent=2, sort_keys=True).encode() + b"\n"
    replace_durably(registry / checked_name(name) / ALIASES_FILE, content)


def read_aliases(registry: Path, name: str) -> dict[str, str]:
    """Return the version of each alias of `name` that names one; empty when none was ever set.

    Raises:
        BundleRefused: as `read_stages`.
    """
    stages = read_stages(registry, name)
    named = dict(stages.others) | {CHAMPION: stages.champion, CANARY: stages.canary}
    if len(stages.shadows) == 1:
        named[SHADOW] = stages.shadows[0]
    return {alias: version for alias, version in named.items() if version}


def set_alias(registry: Path, name: str, alias: str, version: str | None) -> None:
    """Point `alias`, the champion's or one of nobody's meaning, at `version`, or drop it when None.

    Raises:
        BundleRefused: the version is not in the registry.
    """
    assert alias not in (CANARY, SHADOW, RETIRED), "rollout.py has the rule"
    if version is not None:
        read_manifest(registry / checked_name(name) / checked_name(version))
    with changing(registry, name):
        stages = read_stages(registry, name)
        if alias == CHAMPION:
            stages = replace(stages, champion=version or "")
        else:
            others = {other: points_at for other, points_at in stages.others.items() if other != alias}
            stages = replace(stages, others=others | ({checked_name(alias): version} if version else {}))
        write_stages(registry, name, stages)


@contextmanager
def changing(registry: Path, name: str) -> Iterator[None]:
    """Be the only one who changes what is in service."""
    folder = registry / checked_name(name)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".aliases.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def find_bundle(registry: Path, name: str, version_or_alias: str = CHAMPION) -> Path | None:
    """Return the folder of a version or of what an alias points at; None when there is neither."""
    version = read_aliases(registry, name).get(version_or_alias, version_or_alias)
    folder = registry / checked_name(name) / checked_name(version)
    return folder if folder.is_dir() else None


def list_versions(registry: Path, name: str) -> list[str]:
    """Return the versions of `name`, oldest first by `created`; unreadable ones last."""
    found = []
    for folder in (registry / checked_name(name)).glob("*/"):
        if folder.name.startswith("."):
            continue
        try:
            found.append((0, read_manifest(folder).created, folder.name))
        except BundleRefused:
            found.append((1, "", folder.name))
    return [version for _, _, version in sorted(found)]
