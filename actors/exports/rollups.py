"""What a log holds, as columns that are made once: signals by household, and every other record as it is.

A rollup is what stands in a partition from one offset to another: two Parquet files beside the log. Signals lie in
buckets by who they were told of, so that whoever measures reads one part of all households after another. It is made
when enough has been written behind the one before; what is behind the last is read from the log. So nothing of a log is
decoded twice, however often one asks, and a question costs memory for one bucket. They say nothing that the log does
not: without them, or where they do not fit it any more, they are made anew.

    <folder>/p-0003/<first>-<end>.signals.parquet    rows by bucket, a row group each
    <folder>/p-0003/<first>-<end>.records.parquet    plans, epochs, decisions, hand-overs; offset, stamp, payload
"""

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.exports.rollup_files import (
    BUCKETS,
    NO_PLANS,
    Rollup,
    buckets_by_name,
    fingerprint,
    newest_of,
    present_rollups,
    signals_table,
    stored_in,
    with_identity,
    write_rollup,
)
from actors.exports.signals import SignalColumns, schema_message
from actors.log.contract import LOG_START, Offset, PartitionId, RecordKind, StoredRecord
from actors.log.location import PartitionReader

ROWS_MOST: Final = 1 << 20
"""Signals of one rollup, about: as many as are sorted into buckets at once."""

ROWS_LEAST: Final = 1 << 17
"""With fewer behind the last rollup none is made: they are read from the log in less than a second."""


@dataclass(slots=True, kw_only=True)
class RolledPartition:
    """A partition: its rollups, and what stands behind them."""

    partition: PartitionId
    rollups: list[Rollup] = field(default_factory=list)
    tail_signals: list[StoredRecord] = field(default_factory=list)
    tail_records: list[StoredRecord] = field(default_factory=list)
    begins: StoredRecord | None = None
    """The oldest record there is, where older ones were dropped."""


