"""A registry: the versions of a model in it, and the aliases that point at them.

`<registry>/<name>/aliases.json` says which version is champion; versions themselves are folders (bundle.py).
"""

import fcntl
import json
from pathlib import Path
from typing import Final

from serving.models.bundle import NAME, BundleRefused, checked_name, read_manifest, replace_durably

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"

ALIASES_FILE: Final = "aliases.json"


def read_aliases(registry: Path, name: str) -> dict[str, str]:
    """Return the version of each alias of `name`; empty when none was ever set.

    Raises:
        BundleRefused: the file cannot be read, or is not a JSON object of names of versions. Whether these are in the
            registry is for whoever opens them.
    """
    file = registry / checked_name(name) / ALIASES_FILE
    try:
        aliases = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as wrong:
        raise BundleRefused(file, f"cannot be read: {wrong.strerror}") from wrong
    except (ValueError, RecursionError) as wrong:
        raise BundleRefused(file, f"not JSON: {wrong}") from wrong
    if not isinstance(aliases, dict):
        raise BundleRefused(file, "not an object of alias: version")
    for alias, version in aliases.items():
        if not (isinstance(version, str) and NAME.fullmatch(alias) and NAME.fullmatch(version)):
            raise BundleRefused(file, f"not an object of alias: version: {alias!r} is {str(version)[:100]!r}")
    return aliases


def set_alias(registry: Path, name: str, alias: str, version: str | None) -> None:
    """Point `alias` at `version`, or drop it when None. Readers see the old file or the new one, never a part.

    Raises:
        BundleRefused: the version is not in the registry.
    """
    if version is not None:
        read_manifest(registry / checked_name(name) / checked_name(version))
    folder = registry / checked_name(name)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".aliases.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        aliases = read_aliases(registry, name)
        aliases.pop(alias, None)
        if version is not None:
            aliases[checked_name(alias)] = version
        replace_durably(folder / ALIASES_FILE, json.dumps(aliases, indent=2, sort_keys=True).encode() + b"\n")


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
