"""The embedded log: append-only segment files per partition, one node only.

Owns files, their order, recovery of a torn tail and the lock. The bytes are in `frame`, the promises in
`contract`, the reasons in docs/decisions/0005-embedded-log.md.

    <directory>/p-0003.lock                        held while partition 3 is open; holds the holder's process id
    <directory>/p-0003/00000000000000000000.seg    named by the offset of its first record
    <directory>/p-0003/first, end                  what is known of its two ends besides (actors/log/marks.py)
    <directory>/p-0003.rebuilt                     of a repair that was interrupted (actors/log/repair.py)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
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
    LogLocked,
    LogUnavailable,
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
from actors.log.files import Files, read_fully, write_fully
from actors.log.frame import (
    FORMAT,
    PAYLOAD_BYTES_MAX,
    SEGMENT_HEADER_BYTES,
    Checksum,
    Fault,
    FrameReader,
    SegmentHeader,
    decode_segment_header,
    encode_group,
)
from actors.log.marks import BEGINNING_NAME, EndMark, read_beginning, read_end, write_beginning

_PARTITION_NAME = re.compile(r"p-(\d{4,})")
_SEGMENT_NAME = re.compile(r"(\d{20})\.seg")
_UNFINISHED_SEGMENT = "next.tmp"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One segment file whose header was verified."""

    path: Path
    header: SegmentHeader
    checksum: Checksum
    """Of the header; the first frame chains to it."""


class _Failure(NamedTuple):
    """Why a log is dead."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Extent:
    """How far the log is durable. Replaced as a whole, so that a reader beside the writer sees one moment."""

    segments: tuple[Segment, ...]
    position: int
    """Byte behind the last complete group in the last segment."""
    offset: Offset
    checksum: Checksum
    epoch: Epoch


class _Mark(NamedTuple):
    """Where a group starts inside a segment, so that reading need not begin at the segment's header."""

    offset: Offset
    position: int
    checksum: Checksum
    """Of the record before the group; the group chains to it."""


MARK_EVERY_BYTES = 64 << 10
"""Distance of marks: a read skips at most so much before it reaches its start."""


