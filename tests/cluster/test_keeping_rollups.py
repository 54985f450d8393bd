"""Laws: a running Hearth rolls its log up by and by, reads what is new once, and whoever asks has all that came; small
rollups become large ones; and nothing is deleted that somebody reads.
"""

from dataclasses import replace
from pathlib import Path

from actors.exports.rollups import Rollups
from actors.log.contract import Epoch, PartitionId, Record, RecordKind
from actors.log.reading import LogMark, grown_since
from actors.log.segments import SegmentSettings, SegmentStore
from cluster.keeping_rollups import LOOK_INTERVAL_S, keep_up
from cluster.rolled import asked_of_rollups
from insight.measures.definitions import read_definitions
from insight.measures.knowledge import ask
from insight.measures.kpis import kpis
from tests.cluster.test_rolled import MemoryLog, by_parts, in_memory
from tests.insight.measures_log import START, lived
from tests.insight.measures_reference import DAY, Event

AS_OF = START + 120 * DAY
LOOKS = 12


class Passing:
    """A clock that goes when it is waited for; events come meanwhile."""

    def __init__(self, log: MemoryLog, events: list[Event], *, looks: int = LOOKS) -> None:
        self.log, self.events, self.looks = log, events, looks
        self.each = -(-len(events) // looks)
        self.now_s = 0.0
        self.came_s = 0.0
        """When the newest event came."""

    def wait(self, timeout: float) -> bool:
        self.now_s += timeout
        came, self.events = self.events[: self.each], self.events[self.each :]
        if came:
            self.came_s = self.now_s
            self.log.append(came)
        self.looks -= 1
        return self.looks < 0


def rollups_of(log: MemoryLog, folder: Path, *, least: int = 1_500, merged: int = 900) -> Rollups:
    return Rollups(folder, log.reader(), rows_most=9_000, rows_least=least, rows_merged=merged, buckets=4)


def used(household: str) -> Event:
    return Event(id="last", type="app.session_started", household=household, time=START, learnt=START, fields={})


def wanted_of(log: MemoryLog) -> object:
    return kpis(ask(in_memory(log), read_definitions(), time_us=AS_OF, zone="UTC"), months=3, by="category")


def test_whoever_asks_a_running_hearth_has_all_that_came_and_reads_little_of_the_log(tmp_path: Path):
    log = MemoryLog()
    passing = Passing(log, lived(seed=7))
    keep_up(rollups_of(log, tmp_path), passing)
    assert passing.events == []
    assert passing.now_s - passing.came_s <= 60
    assert LOOK_INTERVAL_S <= 60

    log.read_from.clear()
    asked = rollups_of(log, tmp_path, least=10**9).extend()
    assert sum(len(one.rollups) for one in asked.partitions) >= 2
    for one in asked.partitions:
        behind = sum(max(len(stored.record.payload) // 64, 1) for stored in one.tail_signals)
        assert behind < 1_500 + 2 * 7 * 64  # less than a rollup, and a look's last record
    assert by_parts(asked_of_rollups(asked), as_of=AS_OF, known_by=None) == wanted_of(log)


def test_what_is_not_enough_yet_is_read_once(tmp_path: Path):
    log = MemoryLog()
    events = lived(seed=7)
    keep_up(rollups_of(log, tmp_path, least=10**9), Passing(log, events))
    starts = [start for one, start in log.read_from if one == 0]
    assert len(starts) == LOOKS
    assert starts == sorted(set(starts))
    assert not list(tmp_path.glob("p-*/*"))


def test_files_are_read_only_once_they_have_grown_enough(tmp_path: Path):
    log = MemoryLog()

    def grown(partition: PartitionId, mark: LogMark | None) -> tuple[int, LogMark]:
        size = sum(len(stored.record.payload) for stored in log.records[partition])
        return (0 if mark is None else size - mark[1]), ("0", size)

    read = replace(log.reader(), grown=grown)
    rollups = Rollups(tmp_path, read, rows_most=9_000, rows_least=3_000, buckets=4)
    keep_up(rollups, Passing(log, lived(seed=7)))
    starts = [start for one, start in log.read_from if one == 0]
    # Once at the first look, then only where a rollup is made of what is new, or was made before.
    rolled = len(list(tmp_path.glob("p-0000/*.signals.parquet")))
    assert 1 <= rolled <= 3
    assert len(starts) <= 1 + 3 * rolled


def test_growth_of_files_is_told_across_segments(tmp_path: Path):
    store = SegmentStore(tmp_path, settings=SegmentSettings(segment_bytes=2_048))
    log = store.open(PartitionId(0))
    record = Record(kind=RecordKind.SIGNALS, version=1, epoch=Epoch(1), stamp_us=1, payload=b"x" * 500)
    log.append([record])
    nothing, mark = grown_since(tmp_path, PartitionId(0), None)
    for _ in range(9):
        log.append([record])
    grown, after = grown_since(tmp_path, PartitionId(0), mark)
    log.close()
    assert nothing == 0
    assert 9 * 500 < grown < 9 * 700
    assert len(list(tmp_path.glob("p-*/*"))) > 2
    assert grown_since(tmp_path, PartitionId(0), after) == (0, after)


def test_many_small_rollups_become_a_large_one_that_says_the_same(tmp_path: Path):
    log = MemoryLog()
    # Columns come and go: what one lacks is nothing in the large one.
    keep_up(rollups_of(log, tmp_path, least=300, merged=10**9), Passing(log, lived(seed=8)))
    small = rollups_of(log, tmp_path, least=10**9).present()
    keep_up(rollups_of(log, tmp_path, least=1, merged=500), Passing(log, [], looks=1))
    log.append([used(f"H{number:03d}") for number in range(9)])
    del small
    keep_up(rollups_of(log, tmp_path, least=1, merged=500), Passing(log, [], looks=1))
    asked = rollups_of(log, tmp_path, least=10**9).extend()
    merged = [one for partition in asked.partitions for one in partition.rollups]
    assert any(one.rows >= 500 for one in merged)
    assert by_parts(asked_of_rollups(asked), as_of=AS_OF, known_by=None) == wanted_of(log)


def test_nothing_is_deleted_that_somebody_reads(tmp_path: Path):
    log = MemoryLog()
    events = lived(seed=8)
    keep_up(rollups_of(log, tmp_path, least=300, merged=10**9), Passing(log, events[:-50]))
    reads = rollups_of(log, tmp_path, least=10**9, merged=10**9).extend()
    before = wanted_of(log)
    files = set(tmp_path.glob("p-*/*"))

    keep_up(rollups_of(log, tmp_path, least=1, merged=500), Passing(log, events[-50:], looks=1))
    assert files < set(tmp_path.glob("p-*/*"))
    assert by_parts(asked_of_rollups(reads), as_of=AS_OF, known_by=None) == before

    del reads
    log.append([used(f"H{number:03d}") for number in range(9)])
    keep_up(rollups_of(log, tmp_path, least=1, merged=500), Passing(log, [], looks=1))
    assert not files <= set(tmp_path.glob("p-*/*"))
    asked = rollups_of(log, tmp_path, least=10**9).extend()
    assert by_parts(asked_of_rollups(asked), as_of=AS_OF, known_by=None) == wanted_of(log)


def test_a_log_that_cannot_be_read_is_tried_again(tmp_path: Path):
    log = MemoryLog()
    passing = Passing(log, lived(seed=7))
    rollups, looks = rollups_of(log, tmp_path), []

    def failing() -> None:
        looks.append(passing.now_s)
        raise OSError("no space left")

    rollups.keep_up = failing  # type: ignore[method-assign]
    keep_up(rollups, passing)
    assert len(looks) == LOOKS
