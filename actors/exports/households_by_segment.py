"""The segment that each household is in: of the playbook in force, the first in its order that holds.

So segments that overlap still split households into parts. A segment of members holds for a household if it holds for
any of its members. Folded from the newest snapshots and the log behind them, up to a time.
"""

from collections.abc import Iterator

import numpy as np

from actors.exports.columns import key_text
from actors.exports.folded_states import folded_states
from actors.log.reading import ReadLogs
from actors.snapshots.store import SnapshotStore
from household.relocation.places import away_rows
from household.state import PartitionState

NO_MEMBER = -1


def segments(
    read: ReadLogs, snapshots: SnapshotStore | None = None, *, until_us: int | None = None
) -> Iterator[tuple[str, str]]:
    """Yield household and segment; households that are in none are left out.

    Args:
        read: of the log.
        snapshots: where partitions begin.
        until_us: what was recorded later is not folded; None: all is.

    Raises:
        LogError: a log is damaged or cannot be read.
        PayloadUnreadable, PlanUnreadable: a record is not what its kind says.
        OSError: the snapshots could not be listed.
    """
    for _, state in folded_states(read, snapshots, until_us=until_us):
        yield from _of(state)


def _of(state: PartitionState) -> Iterator[tuple[str, str]]:
    if not state.plan.segments:
        return
    programs = np.array([one.program for one in state.plan.segments], np.int64)
    count = state.members.count
    parents = np.asarray(state.members.arrays.parents[:count])
    order = np.argsort(parents, kind="stable")
    bounds = np.searchsorted(parents[order], np.arange(state.households.count + 1))
    is_away = away_rows(state)
    for household in range(state.households.count):
        if is_away[household]:
            continue  # whose row is as if nothing were known of it
        members = order[bounds[household] : bounds[household + 1]].tolist()
        holds = np.zeros(len(programs), np.bool_)
        for member in members or [NO_MEMBER]:
            holds |= state.conditions(programs, household, member, state.now_us) == 1.0
        if holds.any():
            yield key_text(state.households.key(household)), state.plan.segments[int(holds.argmax())].name
