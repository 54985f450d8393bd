"""Public messages ↔ the signal batch that travels to shards and into the log.

A **signal batch** is an Arrow IPC stream of one record batch: `event_id`, `household`, `member` (binary), `type`
(dictionary<int16, string>), `time` (int64, microseconds since 1970 UTC), then per field `n:<name>` (float64) and/or
`s:<name>` (dictionary<int32, string>), null where a signal has no such field. The first five have no nulls: what is
missing is empty, or MISSING_TIME_US. Where known, `source` (binary, empty for none) and `request_hash` (binary, of a
report) come with them. Wrong rows go through: the fold rejects and counts them, nothing is dropped here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from hearth.v1 import decision_pb2, signal_pb2
from household.events import LONGEST_KEY, REPORT_SOURCE, RESERVED_TYPES
from serving.status import FieldViolation, InvalidRequest, RequestTooLarge, invalid

SIGNAL_COUNT_MAX: Final = 10_000
ROW_COUNT_MAX: Final = 65_536
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
SPREAD_BYTES_MAX: Final = 64 * 1024 * 1024
"""What a message may hold once its dictionaries and small numbers are spread out, as the fold needs them."""
FIELD_COUNT_MAX: Final = 512
"""Distinct field names in one batch. Each costs a column, whatever the number of rows."""
TYPE_COUNT_MAX: Final = 32_767
"""Distinct event types in one batch; what an int16 can index."""
REJECTION_COUNT_MAX: Final = 100
UNKNOWN_FIELD_COUNT_MAX: Final = 100

MISSING_TIME_US: Final = -(2**63)
"""Stands for "no time"."""
SECONDS_MIN: Final = -62_135_596_800
SECONDS_MAX: Final = 253_402_300_799
"""The years 1 to 9999, which google.protobuf.Timestamp can express."""

KEY_COLUMNS: Final = ("event_id", "household", "member")
FIXED_COLUMNS: Final = (*KEY_COLUMNS, "type", "time")

TYPE_BY_OUTCOME: Final[dict[int, str]] = {
    decision_pb2.OUTCOME_IMPRESSION: "hearth.impression",
    decision_pb2.OUTCOME_CLICK: "hearth.click",
    decision_pb2.OUTCOME_ACCEPT: "hearth.accept",
    decision_pb2.OUTCOME_DECLINE: "hearth.decline",
    decision_pb2.OUTCOME_CONVERT: "hearth.convert",
}
DELIVERED: Final = "hearth.delivered"
UNDELIVERED: Final = "hearth.undelivered"
assert {*TYPE_BY_OUTCOME.values(), DELIVERED, UNDELIVERED} == set(RESERVED_TYPES), "the fold knows other reserved types"

SOURCE_COLUMN: Final = "source"
"""Of text or bytes it is the signals' source. It stays a field as well, since playbooks may have one of that name."""


class TooManyFields(InvalidRequest):
    """More different fields than one batch may have; without those that no playbook needs they may be few enough."""

    def __init__(self, where: str, count: int) -> None:
        text = f"{count:,} different fields; at most {FIELD_COUNT_MAX} in one request"
        super().__init__(FieldViolation(field=where, description=text))


Pieces = dict[int, tuple[NDArray[np.int64], bytes]]
"""Partition → (rows of the request, in order; the signal batch of these rows)."""


# --- from protobuf ---------------------------------------------------------------------------------------------------


def batch_from_signals(signals: Sequence[signal_pb2.Signal]) -> pa.RecordBatch:
    """Return the signal batch of protobuf signals, row i being signal i.

    An integer becomes the nearest float64, a flag 0 or 1; a FieldValue without a kind is no value.

    Raises:
        InvalidRequest: over 10,000 signals, or over 512 field names (TooManyFields) or 32,767 types among them.
    """
    if len(signals) > SIGNAL_COUNT_MAX:
        raise invalid("signals", f"{len(signals):,} signals; at most {SIGNAL_COUNT_MAX:,} travel in one request")

    sources = [signal.source for signal in signals]
    columns = {
        "event_id": _keys([signal.event_id for signal in signals]),
        "household": _keys([signal.household for signal in signals]),
        "member": _keys([signal.member for signal in signals]),
        "type": _types(pa.array([signal.type for signal in signals], pa.string())),
        "time": pa.array([_signal_time_us(signal) for signal in signals], pa.int64()),
    }
    if any(sources):
        columns["source"] = _keys(sources)
    return pa.RecordBatch.from_pydict(columns | _field_columns(signals))


