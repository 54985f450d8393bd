"""What all partitions know at last, or by a time: a state of each, and of each component that is on its way.

Folded from the newest snapshots and what the logs hold beyond them. What has left one partition and has not come to the
other is in neither's rows; it is known all the same.
"""

from collections.abc import Iterator

from actors.log.contract import LOG_START, Offset, PartitionId, RecordKind, StoredRecord
from actors.log.reading import ReadLogs
from actors.records import codec
from actors.records.payload import PayloadUnreadable
from actors.records.replay import Replay
from actors.snapshots.store import SnapshotStore
from household.plan import Plan
from household.relocation.packing import unpacked
from household.state import PartitionState
from household.tables.relocations import Departure


def folded_states(
    read: ReadLogs, snapshots: SnapshotStore | None = None, *, until_us: int | None = None
) -> Iterator[tuple[int, PartitionState]]:
    """Yield (partition, state): partition by partition, and then what is on its way, with the partition that it left.

    Args:
        read: of the logs.
        snapshots: to begin with.
        until_us: what was recorded later is not folded, and snapshots are used only where a log has lost its start;
            None: all is.

    Raises:
        LogError: a log is damaged or cannot be read.
        PayloadUnreadable, PlanUnreadable: a record is not what its kind says, or a log has lost what no snapshot holds.
        OSError: the snapshots could not be listed.
    """
    way = _OnTheWay()
    for partition, folded in _folded(read, snapshots, until_us, way):
        if folded.state is not None:
            way.note(folded.state)
            yield partition, folded.state
    yield from way.states()


def _folded(
    read: ReadLogs, snapshots: SnapshotStore | None, until_us: int | None, way: "_OnTheWay"
) -> Iterator[tuple[int, Replay]]:
    folded, partition, start, is_ended = Replay(), -1, LOG_START, False
    done: set[int] = set()
    for number, stored in read():
        if number != partition:
            if partition >= 0:
                yield partition, folded
            partition = number
            done.add(partition)
            is_ended = False
            is_needed = until_us is None or stored.offset > LOG_START
            folded, start = _begun(partition, snapshots if is_needed else None)
            if stored.offset > start:
                what = f"partition {partition}: the log begins at {stored.offset}, and no sound snapshot reaches there"
                raise PayloadUnreadable(what)
        if is_ended or stored.offset < start:
            continue
        if stored.record.kind is RecordKind.RELOCATION and way.is_ahead(partition, stored):
            # Owners write on while one partition is read after another: here it ends, as the others do.
            is_ended = True
        elif until_us is None or is_before(folded, stored, until_us):
            folded.fold(stored)
    if partition >= 0:
        yield partition, folded
    for rest in snapshots.partitions() if snapshots is not None and until_us is None else ():
        if rest not in done:
            yield rest, _begun(rest, snapshots)[0]


def is_before(folded: Replay, stored: StoredRecord, until_us: int) -> bool:
    """Return whether a record was written by then; where the newest event is now, whether now has not come so far."""
    if folded.stream_clock:
        return folded.state is None or folded.state.now_us < until_us
    return stored.record.stamp_us <= until_us


def _begun(partition: int, snapshots: SnapshotStore | None) -> tuple[Replay, Offset]:
    """Return a replay from the newest sound snapshot of a partition, and from where on it wants the log."""
    if snapshots is None:
        return Replay(), LOG_START
    loaded = snapshots.load(PartitionId(partition))
    return (Replay(), LOG_START) if loaded.replay is None else (loaded.replay, loaded.position)


class _OnTheWay:
    """What has left some partition and is not known there to have come; of states that are not kept."""

    def __init__(self) -> None:
        self._departures: list[tuple[int, Departure, Plan, bool]] = []
        """Source, what left, the plan that it is read under, and whether the newest event is now there."""
        self._come: dict[tuple[int, int], int] = {}
        """Source and target → the newest departure that has come; of a partition and itself that has left."""
        self._read: set[int] = set()

    def is_ahead(self, partition: int, stored: StoredRecord) -> bool:
        """Return whether a record tells of what partitions that were read before had not left, or not got, by then."""
        note = codec.decode_relocations(stored.record.payload)
        return any(
            one.source in self._read and self._come.get((one.source, one.source), -1) < one.number for one in note.came
        ) or any(
            one.target in self._read and self._come.get((partition, one.target), -1) < one.number for one in note.done
        )

    def note(self, state: PartitionState) -> None:
        """Look at a partition's state."""
        self._read.add(state.partition)
        self._departures += [(state.partition, one, state.plan, state.stream_clock) for one in state.departures]
        self._come |= {(one.source, state.partition): one.number for one in state.arrivals}

    def states(self) -> Iterator[tuple[int, PartitionState]]:
        """Yield what is on its way, with the partition that it left."""
        for source, one, plan, stream_clock in self._departures:
            if self._come.get((source, one.target), -1) < one.number:
                yield source, unpacked(one.data, plan, stream_clock=stream_clock).state
