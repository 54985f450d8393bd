"""The owner of a partition: what is answered is durable and folded; what is not durable is not answered.

Laws: an acknowledged signal survives any end of the process, and the next owner knows all that was acknowledged; calls
that wait together are synced together; after an append whose outcome is unknown nothing is answered and nothing is
folded until a new term has read the log; a flood is refused and loses nothing; poison is refused and harms nobody; time
passes by ticks; a new playbook is a record; whatever ends a background task ends the term, with a word in the log.
"""

import asyncio
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pytest

from actors.log.contract import LogLocked, RecordKind
from actors.partition.group import WAITING_BYTES_MAX
from actors.records.replay import Replay
from hearth.internal.v1 import shard_pb2
from household import ledger
from household.digest import household_digests, state_digest
from serving.signal_batches import batch_from_signals
from tests.actors.harness import (
    HOUR,
    MINUTE,
    MONDAY,
    SECOND,
    DiskFiles,
    Hearth,
    SettableClock,
    corner,
    in_loop,
    kinds,
    outcome,
    reason_of,
    records,
    replayed,
    running,
    signal,
)
from tests.household.side import sides_of
from wire.batches import ipc_bytes
from wire.failures import CallFailed

UNAVAILABLE, EXHAUSTED = grpc.StatusCode.UNAVAILABLE.value[0], grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
INVALID = grpc.StatusCode.INVALID_ARGUMENT.value[0]


def payments(count: int, *, start: int = 0, time_us: int = MONDAY) -> list:
    return [
        signal(
            f"p{n}", f"h{n % 7}", "pay", time_us + n, member=f"m{n % 3}", fields={"amount": float(n), "pack": "film"}
        )
        for n in range(start, start + count)
    ]


async def ready_to_send(hearth: Hearth, household: str = "h", member: str = "m") -> None:
    """Two balance checks of a member who may be written to: a moment that the owner decides by itself."""
    t = hearth.clock.now_us()
    await hearth.ingest(
        signal(f"{household}-c", household, "consent", t, member=member, fields={"marketing": True}),
        signal(f"{household}-1", household, "check", t, member=member),
        signal(f"{household}-2", household, "check", t, member=member),
    )


# --- what is acknowledged ---------------------------------------------------------------------------------------------


@in_loop
async def test_what_was_acknowledged_is_known_to_whoever_opens_a_copy_of_the_disk(tmp_path: Path):
    async with running(tmp_path / "log") as hearth:
        answer = await hearth.ingest(*payments(50))
        assert (answer.counts.received, answer.counts.applied) == (50, 50)
        shown = await hearth.decide("h1", signal("v", "h1", "visit", MONDAY), member="m1")
        await hearth.decline("h1", shown.action.action_id, member="m1")
        before, households = await hearth.digest(), await hearth.household_digests()
        left = hearth.disk_copy(tmp_path / "left")
    assert state_digest(replayed(left)) == before
    async with running(left) as next_owner:
        assert await next_owner.household_digests() == households


@in_loop
async def test_a_clean_end_and_a_restart_change_nothing_but_the_epoch(tmp_path: Path):
    async with running(tmp_path) as hearth:
        await hearth.ingest(*payments(20))
        households = await hearth.household_digests()
    async with running(tmp_path) as hearth:
        assert await hearth.household_digests() == households
        assert hearth.counter("epoch") == 2
        assert (await hearth.ingest(*payments(20))).counts.duplicate == 20
    assert kinds(tmp_path) == [
        RecordKind.EPOCH,
        RecordKind.PLAN,
        RecordKind.SIGNALS,
        RecordKind.EPOCH,
        RecordKind.SIGNALS,
    ]


