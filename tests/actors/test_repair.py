"""What a repair finds, says and builds.

Laws:
    it judges as opening does: healthy, torn or damaged, for every flipped bit and every cut;
    what it keeps is good, in place and in order, and as much as can be had; what it does not keep it names;
    a snapshot that covers damaged records saves what they did;
    nothing is deleted, and a repair that is interrupted anywhere can be done again;
    it never ends by an exception, whatever bytes stand there.
"""

import errno
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from xxhash import xxh3_64_intdigest

from actors.log.contract import DamagedLog, Epoch, LogError, Offset, PartitionId, Record, RecordKind, UnknownFormat
from actors.log.examination import Examination, LogVerdict, examine
from actors.log.files import Files
from actors.log.frame import FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES
from actors.log.inspection import inspect
from actors.log.reading import read_only_logs
from actors.log.remedy import KeptSnapshot, Remedy, RemedyKind, choose
from actors.log.repair import finish, rebuild
from actors.log.segments import SegmentLog, SegmentSettings, SegmentStore

ZERO = PartitionId(0)


class UnsyncedFiles(Files):
    """Spares thousands of reopenings the disk's patience."""

    def fdatasync(self, descriptor: int) -> None: ...

    def fsync(self, descriptor: int) -> None: ...


FILES = UnsyncedFiles()


def record(payload: bytes, epoch: int = 1, kind: RecordKind = RecordKind.SIGNALS) -> Record:
    return Record(kind=kind, version=1, epoch=Epoch(epoch), stamp_us=5, payload=payload)


GROUPS = [
    [record(b"owner", kind=RecordKind.EPOCH), record(b"plan", kind=RecordKind.PLAN)],
    [record(b"b")],
    [record(b"c" * 30), record(b"cc"), record(b"ccc", epoch=4)],
    [record(b"d", epoch=4), record(b"dd", epoch=4)],
]
FLAT = [each for group in GROUPS for each in group]


def opened(directory: Path, segment_bytes: int = 200, acknowledged_end: int = 0) -> SegmentLog:
    store = SegmentStore(directory, settings=SegmentSettings(segment_bytes=segment_bytes), files=FILES)
    return store.open(ZERO, acknowledged_end=Offset(acknowledged_end))


def write(directory: Path, segment_bytes: int = 200, *, keeps_end: bool = False) -> list[Path]:
    """Write the groups; return the segment files. The mark of the end is lost, as after a power cut, unless kept."""
    log = opened(directory, segment_bytes)
    for group in GROUPS:
        log.append(group)
    log.close()
    if not keeps_end:
        (directory / "p-0000" / "end").unlink()
    return sorted((directory / "p-0000").glob("*.seg"))


def records(directory: Path) -> tuple[int, list[Record]]:
    """Return the first offset and the records of a log, opened as its owner would."""
    log = opened(directory)
    try:
        return log.first_offset, [stored.record for stored in log.read(log.first_offset)]
    finally:
        log.close()


