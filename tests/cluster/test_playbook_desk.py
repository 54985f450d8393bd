"""The playbook of a cluster, changed while its shards are at work: the desk of the coordinator, before real shards.

Laws: a version is in force on every partition or on none; one with a mistake, or made from another than the one in
force, changes nothing and says why; a new journey has a control group, or somebody said why not; whatever the
coordinator dies in is finished by the next one, or never began; a shard that was away follows; a rollback is a version
again that was; what somebody paused stays so under other versions and over restarts; where callers are known it takes a
second person; a season starts and ends by itself; all of it stands in the history and in the audit log.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from actors.log.contract import RecordKind
from cluster import playbook_ledger, playbook_schedule
from cluster.access import now_text
from cluster.backup import back_up, restore
from cluster.data_dir import LAYOUT_NAME
from cluster.launching import OVERRIDES_NAME
from cluster.playbook_desk import PlaybookDesk
from cluster.playbook_history import finished, note_start, read_history, write_history
from cluster.playbook_spread import PlaybookSpread
from cluster.playbook_versions import FilesUnusable, examined
from cluster.remembered_playbook import PlaybookFacts, recall, remember
from cluster.shard_seen import ShardSeen, StartedShard
from hearth.v1 import playbook_pb2
from household.digest import state_digest
from household.plan import Plan, plan_from_bytes
from serving.access.audit import entries_of
from serving.models.in_force import PRIORS_IN_FORCE
from tests.actors.harness import CORNER, MINUTE, MONDAY, Hearth, SettableClock, corner, in_loop, kinds, replayed, signal

CHEAPER = ("price: 4.99", "price: 3.99")
DEARER = ("price: 9.99", "price: 11.99")
RENAMED = ("journeys:\n  low:\n", "journeys:\n  lower:\n")
CONTROLLED = ("    outbound: [push, sms]\n", "    outbound: [push, sms]\n    control: 10%\n")
MISTAKEN = ("family: content, price", "family: contnet, price")
ANNA = {"name": "user:anna", "roles": [], "is_proven": False}
BERT = ANNA | {"name": "user:bert"}
MARKETER = {"name": "token:anna", "roles": ["marketer"], "is_proven": True}
APPROVER = {"name": "token:bert", "roles": ["approver"], "is_proven": True}


class Remote:
    """What Ray makes of a method."""

    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        self.method = method

    def remote(self, *arguments: Any) -> asyncio.Future[Any]:
        return asyncio.ensure_future(self.method(*arguments))


class Handle:
    """A shard as the coordinator has it; `away` partitions cannot be told."""

    def __init__(self, hearth: Hearth) -> None:
        self.hearth = hearth
        self.away: set[int] = set()
        self.cannot = ""
        self.told: list[int] = []
        self.ready_plan, self.use_plan = Remote(self._ready_plan), Remote(self._use_plan)
        self.instances = Remote(hearth.shard.instances)

    async def _ready_plan(self, plan_bytes: bytes) -> str:
        if self.cannot:
            raise ValueError(self.cannot)
        return await self.hearth.shard.ready_plan(plan_bytes)

    async def _use_plan(self, partition: int, plan_bytes: bytes, number: int) -> bool:
        if partition in self.away:
            raise OSError("it is away")
        self.told.append(partition)
        return await self.hearth.shard.use_plan(partition, plan_bytes, number)


class World:
    """Two shards with two partitions each, and a desk before them that may be made anew."""

    def __init__(self, folder: Path, hearths: list[Hearth]) -> None:
        self.data_dir = folder / "data"
        self.hearths = hearths
        self.handles = [Handle(hearth) for hearth in hearths]
        self.desk: PlaybookDesk
        self.spread: PlaybookSpread

    async def begin(self) -> None:
        """Make the coordinator's part anew, as after its death."""
        started = StartedShard(address="", holder="", node="", process_id=1, process_started_s=0.0)
        shards = {}
        for number, (hearth, handle) in enumerate(zip(self.hearths, self.handles, strict=True)):
            seen = ShardSeen(f"shard-{number}", handle, is_spare=False, started=started)
            seen.partitions = {partition: dict(facts) for partition, facts in hearth.shard.report().items()}
            shards[seen.name] = seen
        self.spread = PlaybookSpread(shards, plan_bytes=corner().canonical_bytes, partition_count=4)
        self.desk = PlaybookDesk(self.spread, data_dir=self.data_dir, model=lambda: PRIORS_IN_FORCE)
        await self.desk.load()

    async def push(self, *changes: tuple[str, str], by: dict[str, Any] = ANNA, **more: Any) -> dict[str, Any]:
        request = {"files": files(*changes), "from_version": self.version, "why": "because", **more}
        return await self.desk.ask("Push", request, by)

    @property
    def version(self) -> str:
        return read_history(self.data_dir).version

    @property
    def desk_plan(self) -> Plan:
        """In force, with all that is carried in it."""
        return plan_from_bytes(self.spread.plan_bytes)

    @property
    def live(self) -> list[str]:
        """The version that each partition decides by."""
        return [facts["plan_version"] for hearth in self.hearths for facts in hearth.shard.report().values()]

    async def show(self, **more: Any) -> dict[str, Any]:
        return await self.desk.ask("ShowPlaybook", more, ANNA)


