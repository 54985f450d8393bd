"""The files beside the logs: metadata, layout and the playbook in force, each held against what the logs say."""

import json
import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from actors.log.contract import RecordKind
from actors.log.files import Files, write_fully
from actors.log.inspection import inspect
from cluster.config import utc_now
from cluster.data_dir import LAYOUT_NAME, LAYOUT_VERSION
from cluster.remembered_playbook import PLAYBOOK_NAME, told_facts
from cluster.repairing.finding import LOG_NAME, METADATA_NAME, Finding, partition_directory_name, set_files_aside
from wire.partitions import partition_of

logger = logging.getLogger(__name__)

HOUSEHOLDS_ASKED = 50
"""Per partition: that so many fall into a wrong number of partitions by chance does not happen."""

EPOCHS_AHEAD_MAX = 1_000_000
"""A database that is further ahead of the log than this was not counted up to it: each term is one step."""


def look_at_metadata(
    data_dir: Path, partitions: Sequence[int], last_epochs: dict[int, int], aside: Path, is_applied: bool
) -> Finding:
    """Return what is to be said of the metadata, and set a broken one aside if that is asked for."""
    path = data_dir / METADATA_NAME
    finding = Finding(what=METADATA_NAME, state="healthy", ok=True)
    if not path.exists():
        finding.lines.append("is not there; it is made from the logs at the next start")
        return finding
    wrong = _metadata_problem(path, partitions, last_epochs)
    if wrong is None:
        finding.lines.append("intact, and agrees with the logs")
        return finding
    finding.state, finding.ok = "damaged", False
    finding.lines += [
        f"{path}: {wrong}",
        "it holds nothing that the logs do not: --apply sets it aside, the next start takes the epochs from the logs",
    ]
    if is_applied:
        set_files_aside(finding, [path, *path.parent.glob(f"{METADATA_NAME}-*")], aside)
    return finding


def _metadata_problem(path: Path, partitions: Sequence[int], last_epochs: dict[int, int]) -> str | None:
    """Return what is wrong with the database. Looks at a copy: even looking may roll an unfinished change back."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            for file in (path, *path.parent.glob(f"{METADATA_NAME}-*")):
                shutil.copy(file, Path(folder) / file.name)
            with closing(sqlite3.connect(Path(folder) / METADATA_NAME)) as connection:
                connection.text_factory = bytes
                verdict = connection.execute("PRAGMA integrity_check").fetchone()
                if verdict is None or verdict[0] != b"ok":
                    return f"SQLite calls it damaged: {_plain(verdict)}"
                tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
                if not tables:
                    # Its first start did not get further.
                    return None
                if b"ownership" not in tables:
                    return "it has no table of owners"
                rows = connection.execute("SELECT partition, epoch FROM ownership").fetchall()
    except (sqlite3.Error, OSError, ValueError, OverflowError) as refused:
        return str(refused)
    for partition, epoch in rows:
        if not isinstance(partition, int) or not isinstance(epoch, int) or partition not in partitions:
            return f"it names an owner of a partition that has no log: {partition!r}"
        if not 0 <= epoch <= last_epochs.get(partition, 0) + EPOCHS_AHEAD_MAX:
            return f"it has partition {partition} in epoch {epoch}; its log is in {last_epochs.get(partition, 0)}"
    return None


def _plain(verdict: Any) -> str:
    text = verdict[0] if verdict else b""
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def look_at_layout(data_dir: Path, partitions: Sequence[int], aside: Path, is_applied: bool) -> Finding:
    """Return what is to be said of the layout, and write it anew if that is asked for."""
    path = data_dir / LAYOUT_NAME
    finding = Finding(what=LAYOUT_NAME, state="healthy", ok=True)
    stated, wrong = _stated_count(path)
    count = len(partitions)
    if wrong is None and (stated == count or (stated > count and _agrees(data_dir, partitions, stated))):
        finding.lines.append(f"intact: {stated} partitions")
        return finding
    finding.state, finding.ok = "damaged", False
    finding.lines.append(f"{path}: {wrong or f'it says {stated} partitions, there are logs of {count}'}")
    if list(partitions) != list(range(count)) or not _agrees(data_dir, partitions, count):
        finding.lines.append("the logs do not tell how many partitions there were: restore this file from a backup")
        return finding
    finding.lines.append(f"there are logs of {count} partitions, 0 to {count - 1}; --apply writes it anew with {count}")
    if is_applied:
        set_files_aside(finding, [path] if path.exists() else [], aside)
        content = {"layout": LAYOUT_VERSION, "partition_count": count, "born": utc_now().isoformat(timespec="seconds")}
        if finding.ok:
            _write(path, json.dumps(content) + "\n", finding)
    return finding


def look_at_playbook(data_dir: Path, aside: Path, is_applied: bool) -> list[Finding]:
    """Return what is wrong with the playbook that is remembered; nothing if nothing is."""
    facts = told_facts(data_dir)
    if facts is None or "problem" not in facts:
        return []
    finding = Finding(what=PLAYBOOK_NAME, state="damaged", ok=False, lines=[facts["problem"]])
    finding.lines.append("--apply sets it aside; `hearth up` then goes on with the newest playbook that is in the log")
    if is_applied:
        set_files_aside(finding, [data_dir / PLAYBOOK_NAME], aside)
    return [finding]


def _stated_count(path: Path) -> tuple[int, str | None]:
    """Return the partition count that the file states, and what is wrong with it."""
    try:
        layout = json.loads(path.read_text())
        version, born_with = int(layout["layout"]), int(layout["partition_count"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as wrong:
        return 0, f"it cannot be read: {type(wrong).__name__}: {wrong}"
    if version != LAYOUT_VERSION:
        return born_with, f"it says layout {version}, this Hearth reads {LAYOUT_VERSION}"
    return born_with, None


def _agrees(data_dir: Path, partitions: Sequence[int], count: int) -> bool:
    """Return whether households stand where they belong among `count` partitions, as far as some signals tell."""
    return count > 0 and all(
        partition_of(household, count) == partition
        for partition in partitions
        for household in _some_households(data_dir, partition)
    )


def _some_households(data_dir: Path, partition: int) -> set[bytes]:
    """Return household keys of the first signals in a partition's log that can be read.

    None from behind the first relocation: from there on households lie here that were born elsewhere.
    """
    import pyarrow as pa

    found: set[bytes] = set()
    frames = (entry.frame for entry in inspect(data_dir / LOG_NAME / partition_directory_name(partition)))
    try:
        for frame in frames:
            if frame is not None and frame.kind == RecordKind.RELOCATION:
                break
            if frame is None or frame.kind != RecordKind.SIGNALS:
                continue
            with pa.ipc.open_stream(pa.py_buffer(frame.payload)) as stream:
                keys = stream.read_next_batch().column("household").to_pylist()
            found.update(key if isinstance(key, bytes) else str(key).encode() for key in keys)
            if len(found) >= HOUSEHOLDS_ASKED:
                break
    except (OSError, pa.ArrowException, KeyError) as wrong:
        logger.debug("some households of partition %d could not be read: %s", partition, wrong)
    return found


def _write(path: Path, content: str, finding: Finding) -> None:
    files = Files()
    fresh = path.with_name(path.name + ".new")
    try:
        descriptor = files.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            write_fully(files, descriptor, content.encode(), 0)
            files.fsync(descriptor)
        finally:
            files.close(descriptor)
        files.rename(fresh, path)
        files.sync_directory(path.parent)
        finding.ok = True
        finding.lines.append(f"done: {path} was written anew")
    except OSError as refused:
        finding.ok = False
        finding.lines.append(f"not done: {refused}")