def flip(path: Path, byte: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    path.write_bytes(content)


def looked_at(directory: Path) -> Examination:
    return examine(ZERO, directory / "p-0000", FILES)


def snapshot(position: int, problem: str = "", *, is_foreign: bool = False) -> KeptSnapshot:
    is_damaged = bool(problem) and not is_foreign
    return KeptSnapshot(
        path=Path(f"snapshot-{position}"), position=Offset(position), problem=problem, is_damaged=is_damaged
    )


def repaired(directory: Path, *snapshots: KeptSnapshot) -> tuple[Remedy, Path]:
    examination = looked_at(directory)
    remedy = choose(examination, snapshots)
    aside = directory.parent / "aside"
    rebuild(examination, remedy, aside, FILES)
    return remedy, aside


def test_a_healthy_log_needs_nothing(tmp_path: Path):
    write(tmp_path / "log")
    examination = looked_at(tmp_path / "log")
    assert (examination.verdict, examination.problems, examination.last_epoch) == (LogVerdict.HEALTHY, (), 4)
    assert [(run.first, run.end, run.kinds) for run in examination.runs] == [
        (0, 8, {"epoch": 1, "plan": 1, "signals": 6})
    ]
    assert choose(examination, []).kind is RemedyKind.NOTHING
    assert choose(examination, [snapshot(8), snapshot(5)]).kind is RemedyKind.NOTHING


def verdict_of_opening(directory: Path) -> tuple[LogVerdict, list[Record]]:
    """Return how opening and reading everything judges a copy of a log, and what it gave."""
    copy = directory.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(directory, copy)
    try:
        log = opened(copy)
    except DamagedLog:
        return LogVerdict.DAMAGED, []
    except UnknownFormat:
        return LogVerdict.NEWER, []
    try:
        found = [stored.record for stored in log.read(log.first_offset)]
    except DamagedLog:
        return LogVerdict.DAMAGED, []
    finally:
        log.close()
    return (LogVerdict.TORN if log.cut_bytes else LogVerdict.HEALTHY), found


def judged(directory: Path) -> LogVerdict:
    """Return the verdict, which must be that of opening, and what tools then read must be what opening gives."""
    examination = looked_at(directory)
    verdict, found = verdict_of_opening(directory)
    assert examination.verdict is verdict, examination.problems
    if verdict is LogVerdict.DAMAGED:
        with pytest.raises(DamagedLog):
            list(read_only_logs(directory))
    else:
        assert examination.prefix.count == len(found)
        assert [stored.record for _, stored in read_only_logs(directory)] == found
    return verdict


@pytest.mark.parametrize("segment_bytes", [64 << 20, 200])
def test_it_judges_every_flipped_bit_as_opening_does(tmp_path: Path, segment_bytes: int):
    seen = set()
    for path in write(tmp_path / "log", segment_bytes):
        whole = path.read_bytes()
        for bit in range(0, len(whole) * 8, 37):
            flip(path, bit // 8, bit % 8)
            seen.add(judged(tmp_path / "log"))
            path.write_bytes(whole)
    assert seen == {LogVerdict.TORN, LogVerdict.DAMAGED}


@pytest.mark.parametrize("keeps_end", [False, True], ids=["end unknown", "end noted"])
@pytest.mark.parametrize("segment_bytes", [64 << 20, 200])
def test_it_judges_every_cut_as_opening_does(tmp_path: Path, segment_bytes: int, keeps_end: bool):
    seen = set()
    for path in write(tmp_path / "log", segment_bytes, keeps_end=keeps_end):
        whole = path.read_bytes()
        for size in range(0, len(whole) + 1, 13):
            path.write_bytes(whole[:size])
            seen.add(judged(tmp_path / "log"))
            path.write_bytes(whole + bytes(size))
            seen.add(judged(tmp_path / "log"))
        path.write_bytes(whole)
    assert seen == {LogVerdict.HEALTHY, LogVerdict.TORN, LogVerdict.DAMAGED}


def test_acknowledged_records_that_a_cut_took_are_named_and_the_rest_is_kept(tmp_path: Path):
    (path,) = write(tmp_path / "log", 64 << 20, keeps_end=True)
    path.write_bytes(path.read_bytes()[: SEGMENT_HEADER_BYTES + 3 * FRAME_HEADER_BYTES + 10])
    assert judged(tmp_path / "log") is LogVerdict.DAMAGED
    remedy, _ = repaired(tmp_path / "log")
    assert (remedy.begins, remedy.end, remedy.lost) == (0, 3, ((3, 8),))
    assert records(tmp_path / "log") == (0, FLAT[:3])


def test_a_torn_group_whose_later_half_reached_the_disk_is_torn_for_every_tool(tmp_path: Path):
    (path,) = write(tmp_path / "log", 64 << 20)
    flip(path, path.stat().st_size - 2 * FRAME_HEADER_BYTES - 3 + 20)
    assert judged(tmp_path / "log") is LogVerdict.TORN


def test_damage_in_the_middle_keeps_the_good_prefix_and_salvages_what_follows(tmp_path: Path):
    paths = write(tmp_path / "log")
    before = {path.name: path.read_bytes() for path in paths}
    flip(paths[1], SEGMENT_HEADER_BYTES + 20)
    damaged = paths[1].read_bytes()
    examination = looked_at(tmp_path / "log")
    assert [(run.first, run.end) for run in examination.runs] == [(0, 2), (3, 8)]
    assert (examination.problems[0].path, examination.problems[0].position) == (paths[1], SEGMENT_HEADER_BYTES)

    remedy, aside = repaired(tmp_path / "log")

    assert (remedy.kind, remedy.begins, remedy.end, remedy.lost) == (RemedyKind.REBUILD, 0, 2, ((2, 8),))
    assert records(tmp_path / "log") == (0, FLAT[:2])
    assert looked_at(tmp_path / "log").verdict is LogVerdict.HEALTHY
    kept = {path.name: path.read_bytes() for path in (aside / "p-0000").glob("*.seg")}
    assert kept == before | {paths[1].name: damaged}
    # A log of its own: epoch and plan that were in force, then what was good behind the damage.
    assert [stored.record for _, stored in read_only_logs(aside / "salvaged" / "log")] == [*FLAT[:2], *FLAT[3:]]
    listed = (aside / "p-0000.records.jsonl").read_text().splitlines()
    assert len(listed) == 5
    assert '"offset": 3' in listed[0]


def test_a_rebuilt_log_goes_on(tmp_path: Path):
    paths = write(tmp_path / "log")
    flip(paths[2], SEGMENT_HEADER_BYTES + 20)
    repaired(tmp_path / "log")
    log = opened(tmp_path / "log")
    assert (log.end_offset, log.last_epoch) == (3, 4), "an epoch that was seen behind the damage is not given again"
    assert log.append([record(b"new", epoch=5)]) == 3
    log.close()
    assert records(tmp_path / "log") == (0, [*FLAT[:3], record(b"new", epoch=5)])


@pytest.mark.parametrize("number", range(4))
def test_a_damaged_segment_header_alone_loses_nothing(tmp_path: Path, number: int):
    paths = write(tmp_path / "log")
    for byte in (0, 20, 40, SEGMENT_HEADER_BYTES - 1):
        copy = tmp_path / str(byte) / "log"
        shutil.copytree(tmp_path / "log", copy)
        flip(copy / "p-0000" / paths[number].name, byte)
        assert looked_at(copy).verdict is LogVerdict.DAMAGED
        remedy, aside = repaired(copy)
        assert (remedy.end, remedy.lost) == (8, ())
        assert records(copy) == (0, FLAT)
        assert not (aside / "salvaged").exists()


def test_a_segment_of_another_history_is_not_taken_for_one_of_this(tmp_path: Path):
    paths = write(tmp_path / "log")
    other = tmp_path / "other"
    log = opened(other)
    for group in [GROUPS[0], [record(b"X")], *GROUPS[2:]]:
        log.append(group)
    log.close()
    shutil.copy(other / "p-0000" / paths[2].name, paths[2])
    remedy, _ = repaired(tmp_path / "log")
    assert (remedy.end, remedy.lost) == (3, ((3, 8),))
    assert records(tmp_path / "log") == (0, FLAT[:3])


@pytest.mark.parametrize(("position", "begins"), [(3, 3), (6, 3), (8, 3)])
def test_where_a_snapshot_holds_what_damaged_records_did_the_log_goes_on_behind_them(
    tmp_path: Path, position: int, begins: int
):
    paths = write(tmp_path / "log")
    flip(paths[1], SEGMENT_HEADER_BYTES + 20)
    remedy, aside = repaired(tmp_path / "log", snapshot(position))
    assert (remedy.begins, remedy.end, remedy.lost) == (begins, 8, ())
    assert records(tmp_path / "log") == (begins, FLAT[begins:])
    assert not (aside / "salvaged").exists()


def test_a_snapshot_before_the_damage_does_not_help(tmp_path: Path):
    paths = write(tmp_path / "log")
    flip(paths[1], SEGMENT_HEADER_BYTES + 20)
    assert repaired(tmp_path / "log", snapshot(2))[0].end == 2


def test_a_log_that_ends_before_a_good_snapshot_begins_anew_at_it(tmp_path: Path):
    paths = write(tmp_path / "log")
    paths[-1].write_bytes(paths[-1].read_bytes()[:-1])
    assert looked_at(tmp_path / "log").verdict is LogVerdict.TORN
    assert choose(looked_at(tmp_path / "log"), []).kind is RemedyKind.NOTHING
    with pytest.raises(DamagedLog, match="8 was acknowledged"):
        opened(tmp_path / "log", acknowledged_end=8)
    remedy, _ = repaired(tmp_path / "log", snapshot(8))
    assert (remedy.kind, remedy.begins, remedy.end, remedy.lost) == (RemedyKind.REBUILD, 8, 8, ())
    log = opened(tmp_path / "log", acknowledged_end=8)
    assert (log.first_offset, log.end_offset, log.last_epoch) == (8, 8, 4)
    log.close()


def test_damaged_snapshots_are_set_aside_and_those_of_another_version_are_not(tmp_path: Path):
    write(tmp_path / "log")
    bad, foreign = snapshot(8, "checksum"), snapshot(5, "manifest.json: of format 2", is_foreign=True)
    assert choose(looked_at(tmp_path / "log"), [bad, foreign]).snapshots_aside == (bad,)


def test_a_log_that_was_dropped_in_part_and_has_no_snapshot_needs_a_backup(tmp_path: Path):
    write(tmp_path / "log")
    log = opened(tmp_path / "log")
    log.drop_before(Offset(3))
    log.close()
    examination = looked_at(tmp_path / "log")
    assert examination.verdict is LogVerdict.HEALTHY
    assert choose(examination, []).kind is RemedyKind.BACKUP
    assert choose(examination, [snapshot(2)]).kind is RemedyKind.REBUILD
    assert choose(examination, [snapshot(3)]).kind is RemedyKind.NOTHING


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: flip(path, 20)], ids=["lost", "flipped"])
def test_a_lost_or_flipped_marker_of_the_beginning_is_put_right_by_a_snapshot(
    tmp_path: Path, spoil: Callable[[Path], None]
):
    write(tmp_path / "log")
    log = opened(tmp_path / "log")
    log.drop_before(Offset(3))
    log.close()
    spoil(tmp_path / "log" / "p-0000" / "first")
    assert judged(tmp_path / "log") is LogVerdict.DAMAGED
    assert choose(looked_at(tmp_path / "log"), []).lost == ((0, 8),)
    remedy, _ = repaired(tmp_path / "log", snapshot(6))
    assert (remedy.begins, remedy.end, remedy.lost) == (3, 8, ())
    assert records(tmp_path / "log") == (3, FLAT[3:])


