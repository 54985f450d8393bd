"""The versions of the playbook that a data directory keeps, each whole: its plan and the files it was compiled from.

By content: a version names its plan's hash, is written once and never changed.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from cluster.data_dir import DataDirUnusable, write_durably
from cluster.errors import CommandFailed
from household.plan import Plan, PlanUnreadable, plan_from_bytes
from playbooks.compiler import Examined, examine

FOLDER = "playbooks"
"""In the data directory; of versions and of the history (playbook_history.py)."""

FILES_MAX = 200
FILE_BYTES_MAX = 4 << 20


class VersionUnknown(CommandFailed):
    """No such version is kept, or what is kept of it is damaged; says which."""


class FilesUnusable(CommandFailed):
    """What was sent is no folder of YAML files; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptVersion:
    """One version."""

    plan: Plan
    files: Mapping[str, str] = field(default_factory=dict)
    """Content by path; empty where only its plan is known."""
    source: str = ""
    """Where the files came from, for people."""


def keep(data_dir: Path, version: KeptVersion) -> None:
    """Write a version down, durably, unless it is there with its files.

    Raises:
        DataDirUnusable: it cannot be written.
    """
    file = _file(data_dir, version.plan.version)
    if file.exists() and not version.files:
        return
    content = {"plan": version.plan.canonical_bytes.decode(), "files": dict(version.files), "source": version.source}
    checksum = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(file, json.dumps({**content, "sha256": checksum}) + "\n")
    except OSError as failed:
        raise DataDirUnusable(f"{file} cannot be written: {failed}; nothing was changed") from failed


def kept(data_dir: Path, version: str) -> KeptVersion:
    """Return a version, by its whole name or by how that begins.

    Raises:
        VersionUnknown
    """
    names = [one for one in kept_versions(data_dir) if version and one.startswith(version)]
    if len(names) != 1:
        how = f"{', '.join(names)} begin so" if names else "`hearth playbook history` lists those that are"
        raise VersionUnknown(f"no version {version!r} of the playbook is kept: {how}")
    file = _file(data_dir, names[0])
    try:
        content = json.loads(file.read_bytes())
        checksum = content.pop("sha256")
        plan = plan_from_bytes(str(content["plan"]).encode())
        is_whole = checksum == hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        if not is_whole or plan.version != names[0]:
            raise ValueError("checksum")
        files = {str(name): str(text) for name, text in content["files"].items()}
        return KeptVersion(plan=plan, files=files, source=str(content["source"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, PlanUnreadable) as wrong:
        raise VersionUnknown(f"{file} is not as it was written ({type(wrong).__name__}: {wrong})") from wrong


def kept_versions(data_dir: Path) -> list[str]:
    """Return the names of all versions that are kept."""
    return sorted(file.stem for file in _folder(data_dir).glob("*.json"))


def examined(files: Mapping[str, str], *, before: Plan | None = None) -> Examined:
    """Compile a playbook that was sent: its plan with what is hardly meant, or all that is wrong, also after another.

    Raises:
        FilesUnusable: a path leads out of the folder, or it is too much.
    """
    if not files or len(files) > FILES_MAX or sum(map(len, files.values())) > FILE_BYTES_MAX:
        raise FilesUnusable(
            f"{len(files)} files with {sum(map(len, files.values())):,} characters; wanted 1 to {FILES_MAX} files of "
            f"YAML and {FILE_BYTES_MAX:,} characters at most"
        )
    with tempfile.TemporaryDirectory(prefix="hearth-playbook-") as folder:
        for name, text in files.items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or path.suffix not in (".yaml", ".yml"):
                raise FilesUnusable(f"{name!r} is no path of a YAML file within the playbook's folder")
            target = Path(folder) / path
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            except (OSError, ValueError) as wrong:
                why = wrong.strerror if isinstance(wrong, OSError) else wrong
                raise FilesUnusable(f"{name!r} cannot be laid beside the other files: {why}") from wrong
        return examine(Path(folder), before=before)


def files_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the YAML files of a playbook, a folder or one file: path within it, and content.

    Raises:
        OSError, UnicodeDecodeError: one cannot be read.
    """
    if path.is_file():
        yield path.name, path.read_text(encoding="utf-8")
        return
    for file in sorted(path.rglob("*")):
        if file.suffix in (".yaml", ".yml") and file.is_file():
            yield file.relative_to(path).as_posix(), file.read_text(encoding="utf-8")


def _folder(data_dir: Path) -> Path:
    return data_dir / FOLDER / "versions"


def _file(data_dir: Path, version: str) -> Path:
    return _folder(data_dir) / f"{version}.json"
