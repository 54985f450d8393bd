"""Laws of replaying decisions: made once more from the log, each is the same to the last bit, whatever came between its
draft and its record, and after whatever playbooks, mergers, late signals and restarts; one that is not is told, and in
what it differs first.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from actors.exports.point_in_time import LogTooShort, Start
from actors.exports.redeciding import Redecided, redecided
from actors.log.contract import RecordKind, StoredRecord
from actors.records import codec
from household.contact_rules.share import CapacityShare
from household.decision import Decision
from household.decision_bytes import encode_decision
from tests.actors.harness import DAY, MONDAY, DiskFiles, ScriptedScorer, in_loop, records, running, signal
from tests.actors.parity_world import live


def again(log: list[StoredRecord]) -> list[Redecided]:
    return list(redecided(Start(), log, share=CapacityShare()))


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> list[StoredRecord]:
    """A log of three terms, each with another playbook, in which most decisions wait for a model."""
    folder = tmp_path_factory.mktemp("redecided")

    @in_loop
    async def lives() -> None:
        await live(folder / "log", snapshots=folder / "snapshots", asks_per_term=48)

    lives()
    return records(folder / "log")


def test_each_decision_is_the_same_to_the_last_bit(lived: list[StoredRecord]):
    found = again(lived)
    assert [one.difference for one in found if one.difference is not None] == []
    assert len(found) >= 144
    assert len({one.decision.plan_version for one in found}) == 3
    read = {one.offset: one for one in lived}
    assert any(one.decision.slate for one in found)
    assert all(read[one.offset].record.kind is RecordKind.DECISION for one in found)


@in_loop
async def test_what_was_written_at_one_instant_may_have_seen_a_part_of_it(tmp_path: Path):
    """`third` has seen what `first` was shown, as has `last`, which has not seen what `second` was shown."""
    disk = DiskFiles()
    async with running(tmp_path / "log", files=disk) as hearth:
        await hearth.use(ScriptedScorer())
        declines = {"first": ("web", ["series"]), "second": ("app", ["films", "phone"]), "third": ("web", ["series"])}
        for household, (channel, offers) in declines.items():
            await hearth.ingest(signal(f"e-{household}", household, "visit", MONDAY, member="m"))
            for offer in offers:
                answer = await hearth.decide(household, member="m", channel=channel)
                assert answer.action.offer == offer
                await hearth.decline(household, answer.action.action_id)
        # Their families are open again, what was declined is not.
        hearth.clock.pass_us(8 * DAY)
        now_us = hearth.clock.now_us()
        await hearth.ingest(signal("e-last", "last", "visit", now_us, member="m"))
        disk.hold()
        asked = [asyncio.create_task(hearth.decide("first", member="m", channel="web"))]
        await disk.held()
        for household in ("second", "third", "last"):
            asked.append(asyncio.create_task(hearth.decide(household, member="m", channel="web")))
            for _ in range(50):
                await asyncio.sleep(0)
        disk.release()
        answers = await asyncio.gather(*asked)
    assert [one.action.offer for one in answers] == ["phone", "series", "phone", "series"]
    found = again(records(tmp_path / "log"))
    assert {one.decision.decided_us for one in found[-4:]} == {now_us}
    assert [one.difference for one in found if one.difference is not None] == []


def changed(log: list[StoredRecord], how: dict[str, object]) -> Iterator[StoredRecord]:
    """Yield a log in which the last decision with a slate has something else."""
    decisions = [one for one in log if one.record.kind is RecordKind.DECISION]
    last = [one for one in decisions if codec.decode_decision(one.record.payload).decision.slate][-1]
    for stored in log:
        if stored is not last:
            yield stored
            continue
        read = codec.decode_decision(stored.record.payload)
        keys = dict(enumerate(read.moment_members))
        moments = tuple(replace(one, member=place) for place, one in enumerate(read.decision.moments))
        decision: Decision = replace(read.decision, moments=moments, **how)  # type: ignore[arg-type]
        payload = encode_decision(decision, member_keys=keys)
        yield replace(stored, record=replace(stored.record, payload=payload))


@pytest.mark.parametrize(
    ("how", "field"),
    [({"propensity": 0.123}, "propensity"), ({"reasons": ("BEST_VALUE", "MADE_UP")}, "reasons")],
)
def test_what_the_log_has_otherwise_is_told(lived: list[StoredRecord], how: dict[str, object], field: str):
    wrong = [one for one in again(list(changed(lived, how))) if one.difference is not None]
    assert len(wrong) == 1
    assert wrong[0].difference is not None
    assert wrong[0].difference.field.startswith(field)
    assert str(next(iter(how.values())))[:5] in wrong[0].difference.logged or field == "reasons"


def test_a_log_without_its_beginning_is_refused(lived: list[StoredRecord]):
    with pytest.raises(LogTooShort):
        again(lived[3:])
