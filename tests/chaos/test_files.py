"""Stored files that were cut or flipped, and disks that refuse: real files, written by a real shard.

Laws:
    a cut or flipped file is named by whoever opens it, or changes nothing; only where a power cut took the noted end
    too, the end of the last segment may read as torn, and no further back than a snapshot proves;
    no answer is wrong, no acknowledged record goes missing in silence, and the other partitions serve;
    no tool that looks ends by an exception, and what `hearth repair` cannot keep it names;
    whatever write, sync, rename, open or read is refused, nothing is acknowledged that is not durable, and what was
    acknowledged is there, once, when the disk is well again; nobody edits a file by hand.
Judges: the records and state hashes of an undamaged copy, and what the clients had acknowledged.
Negative controls: a reader that skips checksums; a disk whose failed sync is passed over.
"""

import asyncio
import errno
import functools
import json
import os
import random
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest

import actors.log.frame
from actors.exports.log_export import export_table
from actors.log.contract import DamagedLog, LogError, Offset, PartitionId, RecordKind, StoredRecord
from actors.log.examination import LogVerdict, examine
from actors.log.files import Files
from actors.log.inspection import inspect
from actors.log.reading import read_only_logs
from actors.log.remedy import RemedyKind, choose
from actors.log.segments import SegmentSettings, SegmentStore
from actors.partition.recovery import NotRecoverable, open_partition
from actors.records.kinds import EXPORTS
from actors.records.replay import Replay
from actors.snapshots import files as snapshot_files
from actors.snapshots.facts import ReplayFacts
from actors.snapshots.store import snapshot_store
from cluster import data_dir as data_directory
from cluster.commands import repair as repair_command
from cluster.config import load_config
from cluster.metadata import MetadataStore, sqlite_url
from cluster.repairing.partitions import kept_snapshots
from household.digest import household_digests, state_digest
from household.freeze import Freeze
from tests.actors.harness import (
    MINUTE,
    CallFailed,
    DiskFiles,
    Hearth,
    SettableClock,
    outcome,
    reason_of,
    running,
    signal,
)

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

PARTITIONS = (0, 1, 2)
ROUNDS = 60
SEGMENT_BYTES = 24 << 10
TAIL_BYTES = 64 << 10
CUTS_PER_FILE = 40
FLIP_COUNT = 2_000
FLIPS_PER_SMALL_FILE = 40
SMALL_BYTES = 4_096
LOOKED_AT_EVERY = 20
"""Every so many damages all tools look, the state is folded and hashed, and a copy is repaired."""


# --- the undamaged directory -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Town:
    """A data directory as a shard left it, and what is right about it."""

    data_dir: Path
    records: dict[int, list[StoredRecord]] = field(default_factory=dict)
    digests: dict[tuple[int, int], dict[bytes, str]] = field(default_factory=dict)
    """By partition and position: hash of each household."""
    ends: dict[int, list[int]] = field(default_factory=dict)
    """By partition: where each group ends."""
    acknowledged: dict[int, set[str]] = field(default_factory=dict)
    """Event ids, as the client had them answered."""

    def folder(self, partition: int) -> Path:
        return self.data_dir / "log" / f"p-{partition:04d}"


async def _live(town: Town) -> None:
    """Let a shard write the log, and note what it acknowledged."""
    settings = SegmentSettings(segment_bytes=SEGMENT_BYTES)
    async with running(town.data_dir / "log", partitions=PARTITIONS, segments=settings) as hearth:
        for number in range(ROUNDS):
            household = f"house-{number % 12}"
            sent = [
                signal(f"e{number}-{index}", f"house-{(number + index) % 12}", "pay", hearth.clock.now_us() - index,
                       fields={"amount": 5.0 + index})
                for index in range(10)
            ]  # fmt: skip
            answer = await hearth.ingest(*sent)
            assert answer.counts.applied == len(sent)
            for one in sent:
                town.acknowledged.setdefault(hearth.partition_of(one.household), set()).add(one.event_id)
            check = signal(f"c{number}", household, "check", hearth.clock.now_us())
            await hearth.decide(household, check)
            town.acknowledged[hearth.partition_of(household)].add(check.event_id)
            hearth.clock.pass_us(MINUTE)


