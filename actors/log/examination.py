"""What stands in a partition's stored log: looked at byte by byte, and judged.

Changes nothing, and comes back whatever it finds. Good records that follow one another without a gap are a run; the
first run is the log unless something is damaged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from actors.log.contract import LOG_START, Epoch, Offset, PartitionId, RecordKind
from actors.log.files import Files
from actors.log.frame import SEGMENT_HEADER_BYTES, Frame, SegmentHeader
from actors.log.inspection import Inspected, inspect, proves_damage
from actors.log.segment_files import rebuilt_directory, segment_paths

PROBLEMS_TOLD_MAX = 100


class LogVerdict(StrEnum):
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
class LogProblem:
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
    verdict: LogVerdict
    runs: tuple[Run, ...]
    """In log order. The first begins where the log begins, and is all there is unless the log is damaged."""
    last_epoch: Epoch
    """Highest of any good record or header."""
    problems: tuple[LogProblem, ...]
    """The first few."""
    torn_bytes: int = 0
    acknowledged_end: Offset = LOG_START
    """An end the log is known to have had, where it ends before it."""

    @property
    def prefix(self) -> Run:
        """What stands before the first damage."""
        return self.runs[0]


def examine(partition: PartitionId, directory: Path, files: Files | None = None) -> Examination:
    """Look at every byte of a partition's log; changes nothing, and comes back whatever stands there."""
    files = files or Files()
    survey = _Survey()
    try:
        if not directory.exists() and rebuilt_directory(directory).exists():
            return survey.examination(partition, directory, LogVerdict.INTERRUPTED)
        for entry in inspect(directory, files):
            survey.add(entry)
    except OSError as refused:
        survey.problems.append(LogProblem(path=Path(refused.filename or directory), position=0, what=str(refused)))
        return survey.examination(partition, directory, LogVerdict.UNREADABLE)
    verdict = survey.verdict()
    torn_bytes = 0
    if verdict is LogVerdict.TORN:
        torn_bytes = files.size(segment_paths(directory, files)[-1]) - survey.prefix_position
    return survey.examination(partition, directory, verdict, torn_bytes)


class _Survey:
    """Sorts the entries of an inspection into runs."""

    def __init__(self) -> None:
        self.runs: list[Run] = [Run(first=LOG_START, end=LOG_START)]
        self.problems: list[LogProblem] = []
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
            self.problems.append(LogProblem(path=entry.path, position=entry.position, what=entry.problem or ""))

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

    def verdict(self) -> LogVerdict:
        problem = self._first_problem
        if problem is None:
            return LogVerdict.HEALTHY
        if problem.is_newer:
            return LogVerdict.NEWER
        return LogVerdict.DAMAGED if problem.is_misplaced or self._is_proven else LogVerdict.TORN

    def examination(
        self, partition: PartitionId, directory: Path, verdict: LogVerdict, torn_bytes: int = 0
    ) -> Examination:
        runs = self.runs[:1] if verdict in (LogVerdict.HEALTHY, LogVerdict.TORN) else self.runs
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


def good_frames(directory: Path, files: Files) -> Iterator[tuple[int, Frame]]:
    """Yield every record that can be read, with the number of its run."""
    survey = _Survey()
    for entry in inspect(directory, files):
        run = survey.add(entry)
        if run is not None and entry.frame is not None:
            yield run, entry.frame