@in_loop
async def test_every_event_is_accounted_for(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path, clock) as hearth:
        answer = await hearth.ingest(
            signal("a", "h", "visit", MONDAY),
            signal("a", "h", "visit", MONDAY),
            signal("b", "h", "visit", MONDAY - 25 * HOUR),
            signal("c", "h", "visit", MONDAY + 6 * MINUTE),
            signal("d", "h", "no.such.type", MONDAY),
            signal("", "h", "visit", MONDAY),
            signal("f", "h", "pay", MONDAY, fields={"amount": float("nan")}),
        )
        counts = answer.counts
        assert (counts.received, counts.applied, counts.duplicate, counts.late, counts.rejected) == (7, 1, 1, 1, 4)
        assert [(one.index, one.reason) for one in answer.rejections] == [
            (3, "FUTURE"),
            (4, "UNKNOWN_TYPE"),
            (5, "BAD_ID"),
            (6, "BAD_VALUE"),
        ]
        names = ("received", "applied", "duplicate", "late", "rejected")
        assert [hearth.counter(name) for name in names] == [7, 1, 1, 1, 4]


# --- group commit -----------------------------------------------------------------------------------------------------


@in_loop
async def test_calls_that_wait_together_are_synced_together(tmp_path: Path):
    disk = DiskFiles()
    async with running(tmp_path, files=disk) as hearth:
        before = disk.sync_count
        disk.hold()
        first = asyncio.create_task(hearth.ingest(*payments(1)))
        await disk.held()
        others = [asyncio.create_task(hearth.ingest(*payments(1, start=n))) for n in range(1, 100)]
        await hearth.turn()
        assert not first.done()
        disk.release()
        answers = await asyncio.gather(first, *others)
        assert sum(answer.counts.applied for answer in answers) == 100
        assert disk.sync_count - before == 2
        assert hearth.counter("applied") == 100


@in_loop
async def test_decisions_stand_before_the_signals_of_their_group_and_no_household_twice(tmp_path: Path):
    disk = DiskFiles()
    async with running(tmp_path / "log", files=disk) as hearth:
        await hearth.ingest(*(signal(f"v{n}", f"h{n}", "visit", MONDAY) for n in range(4)))
        disk.hold()
        first = asyncio.create_task(hearth.ingest(*payments(1)))
        await disk.held()
        waiting = [asyncio.create_task(hearth.ingest(*payments(1, start=n))) for n in range(1, 4)]
        waiting += [asyncio.create_task(hearth.decide(f"h{n % 4}")) for n in range(8)]
        for _ in range(20):
            await hearth.turn()
        disk.release()
        await asyncio.gather(first, *waiting)
        wanted = await hearth.digest()
        assert hearth.counter("decisions") == 8
        assert state_digest(replayed(hearth.disk_copy(tmp_path / "copy"))) == wanted
    found = kinds(tmp_path / "log")
    assert found[4:11] == [RecordKind.DECISION] * 4 + [RecordKind.SIGNALS] * 3
    assert found[11:] == [RecordKind.DECISION] * 4


@in_loop
async def test_nothing_is_answered_before_it_is_synced(tmp_path: Path):
    disk = DiskFiles()
    async with running(tmp_path, files=disk) as hearth:
        disk.hold()
        ingest = asyncio.create_task(hearth.ingest(*payments(3)))
        await disk.held()
        for _ in range(20):
            await hearth.turn()
        assert not ingest.done()
        assert hearth.counter("received") == 0
        disk.release()
        assert (await ingest).counts.applied == 3


@in_loop
async def test_a_caller_that_gives_up_changes_nothing_for_the_others(tmp_path: Path):
    disk = DiskFiles()
    async with running(tmp_path, files=disk) as hearth:
        disk.hold()
        impatient = asyncio.create_task(hearth.ingest(*payments(3)))
        await disk.held()
        gone = asyncio.create_task(hearth.decide("h1"))
        patient = asyncio.create_task(hearth.ingest(*payments(3, start=3)))
        for _ in range(10):
            await hearth.turn()
        impatient.cancel()
        gone.cancel()
        disk.release()
        assert (await patient).counts.applied == 3
        assert hearth.counter("applied") == 6
        assert (await hearth.decide("h1", signal("v", "h1", "visit", MONDAY))).HasField("action")


# --- an unknown outcome -----------------------------------------------------------------------------------------------


