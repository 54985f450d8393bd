"""Where the log of a Hearth is read beside it, how far back it reaches, and its tables in one file."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from actors.log.contract import LOG_START, StoredRecord
from actors.log.location import InFiles, PartitionReader, logs_beside_owner, partition_reader
from actors.log.reading import ReadLogs
from cluster.config import HearthConfig
from cluster.data_dir import LAYOUT_NAME
from cluster.errors import CommandFailed, UsageWrong
from intake.progress import Meter

ROW_GROUP_ROWS = 131_072
ROW_GROUP_BYTES = 64 << 20
"""A group is closed at whichever of the two comes first: two groups are held, and a decision may be 10 kB long."""

UNIQUE = frozenset({"event_id", "decision_id", "moment_id", "request_id"})


def log_reader(config: HearthConfig) -> ReadLogs:
    """Return what reads the logs of a Hearth beside it: those in its data directory, or on Kafka.

    Raises:
        UsageWrong: there is no such data directory, or the address on Kafka cannot be one.
    """
    location = config.log_location
    if isinstance(location, InFiles) and not (config.data_dir / LAYOUT_NAME).is_file():
        raise UsageWrong(f"{config.data_dir} is no data directory of Hearth; name one with --data-dir")
    try:
        return logs_beside_owner(location)
    except (ImportError, ValueError) as wrong:
        raise UsageWrong(str(wrong)) from wrong


def log_partitions(config: HearthConfig) -> PartitionReader:
    """Return what reads single partitions of the logs of a Hearth beside it; raises as `log_reader`."""
    log_reader(config)
    return partition_reader(config.log_location)


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


def check_out(out: Path) -> None:
    """Look whether a file can be written there at all, before anything is worked out.

    Raises:
        UsageWrong: its folder does not exist, or there is a folder of its name.
    """
    if not out.absolute().parent.is_dir():
        raise UsageWrong(f"the folder of {out} does not exist; make it first")
    if out.is_dir():
        raise UsageWrong(f"{out} is a folder; name a file in it")


def write_whole(out: Path, write: Callable[[Path], int]) -> int:
    """Write a file beside its name, which it takes once it is whole; return what `write` returns.

    Raises:
        UsageWrong: its folder does not exist, or there is a folder of its name.
        CommandFailed: it cannot be written.
    """
    check_out(out)
    unfinished = out.with_name(out.name + ".part")
    try:
        rows = write(unfinished)
        unfinished.replace(out)
    except OSError as failed:
        raise CommandFailed(f"{out} cannot be written: {failed.strerror or failed}") from failed
    finally:
        unfinished.unlink(missing_ok=True)
    return rows


def write_parquet(tables: Iterator[pa.Table], file: Path, show: Meter) -> int:
    """Write all tables, which have one schema, in row groups of some hundred thousand rows; return how many rows.

    Memory holds two groups, however many there are: one is written while the next is read. Both take about as long,
    and neither holds Python's lock for it.
    """
    first = next(tables)
    rows = 0
    with (
        pa.parquet.ParquetWriter(
            file, first.schema, compression="zstd", use_dictionary=_repeating(first.schema)
        ) as writer,
        ThreadPoolExecutor(1, thread_name_prefix="export") as writing,
    ):
        written: Future[None] | None = None
        for group in _row_groups(chain([first], tables)):
            if written is not None:
                written.result()
            written = writing.submit(writer.write_table, group)
            rows += group.num_rows
            show(rows, None, f"{rows:,} rows")
        if written is not None:
            written.result()
    return rows


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if (
            sum(one.num_rows for one in waiting) >= ROW_GROUP_ROWS
            or sum(one.nbytes for one in waiting) >= ROW_GROUP_BYTES
        ):
            yield pa.concat_tables(waiting)
            waiting = []
    if any(one.num_rows for one in waiting):
        yield pa.concat_tables(waiting)


def _repeating(schema: pa.Schema) -> list[str]:
    """Return the columns whose values repeat; a dictionary of ids would be given up after a megabyte of them."""
    return [name for name in schema.names if name not in UNIQUE]