def report_batch(
    *,
    request_id: str,
    household: str,
    member: str,
    event_type: str,
    action_id: str,
    channel: str,
    time_us: int,
    group: str = "",
    request_hash: bytes = b"",
) -> bytes:
    """Return the signal batch (IPC) of one report or acknowledgement; its request id serves as the event id.

    With a hash it is the request's own event, of Hearth's own source: what sources send under that id is another.
    """
    assert event_type in RESERVED_TYPES

    of_group = {"s:hearth.group": pa.array([group], pa.string()).dictionary_encode()} if group else {}
    of_request = (
        {"source": _keys([REPORT_SOURCE]), "request_hash": pa.array([request_hash], pa.binary())}
        if request_hash
        else {}
    )
    batch = pa.RecordBatch.from_pydict(
        {
            "event_id": _keys([request_id]),
            "household": _keys([household]),
            "member": _keys([member]),
            "type": _types(pa.array([event_type], pa.string())),
            "time": pa.array([time_us], pa.int64()),
            "s:action_id": pa.array([action_id], pa.string()).dictionary_encode(),
            "s:channel": pa.array([channel or None], pa.string()).dictionary_encode(),
            **of_group,
            **of_request,
        }
    )
    return ipc_bytes(batch)


def microseconds(time: Timestamp) -> int:
    """Return a timestamp as microseconds since 1970 UTC, rounded down; MISSING_TIME_US where the nanoseconds are none.

    Outside the years 1 to 9999 it is the second before or behind them: a time, and one that the fold refuses.

    >>> microseconds(Timestamp(seconds=-1, nanos=999_999_999))
    -1
    """
    if not 0 <= time.nanos < 1_000_000_000:
        return MISSING_TIME_US
    if not SECONDS_MIN <= time.seconds <= SECONDS_MAX:
        return min(max(time.seconds, SECONDS_MIN - 1), SECONDS_MAX + 1) * 1_000_000
    return int(time.seconds * 1_000_000 + time.nanos // 1_000)


def _signal_time_us(signal: signal_pb2.Signal) -> int:
    return microseconds(signal.time) if signal.HasField("time") else MISSING_TIME_US


def _keys(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.string()).view(pa.binary())


def _field_columns(signals: Sequence[signal_pb2.Signal]) -> dict[str, pa.Array]:
    numbers: dict[str, tuple[list[int], list[float]]] = {}
    texts: dict[str, tuple[list[int], list[str]]] = {}
    for row, signal in enumerate(signals):
        for name, value in signal.fields.items():
            match value.WhichOneof("kind"):
                case "text":
                    rows, found = texts.setdefault(name, ([], []))
                    rows.append(row)
                    found.append(value.text)
                case "number" | "integer" | "flag" as kind:
                    at, amounts = numbers.setdefault(name, ([], []))
                    at.append(row)
                    amounts.append(getattr(value, kind))
    _check_field_names(numbers.keys() | texts.keys(), "signals")

    number_columns = {f"n:{name}": _sparse_numbers(*numbers[name], len(signals)) for name in sorted(numbers)}
    return number_columns | {f"s:{name}": _sparse_texts(*texts[name], len(signals)) for name in sorted(texts)}


def _sparse_numbers(rows: list[int], amounts: list[float], count: int) -> pa.Array:
    values = np.zeros(count, np.float64)
    is_absent = np.ones(count, np.bool_)
    values[rows] = amounts
    is_absent[rows] = False
    return pa.array(values, pa.float64(), mask=is_absent)


def _sparse_texts(rows: list[int], found: list[str], count: int) -> pa.Array:
    values: list[str | None] = [None] * count
    for row, text in zip(rows, found, strict=True):
        values[row] = text
    return pa.array(values, pa.string()).dictionary_encode()


def _check_field_names(names: Iterable[str], where: str) -> None:
    count = 0
    for name in names:
        count += 1
        if not 1 <= len(name.encode()) <= LONGEST_KEY:
            raise invalid(where, f"field name {name[:40]!r} has {len(name.encode())} bytes; wanted 1..{LONGEST_KEY}")
    if count > FIELD_COUNT_MAX:
        raise TooManyFields(where, count)


# --- from users' Arrow streams ---------------------------------------------------------------------------------------


def batch_from_arrow_stream(stream: bytes) -> pa.RecordBatch:
    """Return the signal batch of a user's Arrow IPC stream, row i being its row i.

    Accepts keys as string or binary (also large, also dictionary-encoded), times as int64 microseconds or timestamps of
    any unit and zone (without zone: UTC; finer than a microsecond: rounded down), numbers of every width, decimals,
    bools and strings as fields. Columns may stand in any order and the rows in any number of record batches.
    The content is validated before it is used: it comes from outside.

    Raises:
        InvalidRequest: not such a stream, or a column is missing or of another type; it names column and type wanted.
        RequestTooLarge: over 64 MiB once dictionaries are spread out, which a small message can hide.
    """
    table = _read_table(stream)
    _check_spread(table)
    names = table.column_names
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise invalid("arrow_stream", f"column {doubles[0]!r} occurs {names.count(doubles[0])} times; wanted once")
    _check_field_names((name for name in names if name not in FIXED_COLUMNS), "arrow_stream")
    missing = [name for name in FIXED_COLUMNS if name not in names and name != "member"]
    if missing:
        raise invalid("arrow_stream", f"column {missing[0]!r} is missing; wanted {', '.join(FIXED_COLUMNS)}")

    columns = {name: _key_column(table, name) for name in KEY_COLUMNS}
    columns["type"] = _types(_dense_text(_column(table, "type"), "type", "string").fill_null(""))
    columns["time"] = _time_column(_column(table, "time"))
    if SOURCE_COLUMN in names and _is_key(table.schema.field(SOURCE_COLUMN).type):
        columns[SOURCE_COLUMN] = _key_column(table, SOURCE_COLUMN)
    for name in names:
        if name == SOURCE_COLUMN and SOURCE_COLUMN in columns and not _is_text_type(table.schema.field(name).type):
            continue  # bytes are no field
        if name not in FIXED_COLUMNS and not pa.types.is_null(table.schema.field(name).type):
            key, column = _value_column(_column(table, name), name)
            columns[key] = column
    return pa.RecordBatch.from_pydict(columns)


def _read_table(stream: bytes) -> pa.Table:
    try:
        _refuse_compression(stream)
        batches, row_count = [], 0
        with pa.ipc.open_stream(pa.py_buffer(stream)) as reader:
            for batch in reader:
                row_count += batch.num_rows
                if row_count > ROW_COUNT_MAX:
                    raise invalid("arrow_stream", f"over {ROW_COUNT_MAX:,} rows; at most so many in one request")
                batch.validate(full=True)
                batches.append(batch)
            return pa.Table.from_batches(batches, reader.schema).unify_dictionaries().combine_chunks()
    except (pa.ArrowException, OSError, ValueError, NotImplementedError) as error:
        raise invalid("arrow_stream", f"not a readable Arrow IPC stream: {error}") from error


def _refuse_compression(stream: bytes) -> None:
    """Refuse compressed bodies, of which a few bytes may unfold to gigabytes. gRPC's own compression is bounded."""
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(stream)):
        if message.type in ("record batch", "dictionary") and _is_compressed(message):
            raise invalid("arrow_stream", "its buffers are compressed; wanted an uncompressed Arrow IPC stream")


