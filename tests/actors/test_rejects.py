"""Laws: every rejected event of the log is kept exactly once, with its reason and its row as it came, whatever dies and
whatever disk is full meanwhile; duplicates and late events are not; the partition never waits for it nor falls with it;
what never became a signal is kept once per position; the oldest go when there is too much, and are counted.
"""

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.log.contract import PartitionId, RecordKind
from actors.log.segments import SegmentSettings, SegmentStore
from actors.records.signals import decode_signals, events_from_batch
from actors.rejects.entries import KeptReject, Reject, event_of, one_row, read_rejects, replay_id
from actors.rejects.settings import RejectCounters, RejectSettings, RejectsUnavailable
from actors.rejects.stores import RejectStores
from hearth.internal.v1 import shard_pb2
from hearth.v1 import admin_pb2, signal_pb2
from household.events import Status, are_rejections
from serving.signal_batches import batch_from_signals
from tests.actors.harness import (
    DAY,
    HOUR,
    MONDAY,
    SECOND,
    DiskFiles,
    Hearth,
    SettableClock,
    corner,
    in_loop,
    reason_of,
    records,
    running,
    signal,
)
from wire.batches import ipc_bytes
from wire.failures import CallFailed
from wire.positions import log_position

AT_ONCE = RejectSettings(gather_s=0.0, retry_s=0.01)


