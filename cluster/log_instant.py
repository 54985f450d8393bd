"""How long the logs of all partitions were when they fitted together, found beside the owners who write them.

What one partition's log tells of another's (what came from there, what is known there by now) was durable there
before. So logs as they all were at one instant fit together, whatever travels between partitions: it is as if all
owners had been killed then. Taken one after another they do not: what moves from one to the other in between would be
in both, or in neither. What is written all the time (signals, decisions, deliveries) is about its own partition alone,
and is no matter: only few kinds of records tie one log to another.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from actors.log.contract import RecordKind
from actors.log.files import Files
from actors.log.frame import Fault, FrameReader
from cluster.errors import CommandFailed

TRIES = 10_000
PAUSE_S = 0.001
"""Between tries. A look at 8 partitions takes 0.4 ms; a try is in vain where a log tells of another meanwhile."""

TYING = frozenset({RecordKind.RELOCATION, RecordKind.INVENTORY})
"""Kinds of records that follow from what stands in another partition's log."""

SEGMENT = ".seg"

Segments = tuple[tuple[str, ...], int]
"""Names of a partition's segments in log order, and the bytes of the last; those before it do not change any more."""


def segments_at_one_instant(log: Path) -> Mapping[str, Segments]:
    """Return the segments of each folder of logs as they fit together.

    Looked at twice: where from the first look to the second no log was told of another, what the second found is what
    all were at the instant between the two, and some more that is about each log alone.

    Raises:
        CommandFailed: something that ties logs is always being written between two looks.
    """
    for _ in range(TRIES):
        before, seen = _look(log), _look(log)
        if before.keys() == seen.keys() and all(is_alone(log / name, before[name], seen[name]) for name in seen):
            return seen
        time.sleep(PAUSE_S)
    raise CommandFailed(f"the logs in {log} change faster than they can be looked at; try again when less is told")


def newest_of(folder: Path) -> Segments | None:
    """Return the segments of one folder as they are now; None where there are none, or one has just gone away."""
    names = tuple(sorted(one.name for one in folder.iterdir() if one.name.endswith(SEGMENT)))
    try:
        return (names, (folder / names[-1]).stat().st_size) if names else None
    except FileNotFoundError:
        return None


def is_alone(folder: Path, before: Segments, now: Segments) -> bool:
    """Return whether what was written to a log between two looks is surely about that log alone."""
    if before == now:
        return True
    (names, start), (names_now, end) = before, now
    if names != names_now or end < start:
        return False  # a segment is begun now and then: the next try finds none
    files = Files()
    try:
        descriptor = files.open(folder / names[-1], os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        reader, position = FrameReader(files, descriptor, end=end), start
        while position < end:
            frame = reader.frame_at(position)
            if isinstance(frame, Fault):
                # A group that is being written, whose rest is cut off as after a crash; or nothing begins where the
                # first look found the end, in the midst of such a group.
                return position > start
            if frame.kind in TYING:
                return False
            position = frame.end
        return True
    finally:
        files.close(descriptor)


def _look(log: Path) -> Mapping[str, Segments]:
    if not log.is_dir():
        return {}
    found = {folder.name: newest_of(folder) for folder in log.iterdir() if folder.is_dir()}
    return {name: one for name, one in found.items() if one is not None}
