"""Backing up a data directory beside a running Hearth, and restoring it.

Copied in this order, so that what is copied fits together whatever is written meanwhile: snapshots before the logs (a
snapshot is never ahead of its log); of each log the mark of its end; then, up to where they all were at one instant
(cluster/log_instant.py), the segments of each, and the mark of where it begins. Files of log and snapshots are only
ever added to, replaced as a whole, or given up; a partition whose files go away while they are copied is begun again.
Ownership is not copied: epochs are in the log.

What was acknowledged before a backup began is in it; a last segment may end inside a group that was just being written,
which opening cuts, as after a crash.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import xxhash

from cluster.access import REMEMBERED_NAME
from cluster.config import utc_now
from cluster.data_dir import LAYOUT_NAME
from cluster.errors import CommandFailed, UsageWrong
from cluster.log_instant import SEGMENT, Segments, segments_at_one_instant
from cluster.playbook_versions import FOLDER as PLAYBOOKS
from cluster.remembered_playbook import PLAYBOOK_NAME

BACKUP_FORMAT = 1
MANIFEST_NAME = "backup.json"
PIECE_BYTES = 4 << 20
TRIES = 20
"""A partition is begun again so often at most; each time takes a snapshot's interval to come about."""

_LOG = "log"
_PARTITIONED = ("snapshots", "rejects")
"""Folders with a folder per partition, in the order in which they are copied: before the logs."""
_END = "end"
"""Of a log's files the mark of its end."""

Show = Callable[[int, int | None], None]


class BackupUnusable(CommandFailed):
    """What is there is no whole backup; names the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a backup holds."""

    path: Path
    created: str
    partition_count: int
    files: Mapping[str, tuple[int, str]]
    """Path in the backup → bytes, xxh3."""

    @property
    def size_bytes(self) -> int:
        """How large it is without its manifest."""
        return sum(size for size, _ in self.files.values())


def back_up(data_dir: Path, target: Path, show: Show) -> Backup:
    """Copy a data directory to a new folder; it is a backup once its manifest is there, which comes last.

    Raises:
        UsageWrong: there is no data directory, or the target is in it.
        CommandFailed: the target is in use, or something cannot be read or written.
    """
    layout = read_layout(data_dir)
    if target.resolve().is_relative_to(data_dir.resolve()):
        raise UsageWrong(f"{target} is in the data directory, and would be lost with it; name a folder elsewhere")
    if target.exists() and any(target.iterdir()):
        is_half = (target / LAYOUT_NAME).exists() and not (target / MANIFEST_NAME).exists()
        what = "has the beginning of a backup that did not end: remove it first" if is_half else "is not empty"
        raise CommandFailed(f"{target} {what}; a backup goes into a folder of its own")
    created = utc_now().isoformat(timespec="seconds")
    files = {LAYOUT_NAME: _copy(data_dir / LAYOUT_NAME, target / LAYOUT_NAME)}
    for folder in _PARTITIONED:
        for partition in _folders(data_dir / folder):
            files |= _copy_partition(data_dir, target, f"{folder}/{partition}")
            show(sum(size for size, _ in files.values()), None)
    before = sum(size for size, _ in files.values())
    files |= _copy_logs(data_dir, target, lambda size, _: show(before + size, None))
    files |= {name: _copy(data_dir / name, target / name) for name in _tree(data_dir, "models")}
    if (data_dir / REMEMBERED_NAME).exists():
        # Which access rules hold: what is restored lets in whom the rules let in, and nobody where they are gone.
        files[REMEMBERED_NAME] = _copy(data_dir / REMEMBERED_NAME, target / REMEMBERED_NAME)
    # Before what says which of them is in force.
    files |= {name: _copy(data_dir / name, target / name) for name in _tree(data_dir, PLAYBOOKS)}
    if (data_dir / PLAYBOOK_NAME).exists():
        # Last: it is never older than what the log says.
        files[PLAYBOOK_NAME] = _copy(data_dir / PLAYBOOK_NAME, target / PLAYBOOK_NAME)
    backup = Backup(path=target, created=created, partition_count=int(layout["partition_count"]), files=files)
    _write_manifest(backup)
    return backup


