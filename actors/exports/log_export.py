"""What the log holds, as tables: decisions, signals and moments, in log order, for training and for analysts.

Reaches back as far as the log is kept. Nothing is folded: each record says all that its row does. docs/exports.md
describes the columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from actors.exports.columns import TIME, key_text
from actors.exports.decisions import DecisionColumns, decision_table
from actors.exports.signals import SignalColumns, schema_message
from actors.log.contract import LOG_START, Offset, PartitionId, RecordKind, StoredRecord
from actors.log.reading import ReadLogs
from actors.records import codec
from actors.records.kinds import EXPORTS, OWNERS_WORD
from actors.snapshots.store import SnapshotStore
from household.plan import Plan

DECISIONS_PER_TABLE = 8_192
SIGNALS_PER_TABLE = 65_536
RECORDS_PER_TABLE = 16_384


MOMENT_SCHEMA = pa.schema(
    [
        ("partition", pa.int32()),
        ("moment_id", pa.string()),
        ("household", pa.string()),
        ("member", pa.string()),
        ("journey", pa.string()),
        ("event_id", pa.string()),
        ("event_type", pa.string()),
        ("time", TIME),
        ("decision_id", pa.string()),
        ("decided_at", TIME),
    ]
)


def export_table(
    read: ReadLogs, kind: str, snapshots: SnapshotStore | None = None, *, surveyed: "Survey | None" = None
) -> Iterator[pa.Table]:
    """Yield what the logs hold of one kind, in tables of some thousand rows: at least one, all of one schema.

    Reads beside a running owner: what is durable when the export begins is included. A decision of an owner that was
    outdated when it wrote counts for nothing, and is left out. Who has surveyed these logs, or more of them, before
    saves that reading by `surveyed`; the columns are those of all that was surveyed.

    Raises:
        LogError: a log is damaged or cannot be read.
        PayloadUnreadable, PlanUnreadable: a record is not what its kind says.
        OSError: the snapshots could not be listed.
    """
    assert kind in EXPORTS, f"{kind} is none of {EXPORTS}"
    match kind:
        case "signals":
            yield from _signals(read, snapshots, surveyed or survey(read))
        case "decisions":
            yield from _decisions(read, snapshots, surveyed or survey(read))
        case "moments":
            yield from _moments(read)
        case _:
            raise AssertionError(f"{kind} is listed and not written")


def export_plans(read: ReadLogs, snapshots: SnapshotStore | None = None) -> dict[str, Plan]:
    """Return every plan that was in force where the logs reach, by version, the newest last.

    The record of the one that was in force where a log begins may have been dropped: the snapshots that covered what
    was dropped have it, unless yet another came into force before the oldest of them.

    Raises:
        LogError, PayloadUnreadable, PlanUnreadable: as `export_table`.
        OSError: the snapshots could not be listed.
    """
    return survey(read).plans_with(snapshots)


@dataclass(slots=True, kw_only=True)
class Survey:
    """What a first reading of the logs finds; the second keeps to it, though a running owner writes on."""

    ends: dict[int, Offset] = field(default_factory=dict)
    """By partition: its last record then."""
    without_start: set[int] = field(default_factory=set)
    """Partitions whose oldest records were dropped."""
    plans: dict[str, tuple[int, Plan]] = field(default_factory=dict)
    """By version: the newest stamp of its records, and the plan."""
    signal_schemas: dict[bytes, None] = field(default_factory=dict)
    """Schema messages of the signal batches, in order of appearance."""
    newest_us: int = 0
    """The newest stamp of all records."""
    is_any_relocated: bool = False
    """Whether what became of a decision may stand in another partition's log than the decision."""

    def plans_with(self, snapshots: SnapshotStore | None) -> dict[str, Plan]:
        """Return the plans by version, the newest last; those of snapshots count as oldest."""
        found: dict[str, Plan] = {}
        for partition in sorted(self.without_start):
            for plan in snapshots.plans(PartitionId(partition)) if snapshots is not None else ():
                found.setdefault(plan.version, plan)
        for version, (_, plan) in sorted(self.plans.items(), key=lambda item: item[1][0]):
            found.pop(version, None)
            found[version] = plan
        return found

    def again(self, read: ReadLogs) -> Iterator[tuple[int, StoredRecord]]:
        """Yield what there was at the first reading, and is not void."""
        for partition, stored in _in_force(read):
            if stored.offset <= self.ends.get(partition, Offset(-1)):
                yield partition, stored


