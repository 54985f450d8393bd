"""A change of the playbook while a partition is at work.

Laws: it is one record, between two groups: every decision and every signal is by the version before it or by the one
behind it, whole; replaying the log gives the same state; what was being decided as it came is decided anew, by the new
one; what is told of older decisions stays; an older change that comes late changes nothing; a write in doubt ends the
term, and the next owner knows from the log alone which version is in force.
"""

import asyncio
from pathlib import Path

import pytest

from actors.conditions import NotCurrent, PartitionLost
from actors.log.contract import RecordKind
from actors.records import codec
from household.digest import state_digest
from household.plan import Plan
from tests.actors.harness import (
    CORNER,
    MINUTE,
    MONDAY,
    DiskFiles,
    Hearth,
    ScriptedScorer,
    SettableClock,
    SettableLease,
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
from wire.failures import CallFailed

CHEAPER = ("price: 4.99, margin: 3, prior: 0.2", "price: 3.99, margin: 3, prior: 0.9")
FILMS = next(line for line in CORNER.splitlines(keepends=True) if line.startswith("  films:"))
NO_FILMS = (FILMS, "")
NO_WEB = (
    ("  web: {inbound: true, consent: \"!member.out\"}\n", ""),
    ("web: Top up, ", ""),
    ("{app: Series, web: Series}", "{app: Series}"),
    ("{web: Phone, app: Phone}", "{app: Phone}"),
)  # fmt: skip


async def change(hearth: Hearth, plan: Plan, *, number: int = 1, partition: int = 0) -> bool:
    return await hearth.shard.use_plan(partition, plan.canonical_bytes, number)


def visit(name: str, household: str = "h") -> object:
    return signal(name, household, "visit", MONDAY)


@in_loop
async def test_decisions_are_by_the_version_before_the_record_or_by_the_one_behind_it(tmp_path: Path):
    old, new = corner(), corner(CHEAPER)
    async with running(tmp_path / "log") as hearth:
        before = await hearth.decide("a", visit("1", "a"), member="m")
        assert await change(hearth, new)
        after = await hearth.decide("b", visit("2", "b"), member="m")
        again = await hearth.explain("a")
        assert (before.playbook_version, after.playbook_version) == (old.version, new.version)
        assert (after.action.offer, after.action.price_minor) == ("films", 399)
        # What was decided before is told in its own words, and an answer that stands is priced anew.
        assert (again.playbook_version, again.playbook_missing) == (old.version, False)
        live = await hearth.digest()
        left = hearth.disk_copy(tmp_path / "left")
    assert state_digest(replayed(left)) == live
    versions = {}
    in_force = ""
    for stored in records(left):
        match stored.record.kind:
            case RecordKind.PLAN:
                in_force = codec.decode_plan(stored.record.payload).version
            case RecordKind.DECISION:
                decision = codec.decode_decision(stored.record.payload).decision
                versions[decision.household] = (decision.plan_version, in_force)
    assert versions == {b"a": (old.version, old.version), b"b": (new.version, new.version)}


@in_loop
async def test_the_same_version_again_writes_nothing(tmp_path: Path):
    async with running(tmp_path) as hearth:
        assert not await change(hearth, corner())
        assert await change(hearth, corner(CHEAPER), number=1)
        assert not await change(hearth, corner(CHEAPER), number=2)
    assert kinds(tmp_path).count(RecordKind.PLAN) == 2


@in_loop
async def test_what_is_being_scored_as_it_comes_is_decided_by_the_new_one(tmp_path: Path):
    new = corner(NO_FILMS)  # every offer behind it has another number
    async with running(tmp_path) as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        scorer.hold()
        asked = asyncio.create_task(hearth.decide("h", visit("1"), member="m"))
        await scorer.asked.wait()
        assert await change(hearth, new)
        scorer.free.set()
        answer = await asked
        assert answer.playbook_version == new.version
        assert answer.action.offer in new.offer_by_name
        told = await hearth.explain("h")
        assert {one.offer for one in told.candidates} <= set(new.offer_by_name) | {""}
        assert len(scorer.batches) == 2


@in_loop
async def test_a_moment_that_is_being_scored_as_it_comes_is_decided_by_the_new_one(tmp_path: Path):
    new = corner(NO_FILMS)
    async with running(tmp_path) as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        scorer.hold()
        t = hearth.clock.now_us()
        await hearth.ingest(
            signal("c", "h", "consent", t, member="m", fields={"marketing": True}),
            signal("1", "h", "check", t, member="m"),
            signal("2", "h", "check", t, member="m"),
        )
        await scorer.asked.wait()
        assert await change(hearth, new)
        scorer.free.set()
        await hearth.until(lambda: hearth.counter("decisions") == 1)
        assert [one.playbook_version for one in await hearth.decisions("h")] == [new.version]


@in_loop
async def test_who_asks_on_a_channel_that_is_gone_meanwhile_is_told_so(tmp_path: Path):
    async with running(tmp_path) as hearth:
        scorer = ScriptedScorer()
        await hearth.use(scorer)
        scorer.hold()
        asked = asyncio.create_task(outcome(hearth.decide("h", visit("1"), member="m", channel="web")))
        await scorer.asked.wait()
        await change(hearth, corner(*NO_WEB))
        scorer.free.set()
        failure = await asked
        assert isinstance(failure, CallFailed)
        assert reason_of(failure) == "UNKNOWN_CHANNEL"


@in_loop
async def test_signals_that_were_decoded_by_the_old_one_are_folded_by_the_new_one(tmp_path: Path):
    renamed = corner(
        ("  check: {source: app}\n", ""),
        ("  opt_out: {source: app}\n", "  opt_out: {source: app}\n  check: {source: app}\n"),
    )
    disk = DiskFiles()
    async with running(tmp_path / "log", files=disk) as hearth:
        disk.hold()
        first = asyncio.create_task(hearth.ingest(signal("0", "h", "visit", MONDAY)))
        await disk.held()
        waiting = asyncio.create_task(hearth.ingest(signal("1", "h", "check", MONDAY, member="m")))
        changing = asyncio.create_task(change(hearth, renamed))
        await hearth.turn()
        disk.release()
        await asyncio.gather(first, waiting, changing)
        answer = await hearth.ingest(signal("2", "h", "check", MONDAY, member="m"))
        assert answer.counts.applied == 1
        told = await hearth.get("h")
        checks = [one for member in told.members for one in member.features if one.name == "member.checks_7d"]
        assert [one.value for one in checks] == [2.0]
        await hearth.until(lambda: hearth.counter("decisions") == 1)  # what the second check brought up, by itself
        live, left = await hearth.digest(), hearth.disk_copy(tmp_path / "left")
    assert state_digest(replayed(left)) == live


@in_loop
async def test_a_change_that_comes_late_is_passed_over(tmp_path: Path):
    old, new = corner(), corner(CHEAPER)
    async with running(tmp_path) as hearth:
        await change(hearth, new, number=7)
        assert not await change(hearth, old, number=6)
        assert hearth.shard.report()[0]["plan_version"] == new.version


@in_loop
async def test_a_partition_that_is_not_owned_here_is_changed_by_its_owner_only(tmp_path: Path):
    async with running(tmp_path) as hearth:
        with pytest.raises(PartitionLost):
            await change(hearth, corner(CHEAPER), partition=3)


@in_loop
async def test_who_cannot_prove_that_he_owns_it_writes_no_playbook(tmp_path: Path):
    lease = SettableLease()
    async with running(tmp_path, lease=lease) as hearth:
        lease.held = False
        with pytest.raises(NotCurrent):
            await change(hearth, corner(CHEAPER))
        lease.held = True
        assert await change(hearth, corner(CHEAPER))


@in_loop
async def test_a_write_in_doubt_ends_the_term_and_the_log_says_which_is_in_force(tmp_path: Path):
    new, disk = corner(CHEAPER), DiskFiles()
    async with running(tmp_path / "log", files=disk) as hearth:
        await hearth.ingest(signal("1", "h", "visit", MONDAY))
        disk.break_syncs()
        with pytest.raises(PartitionLost):
            await change(hearth, new)
        disk.mend()
        assert hearth.shard.report()[0]["is_lost"]
        await hearth.assign(0, plan=new, epoch=2)
        assert hearth.shard.report()[0]["plan_version"] == new.version
        assert (await hearth.decide("h", member="m")).playbook_version == new.version


@in_loop
async def test_an_action_on_its_way_is_handed_over_once_under_another_numbering_of_channels(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path, clock) as hearth, hearth.subscribed("push", "sms") as stream:
        t = clock.now_us()
        await hearth.ingest(
            signal("c", "h", "consent", t, member="m", fields={"marketing": True}),
            signal("1", "h", "check", t, member="m"),
            signal("2", "h", "check", t, member="m"),
        )
        delivery = await anext(stream)
        await change(hearth, corner(*NO_WEB))
        again = asyncio.create_task(anext(stream))
        clock.pass_us(MINUTE)
        await hearth.tick()
        assert not again.done()
        answer = await hearth.ack("h", delivery.action.action_id, channel=delivery.channel)
        assert answer.effective
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)
