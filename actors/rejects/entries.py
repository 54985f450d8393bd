"""Entries of a reject log: what was rejected, why, where it stood, and its bytes as they came.

Owns their bytes and how they are read back. Who writes them is told in rejects.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import msgpack
import pyarrow as pa

from actors.log.contract import RecordKind, StoredRecord
from actors.log.reading import read_only_logs
from actors.records.payload import PayloadUnreadable
from actors.rejects.reasons import why_rejected
from hearth.v1 import admin_pb2
from household.events import LONGEST_KEY, NO_TIME_US, Status
from household.plan import Plan
from wire.batches import FIXED_COLUMNS, IDENTIFIER_COLUMN, SOURCE_COLUMN, field_of, ipc_bytes
from wire.positions import INGEST, place_of, source_of
from wire.rejects import REPLAYED

REJECT_LAYOUT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """One entry."""

    position: str
    """Of an event in the log, or of what never became one, where it stood outside (wire/positions.py). Its identity."""
    reason: str
    """A Status by name, a connector's own such as UNREADABLE, or REPLAYED and what came of it."""
    detail: str = ""
    """For people."""
    type: str = ""
    """Event type, as far as there is one."""
    source: str = ""
    """INGEST, or the position without its last number."""
    at_us: int
    """The owner's stamp."""
    original: bytes = b""
    """An event in the log: an Arrow IPC stream of its one row. Anything else: its bytes as they came."""

    @property
    def is_event(self) -> bool:
        """Whether it was a signal, so that it can be sent again as it is."""
        return place_of(self.position) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptReject:
    """A reject as the store of a data directory has it."""

    partition: int
    reject: Reject
    outcomes: tuple[str, ...] = ()
    """What came of its replays, oldest first: a Status by name."""


def reject_of_request(request: admin_pb2.Reject, at_us: int) -> Reject:
    """Return the entry of what a connector reported, or of the mark that a replay leaves."""
    return Reject(
        position=request.position,
        reason=request.reason,
        detail=request.detail,
        source=source_of(request.position),
        at_us=at_us,
        original=request.original,
    )


def encode_reject(reject: Reject) -> bytes:
    """Return an entry's payload."""
    return bytes(msgpack.packb(asdict(reject)))


def decode_reject(payload: bytes) -> Reject:
    """Return the entry of a record.

    Raises:
        PayloadUnreadable: not an entry.
    """
    try:
        return Reject(**msgpack.unpackb(payload))
    except (ValueError, TypeError, msgpack.UnpackException) as wrong:
        raise PayloadUnreadable(f"reject: {wrong}") from wrong


# --- the row of an event ---------------------------------------------------------------------------------------------


def one_row(batch: pa.RecordBatch, row: int) -> bytes:
    """Return one row of a signal batch as an Arrow IPC stream of its own.

    Lossless: fields that are null in this row are left out, which is how a signal batch says that it has no such field,
    and a dictionary keeps the one entry that the row names.
    """
    columns, names = [], []
    at = pa.array([row], pa.int64())
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in FIXED_COLUMNS or column[row].is_valid:
            columns.append(_alone(column.take(at)))
            names.append(name)
    return ipc_bytes(pa.RecordBatch.from_arrays(columns, names=names))


def _alone(column: pa.Array) -> pa.Array:
    if not pa.types.is_dictionary(column.type) or not column[0].is_valid:
        return column
    entry = column.dictionary.take(column.indices)
    return pa.DictionaryArray.from_arrays(pa.array([0], column.type.index_type), entry)


