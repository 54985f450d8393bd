"""The bytes of the embedded log: frames, segment headers, and how a run of frames is verified.

Owns the layout (docs/decisions/0005-embedded-log.md) and the difference between a good frame and a bad one. Decides
nothing about what to do with a bad one, and writes nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, NewType

import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

from actors.log.contract import Epoch, Offset, PartitionId, Record, RecordKind, StoredRecord
from actors.log.files import Files, read_fully

Checksum = NewType("Checksum", int)
"""xxh3_64 of a frame behind its checksum field, or of a segment header before it; 0 ≤ c < 2**64."""

FORMAT = 1
PAYLOAD_BYTES_MAX = 64 << 20
"""Part of the format, not a setting: lowering a setting must not turn stored records into damage."""

SEGMENT_MAGIC = b"hearthsg"
_SEGMENT_FIELDS = struct.Struct("<8sIIQQQQQ")
_CHECKSUM = struct.Struct("<Q")
SEGMENT_HEADER_BYTES = _SEGMENT_FIELDS.size + _CHECKSUM.size

FRAME_MAGIC = 0x4D524648  # b"HFRM" on disk
_FRAME_MAGIC_BYTES = struct.pack("<I", FRAME_MAGIC)
# The checksum comes first, so that what it covers is one contiguous run: the rest of the header and the payload.
_FRAME = struct.Struct("<QIIQQQqIHBB")
_COVERED = struct.Struct("<IIQQQqIHBB")
FRAME_HEADER_BYTES = _FRAME.size
assert _COVERED.size + _CHECKSUM.size == FRAME_HEADER_BYTES

LAST_OF_GROUP = 1
ESCAPED = 2
"""The payload as stored is escaped: what clients send may hold whole frames, and none may be found inside a record."""
KNOWN_FLAGS = LAST_OF_GROUP | ESCAPED
_ESCAPED_BYTES_MAX = PAYLOAD_BYTES_MAX // 3 * 4 + 4
"""Of a stored payload that is escaped: four bytes for three at most."""
_MAGIC_START = _FRAME_MAGIC_BYTES[:3]
_MAGIC_START_ESCAPED = _MAGIC_START + b"\0"
KIND_BY_NUMBER = {int(kind): kind for kind in RecordKind}

_LONG_BYTES = 32 << 10
"""From here on Arrow's search, which looks at many bytes at once, is faster than Python's: 0.2 ms for a megabyte."""
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHeader:
    """The first 64 bytes of a segment: who it belongs to and which segment it continues."""

    partition: PartitionId
    first_offset: Offset
    last_epoch: Epoch
    """Highest epoch before this segment, so that opening need not read the older ones."""
    previous_first_offset: Offset
    """First offset of the segment before, its own where there is none: a missing segment shows without reading any."""
    previous_bytes: int
    """Length of the segment before: a shortened one shows without reading it."""
    previous_checksum: Checksum
    """Checksum the segment before ends with; 0 where there is none."""

    def encode(self) -> tuple[bytes, Checksum]:
        """Return the header's bytes and its checksum, which the first frame chains to."""
        fields = _SEGMENT_FIELDS.pack(
            SEGMENT_MAGIC,
            FORMAT,
            self.partition,
            self.first_offset,
            self.last_epoch,
            self.previous_first_offset,
            self.previous_bytes,
            self.previous_checksum,
        )
        checksum = Checksum(xxh3_64_intdigest(fields))
        return fields + _CHECKSUM.pack(checksum), checksum


def decode_segment_header(content: bytes) -> tuple[SegmentHeader, Checksum, int] | str:
    """Return header, checksum and format number of a segment's first bytes, or what is wrong with them."""
    if len(content) < SEGMENT_HEADER_BYTES:
        return f"the file ends after {len(content)} of {SEGMENT_HEADER_BYTES} header bytes"
    magic, number, partition, first, epoch, before, length, previous = _SEGMENT_FIELDS.unpack_from(content)
    (checksum,) = _CHECKSUM.unpack_from(content, _SEGMENT_FIELDS.size)
    if magic != SEGMENT_MAGIC:
        return "not a segment of a Hearth log"
    if checksum != xxh3_64_intdigest(content[: _SEGMENT_FIELDS.size]):
        return "the segment header's checksum does not match"
    header = SegmentHeader(
        partition=PartitionId(partition),
        first_offset=Offset(first),
        last_epoch=Epoch(epoch),
        previous_first_offset=Offset(before),
        previous_bytes=length,
        previous_checksum=Checksum(previous),
    )
    return header, Checksum(checksum), number