@in_loop
async def test_a_failed_sync_ends_the_term_and_the_next_one_knows_all_that_was_acknowledged(tmp_path: Path, caplog):
    disk = DiskFiles()
    async with running(tmp_path, files=disk) as hearth:
        await hearth.ingest(*payments(10))
        acknowledged = await hearth.household_digests()
        disk.hold()
        calls = [asyncio.create_task(outcome(hearth.ingest(*payments(1, start=100))))]
        await disk.held()
        calls += [asyncio.create_task(outcome(hearth.ingest(*payments(1, start=n)))) for n in range(101, 105)]
        calls += [asyncio.create_task(outcome(hearth.decide("h1", signal("x", "h1", "visit", MONDAY))))]
        await hearth.turn()
        disk.break_syncs()
        disk.release()
        failures = await asyncio.gather(*calls)
        assert [(failure.status.code, reason_of(failure)) for failure in failures] == [
            (UNAVAILABLE, "PARTITION_UNAVAILABLE")
        ] * 6
        assert hearth.shard.report()[0]["is_lost"] is True
        for call in (hearth.get("h1"), hearth.explain("h1"), hearth.decide("h1"), hearth.ingest(*payments(1))):
            failure = await outcome(call)
            assert isinstance(failure, CallFailed)
            assert failure.status.code == UNAVAILABLE
        assert "partition 0 is lost: AppendFailed" in caplog.text

        disk.mend()
        assert await hearth.assign(0) == 2
        known = await hearth.household_digests()
        assert {key: known[key] for key in acknowledged}.keys() == acknowledged.keys()
        # Of the group that failed, all or nothing is there; sent again, each event counts once.
        again = await hearth.ingest(*payments(1, start=100))
        assert again.counts.duplicate + again.counts.applied == 1
        assert (await hearth.ingest(*payments(5, start=100))).counts.received == 5
        assert hearth.counter("applied") == 15
        assert (await hearth.ingest(*payments(10))).counts.duplicate == 10


@in_loop
async def test_one_lost_partition_leaves_the_others_alone(tmp_path: Path):
    disk = DiskFiles()
    async with running(tmp_path, files=disk, partitions=(0, 1)) as hearth:
        mine = next(f"h{n}" for n in range(99) if hearth.partition_of(f"h{n}") == 0)
        other = next(f"h{n}" for n in range(99) if hearth.partition_of(f"h{n}") == 1)
        disk.break_syncs()
        failure = await outcome(hearth.ingest(signal("a", mine, "visit", MONDAY)))
        assert failure.status.code == UNAVAILABLE
        disk.mend()
        assert (await hearth.ingest(signal("b", other, "visit", MONDAY))).counts.applied == 1
        assert [hearth.shard.report()[n]["is_lost"] for n in (0, 1)] == [True, False]


@in_loop
async def test_a_defect_in_the_fold_ends_the_term_instead_of_letting_callers_wait(tmp_path: Path, caplog, monkeypatch):
    async with running(tmp_path) as hearth:

        def defect(*_: object) -> None:
            raise ZeroDivisionError("a defect")

        monkeypatch.setattr(Replay, "fold_signals", defect)
        calls = [hearth.ingest(*payments(1, start=n)) for n in range(3)]
        failures = await asyncio.gather(*map(outcome, calls))
        assert [failure.status.code for failure in failures] == [UNAVAILABLE] * 3
        assert "partition 0 is lost: ZeroDivisionError: a defect" in caplog.text
        monkeypatch.undo()
        await hearth.assign(0)
        assert hearth.counter("applied") == 3


@in_loop
async def test_a_background_task_that_ends_by_a_defect_ends_the_term(tmp_path: Path, caplog, monkeypatch):
    async with running(tmp_path) as hearth:
        decider = hearth.shard._owned[0].decider

        async def defect(rows: list[int]) -> None:
            raise ZeroDivisionError("a defect in the loop itself")

        monkeypatch.setattr(decider, "_decide_each", defect)
        await ready_to_send(hearth)
        await hearth.until(lambda: hearth.shard.report()[0]["is_lost"] is True)
        assert "a defect in the loop itself" in caplog.text
        monkeypatch.undo()
        await hearth.assign(0)
        await hearth.until(lambda: hearth.counter("decisions") == 1)