def reject_of_row(
    position: str, batch: pa.RecordBatch | None, row: int, status: Status, stamp_us: int, plan: Plan | None
) -> Reject:
    """Return the entry of one row of a signals record; without its bytes where the record is no longer to be had."""
    if batch is None:
        detail = "the log no longer has the record it stood in"
        return Reject(position=position, reason=status.name, detail=detail, source=INGEST, at_us=stamp_us)
    kind = batch.column("type")[row].as_py() or ""
    return Reject(
        position=position,
        reason=status.name,
        detail=why_rejected(status, batch, row, plan, stamp_us=stamp_us).detail,
        type=kind,
        source=INGEST,
        at_us=stamp_us,
        original=one_row(batch, row),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedEvent:
    """An event's row, decoded."""

    event_id: bytes
    source: bytes
    household: bytes
    member: bytes
    type: str
    time_us: int | None
    """None for no time at all."""
    fields: tuple[tuple[str, float | str], ...]
    """By name; of a name that was given as a number and as a text, both."""
    identifier: bytes = b""


def event_of(reject: Reject) -> RejectedEvent:
    """Return the event of a reject that was one.

    Raises:
        PayloadUnreadable: the original is no such row.
    """
    try:
        with pa.ipc.open_stream(pa.py_buffer(reject.original)) as stream:
            batch = stream.read_next_batch()
        batch.validate(full=True)
        row = {name: column[0].as_py() for name, column in zip(batch.schema.names, batch.columns, strict=True)}
        time_us = row["time"]
        return RejectedEvent(
            event_id=_bytes(row["event_id"]),
            source=_bytes(row.get(SOURCE_COLUMN)),
            household=_bytes(row["household"]),
            member=_bytes(row["member"]),
            type=row["type"] or "",
            time_us=None if time_us is None or time_us == NO_TIME_US else int(time_us),
            fields=tuple((found[1], value) for column, value in row.items() if (found := field_of(column)) is not None),
            identifier=_bytes(row.get(IDENTIFIER_COLUMN)),
        )
    except (pa.ArrowException, OSError, ValueError, KeyError, StopIteration) as wrong:
        raise PayloadUnreadable(f"{reject.position}: no signal batch of one row: {wrong}") from wrong


def _bytes(key: bytes | str | None) -> bytes:
    return key.encode() if isinstance(key, str) else key or b""


def replay_id(event: RejectedEvent, position: str) -> bytes:
    """Return the event id under which a reject is sent again: its own, or one derived from its position.

    Never chance: sent twice it is one event. An id that no event may have is replaced, too.
    """
    return event.event_id if 1 <= len(event.event_id) <= LONGEST_KEY else position.encode()


# --- reading a store -------------------------------------------------------------------------------------------------


Entries = Callable[[], Iterator[tuple[int, StoredRecord]]]
"""The records of all reject logs by partition, in order, from the beginning at every call."""


def read_rejects(directory: Path) -> Iterator[KeptReject]:
    """Yield what the reject logs under a directory hold, beside a running Hearth; see `rejects_among`."""
    return rejects_among(lambda: read_only_logs(directory))


def rejects_among(entries: Entries) -> Iterator[KeptReject]:
    """Yield the rejects among entries, each position once, oldest first within a partition.

    Reads twice: what came of replays stands behind what was replayed.

    Raises:
        LogError: damage that no crash explains, or it cannot be read.
        PayloadUnreadable: an entry of a newer layout.
    """
    outcomes: dict[str, list[str]] = {}
    for _, stored in entries():
        if stored.record.kind is RecordKind.REPLAYED:
            mark = _entry(stored)
            outcomes.setdefault(mark.position, []).append(mark.reason.removeprefix(REPLAYED))
    seen: set[str] = set()
    for partition, stored in entries():
        if stored.record.kind is not RecordKind.REJECT:
            continue
        reject = _entry(stored)
        if reject.position not in seen:
            seen.add(reject.position)
            yield KeptReject(partition=partition, reject=reject, outcomes=tuple(outcomes.get(reject.position, ())))


def _entry(stored: StoredRecord) -> Reject:
    if stored.record.version > REJECT_LAYOUT:
        raise PayloadUnreadable(f"reject of layout {stored.record.version}, this version reads {REJECT_LAYOUT}")
    return decode_reject(stored.record.payload)
