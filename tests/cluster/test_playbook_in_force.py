"""The playbook in force on a data directory.

Laws:
    a start without --playbook goes on with what was in force, whatever became of its files;
    another one comes into force only when it is asked for, and that is said;
    a directory that remembers none has the newest of its log; the shipped one is for a log that has none;
    backup and restore carry it, status and verify name it, and damage to it is told and not guessed around.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import playbooks.compiler
from actors.log.contract import PartitionId
from actors.log.segments import SegmentStore
from cluster.commands import up
from cluster.config import HearthConfig
from cluster.playbook_in_force import plan_bytes_in_force, playbook_in_force
from cluster.supervisor import Hear
from household.plan import Plan, plan_from_bytes
from tests.actors.harness import CORNER, HOUR, MONDAY, SettableClock, corner, in_loop, running
from tests.actors.test_recovery import some_life
from tests.cluster.conftest import Outcome, Run
from tests.cluster.test_backup import born
from written.problems import Problems

CHEAPER = ("price: 9.99", "price: 8.99")


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """Instead of runs: a note of the plan that each would have begun with, as a run finds it."""
    seen: list[Plan] = []

    def supervise(config: HearthConfig, hear: Hear, *, check: Callable[[], None]) -> int:
        check()
        again = HearthConfig(**json.loads(json.dumps(config.model_dump(mode="json"))))
        seen.append(playbook_in_force(again).plan)
        hear({"ready": True, "address": f"{config.host}:{config.port}"})
        return 0

    monkeypatch.setattr(up, "supervise", supervise)
    return seen


@pytest.fixture
def start(run: Run, plans: list[Plan]) -> Callable[..., Outcome]:
    """Run `hearth up` with these arguments and return what it said; nothing is left running."""

    def start_up(*arguments: object) -> Outcome:
        return run("up", "--port", "0", "--json", *arguments)

    return start_up


def shop(folder: Path, *changes: tuple[str, str]) -> Path:
    text = CORNER
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    folder.mkdir(exist_ok=True)
    (folder / "all.yaml").write_text(text)
    return folder


def test_a_fresh_directory_has_the_shipped_one_and_says_so_everywhere(start, run: Run, plans: list[Plan]):
    began = start()

    assert began.code == 0, began.err
    assert plans[0].name == "telco"
    assert f"playbook telco, version {plans[0].version}, from " in began.err
    told = run("status", "--json").json["playbook"]
    assert (told["name"], told["version"]) == ("telco", plans[0].version)
    assert told["source"].endswith("telco")
    assert began.json["playbook"] == told
    assert f"playbook telco, version {plans[0].version}" in run("status").out


def test_what_was_asked_for_stays_in_force_though_its_files_change_and_go(
    start, run: Run, plans: list[Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = shop(tmp_path / "shop")
    start("--playbook", "shop")
    shop(path, CHEAPER)
    edited = start()
    shutil.rmtree(path)
    gone = start()

    assert [plan.version for plan in plans] == [corner().version] * 3
    assert f"what lies there is version {corner(CHEAPER).version} by now; `--playbook {path}` puts it" in edited.err
    assert f"{path} is no longer there" in gone.err
    assert gone.json["playbook"]["source"] == str(path)
    # A variable asks as well as the option does.
    monkeypatch.setenv("HEARTH_PLAYBOOK", str(shop(tmp_path / "other", CHEAPER)))
    start()
    assert plans[-1].version == corner(CHEAPER).version


def test_a_playbook_that_no_longer_compiles_goes_on_but_is_not_taken_when_asked_for(
    start, plans: list[Plan], tmp_path: Path
):
    path = shop(tmp_path / "shop")
    start("--playbook", "shop")
    (path / "all.yaml").write_text("playbook: {}\n")

    assert start().code == 0
    assert start("--playbook", "shop").code == 2
    assert [plan.version for plan in plans] == [corner().version] * 2


STORY = """journeys:
  story:
    trigger: {on: pay, scope: member}
    goal: {on: opt_out}
    states: {waiting: {pause: {after: 7d}, then: end}}
    control: 10%
    owner: anna
    budget: 1
    contact_class: offer
    purpose: marketing