def files(*changes: tuple[str, str]) -> dict[str, str]:
    text = CORNER
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return {"all.yaml": text}


@asynccontextmanager
async def world_of(folder: Path) -> AsyncIterator[World]:
    hearths = [Hearth(folder / f"log-{at}", clock=SettableClock(), partitions=(2 * at, 2 * at + 1)) for at in (0, 1)]
    world = World(folder, hearths)
    world.data_dir.mkdir()
    facts = PlaybookFacts(name="corner", version=corner().version, source="", since=now_text())
    note_start(world.data_dir, corner(), files=files(), source="", by="user:anna", time=now_text())
    remember(world.data_dir, facts, corner().canonical_bytes)
    try:
        for hearth in hearths:
            for partition in hearth.partitions:
                await hearth.assign(partition)
        await world.begin()
        yield world
    finally:
        for hearth in hearths:
            await hearth.shard.drain()


def plan_in_force(data_dir: Path) -> str:
    found = recall(data_dir)
    assert found is not None
    return found[0].version


def everywhere(plan: Plan) -> list[str]:
    return [plan.version] * 4


@in_loop
async def test_a_version_is_in_force_everywhere_by_one_record_each_and_a_rollback_likewise(tmp_path: Path):
    old, new = corner(), corner(CHEAPER)
    async with world_of(tmp_path) as world:
        answer = await world.push(CHEAPER)
        assert (answer["version"], answer["before"], answer["partitions_live"]) == (new.version, old.version, 4)
        assert world.live == everywhere(new)
        assert plan_in_force(world.data_dir) == new.version
        again = await world.push(CHEAPER)
        assert not again["changed"]
        back = await world.desk.ask("Push", {"version": old.version[:6], "why": "it was dear"}, BERT)
        assert back["version"] == old.version
        assert world.live == everywhere(old)
        shown = await world.show(version=new.version)
        assert [one["did"] for one in shown["history"]] == ["rollback", "push", "up"]
        assert shown["files"] == files(CHEAPER)
        noted = [entry["note"] for entry in entries_of(world.data_dir / "audit")]
        assert noted[-1] == f"from {new.version} to {old.version}: it was dear"
        digests = [await hearth.digest(hearth.partitions[0]) for hearth in world.hearths]
    for at, digest in enumerate(digests):
        assert kinds(tmp_path / f"log-{at}", 2 * at).count(RecordKind.PLAN) == 3
        assert state_digest(replayed(tmp_path / f"log-{at}", 2 * at)) == digest


