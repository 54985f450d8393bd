"""How a shard takes snapshots, comes back from them, and falls silent when it cannot prove that it is current.

Laws:
    a restart from a snapshot and the log's tail gives the state that a replay of the whole log gives;
    a bad snapshot falls back to the one before, then to the log;
    a snapshot ahead of its log stops that partition and no other;
    log is dropped only behind every kept snapshot and after its retention, and a restart works without it;
    without its lease, or with a clock that has jumped, a shard answers UNAVAILABLE, writes nothing and sends nothing;
    what it put off is done once it can prove again that it is current.
"""

import asyncio
import gc
import json
import logging
import shutil
import weakref
from pathlib import Path

import grpc
import pytest

from actors.log.contract import DamagedLog, PartitionId, StoredRecord
from actors.log.segments import SegmentSettings
from actors.partition.owner import PartitionOwner
from actors.partition.recovery import NotRecoverable
from actors.records.replay import Replay
from actors.snapshots.store import snapshot_store
from actors.snapshots.taking import SnapshotPolicy
from hearth.internal.v1 import shard_pb2
from household.digest import state_digest
from tests.actors.harness import (
    HOUR,
    MONDAY,
    SECOND,
    DiskFiles,
    Hearth,
    SettableClock,
    SettableLease,
    in_loop,
    outcome,
    reason_of,
    records,
    running,
    signal,
)
from wire.failures import CallFailed

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.value[0]


async def some_life(hearth: Hearth, count: int = 20, *, tag: str = "a") -> None:
    """Let households pay, check twice (which brings up an offer), answer and be sent to."""
    for number in range(count):
        home = f"home-{number % 7}"
        at = hearth.clock.now_us()
        await hearth.ingest(
            signal(f"{tag}-{number}-pay", home, "pay", at, member="m", fields={"amount": float(number)}),
            signal(f"{tag}-{number}-consent", home, "consent", at, member="m", fields={"marketing": True}),
            signal(f"{tag}-{number}-check", home, "check", at, member="m"),
        )
        answer = await hearth.decide(home, member="m", request_id=f"{tag}-{number}")
        if answer.HasField("action") and number % 3 == 0:
            await hearth.decline(home, answer.action.action_id, member="m")
        hearth.clock.pass_us(10 * SECOND)


@in_loop
async def test_a_restart_from_a_snapshot_and_the_tail_is_a_replay_of_the_whole_log(tmp_path: Path):
    log, snapshots, clock = tmp_path / "log", tmp_path / "snapshots", SettableClock()
    async with running(log, clock, snapshots=snapshots) as hearth:
        await some_life(hearth)
        taken = await hearth.snapshot()
        await some_life(hearth, tag="b")
        live = await hearth.digest()
    assert 0 < taken.position < len(records(log))

    async with running(log, clock, snapshots=snapshots) as hearth:
        owner = hearth.shard._owned[0].owner
        # The tail, and no more, was folded: what was there before the snapshot is not counted again.
        tail = sum(3 for stored in records_beside(hearth)[taken.position :] if stored.record.kind.name == "SIGNALS")
        assert 0 < owner.events_folded <= tail
        assert await hearth.digest() == replay_beside(hearth) != live  # a new term was opened
        again = await hearth.decide("home-0", member="m", request_id="a-7")
        assert again.repeated_request
        await some_life(hearth, tag="c")
        assert await hearth.digest() == replay_beside(hearth)


@in_loop
async def test_a_snapshot_is_taken_when_the_tail_has_grown_long(tmp_path: Path):
    policy = SnapshotPolicy(events=1_000, interval_s=1e9)
    async with running(tmp_path / "log", snapshots=tmp_path / "snapshots", snapshot_policy=policy) as hearth:
        assert hearth.shard._taker is not None
        taking = asyncio.create_task(hearth.shard._taker.run())
        pays = [signal(f"e{n}", f"home-{n % 50}", "pay", MONDAY, fields={"amount": 1.0}) for n in range(1_200)]
        await hearth.ingest(*pays)
        store = snapshot_store(str(tmp_path / "snapshots"))
        while not store.list(PartitionId(0)):  # noqa: ASYNC110 - a real thread writes it
            await asyncio.sleep(0.02)
        taking.cancel()
    assert store.list(PartitionId(0))[0].households == 50


