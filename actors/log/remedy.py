"""What can be done about a damaged log: what keeps most of what was acknowledged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from actors.log.contract import LOG_START, Offset
from actors.log.examination import Examination, LogVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSnapshot:
    """A snapshot of a partition, as its own check found it."""

    path: Path
    position: Offset
    problem: str = ""
    """Empty for a good one."""

    is_damaged: bool = False
    """It is no good to any software; one of another version is good to that version."""


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


def choose(examination: Examination, snapshots: Sequence[KeptSnapshot]) -> Remedy:
    """Return what can be done: what keeps most of what was acknowledged."""
    aside = tuple(snapshot for snapshot in snapshots if snapshot.is_damaged)
    match examination.verdict:
        case LogVerdict.NEWER:
            return Remedy(kind=RemedyKind.NEWER_VERSION)
        case LogVerdict.UNREADABLE:
            return Remedy(kind=RemedyKind.OTHER_STORAGE)
        case LogVerdict.INTERRUPTED:
            return Remedy(kind=RemedyKind.FINISH, snapshots_aside=aside)
        case LogVerdict.HEALTHY | LogVerdict.TORN | LogVerdict.DAMAGED:
            pass
    best = _best(examination, [snapshot for snapshot in snapshots if not snapshot.problem])
    if best is None:
        return Remedy(kind=RemedyKind.BACKUP, lost=_lost(examination, LOG_START), snapshots_aside=aside)
    run, begins, end, covering = best
    is_as_it_is = examination.verdict is not LogVerdict.DAMAGED and run == 0
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