@in_loop
async def test_a_mistake_changes_nothing_and_is_told_with_its_place(tmp_path: Path):
    async with world_of(tmp_path) as world:
        answer = await world.push(MISTAKEN)
        (problem,) = answer["problems"]
        assert (problem["file"], problem["line"] > 0) == ("all.yaml", True)
        assert "contnet" in problem["message"]
        assert world.live == everywhere(corner())
        assert [one.did for one in read_history(world.data_dir).changes] == ["up"]


@in_loop
async def test_a_new_journey_without_control_is_not_launched_until_somebody_said_why(tmp_path: Path):
    async with world_of(tmp_path) as world:
        refused = await world.push(RENAMED)
        assert "journey 'lower' has no control group" in refused["refused"]
        assert world.live == everywhere(corner())
        controlled = await world.push(RENAMED, CONTROLLED)
        assert world.live == everywhere(corner(RENAMED, CONTROLLED)), controlled
        taken_away = await world.push(RENAMED)
        assert "has no control group" in taken_away["refused"]
        said = {"lower": {"reason": "there is nobody else", "who": "user:bert", "time": now_text()}}
        (world.data_dir / OVERRIDES_NAME).write_text(json.dumps(said))
        await world.push(RENAMED)
        assert world.live == everywhere(corner(RENAMED))
        back = await world.desk.ask("Push", {"version": corner().version, "why": "as it was"}, BERT)
        assert back["version"] == corner().version


@in_loop
async def test_an_edit_of_somebody_else_in_between_is_not_lost(tmp_path: Path):
    base, first = corner(), corner(CHEAPER)
    async with world_of(tmp_path) as world:
        await world.push(CHEAPER)
        second = await world.push(DEARER, by=BERT, from_version=base.version)
        assert second["conflict"] == first.version
        assert world.live == everywhere(first)
        merged = await world.push(CHEAPER, DEARER, by=BERT)
        assert merged["version"] == corner(CHEAPER, DEARER).version
        unnamed = await world.push(CHEAPER, from_version="")
        assert "name the version it was made from" in unnamed["refused"]