"""
PATIENT = STORY.replace("waiting", "patient")


def test_one_that_does_not_know_what_becomes_of_who_is_inside_is_not_taken(start, plans: list[Plan], tmp_path: Path):
    why = ("--without-control", "a shop of one day, to see it run")
    start("--playbook", shop(tmp_path / "shop", ("journeys:\n", STORY)), *why)
    half = ("journeys:\n", PATIENT + "    changed: {migrate: {waitng: patient}}\n")
    refused = start("--playbook", shop(tmp_path / "shop", half))
    whole = ("journeys:\n", PATIENT + "    changed: {migrate: {waiting: patient}}\n")

    assert refused.code == 2
    assert "does not say where instances go that are in 'waiting'" in refused.err
    assert start("--playbook", shop(tmp_path / "shop", whole)).code == 0
    pinned = ("journeys:\n", PATIENT.replace("7d", "5d") + "    changed: pin\n")
    assert start("--playbook", shop(tmp_path / "shop", pinned)).code == 0
    assert "by now; `--playbook" not in start().err
    assert [len(plan.journeys[0].flow.earlier) for plan in plans if plan.journeys[0].flow] == [0, 0, 1, 1]


def test_another_one_is_put_into_force_when_asked_for_and_both_are_named(start, run: Run, plans: list[Plan], tmp_path):
    start()
    changed = start("--playbook", shop(tmp_path / "shop"), "--without-control", "a shop of one day, to see it run")
    start()

    assert [plan.name for plan in plans] == ["telco", "corner", "corner"]
    assert f"playbook corner, version {corner().version}, from {tmp_path / 'shop'} is put into force" in changed.err
    assert f"until now it was playbook telco, version {plans[0].version}" in changed.err
    assert run("status", "--json").json["playbook"]["name"] == "corner"


def test_a_new_journey_without_a_control_group_is_not_launched_until_somebody_says_why(
    start, run: Run, plans: list[Plan], tmp_path: Path
):
    measured = ("offers: topup\n", "offers: topup\n    control: 30%\n")
    again, path = ("  contact: {contact", "  once_more: {contact"), tmp_path / "shop"
    start("--playbook", shop(path, measured))
    first = len(plans)
    # What goes without already goes on; what had a control group is as a new one.
    assert start("--playbook", shop(path, measured, CHEAPER)).code == 0
    new, dropped = start("--playbook", shop(path, measured, again)), start("--playbook", shop(path))
    hasty = start("--playbook", path, "--without-control", "later")
    said = start("--playbook", path, "--without-control", "A legal notice that goes to everybody.")
    after = start("--playbook", path)

    assert [one.code for one in (new, dropped, hasty, said, after)] == [2, 2, 2, 0, 0]
    assert "journey 'once_more' has no control group, so nobody will know what it brought" in new.err
    assert "write 'control: 10%' under it, or let an approver say why not: hearth up ... --without-control" in new.err
    assert "journey 'low' has no control group" in dropped.err
    assert "needs a reason that others will understand" in hasty.err
    assert len(plans) == first + 3
    audit = run("audit", "list").out
    assert "low may go without a control group: A legal notice that goes to everybody." in audit


def test_what_its_check_warns_of_is_mentioned_when_it_is_put_into_force(start, tmp_path: Path):
    path = shop(tmp_path / "shop")
    assert f"warning: its check has 2 warnings; `hearth playbook check {path}` shows" in start("--playbook", path).err
    assert "warnings" not in start().err


async def lived(data: Path, *plans: Plan, snapshot: bool = False) -> None:
    """Make a data directory as older versions left it: it remembers nothing."""
    born(data, partition_count=2)
    for number, plan in enumerate(plans):
        named = {"plan": plan, "partitions": (0, 1)}
        clock = SettableClock(MONDAY + number * HOUR)
        async with running(data / "log", clock, snapshots=data / "snapshots", **named) as hearth:
            await some_life(hearth, 5, tag=f"life{number}")
            if snapshot:
                await hearth.snapshot()


@pytest.mark.parametrize("snapshot", [False, True])
@in_loop
async def test_an_older_directory_has_the_newest_of_its_log(tmp_path: Path, snapshot: bool):
    await lived(tmp_path / "data", corner(), corner(CHEAPER), snapshot=snapshot)

    found = playbook_in_force(HearthConfig(data_dir=tmp_path / "data"))

    assert (found.plan.version, found.facts.source) == (corner(CHEAPER).version, "the log")


@in_loop
async def test_a_partition_that_stayed_behind_or_is_damaged_does_not_bring_the_old_one_back(tmp_path: Path):
    data = tmp_path / "data"
    await lived(data, corner())
    clock = SettableClock(MONDAY + HOUR)
    async with running(data / "log", clock, plan=corner(CHEAPER), partitions=(0,)):
        pass

    assert playbook_in_force(HearthConfig(data_dir=data)).plan.version == corner(CHEAPER).version
    (segment, *_) = sorted((data / "log" / "p-0001").glob("*.seg"))
    content = bytearray(segment.read_bytes())
    content[len(content) // 3] ^= 0xFF
    segment.write_bytes(content)
    assert playbook_in_force(HearthConfig(data_dir=data)).plan.version == corner(CHEAPER).version


def test_an_older_directory_starts_with_the_playbook_of_its_households(start, plans: list[Plan], tmp_path: Path):
    in_loop(lived)(tmp_path / "data", corner())

    began = start("--data-dir", "data", "--partitions", "2")
    start("--data-dir", "data", "--partitions", "2")

    assert [plan.version for plan in plans] == [corner().version] * 2
    assert f"playbook corner, version {corner().version}, from the log is in force as before" in began.err


def test_a_log_on_kafka_tells_a_new_directory(start, plans: list[Plan], tmp_path: Path, monkeypatch):
    in_loop(lived)(tmp_path / "elsewhere", corner())

    class Store(SegmentStore):
        def partitions(self) -> tuple[PartitionId, ...]:
            return PartitionId(0), PartitionId(1)

    monkeypatch.setattr("actors.log.kafka.kafka_store", lambda url: Store(tmp_path / "elsewhere" / "log"))
    began = start("--data-dir", "fresh", "--partitions", "2", "--log", "kafka://127.0.0.1:1/town?partitions=2")

    assert began.code == 0, began.err
    assert [plan.version for plan in plans] == [corner().version]


def test_a_log_on_kafka_that_cannot_be_asked_is_no_reason_to_take_the_shipped_one(
    start, plans: list[Plan], monkeypatch: pytest.MonkeyPatch
):
    def unreachable(url: str) -> object:
        raise OSError("no broker answers")

    monkeypatch.setattr("actors.log.kafka.kafka_store", unreachable)
    ended = start("--data-dir", "fresh", "--log", "kafka://127.0.0.1:1/town?partitions=8")

    assert (ended.code, plans) == (1, [])
    assert "does not say which playbook is in force, and the log cannot be read (no broker answers)" in ended.err
    assert "--playbook" in ended.err


def test_backup_and_restore_carry_it(start, run: Run, plans: list[Plan], tmp_path: Path):
    start("--playbook", shop(tmp_path / "shop"))
    shutil.rmtree(tmp_path / "shop")
    made = run("backup", "kept", "--json")
    again = run("restore", "kept", "--data-dir", "again", "--json")
    start("--data-dir", "again")

    assert made.json["playbook"]["version"] == again.json["playbook"]["version"] == corner().version
    assert plans[-1].version == corner().version
    assert f"playbook corner, version {corner().version}" in run("restore", "kept", "--data-dir", "third").out


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"price_minor', '"prize_minor').replace("999", "111"),
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"name": "corner"', '"name": "telco"'),
        lambda text: text.replace('"format": 1', '"format": 2'),
    ],
)
def test_damage_to_it_is_told_and_the_shipped_one_does_not_step_in(start, run: Run, plans, tmp_path: Path, damage):
    path = shop(tmp_path / "shop")
    start("--playbook", "shop")
    file = tmp_path / "hearth-data" / "playbook.json"
    file.write_text(damage(file.read_text()))

    refused = start()
    assert (refused.code, len(plans)) == (1, 1)
    assert str(file) in refused.err
    assert "--playbook" in refused.err
    assert "playbook.json" in run("status", "--json").json["playbook"]["problem"]
    assert run("verify", "--json").json["ok"] is False
    assert start("--playbook", path).code == 0
    assert run("status", "--json").json["playbook"]["version"] == corner().version


def test_training_uses_the_one_in_force(start, run: Run, tmp_path: Path):
    start("--playbook", shop(tmp_path / "shop"))

    assert playbook_in_force(HearthConfig(data_dir=tmp_path / "hearth-data")).plan.version == corner().version
    asked = HearthConfig(data_dir=tmp_path / "hearth-data", playbook=shop(tmp_path / "other", CHEAPER))
    assert playbook_in_force(asked).plan.version == corner(CHEAPER).version


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was compiled, each time."""
    seen: list[Path] = []
    compiler = playbooks.compiler._compile

    def counting(path: Path, problems: Problems) -> object:
        seen.append(path)
        return compiler(path, problems)

    monkeypatch.setattr(playbooks.compiler, "_compile", counting)
    return seen