@in_loop
async def test_a_snapshot_is_due_after_so_many_records_but_a_slow_one_seldom(tmp_path: Path):
    policy = SnapshotPolicy(records=10, interval_s=1e9, busy_share=0.5)
    async with running(tmp_path / "log", snapshots=tmp_path / "snapshots", snapshot_policy=policy) as hearth:
        taker, owner = hearth.shard._taker, hearth.shard._owned[0].owner
        assert taker is not None
        at_s = 1_000.0
        taker._monotonic_s = lambda: at_s  # type: ignore[method-assign]
        assert not taker._is_due(owner)
        await some_life(hearth, 5)
        assert owner.records_folded >= 10
        assert taker._is_due(owner)
        await taker.take(owner)
        assert not taker._is_due(owner)
        await some_life(hearth, 5, tag="b")
        assert taker._is_due(owner)
        # One that took a minute is not due again within two.
        taker._note_taken(owner, at_s - 60.0, events=0, records=0)
        at_s += 59.0
        assert not taker._is_due(owner)
        at_s += 2.0
        assert taker._is_due(owner)


@in_loop
async def test_a_bad_snapshot_falls_back_to_the_one_before_and_then_to_the_log(tmp_path: Path):
    log, snapshots, clock = tmp_path / "log", tmp_path / "snapshots", SettableClock()
    async with running(log, clock, snapshots=snapshots) as hearth:
        for tag in ("a", "b", "c"):
            await some_life(hearth, 5, tag=tag)
            await hearth.snapshot()
    folders = sorted((snapshots / "p-0000").iterdir())
    assert len(folders) == 3
    for broken, folder in enumerate(reversed(folders), 1):
        (file,) = folder.glob("decisions.arrow")
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 4
        file.write_bytes(content)
        async with running(log, clock, snapshots=snapshots) as hearth:
            owner = hearth.shard._owned[0].owner
            assert len(owner.faults) == broken
            assert all("decisions.arrow" in fault for fault in owner.faults)
            assert await hearth.digest() == replay_beside(hearth)


@in_loop
async def test_a_snapshot_ahead_of_its_log_stops_that_partition_and_no_other(tmp_path: Path):
    log, snapshots, clock = tmp_path / "log", tmp_path / "snapshots", SettableClock()
    async with running(log, clock, snapshots=snapshots, partitions=(0, 1)) as hearth:
        await some_life(hearth)
        await hearth.snapshot(0)
        await hearth.snapshot(1)
    (segment,) = (log / "p-0000").glob("*.seg")
    with segment.open("r+b") as file:
        file.truncate(segment.stat().st_size - 1)

    hearth = Hearth(log, clock=clock, snapshots=snapshots, partitions=(0, 1))
    with pytest.raises(DamagedLog, match=r"p-0000.*was acknowledged"):
        await hearth.assign(0)
    await hearth.assign(1)
    assert await hearth.digest(1) == replay_beside(hearth, 1)
    await hearth.shard.drain()


@in_loop
async def test_log_goes_behind_every_kept_snapshot_and_after_its_retention_only(tmp_path: Path):
    log, snapshots, clock = tmp_path / "log", tmp_path / "snapshots", SettableClock()
    small = SegmentSettings(segment_bytes=20_000)
    policy = SnapshotPolicy(log_retention_s=48 * 3_600.0)
    async with running(log, clock, snapshots=snapshots, snapshot_policy=policy, segments=small) as hearth:
        for tag in "abcd":
            await some_life(hearth, 15, tag=tag)
            await hearth.snapshot()
        assert hearth.shard._owned[0].owner._log.first_offset == 0  # covered, but within its retention
    # How old the log is shows in the log: an owner that has just begun knows it, too.
    async with running(log, clock, snapshots=snapshots, snapshot_policy=policy, segments=small) as hearth:
        clock.pass_us(47 * HOUR)
        await some_life(hearth, 15, tag="e")
        within = hearth.shard._owned[0].owner._log.end_offset
        await hearth.snapshot()
        assert hearth.shard._owned[0].owner._log.first_offset == 0
        clock.pass_us(2 * HOUR)
        await some_life(hearth, 3, tag="f")
        await hearth.snapshot()
        owner = hearth.shard._owned[0].owner
        kept = snapshot_store(str(snapshots)).oldest_kept_position(PartitionId(0))
        assert kept is not None
        assert 0 < owner._log.first_offset <= kept < within  # what is two hours old stays
        live, received = await hearth.digest(), hearth.counter("received")
        await hearth.shard.release(0)
        await hearth.assign(0)
        assert hearth.shard._owned[0].owner.events_folded == 0
        assert hearth.counter("received") == received
        assert live != await hearth.digest()  # the new term
        assert len(await hearth.decisions("home-0")) > 0

    shutil.rmtree(snapshots)
    hearth = Hearth(log, clock=clock, snapshots=snapshots)
    with pytest.raises(NotRecoverable, match="no snapshot covers"):
        await hearth.assign(0)
    await hearth.shard.drain()


