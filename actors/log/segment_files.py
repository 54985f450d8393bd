"""Where a partition's segment files lie: their names, the lock, how one is created, and the chain their headers form.

Nothing here looks behind a header.

    <directory>/p-0003.lock                        held while partition 3 is open; holds the holder's process id
    <directory>/p-0003/00000000000000000000.seg    named by the offset of its first record
    <directory>/p-0003/first, end                  what is known of its two ends besides (actors/log/marks.py)
    <directory>/p-0003.rebuilt                     of a repair that was interrupted (actors/log/repair.py)
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from actors.log.contract import (
    DamagedLog,
    LogLocked,
    LogUnavailable,
    Offset,
    PartitionId,
    UnknownFormat,
)
from actors.log.files import Files, read_fully, write_fully
from actors.log.frame import (
    FORMAT,
    SEGMENT_HEADER_BYTES,
    Checksum,
    SegmentHeader,
    decode_segment_header,
)
from actors.log.marks import BEGINNING_NAME, read_beginning
from actors.passing_over import passing_over

_PARTITION_NAME = re.compile(r"p-(\d{4,})")
_SEGMENT_NAME = re.compile(r"(\d{20})\.seg")
_UNFINISHED_SEGMENT = "next.tmp"


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFile:
    """One segment file whose header was verified."""

    path: Path
    header: SegmentHeader
    checksum: Checksum
    """Of the header; the first frame chains to it."""


def partition_directory(partition: PartitionId) -> str:
    return f"p-{partition:04d}"


def partition_of_directory(name: str) -> PartitionId | None:
    """Return whose directory this is; None of anything else that may lie beside them."""
    match = _PARTITION_NAME.fullmatch(name)
    return PartitionId(int(match[1])) if match else None


def rebuilt_directory(directory: Path) -> Path:
    """Return where a repair builds what is to take the place of a partition's directory."""
    return directory.with_name(f"{directory.name}.rebuilt")


def segment_name(first_offset: Offset) -> str:
    return f"{first_offset:020d}.seg"


def segment_paths(directory: Path, files: Files) -> list[Path]:
    """Return the segments of a partition's directory in log order; other names are not the log's business."""
    return [directory / name for name in files.list(directory) if _SEGMENT_NAME.fullmatch(name)]


def create_segment(directory: Path, header: SegmentHeader, files: Files) -> tuple[SegmentFile, int]:
    """Create a segment holding only its header, durably; return it and an open descriptor.

    It appears by a rename, so a segment without a whole header is damage and never a crash's leftover.
    """
    content, checksum = header.encode()
    unfinished, path = directory / _UNFINISHED_SEGMENT, directory / segment_name(header.first_offset)
    descriptor = files.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        write_fully(files, descriptor, content, 0)
        files.fsync(descriptor)
        files.rename(unfinished, path)
        files.sync_directory(directory)
    except BaseException:
        files.close(descriptor)
        raise
    return SegmentFile(path=path, header=header, checksum=checksum), descriptor


def load_segments(partition: PartitionId, directory: Path, files: Files) -> tuple[SegmentFile, ...]:
    """Return a partition's segments, headers verified and each continuing the one before by name and length.

    Raises:
        DamagedLog: a header is broken, a segment is missing at the beginning or between two, or one before the last is
            too short or long.
        UnknownFormat: a segment of a newer format.
    """
    beginning = read_beginning(partition, directory, files)
    if isinstance(beginning, str):
        raise DamagedLog(partition, str(directory / BEGINNING_NAME), 0, beginning)
    segments: list[SegmentFile] = []
    for path in segment_paths(directory, files):
        if path.name < segment_name(beginning):
            continue
        segment = load_segment(partition, path, files)
        if segments:
            _check_continues(partition, segments[-1], segment, files)
        segments.append(segment)
    if not segments:
        raise DamagedLog(partition, str(directory), 0, "the directory holds no segment")
    if segments[0].header.first_offset != beginning:
        path = directory / segment_name(beginning)
        raise DamagedLog(partition, str(path), 0, f"the log begins at offset {beginning}, and this segment is missing")
    return tuple(segments)


def load_segment(partition: PartitionId, path: Path, files: Files) -> SegmentFile:
    """Return one segment, its header verified.

    Raises:
        DamagedLog, UnknownFormat.
        OSError: it cannot be read, or is gone.
    """
    with _opened(path, files) as descriptor:
        decoded = decode_segment_header(read_fully(files, descriptor, SEGMENT_HEADER_BYTES, 0))
    if isinstance(decoded, str):
        raise DamagedLog(partition, str(path), 0, decoded)
    header, checksum, number = decoded
    if number != FORMAT:
        raise UnknownFormat(partition, str(path), f"segment format {number}, this version knows {FORMAT}")
    if header.partition != partition:
        raise DamagedLog(partition, str(path), 0, f"the segment belongs to partition {header.partition}")
    if path.name != segment_name(header.first_offset):
        raise DamagedLog(partition, str(path), 0, f"the segment begins at offset {header.first_offset}")
    return SegmentFile(path=path, header=header, checksum=checksum)


def _check_continues(partition: PartitionId, before: SegmentFile, segment: SegmentFile, files: Files) -> None:
    header = segment.header
    if header.previous_first_offset != before.header.first_offset:
        missing = segment_name(header.previous_first_offset)
        raise DamagedLog(partition, str(segment.path), 0, f"it continues {missing}, which is missing")
    size = files.size(before.path)
    if size != header.previous_bytes:
        what = f"the segment is {size} bytes long, {header.previous_bytes} when the next one was begun"
        raise DamagedLog(partition, str(before.path), min(size, header.previous_bytes), what)


def lock_partition(partition: PartitionId, directory: Path, files: Files) -> int:
    """Return a descriptor that holds the lock until it is closed, which the kernel does when the process dies.

    Trap: a child forked without exec keeps the lock alive after its parent died.

    Raises:
        LogLocked: another process, or this one, holds it.
        OSError: the lock file cannot be used.
    """
    path = directory / f"{partition_directory(partition)}.lock"
    descriptor = files.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace") or "unknown"
        os.close(descriptor)
        raise LogLocked(partition, str(path), holder) from None
    except BaseException:
        os.close(descriptor)
        raise
    with passing_over(OSError, because="the holder's id is for people only"):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


@contextmanager
def _opened(path: Path, files: Files) -> Iterator[int]:
    descriptor = files.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        files.close(descriptor)


@contextmanager
def unavailable(partition: PartitionId, path: Path) -> Iterator[None]:
    """Name partition and path where the storage refuses."""
    try:
        yield
    except OSError as error:
        raise LogUnavailable(partition, str(path), str(error)) from error
