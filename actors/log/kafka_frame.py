"""The bytes of a log on Kafka: one message holds one group, so a group is there whole or not at all.

Owns the layout (docs/decisions/0010-kafka-log.md) and the difference between a good message and a bad one. Knows no
broker, and decides nothing about what to do with a bad one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from actors.log.contract import Epoch, Offset, PartitionId, Record, StoredRecord
from actors.log.frame import KIND_BY_NUMBER

FORMAT = 1
MAGIC = 0x50524748  # b"HGRP" in the message
ROW_BITS = 20
"""Of an offset: the position in the group; above them the message's offset on Kafka. Part of the format."""

GROUP_RECORDS_MAX = (1 << ROW_BITS) - 1

_CHECKSUM = struct.Struct("<Q")
# The checksum comes first, so that what it covers is one contiguous run: the rest of the header and all records.
_COVERED = struct.Struct("<IHHII16sQQQ")
HEADER_BYTES = _CHECKSUM.size + _COVERED.size
_RECORD = struct.Struct("<IHBBQq")
RECORD_HEADER_BYTES = _RECORD.size


class GroupHeader(NamedTuple):
    """Who wrote a group, as which of its groups, and what its writer knew of the log."""

    partition: PartitionId
    record_count: int
    writer: bytes
    """16 bytes that name the log object that wrote it, never used again."""
    sequence: int
    """Number of the group among those of its writer, from 0."""
    follows: int
    """Where on Kafka the log ended as far as its writer had looked; the group itself stands there or behind."""
    epoch_so_far: Epoch
    """Highest epoch of this group and of everything before `follows`, dropped records included."""


class NotAGroup(Exception):
    """A message is not what a log wrote."""

    def __init__(self, position: int, what: str) -> None:
        super().__init__(position, what)
        self.position = position
        """Byte within the message."""
        self.what = what


class NewerGroup(Exception):
    """A message is intact, but of a format or kind that this version does not know."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def group_bytes(records: Sequence[Record]) -> int:
    """Return how long the message of these records is."""
    return HEADER_BYTES + sum(RECORD_HEADER_BYTES + len(record.payload) for record in records)


def encode_group(header: GroupHeader, records: Sequence[Record]) -> bytes:
    """Return the message of a group."""
    assert 0 < header.record_count == len(records) <= GROUP_RECORDS_MAX
    pack = _RECORD.pack
    parts = [_COVERED.pack(MAGIC, FORMAT, 0, *header)]
    for record in records:
        payload = record.payload
        parts.append(pack(len(payload), record.version, record.kind, 0, record.epoch, record.stamp_us))
        parts.append(payload)
    covered = b"".join(parts)
    return _CHECKSUM.pack(xxh3_64_intdigest(covered)) + covered


def decode_header(message: bytes) -> GroupHeader:
    """Verify a message as a whole and return its header.

    Raises:
        NotAGroup, NewerGroup.
    """
    if len(message) < HEADER_BYTES:
        raise NotAGroup(0, f"{len(message)} bytes are too few for a group")
    magic, number, flags, *fields = _COVERED.unpack_from(message, _CHECKSUM.size)
    if magic != MAGIC:
        raise NotAGroup(0, "not a group of a Hearth log")
    if xxh3_64_intdigest(memoryview(message)[_CHECKSUM.size :]) != _CHECKSUM.unpack_from(message)[0]:
        raise NotAGroup(0, "the group's checksum does not match")
    if number != FORMAT or flags:
        raise NewerGroup(f"group format {number} with flags {flags:#06x}, this version knows {FORMAT} without any")
    return GroupHeader(*fields)


def decode_records(message: bytes, header: GroupHeader, place: int) -> list[StoredRecord]:
    """Return the records of a verified message that stands at `place` on Kafka.

    Raises:
        NotAGroup, NewerGroup.
    """
    records: list[StoredRecord] = []
    position, first = HEADER_BYTES, place << ROW_BITS
    for row in range(header.record_count):
        if position + RECORD_HEADER_BYTES > len(message):
            raise NotAGroup(position, f"the group ends before record {row} of {header.record_count}")
        length, version, number, flags, epoch, stamp_us = _RECORD.unpack_from(message, position)
        kind = KIND_BY_NUMBER.get(number)
        if kind is None or flags:
            raise NewerGroup(f"record {row} is of unknown kind {number} with flags {flags:#04x}")
        begin = position + RECORD_HEADER_BYTES
        position = begin + length
        if position > len(message):
            raise NotAGroup(begin, f"the group ends inside record {row} of {header.record_count}")
        record = Record(kind=kind, version=version, epoch=epoch, stamp_us=stamp_us, payload=message[begin:position])
        records.append(StoredRecord(offset=Offset(first | row), record=record))
    if position != len(message):
        raise NotAGroup(position, f"{len(message) - position} bytes behind the last record")
    return records


def first_offset(place: int) -> Offset:
    """Return the offset of the first record of the message at `place` on Kafka."""
    return Offset(place << ROW_BITS)


def place_of(offset: Offset) -> int:
    """Return where on Kafka the message of a record stands."""
    return offset >> ROW_BITS
