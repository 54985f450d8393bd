"""Columns of an export as arrays; what is missing or holds something else is named."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


class BadExport(Exception):
    """A table is not an export of decisions or signals; names the column."""


def column_of(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return a column."""
    if name not in table.column_names:
        raise BadExport(f"column {name} is missing; there are " + ", ".join(table.column_names))
    if table.column_names.count(name) > 1:
        raise BadExport(f"there are several columns {name}, and which is meant cannot be told; keep one")
    return table[name]


def check_columns(path: Path, schema: pa.Schema, *, needed: Collection[str], read: Collection[str]) -> None:
    """Look whether what is needed is there, and whether all that is read is there once.

    Raises:
        BadExport: names file and column.
    """
    for name in needed:
        if name not in schema.names:
            raise BadExport(f"{path}: column {name} is missing; there are {', '.join(schema.names[:12])} …")
    for name in (*needed, *read):
        if (count := schema.names.count(name)) > 1:
            raise BadExport(f"{path} has {count} columns {name}, and which is meant cannot be told; keep one")


def metadata_of(schema: pa.Schema) -> dict[str, str]:
    """Return what a file says of itself; what is no text is taken for what can be read of it."""
    return {
        name.decode(errors="replace"): value.decode(errors="replace") for name, value in (schema.metadata or {}).items()
    }


def text(table: pa.Table, name: str) -> NDArray[np.str_]:
    """Return a column as text; null is empty."""
    try:
        values = column_of(table, name).cast(pa.string()).fill_null("").to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as wrong:
        raise BadExport(f"{name}: not text: {wrong}") from wrong
    return np.asarray(values, np.str_)


def keys(table: pa.Table, name: str) -> NDArray[np.bytes_]:
    """Return a column of ids; null is empty. Bytes take a quarter of what text does."""
    ids = column_of(table, name).cast(pa.string()).cast(pa.binary())
    return np.asarray(ids.fill_null(b"").to_numpy(), np.bytes_)


def numbers(table: pa.Table, name: str) -> NDArray[np.int64]:
    """Return a column of whole numbers."""
    return np.asarray(_cast(table, name, pa.int64()), np.int64)


def times(table: pa.Table, name: str) -> NDArray[np.int64]:
    """Return a column of times in microseconds since 1970; exports of earlier versions have whole numbers there."""
    if name not in table.column_names and f"{name}_us" in table.column_names:
        name = f"{name}_us"
    column = column_of(table, name)
    if column.null_count and "recorded_at" in table.column_names:
        # A report that names no time is of when it was recorded, as in the fold.
        column = pc.coalesce(column, column_of(table, "recorded_at"))
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz))
    return numbers(table.set_column(table.column_names.index(name), name, column), name)


def floats(table: pa.Table, name: str) -> NDArray[np.float64]:
    """Return a column of numbers."""
    return np.asarray(_cast(table, name, pa.float64()), np.float64)


def _cast(table: pa.Table, name: str, kind: pa.DataType) -> NDArray[np.generic]:
    column = column_of(table, name)
    if column.null_count:
        raise BadExport(f"{name}: {column.null_count} values are missing")
    try:
        return np.asarray(column.cast(kind).to_numpy())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as wrong:
        raise BadExport(f"{name}: not numbers: {wrong}") from wrong


def flags(table: pa.Table, name: str) -> NDArray[np.bool_]:
    """Return a column of truths; null is false."""
    return np.asarray(column_of(table, name).cast(pa.bool_()).fill_null(False).to_numpy(), np.bool_)
