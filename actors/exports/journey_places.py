"""Where the instances of journeys with states are: folded from the newest snapshots and the log behind them."""

from collections.abc import Iterator
from dataclasses import dataclass

from actors.exports.columns import key_text
from actors.log.contract import LOG_START, Offset, PartitionId, StoredRecord
from actors.log.reading import ReadLogs
from actors.records.replay import Replay
from actors.snapshots.store import SnapshotStore
from household.state import PartitionState
from household.tables.instances import Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneyPlace:
    """Where one instance is."""

    household: str
    journey: str
    state: str
    """That it is in, or was in last."""
    ending: Ending
    """LIVE while it runs."""


def journey_places(
    read: ReadLogs, snapshots: SnapshotStore | None = None, *, until_us: int | None = None
) -> Iterator[JourneyPlace]:
    """Yield where each instance is that is remembered, partition by partition.

    Args:
        until_us: what was recorded later is not folded, and snapshots are used only where the log has lost its start;
            None: all is.

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
            is_needed = until_us is None or stored.offset > LOG_START
            folded, start = _begun(partition, snapshots if is_needed else None)
        if stored.offset >= start and (until_us is None or is_before(folded, stored, until_us)):
            folded.fold(stored)
    yield from _of(folded.state)


def is_before(folded: Replay, stored: StoredRecord, until_us: int) -> bool:
    """Return whether a record was written by then; where the newest event is now, whether now has not come so far."""
    if folded.stream_clock:
        return folded.state is None or folded.state.now_us < until_us
    return stored.record.stamp_us <= until_us


def _begun(partition: int, snapshots: SnapshotStore | None) -> tuple[Replay, Offset]:
    if snapshots is None:
        return Replay(), LOG_START
    loaded = snapshots.load(PartitionId(partition))
    return (Replay(), LOG_START) if loaded.replay is None else (loaded.replay, loaded.position)


def _of(state: PartitionState | None) -> Iterator[JourneyPlace]:
    if state is None:
        return
    instances = state.instances
    for slot in instances.slots_in_order().tolist():
        one = instances.row(slot)
        household = key_text(state.households.key(instances.owner(slot)))
        yield JourneyPlace(household=household, journey=one.journey, state=one.step, ending=one.ending)