def _is_compressed(message: pa.ipc.Message) -> bool:
    """Look up RecordBatch.compression in the flatbuffer (Arrow's Message.fbs), which pyarrow does not show."""
    metadata = memoryview(message.metadata)
    header = _follow(metadata, _child(metadata, _follow(metadata, 0), slot=2))
    if message.type == "dictionary":
        header = _follow(metadata, _child(metadata, header, slot=1))
    return _child(metadata, header, slot=3) != 0


def _follow(buffer: memoryview, at: int) -> int:
    return at + int.from_bytes(buffer[at : at + 4], "little")


def _child(buffer: memoryview, table: int, *, slot: int) -> int:
    """Return where a field of a flatbuffer table lies, 0 if it is absent."""
    vtable = table - int.from_bytes(buffer[table : table + 4], "little", signed=True)
    entry = 4 + 2 * slot
    if entry >= int.from_bytes(buffer[vtable : vtable + 2], "little"):
        return 0
    offset = int.from_bytes(buffer[vtable + entry : vtable + entry + 2], "little")
    return table + offset if offset else 0


def _check_spread(table: pa.Table) -> None:
    """Refuse what is small on the wire only: one long dictionary entry may be named by every row."""
    byte_count = sum(_spread_bytes(_column(table, index)) for index in range(table.num_columns))
    if byte_count > SPREAD_BYTES_MAX:
        raise RequestTooLarge(
            f"arrow_stream: {byte_count:,} bytes when dictionaries are spread out and numbers are float64; "
            f"at most {SPREAD_BYTES_MAX:,}: send fewer rows at a time"
        )