# --- owners -----------------------------------------------------------------------------------------------------------


@in_loop
async def test_assigning_twice_at_once_opens_one_term(tmp_path: Path):
    hearth = Hearth(tmp_path, clock=SettableClock())
    assert await asyncio.gather(hearth.assign(0), hearth.assign(0), hearth.assign(0)) == [1, 1, 1]
    released, assigned = await asyncio.gather(hearth.shard.release(0), hearth.assign(0))
    assert (released, assigned) == (None, 2)
    await hearth.shard.drain()
    assert kinds(tmp_path) == [RecordKind.EPOCH, RecordKind.PLAN, RecordKind.EPOCH]


@in_loop
async def test_a_term_is_newer_than_the_metadata_and_the_log(tmp_path: Path):
    hearth = Hearth(tmp_path, clock=SettableClock())
    assert await hearth.assign(0, epoch=7) == 7
    await hearth.shard.release(0)
    assert await hearth.assign(0, epoch=3) == 8
    await hearth.shard.drain()


@in_loop
async def test_a_partition_has_one_owner_and_what_it_does_not_own_it_names(tmp_path: Path):
    async with running(tmp_path) as hearth:
        rival = Hearth(tmp_path, clock=SettableClock(), name="shard-1")
        with pytest.raises(LogLocked):
            await rival.assign(0)
        failure = await outcome(rival.get("h"))
        assert reason_of(failure) == "WRONG_OWNER"
        await rival.shard.drain()
        await hearth.shard.release(0)
        failure = await outcome(hearth.get("h"))
        assert reason_of(failure) == "WRONG_OWNER"


@in_loop
async def test_a_partition_that_cannot_be_opened_can_be_opened_later(tmp_path: Path):
    disk = DiskFiles()
    hearth = Hearth(tmp_path, clock=SettableClock(), files=disk)
    disk.break_syncs()
    with pytest.raises(Exception, match="Input/output error"):
        await hearth.assign(0)
    disk.mend()
    assert await hearth.assign(0) >= 1
    await hearth.shard.drain()


@in_loop
async def test_a_drain_finishes_what_waits(tmp_path: Path):
    disk = DiskFiles()
    async with running(tmp_path, files=disk) as hearth:
        disk.hold()
        ingest = [asyncio.create_task(hearth.ingest(*payments(1)))]
        await disk.held()
        ingest += [asyncio.create_task(hearth.ingest(*payments(1, start=n))) for n in range(1, 50)]
        await hearth.turn()
        drained = asyncio.create_task(hearth.shard.drain())
        await hearth.turn()
        late = await outcome(hearth.ingest(*payments(1, start=99)))
        assert isinstance(late, CallFailed)
        disk.release()
        await drained
        assert sum(answer.counts.applied for answer in await asyncio.gather(*ingest)) == 50
    assert replayed(tmp_path).counters.received == 50


# --- a flood, and poison ----------------------------------------------------------------------------------------------


def heavy(number: int, byte_count: int) -> bytes:
    """Return the batch of one event that takes up a lot of room."""
    batch = batch_from_signals([signal(f"heavy{number}", "h", "visit", MONDAY)])
    schema = batch.schema.append(pa.field("s:ballast", pa.string()))
    return ipc_bytes(pa.RecordBatch.from_arrays([*batch.columns, pa.array(["x" * byte_count])], schema=schema))


@in_loop
async def test_a_flood_is_refused_and_what_was_taken_is_not_lost(tmp_path: Path):
    disk = DiskFiles()
    async with running(tmp_path, files=disk) as hearth:
        disk.hold()
        calls = [asyncio.create_task(outcome(hearth.call(shard_pb2.METHOD_INGEST, 0, heavy(0, 10))))]
        await disk.held()
        size = WAITING_BYTES_MAX // 8
        calls += [
            asyncio.create_task(outcome(hearth.call(shard_pb2.METHOD_INGEST, 0, heavy(n, size)))) for n in range(1, 12)
        ]
        await hearth.turn()
        assert hearth.counter("waiting_bytes") <= WAITING_BYTES_MAX
        disk.release()
        answers = await asyncio.gather(*calls)
        refused = [answer for answer in answers if isinstance(answer, CallFailed)]
        assert len(answers) - len(refused) == 8
        assert {(one.status.code, reason_of(one)) for one in refused} == {(EXHAUSTED, "OVERLOADED")}
        assert hearth.counter("applied") == 8
        again = [await hearth.call(shard_pb2.METHOD_INGEST, 0, heavy(n, 10)) for n in range(12)]
        assert len(again) == 12
        assert (hearth.counter("applied"), hearth.counter("duplicate")) == (12, 8)