def survey(read: ReadLogs) -> Survey:
    """Return what a first reading of logs finds; raises as `export_table` does."""
    found = Survey()
    for partition, stored in _in_force(read):
        if partition not in found.ends and stored.offset > LOG_START:
            found.without_start.add(partition)
        found.ends[partition] = stored.offset
        record = stored.record
        found.newest_us = max(found.newest_us, record.stamp_us)
        if record.kind is RecordKind.SIGNALS:
            found.signal_schemas.setdefault(schema_message(record.payload))
        elif record.kind is RecordKind.PLAN:
            plan = codec.decode_plan(record.payload)
            newest, _ = found.plans.get(plan.version, (record.stamp_us, plan))
            found.plans[plan.version] = (max(newest, record.stamp_us), plan)
        elif record.kind is RecordKind.RELOCATION:
            found.is_any_relocated = True
    return found


def _in_force(read: ReadLogs) -> Iterator[tuple[int, StoredRecord]]:
    """Yield (partition, record) of all that is not void."""
    epoch, epoch_partition = 0, -1
    for partition, stored in read():
        if partition != epoch_partition:
            epoch, epoch_partition = 0, partition
        record = stored.record
        if record.kind is RecordKind.EPOCH:
            epoch = max(epoch, record.epoch)
        if not (record.kind in OWNERS_WORD and record.epoch < epoch):
            yield partition, stored


def _decisions(read: ReadLogs, snapshots: SnapshotStore | None, surveyed: Survey) -> Iterator[pa.Table]:
    columns = DecisionColumns.of(surveyed.plans_with(snapshots))
    waiting: list[tuple[int, StoredRecord, codec.DecisionRecord]] = []
    for partition, stored in surveyed.again(read):
        if stored.record.kind is RecordKind.DECISION:
            waiting.append((partition, stored, codec.decode_decision(stored.record.payload)))
            if len(waiting) == DECISIONS_PER_TABLE:
                yield decision_table(waiting, columns)
                waiting = []
    yield decision_table(waiting, columns)


def _moments(read: ReadLogs) -> Iterator[pa.Table]:
    rows: list[dict[str, object]] = []
    for partition, stored in _in_force(read):
        if stored.record.kind is RecordKind.DECISION:
            rows += _moment_rows(partition, codec.decode_decision(stored.record.payload))
            if len(rows) >= RECORDS_PER_TABLE:
                yield pa.Table.from_pylist(rows, schema=MOMENT_SCHEMA)
                rows = []
    yield pa.Table.from_pylist(rows, schema=MOMENT_SCHEMA)


def _moment_rows(partition: int, record: codec.DecisionRecord) -> list[dict[str, object]]:
    return [
        {
            "partition": partition,
            "moment_id": moment.moment_id,
            "household": key_text(record.decision.household),
            "member": key_text(member),
            "journey": moment.journey,
            "event_id": key_text(moment.event_id),
            "event_type": moment.event_type,
            "time": moment.time_us,
            "decision_id": record.decision.decision_id,
            "decided_at": record.decision.decided_us,
        }
        for moment, member in zip(record.decision.moments, record.moment_members, strict=True)
    ]


def _signals(read: ReadLogs, snapshots: SnapshotStore | None, surveyed: Survey) -> Iterator[pa.Table]:
    """Yield the signals as they were sent. Batches differ in their fields, so the log is read for the columns first."""
    columns = SignalColumns.of(surveyed.signal_schemas, surveyed.plans_with(snapshots).values())
    waiting: list[tuple[int, StoredRecord]] = []
    rows = 0
    for partition, stored in surveyed.again(read):
        if stored.record.kind is RecordKind.SIGNALS:
            waiting.append((partition, stored))
            # What is not opened yet counts by its size: a row takes some dozen bytes at least.
            rows += len(stored.record.payload) // 64
            if rows >= SIGNALS_PER_TABLE or len(waiting) == RECORDS_PER_TABLE:
                yield columns.table(waiting)
                waiting, rows = [], 0
    yield columns.table(waiting)
