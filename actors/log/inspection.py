"""Looks at a partition's segment files without opening the log: read-only, lock-free, and never stopped by damage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.log.contract import LOG_START, Offset
from actors.log.files import Files, read_fully
from actors.log.frame import (
    FORMAT,
    SEGMENT_HEADER_BYTES,
    Checksum,
    Frame,
    FrameReader,
    SegmentHeader,
    decode_segment_header,
    header_checksums,
)
from actors.log.marks import BEGINNING_NAME, read_beginning, read_end
from actors.log.segment_files import partition_of_directory, segment_name, segment_paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """One segment header, one good record, or one thing that is wrong."""

    path: Path
    position: int
    """Byte position in the file."""
    header: SegmentHeader | None = None
    frame: Frame | None = None
    problem: str | None = None
    is_newer: bool = False
    """The problem is that a newer version wrote it; it may well be intact."""
    is_misplaced: bool = False
    """The problem is with a whole record or header, which no crash puts where it does not belong."""
    acknowledged_end: Offset | None = None
    """The problem is that the log ends before this end, which was acknowledged."""
    is_unreadable_header: bool = False
    """The problem is with a segment's header alone; records behind it may be whole and in their place."""


def inspect(directory: Path, files: Files | None = None, *, start: Offset = LOG_START) -> Iterator[Inspected]:
    """Yield what stands in a partition's directory, in log order, every problem at the byte where it shows.

    Segments that end before `start` are not looked at.

    Behind a problem it goes on at the next record that is good by itself. In the directory of a running Hearth the last
    entry may be a problem that is only a group being written.

    Raises:
        OSError: a file could not be read.
    """
    files = files or Files()
    partition = partition_of_directory(directory.name)
    # Before the segments are looked at: beside a running owner the log may grow, and then it is beyond what was noted.
    acknowledged_end = LOG_START if partition is None else read_end(partition, directory, files)
    begins = LOG_START if partition is None else read_beginning(partition, directory, files)
    if isinstance(begins, str):
        yield Inspected(path=directory / BEGINNING_NAME, position=0, problem=begins, is_misplaced=True)
        begins = LOG_START
    checksum = Checksum(0)
    paths = [path for path in segment_paths(directory, files) if path.name >= segment_name(begins)]
    behind = [path for path in paths if path.name <= segment_name(start)]
    if start > begins and behind:
        paths = paths[len(behind) - 1 :]
        begins = Offset(int(paths[0].stem))
    offset = complete = begins
    end_position = 0
    if not paths:
        yield Inspected(path=directory, position=0, problem="the directory holds no segment", is_misplaced=True)
    for index, path in enumerate(paths):
        descriptor = files.open(path, os.O_RDONLY)
        try:
            head = read_fully(files, descriptor, SEGMENT_HEADER_BYTES, 0)
            decoded = decode_segment_header(head)
            if isinstance(decoded, str):
                yield Inspected(path=path, position=0, problem=decoded, is_misplaced=True, is_unreadable_header=True)
                checksum = _own_checksum(FrameReader(files, descriptor, end=files.size(path)), head) or checksum
            else:
                header, own, number = decoded
                yield Inspected(path=path, position=0, header=header)
                problem = _header_problem(path, header, index, offset, checksum)
                if number != FORMAT:
                    what = f"segment format {number}, this version knows {FORMAT}"
                    yield Inspected(path=path, position=0, problem=what, is_newer=True)
                elif partition is not None and header.partition != partition:
                    what = f"the segment belongs to partition {header.partition}"
                    yield Inspected(path=path, position=0, problem=what, is_misplaced=True)
                elif problem:
                    yield Inspected(path=path, position=0, problem=problem, is_misplaced=True)
                offset, checksum = header.first_offset, own
                complete, end_position = header.first_offset, SEGMENT_HEADER_BYTES
            reader = FrameReader(files, descriptor, end=files.size(path))
            for entry in _frames(path, reader, offset, checksum):
                if entry.frame:
                    offset, checksum = Offset(entry.frame.offset + 1), entry.frame.checksum
                    if entry.frame.is_last_of_group:
                        complete, end_position = offset, entry.frame.end
                yield entry
        finally:
            files.close(descriptor)
    if paths and complete < acknowledged_end:
        what = f"the log ends at offset {complete}, {acknowledged_end} was acknowledged"
        yield Inspected(
            path=paths[-1], position=end_position, problem=what, is_misplaced=True, acknowledged_end=acknowledged_end
        )


def _own_checksum(reader: FrameReader, head: bytes) -> Checksum | None:
    """Return the checksum a damaged header had, if the first record says so: fields or checksum are as they were."""
    first = reader.frame_at(SEGMENT_HEADER_BYTES)
    if isinstance(first, Frame) and first.previous in header_checksums(head):
        return Checksum(first.previous)
    return None


def proves_damage(problem: Inspected, entry: Inspected, end: Offset) -> bool:
    """Return whether what follows a problem was written after what is broken had been synced.

    `end` is where the last complete group before the problem ends. The rule by which opening judges.
    """
    is_later_group = entry.frame is not None and entry.frame.offset - entry.frame.group_index > end
    return is_later_group or entry.path != problem.path or entry.acknowledged_end is not None


def _header_problem(path: Path, header: SegmentHeader, index: int, offset: Offset, checksum: Checksum) -> str | None:
    if path.name != segment_name(header.first_offset):
        return f"the segment begins at offset {header.first_offset}"
    if index == 0 and header.first_offset != offset:
        return f"the log begins at offset {offset}, and {segment_name(offset)} is missing"
    if index and (header.first_offset, header.previous_checksum) != (offset, checksum):
        return f"it continues a segment that ends before offset {header.first_offset}; the one before ends at {offset}"
    return None


def _frames(path: Path, reader: FrameReader, offset: Offset, checksum: Checksum) -> Iterator[Inspected]:
    position, group_index = SEGMENT_HEADER_BYTES, 0
    last: Frame | None = None
    while True:
        for frame in reader.follow(position, offset=offset, previous=checksum, group_index=group_index):
            is_newer = frame.unknown is not None
            yield Inspected(path=path, position=frame.position, frame=frame, problem=frame.unknown, is_newer=is_newer)
            last = frame
        fault = reader.fault
        if fault is None:
            break
        yield Inspected(path=path, position=fault.position, problem=fault.what, is_misplaced=fault.is_whole)
        found = reader.find(fault)
        if found is None:
            return
        position, offset, checksum, group_index = found.position, found.offset, found.previous, found.group_index
    if last is not None and not last.is_last_of_group:
        yield Inspected(path=path, position=last.end, problem="the file ends inside a group")
