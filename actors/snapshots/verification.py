"""Is the state what the log says? Replays a partition's log from a kept snapshot, or its start, up to a newer snapshot
that the running owner wrote, and compares the two states. Read-only, beside a running Hearth.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from actors.log.contract import LOG_START, LogError, Offset, PartitionId, StoredRecord
from actors.records.replay import Replay
from actors.snapshots.facts import SnapshotFacts
from actors.snapshots.store import SnapshotStore
from household.digest import household_digests, state_digest

HOUSEHOLDS_NAMED = 10

Read = Callable[[PartitionId, Offset], Iterator[StoredRecord]]
"""A partition's records from an offset on, or from where its log begins if that is later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What came of one partition."""

    partition: PartitionId
    start: Offset
    """Where the replay began."""
    end: Offset
    """Position of the snapshot that it was compared with."""
    record_count: int = 0
    household_count: int = 0
    state_hash: str = ""
    """Of the snapshot."""
    replayed_hash: str = ""
    differing: tuple[str, ...] = ()
    """Keys of households that differ, the first few."""
    problem: str = ""
    """Why nothing could be compared."""

    @property
    def is_good(self) -> bool:
        """Whether the replay gave the same state."""
        return not self.problem and self.state_hash == self.replayed_hash


def verify(partition: PartitionId, snapshots: SnapshotStore, read: Read, *, from_start: bool = False) -> Verified:
    """Compare the newest snapshot of a partition with a replay up to it.

    `from_start`: replay from the log's start even where an older snapshot is kept. Without an older snapshot that is
    done anyway, if the log still has its start.
    """
    kept = [facts for facts in snapshots.list(partition) if not facts.problem]
    if not kept:
        return _problem(partition, "it has no snapshot yet")
    newest, oldest = kept[0], kept[-1]
    is_whole = from_start or oldest.name == newest.name
    try:
        return _compare(partition, snapshots, read, newest, None if is_whole else oldest)
    except LogError as wrong:
        return _problem(partition, str(wrong), end=newest.position)


def _problem(partition: PartitionId, what: str, *, end: Offset = LOG_START) -> Verified:
    return Verified(partition=partition, start=LOG_START, end=end, problem=what)


def _compare(
    partition: PartitionId, snapshots: SnapshotStore, read: Read, newest: SnapshotFacts, oldest: SnapshotFacts | None
) -> Verified:
    taken = snapshots.load(partition, name=newest.name)
    if taken.replay is None:
        return _problem(partition, "; ".join(map(str, taken.faults)), end=newest.position)
    replay, start = Replay(), LOG_START
    if oldest is not None:
        loaded = snapshots.load(partition, name=oldest.name)
        if loaded.replay is None:
            return _problem(partition, "; ".join(map(str, loaded.faults)), end=newest.position)
        replay, start = loaded.replay, loaded.position
    count = 0
    for stored in read(partition, start):
        if stored.offset >= newest.position:
            break
        if count == 0 and stored.offset > start:
            what = f"the log begins at offset {stored.offset} by now, and no older snapshot is kept"
            return _problem(partition, what, end=newest.position)
        replay.fold(stored)
        count += 1
    recorded, replayed = taken.replay.now, replay.now
    recorded_hash, replayed_hash = state_digest(recorded), state_digest(replayed)
    differing: tuple[str, ...] = ()
    if recorded_hash != replayed_hash:
        ours, theirs = household_digests(recorded), household_digests(replayed)
        keys = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
        differing = tuple(key.decode(errors="backslashreplace") for key in keys[:HOUSEHOLDS_NAMED])
    return Verified(
        partition=partition,
        start=start,
        end=newest.position,
        record_count=count,
        household_count=recorded.households.count,
        state_hash=recorded_hash,
        replayed_hash=replayed_hash,
        differing=differing,
    )