def read_backup(path: Path) -> Backup:
    """Return what a backup says it holds.

    Raises:
        BackupUnusable: there is no manifest, or not as it was written.
    """
    file = path / MANIFEST_NAME
    try:
        plain = json.loads(file.read_bytes())
        checksum = plain.pop("xxh3_128")
        if checksum != _checksum(plain):
            raise BackupUnusable(f"{file} is not as it was written (checksum)")
        if plain["format"] != BACKUP_FORMAT:
            raise BackupUnusable(f"{file} is of format {plain['format']}, this Hearth reads {BACKUP_FORMAT}")
        files = {str(name): (int(size), str(xxh3)) for name, (size, xxh3) in plain["files"].items()}
        return Backup(path=path, created=plain["created"], partition_count=plain["partition_count"], files=files)
    except FileNotFoundError as missing:
        raise BackupUnusable(f"{path} holds no whole backup: {MANIFEST_NAME} is missing") from missing
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise BackupUnusable(f"{file} is no manifest of a backup ({type(wrong).__name__})") from wrong


def restore(backup: Backup, data_dir: Path, show: Show) -> None:
    """Make a data directory of a backup. It appears as a whole, once every file has been found as it was written.

    Raises:
        BackupUnusable: a file is missing or damaged; the data directory was not made.
        UsageWrong: the data directory would be in the backup.
        CommandFailed: the data directory exists already.
    """
    if data_dir.resolve().is_relative_to(backup.path.resolve()):
        raise UsageWrong(f"{data_dir} is in the backup, which stays as it is; name a folder elsewhere")
    if data_dir.exists() and any(data_dir.iterdir()):
        raise CommandFailed(f"{data_dir} is not empty; restore into a new folder, and look at both before one goes")
    unfinished = data_dir.with_name(data_dir.name + ".restoring")
    shutil.rmtree(unfinished, ignore_errors=True)
    restored = 0
    for name, (size, checksum) in backup.files.items():
        if not _is_inside(name):
            raise BackupUnusable(f"{backup.path / MANIFEST_NAME} names a file outside of the backup: {name}")
        try:
            found = _copy(backup.path / name, unfinished / name)
        except FileNotFoundError as missing:
            raise BackupUnusable(f"{backup.path / name} is missing") from missing
        if found != (size, checksum):
            raise BackupUnusable(f"{backup.path / name} is damaged: other bytes than were backed up")
        restored += size
        show(restored, backup.size_bytes)
    _sync_folders(unfinished)
    if data_dir.exists():
        data_dir.rmdir()
    unfinished.rename(data_dir)
    _sync_folder(data_dir.parent)


def read_layout(data_dir: Path) -> Mapping[str, Any]:
    """Return what a data directory was born with.

    Raises:
        UsageWrong: it is none.
    """
    try:
        layout = json.loads((data_dir / LAYOUT_NAME).read_text())
        assert isinstance(layout, dict)
        int(layout["partition_count"])
        return layout
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as wrong:
        raise UsageWrong(f"{data_dir} is no data directory of Hearth; name one with --data-dir") from wrong


def _copy_partition(data_dir: Path, target: Path, folder: str) -> dict[str, tuple[int, str]]:
    for _ in range(TRIES):
        try:
            return {name: _copy(data_dir / name, target / name) for name in _files_of(data_dir, folder)}
        except FileNotFoundError:
            # A snapshot was replaced by a newer one, or old log was given up: as it is now, it is whole again.
            shutil.rmtree(target / folder, ignore_errors=True)
    raise CommandFailed(f"{data_dir / folder} changes faster than it can be copied; try again")


def _files_of(data_dir: Path, folder: str) -> Iterator[str]:
    """Yield a partition's files: of snapshots the finished ones, of reject logs segments in order and then the marker.

    The mark of a log's end comes before all: what it says must be in the segments that are copied after it.
    """
    names = sorted(
        _tree(data_dir, folder), key=lambda name: (not name.endswith(f"/{_END}"), not name.endswith(SEGMENT), name)
    )
    for name in names:
        parts = PurePosixPath(name).parts
        is_unfinished = any(part.endswith((".tmp", ".unfinished")) for part in parts)
        if is_unfinished or (parts[0] == "snapshots" and not (data_dir / name).with_name("manifest.json").exists()):
            continue
        yield name


