"""The log contract. Every implementation in LOGS keeps every law here; Kafka on a real broker, where one can be had.

Laws:
    what was appended is what is read, in order, from any start, before and after reopening;
    a group's offsets are consecutive, and it begins where the log ended (embedded: no offset is ever skipped);
    epochs never go back, and an epoch opens once;
    after an append of unknown outcome the object is dead, and a new one shows the group whole or not at all;
    a refused group leaves no trace;
    one owner at a time where the log can lock; where it cannot, the owner learns what another wrote before its own;
    a log shorter than what was acknowledged says so;
    dropping gives up only what lies before, says where the log now begins, and forgets no epoch;
    what was written before a time is told from what came later;
    who follows a log reads what its owner wrote, in order and once, and goes on where he left off when it is his.
"""

import itertools
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.log.contract import (
    LOG_START,
    AppendFailed,
    DamagedLog,
    Epoch,
    LogError,
    LogLocked,
    LogStore,
    LogUnavailable,
    Offset,
    OffsetOutOfRange,
    PartitionId,
    PartitionLog,
    Record,
    RecordKind,
    RecordTooLong,
    StaleEpoch,
    UnknownFormat,
)
from actors.log.files import Files
from actors.log.segments import SegmentSettings, SegmentStore
from tests.parts.kafka_broker import Broker, shared_broker

