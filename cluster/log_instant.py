"""How long the logs of all partitions were at one instant, found beside the owners who write them.

What one partition's log tells of another's (what came from there, what is known there by now) was durable there
before. So logs as they all were at one instant fit together, whatever travels between partitions: it is as if all
owners had been killed then. Taken one after another they do not: what moves from one to the other in between would be
in both, or in neither.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from cluster.errors import CommandFailed

TRIES = 10_000
PAUSE_S = 0.001
"""Between tries. A look at 8 partitions takes 0.4 ms; a group that is written meanwhile costs a try."""

SEGMENT = ".seg"

Segments = tuple[tuple[str, ...], int]
"""Names of a partition's segments in log order, and the bytes of the last; those before it do not change any more."""


def segments_at_one_instant(log: Path) -> Mapping[str, Segments]:
    """Return the segments of each folder of logs as they all were at one instant.

    Looked at twice: where nothing has changed from the first look to the second, all was so between the two.

    Raises:
        CommandFailed: something is always being written between two looks.
    """
    for _ in range(TRIES):
        seen = _look(log)
        if seen == _look(log):
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


def _look(log: Path) -> Mapping[str, Segments]:
    if not log.is_dir():
        return {}
    found = {folder.name: newest_of(folder) for folder in log.iterdir() if folder.is_dir()}
    return {name: one for name, one in found.items() if one is not None}