def test_a_newer_version_is_named_and_nothing_is_proposed(tmp_path: Path):
    paths = write(tmp_path / "log")
    content = bytearray(paths[-1].read_bytes())
    content[8] = 9
    content[56:64] = xxh3_64_intdigest(bytes(content[:56])).to_bytes(8, "little")
    paths[-1].write_bytes(content)
    examination = looked_at(tmp_path / "log")
    assert examination.verdict is LogVerdict.NEWER
    assert choose(examination, []).kind is RemedyKind.NEWER_VERSION
    with pytest.raises(UnknownFormat):
        list(read_only_logs(tmp_path / "log"))


def test_a_disk_that_cannot_be_read_is_named(tmp_path: Path):
    write(tmp_path / "log")

    class Unreadable(UnsyncedFiles):
        def read(self, descriptor: int, length: int, position: int) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    examination = examine(ZERO, tmp_path / "log" / "p-0000", Unreadable())
    assert examination.verdict is LogVerdict.UNREADABLE
    assert "Input/output error" in examination.problems[0].what
    assert choose(examination, []).kind is RemedyKind.OTHER_STORAGE


class StoppingFiles(UnsyncedFiles):
    """Stops the process, as it were, before the n-th call that changes the disk."""

    def __init__(self, stops_at: int) -> None:
        self.calls = 0
        self._stops_at = stops_at

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self._stops_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(self, descriptor: int, content: memoryview, position: int) -> int:
        self._count()
        return super().write(descriptor, content, position)

    def fsync(self, descriptor: int) -> None:
        self._count()

    def rename(self, source: Path, target: Path) -> None:
        self._count()
        super().rename(source, target)


