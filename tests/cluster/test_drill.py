"""Laws of `hearth drill`: it takes the newest whole backup, or makes one; what it restores it proves; it tells what was
written since and how long restoring took; a damaged backup is refused and named; nothing is left behind.
"""

import asyncio
import json
import os
from pathlib import Path

import pytest

from cluster.backup import back_up
from cluster.commands.drill import drill
from cluster.config import HearthConfig
from cluster.errors import CommandFailed
from tests.actors.harness import SettableClock, in_loop, running
from tests.actors.test_recovery import some_life
from tests.cluster.test_backup import born, quiet


def told(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out)


def run(data: Path, backups: Path | None, scratch: Path, *, as_json: bool = True) -> int:
    return drill(HearthConfig(data_dir=data), backups=backups, scratch=scratch, is_started=False, as_json=as_json)


@in_loop
async def lived(folder: Path) -> None:
    """Make a data directory, a backup of it, and some life after that."""
    data = born(folder / "data", partition_count=1)
    async with running(data / "log", SettableClock(), snapshots=data / "snapshots") as hearth:
        await some_life(hearth, 10)
        await hearth.snapshot()
        await some_life(hearth, 10, tag="b")
        await asyncio.to_thread(back_up, data, folder / "backups" / "second", quiet)
        await some_life(hearth, 3, tag="later")


@pytest.fixture
def world(tmp_path: Path) -> Path:
    lived(tmp_path)
    return tmp_path


def test_what_was_written_since_the_backup_is_counted_and_what_is_restored_is_proved(world: Path, capsys):
    assert run(world / "data", world / "backups", world / "scratch") == 0
    seen = told(capsys)

    assert seen["ok"] is True
    assert seen["backup"] == str(world / "backups" / "second")
    assert seen["records_since"] > 0
    assert seen["rpo_s"] >= 0
    assert seen["rto_s"] == seen["restore_s"] > 0
    (partition,) = seen["partitions"]
    assert partition["state_hash"] == partition["replayed_hash"] != ""
    assert list((world / "scratch").iterdir()) == []


def test_without_a_backup_one_is_made_and_lacks_nothing(world: Path, capsys):
    assert run(world / "data", None, world / "scratch") == 0
    assert told(capsys)["records_since"] == 0


def test_the_newest_is_taken_and_what_is_no_whole_backup_passed_over(world: Path, capsys):
    newest = back_up(world / "data", world / "backups" / "a", quiet)
    older = json.loads((world / "backups" / "second" / "backup.json").read_text())
    assert older["created"] <= newest.created
    (world / "backups" / "unfinished").mkdir()
    (world / "backups" / "notes.txt").write_text("not a backup")
    past = "2020-01-01T00:00:00+00:00"
    from dataclasses import replace

    from cluster.backup import _write_manifest, read_backup

    _write_manifest(replace(read_backup(world / "backups" / "second"), created=past))
    assert run(world / "data", world / "backups", world / "scratch") == 0
    assert told(capsys)["backup"] == str(world / "backups" / "a")


def test_a_partition_without_a_snapshot_is_folded_from_its_start(tmp_path: Path, capsys):
    @in_loop
    async def live() -> None:
        async with running(born(tmp_path / "data") / "log", SettableClock()) as hearth:
            await some_life(hearth, 5)

    live()
    assert run(tmp_path / "data", None, tmp_path / "scratch") == 0
    (partition,) = told(capsys)["partitions"]
    assert partition["record_count"] > 0
    assert partition["household_count"] > 0


def test_a_damaged_backup_is_refused_by_name_and_nothing_is_left(world: Path):
    (segment,) = (world / "backups" / "second" / "log").rglob("*.seg")
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    with pytest.raises(CommandFailed, match=f"{segment} is damaged"):
        run(world / "data", world / "backups", world / "scratch")
    assert list((world / "scratch").iterdir()) == []


def test_no_backup_at_all_and_a_scratch_in_use_are_told(world: Path):
    (world / "empty").mkdir()
    with pytest.raises(CommandFailed, match="there is no whole backup"):
        run(world / "data", world / "empty", world / "scratch")
    with pytest.raises(CommandFailed, match="is not empty"):
        run(world / "data", world / "backups", world / "data")


def test_people_are_told_in_words(world: Path, capsys):
    assert run(world / "data", world / "backups", world / "scratch", as_json=False) == 0
    said = capsys.readouterr().out
    assert "every partition is what its log says" in said
    assert "RPO " in said
    assert "RTO " in said
    assert os.path.isdir(world / "backups" / "second"), "the backup itself stays"
