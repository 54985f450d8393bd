"""Laws: figures out of rollups are those of the whole log in memory, to the last unit, at any two times, wherever
rollups begin and end; what was rolled up is read from the log no more; rollups of another log, and of what the log has
dropped, count for nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from actors.exports.log_export import export_table
from actors.exports.rollup_files import bucket_of
from actors.exports.rollups import Rollups
from actors.log.contract import Epoch, Offset, PartitionId, Record, RecordKind, StoredRecord
from actors.log.location import PartitionReader
from cluster.rolled import PART_ROWS, RolledLog, asked_of_rollups
from hearth.v1 import signal_pb2
from insight.measures.adding_up import Sums
from insight.measures.definitions import read_definitions
from insight.measures.facts import Facts
from insight.measures.figures import FigureRow
from insight.measures.knowledge import Knowledge, ask, months_of
from insight.measures.kpis import WINDOW_US, events_behind, explained, in_order, kpis
from insight.measures.reading import read_facts
from insight.measures.use import uses_asked_since_us
from serving.signal_batches import batch_from_signals
from tests.actors.harness import signal
from tests.insight.measures_log import START, lived
from tests.insight.measures_reference import DAY, Event
from wire.batches import ipc_bytes

PARTITIONS = 2


@dataclass
class MemoryLog:
    """Partitions of a log, and how much of it was read."""

    records: dict[int, list[StoredRecord]] = field(default_factory=dict)
    read_from: list[tuple[int, int]] = field(default_factory=list)

    def reader(self) -> PartitionReader:
        def read(partition: PartitionId, start: Offset) -> Iterator[StoredRecord]:
            self.read_from.append((partition, start))
            return (one for one in self.records[partition] if one.offset >= start)

        return PartitionReader(partitions=lambda: tuple(PartitionId(one) for one in self.records), read=read)

    def all(self) -> Iterator[tuple[int, StoredRecord]]:
        return ((partition, stored) for partition, records in self.records.items() for stored in records)

    def append(self, events: Sequence[Event], *, each: int = 7) -> None:
        """Write events as calls of some each would, into the partitions of their households."""
        for partition in range(PARTITIONS):
            own = [one for one in events if len(one.household) and bucket_of(one.household) % PARTITIONS == partition]
            records = self.records.setdefault(partition, [])
            for start in range(0, len(own), each):
                batch = [as_signal(one) for one in own[start : start + each]]
                stamp = max(one.learnt for one in own[start : start + each])
                record = Record(
                    kind=RecordKind.SIGNALS,
                    version=1,
                    epoch=Epoch(1),
                    stamp_us=stamp,
                    payload=ipc_bytes(batch_from_signals(batch)),
                )
                records.append(StoredRecord(offset=Offset(records[-1].offset + 1 if records else 0), record=record))


def as_signal(event: Event) -> signal_pb2.Signal:
    fields = {name: value for name, value in event.fields.items() if value is not None}
    told = signal(event.id, event.household, event.type, event.time, member=event.member, fields=fields)
    told.source = event.source
    return told


def by_parts(
    log: RolledLog,
    *,
    as_of: int,
    known_by: int | None,
    uses_since_us: int | None = None,
    rows_most: int = PART_ROWS,
) -> list[FigureRow]:
    def sums(part: Knowledge | None = None) -> Sums:
        made = Sums(time_us=as_of, zone="UTC", months=3, by="category", window_us=WINDOW_US)
        if part is not None:
            made.add(part)
        return made

    whole = sums()
    for one in log.over_parts(sums, time_us=as_of, known_us=known_by, uses_since_us=uses_since_us, rows_most=rows_most):
        whole.merge(one)
    return whole.rows()


def in_memory(log: MemoryLog) -> Facts:
    return read_facts(export_table(log.all, "signals"), read_definitions(), ())


@pytest.mark.parametrize(("seed", "rows_most"), [(1, PART_ROWS), pytest.param(2, 60, marks=pytest.mark.chaos)])
def test_figures_are_those_of_the_whole_log(tmp_path: Path, seed: int, rows_most: int):
    events, log = lived(seed=seed), MemoryLog()
    third = len(events) // 3
    for part in range(3):
        log.append(events[part * third : (part + 1) * third if part < 2 else None])
        least = 300 if part < 2 else 10**9  # what comes last stays behind the rollups
        rollups = Rollups(tmp_path, log.reader(), rows_most=9_000, rows_least=least, buckets=4).extend()
    assert sum(len(one.rollups) for one in rollups.partitions) >= 4
    assert any(one.tail_signals for one in rollups.partitions)
    measured, facts = asked_of_rollups(rollups), in_memory(log)
    assert measured.newest_us == facts.newest_us
    for as_of in (START + 9 * DAY, START + 33 * DAY + 5, START + 50 * DAY, START + 71 * DAY + 77, START + 120 * DAY):
        for known_by in (None, as_of - 3 * DAY):
            measured.left_out.clear()
            whole = ask(facts, read_definitions(), time_us=as_of, known_us=known_by, zone="UTC")
            wanted = kpis(whole, months=3, by="category")
            assert by_parts(measured, as_of=as_of, known_by=known_by, rows_most=rows_most) == wanted
            assert measured.told_left_out() == facts.left_out
        since_us = uses_asked_since_us(months_of(time_us=as_of, count=3, zone="UTC"))
        assert by_parts(measured, as_of=as_of, known_by=known_by, uses_since_us=since_us, rows_most=rows_most) == wanted

    name = "K2.arpu/2026-10/category=partner"

    def behind(part: Knowledge) -> list[tuple[int, str]] | None:
        return events_behind(part, name, months=3)

    found = in_order(measured.over_parts(behind, time_us=START + 71 * DAY, known_us=None), name)
    whole = ask(facts, read_definitions(), time_us=START + 71 * DAY, zone="UTC")
    assert found == explained(whole, name, months=3) != []


def test_what_was_rolled_up_is_read_no_more(tmp_path: Path):
    log = MemoryLog()
    log.append(lived(seed=3))
    Rollups(tmp_path, log.reader(), rows_most=9_000, rows_least=1, buckets=4).extend()
    log.read_from.clear()
    again = Rollups(tmp_path, log.reader(), rows_most=9_000, rows_least=1, buckets=4).extend()
    ends = {partition: records[-1].offset for partition, records in log.records.items()}
    assert {(one, start) for one, start in log.read_from if start} == set(ends.items())
    assert not any(one.tail_signals for one in again.partitions)


def test_rollups_of_another_log_and_broken_ones_are_made_anew(tmp_path: Path):
    log, other = MemoryLog(), MemoryLog()
    log.append(lived(seed=3))
    other.append(lived(seed=4))
    Rollups(tmp_path, log.reader(), rows_most=9_000, rows_least=1, buckets=4).extend()
    moved = Rollups(tmp_path, other.reader(), rows_most=9_000, rows_least=1, buckets=4).extend()
    as_of = START + 50 * DAY
    wanted = kpis(ask(in_memory(other), read_definitions(), time_us=as_of, zone="UTC"), months=3, by="category")
    assert by_parts(asked_of_rollups(moved), as_of=as_of, known_by=None) == wanted

    broken = next(tmp_path.glob("p-0000/*.signals.parquet"))
    broken.write_bytes(broken.read_bytes()[:100])
    mended = Rollups(tmp_path, other.reader(), rows_most=9_000, rows_least=1, buckets=4).extend()
    assert by_parts(asked_of_rollups(mended), as_of=as_of, known_by=None) == wanted


def test_what_the_log_has_dropped_counts_no_more(tmp_path: Path):
    log = MemoryLog()
    log.append(lived(seed=3))
    Rollups(tmp_path, log.reader(), rows_most=9_000, rows_least=1, buckets=4).extend()
    for partition, records in log.records.items():
        log.records[partition] = records[len(records) // 2 :]
    kept = Rollups(tmp_path, log.reader(), rows_most=9_000, rows_least=1, buckets=4).extend()
    as_of = START + 120 * DAY
    wanted = kpis(ask(in_memory(log), read_definitions(), time_us=as_of, zone="UTC"), months=3, by="category")
    assert by_parts(asked_of_rollups(kept), as_of=as_of, known_by=None) == wanted
    assert all(one.begins is not None for one in kept.partitions)