def header_checksums(content: bytes) -> tuple[int, ...]:
    """Return what may have been the checksum of a damaged segment header: the stored one, and that of its fields."""
    if len(content) < SEGMENT_HEADER_BYTES:
        return ()
    (stored,) = _CHECKSUM.unpack_from(content, _SEGMENT_FIELDS.size)
    return stored, xxh3_64_intdigest(content[: _SEGMENT_FIELDS.size])


def encode_group(records: Sequence[Record], *, offset: Offset, previous: Checksum) -> tuple[bytes, Checksum]:
    """Return the frames of one group as one run of bytes, and the checksum the next group chains to."""
    pack, pack_checksum, digest = _COVERED.pack, _CHECKSUM.pack, xxh3_64_intdigest
    checksum: int = previous
    last = len(records) - 1
    parts: list[bytes] = []
    for index, record in enumerate(records):
        payload, flags = record.payload, LAST_OF_GROUP if index == last else 0
        if _holds_magic(payload):
            # Its first three bytes cannot overlap with themselves, so this is undone by the opposite replacement.
            payload, flags = payload.replace(_MAGIC_START, _MAGIC_START_ESCAPED), flags | ESCAPED
        covered = (
            pack(
                FRAME_MAGIC,
                len(payload),
                offset + index,
                checksum,
                record.epoch,
                record.stamp_us,
                index,
                record.version,
                record.kind,
                flags,
            )
            + payload
        )
        checksum = digest(covered)
        parts.append(pack_checksum(checksum))
        parts.append(covered)
    return b"".join(parts), Checksum(checksum)


def _holds_magic(payload: bytes) -> bool:
    if len(payload) < _LONG_BYTES:
        return _FRAME_MAGIC_BYTES in payload
    return bool(pc.match_substring_regex(pa.array([payload], pa.binary()), _FRAME_MAGIC_BYTES.decode())[0].as_py())


