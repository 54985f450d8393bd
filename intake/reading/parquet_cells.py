"""The cells of a Parquet column as a signal can have them: text, numbers, flags and times; one that cannot says why."""

import uuid
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from intake.reading.values import CALENDAR_US_MAX, CALENDAR_US_MIN, UNIT_US

NO_YEAR = "which lies outside the years 0 to 9999"
BYTES_SHOWN_MAX = 64

_DAY_US = 86_400_000_000
_BYTES_OF = {"string": pa.binary(), "large_string": pa.large_binary(), "string_view": pa.binary_view()}


@dataclass(frozen=True, slots=True)
class CellColumn:
    """A column of one of the types that values.py converts."""

    values: pa.Array
    why: dict[int, str] = field(default_factory=dict)
    """Index → what is wrong with this cell, which is null in `values`."""


def read_cells(column: pa.Array) -> CellColumn:
    """Return a column that is not nested.

    UUIDs in their canonical form, bytes as the UTF-8 that they should be, times of day as text, durations as seconds.
    """
    kind = column.type
    if isinstance(kind, pa.UuidType):
        return CellColumn(pa.array([_uuid_text(cell) for cell in column.storage.to_pylist()], pa.string()))
    if isinstance(kind, pa.BaseExtensionType):
        return read_cells(column.storage)
    if pa.types.is_dictionary(kind):
        return _spread(column)
    if pa.types.is_null(kind):
        return CellColumn(pa.nulls(len(column), pa.string()))
    if _is_text(kind) or _is_bytes(kind):
        return _checked_text(column)
    if pa.types.is_float16(kind):
        return CellColumn(pc.cast(column, pa.float32()))
    if pa.types.is_time(kind):
        day = int(UNIT_US["d"] / UNIT_US[kind.unit])
        within = _within(column, 0, day - 1, "which no day has")
        return CellColumn(pc.cast(within.values, pa.string()), within.why)
    if pa.types.is_date(kind):
        column = pc.cast(column, pa.date32())
        return _within(column, CALENDAR_US_MIN // _DAY_US, CALENDAR_US_MAX // _DAY_US - 1, NO_YEAR)
    if pa.types.is_timestamp(kind) and kind.unit != "ns":
        factor = int(UNIT_US[kind.unit])
        return _within(column, CALENDAR_US_MIN // factor, CALENDAR_US_MAX // factor - 1, NO_YEAR)
    if pa.types.is_duration(kind):
        ticks = pc.cast(pc.cast(column, pa.int64()), pa.float64(), safe=False)
        return CellColumn(pc.divide(ticks, float(UNIT_US["s"] / UNIT_US[kind.unit])))
    return CellColumn(column)


def _within(column: pa.Array, least: int, most: int, wrong: str) -> CellColumn:
    """Return a column of times as numbers from least to most."""
    width = pa.int32() if column.type.bit_width == 32 else pa.int64()
    ticks = column.view(width).cast(pa.int64())
    beyond = pc.fill_null(pc.or_(pc.less(ticks, least), pc.greater(ticks, most)), False)
    if not pc.any(beyond).as_py():
        return CellColumn(column)
    places = np.flatnonzero(beyond.to_numpy(zero_copy_only=False)).tolist()
    why = {index: f"is {column.type} {ticks[index].as_py()}, {wrong}" for index in places}
    return CellColumn(pc.if_else(beyond, pa.scalar(None, column.type), column), why)


def _uuid_text(cell: bytes | None) -> str | None:
    return None if cell is None else str(uuid.UUID(bytes=cell))


def _spread(column: pa.DictionaryArray) -> CellColumn:
    entries = read_cells(column.dictionary)
    if not entries.why:
        return CellColumn(entries.values.take(column.indices))
    places = column.indices.to_pylist()
    why = {index: entries.why[place] for index, place in enumerate(places) if place in entries.why}
    return CellColumn(entries.values.take(column.indices), why)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    is_plain = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return bool(is_plain or pa.types.is_binary_view(kind))


def _checked_text(column: pa.Array) -> CellColumn:
    """Return text that is UTF-8 for certain: nobody has looked at it yet, also where the file says that it is text."""
    raw = column if _is_bytes(column.type) else column.cast(_BYTES_OF[str(column.type)])
    raw = raw.cast(pa.binary())
    try:
        return CellColumn(raw.cast(pa.string()))
    except pa.ArrowInvalid:
        return _one_by_one(raw)


def _one_by_one(raw: pa.Array) -> CellColumn:
    texts: list[str | None] = []
    why: dict[int, str] = {}
    for index, cell in enumerate(raw.to_pylist()):
        try:
            texts.append(None if cell is None else cell.decode())
        except UnicodeDecodeError:
            texts.append(None)
            why[index] = f"is {cell[:BYTES_SHOWN_MAX]!r}, which is not UTF-8"
    return CellColumn(pa.array(texts, pa.string()), why)