@in_loop
async def test_a_failure_while_a_snapshot_waits_for_its_rejects_leaves_the_next_one_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with running(tmp_path / "log", snapshots=tmp_path / "snapshots") as hearth:
        await some_life(hearth, 5)
        with monkeypatch.context() as broken:
            broken.setattr(PartitionOwner, "settle_rejects", _cannot)
            with pytest.raises(OSError, match="no thread"):
                await hearth.shard._taker.take(hearth.shard._owned[0].owner)
        await hearth.snapshot()


async def _cannot(owner: PartitionOwner) -> None:
    raise OSError("no thread")


@in_loop
async def test_a_lost_owner_is_forgotten_with_all_its_state(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Whatever is done about garbage while the next owner loads a snapshot."""
    # What pytest keeps of it would keep the error, and with it the owner.
    caplog.set_level(logging.CRITICAL, logger="actors.partition.term")
    disk, both = DiskFiles(), (0, 1)
    async with running(tmp_path / "log", snapshots=tmp_path / "snapshots", files=disk, partitions=both) as hearth:
        await some_life(hearth, 20)
        for partition in both:
            await hearth.snapshot(partition)
        # Loaded beside the other, which from then on is no longer looked through.
        await hearth.shard.release(1)
        await hearth.assign(1)
        lost = weakref.ref(hearth.shard._owned[0].owner)
        home = next(name for name in (f"home-{number}" for number in range(7)) if hearth.partition_of(name) == 0)
        disk.break_syncs()
        visit = signal("lost", home, "visit", hearth.clock.now_us(), member="m")
        assert isinstance(await outcome(hearth.ingest(visit)), CallFailed)
        disk.mend()
        await hearth.assign(0)
        assert gc.isenabled()
        await some_life(hearth, 7, tag="b")
        gc.collect()
        assert lost() is None


@in_loop
async def test_an_unfinished_snapshot_is_none(tmp_path: Path):
    log, snapshots = tmp_path / "log", tmp_path / "snapshots"
    async with running(log, snapshots=snapshots) as hearth:
        await some_life(hearth, 5)
        await hearth.snapshot()
    (folder,) = (snapshots / "p-0000").iterdir()
    manifest = folder / "manifest.json"
    assert json.loads(manifest.read_text())["counts"]["households"] == 5
    manifest.unlink()
    async with running(log, snapshots=snapshots) as hearth:
        assert await hearth.digest() == replay_beside(hearth)


@pytest.mark.parametrize("why", ["LEASE_EXPIRED", "CLOCK_UNCONFIRMED"])
@in_loop
async def test_a_shard_that_cannot_prove_it_is_current_answers_unavailable_and_writes_nothing(tmp_path: Path, why: str):
    lease, clock = SettableLease(), SettableClock()

    def prove(is_proven: bool) -> None:
        if why == "LEASE_EXPIRED":
            lease.held = is_proven
        else:
            clock.confirmed = is_proven

    async with running(tmp_path, clock, lease=lease) as hearth:
        await some_life(hearth, 3)
        before = len(records_beside(hearth))
        prove(False)
        pay = signal("late-pay", "home-0", "pay", clock.now_us(), fields={"amount": 1.0})
        for call in (
            hearth.ingest(pay),
            hearth.decide("home-0", member="m"),
            hearth.decide("home-0", member="m", request_id="a-0"),
            hearth.get("home-0"),
            hearth.explain("home-0"),
        ):
            failure = await outcome(call)
            assert isinstance(failure, CallFailed)
            assert (failure.status.code, reason_of(failure)) == (UNAVAILABLE, why)
        assert len(records_beside(hearth)) == before
        prove(True)
        assert (await hearth.ingest(pay)).counts.applied == 1


@in_loop
async def test_an_answer_is_held_back_when_the_lease_runs_out_while_it_is_made(tmp_path: Path):
    lease = SettableLease()
    async with running(tmp_path, lease=lease) as hearth:
        hearth.files.hold()
        call = asyncio.create_task(outcome(hearth.ingest(signal("one", "home", "pay", MONDAY, fields={"amount": 1.0}))))
        await hearth.files.held()
        lease.held = False
        hearth.files.release()
        failure = await call
        assert isinstance(failure, CallFailed)
        assert reason_of(failure) == "LEASE_EXPIRED"
        lease.held = True
        # It is in the log, so the retry is a duplicate: not lost, not doubled.
        again = await hearth.ingest(signal("one", "home", "pay", MONDAY, fields={"amount": 1.0}))
        assert again.counts.duplicate == 1


@in_loop
async def test_moments_and_deliveries_wait_for_the_lease(tmp_path: Path):
    lease, clock = SettableLease(), SettableClock()
    async with running(tmp_path, clock, lease=lease, look_every_s=0.02) as hearth:
        at = clock.now_us()
        hearth.files.hold()
        sent = asyncio.create_task(
            outcome(
                hearth.ingest(
                    signal("consent", "home", "consent", at, member="m", fields={"marketing": True}),
                    signal("check-1", "home", "check", at, member="m"),
                    signal("check-2", "home", "check", at, member="m"),
                )
            )
        )
        await hearth.files.held()
        lease.held = False
        hearth.files.release()
        assert reason_of(await sent) == "LEASE_EXPIRED"
        for _ in range(5):
            await hearth.tick()
        assert hearth.counter("moments") == 1
        assert hearth.counter("decisions") == 0
        lease.held = True
        await hearth.tick()
        await hearth.until(lambda: hearth.counter("decisions") == 1)
        lease.held = False
        async with hearth.subscribed("push") as deliveries:
            waiting = asyncio.create_task(anext(deliveries))
            for _ in range(20):
                await hearth.turn()
            assert not waiting.done()
            lease.held = True
            assert (await asyncio.wait_for(waiting, 10)).household == "home"


@in_loop
async def test_a_person_confirms_a_clock_that_has_jumped(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path, clock) as hearth:
        clock.confirmed = False
        assert reason_of(await outcome(hearth.decide("home"))) == "CLOCK_UNCONFIRMED"
        assert await hearth.call(shard_pb2.METHOD_CONFIRM_CLOCK, 0, b"") == b""
        assert (await hearth.decide("home")).decision_id


def records_beside(hearth: Hearth, partition: int = 0) -> list[StoredRecord]:
    """Return what stands in a partition's log while it is open."""
    log = hearth.shard._owned[partition].owner._log
    return list(log.read(log.first_offset))


def replay_beside(hearth: Hearth, partition: int = 0) -> str:
    """Return the digest of the state that a partition's whole log folds to."""
    replay = Replay()
    for stored in records_beside(hearth, partition):
        replay.fold(stored)
    return state_digest(replay.now)


@in_loop
async def test_a_defect_in_one_snapshot_ends_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    policy = SnapshotPolicy(events=1_000, interval_s=1e9)
    named = {"snapshots": tmp_path / "snapshots", "snapshot_policy": policy, "partitions": (0, 1)}
    async with running(tmp_path / "log", **named) as hearth:
        taker = hearth.shard._taker
        assert taker is not None
        write = taker._store.write

        def breaks_for_the_first(*arguments: object, partition: PartitionId, **others: object) -> object:
            if partition == 0:
                raise AssertionError("a defect")
            return write(*arguments, partition=partition, **others)  # type: ignore[arg-type]

        monkeypatch.setattr(taker._store, "write", breaks_for_the_first)
        pays = [signal(f"e{n}", f"home-{n % 50}", "pay", MONDAY, fields={"amount": 1.0}) for n in range(4_000)]
        await hearth.ingest(*pays)
        taking = asyncio.create_task(taker.run())
        while not taker._store.list(PartitionId(1)):  # noqa: ASYNC110 - a real thread writes it
            await asyncio.sleep(0.02)
        assert not taking.done()
        assert taker.failed == 1
        taking.cancel()
