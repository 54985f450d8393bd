"""The embedded log: append-only segment files per partition, one node only.

Owns their order while it is written and read. Where files lie is in `segment_files`, the torn tail in `segment_tail`,
the bytes in `frame`, the promises in `contract`, the reasons in docs/decisions/0005-embedded-log.md.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from actors.failpoints import Failpoint, reached
from actors.log.contract import (
    LOG_START,
    AppendFailed,
    DamagedLog,
    Epoch,
    Offset,
    OffsetOutOfRange,
    PartitionId,
    Record,
    RecordKind,
    RecordTooLong,
    StaleEpoch,
    StoredRecord,
    UnknownFormat,
)
from actors.log.files import Files, write_fully
from actors.log.frame import (
    PAYLOAD_BYTES_MAX,
    SEGMENT_HEADER_BYTES,
    Checksum,
    FrameReader,
    SegmentHeader,
    encode_group,
)
from actors.log.marks import EndMark, read_end, write_beginning
from actors.log.segment_files import (
    SegmentFile,
    create_segment,
    load_segments,
    lock_partition,
    partition_directory,
    partition_of_directory,
    rebuilt_directory,
    segment_name,
    segment_paths,
    unavailable,
)
from actors.log.segment_follower import SegmentFollower
from actors.log.segment_tail import GroupMark, GroupMarks, LogExtent, cut_torn_tail


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSettings:
    """Sizes of the embedded log. They may change between runs; stored segments stay readable."""

    segment_bytes: int = 64 << 20
    """A group that would make a segment longer opens the next one; a single longer group gets its own."""
    record_bytes_max: int = PAYLOAD_BYTES_MAX
    """Longest payload accepted by append."""

    def __post_init__(self) -> None:
        # A segment must be able to hold something behind its header, or each would be followed by another for ever.
        assert self.segment_bytes > SEGMENT_HEADER_BYTES
        # Readers take a longer length for damage, so nothing longer may be written.
        assert 0 < self.record_bytes_max <= PAYLOAD_BYTES_MAX


class _Failure(NamedTuple):
    """Why a log is dead."""

    path: str
    reason: str


class SegmentStore:
    """The embedded `LogStore`: every partition's log under one directory, each open in at most one process."""

    def __init__(self, directory: Path, *, settings: SegmentSettings | None = None, files: Files | None = None) -> None:
        self._directory = directory
        self._settings = settings or SegmentSettings()
        self._files = files or Files()

    def open(self, partition: PartitionId, *, acknowledged_end: Offset = LOG_START) -> SegmentLog:
        with unavailable(partition, self._directory):
            self._files.make_directory(self._directory)
            lock = lock_partition(partition, self._directory, self._files)
        try:
            with unavailable(partition, self._directory):
                directory = self._partition_directory(partition)
                return SegmentLog(partition, directory, lock, acknowledged_end, self._settings, self._files)
        except BaseException:
            os.close(lock)
            raise

    def follow(self, partition: PartitionId, start: Offset) -> SegmentFollower:
        directory = self._directory / partition_directory(partition)
        return SegmentFollower(partition, directory, start, files=self._files, open_log=self.open)

    def partitions(self) -> tuple[PartitionId, ...]:
        if not self._directory.exists():
            return ()
        partitions = (partition_of_directory(name) for name in self._files.list(self._directory))
        return tuple(sorted(partition for partition in partitions if partition is not None))

    def _partition_directory(self, partition: PartitionId) -> Path:
        """Return the partition's directory, made with its first segment inside if it never existed.

        It appears by a rename, so a partition directory without a segment is damage and never reads as an empty log.
        """
        directory = self._directory / partition_directory(partition)
        if not directory.exists():
            if (rebuilt := rebuilt_directory(directory)).exists():
                raise DamagedLog(
                    partition, str(rebuilt), 0, "a repair was interrupted; `hearth repair --apply` finishes it"
                )
            unfinished = directory.with_suffix(".tmp")
            self._files.make_directory(unfinished)
            header = SegmentHeader(
                partition=partition,
                first_offset=LOG_START,
                last_epoch=Epoch(0),
                previous_first_offset=LOG_START,
                previous_bytes=0,
                previous_checksum=Checksum(0),
            )
            self._files.close(create_segment(unfinished, header, self._files)[1])
            self._files.rename(unfinished, directory)
            self._files.sync_directory(self._directory)
        return directory