RECORD_BYTES_MAX = 4_096
THREE = PartitionId(3)
HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One implementation under test, and how to make its storage refuse."""

    store: LogStore
    fail_next_append: Callable[[], None]
    skips_no_offset: bool
    can_lock: bool


Make = Callable[[], AbstractContextManager[Bench]]


class RefusingFiles(Files):
    """Fails the next sync of an append once asked to."""

    is_refusing = False

    def fdatasync(self, descriptor: int) -> None:
        if self.is_refusing:
            self.is_refusing = False
            raise OSError(5, "Input/output error")


@contextmanager
def embedded() -> Iterator[Bench]:
    # Small segments, so that every example rolls; real syncs are the segment tests' and the bench's business.
    limits = SegmentSettings(segment_bytes=1_000, record_bytes_max=RECORD_BYTES_MAX)
    files = RefusingFiles()
    files.fsync = lambda descriptor: None  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as directory:
        store = SegmentStore(Path(directory) / "log", settings=limits, files=files)
        yield Bench(
            store=store,
            fail_next_append=lambda: setattr(files, "is_refusing", True),
            skips_no_offset=True,
            can_lock=True,
        )


_prefixes = (f"example-{number}" for number in itertools.count())


@contextmanager
def kafka(broker: Broker) -> Iterator[Bench]:
    # Imported here, so that the embedded log is tested where Kafka's client is missing.
    from actors.log.kafka import KafkaStore
    from tests.parts.kafka_logs import RefusingClients, settings_for

    limits = settings_for(broker, next(_prefixes), record_bytes_max=RECORD_BYTES_MAX)
    clients = RefusingClients(limits)
    with closing(KafkaStore(limits, clients=clients)) as store:
        yield Bench(store=store, fail_next_append=clients.refuse_next, skips_no_offset=False, can_lock=False)


LOGS = ["embedded", "kafka"]
EXAMPLES = {"embedded": 1.0, "kafka": 0.07}
"""Of the examples, the share for each: opening a log on Kafka takes half a second."""


@pytest.fixture(scope="module", params=LOGS)
def log_name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def make(log_name: str) -> Iterator[Make]:
    if log_name == "embedded":
        yield embedded
        return
    yield partial(kafka, shared_broker())


@pytest.fixture
def bench(make: Make) -> Iterator[Bench]:
    with make() as made:
        yield made


def record(payload: bytes = b"x", *, kind: RecordKind = RecordKind.SIGNALS, epoch: int = 1) -> Record:
    return Record(kind=kind, version=1, epoch=Epoch(epoch), stamp_us=1_700_000_000_000_000, payload=payload)


def records_of(log: PartitionLog, start: Offset | None = None) -> list[Record]:
    return [stored.record for stored in log.read(log.first_offset if start is None else start)]


any_record = st.builds(
    Record,
    kind=st.sampled_from([kind for kind in RecordKind if kind is not RecordKind.EPOCH]),
    version=st.integers(0, 2**16 - 1),
    epoch=st.just(Epoch(1)),
    stamp_us=st.integers(-(2**63), 2**63 - 1),
    payload=st.binary(max_size=300),
)
any_groups = st.lists(st.tuples(st.lists(any_record, min_size=1, max_size=6), st.booleans()), max_size=8)
Groups = list[tuple[list[Record], bool]]


def for_any_groups(log_name: str, law: Callable[[Groups], None], *, max_examples: int) -> None:
    """Check a law for generated groups; each says whether the log is opened again behind it."""
    share = round(max_examples * EXAMPLES[log_name])
    settings(max_examples=share)(given(groups=any_groups)(law))()


def test_what_was_appended_is_read_in_order_whatever_the_groups_and_wherever_it_was_reopened(make: Make, log_name: str):
    def law(groups: Groups) -> None:
        with make() as bench:
            log = bench.store.open(THREE)
            written: list[Record] = []
            for group, is_reopened in groups:
                end = log.end_offset
                assert log.append(group) == end
                written += group
                appended_end = log.end_offset
                assert appended_end >= end + len(group)
                if is_reopened:
                    log.close()
                    log = bench.store.open(THREE)
                    assert log.end_offset == appended_end
                if bench.skips_no_offset:
                    assert log.end_offset == log.first_offset + len(written)
            assert records_of(log) == written
            log.close()

    for_any_groups(log_name, law, max_examples=60)


def test_a_read_may_begin_at_any_record_and_behind_any(make: Make, log_name: str):
    def law(groups: Groups) -> None:
        with make() as bench:
            log = bench.store.open(THREE)
            for group, _ in groups:
                log.append(group)
            everything = list(log.read(log.first_offset))
            for index, stored in enumerate(everything):
                assert list(log.read(stored.offset)) == everything[index:]
                assert list(log.read(Offset(stored.offset + 1))) == everything[index + 1 :]
            assert list(log.read(log.end_offset)) == []
            log.close()

    for_any_groups(log_name, law, max_examples=20)


def test_a_group_begins_where_the_log_ended_and_is_consecutive(bench: Bench):
    log = bench.store.open(THREE)
    for size in (1, 3, 2):
        end = log.end_offset
        assert log.append([record()] * size) == end
        assert [stored.offset for stored in log.read(end)] == [end + index for index in range(size)]
        assert log.end_offset >= end + size
        if bench.skips_no_offset:
            assert log.end_offset == end + size


def test_two_appends_are_two_groups_in_their_order(bench: Bench):
    log = bench.store.open(THREE)
    log.append([record(b"first"), record(b"second")])
    log.append([record(b"third")])
    assert [stored.payload for stored in records_of(log)] == [b"first", b"second", b"third"]


def test_a_read_ends_where_the_log_ended_when_it_was_asked(bench: Bench):
    log = bench.store.open(THREE)
    log.append([record(b"before")])
    reading = log.read(log.first_offset)
    log.append([record(b"after")])
    assert [stored.record.payload for stored in reading] == [b"before"]


def test_a_read_outside_the_log_is_refused_with_its_range(bench: Bench):
    log = bench.store.open(THREE)
    log.append([record(), record()])
    first, end = log.first_offset, log.end_offset
    assert first == 0
    if bench.skips_no_offset:
        assert end == 2
    for asked in (first - 1, end + 1):
        with pytest.raises(OffsetOutOfRange, match=rf"asked for offset {asked}, the log holds \[{first}, {end}\)"):
            log.read(Offset(asked))


def test_an_empty_payload_and_the_longest_one_are_kept(bench: Bench):
    log = bench.store.open(THREE)
    group = [record(b""), record(bytes(RECORD_BYTES_MAX))]
    log.append(group)
    assert records_of(log) == group


def test_a_payload_beyond_the_limit_is_refused_and_leaves_no_trace(bench: Bench):
    log = bench.store.open(THREE)
    with pytest.raises(RecordTooLong, match="payload of 4097 bytes, a record holds at most 4096"):
        log.append([record(), record(bytes(RECORD_BYTES_MAX + 1))])
    log.append([record(b"next")])
    assert records_of(log) == [record(b"next")]


def test_the_newest_epoch_survives_reopening_and_segments(bench: Bench):
    log = bench.store.open(THREE)
    assert log.last_epoch == 0
    log.append([record(kind=RecordKind.EPOCH, epoch=4)])
    for _ in range(20):
        log.append([record(bytes(200), epoch=4)])
    log.close()
    assert bench.store.open(THREE).last_epoch == 4


@pytest.mark.parametrize(
    ("kind", "offered"), [(RecordKind.SIGNALS, 6), (RecordKind.EPOCH, 6), (RecordKind.EPOCH, 7), (RecordKind.TICK, 0)]
)
def test_an_older_term_cannot_write_and_no_term_opens_twice(bench: Bench, kind: RecordKind, offered: int):
    log = bench.store.open(THREE)
    opening = record(kind=RecordKind.EPOCH, epoch=7)
    log.append([opening])
    end = log.end_offset
    with pytest.raises(StaleEpoch, match=f"partition 3: offered epoch {offered}, already at 7"):
        log.append([record(epoch=7), record(kind=kind, epoch=offered)])
    assert records_of(log) == [opening]
    assert log.append([record(epoch=7)]) == end


def test_after_a_failed_append_every_call_fails_and_a_new_owner_goes_on(bench: Bench):
    log = bench.store.open(THREE)
    log.append([record(b"kept")])
    bench.fail_next_append()
    with pytest.raises(AppendFailed):
        log.append([record(b"first of two"), record(b"second of two")])
    for call in (
        lambda: log.append([record()]),
        lambda: log.read(Offset(0)),
        lambda: log.end_offset,
        lambda: log.first_offset,
        lambda: log.last_epoch,
    ):
        with pytest.raises(AppendFailed):
            call()
    log.close()

    following = bench.store.open(THREE)
    payloads = [stored.payload for stored in records_of(following)]
    assert payloads in ([b"kept"], [b"kept", b"first of two", b"second of two"])
    following.append([record(b"next", epoch=2)])
    assert [stored.payload for stored in records_of(following)] == [*payloads, b"next"]


def test_a_partition_has_one_owner_until_it_is_closed(bench: Bench):
    if not bench.can_lock:
        pytest.skip("this log cannot lock; epochs decide what an outdated owner's records mean")
    log = bench.store.open(THREE)
    with pytest.raises(LogLocked, match="stop that process"):
        bench.store.open(THREE)
    bench.store.open(PartitionId(4)).close()
    log.close()
    log.close()
    bench.store.open(THREE).close()


def test_a_log_that_ends_before_what_was_acknowledged_says_so(bench: Bench):
    log = bench.store.open(THREE)
    behind = log.append([record()]) + 1
    end = log.end_offset
    log.close()
    with pytest.raises(DamagedLog, match=f"the log ends at offset {end}, {end + 1} was acknowledged"):
        bench.store.open(THREE, acknowledged_end=Offset(end + 1))
    for acknowledged_end in (behind, end):
        log = bench.store.open(THREE, acknowledged_end=Offset(acknowledged_end))
        assert records_of(log) == [record()]
        log.close()


def test_partitions_are_apart_and_may_be_appended_to_from_their_own_threads(bench: Bench):
    partitions = tuple(PartitionId(number) for number in range(4))
    logs = [bench.store.open(partition) for partition in partitions]

    def append_fifty(log: PartitionLog, payload: bytes) -> None:
        for _ in range(50):
            log.append([record(payload)])

    with ThreadPoolExecutor(len(logs)) as pool:
        list(pool.map(append_fifty, logs, [b"0", b"1", b"2", b"3"]))
    assert bench.store.partitions() == partitions
    assert [records_of(log) for log in logs] == [[record(payload)] * 50 for payload in (b"0", b"1", b"2", b"3")]


def test_a_log_of_which_nobody_else_writes_ends_where_it_did_when_looked_at_again(bench: Bench):
    log = bench.store.open(THREE)
    assert log.refresh() == log.end_offset == log.first_offset
    log.append([record(), record()])
    end = log.end_offset
    assert log.refresh() == end
    assert log.append([record(b"next")]) == end
    assert log.refresh() == log.end_offset


def test_an_owner_learns_what_an_outdated_one_wrote_before_its_own(bench: Bench):
    if bench.can_lock:
        pytest.skip("this log has one writer at a time")
    outdated = bench.store.open(THREE)
    outdated.append([record(b"old 1", epoch=1)])
    owner = bench.store.open(THREE)
    known_end = owner.end_offset
    opening = record(kind=RecordKind.EPOCH, epoch=2)
    outdated.append([record(b"old 2", epoch=1), record(b"old 3", epoch=1)])

    assert owner.append([opening]) > known_end
    assert [stored.record for stored in owner.read(known_end)][-1] == opening
    assert [stored.payload for stored in records_of(owner, known_end)][:2] == [b"old 2", b"old 3"]

    known_end = owner.end_offset
    outdated.append([record(b"old 4", epoch=1)])
    assert [stored.payload for stored in records_of(owner, known_end)] == []
    assert owner.refresh() == owner.end_offset > known_end
    assert [stored.payload for stored in records_of(owner, known_end)] == [b"old 4"]
    assert owner.last_epoch == 2
    for log in (outdated, owner):
        log.close()
    assert bench.store.open(THREE).last_epoch == 2


def test_dropping_gives_up_only_what_lies_before_and_the_epoch_stays_known(bench: Bench):
    log = bench.store.open(THREE)
    log.append([record(kind=RecordKind.EPOCH, epoch=3)])
    offsets = [log.append([record(bytes([number]) * 300, epoch=3)]) for number in range(12)]
    everything = list(log.read(log.first_offset))

    first = log.drop_before(offsets[8])
    assert log.first_offset == first
    assert 0 < first <= offsets[8]
    kept = [stored for stored in everything if stored.offset >= first]
    assert list(log.read(first)) == kept
    with pytest.raises(OffsetOutOfRange):
        log.read(Offset(first - 1))
    assert log.drop_before(offsets[8]) == log.drop_before(Offset(0)) == first

    end = log.end_offset
    log.close()
    log = bench.store.open(THREE)
    assert (log.first_offset, log.end_offset, log.last_epoch) == (first, end, 3)
    assert list(log.read(first)) == kept
    assert log.drop_before(end) <= end
    assert log.append([record(b"next", epoch=3)]) == end
    log.close()
    log = bench.store.open(THREE)
    assert log.last_epoch == 3
    assert records_of(log)[-1] == record(b"next", epoch=3)


def test_what_was_written_before_a_time_is_told_from_what_came_later(bench: Bench):
    log, now_us = bench.store.open(THREE), time.time_ns() // 1_000
    assert log.written_before(now_us + HOUR_US) == log.first_offset
    for number in range(12):
        log.append([replace(record(bytes([number]) * 300), stamp_us=now_us + number)])
    # A clock of its own may be a little behind or ahead; the segments of the bench hold a few records each.
    assert log.written_before(now_us - HOUR_US) == log.first_offset
    assert log.first_offset < log.written_before(now_us + HOUR_US) <= log.end_offset
    assert log.repetitions == 0


@pytest.mark.parametrize(
    "error",
    [
        AppendFailed(THREE, "a.seg", "No space left on device"),
        DamagedLog(THREE, "a.seg", 64, "the record's checksum does not match"),
        UnknownFormat(THREE, "a.seg", "segment format 2, this version knows 1"),
        LogUnavailable(THREE, "a.seg", "Permission denied"),
        LogLocked(THREE, "p-0003.lock", "17"),
        StaleEpoch(THREE, Epoch(1), Epoch(2)),
        OffsetOutOfRange(THREE, Offset(9), Offset(0), Offset(2)),
        RecordTooLong(THREE, 9, 8),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_reaches_another_process_whole(error: LogError):
    copied = pickle.loads(pickle.dumps(error))
    assert (type(copied), str(copied), vars(copied)) == (type(error), str(error), vars(error))
    assert str(error).startswith("partition 3: ")


def test_who_follows_reads_what_the_owner_writes_once_and_takes_over_where_it_ends(make: Make, log_name: str):
    def law(groups: Groups) -> None:
        with make() as bench:
            log = bench.store.open(THREE)
            log.append([record(b"before", kind=RecordKind.EPOCH)])
            start = log.end_offset
            with closing(bench.store.follow(THREE, start)) as follower:
                read: list[Record] = []
                for number, (group, is_read) in enumerate(groups):
                    log.append(group)
                    if number % 3 == 2:
                        log.begin_piece()
                    if is_read:
                        read += [stored.record for stored in follower.read_on()]
                        assert follower.position == log.end_offset
                read += [stored.record for stored in follower.read_on()]
                assert read == records_of(log, start)
                assert list(follower.read_on()) == []
                log.append([record(b"last")])
                end = log.end_offset
                log.close()

                mine = follower.take_over()
                assert mine.end_offset == end
                assert records_of(mine, follower.position) == [record(b"last")]
                mine.append([record(b"mine", epoch=2)])
                assert records_of(mine)[-2:] == [record(b"last"), record(b"mine", epoch=2)]
                mine.close()

    for_any_groups(log_name, law, max_examples=30)


def test_a_piece_that_is_begun_changes_nothing_of_what_the_log_holds(bench: Bench):
    log = bench.store.open(THREE)
    log.begin_piece()
    log.append([record(b"one", kind=RecordKind.EPOCH, epoch=3)])
    log.begin_piece()
    log.begin_piece()
    assert (log.last_epoch, [one.payload for one in records_of(log)]) == (3, [b"one"])
    log.append([record(b"two", epoch=3)])
    end = log.end_offset
    log.begin_piece()
    log.close()
    again = bench.store.open(THREE)
    assert (again.end_offset, again.last_epoch) == (end, 3)
    assert [one.payload for one in records_of(again)] == [b"one", b"two"]
    again.close()


def test_what_was_given_up_before_it_was_read_is_not_followed(bench: Bench):
    log = bench.store.open(THREE)
    for _ in range(12):
        log.append([record(bytes(300))])
    follower = bench.store.follow(THREE, LOG_START)
    if log.drop_before(log.end_offset) == 0:
        follower.close()
        pytest.skip("nothing could be given up")
    log.append([record(b"x")])
    if bench.can_lock:
        # What it holds open it reads to the end; what came between is gone.
        with pytest.raises(OffsetOutOfRange):
            list(follower.read_on())
        with pytest.raises(OffsetOutOfRange):
            bench.store.follow(THREE, LOG_START)
    else:
        with pytest.raises(OffsetOutOfRange):
            list(follower.read_on())
    follower.close()
    log.close()
