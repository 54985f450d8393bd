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
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, takewhile
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
from actors.exports.rollup_merging import left_over, merged
from actors.exports.signals import SignalColumns, schema_message
from actors.log.contract import LOG_START, Offset, PartitionId, RecordKind, StoredRecord
from actors.log.location import PartitionReader
from actors.log.reading import LogMark
from actors.passing_over import passing_over

ROLLUPS_NAME: Final = "rollups"
"""Their folder in the data directory."""

ROWS_MOST: Final = 1 << 20
"""Signals of one rollup, about: as many as are sorted into buckets at once."""

ROWS_LEAST: Final = 1 << 17
"""With fewer behind the last rollup none is made: they are read from the log in less than a second."""

ROW_BYTES: Final = 64
"""Of a row in the log, at least: so many signals or fewer are in what is that large."""

MERGED_LEAST: Final = 4
"""So many small rollups at the end of a partition, or more, become one once they hold as much as a large one."""

_WRITING, _READING = "lock", "reading"
"""Files that are locked: by the one who makes rollups; by all who read some, so that nothing is deleted meanwhile."""


@dataclass(slots=True, kw_only=True)
class RolledPartition:
    """A partition: its rollups, and what stands behind them."""

    partition: PartitionId
    rollups: list[Rollup] = field(default_factory=list)
    tail_signals: list[StoredRecord] = field(default_factory=list)
    tail_records: list[StoredRecord] = field(default_factory=list)
    begins: StoredRecord | None = None
    """The oldest record there is, where older ones were dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Behind:
    """What stands behind the rollups of a partition."""

    place: Offset
    """How far it was read."""
    rows: int = 0
    """About."""
    mark: LogMark | None = None
    """How far it went when it was looked at, where that tells how it grows."""


class Rollups:
    """Those of a log."""

    def __init__(
        self,
        folder: Path,
        read: PartitionReader,
        *,
        rows_most: int = ROWS_MOST,
        rows_least: int = ROWS_LEAST,
        rows_merged: int = ROWS_MOST,
        buckets: int = BUCKETS,
        is_kept: bool = True,
    ) -> None:
        """Look into a folder; where it is not to be kept, what is new stays in memory."""
        self._folder, self._read = folder, read
        self._rows_most, self._rows_least, self._rows_merged = rows_most, rows_least, rows_merged
        self.buckets, self._is_kept = buckets, is_kept
        self._tails: list[pa.Table | None] = [None] * buckets
        self._behind: dict[PartitionId, _Behind] = {}
        """For who keeps them up."""
        self._let_go: Callable[[], object] = lambda: None
        self.partitions: list[RolledPartition] = []

    def extend(self, show: Callable[[int], None] = lambda rows: None) -> "Rollups":
        """Read what is new in the log, and make rollups of it where it is enough.

        Where another process does so, or the folder cannot be written to, all that is new stays in memory.

        Raises:
            LogError: a log is damaged or cannot be read.
            PayloadUnreadable: a record is not what its kind says.
        """
        self._let_go()
        with _alone(self._folder if self._is_kept else None) as may_write:
            if not may_write:
                self._hold()
            self.partitions = [self._extended(one, may_write, show) for one in self._read.partitions()]
            if may_write:
                self._hold()
        tail = _table(self.partitions)
        self._tails = _by_bucket(tail, self.buckets) if tail.num_rows else [None] * self.buckets
        return self

    def keep_up(self, show: Callable[[int], None] = lambda rows: None) -> None:
        """Make rollups of what is new where it is enough, as `extend` does, and keep nothing of it in memory.

        For who does so again and again: what is not enough yet is read once. Raises as `extend`.
        """
        waiting = [one for one in self._read.partitions() if self._is_enough(one)]
        if not waiting:
            return
        with _alone(self._folder if self._is_kept else None) as may_write:
            for one in waiting if may_write else ():
                self._extended(one, may_write, show)
                self._behind.pop(one, None)

    def _is_enough(self, partition: PartitionId) -> bool:
        """Return whether there is enough behind the rollups of a partition; of files their growth tells."""
        found = self._behind.get(partition)
        grown = self._read.grown
        if found is not None and grown is not None:
            more, mark = grown(partition, found.mark)
            found = replace(found, rows=found.rows + more // ROW_BYTES, mark=mark)
        else:
            if found is None:
                rollups = present_rollups(self._folder / f"p-{partition:04d}", self.buckets)
                place = rollups[-1].end if rollups else LOG_START
                found = _Behind(place=place, mark=None if grown is None else grown(partition, None)[1])
            for stored in self._read.read(partition, found.place):
                found = replace(found, place=Offset(stored.offset + 1), rows=found.rows + _rows_of(stored))
                if found.rows >= self._rows_least:
                    return True
        self._behind[partition] = found
        return found.rows >= self._rows_least

    def present(self) -> "Rollups":
        """Look at what is rolled up, and leave out what is new in the log."""
        self._let_go()
        self._hold()
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
            may_write = may_write and self._dropped(_files_of(found.rollups))
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
            is_signals = stored.record.kind is RecordKind.SIGNALS
            (found.tail_signals if is_signals else found.tail_records).append(stored)
            rows += _rows_of(stored)
            if rows >= self._rows_most and may_write:
                self._roll(found, folder, show)
                rows = 0
        if rows >= self._rows_least and may_write:
            self._roll(found, folder, show)
        if may_write:
            self._merge(found, folder)
            self._dropped(left_over(folder, found.rollups))
        return found

    def _give_up(self, found: RolledPartition, may_write: bool) -> None:
        """Leave out what the log has dropped by now."""
        begins = next(self._read.read(found.partition, LOG_START), None)
        if begins is None or begins.offset == LOG_START:
            return
        found.begins = begins
        gone = [one for one in found.rollups if one.end <= begins.offset]
        if gone and may_write:
            self._dropped(_files_of(gone))
        found.rollups = found.rollups[len(gone) :]
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

    def _merge(self, found: RolledPartition, folder: Path) -> None:
        """Make one of the small ones at the end, where they are many and hold enough."""
        small = list(takewhile(lambda one: one.rows < self._rows_merged, reversed(found.rollups)))[::-1]
        if len(small) >= MERGED_LEAST and sum(one.rows for one in small) >= self._rows_merged:
            whole = merged(folder, small)
            if whole is not None:
                found.rollups[-len(small) :] = [whole]

    def _dropped(self, files: Sequence[Path]) -> bool:
        """Delete files; return whether that was done: not while somebody reads."""
        if not files:
            return True
        try:
            with _locked(self._folder / _READING, fcntl.LOCK_EX | fcntl.LOCK_NB):
                for one in files:
                    one.unlink(missing_ok=True)
        except OSError:
            return False
        return True

    def _hold(self) -> None:
        """Have nothing deleted until this is gone, or reads anew."""
        closing = ExitStack()
        with passing_over(OSError, because="where there is no folder, there is nothing to delete"):
            closing.enter_context(_locked(self._folder / _READING, fcntl.LOCK_SH))
        self._let_go = weakref.finalize(self, closing.close)

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

    def rows(self, bucket: int) -> int:
        """Return how many signals there are of a bucket."""
        tail = self._tails[bucket]
        rolled = sum(rollup.buckets[bucket] for one in self.partitions for rollup in one.rollups)
        return rolled + (0 if tail is None else tail.num_rows)

    def tables(
        self,
        bucket: int,
        columns: Sequence[str],
        *,
        share: int = 0,
        of: int = 1,
        kinds: Collection[str] | None = None,
    ) -> Iterator[pa.Table]:
        """Yield the signals of a bucket, partition after partition, in log order.

        Args:
            columns: that are asked for; those that are there are given.
            share: one of so many parts of the bucket, for who has not room for all of it.
            of: how many there are.
            kinds: event types of which one at least is in each table, among others; None: whichever there are.
        """
        for table in self._whole_tables(bucket, columns, kinds):
            if of > 1:
                # A bucket of n is n buckets of m·n: those whose number leaves it, divided by the buckets there are.
                is_in = buckets_by_name(table, self.buckets * of) == bucket + self.buckets * share
                yield table.filter(pa.array(is_in))
            else:
                yield table

    def _whole_tables(self, bucket: int, columns: Sequence[str], kinds: Collection[str] | None) -> Iterator[pa.Table]:
        for one in self.partitions:
            for rollup in one.rollups:
                is_in = kinds is None or any(rollup.kinds.get(kind, 0) >> bucket & 1 for kind in kinds)
                if is_in and (table := rollup.table(bucket, columns)) is not None:
                    yield table
        tail = self._tails[bucket]
        if tail is not None:
            yield tail.select([name for name in columns if name in tail.column_names])


@contextmanager
def _alone(folder: Path | None) -> Iterator[bool]:
    """Yield whether this process alone may write; False where another does, or none can or is to."""
    with ExitStack() as stack:
        may_write = False
        with passing_over(OSError, because="whoever may not write is told so"):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(_locked(folder / _WRITING, fcntl.LOCK_EX | fcntl.LOCK_NB))
                may_write = True
        yield may_write


@contextmanager
def _locked(file: Path, how: int) -> Iterator[None]:
    """Hold a lock on a file.

    Raises:
        OSError: the file cannot be made, or somebody else holds it and `how` says not to wait.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_CREAT, 0o640)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _rows_of(stored: StoredRecord) -> int:
    """Return how many rows a record is, about: what is not opened yet counts by its size."""
    return max(len(stored.record.payload) // ROW_BYTES, 1)


def _files_of(rollups: Sequence[Rollup]) -> list[Path]:
    return [file for one in rollups for file in (one.signals, one.records)]


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
