"""The arms that households are in, as a table: what was recorded once, whatever a playbook says by now.

Folded from the newest snapshots and what the logs hold beyond them, since a record outlives the decision that made it.
"""

from collections.abc import Iterator

import pyarrow as pa

from actors.exports.columns import TIME, key_text
from actors.exports.folded_states import folded_states
from actors.log.reading import ReadLogs
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

    The partition of one that is on its way is that which it left.

    Raises:
        LogError: a log is damaged or cannot be read.
        PayloadUnreadable, PlanUnreadable: a record is not what its kind says, or a log has lost what no snapshot holds.
        OSError: the snapshots could not be listed.
    """
    yield pa.Table.from_pylist([], schema=ASSIGNMENT_SCHEMA)
    for partition, state in folded_states(read, snapshots):
        yield from _rows(partition, state)


def _rows(partition: int, state: PartitionState) -> Iterator[pa.Table]:
    rows: list[dict[str, object]] = []
    for one in _each(state):
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