@in_loop
async def test_a_batch_longer_than_a_record_is_refused_and_the_partition_goes_on(tmp_path: Path):
    async with running(tmp_path) as hearth:
        failure = await outcome(hearth.call(shard_pb2.METHOD_INGEST, 0, heavy(1, 64 << 20)))
        assert (failure.status.code, reason_of(failure)) == (INVALID, "BAD_BATCH")
        assert (await hearth.ingest(*payments(1))).counts.applied == 1


def good_batch() -> pa.RecordBatch:
    return batch_from_signals(payments(20))


def without(name: str) -> bytes:
    batch = good_batch()
    return ipc_bytes(batch.drop_columns([name]))


def with_column(name: str, column: pa.Array) -> bytes:
    batch = good_batch()
    names = batch.schema.names
    columns = [column if each == name else batch.column(each) for each in names]
    if name not in names:
        names, columns = [*names, name], [*columns, column]
    return ipc_bytes(pa.RecordBatch.from_arrays(columns, names=names))


def of_two_batches() -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, good_batch().schema) as writer:
        writer.write_batch(good_batch())
        writer.write_batch(good_batch())
    return bytes(sink.getvalue())


def of_no_batch() -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, good_batch().schema):
        pass
    return bytes(sink.getvalue())


def with_offsets_beyond_the_text() -> bytes:
    batch = good_batch()
    _, offsets, letters = batch.column("event_id").buffers()
    wild = np.frombuffer(offsets, np.int32).copy()
    wild[-2] = 1 << 30
    column = pa.Array.from_buffers(pa.binary(), 20, [None, pa.py_buffer(wild), letters])
    return with_column("event_id", column)


