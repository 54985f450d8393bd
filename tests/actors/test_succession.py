"""A partition handed over from one shard to another, in one process, on real segment files.

Laws:
    who follows a partition has the owner's very state, and opens a newer term when it is handed over;
    nothing that was acknowledged is lost or doubled, and one request has one decision, whoever was asked;
    what waits is refused and not written, what is being written is seen through, and what comes later is another's;
    what was prepared counts only where the owner before said where its log ends: otherwise all begins anew;
    what was rejected is kept once; a move that comes to nothing leaves no trace; nothing is followed for nobody.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from actors.conditions import PartitionLost, PartitionMoved
from actors.log.contract import DamagedLog, LogLocked, Offset, PartitionId, RecordKind
from actors.log.segments import SegmentSettings, SegmentStore
from actors.rejects.settings import RejectSettings
from actors.shard import succession
from hearth.v1 import decision_pb2
from household.digest import state_digest
from tests.actors.harness import (
    MONDAY,
    Hearth,
    SettableClock,
    in_loop,
    outcome,
    reason_of,
    records,
    replayed,
    signal,
)
from wire.failures import CallFailed

SMALL = SegmentSettings(segment_bytes=2_000)


class Two:
    """Two shards on one log; each is asked by whoever knows that it owns the partition."""

    def __init__(self, folder: Path, **named) -> None:
        clock = SettableClock()
        self.folder = folder
        self.shards = [
            Hearth(
                folder / "log",
                clock=clock,
                name=f"shard-{number}",
                segments=SMALL,
                snapshots=folder / "snapshots",
                rejects=SegmentStore(folder / "rejects"),
                reject_settings=RejectSettings(gather_s=0.0, retry_s=0.02),
                **named,
            )
            for number in (0, 1)
        ]
        self.owner = 0
        self.moves = 0

    @property
    def now(self) -> Hearth:
        return self.shards[self.owner]

    async def hand_over(self) -> tuple[int, int]:
        """Let the owner let go; return where the log ends and the next epoch."""

        async def pass_on(epoch: int) -> int:
            return epoch + 1

        return await self.now.shard.hand_over(0, pass_on)

    async def move(self) -> None:
        source, target = self.now, self.shards[1 - self.owner]
        await target.shard.prepare(0)
        assert source is self.now
        ends_at, epoch = await self.hand_over()
        plan_bytes = target.plan.canonical_bytes
        assert await target.shard.assign(0, plan_bytes=plan_bytes, epoch=epoch, ends_at=ends_at) >= epoch
        self.owner, self.moves = 1 - self.owner, self.moves + 1


@asynccontextmanager
async def two(folder: Path, **named) -> AsyncIterator[Two]:
    made = Two(folder, **named)
    try:
        await made.now.assign(0)
        yield made
    finally:
        for one in made.shards:
            await one.shard.drain()


def pay(number: int, household: str = "h"):
    return signal(f"p{number}", household, "pay", MONDAY + number, member="m", fields={"amount": 1.0})


@in_loop
async def test_who_follows_has_the_owners_very_state_and_opens_a_newer_term(tmp_path: Path):
    async with two(tmp_path) as it:
        for number in range(40):  # over many segments
            await it.now.ingest(pay(number))
        await it.now.snapshot()
        for number in range(40, 80):
            await it.now.ingest(pay(number))
        epoch = it.now.counter("epoch")
        target = it.shards[1].shard
        # From the snapshot on; then what has come since.
        assert await target.prepare(0) < 60
        await it.now.ingest(pay(80))
        assert await target.prepare(0) == 1
        before = await it.now.digest()

        await it.move()
        # The term alone is another.
        assert it.now.counter("epoch") == epoch + 1
        assert it.now.counter("applied") == 81
        assert it.shards[0].shard.report() == {}
        assert before != await it.now.digest()
        assert await it.now.digest() == state_digest(replayed_beside(it))
        refused = await outcome(it.shards[0].ingest(pay(81)))
        assert isinstance(refused, CallFailed)
        assert reason_of(refused) == "WRONG_OWNER"
        assert (await it.now.ingest(pay(81), pay(80))).counts.duplicate == 1


def replayed_beside(it: Two):
    """Return the state that the log folds to, which its owner holds open."""
    return replayed(it.now.disk_copy(it.folder / f"copy-{next(_copies)}"))


_copies = itertools.count()


@in_loop
async def test_a_new_owner_counts_the_tail_that_a_restart_would_fold(tmp_path: Path):
    """Otherwise a partition that moves often would never have a snapshot."""
    async with two(tmp_path) as it:
        await it.now.snapshot()
        for number in range(10):
            await it.now.ingest(pay(number))
        await it.move()
        owner = it.now.shard._owned[0].owner
        assert (owner.events_folded, owner.records_folded) == (10, 11)


@in_loop
async def test_nothing_is_lost_doubled_or_contradicted_while_a_partition_goes_to_and_fro(tmp_path: Path):
    async with two(tmp_path) as it:
        acknowledged: set[int] = set()
        decisions: dict[str, set[str]] = {}
        refused = 0

        async def insist(call):
            nonlocal refused
            while True:
                answer = await outcome(call(it.now))
                if not isinstance(answer, CallFailed):
                    return answer
                refused += 1
                assert reason_of(answer) in ("WRONG_OWNER", "PARTITION_UNAVAILABLE"), answer
                await asyncio.sleep(0)

        numbers = itertools.count()

        async def source() -> None:
            while it.moves < 6:
                number = next(numbers)
                answer = await insist(lambda hearth, number=number: hearth.ingest(pay(number, f"h{number % 7}")))
                # As a duplicate where it was written and the answer was lost.
                assert answer.counts.applied + answer.counts.duplicate == 1
                acknowledged.add(number)

        async def gateway(name: str) -> None:
            for number in itertools.count():
                if it.moves >= 6:
                    return
                request_id = f"{name}-{number}"
                told = decisions.setdefault(request_id, set())
                for _ in range(2):

                    def ask(hearth: Hearth, request_id: str = request_id, name: str = name):
                        visit = signal(f"v-{request_id}", name, "visit", MONDAY + 1, member="m")
                        return hearth.decide(name, visit, member="m", request_id=request_id)

                    told.add((await insist(ask)).decision_id)

        async def mover() -> None:
            for _ in range(6):
                await asyncio.sleep(0.02)
                await it.move()

        await asyncio.gather(source(), source(), gateway("a"), gateway("b"), mover())

        assert it.moves == 6
        assert {len(told) for told in decisions.values()} == {1}
        visits = len(decisions)
        assert it.now.counter("applied") == len(acknowledged) + visits
        assert await it.now.digest() == state_digest(replayed_beside(it))


@in_loop
async def test_what_waits_is_refused_unwritten_and_what_is_being_written_is_seen_through(tmp_path: Path):
    async with two(tmp_path) as it:
        source = it.now
        source.files.hold()  # type: ignore[attr-defined]
        being_written = asyncio.ensure_future(source.ingest(pay(1)))
        await source.files.held()  # type: ignore[attr-defined]
        waiting = asyncio.ensure_future(outcome(source.ingest(pay(2))))
        owner = source.shard._owned[0].owner
        await source.until(lambda: bool(owner._commits.waiting))
        letting_go = asyncio.ensure_future(owner.let_go())
        refused = await waiting
        with pytest.raises(PartitionMoved):
            await owner.signals(b"")
        source.files.release()  # type: ignore[attr-defined]
        assert (await being_written).counts.applied == 1
        end = await letting_go

        assert reason_of(refused) == "WRONG_OWNER"
        assert "moving" in str(refused)
        kept = records(tmp_path / "log")
        assert [one.record.kind for one in kept].count(RecordKind.SIGNALS) == 1
        assert end == kept[-1].offset + 1


@in_loop
async def test_whose_last_group_is_of_unknown_outcome_hands_nothing_over(tmp_path: Path):
    async with two(tmp_path) as it:
        source = it.now
        source.files.hold()  # type: ignore[attr-defined]
        lost = asyncio.ensure_future(outcome(source.ingest(pay(1))))
        await source.files.held()  # type: ignore[attr-defined]
        owner = source.shard._owned[0].owner
        letting_go = asyncio.ensure_future(owner.let_go())
        source.files.break_syncs()  # type: ignore[attr-defined]
        source.files.release()  # type: ignore[attr-defined]
        with pytest.raises(PartitionLost):
            await letting_go
        assert isinstance(await lost, CallFailed)
        source.files.mend()  # type: ignore[attr-defined]
        # The log is free for whoever takes over, and tells what became of it.
        del source.shard._owned[0]
        await it.shards[1].assign(0, epoch=9)
        assert await it.shards[1].digest() == state_digest(replayed(it.shards[1].disk_copy(tmp_path / "copy")))


@in_loop
async def test_what_was_prepared_counts_only_for_a_partition_that_was_handed_over(tmp_path: Path):
    async with two(tmp_path) as it:
        await it.now.ingest(pay(1))
        target = it.shards[1]
        await target.shard.prepare(0)
        await it.now.ingest(pay(2))
        with pytest.raises(LogLocked):
            await target.assign(0, epoch=5)
        # Its owner dies, as far as the other knows; what was followed is void.
        await it.now.shard.release(0)
        await target.shard.prepare(0)
        begun = target.shard._succession._followed[0].successor
        await target.assign(0, epoch=5)
        assert target.shard._owned[0].owner.state is not begun._replay.now
        assert target.counter("applied") == 2


@in_loop
async def test_another_end_than_the_owner_told_is_not_believed(tmp_path: Path):
    async with two(tmp_path) as it:
        await it.now.ingest(pay(1))
        target = it.shards[1]
        await target.shard.prepare(0)
        ends_at, epoch = await it.hand_over()
        with pytest.raises(DamagedLog):
            await target.shard.assign(0, plan_bytes=target.plan.canonical_bytes, epoch=epoch, ends_at=ends_at + 1)
        await target.assign(0, epoch=epoch)
        assert target.counter("applied") == 1


@in_loop
async def test_what_was_rejected_is_kept_once(tmp_path: Path):
    async with two(tmp_path) as it:
        await it.now.ingest(signal("bad-1", "h", "no such type", MONDAY))
        await it.shards[1].shard.prepare(0)
        await it.now.ingest(signal("bad-2", "h", "no such type", MONDAY))
        await it.move()
        await it.now.ingest(signal("bad-3", "h", "no such type", MONDAY))
        rejects = it.now.shard._owned[0].owner.rejects
        assert rejects is not None
        assert await asyncio.to_thread(rejects.settle, 20.0)
        assert rejects.counters.kept + rejects.counters.missed <= 1
        for one in it.shards:
            await one.shard.drain()
        kept = SegmentStore(tmp_path / "rejects").open(PartitionId(0))
        assert len(list(kept.read(kept.first_offset))) == 3
        kept.close()


@in_loop
async def test_a_move_that_comes_to_nothing_leaves_no_trace(tmp_path: Path):
    async with two(tmp_path) as it:
        await it.now.ingest(pay(1))
        target = it.shards[1].shard
        await target.prepare(0)
        await target.forget(0)
        await target.forget(0)
        assert target._succession._followed == {}
        with pytest.raises(PartitionLost):
            await target.hand_over(0, None)  # type: ignore[arg-type]
        assert (await it.now.ingest(pay(2))).counts.applied == 1


@in_loop
async def test_what_nobody_asks_about_is_followed_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with two(tmp_path) as it:
        target = it.shards[1].shard
        await target.prepare(0)
        await target._succession.forget_abandoned()
        assert 0 in target._succession._followed
        monkeypatch.setattr(succession, "FORGOTTEN_AFTER_S", -1.0)
        await target._succession.forget_abandoned()
        assert target._succession._followed == {}


@in_loop
async def test_a_stream_of_deliveries_goes_on_at_the_new_owner_under_the_same_key(tmp_path: Path):
    async with two(tmp_path, redeliver_after_s=0.05, look_every_s=0.05) as it:
        consent = signal("c", "h", "consent", MONDAY, member="m", fields={"marketing": True})
        checks = [signal(f"k{n}", "h", "check", MONDAY + 1 + n, member="m") for n in range(2)]
        async with it.now.subscribed("push") as before:
            await it.now.ingest(consent, *checks)
            first = await anext(before)
        await it.move()
        async with it.now.subscribed("push") as after:
            again = await anext(after)
        assert again.action.action_id == first.action.action_id
        answer = await it.now.ack("h", again.action.action_id)
        assert answer.effective
        assert it.now.counter("delivered") == 1
        await it.move()
        report = await it.now.report(
            "h", again.action.action_id, decision_pb2.OUTCOME_ACCEPT, member="m", channel="push"
        )
        assert report.effective


@in_loop
async def test_an_owner_that_hands_over_begins_a_piece_so_that_little_is_looked_through(tmp_path: Path):
    async with two(tmp_path) as it:
        await it.now.ingest(pay(1))
        segments = len(list((tmp_path / "log" / "p-0000").glob("*.seg")))
        ends_at, _ = await it.hand_over()
        found = sorted((tmp_path / "log" / "p-0000").glob("*.seg"))
        assert len(found) == segments + 1
        assert found[-1].name == f"{Offset(ends_at):020d}.seg"
