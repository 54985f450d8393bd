"""Parquet files, read by row groups."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from intake.errors import IntakeFailed
from intake.reading.parquet_cells import CellColumn, read_cells
from intake.reading.rows import CHUNK_ROWS, NAMELESS, Chunk


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """One Parquet file; columns of structs are flattened with dots, columns of lists and maps are passed over."""

    path: Path

    @property
    def name(self) -> str:
        """File name without folder."""
        return self.path.name

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows with the types the file has, as far as a signal can have them (parquet_cells.py)."""
        row = 1
        size = self.path.stat().st_size
        try:
            with pa.parquet.ParquetFile(self.path) as file:
                encoded = list(_dictionaries(file.schema_arrow))
            with pa.parquet.ParquetFile(
                self.path,
                # Else the reader itself would refuse the file for one of their texts that is no UTF-8.
                read_dictionary=encoded,
                # Timestamps of the old kind may lie outside the years that nanoseconds can express.
                coerce_int96_timestamp_unit="us",
            ) as file:
                total = max(file.metadata.num_rows, 1)
                for batch in file.iter_batches(batch_size=CHUNK_ROWS):
                    rows = np.arange(row, row + batch.num_rows, dtype=np.int64)
                    row += batch.num_rows
                    yield _chunk(batch, rows, size * (row - 1) // total)
        except (pa.ArrowException, OSError) as wrong:
            raise IntakeFailed(f"{self.path} cannot be read as Parquet: {wrong}") from wrong


def _dictionaries(fields: Iterable[pa.Field], prefix: str = "") -> Iterator[str]:
    """Yield the paths of the columns that were written from dictionaries."""
    for field in fields:
        if pa.types.is_dictionary(field.type):
            yield prefix + field.name
        elif pa.types.is_struct(field.type):
            yield from _dictionaries(field.type, f"{prefix}{field.name}.")


def _chunk(batch: pa.RecordBatch, rows: "np.ndarray[tuple[int], np.dtype[np.int64]]", bytes_done: int) -> Chunk:
    columns: dict[str, CellColumn] = {}
    passed_over: dict[str, None] = {}
    doubled: set[str] = set()
    for name, column in _flat(batch):
        if not name:
            passed_over[NAMELESS] = None
        elif pa.types.is_nested(column.type):
            passed_over[f"column {name} ({column.type})"] = None
        elif name in columns:
            doubled.add(name)
        else:
            columns[name] = read_cells(column)
    return Chunk(
        columns={name: cells.values for name, cells in columns.items()},
        rows=rows,
        lines=np.zeros(len(rows), np.int64),
        unreadable=(),
        bytes_done=bytes_done,
        passed_over=tuple(passed_over),
        doubled=frozenset(doubled),
        wrong_cells={name: cells.why for name, cells in columns.items() if cells.why},
    )


def _flat(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
    """Yield the columns, those of structs one by one."""
    waiting = list(zip(batch.schema.names, batch.columns, strict=True))
    while waiting:
        name, column = waiting.pop(0)
        if isinstance(column, pa.ExtensionArray) and pa.types.is_nested(column.type.storage_type):
            column = column.storage
        if pa.types.is_struct(column.type):
            names = [f"{name}.{column.type.field(at).name}" for at in range(column.type.num_fields)]
            waiting[:0] = zip(names, column.flatten(), strict=True)
        else:
            yield name, column