POISON = {
    "empty": b"",
    "not Arrow": b"no arrow stream at all",
    "cut": ipc_bytes(good_batch())[:-200],
    "no event_id": without("event_id"),
    "no type": without("type"),
    "no time": without("time"),
    "numbers as types": with_column("type", pa.array(range(20))),
    "texts as times": with_column("time", pa.array(["noon"] * 20)),
    "numbers as keys": with_column("household", pa.array(range(20))),
    "texts as numbers": with_column("n:amount", pa.array(["many"] * 20)),
    "numbers as texts": with_column("s:pack", pa.array(range(20))),
    "two batches": of_two_batches(),
    "no batch": of_no_batch(),
    "wild offsets": with_offsets_beyond_the_text(),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
@in_loop
async def test_poison_is_refused_and_disturbs_nobody(tmp_path: Path, poison: bytes):
    disk = DiskFiles()
    async with running(tmp_path, files=disk) as hearth:
        decide = shard_pb2.DecideCall(signal_batch=poison or b"\0")
        decide.request.household, decide.request.channel, decide.request.request_id = "h1", "app", "r"
        report = shard_pb2.ReportCall(signal_batch=poison, household="h1", action_id="a")
        disk.hold()
        good = [asyncio.create_task(hearth.ingest(*payments(1)))]
        await disk.held()
        bad = [
            asyncio.create_task(outcome(hearth.call(method, 0, payload)))
            for method, payload in (
                (shard_pb2.METHOD_INGEST, poison),
                (shard_pb2.METHOD_DECIDE, decide.SerializeToString()),
                (shard_pb2.METHOD_REPORT, report.SerializeToString()),
                (shard_pb2.METHOD_ACK, report.SerializeToString()),
            )
        ]
        good += [asyncio.create_task(hearth.ingest(*payments(1, start=n))) for n in range(1, 5)]
        await hearth.turn()
        disk.release()
        for failure in await asyncio.gather(*bad):
            assert isinstance(failure, CallFailed)
            assert (failure.status.code, reason_of(failure)) == (INVALID, "BAD_BATCH")
        assert sum(answer.counts.applied for answer in await asyncio.gather(*good)) == 5
        assert (hearth.counter("received"), hearth.counter("decisions")) == (5, 0)


WITHOUT_PAYLOAD = {shard_pb2.METHOD_SNAPSHOT, shard_pb2.METHOD_CONFIRM_CLOCK}


@pytest.mark.parametrize("method", sorted(set(shard_pb2.Method.values()[2:]) - WITHOUT_PAYLOAD))
@in_loop
async def test_bytes_that_are_not_a_call_are_refused(tmp_path: Path, method: int):
    async with running(tmp_path) as hearth:
        failure = await outcome(hearth.call(method, 0, b"\xff\xff\xff"))
        as_in_records = {shard_pb2.METHOD_INVENTORY, shard_pb2.METHOD_RELOCATE}
        wanted = "BAD_BATCH" if method in as_in_records else "BAD_CALL"
        assert (failure.status.code, reason_of(failure)) == (INVALID, wanted)
        assert (await hearth.ingest(*payments(1))).counts.applied == 1


@in_loop
async def test_nulls_where_none_belong_reject_their_rows_only(tmp_path: Path):
    def with_null(name: str) -> pa.RecordBatch:
        batch = good_batch()
        column = batch.column(name)
        holes = pa.array([n == 3 for n in range(20)])
        columns = [
            pa.compute.if_else(holes, pa.nulls(20, column.type), column) if each == name else batch.column(each)
            for each in batch.schema.names
        ]
        return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)

    async with running(tmp_path) as hearth:
        wanted = {"event_id": "BAD_ID", "household": "BAD_KEY", "type": "UNKNOWN_TYPE", "time": "MISSING_TIME"}
        found = {}
        for name in wanted:
            answer = await hearth.shard._owned[0].owner.signals(ipc_bytes(with_null(name)))
            rejected = [(row, status) for row, status in enumerate(answer.applied.statuses) if status > 2]
            found[name] = [row for row, _ in rejected]
        assert found == {name: [3] for name in wanted}
        by_status = await hearth.in_state(lambda state: dict(state.counters.by_status))
        assert Counter({name: by_status[name] for name in wanted.values()}) == Counter(wanted.values())


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream_clock", [False, True])
@in_loop
async def test_an_unsent_action_expires_by_a_tick_at_its_send_before_and_gives_its_contact_back(
    tmp_path: Path, stream_clock: bool
):
    clock = SettableClock()
    async with running(tmp_path / "log", clock, stream_clock=stream_clock) as hearth:
        await ready_to_send(hearth)
        await hearth.until(lambda: hearth.counter("outbox") == 1)
        window = 15 * MINUTE

        async def time_is(time_us: int) -> None:
            clock.at_us = time_us
            if stream_clock:
                await hearth.ingest(signal(f"t{time_us}", "elsewhere", "visit", time_us))
            await hearth.tick()

        await time_is(MONDAY + window - 1)
        assert (hearth.counter("outbox"), hearth.counter("expired")) == (1, 0)
        await time_is(MONDAY + window)
        assert (hearth.counter("outbox"), hearth.counter("expired")) == (0, 1)
        contacts = await hearth.in_state(lambda state: [len(one.contacts) for one in sides_of(state).values()])
        assert contacts == [0]
        wanted = await hearth.digest()
        assert state_digest(replayed(hearth.disk_copy(tmp_path / "copy"))) == wanted
    assert kinds(tmp_path / "log").count(RecordKind.TICK) == 1


