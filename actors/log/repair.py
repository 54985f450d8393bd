"""Builds what can take the place of a damaged log, and puts it there.

Deletes nothing: what does not stay is set aside. What is good by itself, in place and in order is kept; where a good
snapshot holds what damaged records did, the log goes on from there. The caller holds the partition's lock. What is
wrong is in `examination`, what can be done in `remedy`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from actors.log.contract import LOG_START, Epoch, Offset, PartitionId, Record, RecordKind
from actors.log.examination import Examination, good_frames
from actors.log.files import Files, write_fully
from actors.log.frame import SEGMENT_HEADER_BYTES, Checksum, Frame, SegmentHeader, encode_group
from actors.log.marks import write_beginning
from actors.log.remedy import Remedy, RemedyKind
from actors.log.segment_files import SegmentFile, create_segment, partition_directory, rebuilt_directory

SEGMENT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What a repair did."""

    aside: Path
    """Where the old log is now."""
    salvaged_count: int
    """Good records behind the new log's end."""
    salvaged_log: Path | None
    """A log of their own of these, offsets from 0; None for none."""


def rebuild(examination: Examination, remedy: Remedy, aside: Path, files: Files | None = None) -> Repaired:
    """Put the log that `remedy` names in the place of the old one, which goes to `aside`.

    A crash leaves the old log, or one that opening refuses until this was done again.

    Args:
        examination: of the partition, whose lock the caller holds.
        remedy: what `choose` said.
        aside: a directory of this repair, on the same file system as the log.
        files: system calls.

    Raises:
        OSError: the disk refused. Nothing is lost, asking again is safe.
    """
    assert remedy.kind is RemedyKind.REBUILD, f"nothing to rebuild: {remedy.kind}"
    files = files or Files()
    directory = examination.directory
    rebuilt = rebuilt_directory(directory)
    if rebuilt.exists():
        # Left by a repair that did not get as far as setting the old log aside.
        shutil.rmtree(rebuilt)
    files.make_directory(aside)
    salvaged = _salvage(examination, remedy, aside, files)
    frames = (frame for run, frame in good_frames(directory, files) if run == remedy.run and frame.offset < remedy.end)
    writer = _LogWriter(examination.partition, rebuilt, remedy.begins, examination.last_epoch, files)
    for frame in frames:
        writer.add(frame.stored().record, is_last_of_group=frame.is_last_of_group)
    writer.close()
    assert writer.end == remedy.end, f"rebuilt up to {writer.end}, expected {remedy.end}"
    if remedy.begins > LOG_START:
        write_beginning(examination.partition, rebuilt, remedy.begins, files)
    files.sync_directory(rebuilt)
    old = aside / directory.name
    files.rename(directory, old)
    files.sync_directory(directory.parent)
    finish(directory, files)
    files.sync_directory(aside)
    return Repaired(aside=old, salvaged_count=salvaged, salvaged_log=aside / "salvaged" if salvaged else None)


def finish(directory: Path, files: Files | None = None) -> None:
    """Put a rebuilt log in the place of one that was set aside."""
    files = files or Files()
    files.rename(rebuilt_directory(directory), directory)
    files.sync_directory(directory.parent)


def set_aside(path: Path, target: Path, files: Files | None = None) -> None:
    """Move a file or folder out of Hearth's sight, durably.

    Raises:
        OSError: it is still where it was.
    """
    files = files or Files()
    files.make_directory(target.parent)
    files.rename(path, target)
    files.sync_directory(target.parent)
    files.sync_directory(path.parent)


def _salvage(examination: Examination, remedy: Remedy, aside: Path, files: Files) -> int:
    """Write the good records behind the new log's end as a log of their own, and list them; return how many."""
    name = partition_directory(examination.partition)
    context: dict[int, Record] = {}
    listed: list[dict[str, object]] = []
    writer: _LogWriter | None = None
    for _, frame in good_frames(examination.directory, files):
        stored = frame.stored()
        if stored.record.kind in (RecordKind.EPOCH, RecordKind.PLAN):
            context[stored.record.kind] = stored.record
        if frame.offset < remedy.end:
            # It stays, or the snapshot holds what it did.
            continue
        if writer is None:
            folder = aside / "salvaged" / "log" / name
            if folder.exists():
                shutil.rmtree(folder)
            writer = _LogWriter(examination.partition, folder, LOG_START, examination.last_epoch, files)
            # The plan that was in force, so that what follows can be read and folded by itself.
            for before in context.values():
                if before is not stored.record:
                    writer.add(before, is_last_of_group=True)
        listed.append(_listed(frame, salvaged_offset=writer.end))
        writer.add(stored.record, is_last_of_group=True)
    if writer is not None:
        writer.close()
        _write_lines(aside / f"{name}.records.jsonl", (json.dumps(one) for one in listed), files)
    return len(listed)


def _listed(frame: Frame, *, salvaged_offset: Offset) -> dict[str, object]:
    return {
        "offset": frame.offset,
        "kind": RecordKind(frame.kind).name.lower(),
        "epoch": frame.epoch,
        "stamp_us": frame.stamp_us,
        "bytes": len(frame.payload),
        "salvaged_offset": salvaged_offset,
    }


def _write_lines(path: Path, lines: Iterable[str], files: Files) -> None:
    descriptor = files.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        write_fully(files, descriptor, "".join(f"{line}\n" for line in lines).encode(), 0)
        files.fsync(descriptor)
    finally:
        files.close(descriptor)


class _LogWriter:
    """Writes a partition's segments anew, group by group; durable once closed."""

    def __init__(self, partition: PartitionId, directory: Path, begins: Offset, epoch: Epoch, files: Files) -> None:
        self.end = begins
        self._partition = partition
        self._directory = directory
        self._epoch = epoch
        self._files = files
        self._group: list[Record] = []
        files.make_directory(directory)
        self._segment, self._descriptor = self._create(begins, 0, Checksum(0), begins)
        self._position = SEGMENT_HEADER_BYTES
        self._checksum = self._segment.checksum

    def add(self, record: Record, *, is_last_of_group: bool) -> None:
        self._group.append(record)
        if is_last_of_group:
            self._write(self._group)
            self._group = []

    def close(self) -> None:
        """Sync. A group that was not completed is left out."""
        self._files.fsync(self._descriptor)
        self._files.close(self._descriptor)
        self._files.sync_directory(self._directory)

    def _write(self, group: list[Record]) -> None:
        if self._position > SEGMENT_BYTES:
            self._files.fsync(self._descriptor)
            self._files.close(self._descriptor)
            before = self._segment.header.first_offset
            self._segment, self._descriptor = self._create(before, self._position, self._checksum, self.end)
            self._position, self._checksum = SEGMENT_HEADER_BYTES, self._segment.checksum
        content, self._checksum = encode_group(group, offset=self.end, previous=self._checksum)
        write_fully(self._files, self._descriptor, content, self._position)
        self._position += len(content)
        self.end = Offset(self.end + len(group))

    def _create(self, before: Offset, length: int, checksum: Checksum, first: Offset) -> tuple[SegmentFile, int]:
        header = SegmentHeader(
            partition=self._partition,
            first_offset=first,
            last_epoch=self._epoch,
            previous_first_offset=before,
            previous_bytes=length,
            previous_checksum=checksum,
        )
        return create_segment(self._directory, header, self._files)
