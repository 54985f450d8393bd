"""`hearth repair` on data directories that a real shard wrote.

Laws: without --apply nothing changes; exit code 0 means well; what it says names file, byte, loss and what to do;
after --apply Hearth opens the directory, and what was set aside is all still there.
"""

import asyncio
import fcntl
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from actors.log.contract import PartitionId
from actors.log.segments import SegmentStore
from cluster import data_dir as data_directory
from cluster.commands.log import export
from cluster.commands.repair import repair
from cluster.config import load_config
from cluster.errors import CommandFailed, UsageWrong
from cluster.metadata import MetadataStore, sqlite_url
from cluster.playbook_in_force import playbook_in_force
from cluster.remembered_playbook import remember
from tests.actors.harness import MINUTE, running, signal

HOUSES = ("a", "d")
"""One per partition of two, 1 and 0."""


async def _live(data_dir: Path) -> None:
    async with running(data_dir / "log", partitions=(0, 1)) as hearth:
        for number in range(30):
            house = HOUSES[number % 2]
            await hearth.ingest(signal(f"e{number}", house, "pay", hearth.clock.now_us(), fields={"amount": 2.0}))
            hearth.clock.pass_us(MINUTE)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    place = tmp_path / "data"
    with data_directory.hold(load_config(data_dir=place, partition_count=2)):
        asyncio.run(_live(place))
        metadata = MetadataStore(sqlite_url(place / "metadata.sqlite"))
        metadata.leases()
        metadata.close()
    return place


def said(data_dir: Path, capsys: pytest.CaptureFixture[str], *, is_applied: bool = False) -> dict[str, Any]:
    capsys.readouterr()
    code = repair(load_config(data_dir=data_dir), partition=None, is_applied=is_applied, as_json=True)
    answer = json.loads(capsys.readouterr().out)
    assert code == (0 if answer["ok"] else 1)
    return {finding["what"]: finding for finding in answer["findings"]} | {"ok": answer["ok"]}


def contents(data_dir: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in data_dir.rglob("*") if path.is_file() and path.suffix != ".lock"}