def _spread_bytes(array: pa.Array) -> int:
    kind = array.type
    if pa.types.is_dictionary(kind) and (_is_text(kind.value_type) or _is_bytes(kind.value_type)):
        lengths = pc.binary_length(array.dictionary).cast(pa.int64()).take(array.indices)
        return 4 * len(array) + (pc.sum(lengths).as_py() or 0)
    return max(int(array.nbytes), 8 * len(array))


def _column(table: pa.Table, name: str | int) -> pa.Array:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _is_key(kind: pa.DataType) -> bool:
    return _is_text_type(kind) or _is_bytes(kind.value_type if pa.types.is_dictionary(kind) else kind)


def _is_text_type(kind: pa.DataType) -> bool:
    return _is_text(kind.value_type if pa.types.is_dictionary(kind) else kind)


def _key_column(table: pa.Table, name: str) -> pa.Array:
    if name not in table.column_names:
        return pa.array([b""] * table.num_rows, pa.binary())
    array = _column(table, name)
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if pa.types.is_null(kind):
        return pa.array([b""] * len(array), pa.binary())
    if not _is_key(kind):
        raise invalid("arrow_stream", f"column {name!r} is {array.type}; wanted string or binary")
    return _dense(array).cast(pa.binary()).fill_null(b"")


def _dense_text(array: pa.Array, name: str, wanted: str) -> pa.Array:
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if pa.types.is_null(kind):
        return pa.nulls(len(array), pa.string())
    if not _is_text(kind):
        raise invalid("arrow_stream", f"column {name!r} is {array.type}; wanted {wanted}")
    return _dense(array).cast(pa.string())


def _dense(array: pa.Array) -> pa.Array:
    return array.dictionary.take(array.indices) if pa.types.is_dictionary(array.type) else array


