"""Backup, restore and verification of a data directory.

Laws:
    a backup taken beside a running shard restores to a state that holds everything acknowledged before it began;
    it fits together although log and snapshots change while it is copied;
    a damaged or unfinished backup is refused, naming the file, and makes nothing;
    verification finds a state that is not what the log says.
"""

import asyncio
import errno
import json
import shutil
from pathlib import Path

import pytest

from actors.log.contract import Offset, PartitionId, RecordKind
from actors.log.reading import read_partition
from actors.records.signals import decode_signals
from actors.snapshots.store import snapshot_store
from actors.snapshots.verification import verify
from cluster import backup as backups
from cluster.access import remember_rules, remembered_rules
from cluster.backup import BackupUnusable, back_up, read_backup, restore
from cluster.errors import CommandFailed, UsageWrong
from cluster.installation import installation_of
from household.digest import household_digests
from tests.actors.harness import Hearth, SettableClock, corner, in_loop, running, signal
from tests.actors.test_recovery import some_life
from tests.cluster.conftest import Run

ZERO = PartitionId(0)


def quiet(done: int, total: int | None) -> None:
    del done, total


def born(data_dir: Path, partition_count: int = 1) -> Path:
    data_dir.mkdir(exist_ok=True)
    (data_dir / "layout.json").write_text(json.dumps({"layout": 1, "partition_count": partition_count, "born": "now"}))
    return data_dir


@in_loop
async def test_what_was_acknowledged_before_a_backup_is_in_it(tmp_path: Path):
    data, clock = born(tmp_path / "data"), SettableClock()
    async with running(data / "log", clock, snapshots=data / "snapshots") as hearth:
        await some_life(hearth, 10)
        await hearth.snapshot()
        await some_life(hearth, 10, tag="b")
        acknowledged = await hearth.household_digests()
        made = await asyncio.to_thread(back_up, data, tmp_path / "backup", quiet)
        await some_life(hearth, 3, tag="later")
    restore(read_backup(made.path), tmp_path / "restored", quiet)

    again = tmp_path / "restored"
    async with running(again / "log", clock, snapshots=again / "snapshots") as hearth:
        assert hearth.shard._owned[0].owner.events_folded < 30 * 3
        assert await hearth.household_digests() == acknowledged


@in_loop
async def test_it_fits_together_although_everything_changes_meanwhile(tmp_path: Path):
    data, clock = born(tmp_path / "data"), SettableClock()
    acknowledged: set[str] = set()

    async def live(hearth: Hearth) -> None:
        for round_ in range(40):
            pays = [
                signal(f"{round_}-{n}", f"home-{n}", "pay", clock.now_us(), fields={"amount": 1.0}) for n in range(20)
            ]
            await hearth.ingest(*pays)
            acknowledged.update(one.event_id for one in pays)
            if round_ % 4 == 0:
                await hearth.snapshot()

    async with running(data / "log", clock, snapshots=data / "snapshots") as hearth:
        await some_life(hearth, 3)
        await hearth.snapshot()
        living = asyncio.create_task(live(hearth))
        made = []
        while not living.done():
            before = set(acknowledged)
            folder = tmp_path / f"backup-{len(made)}"
            made.append((before, await asyncio.to_thread(back_up, data, folder, quiet)))
        await living
    assert len(made) >= 2
    for number, (before, backup) in enumerate(made):
        again = tmp_path / f"restored-{number}"
        restore(read_backup(backup.path), again, quiet)
        async with running(again / "log", clock, snapshots=again / "snapshots") as hearth:
            assert not hearth.shard._owned[0].owner.faults
            assert events_in(again / "log") >= before
            assert verify(ZERO, snapshot_store(str(again / "snapshots")), reader(again), from_start=True).is_good


def events_in(log: Path) -> set[str]:
    found: set[str] = set()
    for stored in read_partition(log, ZERO, Offset(0)):
        if stored.record.kind is RecordKind.SIGNALS:
            batch = decode_signals(stored.record.payload, corner())
            found.update(batch.ids[row].decode() for row in range(batch.count))
    return found


def reader(data_dir: Path):
    return lambda partition, start: read_partition(data_dir / "log", partition, start)


@pytest.fixture
def made(tmp_path: Path) -> backups.Backup:
    data = born(tmp_path / "data")
    for name in ("log/p-0000/00000000000000000000.seg", "models/m/1/model.ubj"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"some bytes")
    for name in ("log/p-0000/next.tmp", "snapshots/p-0000/1-1.unfinished/ids.arrow", "metadata.sqlite", "lock"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"not for a backup")
    return back_up(data, tmp_path / "backup", quiet)


