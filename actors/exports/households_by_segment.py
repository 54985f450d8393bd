"""The segment that each household is in: of the playbook in force, the first in its order that holds.

So segments that overlap still split households into parts. A segment of members holds for a household if it holds for
any of its members. Folded from the newest snapshots and the log behind them, up to a time.
"""

from collections.abc import Iterator

import numpy as np

from actors.exports.columns import key_text
from actors.exports.journey_places import is_before
from actors.log.contract import LOG_START, Offset, PartitionId
from actors.log.reading import ReadLogs
from actors.records.replay import Replay
from actors.snapshots.store import SnapshotStore
from household.state import PartitionState

NO_MEMBER = -1


def segments(
    read: ReadLogs, snapshots: SnapshotStore | None = None, *, until_us: int | None = None
) -> Iterator[tuple[str, str]]:
    """Yield household and segment; households that are in none are left out.

    Args:
        read: of the log.
        snapshots: where partitions begin that have lost their start.
        until_us: what was recorded later is not folded; None: all is.

    Raises:
        LogError: a log is damaged or cannot be read.
        PayloadUnreadable, PlanUnreadable: a record is not what its kind says.
        OSError: the snapshots could not be listed.
    """
    folded, partition, start = Replay(), -1, LOG_START
    for number, stored in read():
        if number != partition:
            yield from _of(folded.state)
            partition = number
            folded, start = _begun(partition, snapshots if stored.offset > LOG_START else None)
        if stored.offset >= start and (until_us is None or is_before(folded, stored, until_us)):
            folded.fold(stored)
    yield from _of(folded.state)


def _begun(partition: int, snapshots: SnapshotStore | None) -> tuple[Replay, Offset]:
    if snapshots is None:
        return Replay(), LOG_START
    loaded = snapshots.load(PartitionId(partition))
    return (Replay(), LOG_START) if loaded.replay is None else (loaded.replay, loaded.position)


def _of(state: PartitionState | None) -> Iterator[tuple[str, str]]:
    if state is None or not state.plan.segments:
        return
    programs = np.array([one.program for one in state.plan.segments], np.int64)
    count = state.members.count
    parents = np.asarray(state.members.arrays.parents[:count])
    order = np.argsort(parents, kind="stable")
    bounds = np.searchsorted(parents[order], np.arange(state.households.count + 1))
    for household in range(state.households.count):
        members = order[bounds[household] : bounds[household + 1]].tolist()
        holds = np.zeros(len(programs), np.bool_)
        for member in members or [NO_MEMBER]:
            holds |= state.conditions(programs, household, member, state.now_us) == 1.0
        if holds.any():
            yield key_text(state.households.key(household)), state.plan.segments[int(holds.argmax())].name
