"""Tables of a partition as record batches, and back: one file for each, a column for each field.

A file is readable by itself: texts are texts, names and enums dictionaries, and whose row it is stands in `household`.
"""

from dataclasses import MISSING, fields
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from household.tables.contract import ColumnKind, Declaration, Owner, TableColumn, columns_of
from household.tables.frozen import FrozenTable, FrozenTexts, frozen_rows

OWNER = "household"


def table_batch(declaration: Declaration[Any], frozen: FrozenTable) -> pa.RecordBatch:
    """Return a frozen table as a record batch."""
    names, codes = _used_names(declaration, frozen)
    columns = {OWNER: pa.array(frozen.owners)} if declaration.owner is Owner.HOUSEHOLD else {}
    for column in columns_of(declaration.row):
        assert column.name != OWNER or declaration.owner is Owner.PARTITION
        columns[column.name] = _written(column, frozen.columns[column.name], names, codes)
    return pa.record_batch(columns)


def read_table(declaration: Declaration[Any], batch: pa.RecordBatch | None, household_count: int) -> FrozenTable:
    """Return what was frozen of a table; an empty one for one that was not written yet.

    Raises:
        ValueError, TypeError, KeyError, pyarrow.ArrowException: it is not what `table_batch` returns.
    """
    if batch is None:
        return frozen_rows(declaration, [])
    names: dict[str, int] = {"": 0}
    owners = np.zeros(batch.num_rows, np.int64)
    if declaration.owner is Owner.HOUSEHOLD:
        owners = _numbers(batch.column(OWNER))
        if owners.size and not 0 <= int(owners.min()) <= int(owners.max()) < household_count:
            raise ValueError(f"rows of households up to {owners.max()}, there are {household_count}")
    columns = {
        column.name: _read(column, batch.column(column.name), names)
        if column.name in batch.schema.names
        else _absent(declaration, column, batch.num_rows, names)
        for column in columns_of(declaration.row)
    }
    return FrozenTable(owners=owners, columns=columns, names=tuple(names))


def _used_names(declaration: Declaration[Any], frozen: FrozenTable) -> tuple[list[str], NDArray[np.int32]]:
    """Return the names that occur, in their order, and the place there of each code."""
    used: set[int] = set()
    for column in columns_of(declaration.row):
        values = frozen.columns[column.name]
        if column.kind is ColumnKind.NAME:
            used.update(np.unique(np.asarray(values)).tolist())
        elif isinstance(values, FrozenTexts) and column.kind is ColumnKind.NAMES:
            used.update(np.unique(values.letters.view("<i4")).tolist())
    names = sorted(frozen.names[code] for code in used)
    place = {name: at for at, name in enumerate(names)}
    return names, np.array([place.get(name, 0) for name in frozen.names], np.int32)


def _written(
    column: TableColumn, values: NDArray[np.int64] | FrozenTexts, names: list[str], codes: NDArray[np.int32]
) -> pa.Array:
    if isinstance(values, FrozenTexts):
        if column.kind in (ColumnKind.TEXT, ColumnKind.BYTES):
            kind = pa.large_string() if column.kind is ColumnKind.TEXT else pa.large_binary()
            buffers = [None, pa.py_buffer(values.offsets), pa.py_buffer(values.letters)]
            return pa.Array.from_buffers(kind, values.offsets.shape[0] - 1, buffers)
        numbers = values.letters.view("<i4")
        items = pa.array(numbers) if column.kind is not ColumnKind.NAMES else _dictionary(codes[numbers], names)
        return pa.LargeListArray.from_arrays(pa.array(values.offsets // 4), items)
    match column.kind:
        case ColumnKind.FLAG:
            return pa.array(values.astype(np.bool_))
        case ColumnKind.NAME:
            return _dictionary(codes[values], names)
        case ColumnKind.ENUM:
            return _dictionary(values.astype(np.int32), [one.value for one in column.values])
        case _:
            return pa.array(values)


def _dictionary(codes: NDArray[np.int32], texts: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(texts, pa.string()))


def _read(column: TableColumn, array: pa.Array, names: dict[str, int]) -> NDArray[np.int64] | FrozenTexts:
    if array.null_count:
        raise ValueError(f"column {column.name} has nulls")
    match column.kind:
        case ColumnKind.TEXT | ColumnKind.BYTES:
            if array.type not in (pa.large_string(), pa.large_binary()):
                raise TypeError(f"column {column.name} is {array.type}")
            _, offsets, letters = array.buffers()
            ends = np.frombuffer(offsets, np.int64)[: len(array) + 1] if len(array) else np.zeros(1, np.int64)
            found = np.frombuffer(letters, np.uint8) if letters is not None else np.empty(0, np.uint8)
            return FrozenTexts(offsets=ends.copy(), letters=found[: int(ends[-1])].copy())
        case ColumnKind.MEMBERS | ColumnKind.CHANNELS | ColumnKind.NAMES:
            items = array.values
            numbers = _codes(items, names) if column.kind is ColumnKind.NAMES else _numbers(items)
            offsets = 4 * np.asarray(array.offsets.to_numpy(), np.int64)
            return FrozenTexts(offsets=offsets, letters=numbers.astype("<i4").view(np.uint8))
        case ColumnKind.NAME:
            return _codes(array, names)
        case ColumnKind.ENUM:
            places = {one.value: place for place, one in enumerate(column.values)}
            by_code = np.array([places[text] for text in array.dictionary.to_pylist()], np.int64)
            return by_code[_numbers(array.indices)]
        case ColumnKind.FLAG:
            return np.asarray(array.to_numpy(zero_copy_only=False), np.bool_).astype(np.int64)
        case _:
            return _numbers(array)


def _numbers(array: pa.Array) -> NDArray[np.int64]:
    if not pa.types.is_integer(array.type):
        raise TypeError(f"{array.type} where numbers are expected")
    return np.array(array.to_numpy(zero_copy_only=False), np.int64)


def _codes(array: pa.Array, names: dict[str, int]) -> NDArray[np.int64]:
    by_code = np.array([names.setdefault(text, len(names)) for text in array.dictionary.to_pylist()], np.int64)
    return by_code[_numbers(array.indices)] if len(array) else np.empty(0, np.int64)


def _absent(
    declaration: Declaration[Any], column: TableColumn, count: int, names: dict[str, int]
) -> NDArray[np.int64] | FrozenTexts:
    """Return a column that came later: what its absence means, in every row."""
    default = next(one.default for one in fields(declaration.row) if one.name == column.name)
    if default is MISSING:
        raise KeyError(column.name)
    if column.kind in (ColumnKind.TEXT, ColumnKind.BYTES, ColumnKind.MEMBERS, ColumnKind.CHANNELS, ColumnKind.NAMES):
        if default:
            raise KeyError(column.name)
        return FrozenTexts(offsets=np.zeros(count + 1, np.int64), letters=np.empty(0, np.uint8))
    if column.kind is ColumnKind.NAME:
        return np.full(count, names.setdefault(default, len(names)))
    return np.full(count, column.values.index(default) if column.kind is ColumnKind.ENUM else int(default))