def test_what_is_restored_goes_on_with_the_access_rules_that_held(tmp_path: Path):
    data = born(tmp_path / "data")
    remember_rules(data, tmp_path / "rules.yaml")
    restore(back_up(data, tmp_path / "backup", quiet), tmp_path / "restored", quiet)
    assert remembered_rules(tmp_path / "restored") == tmp_path / "rules.yaml"


def test_only_what_is_finished_and_cannot_be_derived_is_copied(made: backups.Backup):
    assert set(made.files) == {"layout.json", "log/p-0000/00000000000000000000.seg", "models/m/1/model.ubj"}


@pytest.mark.parametrize("how", ["flipped", "shorter", "missing", "manifest"])
def test_a_damaged_backup_is_refused_and_makes_nothing(tmp_path: Path, made: backups.Backup, how: str):
    file = made.path / "models/m/1/model.ubj"
    match how:
        case "flipped":
            file.write_bytes(b"some bytez")
        case "shorter":
            file.write_bytes(b"some")
        case "missing":
            file.unlink()
        case "manifest":
            manifest = made.path / "backup.json"
            manifest.write_text(manifest.read_text().replace('"partition_count": 1', '"partition_count": 2'))
    with pytest.raises(BackupUnusable, match=r"backup.json|model.ubj"):
        restore(read_backup(made.path), tmp_path / "restored", quiet)
    assert not (tmp_path / "restored").exists()


def test_no_backup_lies_in_what_it_is_of_and_nothing_is_restored_into_one(tmp_path: Path, made: backups.Backup):
    with pytest.raises(UsageWrong, match="is in the data directory, and would be lost with it"):
        back_up(tmp_path / "data", tmp_path / "data" / "models" / "today", quiet)
    assert not (tmp_path / "data" / "models" / "today").exists()
    with pytest.raises(UsageWrong, match="is in the backup, which stays as it is"):
        restore(made, made.path / "again", quiet)


def test_a_full_disk_is_told_with_the_file_and_what_to_do(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    data = born(tmp_path / "data")
    installation_of(data)
    monkeypatch.setattr(backups.os, "fsync", full)
    told = run("backup", tmp_path / "backup", "--data-dir", data)
    assert told.code == 1
    assert f"{tmp_path / 'backup' / 'layout.json'}: No space left on device; make room on its disk" in told.err
    again = run("backup", tmp_path / "backup", "--data-dir", data)
    assert (again.code, "has the beginning of a backup that did not end: remove it first" in again.err) == (1, True)


def test_an_unfinished_backup_is_none(tmp_path: Path, made: backups.Backup):
    (made.path / "backup.json").unlink()
    with pytest.raises(BackupUnusable, match="no whole backup"):
        read_backup(made.path)


def test_nothing_is_overwritten(tmp_path: Path, made: backups.Backup):
    with pytest.raises(CommandFailed, match="not empty"):
        back_up(tmp_path / "data", made.path, quiet)
    with pytest.raises(CommandFailed, match="not empty"):
        restore(made, tmp_path / "data", quiet)
    with pytest.raises(UsageWrong, match="no data directory"):
        back_up(tmp_path / "nowhere", tmp_path / "other", quiet)


@in_loop
async def test_verification_replays_from_the_oldest_snapshot_and_finds_what_the_log_does_not_give(
    tmp_path: Path,
):
    log, clock = tmp_path / "log", SettableClock()
    store = snapshot_store(str(tmp_path / "snapshots"))
    async with running(log, clock, snapshots=tmp_path / "snapshots") as hearth:
        assert "no snapshot" in verify(ZERO, store, reader(tmp_path)).problem
        await some_life(hearth, 8)
        first = await hearth.snapshot()
        await some_life(hearth, 8, tag="b")
        second = await hearth.snapshot()
        seen = verify(ZERO, store, reader(tmp_path))
        assert seen.is_good
        assert (seen.start, seen.end) == (first.position, second.position)
        assert seen.record_count == second.position - first.position
        whole = verify(ZERO, store, reader(tmp_path), from_start=True)
        assert (whole.is_good, whole.start) == (True, 0)

        def corrupt(state) -> None:
            state.cells.flat[state.cells.household_bases[state.households.find(b"home-3")]] += 1.0

        await hearth.in_state(corrupt)
        await some_life(hearth, 1, tag="c")
        await hearth.snapshot()
        wrong = verify(ZERO, store, reader(tmp_path))
        assert not wrong.is_good
        assert wrong.differing == ("home-3",)
        digests = await hearth.in_state(household_digests)
        assert b"home-3" in digests
    shutil.rmtree(tmp_path / "snapshots")
