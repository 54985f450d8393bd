"""Reading an embedded log beside its owner, group by group as they are written, to own it next."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from actors.log.contract import (
    DamagedLog,
    Offset,
    OffsetOutOfRange,
    PartitionId,
    PartitionLog,
    StoredRecord,
    UnknownFormat,
)
from actors.log.files import Files
from actors.log.frame import SEGMENT_HEADER_BYTES, FrameReader
from actors.log.segment_files import SegmentFile, load_segment, segment_name, segment_paths, unavailable


class SegmentFollower:
    """The `LogFollower` of the embedded log. Made by `SegmentStore.follow`; takes no lock and writes nothing.

    A group that is only partly there is being written, or was torn by the owner's death: it is read once it is whole.
    What is read may not be synced yet; should it be gone when the log is taken over, `take_over` says so.
    """

    def __init__(
        self,
        partition: PartitionId,
        directory: Path,
        start: Offset,
        *,
        files: Files,
        open_log: Callable[..., PartitionLog],
    ) -> None:
        """`open_log`: LogStore.open."""
        self._partition = partition
        self._directory = directory
        self._files = files
        self._open_log = open_log
        self._start = start
        self._descriptor: int | None = None
        with unavailable(partition, directory):
            names = {path.name: path for path in segment_paths(directory, files)}
            before = [name for name in names if name <= segment_name(start)]
            if not before:
                first = load_segment(partition, names[min(names)], files).header.first_offset if names else start
                raise OffsetOutOfRange(partition, start, first, first)
            self._enter(load_segment(partition, names[max(before)], files))

    @property
    def position(self) -> Offset:
        return max(self._offset, self._start)

    def read_on(self) -> Iterator[StoredRecord]:
        with unavailable(self._partition, self._directory):
            while True:
                # Looked at first: once there is another, nothing is written to the one before any more.
                following = self._following()
                yield from self._read(following)
                if following is None:
                    return
                self._enter(following)

    def take_over(self) -> PartitionLog:
        end = self.position
        self.close()
        return self._open_log(self._partition, acknowledged_end=end)

    def close(self) -> None:
        if self._descriptor is not None:
            self._files.close(self._descriptor)
            self._descriptor = None

    def _enter(self, segment: SegmentFile) -> None:
        self.close()
        # Held open: it stays readable when it is given up meanwhile.
        self._descriptor = self._files.open(segment.path, os.O_RDONLY)
        self._segment = segment
        self._byte, self._offset, self._checksum = SEGMENT_HEADER_BYTES, segment.header.first_offset, segment.checksum

    def _following(self) -> SegmentFile | None:
        present = self._segment.header
        later = [path for path in segment_paths(self._directory, self._files) if path.name > self._segment.path.name]
        if not later:
            return None
        following = load_segment(self._partition, min(later), self._files)
        if following.header.previous_first_offset != present.first_offset:
            begins_at = following.header.first_offset
            raise OffsetOutOfRange(self._partition, self._offset, begins_at, begins_at)
        return following

    def _read(self, following: SegmentFile | None) -> Iterator[StoredRecord]:
        """Yield the groups of the present segment that are whole; all of them where it is followed by another."""
        assert self._descriptor is not None, f"partition {self._partition}: the log is followed no more"
        path = self._segment.path
        length = following.header.previous_bytes if following is not None else self._length()
        reader = FrameReader(self._files, self._descriptor, end=length)
        group: list[StoredRecord] = []
        for frame in reader.follow(self._byte, offset=self._offset, previous=self._checksum):
            if frame.unknown:
                raise UnknownFormat(self._partition, str(path), frame.unknown)
            group.append(frame.stored())
            if frame.is_last_of_group:
                self._byte, self._offset, self._checksum = frame.end, Offset(frame.offset + 1), frame.checksum
                yield from (stored for stored in group if stored.offset >= self._start)
                group = []
        if reader.fault is not None and (reader.fault.is_whole or following is not None):
            raise DamagedLog(self._partition, str(path), reader.fault.position, reader.fault.what)
        if following is not None and (self._byte, self._checksum) != (length, following.header.previous_checksum):
            what = f"it ends otherwise than {following.path.name} goes on"
            raise DamagedLog(self._partition, str(path), self._byte, what)

    def _length(self) -> int:
        assert self._descriptor is not None
        return os.fstat(self._descriptor).st_size