def flip(path: Path, byte: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


def segment(data_dir: Path, partition: int = 0) -> Path:
    (path,) = (data_dir / "log" / f"p-{partition:04d}").glob("*.seg")
    return path


def test_a_healthy_directory_is_well_and_stays_as_it_is(data_dir: Path, capsys: pytest.CaptureFixture[str]):
    before = contents(data_dir)
    answer = said(data_dir, capsys)
    assert answer["ok"]
    assert answer["partition 0"]["records"] == answer["partition 0"]["end"] == 17
    assert contents(data_dir) == before


def test_damage_is_told_in_words_and_put_right_with_everything_kept(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = segment(data_dir)
    flip(path, path.stat().st_size // 2)
    before = contents(data_dir)
    dry = said(data_dir, capsys)
    assert contents(data_dir) == before
    finding = dry["partition 0"]
    ((first, end),) = finding["lost"]
    text = "\n".join(finding["explanation"])
    assert f"{path}, byte {finding['problems'][0]['position']}: the record's checksum does not match" in text
    assert f"acknowledged records from offset {first} to before {end} would be set aside" in text
    assert not dry["ok"]
    assert dry["partition 1"]["ok"]

    done = said(data_dir, capsys, is_applied=True)
    assert done["ok"]
    assert said(data_dir, capsys)["ok"]
    log = SegmentStore(data_dir / "log").open(PartitionId(0))
    assert (log.first_offset, log.end_offset) == (0, first)
    log.close()
    aside = Path(done["partition 0"]["aside"])
    assert (aside / path.name).read_bytes() == before[str(path)]
    # One record was damaged; those behind it can be exported.
    assert done["partition 0"]["salvaged"] == end - first - 1
    salvaged = load_config(data_dir=Path(done["partition 0"]["salvaged_log"]))
    export(salvaged, kind="signals", out=tmp_path / "signals.parquet", as_json=True)
    assert json.loads(capsys.readouterr().out)["rows"] == end - first - 1


def test_metadata_and_layout_that_are_damaged_are_made_anew(data_dir: Path, capsys: pytest.CaptureFixture[str]):
    (data_dir / "metadata.sqlite").write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    flip(data_dir / "layout.json", 2)
    before = contents(data_dir)
    dry = said(data_dir, capsys)
    assert not dry["metadata.sqlite"]["ok"]
    assert not dry["layout.json"]["ok"]
    assert contents(data_dir) == before
    assert said(data_dir, capsys, is_applied=True)["ok"]
    assert said(data_dir, capsys)["ok"]
    with data_directory.hold(load_config(data_dir=data_dir, partition_count=2)):
        pass
    kept = {path.name: path.read_bytes() for path in (data_dir / "repaired").rglob("*") if path.is_file()}
    assert kept == {name: before[str(data_dir / name)] for name in ("metadata.sqlite", "layout.json")}


def test_a_damaged_playbook_is_set_aside_and_the_log_tells_which_is_in_force(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
):
    config = load_config(data_dir=data_dir)
    in_log = playbook_in_force(config)
    remember(data_dir, in_log.facts, in_log.plan.canonical_bytes)
    assert "playbook.json" not in said(data_dir, capsys)
    flip(data_dir / "playbook.json", 400)
    damaged = (data_dir / "playbook.json").read_bytes()

    assert not said(data_dir, capsys)["playbook.json"]["ok"]
    assert said(data_dir, capsys, is_applied=True)["ok"]

    assert playbook_in_force(config).plan.version == in_log.plan.version
    assert [path.read_bytes() for path in (data_dir / "repaired").rglob("playbook.json")] == [damaged]


@pytest.mark.parametrize("count", [1, 3, 6])
def test_a_wrong_partition_count_is_told_by_where_the_households_are(
    data_dir: Path, capsys: pytest.CaptureFixture[str], count: int
):
    path = data_dir / "layout.json"
    layout = json.loads(path.read_text())
    path.write_text(json.dumps(layout | {"partition_count": count}))
    assert not said(data_dir, capsys)["layout.json"]["ok"]
    assert said(data_dir, capsys, is_applied=True)["ok"]
    assert json.loads(path.read_text())["partition_count"] == 2


def test_an_epoch_that_no_log_explains_is_damage(data_dir: Path, capsys: pytest.CaptureFixture[str]):
    with sqlite3.connect(data_dir / "metadata.sqlite") as connection:
        connection.execute("INSERT INTO ownership VALUES (0, 'shard-0', ?)", (1 << 60,))
    assert "its log is in 1" in said(data_dir, capsys)["metadata.sqlite"]["explanation"][0]


def test_a_hearth_that_runs_is_left_alone(data_dir: Path, capsys: pytest.CaptureFixture[str]):
    with (data_dir / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CommandFailed, match=r"a Hearth runs on .*stop it first"):
            said(data_dir, capsys)
    log = SegmentStore(data_dir / "log").open(PartitionId(1))
    with pytest.raises(CommandFailed, match="held by process"):
        said(data_dir, capsys)
    log.close()


def test_what_is_no_data_directory_or_no_partition_is_named(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(UsageWrong, match="holds no log of a Hearth"):
        said(tmp_path / "elsewhere", capsys)
    with pytest.raises(UsageWrong, match="holds no partition 7; it holds 0, 1"):
        repair(load_config(data_dir=data_dir), partition=7, is_applied=False, as_json=True)


def test_people_get_plain_lines(data_dir: Path, capsys: pytest.CaptureFixture[str]):
    path = segment(data_dir)
    path.write_bytes(path.read_bytes()[:-1])
    path.with_name("end").unlink()
    assert repair(load_config(data_dir=data_dir), partition=0, is_applied=False, as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "partition 0: torn"
    assert "cut off at offset 16" in lines[2]
    assert lines[-1] == "all is well"