class _Cut(Exception):
    """What there was at an instant is there no more: it was cut off by an owner's successor, or given up."""


def _copy_logs(data_dir: Path, target: Path, show: Show) -> dict[str, tuple[int, str]]:
    """Copy all logs as they were at one instant.

    An owner that died in the midst of a write left a torn group; what the next one writes in its place, while this
    copies, is copied as far as the torn one went.
    """
    for _ in range(TRIES):
        try:
            # First, for what they say must be in the segments.
            found = {name: _copy(data_dir / name, target / name) for name in _ends(data_dir)}
            for folder, segments in sorted(segments_at_one_instant(data_dir / _LOG).items()):
                found |= _copy_log(data_dir, target, f"{_LOG}/{folder}", segments)
                show(sum(size for size, _ in found.values()), None)
            return found
        except _Cut:
            shutil.rmtree(target / _LOG, ignore_errors=True)
    raise CommandFailed(f"{data_dir / _LOG} changes faster than it can be copied; try again")


def _ends(data_dir: Path) -> Iterator[str]:
    marks = (f"{_LOG}/{folder}/{_END}" for folder in _folders(data_dir / _LOG))
    return (name for name in marks if (data_dir / name).is_file())


def _copy_log(data_dir: Path, target: Path, folder: str, segments: Segments) -> dict[str, tuple[int, str]]:
    """Copy what a log held at an instant, less what is given up meanwhile, and then the mark of where it begins."""
    names, last_bytes = segments
    for _ in range(TRIES):
        there = [name for name in names if (data_dir / folder / name).is_file()]
        if names[-1] not in there or (data_dir / folder / names[-1]).stat().st_size < last_bytes:
            raise _Cut
        found = dict[str, tuple[int, str]]()
        try:
            for name in there:
                most = last_bytes if name == names[-1] else None
                found[f"{folder}/{name}"] = _copy(data_dir / folder / name, target / folder / name, most=most)
            for name in sorted(_files_of(data_dir, folder)):
                if not name.endswith((SEGMENT, f"/{_END}")):
                    found[name] = _copy(data_dir / name, target / name)
            return found
        except FileNotFoundError:
            for name in names:
                (target / folder / name).unlink(missing_ok=True)
    raise CommandFailed(f"{data_dir / folder} changes faster than it can be copied; try again")


def _tree(data_dir: Path, folder: str) -> list[str]:
    root = data_dir / folder
    return sorted(path.relative_to(data_dir).as_posix() for path in root.rglob("*") if path.is_file())


def _folders(path: Path) -> list[str]:
    return sorted(one.name for one in path.iterdir() if one.is_dir()) if path.is_dir() else []


def _copy(source: Path, target: Path, *, most: int | None = None) -> tuple[int, str]:
    """Copy durably what a file holds now, not what is appended meanwhile; return its bytes and checksum.

    With `most` no more than so many bytes of it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    checksum = xxhash.xxh3_128()
    try:
        with source.open("rb") as reading, target.open("wb") as writing:
            size = os.fstat(reading.fileno()).st_size
            size = left = size if most is None else min(size, most)
            while left:
                piece = reading.read(min(left, PIECE_BYTES))
                if not piece:
                    raise FileNotFoundError(f"{source} became shorter while it was copied")
                checksum.update(piece)
                writing.write(piece)
                left -= len(piece)
            writing.flush()
            os.fsync(writing.fileno())
    except OSError as failed:
        if failed.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        # A write that fails does not say of which file.
        raise OSError(failed.errno, failed.strerror, str(target)) from failed
    return size, checksum.hexdigest()


def _write_manifest(backup: Backup) -> None:
    plain: dict[str, Any] = {
        "format": BACKUP_FORMAT,
        "created": backup.created,
        "partition_count": backup.partition_count,
        "files": {name: list(one) for name, one in backup.files.items()},
    }
    _sync_folders(backup.path)
    unfinished = backup.path / f"{MANIFEST_NAME}.tmp"
    with unfinished.open("w") as file:
        json.dump(plain | {"xxh3_128": _checksum(plain)}, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(backup.path / MANIFEST_NAME)
    _sync_folder(backup.path)


def _checksum(plain: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _sync_folders(root: Path) -> None:
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
