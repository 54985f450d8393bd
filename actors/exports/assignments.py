"""The arms that households are in, as a table: what was recorded once, whatever a playbook says by now.

Folded from the newest snapshots and what the logs hold beyond them, since a record outlives the decision that made it.
"""

from collections.abc import Iterator

import pyarrow as pa

from actors.exports.columns import TIME, key_text
from actors.log.contract import LOG_START, Offset, PartitionId
from actors.log.reading import ReadLogs
from actors.records.payload import PayloadUnreadable
from actors.records.replay import Replay
from actors.snapshots.store import SnapshotStore
from household.state import PartitionState

ASSIGNMENTS_PER_TABLE = 65_536

ASSIGNMENT_SCHEMA = pa.schema(
    [
        ("partition", pa.int32()),
        ("time", TIME),
        ("household", pa.string()),
        ("experiment", pa.string()),
        ("layer", pa.string()),
        ("arm", pa.string()),
        ("share", pa.float64()),
        ("salt", pa.string()),
        ("version", pa.string()),
        ("reason", pa.string()),
    ]
)


def assignment_tables(read: ReadLogs, snapshots: SnapshotStore | None = None) -> Iterator[pa.Table]:
    """Yield all recorded arms, in tables of some thousand rows: at least one, partition by partition.

    Raises:
        LogError: a log is damaged or cannot be read.
        PayloadUnreadable, PlanUnreadable: a record is not what its kind says, or a log has lost what no snapshot holds.
        OSError: the snapshots could not be listed.
    """
    yield pa.Table.from_pylist([], schema=ASSIGNMENT_SCHEMA)
    folded, partition, start = Replay(), -1, LOG_START
    done: set[int] = set()
    for number, stored in read():
        if number != partition:
            yield from _rows(partition, folded)
            done.add(partition)
            partition = number
            folded, start = _begun(partition, snapshots)
            if stored.offset > start:
                what = f"partition {partition}: the log begins at {stored.offset}, and no sound snapshot reaches there"
                raise PayloadUnreadable(what)
        if stored.offset >= start:
            folded.fold(stored)
    yield from _rows(partition, folded)
    done.add(partition)
    for rest in snapshots.partitions() if snapshots is not None else ():
        if rest not in done:
            yield from _rows(rest, _begun(rest, snapshots)[0])


def _begun(partition: int, snapshots: SnapshotStore | None) -> tuple[Replay, Offset]:
    """Return a replay from the newest sound snapshot of a partition, and from where on it wants the log."""
    if snapshots is None:
        return Replay(), LOG_START
    loaded = snapshots.load(PartitionId(partition))
    return (Replay(), LOG_START) if loaded.replay is None else (loaded.replay, loaded.position)


def _rows(partition: int, folded: Replay) -> Iterator[pa.Table]:
    if folded.state is None:
        return
    rows: list[dict[str, object]] = []
    for one in _each(folded.state):
        rows.append({"partition": partition, **one})
        if len(rows) == ASSIGNMENTS_PER_TABLE:
            yield pa.Table.from_pylist(rows, schema=ASSIGNMENT_SCHEMA)
            rows = []
    yield pa.Table.from_pylist(rows, schema=ASSIGNMENT_SCHEMA)


def _each(state: PartitionState) -> Iterator[dict[str, object]]:
    """Yield what a partition holds, in the order in which it was met."""
    arms = state.arms
    for slot in arms.slots_in_order().tolist():
        one = arms.row(slot)
        yield {
            "time": one.met_us,
            "household": key_text(state.households.key(arms.owner(slot))),
            "experiment": one.experiment,
            "layer": one.layer.value,
            "arm": one.arm,
            "share": one.share_bp / 10_000,
            "salt": one.salt,
            "version": one.version,
            "reason": one.reason.value,
        }