class Rollups:
    """Those of a log."""

    def __init__(
        self,
        folder: Path,
        read: PartitionReader,
        *,
        rows_most: int = ROWS_MOST,
        rows_least: int = ROWS_LEAST,
        buckets: int = BUCKETS,
        is_kept: bool = True,
    ) -> None:
        """Look into a folder; where it is not to be kept, what is new stays in memory."""
        self._folder, self._read = folder, read
        self._rows_most, self._rows_least = rows_most, rows_least
        self.buckets, self._is_kept = buckets, is_kept
        self._tails: list[pa.Table | None] = [None] * buckets
        self.partitions: list[RolledPartition] = []

    def extend(self, show: Callable[[int], None] = lambda rows: None) -> "Rollups":
        """Read what is new in the log, and make rollups of it where it is enough.

        Where another process does so, or the folder cannot be written to, all that is new stays in memory.

        Raises:
            LogError: a log is damaged or cannot be read.
            PayloadUnreadable: a record is not what its kind says.
        """
        with _alone(self._folder if self._is_kept else None) as may_write:
            self.partitions = [self._extended(one, may_write, show) for one in self._read.partitions()]
        tail = _table(self.partitions)
        self._tails = _by_bucket(tail, self.buckets) if tail.num_rows else [None] * self.buckets
        return self

    def present(self) -> "Rollups":
        """Look at what is rolled up, and leave out what is new in the log."""
        self.partitions = [
            RolledPartition(partition=one, rollups=present_rollups(self._folder / f"p-{one:04d}", self.buckets))
            for one in self._read.partitions()
        ]
        return self

    def _extended(self, partition: PartitionId, may_write: bool, show: Callable[[int], None]) -> RolledPartition:
        folder = self._folder / f"p-{partition:04d}"
        found = RolledPartition(partition=partition, rollups=present_rollups(folder, self.buckets))
        start = found.rollups[-1].end if found.rollups else LOG_START
        # The last record that is rolled up is read again: it says whether they are of this log.
        records = self._read.read(partition, Offset(max(start - 1, LOG_START)))
        first = next(records, None)
        if found.rollups and (first is None or first.offset >= start or fingerprint(first) != found.rollups[-1].last):
            for one in found.rollups if may_write else ():
                one.signals.unlink(missing_ok=True)
                one.records.unlink(missing_ok=True)
            found.rollups, records = [], self._read.read(partition, LOG_START)
            first = next(records, None)
        if first is None:
            return found
        if not found.rollups:
            found.begins = first if first.offset > LOG_START else None
            records = chain([first], records)
        else:
            self._give_up(found, may_write)
        rows = 0
        for stored in records:
            if stored.record.kind is RecordKind.SIGNALS:
                found.tail_signals.append(stored)
                # What is not opened yet counts by its size: a row takes some dozen bytes at least.
                rows += max(len(stored.record.payload) // 64, 1)
            else:
                found.tail_records.append(stored)
            if rows >= self._rows_most and may_write:
                self._roll(found, folder, show)
                rows = 0
        if rows >= self._rows_least and may_write:
            self._roll(found, folder, show)
        return found

    def _give_up(self, found: RolledPartition, may_write: bool) -> None:
        """Leave out what the log has dropped by now."""
        begins = next(self._read.read(found.partition, LOG_START), None)
        if begins is None or begins.offset == LOG_START:
            return
        found.begins = begins
        for one in [one for one in found.rollups if one.end <= begins.offset]:
            found.rollups.remove(one)
            if may_write:
                one.signals.unlink(missing_ok=True)
                one.records.unlink(missing_ok=True)
        found.rollups = [replace(one, since=begins.offset) for one in found.rollups]

    def _roll(self, found: RolledPartition, folder: Path, show: Callable[[int], None]) -> None:
        """Make a rollup of what stands behind the last."""
        folder.mkdir(parents=True, exist_ok=True)
        both = found.tail_signals[-1:] + found.tail_records[-1:]
        last = max(both, key=lambda stored: stored.offset)
        firsts = found.tail_signals[:1] + found.tail_records[:1]
        first = min(stored.offset for stored in firsts)
        table = signals_table(found.partition, found.tail_signals)
        rollup = write_rollup(
            folder,
            table,
            found.tail_records,
            first=first,
            end=Offset(last.offset + 1),
            last=fingerprint(last),
            count=self.buckets,
        )
        show(table.num_rows)
        found.rollups.append(rollup)
        found.tail_signals, found.tail_records = [], []

    def kinds(self) -> dict[str, int]:
        """Return by event type the buckets that have any, a bit each."""
        found: Counter[str] = Counter()
        for told in self._told():
            for name, bits in told["kinds"].items():
                found[name] |= bits
        return dict(found)

    def newest_us(self, *, future_us: int) -> int:
        """Return the time of the newest signal that was not ahead of when it was recorded by more; 0 for none."""
        newest_us = 0
        for one in self.partitions:
            for rollup in one.rollups:
                if rollup.ahead_us <= future_us:
                    newest_us = max(newest_us, rollup.newest_us)
                else:
                    table = pq.read_table(rollup.signals, columns=["time", "recorded_at"])
                    newest_us = max(newest_us, newest_of(table, future_us))
        return max([newest_us, *(newest_of(one, future_us) for one in self._tails if one is not None)])

    def _told(self) -> Iterator[Mapping[str, Any]]:
        yield from ({"kinds": rollup.kinds} for one in self.partitions for rollup in one.rollups)
        yield from (
            {"kinds": dict.fromkeys(pc.unique(tail["type"]).to_pylist(), 1 << bucket)}
            for bucket, tail in enumerate(self._tails)
            if tail is not None
        )

    def records(self) -> Iterator[tuple[int, StoredRecord]]:
        """Yield (partition, record) of all that is no signal, partition after partition, in log order."""
        for one in self.partitions:
            for rollup in one.rollups:
                yield from ((one.partition, stored) for stored in stored_in(rollup))
            yield from ((one.partition, stored) for stored in one.tail_records)

    def tables(self, bucket: int, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the signals of a bucket, partition after partition, in log order."""
        for one in self.partitions:
            for rollup in one.rollups:
                if (table := rollup.table(bucket, columns)) is not None:
                    yield table
        tail = self._tails[bucket]
        if tail is not None:
            yield tail.select([name for name in columns if name in tail.column_names])


@contextmanager
def _alone(folder: Path | None) -> Iterator[bool]:
    """Yield whether this process alone may write; False where another does, or none can or is to."""
    if folder is None:
        yield False
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o640)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _table(partitions: Sequence[RolledPartition]) -> pa.Table:
    """Return the signals behind all rollups, in log order."""
    records = [(one.partition, stored) for one in partitions for stored in one.tail_signals]
    messages = dict.fromkeys(schema_message(stored.record.payload) for _, stored in records)
    return with_identity(SignalColumns.of(messages, NO_PLANS).table(records))


def _by_bucket(table: pa.Table, count: int) -> list[pa.Table | None]:
    buckets = buckets_by_name(table, count)
    order = np.argsort(buckets, kind="stable")
    ends = np.cumsum(np.bincount(buckets, minlength=count)).tolist()
    sorted_table = table.take(pa.array(order))
    return [
        sorted_table.slice(start, end - start) if end > start else None
        for start, end in zip([0, *ends], ends, strict=False)
    ]
