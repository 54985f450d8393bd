"""How far an embedded log goes: its extent, the marks in it, and what opening makes of a torn group at its end."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from actors.log.contract import DamagedLog, Epoch, Offset, PartitionId, UnknownFormat
from actors.log.files import Files
from actors.log.frame import SEGMENT_HEADER_BYTES, Checksum, Fault, FrameReader
from actors.log.segment_files import SegmentFile

MARK_EVERY_BYTES = 64 << 10
"""Distance of marks: a read skips at most so much before it reaches its start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogExtent:
    """How far the log is durable. Replaced as a whole, so that a reader beside the writer sees one moment."""

    segments: tuple[SegmentFile, ...]
    position: int
    """Byte behind the last complete group in the last segment."""
    offset: Offset
    checksum: Checksum
    epoch: Epoch


class GroupMark(NamedTuple):
    """Where a group starts inside a segment, so that reading need not begin at the segment's header."""

    offset: Offset
    position: int
    checksum: Checksum
    """Of the record before the group; the group chains to it."""


class GroupMarks:
    """Marks of groups, sparse and in order, by the first offset of their segment."""

    def __init__(self) -> None:
        self._marks: dict[Offset, list[GroupMark]] = {}

    def add(self, segment: SegmentFile, mark: GroupMark) -> None:
        """Take the next group of a segment, unless the mark before it is near."""
        marks = self._marks.setdefault(segment.header.first_offset, [])
        if not marks or mark.position - marks[-1].position >= MARK_EVERY_BYTES:
            marks.append(mark)

    def forget(self, segment: SegmentFile) -> None:
        """Let go of the marks of a segment that was given up."""
        self._marks.pop(segment.header.first_offset, None)

    def nearest(self, segment: SegmentFile, start: Offset) -> GroupMark:
        """Return the last mark at or before `start`; the segment's own beginning where there is none."""
        marks = self._marks.get(segment.header.first_offset, [])
        place = bisect_right(marks, start, key=lambda mark: mark.offset)
        if place == 0:
            return GroupMark(segment.header.first_offset, SEGMENT_HEADER_BYTES, segment.checksum)
        return marks[place - 1]


def cut_torn_tail(
    partition: PartitionId,
    segments: tuple[SegmentFile, ...],
    descriptor: int,
    *,
    acknowledged_end: Offset,
    marks: GroupMarks,
    files: Files,
) -> tuple[LogExtent, int]:
    """Verify the last segment, cut a torn group off its end; return how far the log goes and the bytes cut.

    Args:
        partition: named in errors.
        segments: of the log, headers verified.
        descriptor: of the last one, open for writing.
        acknowledged_end: an end the log is known to have had.
        marks: take those of the last segment.
        files: system calls.

    Raises:
        DamagedLog: no crash explains what is there, or acknowledged records are missing.
        UnknownFormat: a record of a newer version.
    """
    # A dead owner may have written what it never synced: make it durable before anyone folds it. After a failed
    # sync the kernel calls such pages clean though the device never got them, so read past its cache.
    files.fdatasync(descriptor)
    files.forget_cached(descriptor)
    path = segments[-1].path
    size = files.size(path)
    reader = FrameReader(files, descriptor, end=size)
    extent, fault = _last_complete_group(partition, segments, reader, marks)
    if fault is not None:
        _check_torn(partition, path, fault, reader, extent)
    if extent.offset < acknowledged_end:
        position, what = (fault.position, fault.what + "; ") if fault else (extent.position, "")
        what += f"the log ends at offset {extent.offset}, {acknowledged_end} was acknowledged"
        raise DamagedLog(partition, str(path), position, what)
    if extent.position < size:
        files.truncate(descriptor, extent.position)
        files.fsync(descriptor)
    return extent, size - extent.position


def _check_torn(partition: PartitionId, path: Path, fault: Fault, reader: FrameReader, extent: LogExtent) -> None:
    """Raise unless a crash while the last group was written explains the fault.

    A group is written after the one before was synced, so good records of a later group behind the fault mean that
    what is broken was whole once. Good records of the same group mean nothing: the device orders its own writes.
    """
    if fault.is_whole:
        raise DamagedLog(partition, str(path), fault.position, fault.what)
    later = reader.find(fault, group_after=extent.offset)
    if later is not None:
        what = f"{fault.what}; good record {later.offset} of a later group follows at byte {later.position}"
        raise DamagedLog(partition, str(path), fault.position, what)


def _last_complete_group(
    partition: PartitionId, segments: tuple[SegmentFile, ...], reader: FrameReader, marks: GroupMarks
) -> tuple[LogExtent, Fault | None]:
    """Walk the last segment; return its extent up to the last complete group, and what is wrong behind it."""
    last = segments[-1]
    position, offset, checksum = SEGMENT_HEADER_BYTES, last.header.first_offset, last.checksum
    newest = epoch = last.header.last_epoch
    seen = position
    for frame in reader.follow(position, offset=offset, previous=checksum):
        if frame.unknown:
            raise UnknownFormat(partition, str(last.path), frame.unknown)
        newest, seen = max(newest, frame.epoch), frame.end
        if frame.group_index == 0:
            marks.add(last, GroupMark(Offset(frame.offset), frame.position, frame.previous))
        if frame.is_last_of_group:
            position, offset, checksum, epoch = frame.end, Offset(frame.offset + 1), frame.checksum, newest
    fault = reader.fault
    if fault is None and seen != position:
        fault = Fault(position=seen, what="the file ends inside a group")
    extent = LogExtent(segments=segments, position=position, offset=offset, checksum=checksum, epoch=epoch)
    return extent, fault
