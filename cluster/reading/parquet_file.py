"""Parquet files, read by row groups."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from cluster.errors import CommandFailed
from cluster.reading.rows import CHUNK_ROWS, Chunk


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """One Parquet file; columns of structs are flattened with dots, columns of lists are left out."""

    path: Path

    @property
    def name(self) -> str:
        """File name without folder."""
        return self.path.name

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows with the types the file has."""
        row = 1
        size = self.path.stat().st_size
        try:
            with pa.parquet.ParquetFile(self.path) as file:
                total = max(file.metadata.num_rows, 1)
                for batch in file.iter_batches(batch_size=CHUNK_ROWS):
                    rows = np.arange(row, row + batch.num_rows, dtype=np.int64)
                    row += batch.num_rows
                    yield Chunk(
                        columns=_columns(batch),
                        rows=rows,
                        lines=np.zeros(batch.num_rows, np.int64),
                        unreadable=(),
                        bytes_done=size * (row - 1) // total,
                    )
        except (pa.ArrowException, OSError) as wrong:
            raise CommandFailed(f"{self.path} cannot be read as Parquet: {wrong}") from wrong


def _columns(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    table = pa.Table.from_batches([batch])
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_nested(column.type):
            continue
        cells = column.combine_chunks()
        if pa.types.is_dictionary(cells.type):
            cells = cells.dictionary_decode()
        columns[name] = cells
    return columns