def test_a_start_compiles_a_playbook_once_and_shards_get_the_very_bytes(
    start, plans: list[Plan], compiled: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = shop(tmp_path / "shop")
    start("--data-dir", "asked", "--playbook", source)
    assert compiled == [source]
    start("--data-dir", "shipped")
    assert len(compiled) == 2
    # Once: to tell whoever has edited it meanwhile.
    start("--data-dir", "asked")
    assert len(compiled) == 3

    def unread(canonical: bytes) -> Plan:
        raise AssertionError("a run reads no plan to hand it on")

    monkeypatch.setattr("cluster.playbook_in_force.plan_from_bytes", unread)
    handed_on = plan_bytes_in_force(HearthConfig(data_dir=tmp_path / "asked"))
    assert (handed_on, len(compiled)) == (corner().canonical_bytes, 3)


@in_loop
async def test_a_shard_reads_the_plan_once_for_all_its_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[bytes] = []

    def counting(canonical: bytes) -> Plan:
        read.append(canonical)
        return plan_from_bytes(canonical)

    monkeypatch.setattr("actors.shard.plans_given.plan_from_bytes", counting)
    async with running(tmp_path / "log", SettableClock(MONDAY), plan=corner(), partitions=(0, 1, 2)):
        pass

    assert read == [corner().canonical_bytes]
