"""Users' Arrow streams → the signal batch (wire/batches.py).

Their content comes from outside: it is validated before it is used, and bounded before it is unfolded.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hearth.v1 import signal_pb2
from household.events import NO_TIME_US
from serving.signal_batches import SECONDS_MAX, SECONDS_MIN, check_field_names, passed_over, type_column
from wire.batches import (
    FIXED_COLUMNS,
    IDENTIFIER_COLUMN,
    KEY_COLUMNS,
    NUMBERS,
    ROW_COUNT_MAX,
    SOURCE_COLUMN,
    TEXTS,
    field_column,
    ipc_bytes,
)
from wire.failures import RequestTooLarge, invalid

KEYS_BESIDE: Final = (SOURCE_COLUMN, IDENTIFIER_COLUMN)
"""Columns of ours that a stream may do without. As texts they are fields of these names, too."""

SPREAD_BYTES_MAX: Final = 64 * 1024 * 1024
"""What a message may hold once its dictionaries and small numbers are spread out, as the fold needs them."""


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
    check_field_names((name for name in names if name not in FIXED_COLUMNS), "arrow_stream")
    optional = ("member", "household" if IDENTIFIER_COLUMN in names else "")
    missing = [name for name in FIXED_COLUMNS if name not in names and name not in optional]
    if missing:
        raise invalid("arrow_stream", f"column {missing[0]!r} is missing; wanted {', '.join(FIXED_COLUMNS)}")

    columns = {name: _key_column(table, name) for name in KEY_COLUMNS}
    columns["type"] = type_column(_dense_text(_column(table, "type"), "type", "string").fill_null(""))
    columns["time"] = _time_column(_column(table, "time"))
    for name in KEYS_BESIDE:
        if name in names and _is_key(table.schema.field(name).type):
            columns[name] = _key_column(table, name)
    for name in names:
        if name in KEYS_BESIDE and name in columns and not _is_text_type(table.schema.field(name).type):
            continue  # bytes are no field
        if name not in FIXED_COLUMNS and not pa.types.is_null(table.schema.field(name).type):
            key, column = _value_column(_column(table, name), name)
            columns[key] = column
    return pa.RecordBatch.from_pydict(columns)


def without_unknown(stream: bytes, known: Set[str]) -> tuple[bytes, list[signal_pb2.UnknownField]]:
    """Return a user's Arrow stream without the columns of fields that are not known, and these.

    The signals' sources and identifiers stay: whose event it is, and about whom, hangs on no other column.

    Raises:
        InvalidRequest: not such a stream.
    """
    table = _read_table(stream)
    kept = [
        place
        for place, name in enumerate(table.column_names)
        if name in known or name in FIXED_COLUMNS or (name in KEYS_BESIDE and _is_key(table.schema.field(place).type))
    ]
    left_out = {
        name: table.num_rows - table.column(place).null_count
        for place, name in enumerate(table.column_names)
        if place not in set(kept)
    }
    return ipc_bytes(table.select(kept)), passed_over(left_out)


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
        return pa.array(np.full(len(array), NO_TIME_US), pa.int64())
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
    return pa.array(np.where(is_absent, NO_TIME_US, times_us), pa.int64())


def _value_column(array: pa.Array, name: str) -> tuple[str, pa.Array]:
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if _is_text(kind):
        return field_column(TEXTS, name), _dense_text(array, name, "string").dictionary_encode()
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not (is_number or pa.types.is_boolean(kind)):
        raise invalid("arrow_stream", f"column {name!r} is {array.type}; wanted a number, decimal, bool or string")
    dense = _dense(array)
    if pa.types.is_boolean(kind):
        dense = dense.cast(pa.int8())
    return field_column(NUMBERS, name), dense.cast(pa.float64(), safe=False)