class Frame(NamedTuple):
    """One frame whose own checksum is right. A tuple, not a dataclass: one is made per record on replay."""

    position: int
    end: int
    """Byte position behind it."""
    checksum: Checksum
    offset: Offset
    previous: Checksum
    epoch: Epoch
    stamp_us: int
    group_index: int
    version: int
    kind: int
    flags: int
    payload: bytes

    @property
    def is_last_of_group(self) -> bool:
        return bool(self.flags & LAST_OF_GROUP)

    @property
    def unknown(self) -> str | None:
        """What a newer version wrote that this one cannot read."""
        if self.kind not in KIND_BY_NUMBER:
            return f"record {self.offset} is of unknown kind {self.kind}"
        if self.flags & ~KNOWN_FLAGS:
            return f"record {self.offset} has unknown flags {self.flags:#04x}"
        return None

    def stored(self) -> StoredRecord:
        record = Record(
            kind=KIND_BY_NUMBER[self.kind],
            version=self.version,
            epoch=self.epoch,
            stamp_us=self.stamp_us,
            payload=self.payload,
        )
        return StoredRecord(offset=self.offset, record=record)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Where a run of frames stops being what was written, and how that shows."""

    position: int
    what: str
    is_whole: bool = False
    """The frame there is good by itself and does not belong there. A crash tears frames, it does not place them."""
    claimed: Claim | None = None
    """What the broken frame says of itself, where its header is the one that belongs there."""


class Claim(NamedTuple):
    """Which bytes a broken frame was to take, and the checksum that the frame behind it was to chain to."""

    end: int
    checksum: Checksum

    def is_before(self, frame: Frame) -> bool:
        """Return whether a good frame stands behind the broken one, not inside it."""
        return frame.position >= self.end or frame.previous == self.checksum


class FrameReader:
    """Reads and verifies the frames of one open segment up to a fixed end."""

    fault: Fault | None = None
    """Where and why the newest `follow` stopped early; None while it runs and when it reached the segment's end."""

    def __init__(self, files: Files, descriptor: int, *, end: int) -> None:
        self._files = files
        self._descriptor = descriptor
        self._end = end
        self._buffer = b""
        self._view = memoryview(b"")
        self._base = 0

    def frame_at(self, position: int) -> Frame | Fault:
        """Return the frame at `position` if it agrees with its own checksum, which says nothing of its neighbours."""
        remaining = self._end - position
        if remaining < FRAME_HEADER_BYTES:
            return Fault(position=position, what=f"the file ends {remaining} bytes into a record's header")
        at = self._load(position, FRAME_HEADER_BYTES)
        if at is None:
            return Fault(position=position, what="the file became shorter while it was read")
        checksum, magic, length, offset, previous, epoch, stamp_us, group_index, version, kind, flags = (
            _FRAME.unpack_from(self._buffer, at)
        )
        if magic != FRAME_MAGIC:
            return Fault(position=position, what="no record begins here")
        if length > (_ESCAPED_BYTES_MAX if flags & ESCAPED else PAYLOAD_BYTES_MAX):
            return Fault(position=position, what=f"length {length} is beyond the limit of {PAYLOAD_BYTES_MAX}")
        size = FRAME_HEADER_BYTES + length
        if size > remaining:
            return Fault(position=position, what=f"the file ends {remaining} bytes into a record of {size}")
        at = self._load(position, size)
        if at is None:
            return Fault(position=position, what="the file became shorter while it was read")
        if xxh3_64_intdigest(self._view[at + _CHECKSUM.size : at + size]) != checksum:
            return Fault(position=position, what="the record's checksum does not match")
        payload = self._buffer[at + FRAME_HEADER_BYTES : at + size]
        if flags & ESCAPED:
            payload = payload.replace(_MAGIC_START_ESCAPED, _MAGIC_START)
        return Frame(
            position, position + size, checksum, offset, previous, epoch, stamp_us, group_index, version, kind, flags,
            payload,
        )  # fmt: skip

    def follow(self, position: int, *, offset: Offset, previous: Checksum, group_index: int = 0) -> Iterator[Frame]:
        """Yield frames from `position` on while each continues the one before; then look at `fault`."""
        self.fault = None
        expected_offset: int = offset
        while position < self._end:
            frame = self.frame_at(position)
            if isinstance(frame, Fault):
                claimed = self._claim(position, expected_offset, previous, group_index)
                self.fault = replace(frame, claimed=claimed)
                return
            if frame.previous != previous or frame.offset != expected_offset or frame.group_index != group_index:
                if frame.offset != expected_offset:
                    what = f"offset {frame.offset}, expected {expected_offset}"
                elif frame.group_index != group_index:
                    what = f"index {frame.group_index} in its group, expected {group_index}"
                else:
                    what = "the record does not chain to the one before it"
                self.fault = Fault(position=position, what=what, is_whole=True)
                return
            yield frame
            position, previous, expected_offset = frame.end, frame.checksum, expected_offset + 1
            group_index = 0 if frame.flags & LAST_OF_GROUP else group_index + 1

    def find(self, fault: Fault, *, group_after: int = -1) -> Frame | None:
        """Return the first frame behind a fault that is good by itself and of a group begun after an offset.

        What lies where the broken frame was to lie is content of it, and no frame, unless it chains to that: a record
        that was written before payloads were escaped may hold the bytes of frames.

        Reads the rest of the segment into memory.
        """
        position, claimed = fault.position, fault.claimed
        remaining = self._end - position
        if remaining < FRAME_HEADER_BYTES or self._load(position, remaining) is None:
            return None
        magic_at = self._buffer.find(_FRAME_MAGIC_BYTES, position - self._base + _CHECKSUM.size)
        while magic_at >= 0:
            frame = self.frame_at(self._base + magic_at - _CHECKSUM.size)
            search_from = magic_at + 1
            if isinstance(frame, Frame) and (claimed is None or claimed.is_before(frame)):
                # It begins where the broken one ends, or that one's length is what is broken.
                claimed = None
                if frame.offset - frame.group_index > group_after:
                    return frame
                # What a good frame holds is its content, whatever it looks like.
                search_from = frame.end - self._base
            magic_at = self._buffer.find(_FRAME_MAGIC_BYTES, search_from)
        return None

    def _claim(self, position: int, offset: int, previous: int, group_index: int) -> Claim | None:
        """Return what the broken frame at `position` says of itself if its header is the one that belongs there."""
        if self._end - position < FRAME_HEADER_BYTES or (at := self._load(position, FRAME_HEADER_BYTES)) is None:
            return None
        checksum, magic, length, *place, _, _, index, _, _, flags = _FRAME.unpack_from(self._buffer, at)
        length_max = _ESCAPED_BYTES_MAX if flags & ESCAPED else PAYLOAD_BYTES_MAX
        if magic != FRAME_MAGIC or length > length_max or (*place, index) != (offset, previous, group_index):
            return None
        return Claim(position + FRAME_HEADER_BYTES + length, Checksum(checksum))

    def _load(self, position: int, length: int) -> int | None:
        """Return where in the buffer `position` is, once `length` bytes from there are in it; None if they are gone."""
        at = position - self._base
        if at >= 0 and at + length <= len(self._buffer):
            return at
        wanted = min(max(length, _READ_BYTES), self._end - position)
        self._buffer = read_fully(self._files, self._descriptor, wanted, position)
        self._view = memoryview(self._buffer)
        self._base = position
        return 0 if length <= len(self._buffer) else None
