"""Judges a partition's stored log and builds what can take the place of a damaged one.

Deletes nothing: what does not stay is set aside. What is good by itself, in place and in order is kept; where a good
snapshot holds what damaged records did, the log goes on from there. The caller holds the partition's lock.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from actors.log.contract import LOG_START, Epoch, Offset, PartitionId, Record, RecordKind
from actors.log.files import Files, write_fully
from actors.log.frame import SEGMENT_HEADER_BYTES, Checksum, Frame, SegmentHeader, encode_group
from actors.log.inspection import Inspected, inspect, proves_damage
from actors.log.marks import write_beginning
from actors.log.segment_files import Segment, create_segment, partition_directory, rebuilt_directory, segment_paths

PROBLEMS_TOLD_MAX = 100
SEGMENT_BYTES = 64 << 20


class Verdict(StrEnum):
    """What a partition's log is."""

    HEALTHY = "healthy"
    TORN = "torn"
    """A crash explains it: opening cuts off a group that was never acknowledged."""
    DAMAGED = "damaged"
    NEWER = "newer"
    """Written by a newer version."""
    UNREADABLE = "unreadable"
    """The storage refuses to show it."""
    INTERRUPTED = "interrupted"
    """A repair was interrupted between setting the old log aside and putting the new one in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, and where."""

    path: Path
    position: int
    what: str