def test_a_repair_that_is_interrupted_anywhere_can_be_done_again(tmp_path: Path):
    verdicts = set()
    for stops_at in range(1, 200):
        log = tmp_path / str(stops_at) / "log"
        paths = write(log)
        flip(paths[1], SEGMENT_HEADER_BYTES + 20)
        examination = looked_at(log)
        try:
            rebuild(examination, choose(examination, []), tmp_path / str(stops_at) / "aside", StoppingFiles(stops_at))
        except OSError:
            again = looked_at(log)
            verdicts.add(again.verdict)
            if again.verdict is not LogVerdict.HEALTHY:
                with pytest.raises(DamagedLog):
                    records(log)
            match choose(again, []):
                case Remedy(kind=RemedyKind.FINISH):
                    finish(again.directory, FILES)
                case Remedy(kind=RemedyKind.REBUILD) as remedy:
                    rebuild(again, remedy, tmp_path / str(stops_at) / "again", FILES)
            assert records(log) == (0, FLAT[:2])
            continue
        break
    else:
        pytest.fail("never ran to its end")
    assert verdicts == {LogVerdict.DAMAGED, LogVerdict.INTERRUPTED, LogVerdict.HEALTHY}
    assert stops_at > 15


def test_it_comes_back_from_any_bytes(tmp_path: Path):
    chance = random.Random(7)
    paths = write(tmp_path / "log")
    whole = {path: path.read_bytes() for path in paths}
    marker = tmp_path / "log" / "p-0000" / "first"
    for turn in range(200):
        for path in chance.sample(paths, chance.randint(1, 3)):
            content = bytearray(whole[path])
            match chance.randrange(5):
                case 0:
                    content = bytearray(chance.randbytes(chance.randint(0, 500)))
                case 1:
                    start = chance.randrange(len(content))
                    content[start : start + chance.randint(1, 80)] = chance.randbytes(chance.randint(0, 80))
                case 2:
                    content = content[: chance.randrange(len(content))]
                case 3:
                    content += whole[chance.choice(paths)]
                case 4:
                    content = bytearray(whole[chance.choice(paths)])
            path.write_bytes(content)
        if chance.random() < 0.2:
            marker.write_bytes(chance.randbytes(chance.choice([0, 31, 32, 33])))
        examination = looked_at(tmp_path / "log")
        assert examination.verdict in (LogVerdict.DAMAGED, LogVerdict.TORN, LogVerdict.HEALTHY)
        list(inspect(tmp_path / "log" / "p-0000"))
        try:
            list(read_only_logs(tmp_path / "log"))
        except LogError:
            assert examination.verdict is LogVerdict.DAMAGED
        snapshots = [snapshot(chance.randint(0, 9)) for _ in range(chance.randrange(3))]
        remedy = choose(examination, snapshots)
        if remedy.kind is RemedyKind.REBUILD:
            aside = tmp_path / f"aside-{turn}"
            rebuild(examination, remedy, aside, FILES)
            first, found = records(tmp_path / "log")
            assert first == remedy.begins
            assert first + len(found) == remedy.end
            assert found == FLAT[remedy.begins : remedy.end]
            shutil.rmtree(tmp_path / "log" / "p-0000")
            shutil.rmtree(aside)
            (tmp_path / "log" / "p-0000").mkdir()
        for mark in (marker, marker.with_name("end")):
            mark.unlink(missing_ok=True)
        for path, content in whole.items():
            path.write_bytes(content)