class FullDisk(DiskFiles):
    """Takes no byte while it is full."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = False
        self.refused = 0

    def write(self, descriptor: int, content: memoryview, position: int) -> int:
        if self.is_full:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(descriptor, content, position)


def poison(prefix: str = "p") -> list[signal_pb2.Signal]:
    """Return one signal for each way of being rejected that a source can send."""
    return [
        signal(f"{prefix}-type", "h1", "no.such.type", MONDAY, fields={"amount": 3.5, "note": "as it came"}),
        signal(f"{prefix}-missing", "h1", "pay", MONDAY),
        signal(f"{prefix}-range", "h2", "pay", MONDAY, fields={"amount": -1.0}),
        signal(f"{prefix}-value", "h2", "pay", MONDAY, fields={"amount": "much"}),
        signal(f"{prefix}-nan", "h2", "pay", MONDAY, fields={"amount": float("nan")}),
        signal(f"{prefix}-future", "h3", "visit", MONDAY + DAY),
        signal("", "h3", "visit", MONDAY),
        signal(f"{prefix}-key", "", "visit", MONDAY),
        signal(f"{prefix}-calendar", "h3", "visit", -5 * SECOND),
    ]


REASONS = [
    "UNKNOWN_TYPE", "MISSING_FIELD", "OUT_OF_RANGE", "BAD_VALUE", "BAD_VALUE", "FUTURE", "BAD_ID", "BAD_KEY",
    "PAST_CALENDAR",
]  # fmt: skip


@asynccontextmanager
async def keeping(
    folder: Path,
    *,
    files: DiskFiles | None = None,
    settings: RejectSettings = AT_ONCE,
    segments: SegmentSettings | None = None,
    clock: SettableClock | None = None,
) -> AsyncIterator[Hearth]:
    """Run a shard that keeps its rejects under `folder`."""
    store = SegmentStore(folder / "rejects", settings=segments, files=files or DiskFiles())
    async with running(folder / "log", clock, rejects=store, reject_settings=settings) as hearth:
        yield hearth


async def settled(hearth: Hearth) -> None:
    store = hearth.shard._owned[0].owner.rejects
    assert store is not None
    assert await asyncio.to_thread(store.settle, 20.0)


def counters(hearth: Hearth) -> RejectCounters:
    store = hearth.shard._owned[0].owner.rejects
    assert store is not None
    return store.counters


def kept(folder: Path) -> list[KeptReject]:
    return list(read_rejects(folder / "rejects"))


def positions(rejects: Iterable[KeptReject]) -> list[str]:
    return [one.reject.position for one in rejects]


def rejected_positions(folder: Path) -> list[str]:
    """Return what is to be kept, from a fold of the whole log by itself."""
    from actors.records.replay import Replay

    found, replay = [], Replay()
    for stored in records(folder / "log"):
        if stored.record.kind is RecordKind.SIGNALS:
            batch = decode_signals(stored.record.payload, replay.now.plan)
            statuses = replay.fold_signals(batch, stored.record.stamp_us).statuses
            rows = np.flatnonzero(are_rejections(statuses)).tolist()
            found += [log_position(0, stored.offset, row) for row in rows]
        else:
            replay.fold(stored)
    return found


@in_loop
async def test_each_rejected_event_is_kept_with_reason_row_and_position(tmp_path: Path):
    good = [signal(f"g{n}", "h1", "visit", MONDAY) for n in range(3)]
    late = signal("late", "h1", "visit", MONDAY - 26 * HOUR)
    sent = [good[0], *poison(), good[1], good[0], late]
    async with keeping(tmp_path) as hearth:
        answer = await hearth.ingest(*sent)
        assert (answer.counts.applied, answer.counts.duplicate, answer.counts.late) == (2, 1, 1)
        assert answer.counts.rejected == len(REASONS)
        await settled(hearth)
        found = kept(tmp_path)
        assert [one.reject.reason for one in found] == REASONS
        offset = next(one.offset for one in records_of(tmp_path) if one.record.kind is RecordKind.SIGNALS)
        assert positions(found) == [log_position(0, offset, 1 + n) for n in range(len(REASONS))]
        assert counters(hearth) == RejectCounters(kept=len(REASONS))
    for one, signal_sent in zip(found, poison(), strict=True):
        event = event_of(one.reject)
        assert event.event_id == signal_sent.event_id.encode()
        assert (event.household, event.type) == (signal_sent.household.encode(), signal_sent.type)
        assert event.time_us == signal_sent.time.ToMicroseconds()
        wanted = {name: getattr(value, value.WhichOneof("kind")) for name, value in signal_sent.fields.items()}
        assert str(sorted(event.fields)) == str(sorted(wanted.items()))  # NaN equals itself only as a text
        assert one.reject.at_us == MONDAY
        assert one.reject.source == "ingest"
    assert "no.such.type" in found[0].reject.detail
    assert "86,400 s ahead of the owner's clock" in found[5].reject.detail
    assert found[2].reject.detail == "amount: -1 is below 0"


def records_of(folder: Path):
    from actors.log.reading import read_only_logs

    return [stored for _, stored in read_only_logs(folder / "log")]


@in_loop
async def test_a_replay_after_a_crash_keeps_what_was_not_kept_and_nothing_twice(tmp_path: Path):
    """A crash may leave the reject log at any group, or torn inside one: every such disk ends up with the same."""
    small = RejectSettings(gather_s=0.0, retry_s=0.01, group_rows=4)
    async with keeping(tmp_path, settings=small) as hearth:
        for number in range(4):
            await hearth.ingest(*poison(f"p{number}"), signal(f"g{number}", "h1", "visit", MONDAY))
        await settled(hearth)
    wanted = rejected_positions(tmp_path)
    assert len(wanted) == 4 * len(REASONS)
    assert positions(kept(tmp_path)) == wanted

    (segment,) = (tmp_path / "rejects" / "p-0000").glob("*.seg")
    whole = segment.read_bytes()
    for length in sorted({len(whole) * part // 12 for part in range(2, 13)} | {len(whole) - 1}):
        copy = tmp_path / f"cut-{length}"
        shutil.copytree(tmp_path / "log", copy / "log")
        shutil.copytree(tmp_path / "rejects", copy / "rejects")
        os.truncate(copy / "rejects" / "p-0000" / segment.name, length)
        # Never synced, so a power cut takes it too; with it, a log that was cut is damage.
        (copy / "rejects" / "p-0000" / "end").unlink()
        assert positions(kept(copy)) != wanted or length == len(whole)
        async with keeping(copy, settings=small) as hearth:
            await settled(hearth)
            assert positions(kept(copy)) == wanted
            await hearth.ingest(*poison("more"))
            await settled(hearth)
        assert positions(kept(copy)) == rejected_positions(copy)
        assert len(entries(copy)) == len(wanted) + len(REASONS), "an entry is there twice"


def entries(folder: Path) -> list[Reject]:
    """Return every entry as it stands on disk, repeats included."""
    from actors.log.reading import read_only_logs
    from actors.rejects.entries import decode_reject

    return [decode_reject(stored.record.payload) for _, stored in read_only_logs(folder / "rejects")]


@in_loop
async def test_a_reject_log_that_is_lost_is_made_again_from_the_log(tmp_path: Path):
    async with keeping(tmp_path) as hearth:
        await hearth.ingest(*poison())
        await settled(hearth)
        wanted = kept(tmp_path)
    shutil.rmtree(tmp_path / "rejects")
    async with keeping(tmp_path) as hearth:
        await settled(hearth)
        assert kept(tmp_path) == wanted


@in_loop
async def test_a_full_disk_stops_no_partition_and_loses_no_reject(tmp_path: Path):
    disk = FullDisk()
    async with keeping(tmp_path, files=disk) as hearth:
        await hearth.ingest(*poison("before"))
        await settled(hearth)
        disk.is_full = True
        for number in range(5):
            answer = await hearth.ingest(*poison(f"p{number}"), signal(f"g{number}", "h1", "visit", MONDAY))
            assert (answer.counts.applied, answer.counts.rejected) == (1, len(REASONS))
        await hearth.until(lambda: disk.refused > 1)
        assert counters(hearth).failures > 0
        assert counters(hearth).waiting == 5 * len(REASONS)
        assert not hearth.shard._owned[0].owner.is_lost
        disk.is_full = False
        await settled(hearth)
        assert counters(hearth).waiting == counters(hearth).missed == 0
    assert positions(kept(tmp_path)) == rejected_positions(tmp_path)
    assert len(entries(tmp_path)) == 6 * len(REASONS)


@in_loop
async def test_what_waits_too_long_is_read_from_the_log_again(tmp_path: Path):
    disk = FullDisk()
    tight = RejectSettings(gather_s=0.0, retry_s=0.01, waiting_bytes_max=1)
    async with keeping(tmp_path, files=disk, settings=tight) as hearth:
        disk.is_full = True
        for number in range(3):
            await hearth.ingest(*poison(f"p{number}"))
        await hearth.until(lambda: disk.refused > 0)
        store = hearth.shard._owned[0].owner.rejects
        assert store is not None
        assert [note.payload for note in store._notes] == [None] * 3
        disk.is_full = False
        await settled(hearth)
    found = kept(tmp_path)
    assert positions(found) == rejected_positions(tmp_path)
    assert [event_of(one.reject).event_id for one in found] == [
        one.event_id.encode() for number in range(3) for one in poison(f"p{number}")
    ]


@in_loop
async def test_more_than_may_wait_is_counted_as_missed_and_no_more(tmp_path: Path):
    disk = FullDisk()
    tight = RejectSettings(gather_s=0.0, retry_s=0.01, waiting_rows_max=len(REASONS))
    async with keeping(tmp_path, files=disk, settings=tight) as hearth:
        disk.is_full = True
        for number in range(3):
            await hearth.ingest(*poison(f"p{number}"))
        assert counters(hearth).missed == 2 * len(REASONS)
        disk.is_full = False
        await settled(hearth)
        assert counters(hearth).kept == len(REASONS)
        assert hearth.counter("received") == hearth.counter("rejected") == 3 * len(REASONS)


@in_loop
async def test_what_never_became_a_signal_is_kept_once_per_position(tmp_path: Path):
    def ask(*numbers: int) -> bytes:
        rejects = [
            admin_pb2.Reject(
                position=f"kafka:calls/0/{n}", reason="UNREADABLE", detail="line 7: no time", original=bytes([n, 255])
            )
            for n in numbers
        ]
        return admin_pb2.RejectRequest(rejects=rejects).SerializeToString()

    async def new(hearth: Hearth, *numbers: int) -> int:
        answer = await hearth.call(shard_pb2.METHOD_REJECT, 0, ask(*numbers))
        return admin_pb2.RejectResponse.FromString(answer).kept

    async with keeping(tmp_path) as hearth:
        assert await new(hearth, 1, 2, 2) == 2
        assert await new(hearth, 2, 3) == 1
        at_once = await asyncio.gather(*(new(hearth, 7) for _ in range(5)))
        assert sorted(at_once) == [0, 0, 0, 0, 1]
    async with keeping(tmp_path) as hearth:
        assert await new(hearth, 1, 2, 3, 4, 7) == 1
    found = [one.reject for one in kept(tmp_path)]
    assert [one.position for one in found] == [f"kafka:calls/0/{n}" for n in (1, 2, 3, 7, 4)]
    assert found[1].original == b"\x02\xff"
    assert found[1].source == "kafka:calls/0"
    assert not found[1].is_event


@in_loop
async def test_keeping_says_so_when_the_disk_is_full_and_may_be_asked_again(tmp_path: Path):
    disk = FullDisk()
    request = admin_pb2.RejectRequest(rejects=[admin_pb2.Reject(position="file:a.csv/3", reason="UNREADABLE")])
    async with keeping(tmp_path, files=disk) as hearth:
        await hearth.call(shard_pb2.METHOD_REJECT, 0, request.SerializeToString())
        disk.is_full = True
        request.rejects[0].position = "file:a.csv/4"
        with pytest.raises(CallFailed) as failure:
            await hearth.call(shard_pb2.METHOD_REJECT, 0, request.SerializeToString())
        assert reason_of(failure.value) == "PARTITION_UNAVAILABLE"
        disk.is_full = False
        await asyncio.sleep(AT_ONCE.retry_s)
        answer = await hearth.call(shard_pb2.METHOD_REJECT, 0, request.SerializeToString())
        assert admin_pb2.RejectResponse.FromString(answer).kept == 1


@in_loop
async def test_what_came_of_replays_is_told_with_the_reject(tmp_path: Path):
    async with keeping(tmp_path) as hearth:
        await hearth.ingest(*poison())
        await settled(hearth)
        first = kept(tmp_path)[0].reject.position
        for outcome in ("LATE", "APPLIED"):
            mark = admin_pb2.Reject(position=first, reason=f"REPLAYED:{outcome}")
            payload = admin_pb2.RejectRequest(rejects=[mark]).SerializeToString()
            await hearth.call(shard_pb2.METHOD_REJECT, 0, payload)
        found = kept(tmp_path)
    assert found[0].outcomes == ("LATE", "APPLIED")
    assert {one.outcomes for one in found[1:]} == {()}
    async with keeping(tmp_path) as hearth:
        await settled(hearth)
        assert kept(tmp_path) == found, "a mark is no reject, and stands above none"


@in_loop
async def test_the_oldest_go_when_there_is_too_much_and_are_counted(tmp_path: Path):
    tight = RejectSettings(gather_s=0.0, retry_s=0.01, kept_bytes_max=64 << 10, group_bytes=4 << 10)
    segments = SegmentSettings(segment_bytes=8 << 10)
    async with keeping(tmp_path, settings=tight, segments=segments) as hearth:
        for number in range(30):
            await hearth.ingest(*poison(f"p{number}"))
            await settled(hearth)
        told = counters(hearth)
        assert told.kept == 30 * len(REASONS)
        assert told.dropped > 0
    found = positions(kept(tmp_path))
    everything = rejected_positions(tmp_path)
    assert found == everything[told.dropped :]
    size = sum(path.stat().st_size for path in (tmp_path / "rejects" / "p-0000").glob("*.seg"))
    assert size <= (64 << 10) + 3 * (8 << 10)
    async with keeping(tmp_path, settings=tight, segments=segments) as hearth:
        await settled(hearth)
        assert positions(kept(tmp_path)) == found, "what was dropped came back"


@in_loop
async def test_a_clean_stream_costs_no_reject_log_a_write(tmp_path: Path):
    disk = DiskFiles()
    async with keeping(tmp_path, files=disk) as hearth:
        store = hearth.shard._owned[0].owner.rejects
        async with asyncio.timeout(20.0):
            while store._held is None:  # noqa: ASYNC110 - another thread opens its log
                await asyncio.sleep(0.01)
        before = disk.sync_count
        for number in range(5):
            await hearth.ingest(*(signal(f"g{number}-{n}", "h1", "visit", MONDAY) for n in range(20)))
        await settled(hearth)
        assert disk.sync_count == before


def test_a_store_whose_log_is_held_by_another_goes_on_once_it_is_free(tmp_path: Path):
    other = SegmentStore(tmp_path).open(PartitionId(0))
    stores = RejectStores(SegmentStore(tmp_path), AT_ONCE)
    try:
        store = stores.open(PartitionId(0), lambda _: b"")
        batch = batch_from_signals([signal("a", "h", "x", MONDAY)])
        store.note(5, ipc_bytes(batch), np.array([Status.UNKNOWN_TYPE], np.uint8), stamp_us=MONDAY)
        assert not store.settle(0.05)
        assert store.counters.failures > 0
        other.close()
        assert store.settle(20.0)
        assert store.counters.kept == 1
    finally:
        stores.stop()
    with pytest.raises(RejectsUnavailable):
        store.keep([]).result()


def test_a_defect_costs_the_rejects_and_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("actors.rejects.store.reject_of_row", lambda *_: 1 / 0)
    stores = RejectStores(SegmentStore(tmp_path), AT_ONCE)
    store = stores.open(PartitionId(0), lambda _: b"")
    batch = batch_from_signals([signal("a", "h", "x", MONDAY)])
    statuses = np.array([Status.UNKNOWN_TYPE], np.uint8)
    store.note(5, ipc_bytes(batch), statuses, stamp_us=MONDAY)
    assert store.settle(20.0)
    store.note(6, ipc_bytes(batch), statuses, stamp_us=MONDAY)
    assert store.counters.missed == 2
    stores.stop()


texts = st.text(max_size=8)
values = st.one_of(st.floats(), texts, st.booleans(), st.integers(-(2**53), 2**53))


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(texts, texts, st.sampled_from(["pay", "visit", "x"]), st.dictionaries(texts.filter(bool), values)),
        min_size=1,
        max_size=6,
    )
)
def test_a_row_alone_is_the_row_it_was(drawn):
    sent = [signal(f"e{n}{i}", h, k, MONDAY + n, fields=f) for n, (i, h, k, f) in enumerate(drawn)]
    batch = batch_from_signals(sent)
    for row in range(batch.num_rows):
        with pa.ipc.open_stream(one_row(batch, row)) as stream:
            alone = stream.read_next_batch()
        for name in batch.schema.names:
            value = batch.column(name)[row].as_py()
            assert str(alone.column(name)[0].as_py() if name in alone.schema.names else None) == str(value)
        again = events_from_batch(alone, corner())
        whole = events_from_batch(batch, corner())
        np.testing.assert_array_equal(again.values[:, 0], whole.values[:, row])
        assert (again.ids[0], again.households[0], int(again.types[0]), int(again.is_bad[0])) == (
            whole.ids[row], whole.households[row], int(whole.types[row]), int(whole.is_bad[row]),
        )  # fmt: skip


def test_an_id_that_no_event_may_have_is_derived_from_the_position():
    batch = batch_from_signals([signal(i, "h", "x", MONDAY) for i in ("mine", "", "x" * 129)])
    rejects = [
        Reject(position=f"log:0/7/{n}", reason="X", at_us=0, original=one_row(batch, n)) for n in range(batch.num_rows)
    ]
    ids = [replay_id(event_of(one), one.position) for one in rejects]
    assert ids == [b"mine", b"log:0/7/1", b"log:0/7/2"]


def test_what_is_opened_as_all_is_given_up_can_be_closed(tmp_path: Path):
    """An assignment under way when a shard drains: its owner closes what nobody works for any more."""
    for number in range(50):
        stores = RejectStores(SegmentStore(tmp_path), AT_ONCE)
        first = stores.open(PartitionId(0), lambda _: b"")
        stopping = threading.Thread(target=stores.stop, daemon=True)
        stopping.start()
        late = [stores.open(PartitionId(1 + n), lambda _: b"") for n in range(number % 5)]
        stopping.join(timeout=10.0)
        late.append(stores.open(PartitionId(9), lambda _: b""))
        closing = [threading.Thread(target=one.close, daemon=True) for one in (first, *late)]
        for one in closing:
            one.start()
        for one in closing:
            one.join(timeout=10.0)
        assert not stopping.is_alive()
        assert not any(one.is_alive() for one in closing)