@dataclass(slots=True, kw_only=True)
class Run:
    """Records that follow one another without a gap, each good and each continuing the one before."""

    first: Offset
    end: Offset
    """Behind its last complete group."""
    kinds: Counter[str] = field(default_factory=Counter)
    """How many records of each kind, in complete groups."""

    @property
    def count(self) -> int:
        return self.kinds.total()


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What stands in a partition's log."""

    partition: PartitionId
    directory: Path
    verdict: Verdict
    runs: tuple[Run, ...]
    """In log order. The first begins where the log begins, and is all there is unless the log is damaged."""
    last_epoch: Epoch
    """Highest of any good record or header."""
    problems: tuple[Problem, ...]
    """The first few."""
    torn_bytes: int = 0
    acknowledged_end: Offset = LOG_START
    """An end the log is known to have had, where it ends before it."""

    @property
    def prefix(self) -> Run:
        """What stands before the first damage."""
        return self.runs[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSnapshot:
    """A snapshot of a partition, as its own check found it."""

    path: Path
    position: Offset
    problem: str = ""
    """Empty for a good one."""

    @property
    def is_damaged(self) -> bool:
        """Whether it is no good to any software; one of another version is good to that version."""
        return bool(self.problem) and "this software" not in self.problem


class RemedyKind(StrEnum):
    """What can be done about a log."""

    NOTHING = "nothing"
    """It opens as it is."""
    REBUILD = "rebuild"
    """Put a log of the good records [begins, end) in its place."""
    FINISH = "finish"
    """Put the log that an interrupted repair built in its place."""
    NEWER_VERSION = "newer-version"
    """Run the version of Hearth that wrote it."""
    OTHER_STORAGE = "other-storage"
    """See to the disk first."""
    BACKUP = "backup"
    """Nothing that is here can take its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """What can be done about a log, and what it costs."""

    kind: RemedyKind
    begins: Offset = LOG_START
    end: Offset = LOG_START
    snapshot: KeptSnapshot | None = None
    """Holds what the records before it did, those that can no longer be read included."""
    run: int | None = None
    """Which run stays; None for none of them: the log begins anew at the snapshot."""
    lost: tuple[tuple[Offset, Offset], ...] = ()
    """Acknowledged records [a, b) whose effect the partition will not show."""
    snapshots_aside: tuple[KeptSnapshot, ...] = ()


def examine(partition: PartitionId, directory: Path, files: Files | None = None) -> Examination:
    """Look at every byte of a partition's log; changes nothing, and comes back whatever stands there."""
    files = files or Files()
    survey = _Survey()
    try:
        if not directory.exists() and rebuilt_directory(directory).exists():
            return survey.examination(partition, directory, Verdict.INTERRUPTED)
        for entry in inspect(directory, files):
            survey.add(entry)
    except OSError as refused:
        survey.problems.append(Problem(path=Path(refused.filename or directory), position=0, what=str(refused)))
        return survey.examination(partition, directory, Verdict.UNREADABLE)
    verdict = survey.verdict()
    torn_bytes = 0
    if verdict is Verdict.TORN:
        torn_bytes = files.size(segment_paths(directory, files)[-1]) - survey.prefix_position
    return survey.examination(partition, directory, verdict, torn_bytes)


class _Survey:
    """Sorts the entries of an inspection into runs."""

    def __init__(self) -> None:
        self.runs: list[Run] = [Run(first=LOG_START, end=LOG_START)]
        self.problems: list[Problem] = []
        self.prefix_position = SEGMENT_HEADER_BYTES
        """Byte behind the last complete group of the first run, in its segment."""
        self._seen_end = LOG_START
        self._group: Counter[str] = Counter()
        self._is_broken = False
        self._is_begun = False
        self._first_problem: Inspected | None = None
        self._is_proven = False
        self._epoch = 0
        self._acknowledged_end = LOG_START

    def add(self, entry: Inspected) -> int | None:
        """Take the next entry; return the run its record belongs to, None if it holds none that can be read."""
        if self._first_problem is not None and proves_damage(self._first_problem, entry, self.runs[0].end):
            self._is_proven = True
        if entry.problem is not None:
            self._add_problem(entry)
            return None
        if entry.header is not None:
            self._add_header(entry.header)
        return self._add_frame(entry.frame) if entry.frame is not None else None

    def _add_problem(self, entry: Inspected) -> None:
        self._first_problem = self._first_problem or entry
        self._acknowledged_end = entry.acknowledged_end or self._acknowledged_end
        self._is_broken = self._is_broken or not entry.is_unreadable_header
        if len(self.problems) < PROBLEMS_TOLD_MAX:
            self.problems.append(Problem(path=entry.path, position=entry.position, what=entry.problem or ""))

    def _add_header(self, header: SegmentHeader) -> None:
        self._epoch = max(self._epoch, header.last_epoch)
        if self._first_problem is None:
            self.prefix_position = SEGMENT_HEADER_BYTES
            if not self._is_begun:
                self.runs[0] = Run(first=header.first_offset, end=header.first_offset)
                self._seen_end = header.first_offset
        self._is_begun = True

    def _add_frame(self, frame: Frame) -> int:
        if self._is_broken or frame.offset != self._seen_end:
            self.runs.append(Run(first=Offset(frame.offset), end=Offset(frame.offset)))
            self._group.clear()
            self._is_broken = False
        self._epoch = max(self._epoch, frame.epoch)
        self._seen_end = Offset(frame.offset + 1)
        self._group[RecordKind(frame.kind).name.lower()] += 1
        if frame.is_last_of_group:
            self.runs[-1].end = self._seen_end
            self.runs[-1].kinds.update(self._group)
            self._group.clear()
            if self._first_problem is None:
                self.prefix_position = frame.end
        return len(self.runs) - 1

    def verdict(self) -> Verdict:
        problem = self._first_problem
        if problem is None:
            return Verdict.HEALTHY
        if problem.is_newer:
            return Verdict.NEWER
        return Verdict.DAMAGED if problem.is_misplaced or self._is_proven else Verdict.TORN

    def examination(
        self, partition: PartitionId, directory: Path, verdict: Verdict, torn_bytes: int = 0
    ) -> Examination:
        runs = self.runs[:1] if verdict in (Verdict.HEALTHY, Verdict.TORN) else self.runs
        return Examination(
            partition=partition,
            directory=directory,
            verdict=verdict,
            runs=tuple(runs),
            last_epoch=Epoch(self._epoch),
            problems=tuple(self.problems),
            torn_bytes=torn_bytes,
            acknowledged_end=self._acknowledged_end,
        )


def choose(examination: Examination, snapshots: Sequence[KeptSnapshot]) -> Remedy:
    """Return what can be done: what keeps most of what was acknowledged."""
    aside = tuple(snapshot for snapshot in snapshots if snapshot.is_damaged)
    match examination.verdict:
        case Verdict.NEWER:
            return Remedy(kind=RemedyKind.NEWER_VERSION)
        case Verdict.UNREADABLE:
            return Remedy(kind=RemedyKind.OTHER_STORAGE)
        case Verdict.INTERRUPTED:
            return Remedy(kind=RemedyKind.FINISH, snapshots_aside=aside)
        case Verdict.HEALTHY | Verdict.TORN | Verdict.DAMAGED:
            pass
    best = _best(examination, [snapshot for snapshot in snapshots if not snapshot.problem])
    if best is None:
        return Remedy(kind=RemedyKind.BACKUP, lost=_lost(examination, LOG_START), snapshots_aside=aside)
    run, begins, end, covering = best
    is_as_it_is = examination.verdict is not Verdict.DAMAGED and run == 0
    return Remedy(
        kind=RemedyKind.NOTHING if is_as_it_is else RemedyKind.REBUILD,
        begins=begins,
        end=end,
        snapshot=covering,
        run=run,
        lost=_lost(examination, end),
        snapshots_aside=aside,
    )


def _best(
    examination: Examination, good: Sequence[KeptSnapshot]
) -> tuple[int | None, Offset, Offset, KeptSnapshot | None] | None:
    """Return run, begin, end and snapshot of the log that ends furthest, and of those the one that begins first."""
    candidates: list[tuple[int | None, Offset, Offset, KeptSnapshot | None]] = []
    for number, run in enumerate(examination.runs):
        # What claims a place that is taken already came from elsewhere.
        if number and run.first < examination.prefix.end:
            continue
        covering = max(
            (snapshot for snapshot in good if run.first <= snapshot.position <= run.end),
            key=lambda snapshot: snapshot.position,
            default=None,
        )
        if covering is not None or (number == 0 and run.first == LOG_START):
            candidates.append((number, run.first, run.end, covering))
    newest = max(good, key=lambda snapshot: snapshot.position, default=None)
    if newest is not None:
        candidates.append((None, newest.position, newest.position, newest))
    return max(candidates, key=lambda one: (one[2], one[0] is not None, -one[1]), default=None)


def _lost(examination: Examination, end: Offset) -> tuple[tuple[Offset, Offset], ...]:
    """Return what of [end, …) was acknowledged as far as it can be known, as one span."""
    known_end = max([examination.acknowledged_end, *(run.end for run in examination.runs)])
    return ((end, known_end),) if known_end > end else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a repair did."""

    aside: Path
    """Where the old log is now."""
    salvaged_count: int
    """Good records behind the new log's end."""
    salvaged_log: Path | None
    """A log of their own of these, offsets from 0; None for none."""


def rebuild(examination: Examination, remedy: Remedy, aside: Path, files: Files | None = None) -> Applied:
    """Put the log that `remedy` names in the place of the old one, which goes to `aside`.

    A crash leaves the old log, or one that opening refuses until this was done again.

    Args:
        examination: of the partition, whose lock the caller holds.
        remedy: what `choose` said.
        aside: a directory of this repair, on the same file system as the log.
        files: system calls.

    Raises:
        OSError: the disk refused. Nothing is lost, asking again is safe.
    """
    assert remedy.kind is RemedyKind.REBUILD, f"nothing to rebuild: {remedy.kind}"
    files = files or Files()
    directory = examination.directory
    rebuilt = rebuilt_directory(directory)
    if rebuilt.exists():
        # Left by a repair that did not get as far as setting the old log aside.
        shutil.rmtree(rebuilt)
    files.make_directory(aside)
    salvaged = _salvage(examination, remedy, aside, files)
    frames = (frame for run, frame in _good_frames(directory, files) if run == remedy.run and frame.offset < remedy.end)
    writer = _LogWriter(examination.partition, rebuilt, remedy.begins, examination.last_epoch, files)
    for frame in frames:
        writer.add(frame.stored().record, is_last_of_group=frame.is_last_of_group)
    writer.close()
    assert writer.end == remedy.end, f"rebuilt up to {writer.end}, expected {remedy.end}"
    if remedy.begins > LOG_START:
        write_beginning(examination.partition, rebuilt, remedy.begins, files)
    files.sync_directory(rebuilt)
    old = aside / directory.name
    files.rename(directory, old)
    files.sync_directory(directory.parent)
    finish(directory, files)
    files.sync_directory(aside)
    return Applied(aside=old, salvaged_count=salvaged, salvaged_log=aside / "salvaged" if salvaged else None)


def finish(directory: Path, files: Files | None = None) -> None:
    """Put a rebuilt log in the place of one that was set aside."""
    files = files or Files()
    files.rename(rebuilt_directory(directory), directory)
    files.sync_directory(directory.parent)


def set_aside(path: Path, target: Path, files: Files | None = None) -> None:
    """Move a file or folder out of Hearth's sight, durably.

    Raises:
        OSError: it is still where it was.
    """
    files = files or Files()
    files.make_directory(target.parent)
    files.rename(path, target)
    files.sync_directory(target.parent)
    files.sync_directory(path.parent)


def _good_frames(directory: Path, files: Files) -> Iterator[tuple[int, Frame]]:
    """Yield every record that can be read, with the number of its run."""
    survey = _Survey()
    for entry in inspect(directory, files):
        run = survey.add(entry)
        if run is not None and entry.frame is not None:
            yield run, entry.frame


def _salvage(examination: Examination, remedy: Remedy, aside: Path, files: Files) -> int:
    """Write the good records behind the new log's end as a log of their own, and list them; return how many."""
    name = partition_directory(examination.partition)
    context: dict[int, Record] = {}
    listed: list[dict[str, object]] = []
    writer: _LogWriter | None = None
    for _, frame in _good_frames(examination.directory, files):
        stored = frame.stored()
        if stored.record.kind in (RecordKind.EPOCH, RecordKind.PLAN):
            context[stored.record.kind] = stored.record
        if frame.offset < remedy.end:
            # It stays, or the snapshot holds what it did.
            continue
        if writer is None:
            folder = aside / "salvaged" / "log" / name
            if folder.exists():
                shutil.rmtree(folder)
            writer = _LogWriter(examination.partition, folder, LOG_START, examination.last_epoch, files)
            # The plan that was in force, so that what follows can be read and folded by itself.
            for before in context.values():
                if before is not stored.record:
                    writer.add(before, is_last_of_group=True)
        listed.append(_listed(frame, salvaged_offset=writer.end))
        writer.add(stored.record, is_last_of_group=True)
    if writer is not None:
        writer.close()
        _write_lines(aside / f"{name}.records.jsonl", (json.dumps(one) for one in listed), files)
    return len(listed)


def _listed(frame: Frame, *, salvaged_offset: Offset) -> dict[str, object]:
    return {
        "offset": frame.offset,
        "kind": RecordKind(frame.kind).name.lower(),
        "epoch": frame.epoch,
        "stamp_us": frame.stamp_us,
        "bytes": len(frame.payload),
        "salvaged_offset": salvaged_offset,
    }


def _write_lines(path: Path, lines: Iterable[str], files: Files) -> None:
    descriptor = files.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        write_fully(files, descriptor, "".join(f"{line}\n" for line in lines).encode(), 0)
        files.fsync(descriptor)
    finally:
        files.close(descriptor)


class _LogWriter:
    """Writes a partition's segments anew, group by group; durable once closed."""

    def __init__(self, partition: PartitionId, directory: Path, begins: Offset, epoch: Epoch, files: Files) -> None:
        self.end = begins
        self._partition = partition
        self._directory = directory
        self._epoch = epoch
        self._files = files
        self._group: list[Record] = []
        files.make_directory(directory)
        self._segment, self._descriptor = self._create(begins, 0, Checksum(0), begins)
        self._position = SEGMENT_HEADER_BYTES
        self._checksum = self._segment.checksum

    def add(self, record: Record, *, is_last_of_group: bool) -> None:
        self._group.append(record)
        if is_last_of_group:
            self._write(self._group)
            self._group = []

    def close(self) -> None:
        """Sync. A group that was not completed is left out."""
        self._files.fsync(self._descriptor)
        self._files.close(self._descriptor)
        self._files.sync_directory(self._directory)

    def _write(self, group: list[Record]) -> None:
        if self._position > SEGMENT_BYTES:
            self._files.fsync(self._descriptor)
            self._files.close(self._descriptor)
            before = self._segment.header.first_offset
            self._segment, self._descriptor = self._create(before, self._position, self._checksum, self.end)
            self._position, self._checksum = SEGMENT_HEADER_BYTES, self._segment.checksum
        content, self._checksum = encode_group(group, offset=self.end, previous=self._checksum)
        write_fully(self._files, self._descriptor, content, self._position)
        self._position += len(content)
        self.end = Offset(self.end + len(group))

    def _create(self, before: Offset, length: int, checksum: Checksum, first: Offset) -> tuple[Segment, int]:
        header = SegmentHeader(
            partition=self._partition,
            first_offset=first,
            last_epoch=self._epoch,
            previous_first_offset=before,
            previous_bytes=length,
            previous_checksum=checksum,
        )
        return create_segment(self._directory, header, self._files)