def _note_what_is_right(town: Town) -> None:
    """Read the undamaged logs; snapshot partition 0 in the middle and near its end, and partition 1 at its very end."""
    store = snapshot_store(str(town.data_dir / "snapshots"))
    for partition in PARTITIONS:
        frames = [entry.frame for entry in inspect(town.folder(partition)) if entry.frame]
        town.records[partition] = [frame.stored() for frame in frames]
        ends = [frame.offset + 1 for frame in frames if frame.is_last_of_group]
        town.ends[partition] = ends
        snapshots = {0: {ends[len(ends) // 2], ends[-4]}, 1: {ends[-1]}}.get(partition, set())
        replay = Replay()
        for stored in town.records[partition]:
            replay.fold(stored)
            if (position := stored.offset + 1) in {*snapshots, *ends[-2:]}:
                town.digests[partition, position] = household_digests(replay.now)
            if position in snapshots:
                freeze, facts = Freeze(replay.now), ReplayFacts.of(replay)
                while not freeze.step():
                    pass
                frozen = freeze.end()
                assert frozen is not None
                store.write(frozen, partition=PartitionId(partition), position=Offset(position), replay=facts)
        assert event_ids(town.records[partition]) == town.acknowledged[partition]


def event_ids(records: list[StoredRecord]) -> set[str]:
    """Return the ids of all events in a log's records."""
    found: set[str] = set()
    for stored in records:
        if stored.record.kind is RecordKind.SIGNALS:
            with pa.ipc.open_stream(pa.py_buffer(stored.record.payload)) as stream:
                column = stream.read_next_batch().column("event_id")
            found.update(each.decode() if isinstance(each, bytes) else each for each in column.to_pylist())
    return found


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Town:
    town = Town(data_dir=tmp_path_factory.mktemp("town") / "data")
    config = load_config(data_dir=town.data_dir, partition_count=len(PARTITIONS))
    with data_directory.hold(config):
        pass
    asyncio.run(_live(town))
    _note_what_is_right(town)
    metadata = MetadataStore(sqlite_url(town.data_dir / "metadata.sqlite"))
    metadata.leases()
    metadata.close()
    return town


_ENDS_ARE_LOST = False


# --- the judge -------------------------------------------------------------------------------------------------------


def files_of(town: Town) -> list[Path]:
    return sorted(path for path in town.data_dir.rglob("*") if path.is_file())


def partition_of_file(path: Path) -> int | None:
    return next((int(part[2:6]) for part in path.parts if part.startswith("p-")), None)


@contextmanager
def damaged(path: Path, content: bytes) -> Iterator[None]:
    """Put other bytes in a file's place; afterwards its directory is as it was."""
    whole = path.read_bytes()
    _overwrite(path, content)
    try:
        yield
    finally:
        _overwrite(path, whole)


def _overwrite(path: Path, content: bytes) -> None:
    # In place: emptying a file first makes ext4 flush it, thousands of times here.
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


def judge(town: Town, partition: int, path: Path, byte: int, *, is_folded: bool, is_cut: bool = False) -> str:
    """Open a partition as its owner would; return "same", "torn", "shorter" or "refused", or fail."""
    store = SegmentStore(town.data_dir / "log", files=DiskFiles())
    right = town.records[partition]
    is_end_noted = (town.folder(partition) / "end").exists()
    try:
        recovered = open_partition(store, snapshot_store(str(town.data_dir / "snapshots")), PartitionId(partition))
        try:
            tail = list(recovered.log.read(recovered.position))
        finally:
            recovered.log.close()
    except LogError as refused:
        _check_named(refused, path, byte)
        return "refused"
    position = recovered.position
    if position:
        assert recovered.replay.state is not None
        assert household_digests(recovered.replay.state) == town.digests[partition, position], "a wrong snapshot"
    is_same = tail == right[position:]
    is_last_segment = path == sorted(town.folder(partition).glob("*.seg"))[-1]
    end = position + len(tail)
    assert tail == right[position:end], f"{path.name}: wrong records"
    if not is_same:
        assert is_last_segment, f"{path.name}: records are missing"
        assert not is_end_noted, f"{path.name}: the noted end did not prove what is missing"
        assert end in town.ends[partition], f"{path.name}: half a group"
    if is_folded and (partition, end) in town.digests:
        for stored in tail:
            recovered.replay.fold(stored)
        assert household_digests(recovered.replay.now) == town.digests[partition, end]
    if is_same:
        return "same"
    return "torn" if end == town.ends[partition][-2] and not is_cut else "shorter"


def _check_named(refused: LogError, path: Path, byte: int) -> None:
    """Check that a refusal names the damaged file, and the byte or one before it, where its record begins."""
    if path.suffix == ".seg":
        assert isinstance(refused, DamagedLog), refused
        assert (refused.path, refused.position <= byte) == (str(path), True), f"{refused}; it was byte {byte} of {path}"
    else:
        assert isinstance(refused, NotRecoverable), refused


def look(town: Town, capsys: pytest.CaptureFixture[str], where: Path | None = None) -> dict[str, object]:
    """Let every tool look; none may end by an exception. Return what repair says."""
    place = where or town.data_dir
    for kind in EXPORTS:
        try:
            for _ in export_table(functools.partial(read_only_logs, place / "log"), kind):
                pass
        except LogError as told:
            refused = str(told)
        else:
            continue
        assert str(place) in refused
    for partition in PARTITIONS:
        list(inspect(place / "log" / f"p-{partition:04d}"))
    return repaired(place, capsys, is_applied=False)


def repaired(place: Path, capsys: pytest.CaptureFixture[str], *, is_applied: bool) -> dict[str, object]:
    config = load_config(data_dir=place)
    capsys.readouterr()
    code = repair_command.repair(config, partition=None, is_applied=is_applied, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert code == (0 if said["ok"] else 1)
    assert isinstance(said, dict)
    return said


def check_repair(town: Town, scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Repair a copy: it must be well afterwards, with all acknowledged records but those that repair named."""
    copy = scratch / "copy"
    shutil.copytree(town.data_dir, copy)
    said = repaired(copy, capsys, is_applied=True)
    findings = {finding["partition"]: finding for finding in said["findings"] if "partition" in finding}  # type: ignore[attr-defined]
    assert said["ok"], said
    assert repaired(copy, capsys, is_applied=False)["ok"]
    store, snapshots = SegmentStore(copy / "log", files=DiskFiles()), snapshot_store(str(copy / "snapshots"))
    for partition in PARTITIONS:
        recovered = open_partition(store, snapshots, PartitionId(partition))
        tail = list(recovered.log.read(recovered.position))
        recovered.log.close()
        right, kept_end = town.records[partition], recovered.position + len(tail)
        assert tail == right[recovered.position : kept_end]
        lost = findings[partition]["lost"]
        if not lost and not (town.folder(partition) / "end").exists():
            assert kept_end in town.ends[partition], "half a group"
        else:
            assert kept_end == (lost[0][0] if lost else len(right)), f"ends at {kept_end}, repair said {lost}"
    shutil.rmtree(copy)


# --- (a) cut and flipped ---------------------------------------------------------------------------------------------


def cuts(town: Town) -> Iterator[tuple[Path, int]]:
    """Return file and length of every cut of a log file."""
    for path in files_of(town):
        size = path.stat().st_size
        if path.suffix == ".seg":
            first = max(0, size - TAIL_BYTES)
            step = max(1, (size - first) // CUTS_PER_FILE)
            yield from ((path, at) for at in {*range(first, size, step), *range(max(first, size - 6), size)})


def flips(town: Town, chance: random.Random) -> list[tuple[Path, int]]:
    """Return file and bit of FLIP_COUNT flips: each small file some, the others by size."""
    files = [path for path in files_of(town) if path.stat().st_size]
    chosen = [
        (path, chance.randrange(path.stat().st_size * 8))
        for path in files
        if path.stat().st_size <= SMALL_BYTES
        for _ in range(FLIPS_PER_SMALL_FILE)
    ]
    chosen = chance.sample(chosen, min(len(chosen), FLIP_COUNT // 2))
    large = [path for path in files if path.stat().st_size > SMALL_BYTES]
    weights = [path.stat().st_size for path in large]
    for path in chance.choices(large, weights, k=FLIP_COUNT - len(chosen)):
        chosen.append((path, chance.randrange(path.stat().st_size * 8)))
    return chosen


def flipped(path: Path, bit: int) -> bytes:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    return bytes(content)


def try_damage(
    town: Town,
    path: Path,
    content: bytes,
    byte: int,
    *,
    is_folded: bool,
    inside: Callable[[], None] | None = None,
    is_cut: bool = False,
) -> str:
    """Damage one file; return what became of it."""
    partition = partition_of_file(path)
    with damaged(path, content), _ends_restored(town):
        if inside is not None:
            inside()
        if partition is None:
            return _judge_directory(town, path)
        examination = examine(PartitionId(partition), town.folder(partition))
        verdict = examination.verdict
        judged = judge(town, partition, path, byte, is_folded=is_folded, is_cut=is_cut)
        if path.suffix == ".seg" and judged == "refused" and verdict is LogVerdict.HEALTHY:
            remedy = choose(examination, kept_snapshots(town.data_dir, partition))
            assert remedy.kind is RemedyKind.REBUILD, "repair calls well what opening refuses"
        if is_folded:
            other = PARTITIONS[(partition + 1) % len(PARTITIONS)]
            assert judge(town, other, path, byte, is_folded=False) == "same", "another partition does not serve"
        return f"{path.suffix or path.name} {judged}"


@contextmanager
def _ends_restored(town: Town) -> Iterator[None]:
    """Opening notes an end; forget what it noted of a damaged log."""
    marks = {path: path.read_bytes() for path in town.data_dir.rglob("end")}
    if _ENDS_ARE_LOST:
        for path in marks:
            path.unlink()
        yield
        for path in town.data_dir.rglob("end"):
            path.unlink()
        return
    yield
    for path, content in marks.items():
        _overwrite(path, content)


def _judge_directory(town: Town, path: Path) -> str:
    """A file of the whole directory: it is refused by name, or what it says is right, or the logs know better."""
    if path.name == data_directory.LAYOUT_NAME:
        try:
            with data_directory.hold(load_config(data_dir=town.data_dir, partition_count=len(PARTITIONS))):
                return "layout same"
        except data_directory.DataDirUnusable as told:
            refused = str(told)
        assert str(town.data_dir) in refused
        return "layout refused"
    for partition in PARTITIONS:
        assert judge(town, partition, path, 0, is_folded=False) == "same"
    return f"{path.name} same"


def test_cut_files_are_named_however_much_is_missing(town: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    seen: Counter[str] = Counter()
    for number, (path, at) in enumerate(cuts(town)):
        is_looked_at = number % LOOKED_AT_EVERY == 0
        content = path.read_bytes()[:at]
        inside = functools.partial(_look_and_repair, town, tmp_path, capsys) if is_looked_at else None
        seen[try_damage(town, path, content, at, is_folded=is_looked_at, inside=inside)] += 1
    _tell(capsys, "cuts", seen)
    assert seen.total() == seen[".seg refused"] >= 500
    assert look(town, capsys)["ok"]


def test_cut_files_whose_end_was_not_noted_are_named_or_end_with_a_whole_group_not_before_a_snapshot(
    town: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """After a power cut the noted end may be gone, and only snapshots bound what a cut last segment hides."""
    seen: Counter[str] = Counter()
    last = {sorted(town.folder(partition).glob("*.seg"))[-1] for partition in PARTITIONS}
    with without_ends(town):
        for number, (path, at) in enumerate([one for one in cuts(town) if one[0] in last]):
            is_looked_at = number % LOOKED_AT_EVERY == 0
            inside = functools.partial(_look_and_repair, town, tmp_path, capsys) if is_looked_at else None
            content = path.read_bytes()[:at]
            judged = try_damage(town, path, content, at, is_folded=is_looked_at, inside=inside, is_cut=True)
            seen[f"partition {partition_of_file(path)}{judged.removeprefix('.seg')}"] += 1
    _tell(capsys, "cuts, no end noted", seen)
    # A snapshot at the very end of partition 1 proves all of it, one near the end of partition 0 most of it.
    assert {one for one in seen if one.endswith("shorter")} == {"partition 0 shorter", "partition 2 shorter"}
    assert {one for one in seen if one.endswith("refused")} == {f"partition {each} refused" for each in PARTITIONS}
    assert look(town, capsys)["ok"]


@contextmanager
def without_ends(town: Town) -> Iterator[None]:
    """Lose the noted ends for a while, and again whatever opening notes."""
    global _ENDS_ARE_LOST
    marks = {path: path.read_bytes() for path in town.data_dir.rglob("end")}
    _ENDS_ARE_LOST = True
    try:
        yield
    finally:
        _ENDS_ARE_LOST = False
        for path, content in marks.items():
            path.write_bytes(content)


def test_flipped_bits_are_named_or_change_nothing(town: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    seen: Counter[str] = Counter()
    for number, (path, bit) in enumerate(flips(town, random.Random(20250106))):
        is_looked_at = number % LOOKED_AT_EVERY == 0
        inside = functools.partial(_look_and_repair, town, tmp_path, capsys) if is_looked_at else None
        judged = try_damage(town, path, flipped(path, bit), bit // 8, is_folded=is_looked_at, inside=inside)
        seen[judged] += 1
    _tell(capsys, "flips", seen)
    assert seen.total() == FLIP_COUNT
    assert seen[".seg refused"] > 0
    assert not seen[".seg torn"] + seen[".seg shorter"]
    assert look(town, capsys)["ok"]


def _look_and_repair(town: Town, scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    look(town, capsys)
    check_repair(town, scratch, capsys)


def _tell(capsys: pytest.CaptureFixture[str], what: str, seen: Counter[str]) -> None:
    with capsys.disabled():
        print(f"\n{what}: {dict(sorted(seen.items()))}")


class EqualToAll(int):
    """A checksum that matches any other."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = int.__hash__


def test_without_checksums_flipped_bits_give_wrong_records(town: Town, monkeypatch: pytest.MonkeyPatch):
    """Negative control: the judge above must notice."""
    monkeypatch.setattr(actors.log.frame, "xxh3_64_intdigest", lambda content: EqualToAll(0))
    chance, wrong = random.Random(5), 0
    paths = sorted(town.folder(2).glob("*.seg"))
    for _ in range(40):
        path = chance.choice(paths[:-1])
        bit = chance.randrange(path.stat().st_size * 8)
        try:
            try_damage(town, path, flipped(path, bit), bit // 8, is_folded=False)
        except AssertionError:
            wrong += 1
    assert wrong > 20


# --- (b) a disk that refuses -----------------------------------------------------------------------------------------


class RefusingFiles(Files):
    """A disk that refuses its n-th call of those that count, and then each until it is mended, or only that one.

    A failed sync loses what was not synced before, as the kernel does: the pages are clean and the device has not got
    them. A refused write has taken half.
    """

    def __init__(self, refused: frozenset[str], *, at: int, number: int, is_lasting: bool) -> None:
        self.calls = 0
        self.refusals = 0
        self._refused = refused
        self._at = at
        self._number = number
        self._is_lasting = is_lasting
        self._synced: dict[int, int] = {}

    def mend(self) -> None:
        self._at = 1 << 60

    def _check(self, name: str) -> None:
        if name not in self._refused:
            return
        self.calls += 1
        if self.calls == self._at or (self._is_lasting and self.calls > self._at):
            self.refusals += 1
            raise OSError(self._number, os.strerror(self._number))

    def open(self, path: Path, flags: int) -> int:
        self._check("create" if flags & os.O_CREAT else "open")
        descriptor = super().open(path, flags)
        self._synced[descriptor] = os.fstat(descriptor).st_size
        return descriptor

    def read(self, descriptor: int, length: int, position: int) -> bytes:
        self._check("read")
        # Never all at once: a short read is no end.
        return super().read(descriptor, max(1, length // 2), position)

    def write(self, descriptor: int, content: memoryview, position: int) -> int:
        try:
            self._check("write")
        except OSError:
            super().write(descriptor, content[: len(content) // 2], position)
            raise
        return super().write(descriptor, content[: max(1, len(content) * 2 // 3)], position)

    def fdatasync(self, descriptor: int) -> None:
        self._sync(descriptor)

    def fsync(self, descriptor: int) -> None:
        self._sync(descriptor)

    def _sync(self, descriptor: int) -> None:
        try:
            self._check("sync")
        except OSError:
            if not os.path.isdir(f"/proc/self/fd/{descriptor}"):
                os.ftruncate(descriptor, min(self._synced[descriptor], os.fstat(descriptor).st_size))
            raise
        self._synced[descriptor] = os.fstat(descriptor).st_size

    def rename(self, source: Path, target: Path) -> None:
        self._check("rename")
        super().rename(source, target)

    def truncate(self, descriptor: int, size: int) -> None:
        self._check("truncate")
        super().truncate(descriptor, size)


class PassingFiles(RefusingFiles):
    """Negative control: passes over a failed fdatasync, as a program does that does not look."""

    def fdatasync(self, descriptor: int) -> None:
        with suppress(OSError):
            super().fdatasync(descriptor)


WRITING = frozenset({"write", "sync", "rename", "create", "truncate"})
EVENT_COUNT = 14
TWO = (0, 1)
HOUSES = ("a", "f")
"""One per partition of two; checked below."""


@dataclass(slots=True)
class Ran:
    """What a client saw of one run."""

    acknowledged: set[str] = field(default_factory=set)
    refused_calls: int = 0
    undisturbed: int = 0
    """Calls of the other partition that were answered while one was lost."""


async def run_once(directory: Path, files: RefusingFiles) -> Ran:
    """Send events one by one, each until it is acknowledged; mend the disk at the first refusal that shows."""
    ran = Ran()
    settings = SegmentSettings(segment_bytes=6_000)
    hearth = Hearth(directory, clock=SettableClock(), files=files, partitions=TWO, segments=settings)
    try:
        for partition in TWO:
            await _assign(hearth, partition, files, ran)
        for number in range(EVENT_COUNT):
            await _send(hearth, number, files, ran)
            hearth.clock.pass_us(MINUTE)
    finally:
        files.mend()
        await hearth.shard.drain()
    return ran


async def _assign(hearth: Hearth, partition: int, files: RefusingFiles, ran: Ran) -> None:
    try:
        await hearth.assign(partition)
    except LogError:
        ran.refused_calls += 1
        files.mend()
        await hearth.assign(partition)


def event(number: int, house: str, at_us: int):
    return signal(f"{house}{number}", house, "pay", at_us, fields={"amount": 1.0})


async def _send(hearth: Hearth, number: int, files: RefusingFiles, ran: Ran) -> None:
    house = HOUSES[number % 2]
    one = event(number, house, hearth.clock.now_us())
    answer = await outcome(hearth.ingest(one))
    if isinstance(answer, CallFailed):
        ran.refused_calls += 1
        partition, other = hearth.partition_of(house), HOUSES[(number + 1) % 2]
        again = await outcome(hearth.ingest(one))
        assert isinstance(again, CallFailed), "a partition that failed goes on as if it had not"
        assert hearth.shard.report()[hearth.partition_of(other)], "the other partition is gone"
        files.mend()
        extra = event(1_000 + number, other, hearth.clock.now_us())
        assert (await hearth.ingest(extra)).counts.applied == 1
        ran.undisturbed += 1
        ran.acknowledged.add(extra.event_id)
        await hearth.assign(partition)
        answer = await hearth.ingest(one)
    assert answer.counts.applied + answer.counts.duplicate == 1
    ran.acknowledged.add(one.event_id)


def check_run(directory: Path, ran: Ran) -> None:
    """What was acknowledged is in the log, and counts once."""
    paid: Counter[str] = Counter()
    stored: set[str] = set()
    for partition in TWO:
        assert examine(PartitionId(partition), directory / f"p-{partition:04d}").verdict is LogVerdict.HEALTHY
        log = SegmentStore(directory, files=DiskFiles()).open(PartitionId(partition))
        records = list(log.read(log.first_offset))
        log.close()
        stored |= event_ids(records)
        replay = Replay()
        for each in records:
            replay.fold(each)
        paid[str(partition)] = replay.now.counters.by_status["APPLIED"]
    assert stored == ran.acknowledged
    assert paid.total() == len(ran.acknowledged)


def until_nothing_is_refused(
    tmp_path: Path, make: Callable[[int], RefusingFiles], run: Callable[[Path, RefusingFiles], None], *, step: int = 1
) -> int:
    """Run with the first call refused, the second (every `step`-th), and so on; return how many there are."""
    for at in range(1, 1_000, step):
        files = make(at)
        run(tmp_path / str(at), files)
        shutil.rmtree(tmp_path / str(at))
        if not files.refusals:
            return at - 1
    raise AssertionError("there is no end of it")


@pytest.mark.parametrize(("number", "is_lasting"), [(errno.ENOSPC, True), (errno.EIO, False)], ids=["full", "failing"])
def test_whatever_call_is_refused_what_was_acknowledged_is_there_once_and_the_rest_serves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int, is_lasting: bool
):
    shown = undisturbed = 0

    def run(directory: Path, files: RefusingFiles) -> None:
        nonlocal shown, undisturbed
        ran = asyncio.run(run_once(directory, files))
        check_run(directory, ran)
        shown += bool(ran.refused_calls)
        undisturbed += ran.undisturbed

    count = until_nothing_is_refused(
        tmp_path, lambda at: RefusingFiles(WRITING, at=at, number=number, is_lasting=is_lasting), run
    )
    with capsys.disabled():
        print(f"\n{os.strerror(number)}: {count} calls refused, {shown} showed, {undisturbed} lost one partition live")
    # The rest noted an end, which need not succeed.
    assert count > shown > 40
    assert undisturbed > 20


def test_whatever_read_or_open_fails_at_opening_or_replay_the_partition_comes_back_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    written = tmp_path / "written"
    healthy = RefusingFiles(frozenset(), at=0, number=errno.EIO, is_lasting=False)
    before = asyncio.run(run_once(written, healthy))

    async def reopened(directory: Path, files: RefusingFiles) -> int:
        ran = Ran()
        hearth = Hearth(directory, clock=SettableClock(), files=files, partitions=TWO)
        try:
            for partition in TWO:
                await _assign(hearth, partition, files, ran)
            one = event(0, HOUSES[0], hearth.clock.now_us())
            assert (await hearth.ingest(one)).counts.duplicate == 1
        finally:
            files.mend()
            await hearth.shard.drain()
        check_run(directory, before)
        return ran.refused_calls

    shown = 0

    def run(directory: Path, files: RefusingFiles) -> None:
        nonlocal shown
        shutil.copytree(written, directory)
        shown += asyncio.run(reopened(directory, files))

    count = until_nothing_is_refused(
        tmp_path,
        lambda at: RefusingFiles(frozenset({"read", "open"}), at=at, number=errno.EIO, is_lasting=False),
        run,
        step=3,
    )
    with capsys.disabled():
        print(f"\nEIO on {count} reads and opens")
    assert count > shown > 10


SNAPSHOT_CALLS = frozenset({"write", "sync", "rename"})


async def snapshots_refused(directory: Path, files: RefusingFiles, patch: pytest.MonkeyPatch) -> bool:
    """Take a snapshot on a disk that refuses a call, with decisions going on; return whether it said so."""
    write = snapshot_files._HashingSink.write

    def refusing(sink: snapshot_files._HashingSink, content: pa.Buffer | bytes) -> int:
        files._check("write")
        return write(sink, content)

    async with running(directory / "log", snapshots=directory / "snapshots") as hearth:
        house, store = HOUSES[0], snapshot_store(str(directory / "snapshots"))
        await hearth.ingest(event(0, house, hearth.clock.now_us()))
        before = await hearth.snapshot()
        await hearth.ingest(event(1, house, hearth.clock.now_us()))
        patch.setattr(snapshot_files._HashingSink, "write", refusing)
        hearth.shard._snapshots._files.files = files
        taken = await outcome(hearth.snapshot())
        is_refused = isinstance(taken, CallFailed)
        assert not is_refused or reason_of(taken) == "SNAPSHOT_FAILED"
        assert (await hearth.ingest(event(2, house, hearth.clock.now_us()))).counts.applied == 1
        loaded = store.load(PartitionId(0))
        assert loaded.faults == (), "half a snapshot is taken for one"
        assert loaded.position == (before.position if is_refused else taken.position)
        files.mend()
        after = await hearth.snapshot()
        assert after.position > loaded.position
        live = await hearth.digest()
    replay = store.load(PartitionId(0)).replay
    assert replay is not None
    assert state_digest(replay.now) == live
    return is_refused


@pytest.mark.parametrize(("number", "is_lasting"), [(errno.ENOSPC, True), (errno.EIO, False)], ids=["full", "failing"])
def test_whatever_call_of_a_snapshot_is_refused_the_one_before_stands_and_the_next_is_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int, is_lasting: bool
):
    shown = 0

    def run(directory: Path, files: RefusingFiles) -> None:
        nonlocal shown
        with pytest.MonkeyPatch.context() as patch:
            shown += asyncio.run(snapshots_refused(directory, files, patch))

    count = until_nothing_is_refused(
        tmp_path, lambda at: RefusingFiles(SNAPSHOT_CALLS, at=at, number=number, is_lasting=is_lasting), run
    )
    with capsys.disabled():
        print(f"\n{os.strerror(number)}: {count} calls of a snapshot refused, {shown} showed")
    # Each of its files is written and synced, then the folder, its name, and the folder above.
    assert count >= shown > 20


def test_a_sync_error_that_is_passed_over_loses_what_was_acknowledged(tmp_path: Path):
    """Negative control: the check of a run must notice."""
    noticed = 0
    for at in range(1, 40):
        files = PassingFiles(frozenset({"sync"}), at=at, number=errno.EIO, is_lasting=False)
        directory = tmp_path / str(at)
        try:
            check_run(directory, asyncio.run(run_once(directory, files)))
        except (AssertionError, LogError):
            noticed += 1
    assert noticed > 10


# --- (c) a disk that is really full ----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_is_really_full_stops_what_it_must_and_goes_on_once_space_is_freed(small_disk: Path):
    def free_space() -> None:
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)

    ran = Ran()
    directory = small_disk / "log"

    async def live() -> None:
        settings = SegmentSettings(segment_bytes=200_000)
        hearth = Hearth(directory, clock=SettableClock(), files=Files(), partitions=TWO, segments=settings)
        for partition in TWO:
            await hearth.assign(partition)
        number = 0
        while True:
            batch = [event(number * 1_000 + index, HOUSES[number % 2], hearth.clock.now_us()) for index in range(200)]
            answer = await outcome(hearth.ingest(*batch))
            if isinstance(answer, CallFailed):
                break
            assert answer.counts.applied == len(batch)
            ran.acknowledged.update(one.event_id for one in batch)
            number += 1
        partition = hearth.partition_of(HOUSES[number % 2])
        for _ in range(3):
            # Cutting the torn group makes room for a new term, not for the batch.
            with suppress(LogError):
                await hearth.assign(partition)
            assert isinstance(await outcome(hearth.ingest(*batch)), CallFailed)
        free_space()
        for each in TWO:
            await hearth.assign(each)
        answer = await hearth.ingest(*batch)
        assert answer.counts.applied + answer.counts.duplicate == len(batch)
        ran.acknowledged.update(one.event_id for one in batch)
        await hearth.shard.drain()

    asyncio.run(live())
    assert len(ran.acknowledged) > 1_000
    check_run(directory, ran)