@in_loop
async def test_what_waits_to_be_sent_is_not_gone_through_for_every_group(tmp_path: Path, monkeypatch):
    looks = Counter[str]()

    def counted(state, look=ledger.next_due_us):
        looks["all"] += 1
        return look(state)

    async with running(tmp_path) as hearth:
        await ready_to_send(hearth)
        await hearth.until(lambda: hearth.counter("outbox") == 1)
        monkeypatch.setattr(ledger, "next_due_us", counted)
        for payment in payments(20):
            await hearth.ingest(payment)
        assert looks["all"] <= 2
    assert kinds(tmp_path).count(RecordKind.SIGNALS) >= 20


@in_loop
async def test_a_due_tick_goes_before_the_decisions_of_its_group(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path, clock) as hearth:
        await ready_to_send(hearth)
        await hearth.until(lambda: hearth.counter("outbox") == 1)
        clock.pass_us(16 * MINUTE)
        await hearth.decide("h", member="m")
        assert hearth.counter("expired") == 1
    assert kinds(tmp_path)[-2:] == [RecordKind.TICK, RecordKind.DECISION]


@in_loop
async def test_time_passes_for_a_decision_though_no_record_was_written_meanwhile(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path, clock) as hearth:
        shown = await hearth.decide("h", signal("v", "h", "visit", MONDAY), member="m")
        valid_until_us = shown.action.valid_until.ToMicroseconds()
        clock.at_us = valid_until_us - 1
        again = await hearth.decide("h", member="m")
        assert again.action.action_id == shown.action.action_id
        clock.at_us = valid_until_us
        later = await hearth.decide("h", member="m")
        assert later.decided_at.ToMicroseconds() == valid_until_us
        assert later.action.action_id not in ("", shown.action.action_id)
        assert "SLATE_STANDS" not in later.reasons


@in_loop
async def test_what_is_read_is_as_of_now(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path, clock) as hearth:
        shown = await hearth.decide("h", signal("v", "h", "visit", MONDAY), member="m")
        assert [action.action_id for action in (await hearth.get("h")).live_actions].count(shown.action.action_id) == 1
        clock.pass_us(3 * HOUR)
        seen = await hearth.get("h")
        assert seen.as_of.ToMicroseconds() == clock.now_us()
        assert list(seen.live_actions) == []


@in_loop
async def test_records_are_stamped_by_the_owners_clock_and_time_never_runs_back(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path / "log", clock) as hearth:
        await hearth.ingest(signal("a", "h", "visit", MONDAY))
        clock.at_us -= 10 * SECOND
        await hearth.ingest(signal("b", "h", "visit", MONDAY - 10 * SECOND))
        assert await hearth.in_state(lambda state: state.now_us) == MONDAY
        wanted = await hearth.digest()
        assert state_digest(replayed(hearth.disk_copy(tmp_path / "copy"))) == wanted


# --- a new playbook ---------------------------------------------------------------------------------------------------


@in_loop
async def test_another_playbook_at_a_restart_is_recorded_and_what_was_known_moves_over(tmp_path: Path):
    new = corner(
        ("  household.payments:", "  household.anew: {kind: count, events: pay}\n  household.payments:"),
        ("  member.checks_7d: {kind: newest_times, events: check, keep: 3, span: 7d}\n", ""),
        ("member.checks_7d >= 2", "household.anew >= 2"),
    )
    async with running(tmp_path / "log") as hearth:
        await hearth.ingest(*payments(14))
        before = await hearth.get("h1")
    async with running(tmp_path / "log", plan=new) as hearth:
        after = await hearth.get("h1")
        named = {one.name: one.value for one in after.features}
        assert named.pop("household.anew") == 0
        assert named == {one.name: one.value for one in before.features}
        await hearth.ingest(*payments(7, start=14))
        assert {one.name: one.value for one in (await hearth.get("h1")).features}["household.anew"] == 1
        wanted = await hearth.digest()
        copy = hearth.disk_copy(tmp_path / "copy")
        assert state_digest(replayed(copy)) == wanted
        assert household_digests(replayed(copy)) == await hearth.household_digests()
    async with running(tmp_path / "log", plan=new) as hearth:
        assert hearth.counter("epoch") == 3
    plans = [stored for stored in records(tmp_path / "log") if stored.record.kind is RecordKind.PLAN]
    assert len(plans) == 2