def _time_column(array: pa.Array) -> pa.Array:
    kind = array.type
    if pa.types.is_null(kind):
        return pa.array(np.full(len(array), MISSING_TIME_US), pa.int64())
    if not (pa.types.is_timestamp(kind) or pa.types.is_int64(kind)):
        raise invalid(
            "arrow_stream", f"column 'time' is {kind}; wanted timestamp, or int64 microseconds since 1970 UTC"
        )

    is_absent = array.is_null().to_numpy(zero_copy_only=False)
    ticks = array.view(pa.int64()).fill_null(0).to_numpy()
    unit = kind.unit if pa.types.is_timestamp(kind) else "us"
    match unit:
        case "ns":
            times_us = ticks // 1_000
        case "us":
            times_us = ticks
        case _:
            factor = 1_000_000 if unit == "s" else 1_000
            per_second = 1_000_000 // factor
            times_us = np.clip(ticks, (SECONDS_MIN - 1) * per_second, (SECONDS_MAX + 1) * per_second) * factor
    return pa.array(np.where(is_absent, MISSING_TIME_US, times_us), pa.int64())


def _value_column(array: pa.Array, name: str) -> tuple[str, pa.Array]:
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if _is_text(kind):
        return f"s:{name}", _dense_text(array, name, "string").dictionary_encode()
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not (is_number or pa.types.is_boolean(kind)):
        raise invalid("arrow_stream", f"column {name!r} is {array.type}; wanted a number, decimal, bool or string")
    dense = _dense(array)
    if pa.types.is_boolean(kind):
        dense = dense.cast(pa.int8())
    return f"n:{name}", dense.cast(pa.float64(), safe=False)


def _types(names: pa.Array) -> pa.Array:
    encoded = names.dictionary_encode()
    if len(encoded.dictionary) > TYPE_COUNT_MAX:
        raise invalid("type", f"{len(encoded.dictionary):,} different event types; at most {TYPE_COUNT_MAX:,}")
    return pa.DictionaryArray.from_arrays(encoded.indices.cast(pa.int16()), encoded.dictionary)


# --- more fields than a batch may have -------------------------------------------------------------------------------


def pass_over(signals: Iterable[signal_pb2.Signal], known: Set[str]) -> list[signal_pb2.UnknownField]:
    """Take the fields that are not known out of signals, in place; return them."""
    counts: dict[str, int] = {}
    for signal in signals:
        for name in [name for name in signal.fields if name not in known]:
            del signal.fields[name]
            counts[name] = counts.get(name, 0) + 1
    return _passed_over(counts)


def without_unknown(stream: bytes, known: Set[str]) -> tuple[bytes, list[signal_pb2.UnknownField]]:
    """Return a user's Arrow stream without the columns of fields that are not known, and these.

    The signals' sources stay: whose event it is hangs on no other column.

    Raises:
        InvalidRequest: not such a stream.
    """
    table = _read_table(stream)
    kept = [
        place
        for place, name in enumerate(table.column_names)
        if name in known or name in FIXED_COLUMNS or (name == SOURCE_COLUMN and _is_key(table.schema.field(place).type))
    ]
    left_out = {
        name: table.num_rows - table.column(place).null_count
        for place, name in enumerate(table.column_names)
        if place not in set(kept)
    }
    sink = pa.BufferOutputStream()
    table = table.select(kept)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue()), _passed_over(left_out)


def _passed_over(counts: Mapping[str, int]) -> list[signal_pb2.UnknownField]:
    return [
        signal_pb2.UnknownField(name=name, signals=count, passed_over=True) for name, count in counts.items() if count
    ]


# --- partitions ------------------------------------------------------------------------------------------------------


def partition_of(household: bytes, partition_count: int) -> int:
    """Return the partition of a household key: xxh3_64(key) % partition_count. Fixed for the life of a cluster.

    >>> partition_of(b"household-7", 8)
    4
    """
    return xxhash.xxh3_64_intdigest(household) % partition_count