class SegmentLog:
    """The embedded `PartitionLog`. Made by `SegmentStore.open`, which hands it the partition's lock."""

    def __init__(
        self,
        partition: PartitionId,
        directory: Path,
        lock: int,
        acknowledged_end: Offset,
        settings: SegmentSettings,
        files: Files,
    ) -> None:
        self._partition = partition
        self._directory = directory
        self._lock = lock
        self._settings = settings
        self._files = files
        self._appending = threading.Lock()
        self._failure: _Failure | None = None
        """Not the error itself: its traceback would keep the owner, whose log this is, and all its state."""
        self._is_closed = False
        self._marks = GroupMarks()
        segments = load_segments(partition, directory, files)
        acknowledged_end = max(acknowledged_end, read_end(partition, directory, files))
        self._descriptor = files.open(segments[-1].path, os.O_RDWR)
        try:
            self._extent, self._cut_bytes = cut_torn_tail(
                partition, segments, self._descriptor, acknowledged_end=acknowledged_end, marks=self._marks, files=files
            )
            # A drop that was interrupted is finished: its marker had said that these are given up.
            self._unlink_before(segments[0].header.first_offset)
        except BaseException:
            files.close(self._descriptor)
            raise
        self._end_mark = EndMark(partition, directory, files)
        self._end_mark.write(self._extent.offset)

    @property
    def first_offset(self) -> Offset:
        return self._usable().segments[0].header.first_offset

    @property
    def end_offset(self) -> Offset:
        return self._usable().offset

    @property
    def last_epoch(self) -> Epoch:
        return self._usable().epoch

    @property
    def repetitions(self) -> int:
        """None: nobody sends a group twice."""
        return 0

    @property
    def cut_bytes(self) -> int:
        """Bytes of a torn, never acknowledged group that opening cut off."""
        return self._cut_bytes

    def append(self, records: Sequence[Record]) -> Offset:
        assert records, "a group has at least one record"
        is_alone = self._appending.acquire(blocking=False)
        assert is_alone, f"partition {self._partition}: one group in flight"
        try:
            return self._append(records)
        finally:
            self._appending.release()

    def read(self, start: Offset) -> Iterator[StoredRecord]:
        extent = self._usable()
        first = extent.segments[0].header.first_offset
        if not first <= start <= extent.offset:
            raise OffsetOutOfRange(self._partition, start, first, extent.offset)
        return self._read(start, extent)

    def refresh(self) -> Offset:
        """Return where the log ends: nobody else can write while this object holds the lock."""
        return self._usable().offset

    def written_before(self, time_us: int) -> Offset:
        """As the contract says: where the segment begins that was the last to be begun before that time."""
        extent = self._usable()

        begins_at = extent.segments[0].header.first_offset
        # One after another from the oldest: a term begun under a wrong clock may have left any stamps behind.
        for segment in extent.segments:
            first = next(self._read(segment.header.first_offset, extent), None)
            if first is None or first.record.stamp_us >= time_us:
                break
            begins_at = segment.header.first_offset
        return begins_at

    def drop_before(self, offset: Offset) -> Offset:
        extent = self._usable()
        is_alone = self._appending.acquire(blocking=False)
        assert is_alone, f"partition {self._partition}: dropped by another thread than the one that appends"
        try:
            with unavailable(self._partition, self._directory):
                return self._drop_before(offset, extent)
        finally:
            self._appending.release()

    def _drop_before(self, offset: Offset, extent: LogExtent) -> Offset:
        ended = bisect_right(extent.segments, offset, key=lambda segment: segment.header.first_offset) - 1
        kept = extent.segments[max(ended, 0) :]
        first = kept[0].header.first_offset
        if len(kept) < len(extent.segments):
            # Before the first file goes: a log without its oldest segment is damage unless this marker says otherwise.
            write_beginning(self._partition, self._directory, first, self._files)
            # Before the files go, too: a reader that finds one gone looks here for the reason.
            self._extent = replace(extent, segments=kept)
            for segment in extent.segments[: -len(kept)]:
                self._marks.forget(segment)
        if self._unlink_before(first):
            reached(Failpoint.LOG_DROPPED)
        return first

    def _unlink_before(self, first: Offset) -> int:
        """Unlink the segments that begin before the log does, oldest first; return how many there were."""
        given_up = [path for path in segment_paths(self._directory, self._files) if path.name < segment_name(first)]
        for path in given_up:
            self._files.unlink(path)
        if given_up:
            self._files.sync_directory(self._directory)
        return len(given_up)

    def begin_piece(self) -> None:
        extent = self._usable()
        if extent.position == SEGMENT_HEADER_BYTES:
            return
        try:
            self._extent = self._roll(extent)
        except OSError as error:
            # The new segment may be there: what is appended behind the old one's end would be damage.
            raise self._failed(str(self._directory), str(error)) from error

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._end_mark.close()
            self._files.close(self._descriptor)
            os.close(self._lock)

    def _usable(self) -> LogExtent:
        assert not self._is_closed, f"partition {self._partition}: the log is closed"
        if self._failure is not None:
            raise AppendFailed(self._partition, self._failure.path, self._failure.reason)
        return self._extent

    def _append(self, records: Sequence[Record]) -> Offset:
        extent = self._usable()
        epoch = self._checked_epoch(records, extent.epoch)
        group, checksum = encode_group(records, offset=extent.offset, previous=extent.checksum)

        try:
            if self._is_full(extent.position, len(group)):
                extent = self._roll(extent)
                # The new header is part of the chain, so the group is framed anew behind it.
                group, checksum = encode_group(records, offset=extent.offset, previous=extent.checksum)
            write_fully(self._files, self._descriptor, group, extent.position)
            reached(Failpoint.GROUP_WRITTEN)
            self._files.fdatasync(self._descriptor)
            reached(Failpoint.GROUP_SYNCED)
            self._end_mark.write(Offset(extent.offset + len(records)))
        except OSError as error:
            raise self._failed(str(extent.segments[-1].path), str(error)) from error
        except BaseException:
            # Whatever interrupted it, the outcome is unknown; until then, reads of what was durable before go on.
            self._failure = _Failure(str(extent.segments[-1].path), "interrupted")
            raise
        self._marks.add(extent.segments[-1], GroupMark(extent.offset, extent.position, extent.checksum))
        self._extent = LogExtent(
            segments=extent.segments,
            position=extent.position + len(group),
            offset=Offset(extent.offset + len(records)),
            checksum=checksum,
            epoch=epoch,
        )
        return extent.offset

    def _failed(self, path: str, reason: str) -> AppendFailed:
        """Make the object dead; return the error that says so."""
        self._failure = _Failure(path, reason)
        return AppendFailed(self._partition, path, reason)

    def _is_full(self, position: int, group_bytes: int) -> bool:
        return position > SEGMENT_HEADER_BYTES and position + group_bytes > self._settings.segment_bytes

    def _checked_epoch(self, records: Sequence[Record], epoch: Epoch) -> Epoch:
        """Return the epoch after these records, or raise before anything is written."""
        limit = self._settings.record_bytes_max
        for record in records:
            if record.epoch < epoch or (record.kind is RecordKind.EPOCH and record.epoch == epoch):
                raise StaleEpoch(self._partition, record.epoch, epoch)
            if len(record.payload) > limit:
                raise RecordTooLong(self._partition, len(record.payload), limit)
            epoch = record.epoch
        return epoch

    def _roll(self, extent: LogExtent) -> LogExtent:
        last = extent.segments[-1]
        header = SegmentHeader(
            partition=self._partition,
            first_offset=extent.offset,
            last_epoch=extent.epoch,
            previous_first_offset=last.header.first_offset,
            previous_bytes=extent.position,
            previous_checksum=extent.checksum,
        )
        segment, descriptor = create_segment(self._directory, header, self._files)
        self._files.close(self._descriptor)
        self._descriptor = descriptor
        reached(Failpoint.SEGMENT_ROLLED)
        segments = (*extent.segments, segment)
        return replace(extent, segments=segments, position=SEGMENT_HEADER_BYTES, checksum=segment.checksum)

    def _read(self, start: Offset, extent: LogExtent) -> Iterator[StoredRecord]:
        for segment, following in zip(extent.segments, (*extent.segments[1:], None), strict=True):
            if following is None:
                yield from self._read_segment(segment, start, extent.position, (extent.offset, extent.checksum))
            elif following.header.first_offset > start:
                header = following.header
                end = (header.first_offset, header.previous_checksum)
                yield from self._read_segment(segment, start, header.previous_bytes, end)

    def _read_segment(
        self, segment: SegmentFile, start: Offset, length: int, end: tuple[Offset, Checksum]
    ) -> Iterator[StoredRecord]:
        """Yield a segment's records from `start` on, of those in its first `length` bytes, which lead to `end`."""
        path = str(segment.path)
        with unavailable(self._partition, segment.path), self._opened_for_reading(segment, start) as descriptor:
            reader = FrameReader(self._files, descriptor, end=length)
            offset, position, checksum = self._marks.nearest(segment, start)
            for frame in reader.follow(position, offset=offset, previous=checksum):
                if frame.unknown:
                    raise UnknownFormat(self._partition, path, frame.unknown)
                offset, checksum = Offset(frame.offset + 1), frame.checksum
                if frame.offset >= start:
                    yield frame.stored()
            if reader.fault is not None:
                raise DamagedLog(self._partition, path, reader.fault.position, reader.fault.what)
            if (offset, checksum) != end:
                what = f"ends before offset {offset}, the log goes on at {end[0]}"
                raise DamagedLog(self._partition, path, length, what)

    @contextmanager
    def _opened_for_reading(self, segment: SegmentFile, start: Offset) -> Iterator[int]:
        """Yield a descriptor, which stays readable when the segment is dropped meanwhile."""
        try:
            descriptor = self._files.open(segment.path, os.O_RDONLY)
        except FileNotFoundError:
            extent, asked = self._extent, max(start, segment.header.first_offset)
            first = extent.segments[0].header.first_offset
            if first <= asked:
                raise
            raise OffsetOutOfRange(self._partition, asked, first, extent.offset) from None
        try:
            yield descriptor
        finally:
            self._files.close(descriptor)
