"""Reading columns of files that others wrote: each mistake is named with its column, its first row and what to do."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

_NUMBERS = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_decimal,
    pa.types.is_null,
)


class BadTable(Exception):
    """A file is not what it should be; says which column, where, and what would be right."""


def read_table(file: Path) -> pa.Table:
    """Return the rows of a Parquet file, or of a CSV file with a header.

    Raises:
        BadTable: it is not there, is neither, or has several columns of one name.
    """
    if not file.is_file():
        raise BadTable(f"{file} is not there" if not file.exists() else f"{file} is no file")
    try:
        is_csv = file.suffix.lower() == ".csv"
        table = pyarrow.csv.read_csv(file) if is_csv else pyarrow.parquet.ParquetFile(file).read()
    except (pa.ArrowException, OSError) as wrong:
        kind = "a CSV file with a header" if file.suffix.lower() == ".csv" else "a Parquet file"
        raise BadTable(f"{file} cannot be read as {kind}: {' '.join(str(wrong).split())}") from wrong
    if several := [name for name, count in Counter(table.column_names).items() if count > 1]:
        raise BadTable(f"{file} has several columns {several[0]!r}, and which is meant cannot be told; keep one")
    return table


def column(table: pa.Table, name: str, *, file: str) -> pa.ChunkedArray:
    """Return a column.

    Raises:
        BadTable: there is none of that name.
    """
    if name not in table.column_names:
        there = f"it has {', '.join(table.column_names[:12])}{' …' if table.num_columns > 12 else ''}"
        raise BadTable(f"{file}: no column {name!r}; {there}")
    return table.column(name)


def texts(table: pa.Table, name: str, *, file: str) -> pa.ChunkedArray:
    """Return a column of names or ids as text; numbers and labels are taken as written."""
    found = column(table, name, file=file)
    if pa.types.is_dictionary(found.type):
        found = found.cast(found.type.value_type)
    if pa.types.is_null(found.type):
        return pa.chunked_array([pa.nulls(len(found), pa.string())])
    if not (pa.types.is_string(found.type) or pa.types.is_large_string(found.type) or pa.types.is_integer(found.type)):
        raise BadTable(f"{file}: column {name!r} is {found.type}, and should be text")
    return found.cast(pa.string())


def numbers(table: pa.Table, name: str, *, file: str, may_miss: bool = False) -> NDArray[np.float64]:
    """Return (n,) a column of numbers; flags are 0 and 1, and null is NaN where values may be missing.

    Raises:
        BadTable: the column is no number, or holds a value that is missing or not finite.
    """
    found = column(table, name, file=file)
    kind = found.type
    if not any(is_one(kind) for is_one in _NUMBERS):
        raise BadTable(f"{file}: column {name!r} is {kind}, and should be a number")
    values = np.asarray(found.cast(pa.float64()).fill_null(np.nan).to_numpy(), np.float64)
    wrong = np.isinf(values) if may_miss else ~np.isfinite(values)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise BadTable(
            f"{file}: column {name!r} holds no finite number in {int(wrong.sum()):,} of {len(values):,} rows, first "
            f"in row {row:,}; leave such rows out, or say what they are"
        )
    return values


def context(table: pa.Table, names: list[str], *, never: float) -> NDArray[np.float32]:
    """Return (n, names) what an outcome may hang on: numbers, flags, and labels by number; unknown is NaN.

    Infinities ("never") become ±`never`, since a tree takes no infinity.
    """
    columns = np.full((table.num_rows, len(names)), np.nan, np.float32)
    for place, name in enumerate(names):
        found = table.column(name)
        if pa.types.is_string(found.type) or pa.types.is_large_string(found.type):
            found = found.dictionary_encode()
        if pa.types.is_dictionary(found.type):
            found = pc.index_in(
                found.cast(found.type.value_type), value_set=pc.unique(found.cast(found.type.value_type))
            )
        values = _as_numbers(found)
        if values is not None:
            columns[:, place] = np.clip(values, -never, never)
    return columns


def _as_numbers(found: pa.ChunkedArray) -> NDArray[np.float32] | None:
    """Return a column as numbers; None for times, lists and the like, which tell a tree nothing as they are."""
    try:
        return np.asarray(found.cast(pa.float32()).fill_null(np.nan).to_numpy())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
