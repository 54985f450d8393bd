"""Tables of the log in one file or one table: batches of signals carry only the columns that occur in them."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from actors.log import LOG_START, StoredRecord
from actors.reading import ReadLogs, read_only_logs
from cluster.config import HearthConfig
from cluster.data_dir import LAYOUT_NAME
from cluster.errors import UsageWrong
from cluster.output import Meter

ROW_GROUP_ROWS = 131_072

Tables = Callable[[], Iterator[pa.Table]]
"""The export, from its beginning at every call."""


def log_reader(config: HearthConfig) -> ReadLogs:
    """Return what reads the logs of a Hearth beside it: those in its data directory, or on Kafka.

    Raises:
        UsageWrong: there is no such data directory, or the address on Kafka cannot be one.
    """
    if config.log_location.startswith("kafka:"):
        try:
            from actors.kafka import kafka_store

            return kafka_store(config.log_location).read_only
        except (ImportError, ValueError) as wrong:
            raise UsageWrong(str(wrong)) from wrong
    if not (config.data_dir / LAYOUT_NAME).is_file():
        raise UsageWrong(f"{config.data_dir} is no data directory of Hearth; name one with --data-dir")
    return partial(read_only_logs, Path(config.log_location))


class Reach:
    """Reads logs, and notes where those begin that have lost their start behind snapshots."""

    def __init__(self, read: ReadLogs) -> None:
        self._read = read
        self.begins: dict[int, StoredRecord] = {}
        """By partition: the oldest record there is, where older ones were dropped."""

    def __call__(self) -> Iterator[tuple[int, StoredRecord]]:
        """Yield (partition, record) from the beginning."""
        seen = -1
        for partition, stored in self._read():
            if partition != seen and stored.offset > LOG_START:
                self.begins[partition] = stored
            seen = partition
            yield partition, stored

    @property
    def complete_since_us(self) -> int | None:
        """Since when everything is there, of all partitions; None if it is there from the start."""
        return max((stored.record.stamp_us for stored in self.begins.values()), default=None)


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