@in_loop
async def test_what_a_coordinator_dies_in_between_partitions_is_finished_by_the_next(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(playbook_ledger, "LIVE_WITHIN_S", 0.0)
    new = corner(CHEAPER)
    async with world_of(tmp_path) as world:
        world.handles[0].away, world.handles[1].away = {1}, {2, 3}
        answer = await world.push(CHEAPER)
        assert answer["partitions_live"] == 1
        assert world.live.count(new.version) == 1
        for handle in world.handles:
            handle.away = set()
        await world.begin()
        await world.spread.spread()
        assert world.live == everywhere(new)
        assert world.handles[0].told == [0, 1]  # who decides by it is not told again
        assert world.spread.live == 4


@in_loop
async def test_what_it_dies_in_between_its_files_is_finished_by_the_next(tmp_path: Path):
    new = corner(CHEAPER)
    async with world_of(tmp_path) as world:
        before = (world.data_dir / "playbook.json").read_bytes()
        await world.push(CHEAPER)
        (world.data_dir / "playbook.json").write_bytes(before)
        assert finished(world.data_dir).version == new.version
        assert plan_in_force(world.data_dir) == new.version
        await world.begin()
        assert world.spread.version == new.version


@in_loop
async def test_a_shard_that_cannot_go_over_to_it_keeps_all_as_they_are(tmp_path: Path):
    async with world_of(tmp_path) as world:
        world.handles[1].cannot = "not with this software"
        answer = await world.push(CHEAPER)
        assert "shard-1 cannot go over to it: not with this software" in answer["refused"]
        assert world.live == everywhere(corner())
        assert plan_in_force(world.data_dir) == corner().version


@in_loop
async def test_after_a_change_that_was_refused_who_stayed_behind_still_follows(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(playbook_ledger, "LIVE_WITHIN_S", 0.0)
    async with world_of(tmp_path) as world:
        world.handles[1].away = {3}
        await world.push(CHEAPER)
        assert world.live.count(corner(CHEAPER).version) == 3
        # Every shard has laid this one out; then it leaves no trace, so it is not done.
        (world.data_dir / "audit").rename(world.data_dir / "audit-away")
        (world.data_dir / "audit").touch()
        assert "leaves a trace" in (await world.push(DEARER))["refused"]
        world.handles[1].away = set()
        await world.spread.spread()
        assert world.live == everywhere(corner(CHEAPER))


@in_loop
async def test_what_cannot_be_kept_is_refused_with_the_reason(tmp_path: Path):
    async with world_of(tmp_path) as world:
        (world.data_dir / "playbooks" / "versions").rename(world.data_dir / "away")
        (world.data_dir / "playbooks" / "versions").touch()
        assert "cannot be written" in (await world.push(CHEAPER))["refused"]
        assert world.live == everywhere(corner())


@pytest.mark.parametrize("names", [("a.yaml", "a.yaml/b.yaml"), ("n" * 300 + ".yaml",), ("a\0b.yaml",), ("../a.yaml",)])
def test_files_that_cannot_lie_in_a_folder_are_named(names: tuple[str, ...]):
    with pytest.raises(FilesUnusable, match="yaml"):
        examined(dict.fromkeys(names, CORNER))


@in_loop
async def test_what_is_no_time_is_told(tmp_path: Path):
    async with world_of(tmp_path) as world:
        for text in ("tomorrow", "9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+05:00"):
            assert "is no time" in (await world.push(CHEAPER, at=text))["refused"]


@in_loop
async def test_what_is_paused_stays_so_under_another_version_and_over_a_restart(tmp_path: Path):
    async with world_of(tmp_path) as world:
        request = {"journey": "low", "how": "JOURNEY_HALT_PAUSE", "why": "a fault"}
        answer = (await world.desk.ask("Halt", request, ANNA))["change"]
        assert (answer["changed"], answer["version"]) == (True, corner().version)
        hearth = world.hearths[0]
        for event in ("1", "2"):
            await hearth.ingest(signal(event, "h", "check", MONDAY, member="m"))
        assert hearth.counter("moments", 0) + hearth.counter("moments", 1) == 0
        assert (await world.push(CHEAPER))["changed"]
        await world.begin()
        shown = await world.show()
        assert [(one["journey"], one["how"]) for one in shown["halted"]] == [("low", "JOURNEY_HALT_PAUSE")]
        assert len(set(world.live)) == 1
        assert world.live != everywhere(corner(CHEAPER))
        resumed = await world.desk.ask("Halt", request | {"how": "JOURNEY_HALT_RESUME"}, BERT)
        assert resumed["change"]["changed"]
        assert world.live == everywhere(corner(CHEAPER))
        unknown = await world.desk.ask("Halt", request | {"journey": "lwo"}, BERT)
        assert "'lwo' is no journey" in unknown["refused"]


STORY = """journeys:
  story:
    trigger: {on: pay, scope: member}
    goal: {on: opt_out}
    states: {waiting: {pause: {after: 7d}, then: end}}
    changed: pin
    control: 10%
    owner: anna
    budget: 1
    contact_class: offer
    purpose: marketing
  low:
"""
TOLD, SOONER = ("journeys:\n  low:\n", STORY), ("journeys:\n  low:\n", STORY.replace("7d", "3d"))
MAPPED = ("journeys:\n  low:\n", STORY.replace("7d", "2d").replace("pin", "{migrate: {waitng: waiting}}"))


def by_state(shown: dict[str, Any]) -> list[tuple[str, int]]:
    return [
        (state.partition("@")[0] + "@" * ("@" in state), count)
        for one in shown["instances"]
        for state, count in one["by_state"].items()
    ]


@in_loop
async def test_who_is_pinned_is_carried_until_nobody_is_there_any_more(tmp_path: Path):
    async with world_of(tmp_path) as world:
        assert (await world.push(TOLD))["changed"]
        await world.hearths[0].ingest(signal("1", "h", "pay", MONDAY, member="m", fields={"amount": 1.0}))
        before = (world.data_dir / "playbook.json").read_bytes()
        answer = await world.push(SOONER)
        assert (answer["version"], answer["partitions_live"]) == (corner(SOONER).version, 4)
        assert world.live == everywhere(in_force := world.desk_plan)
        assert in_force.version != corner(SOONER).version
        assert by_state(await world.show(instances=True)) == [("waiting@", 1)]
        (world.data_dir / "playbook.json").write_bytes(before)
        assert finished(world.data_dir).version == corner(SOONER).version
        assert plan_in_force(world.data_dir) == in_force.version
        request = {"journey": "low", "how": "JOURNEY_HALT_PAUSE", "why": "a fault"}
        assert (await world.desk.ask("Halt", request, ANNA))["change"]["version"] == corner(SOONER).version
        assert by_state(await world.show(instances=True)) == [("waiting@", 1)]
        await world.desk.ask("Halt", request | {"how": "JOURNEY_HALT_RESUME"}, ANNA)
        refused = await world.push(MAPPED)
        assert ["does not say where instances go" in one["message"] for one in refused["problems"]] == [True, False]
        back = await world.desk.ask("Push", {"version": corner(TOLD).version, "why": "back"}, BERT)
        assert back["version"] == corner(TOLD).version
        assert by_state(await world.show(instances=True)) == [("waiting", 1)]
        await world.push(SOONER)
        world.hearths[0].clock.pass_us(MINUTE)
        await world.hearths[0].ingest(signal("2", "h", "opt_out", MONDAY + MINUTE, member="m"))
        assert by_state(await world.show(instances=True)) == []
        assert (await world.push(SOONER, CHEAPER))["changed"]
        assert world.live == everywhere(corner(SOONER, CHEAPER))


@in_loop
async def test_where_callers_are_known_it_takes_a_second_person(tmp_path: Path):
    async with world_of(tmp_path) as world:
        alone = await world.push(CHEAPER, by=MARKETER)
        assert "needs a second person" in alone["refused"]
        request = {"files": files(CHEAPER), "from_version": world.version, "why": "cheaper"}
        draft = (await world.desk.ask("Submit", request, MARKETER))["draft"]["draft"]
        early = await world.desk.ask("Push", {"draft": draft}, MARKETER)
        assert "is waiting" in early["refused"]
        own = await world.desk.ask("Approve", {"draft": draft}, MARKETER | {"roles": ["marketer", "approver"]})
        assert "second person" in own["refused"]
        other = await world.desk.ask("Approve", {"draft": draft}, MARKETER | {"name": "token:carl"})
        assert "is no approver" in other["refused"]
        decided = await world.desk.ask("Approve", {"draft": draft, "why": "good"}, APPROVER)
        assert decided["draft"]["state"] == "approved"
        assert (await world.desk.ask("Push", {"draft": draft}, MARKETER))["changed"]
        change = (await world.show())["history"][0]
        assert (change["by"], change["approved_by"]) == ("token:anna", "token:bert")
        unapproved = await world.push(DEARER, by=APPROVER, without_approval=True, why="")
        assert "a reason" in unapproved["refused"]
        assert (await world.push(DEARER, by=APPROVER, without_approval=True))["changed"]
        refused = await world.push(CHEAPER, DEARER, by=MARKETER, without_approval=True)
        assert "only an approver" in refused["refused"]
        # A version that was in force before needs nobody.
        back = await world.desk.ask("Push", {"version": corner().version, "why": "back"}, MARKETER)
        assert back["version"] == corner().version


@in_loop
async def test_a_season_starts_and_ends_by_itself_also_after_a_restart(tmp_path: Path, monkeypatch):
    clock = ["2026-06-01T00:00:00.000+00:00"]
    for module in ("cluster.playbook_schedule", "cluster.playbook_desk", "cluster.playbook_ledger"):
        monkeypatch.setattr(f"{module}.now_text", lambda: clock[0])
    async with world_of(tmp_path) as world:
        answer = await world.push(CHEAPER, at="2026-06-10T00:00:00Z", until="2026-06-20T00:00:00Z")
        assert (answer["scheduled"], world.live) == ("s1", everywhere(corner()))
        clock[0] = "2026-06-12T00:00:00.000+00:00"
        await world.begin()
        assert world.desk._ledger is not None
        # A shard that does not answer at that moment is no reason to go without the season.
        world.handles[0].cannot = "not just now"
        await playbook_schedule.start_due(world.desk._ledger)
        assert world.live == everywhere(corner())
        world.handles[0].cannot = ""
        await playbook_schedule.start_due(world.desk._ledger)
        assert world.live == everywhere(corner(CHEAPER))
        clock[0] = "2026-06-20T00:00:01.000+00:00"
        await playbook_schedule.start_due(world.desk._ledger)
        assert world.live == everywhere(corner())
        assert not (await world.show())["scheduled"]
        # One that would undo an edit of somebody else does not start, and says so.
        await world.push(CHEAPER, at="2026-07-01T00:00:00Z")
        await world.push(DEARER)
        clock[0] = "2026-07-02T00:00:00.000+00:00"
        await playbook_schedule.start_due(world.desk._ledger)
        assert world.live == everywhere(corner(DEARER))
        (held,) = (await world.show())["scheduled"]
        assert "is in force" in held["trouble"]
        assert await world.desk.ask("Approve", {"draft": held["scheduled"], "reject": True}, ANNA) == {}
        assert not (await world.show())["scheduled"]
        past = await world.push(CHEAPER, at="2026-06-30T00:00:00Z")
        assert "has passed" in past["refused"]


@in_loop
async def test_answers_are_messages_of_the_protocol(tmp_path: Path):
    from google.protobuf import json_format

    async with world_of(tmp_path) as world:
        await world.push(CHEAPER, at="2126-07-01T00:00:00Z")
        request = {"files": files(CHEAPER), "from_version": world.version}
        draft = await world.desk.ask("Submit", request, ANNA)
        json_format.ParseDict(draft, playbook_pb2.SubmitResponse())
        halt = await world.desk.ask("Halt", {"journey": "low", "how": "JOURNEY_HALT_STOP"}, ANNA)
        json_format.ParseDict(halt, playbook_pb2.HaltResponse())
        answer = await world.push(DEARER)
        json_format.ParseDict(answer, playbook_pb2.PushResponse())
        json_format.ParseDict(await world.push(MISTAKEN), playbook_pb2.PushResponse())
        shown = await world.show(version=world.version, instances=True)
        message = json_format.ParseDict(shown, playbook_pb2.ShowPlaybookResponse())
        assert message.halted[0].how == playbook_pb2.JOURNEY_HALT_STOP
        unknown = await world.desk.ask("Push", {"version": "abc"}, ANNA)
        assert "no version 'abc'" in unknown["refused"]


@in_loop
async def test_a_backup_carries_versions_and_history(tmp_path: Path):
    async with world_of(tmp_path) as world:
        await world.push(CHEAPER)
        (world.data_dir / LAYOUT_NAME).write_text('{"layout": 1, "partition_count": 4}')
        backup = back_up(world.data_dir, tmp_path / "backup", lambda *_: None)
        restore(backup, tmp_path / "restored", lambda *_: None)
        assert read_history(tmp_path / "restored") == read_history(world.data_dir)
        assert finished(tmp_path / "restored").was_in_force(corner().version)


def test_a_damaged_history_is_told_and_not_guessed_around(tmp_path: Path):
    note_start(tmp_path, corner(), files={}, source="", by="user:anna", time=now_text())
    write_history(tmp_path, read_history(tmp_path))
    file = tmp_path / "playbooks" / "history.json"
    file.write_text(file.read_text().replace("anna", "emma"))
    with pytest.raises(Exception, match="is not as it was written"):
        read_history(tmp_path)
