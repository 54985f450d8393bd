"""A partition's reject log, open: what it holds, appending to it in groups, and giving up its oldest."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import xxhash

from actors.log.contract import (
    Epoch,
    Offset,
    PartitionLog,
    Record,
    RecordKind,
    RecordTooLong,
)
from actors.rejects.entries import REJECT_LAYOUT, Reject, decode_reject, encode_reject
from actors.rejects.settings import RejectCounters, RejectSettings
from wire.positions import place_of

RowPlace = tuple[int, int]
"""Offset and row."""

NOWHERE: RowPlace = (-1, -1)


@dataclass(slots=True)
class RejectLog:
    """The reject log of a partition, open, and what it is known to hold."""

    log: PartitionLog
    counters: RejectCounters
    newest: RowPlace = NOWHERE
    """Of the events in the log, the newest that is kept."""
    known: dict[int, int] = field(default_factory=dict)
    """Hash of each position outside the log, and the offset of its entry."""
    offsets: "array[int]" = field(default_factory=lambda: array("q"))
    lengths: "array[int]" = field(default_factory=lambda: array("q"))
    kept_bytes: int = 0

    @classmethod
    def read(cls, log: PartitionLog, counters: RejectCounters) -> "RejectLog":
        """Return an open log with all that it holds looked at; it is closed if that fails.

        Raises:
            LogError, PayloadUnreadable: as reading the log does.
        """
        held = cls(log, counters)
        try:
            for stored in log.read(log.first_offset):
                is_mark = stored.record.kind is RecordKind.REPLAYED
                payload = stored.record.payload
                held.took(stored.offset, decode_reject(payload), length=len(payload), is_mark=is_mark)
        except BaseException:
            log.close()
            raise
        return held

    def append(self, rejects: Sequence[Reject], kind: RecordKind, epoch: Epoch) -> None:
        """Make a group durable and count it.

        Of what is too long even by itself, all is kept but its bytes, which its record in the partition's log has.
        """
        in_term = max(epoch, self.log.last_epoch)
        records = [
            Record(
                kind=kind, version=REJECT_LAYOUT, epoch=in_term, stamp_us=reject.at_us, payload=encode_reject(reject)
            )
            for reject in rejects
        ]
        try:
            offset = self.log.append(records)
        except RecordTooLong as refused:
            if len(rejects) > 1:
                for reject in rejects:
                    self.append([reject], kind, epoch)
            else:
                self.append([_without_bytes(rejects[0], refused)], kind, epoch)
            return
        for place, (reject, record) in enumerate(zip(rejects, records, strict=True)):
            is_mark = kind is RecordKind.REPLAYED
            self.took(offset + place, reject, length=len(record.payload), is_mark=is_mark)
        self.counters.kept += len(records) if kind is RecordKind.REJECT else 0

    def took(self, offset: int, reject: Reject, *, length: int, is_mark: bool) -> None:
        """Know of an entry that stands at an offset."""
        self.offsets.append(offset)
        self.lengths.append(length)
        self.kept_bytes += length
        place = place_of(reject.position)
        if is_mark:
            return
        if place is None:
            self.known.setdefault(hash_of(reject.position), offset)
        else:
            self.newest = max(self.newest, place[1:])

    def drop_beyond(self, bytes_max: int) -> int:
        """Give up the oldest; return how many entries went."""
        surplus, count = self.kept_bytes - bytes_max, 0
        while surplus > 0:
            surplus -= self.lengths[count]
            count += 1
        if count == 0 or count == len(self.offsets):
            return 0
        first = self.log.drop_before(Offset(self.offsets[count]))
        gone = bisect_left(self.offsets, first)
        self.kept_bytes -= sum(self.lengths[:gone])
        del self.offsets[:gone], self.lengths[:gone]
        if gone:
            self.known = {key: offset for key, offset in self.known.items() if offset >= first}
        return gone


def groups_of(rejects: Iterable[Reject], settings: RejectSettings) -> Iterator[list[Reject]]:
    """Yield rejects as groups to be appended, none longer than the settings have it."""
    group: list[Reject] = []
    size = 0
    for reject in rejects:
        group.append(reject)
        size += len(reject.original)
        if len(group) >= settings.group_rows or size >= settings.group_bytes:
            yield group
            group, size = [], 0
    if group:
        yield group


def _without_bytes(reject: Reject, refused: RecordTooLong) -> Reject:
    if not reject.original:
        raise refused
    detail = f"{reject.detail}; its {len(reject.original):,} bytes are in the log only".removeprefix("; ")
    return replace(reject, original=b"", detail=detail)


def hash_of(position: str) -> int:
    """Return what a position is known by."""
    return xxhash.xxh3_64_intdigest(position.encode())