def split_by_partition(batch: pa.RecordBatch, partition_count: int) -> Pieces:
    """Return, per partition that occurs, the rows of the batch that belong to it and their signal batch (IPC).

    Rows keep their order within a partition. The hash is computed once per different key.
    """
    if batch.num_rows == 0:
        return {}
    keys = batch.column("household").dictionary_encode()
    key_partitions = np.array([partition_of(key, partition_count) for key in keys.dictionary.to_pylist()], np.int64)
    partitions = key_partitions[keys.indices.to_numpy()]
    first = int(partitions[0])
    if bool((partitions == first).all()):
        return {first: (np.arange(batch.num_rows), ipc_bytes(batch))}

    order = np.argsort(partitions, kind="stable")
    ordered = batch.take(pa.array(order))
    found, starts = np.unique(partitions[order], return_index=True)
    ends = [*starts[1:].tolist(), batch.num_rows]
    return {
        int(partition): (order[start:end], ipc_bytes(_compact(ordered.slice(start, end - start))))
        for partition, start, end in zip(found.tolist(), starts.tolist(), ends, strict=True)
    }


def _compact(piece: pa.RecordBatch) -> pa.RecordBatch:
    """Drop dictionary entries that this piece does not name: 256 pieces would else carry each dictionary 256 times."""
    columns = [
        _reencoded(column) if pa.types.is_dictionary(column.type) and len(column.dictionary) > len(column) else column
        for column in piece.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=piece.schema.names)


def _reencoded(column: pa.DictionaryArray) -> pa.DictionaryArray:
    indices, entries = column.indices, column.dictionary
    encoded = entries.take(indices).dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices.cast(indices.type), encoded.dictionary)


def ipc_bytes(batch: pa.RecordBatch) -> bytes:
    """Return a record batch as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


# --- answers ---------------------------------------------------------------------------------------------------------


def merged_response(
    parts: Iterable[tuple[NDArray[np.int64], signal_pb2.IngestResponse]],
    passed_over: Iterable[signal_pb2.UnknownField] = (),
) -> signal_pb2.IngestResponse:
    """Return one response for a request whose pieces were answered one by one, `passed_over` having been left out.

    Counts are added; rejection indices, which count within a piece, become rows of the request; sorted, the first 100.
    """
    merged = signal_pb2.IngestResponse()
    rejections: list[tuple[int, signal_pb2.Rejection]] = []
    unknown = UnknownTotals()
    for rows, response in parts:
        add_counts(merged.counts, response.counts)
        unknown.add(response.unknown_fields)
        rejections += [(int(rows[rejection.index]), rejection) for rejection in response.rejections]
    rejections.sort(key=lambda pair: pair[0])
    for index, rejection in rejections[:REJECTION_COUNT_MAX]:
        merged.rejections.append(at_index(rejection, index))
    unknown.add(passed_over)
    merged.unknown_fields.extend(unknown.shown())
    return merged


def at_index(rejection: signal_pb2.Rejection, index: int) -> signal_pb2.Rejection:
    """Return the rejection as of another place in a request."""
    moved = signal_pb2.Rejection()
    moved.CopyFrom(rejection)
    moved.index = index
    return moved


class UnknownTotals:
    """Unknown fields of several answers, added up by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, signal_pb2.UnknownField] = {}

    def add(self, found: Iterable[signal_pb2.UnknownField]) -> None:
        """Count what another answer tells."""
        for one in found:
            known = self._by_name.get(one.name)
            if known is None:
                known = self._by_name[one.name] = signal_pb2.UnknownField(name=one.name)
            known.signals += one.signals
            known.passed_over |= one.passed_over

    def shown(self) -> list[signal_pb2.UnknownField]:
        """Return the first of them in order of their names."""
        return [self._by_name[name] for name in sorted(self._by_name)[:UNKNOWN_FIELD_COUNT_MAX]]


def add_counts(totals: signal_pb2.SignalCounts, counts: signal_pb2.SignalCounts) -> None:
    """Add counts to totals, in place."""
    totals.received += counts.received
    totals.applied += counts.applied
    totals.duplicate += counts.duplicate
    totals.late += counts.late
    totals.rejected += counts.rejected


def counts_by_name(counts: signal_pb2.SignalCounts) -> Mapping[str, int]:
    """Return counts as a mapping, for logs and metrics."""
    return {field.name: getattr(counts, field.name) for field in counts.DESCRIPTOR.fields}
