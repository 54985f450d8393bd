"""Two small files beside an embedded log's segments that know what the segments alone cannot tell of a log's two ends.

`first`: where it begins since old segments were given up on purpose; durable before any goes. Without it a log begins
at offset 0, so an oldest segment that is missing by accident always shows.

`end`: an end that was acknowledged. Written after each group and never synced, so after a power cut it may be some
seconds old or unreadable, but it is never ahead of what is durable: a log that ends before it was cut or damaged. It is
evidence and nothing else; one that cannot be read or written changes nothing.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from xxhash import xxh3_64_intdigest

from actors.log.contract import LOG_START, Offset, PartitionId
from actors.log.files import Files, read_fully, write_fully
from actors.passing_over import passing_over

BEGINNING_NAME = "first"
END_NAME = "end"
_UNFINISHED = "first.tmp"
_BEGINNING_MAGIC = b"hearthfo"
_END_MAGIC = b"heartheo"
_FORMAT = 1
_FIELDS = struct.Struct("<8sIIQ")
_CHECKSUM = struct.Struct("<Q")
MARK_BYTES = _FIELDS.size + _CHECKSUM.size


def read_beginning(partition: PartitionId, directory: Path, files: Files) -> Offset | str:
    """Return the offset at which a partition's log begins, or what is wrong with its mark.

    Raises:
        OSError: it is there and cannot be read.
    """
    try:
        content = _content(directory / BEGINNING_NAME, files)
    except FileNotFoundError:
        return LOG_START
    return _decoded(content, _BEGINNING_MAGIC, partition)


def write_beginning(partition: PartitionId, directory: Path, offset: Offset, files: Files) -> None:
    """Say durably that a log begins at `offset`, which is the first of a segment.

    Raises:
        OSError: the log begins there or where it began before; asking again is safe.
    """
    unfinished = directory / _UNFINISHED
    descriptor = files.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        write_fully(files, descriptor, _encoded(_BEGINNING_MAGIC, partition, offset), 0)
        files.fsync(descriptor)
    finally:
        files.close(descriptor)
    files.rename(unfinished, directory / BEGINNING_NAME)
    files.sync_directory(directory)


def read_end(partition: PartitionId, directory: Path, files: Files) -> Offset:
    """Return an end that was acknowledged; LOG_START if there is no evidence of any."""
    try:
        decoded = _decoded(_content(directory / END_NAME, files), _END_MAGIC, partition)
    except OSError:
        return LOG_START
    return LOG_START if isinstance(decoded, str) else decoded


class EndMark:
    """Keeps the `end` of a log that is open. Never raises: without it the log is as good as before."""

    def __init__(self, partition: PartitionId, directory: Path, files: Files) -> None:
        self._partition = partition
        self._files = files
        self._descriptor: int | None = None
        with passing_over(OSError, because="a log without a mark of its end is opened all the same"):
            self._descriptor = files.open(directory / END_NAME, os.O_RDWR | os.O_CREAT)

    def write(self, offset: Offset) -> None:
        """Note an end that is durable and about to be acknowledged."""
        if self._descriptor is not None:
            with passing_over(OSError, because="the mark only ever says less than there is"):
                write_fully(self._files, self._descriptor, _encoded(_END_MAGIC, self._partition, offset), 0)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            self._files.close(self._descriptor)
            self._descriptor = None


def _encoded(magic: bytes, partition: PartitionId, offset: Offset) -> bytes:
    fields = _FIELDS.pack(magic, _FORMAT, partition, offset)
    return fields + _CHECKSUM.pack(xxh3_64_intdigest(fields))


def _content(path: Path, files: Files) -> bytes:
    descriptor = files.open(path, os.O_RDONLY)
    try:
        # One byte more than it has, so that a longer one shows.
        return read_fully(files, descriptor, MARK_BYTES + 1, 0)
    finally:
        files.close(descriptor)


def _decoded(content: bytes, expected_magic: bytes, partition: PartitionId) -> Offset | str:
    if len(content) != MARK_BYTES:
        return f"{len(content)} bytes long, {MARK_BYTES} expected"
    magic, number, owner, offset = _FIELDS.unpack_from(content)
    (checksum,) = _CHECKSUM.unpack_from(content, _FIELDS.size)
    if magic != expected_magic:
        return "it is no mark of this kind"
    if checksum != xxh3_64_intdigest(content[: _FIELDS.size]):
        return "its checksum does not match"
    if number != _FORMAT or owner != partition:
        return f"format {number} of partition {owner}, expected {_FORMAT} of {partition}"
    return Offset(offset)
