"""Tables of the log in one file or one table: batches of signals carry only the columns that occur in them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from cluster.output import Meter

ROW_GROUP_ROWS = 131_072

Tables = Callable[[], Iterator[pa.Table]]
"""The export, from its beginning at every call."""


class _NewColumn(Exception):
    """The log grew meanwhile, by a column that was not there before."""


def write_parquet(tables: Tables, file: Path, show: Meter) -> int:
    """Write all rows under all columns, absent ones null; return how many rows.

    A column that is a number in one batch and a text in another becomes text.
    """
    schema = joint_schema(tables())
    while True:
        try:
            return _write(tables(), schema, file, show)
        except _NewColumn:
            schema = joint_schema(tables())


def joint_schema(tables: Iterator[pa.Table]) -> pa.Schema:
    """Return all columns of all tables, in order of appearance."""
    fields: dict[str, pa.DataType] = {}
    for table in tables:
        for field in table.schema:
            before = fields.setdefault(field.name, field.type)
            if before != field.type:
                fields[field.name] = pa.string()
    return pa.schema(list(fields.items()))


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the table under these columns; those it has not are null."""
    columns = []
    for field in schema:
        if field.name in table.column_names:
            columns.append(pc.cast(table.column(field.name), field.type))
        else:
            columns.append(pa.nulls(table.num_rows, field.type))
    return pa.table(columns, schema=schema)


def _write(tables: Iterator[pa.Table], schema: pa.Schema, file: Path, show: Meter) -> int:
    rows, waiting, waiting_rows = 0, [], 0
    with pa.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for table in tables:
            if not set(table.column_names) <= set(schema.names):
                raise _NewColumn
            waiting.append(fitted(table, schema))
            waiting_rows += table.num_rows
            rows += table.num_rows
            if waiting_rows >= ROW_GROUP_ROWS:
                writer.write_table(pa.concat_tables(waiting))
                waiting, waiting_rows = [], 0
                show(rows, None, f"{rows:,} rows")
        if waiting_rows:
            writer.write_table(pa.concat_tables(waiting))
    return rows