class SegmentStore:
    """The embedded `LogStore`: every partition's log under one directory, each open in at most one process."""

    def __init__(self, directory: Path, *, settings: SegmentSettings | None = None, files: Files | None = None) -> None:
        self._directory = directory
        self._settings = settings or SegmentSettings()
        self._files = files or Files()

    def open(self, partition: PartitionId, *, acknowledged_end: Offset = LOG_START) -> SegmentLog:
        with _unavailable(partition, self._directory):
            self._files.make_directory(self._directory)
            lock = lock_partition(partition, self._directory, self._files)
        try:
            with _unavailable(partition, self._directory):
                directory = self._partition_directory(partition)
                return SegmentLog(partition, directory, lock, acknowledged_end, self._settings, self._files)
        except BaseException:
            os.close(lock)
            raise

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
        self._marks: dict[Offset, list[_Mark]] = {}
        """By first offset of the segment; its groups in order, sparse."""
        segments = load_segments(partition, directory, files)
        acknowledged_end = max(acknowledged_end, read_end(partition, directory, files))
        self._descriptor = files.open(segments[-1].path, os.O_RDWR)
        try:
            self._extent, self._cut_bytes = self._recover(segments, acknowledged_end)
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
            with _unavailable(self._partition, self._directory):
                return self._drop_before(offset, extent)
        finally:
            self._appending.release()

    def _drop_before(self, offset: Offset, extent: _Extent) -> Offset:
        ended = bisect_right(extent.segments, offset, key=lambda segment: segment.header.first_offset) - 1
        kept = extent.segments[max(ended, 0) :]
        first = kept[0].header.first_offset
        if len(kept) < len(extent.segments):
            # Before the first file goes: a log without its oldest segment is damage unless this marker says otherwise.
            write_beginning(self._partition, self._directory, first, self._files)
            # Before the files go, too: a reader that finds one gone looks here for the reason.
            self._extent = replace(extent, segments=kept)
            for segment in extent.segments[: -len(kept)]:
                self._marks.pop(segment.header.first_offset, None)
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

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._end_mark.close()
            self._files.close(self._descriptor)
            os.close(self._lock)

    def _usable(self) -> _Extent:
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
        self._mark(extent.segments[-1], _Mark(extent.offset, extent.position, extent.checksum))
        self._extent = _Extent(
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

    def _mark(self, segment: Segment, mark: _Mark) -> None:
        marks = self._marks.setdefault(segment.header.first_offset, [])
        if not marks or mark.position - marks[-1].position >= MARK_EVERY_BYTES:
            marks.append(mark)

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

    def _roll(self, extent: _Extent) -> _Extent:
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

    def _recover(self, segments: tuple[Segment, ...], acknowledged_end: Offset) -> tuple[_Extent, int]:
        """Verify the last segment, cut a torn group off its end; return how far the log goes and the bytes cut."""
        # A dead owner may have written what it never synced: make it durable before anyone folds it. After a failed
        # sync the kernel calls such pages clean though the device never got them, so read past its cache.
        self._files.fdatasync(self._descriptor)
        self._files.forget_cached(self._descriptor)
        path = segments[-1].path
        size = self._files.size(path)
        reader = FrameReader(self._files, self._descriptor, end=size)
        extent, fault = self._last_complete_group(segments, reader)
        if fault is not None:
            self._check_torn(path, fault, reader, extent)
        if extent.offset < acknowledged_end:
            position, what = (fault.position, fault.what + "; ") if fault else (extent.position, "")
            what += f"the log ends at offset {extent.offset}, {acknowledged_end} was acknowledged"
            raise DamagedLog(self._partition, str(path), position, what)
        if extent.position < size:
            self._files.truncate(self._descriptor, extent.position)
            self._files.fsync(self._descriptor)
        return extent, size - extent.position

    def _check_torn(self, path: Path, fault: Fault, reader: FrameReader, extent: _Extent) -> None:
        """Raise unless a crash while the last group was written explains the fault.

        A group is written after the one before was synced, so good records of a later group behind the fault mean that
        what is broken was whole once. Good records of the same group mean nothing: the device orders its own writes.
        """
        if fault.is_whole:
            raise DamagedLog(self._partition, str(path), fault.position, fault.what)
        later = reader.find(fault, group_after=extent.offset)
        if later is not None:
            what = f"{fault.what}; good record {later.offset} of a later group follows at byte {later.position}"
            raise DamagedLog(self._partition, str(path), fault.position, what)

    def _last_complete_group(self, segments: tuple[Segment, ...], reader: FrameReader) -> tuple[_Extent, Fault | None]:
        """Walk the last segment; return its extent up to the last complete group, and what is wrong behind it."""
        last = segments[-1]
        position, offset, checksum = SEGMENT_HEADER_BYTES, last.header.first_offset, last.checksum
        newest = epoch = last.header.last_epoch
        seen = position
        for frame in reader.follow(position, offset=offset, previous=checksum):
            if frame.unknown:
                raise UnknownFormat(self._partition, str(last.path), frame.unknown)
            newest, seen = max(newest, frame.epoch), frame.end
            if frame.group_index == 0:
                self._mark(last, _Mark(Offset(frame.offset), frame.position, frame.previous))
            if frame.is_last_of_group:
                position, offset, checksum, epoch = frame.end, Offset(frame.offset + 1), frame.checksum, newest
        fault = reader.fault
        if fault is None and seen != position:
            fault = Fault(position=seen, what="the file ends inside a group")
        extent = _Extent(segments=segments, position=position, offset=offset, checksum=checksum, epoch=epoch)
        return extent, fault

    def _read(self, start: Offset, extent: _Extent) -> Iterator[StoredRecord]:
        for segment, following in zip(extent.segments, (*extent.segments[1:], None), strict=True):
            if following is None:
                yield from self._read_segment(segment, start, extent.position, (extent.offset, extent.checksum))
            elif following.header.first_offset > start:
                header = following.header
                end = (header.first_offset, header.previous_checksum)
                yield from self._read_segment(segment, start, header.previous_bytes, end)

    def _read_segment(
        self, segment: Segment, start: Offset, length: int, end: tuple[Offset, Checksum]
    ) -> Iterator[StoredRecord]:
        """Yield a segment's records from `start` on, of those in its first `length` bytes, which lead to `end`."""
        path = str(segment.path)
        with _unavailable(self._partition, segment.path), self._opened_for_reading(segment, start) as descriptor:
            reader = FrameReader(self._files, descriptor, end=length)
            offset, position, checksum = self._nearest(segment, start)
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
    def _opened_for_reading(self, segment: Segment, start: Offset) -> Iterator[int]:
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

    def _nearest(self, segment: Segment, start: Offset) -> _Mark:
        """Return the last mark at or before `start`; the segment's own beginning where there is none."""
        marks = self._marks.get(segment.header.first_offset, [])
        place = bisect_right(marks, start, key=lambda mark: mark.offset)
        if place == 0:
            return _Mark(segment.header.first_offset, SEGMENT_HEADER_BYTES, segment.checksum)
        return marks[place - 1]


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


def create_segment(directory: Path, header: SegmentHeader, files: Files) -> tuple[Segment, int]:
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
    return Segment(path=path, header=header, checksum=checksum), descriptor


def load_segments(partition: PartitionId, directory: Path, files: Files) -> tuple[Segment, ...]:
    """Return a partition's segments, headers verified and each continuing the one before by name and length.

    Raises:
        DamagedLog: a header is broken, a segment is missing at the beginning or between two, or one before the last is
            too short or long.
        UnknownFormat: a segment of a newer format.
    """
    beginning = read_beginning(partition, directory, files)
    if isinstance(beginning, str):
        raise DamagedLog(partition, str(directory / BEGINNING_NAME), 0, beginning)
    segments: list[Segment] = []
    for path in segment_paths(directory, files):
        if path.name < segment_name(beginning):
            continue
        segment = _load_segment(partition, path, files)
        if segments:
            _check_continues(partition, segments[-1], segment, files)
        segments.append(segment)
    if not segments:
        raise DamagedLog(partition, str(directory), 0, "the directory holds no segment")
    if segments[0].header.first_offset != beginning:
        path = directory / segment_name(beginning)
        raise DamagedLog(partition, str(path), 0, f"the log begins at offset {beginning}, and this segment is missing")
    return tuple(segments)


def _load_segment(partition: PartitionId, path: Path, files: Files) -> Segment:
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
    return Segment(path=path, header=header, checksum=checksum)


def _check_continues(partition: PartitionId, before: Segment, segment: Segment, files: Files) -> None:
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
    # For people only, so a full disk does not matter here.
    with contextlib.suppress(OSError):
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
def _unavailable(partition: PartitionId, path: Path) -> Iterator[None]:
    """Name partition and path where the storage refuses."""
    try:
        yield
    except OSError as error:
        raise LogUnavailable(partition, str(path), str(error)) from error
