"""Looks at a partition's segment files without opening the log: read-only, lock-free, and never stopped by damage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.files import Files
from actors.frame import (
    FORMAT,
    SEGMENT_HEADER_BYTES,
    Checksum,
    Frame,
    FrameReader,
    SegmentHeader,
    decode_segment_header,
    read_fully,
)
from actors.log import Offset
from actors.segments import segment_name, segment_paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """One segment header, one good record, or one thing that is wrong."""

    path: Path
    position: int
    """Byte position in the file."""
    header: SegmentHeader | None = None
    frame: Frame | None = None
    problem: str | None = None


def inspect(directory: Path, files: Files | None = None) -> Iterator[Inspected]:
    """Yield what stands in a partition's directory, in log order, every problem at the byte where it shows.

    Behind a problem it goes on at the next record that is good by itself. In the directory of a running Hearth the last
    entry may be a problem that is only a group being written.

    Raises:
        OSError: a file could not be read.
    """
    files = files or Files()
    offset, checksum = Offset(0), Checksum(0)
    paths = segment_paths(directory, files)
    if not paths:
        yield Inspected(path=directory, position=0, problem="the directory holds no segment")
    for index, path in enumerate(paths):
        descriptor = files.open(path, os.O_RDONLY)
        try:
            decoded = decode_segment_header(read_fully(files, descriptor, SEGMENT_HEADER_BYTES, 0))
            if isinstance(decoded, str):
                yield Inspected(path=path, position=0, problem=decoded)
            else:
                header, own, number = decoded
                yield Inspected(path=path, position=0, header=header)
                problem = _header_problem(path, header, number, index, offset, checksum)
                if problem:
                    yield Inspected(path=path, position=0, problem=problem)
                offset, checksum = header.first_offset, own
            reader = FrameReader(files, descriptor, end=files.size(path))
            for entry in _frames(path, reader, offset, checksum):
                if entry.frame:
                    offset, checksum = Offset(entry.frame.offset + 1), entry.frame.checksum
                yield entry
        finally:
            files.close(descriptor)


def _header_problem(
    path: Path, header: SegmentHeader, number: int, index: int, offset: Offset, checksum: Checksum
) -> str | None:
    if number != FORMAT:
        return f"segment format {number}, this version knows {FORMAT}"
    if path.name != segment_name(header.first_offset):
        return f"the segment begins at offset {header.first_offset}"
    if index and (header.first_offset, header.previous_checksum) != (offset, checksum):
        return f"it continues a segment that ends before offset {header.first_offset}; the one before ends at {offset}"
    return None


def _frames(path: Path, reader: FrameReader, offset: Offset, checksum: Checksum) -> Iterator[Inspected]:
    position, group_index = SEGMENT_HEADER_BYTES, 0
    last: Frame | None = None
    while True:
        for frame in reader.follow(position, offset=offset, previous=checksum, group_index=group_index):
            yield Inspected(path=path, position=frame.position, frame=frame, problem=frame.unknown)
            last = frame
        fault = reader.fault
        if fault is None:
            break
        yield Inspected(path=path, position=fault.position, problem=fault.what)
        found = reader.find(fault.position)
        if found is None:
            return
        position, offset, checksum, group_index = found.position, found.offset, found.previous, found.group_index
    if last is not None and not last.is_last_of_group:
        yield Inspected(path=path, position=last.end, problem="the file ends inside a group")
