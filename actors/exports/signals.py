"""Signals of the log as one table: batches carry only the columns that occur in them, a table has them all."""

import struct
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from actors.exports.columns import TIME, flags, keys_text, times
from actors.log.contract import StoredRecord
from actors.records.payload import PayloadUnreadable
from household.plan import FieldKind, Plan
from wire.batches import KEY_COLUMNS, NUMBERS, REQUEST_HASH_COLUMN, TEXTS, field_column, field_of

POSITION = (("partition", pa.int32()), ("offset", pa.int64()), ("recorded_at", TIME))
"""What a record says of all its signals."""

NOT_TOLD = (REQUEST_HASH_COLUMN,)
"""What identifies a call and says nothing of what happened."""

_CONTINUATION = b"\xff\xff\xff\xff"
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def schema_message(payload: bytes) -> bytes:
    """Return the bytes at the start of a signal batch that say which columns it has.

    Raises:
        PayloadUnreadable: it does not begin as an Arrow IPC stream does.
    """
    if payload[:4] != _CONTINUATION or len(payload) < 8:
        raise PayloadUnreadable("signal batch: not an Arrow stream")
    (length,) = struct.unpack_from("<I", payload, 4)
    return payload[: 8 + length]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalColumns:
    """All columns that occur, each under the name its sender gave it."""

    schema: pa.Schema
    sources: tuple[str, ...]
    """Of each column behind those of the position: its name in a signal batch."""

    @classmethod
    def of(cls, messages: Iterable[bytes], plans: Iterable[Plan]) -> "SignalColumns":
        """Return the columns of these batches; a field is a flag where every plan that declares it says so."""
        kinds: dict[str, pa.DataType] = dict.fromkeys((*KEY_COLUMNS, "type"), pa.string())
        kinds["time"] = TIME
        fields: dict[str, pa.DataType] = {}
        flag_names = _flag_names(plans)
        for message in messages:
            try:
                schema = pa.ipc.read_schema(pa.py_buffer(message))
            except (pa.ArrowException, OSError) as wrong:
                raise PayloadUnreadable(f"signal batch: {wrong}") from wrong
            for field in schema:
                if (found := field_of(field.name)) is not None:
                    fields[field.name] = _kind(*found, flag_names)
                elif ":" not in field.name and field.name not in (*kinds, *NOT_TOLD):
                    # Its source, and whatever else a later layout says of a signal.
                    kinds[field.name] = pa.string() if _is_text(field.type) else field.type
        named = _names(fields, taken={*kinds, *(name for name, _ in POSITION)})
        columns = [pa.field(name, kind) for name, kind in (*POSITION, *kinds.items())]
        columns += [pa.field(named[source], kind) for source, kind in fields.items()]
        metadata = {"hearth.kind": "signals"}
        return cls(schema=pa.schema(columns, metadata), sources=(*kinds, *fields))

    def table(self, records: Sequence[tuple[int, StoredRecord]]) -> pa.Table:
        """Return the signals of some records, in their order.

        Raises:
            PayloadUnreadable: one of them is no signal batch.
        """
        groups: dict[bytes, list[int]] = {}
        for place, (_, stored) in enumerate(records):
            groups.setdefault(schema_message(stored.record.payload), []).append(place)
        if not groups:
            return self.schema.empty_table()
        tables, origins = [], []
        for message, places in groups.items():
            batches = _batches(message, [records[place][1].record.payload for place in places])
            rows = [batch.num_rows for batch in batches]
            # In one piece: a cast takes longer to begin than for some hundred rows.
            together = pa.Table.from_batches(batches).combine_chunks()
            tables.append(self._fitted(together, records, np.repeat(places, rows)))
            origins.append(np.repeat(places, rows))
        whole = pa.concat_tables(tables)
        if len(tables) == 1:
            return whole
        # Small batches of many senders were read together by their columns; back into the order of the log.
        return whole.take(pa.array(np.argsort(np.concatenate(origins), kind="stable")))

    def _fitted(
        self,
        read: pa.Table,
        records: Sequence[tuple[int, StoredRecord]],
        origins: np.ndarray[tuple[int], np.dtype[np.int64]],
    ) -> pa.Table:
        """Return a table of batches with the same columns under all columns."""
        partitions = np.array([partition for partition, _ in records], np.int32)[origins]
        offsets = np.array([stored.offset for _, stored in records], np.int64)[origins]
        stamps = np.array([stored.record.stamp_us for _, stored in records], np.int64)[origins]
        columns: list[pa.Array | pa.ChunkedArray] = [
            pa.array(partitions),
            pa.array(offsets),
            pa.array(stamps).cast(TIME),
        ]
        for source, field in zip(self.sources, list(self.schema)[len(POSITION) :], strict=True):
            if source not in read.column_names:
                columns.append(pa.nulls(read.num_rows, field.type))
                continue
            column = read.column(source)
            if source in KEY_COLUMNS or pa.types.is_binary(column.type):
                columns.append(keys_text(column))
            elif source == "time":
                columns.append(times(column))
            elif pa.types.is_boolean(field.type):
                columns.append(flags(column))
            else:
                columns.append(pc.cast(column, field.type))
        return pa.table(columns, schema=self.schema)


def _batches(message: bytes, payloads: Sequence[bytes]) -> list[pa.RecordBatch]:
    """Open batches with the same columns as one stream: most records are a call's, with an event or two."""
    bodies = [payload[len(message) :].removesuffix(_END_OF_STREAM) for payload in payloads]
    try:
        with pa.ipc.open_stream(pa.py_buffer(b"".join((message, *bodies, _END_OF_STREAM)))) as stream:
            batches = list(stream)
    except (pa.ArrowException, OSError) as wrong:
        raise PayloadUnreadable(f"signal batch: {wrong}") from wrong
    if len(batches) != len(payloads):
        raise PayloadUnreadable(f"signal batch: {len(batches)} record batches in {len(payloads)} records")
    return batches


def _kind(space: str, name: str, flag_names: Set[str]) -> pa.DataType:
    if space == TEXTS:
        return pa.string()
    return pa.bool_() if name in flag_names else pa.float64()


def _is_text(kind: pa.DataType) -> bool:
    return any(is_so(kind) for is_so in (pa.types.is_binary, pa.types.is_string, pa.types.is_dictionary))


def _flag_names(plans: Iterable[Plan]) -> set[str]:
    kinds: dict[str, set[FieldKind]] = {}
    for plan in plans:
        for field in plan.fields:
            kinds.setdefault(field.name, set()).add(field.kind)
    return {name for name, found in kinds.items() if found == {FieldKind.FLAG}}


def _names(sources: Iterable[str], *, taken: set[str]) -> dict[str, str]:
    """Return what each field is called: as its sender called it, unless that is one of ours or another's already.

    Where a field came as number and as text, the text is `<name>_text`; one named like a column of ours is
    `<name>_field`.
    """
    named: dict[str, str] = {}
    taken = set(taken)
    ours = frozenset(taken)
    for source in sorted(sources, key=lambda one: (one.partition(":")[0], one)):
        space, _, name = source.partition(":")
        wanted = f"{name}_field" if name in ours else name
        if space == TEXTS and field_column(NUMBERS, name) in named:
            wanted = f"{wanted}_text"
        while wanted in taken:
            wanted += "_"
        named[source] = wanted
        taken.add(wanted)
    return named
