"""What the log holds, as tables: decisions, signals and moments, in log order, for training and for analysts.

Reaches back as far as the log is kept. Nothing is folded: each record says all that its row does.
"""

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from actors import codec
from actors.log import LOG_START, PartitionId, RecordKind, StoredRecord
from actors.reading import ReadLogs
from actors.snapshot import SnapshotStore
from household.decision import Decision, SlateAction
from household.plan import Plan

ROWS_PER_TABLE = 16_384

DECISION_SCHEMA = pa.schema(
    [
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("decision_id", pa.string()),
        ("request_id", pa.string()),
        ("household", pa.string()),
        ("member", pa.string()),
        ("decided_at_us", pa.int64()),
        ("asked", pa.bool_()),
        ("channel", pa.string()),
        ("playbook_version", pa.string()),
        ("model_version", pa.string()),
        ("feature_schema_hash", pa.string()),
        ("degraded", pa.bool_()),
        ("withheld", pa.bool_()),
        ("propensity", pa.float64()),
        ("reasons", pa.list_(pa.string())),
        ("moments", pa.list_(pa.string())),
        ("local_minute_of_week", pa.int32()),
        ("action_id", pa.string()),
        ("chosen_offer", pa.string()),
        ("chosen_price_minor", pa.int64()),
        ("chosen_has_moment", pa.bool_()),
        ("chosen_score", pa.float64()),
        ("valid_until_us", pa.int64()),
        ("state_vector", pa.list_(pa.float32())),
    ]
)

MOMENT_SCHEMA = pa.schema(
    [
        ("partition", pa.int32()),
        ("moment_id", pa.string()),
        ("household", pa.string()),
        ("member", pa.string()),
        ("journey", pa.string()),
        ("event_id", pa.binary()),
        ("event_type", pa.string()),
        ("time_us", pa.int64()),
        ("decision_id", pa.string()),
    ]
)

KINDS = ("decisions", "signals", "moments")

KEYS = ("household", "member")
"""Columns that are bytes in the log and text here."""


def export_table(read: ReadLogs, kind: str) -> Iterator[pa.Table]:
    """Yield what the logs hold of one kind, in tables of some thousand rows.

    Reads beside a running owner: what is durable when a partition's turn comes is included. A decision of an owner
    that was outdated when it wrote counts for nothing, and is left out.

    Raises:
        LogError: a log is damaged or cannot be read.
        PayloadUnreadable: a record is not what its kind says.
    """
    assert kind in KINDS, f"{kind} is none of {KINDS}"
    if kind == "signals":
        yield from _signals(read)
        return
    rows_of, schema = (_decision_rows, DECISION_SCHEMA) if kind == "decisions" else (_moment_rows, MOMENT_SCHEMA)
    yield from _tables(read, rows_of, schema)


def export_plans(read: ReadLogs, snapshots: SnapshotStore | None = None) -> dict[str, Plan]:
    """Return every plan that was in force where the logs reach, by version.

    The record of the one that was in force where a log begins may have been dropped: the snapshots that covered what
    was dropped have it, unless yet another came into force before the oldest of them.

    Raises:
        LogError, PayloadUnreadable: as `export_table`.
        OSError: the snapshots could not be listed.
    """
    plans: dict[str, Plan] = {}
    for partition in _partitions_without_start(read):
        for plan in snapshots.plans(partition) if snapshots is not None else ():
            plans[plan.version] = plan
    for _, stored in _records(read, RecordKind.PLAN):
        plan = codec.decode_plan(stored.record.payload)
        plans[plan.version] = plan
    return plans


def _partitions_without_start(read: ReadLogs) -> Iterator[PartitionId]:
    seen = -1
    for partition, stored in read():
        if partition != seen and stored.offset > LOG_START:
            yield PartitionId(partition)
        seen = partition


OWNERS_WORD = frozenset({RecordKind.DECISION, RecordKind.PLAN, RecordKind.DELIVERY})
"""Kinds that are void behind the epoch record of a newer owner, as in the fold."""


def _records(read: ReadLogs, kind: RecordKind) -> Iterator[tuple[int, StoredRecord]]:
    epoch, epoch_partition = 0, -1
    for partition, stored in read():
        if partition != epoch_partition:
            epoch, epoch_partition = 0, partition
        record = stored.record
        if record.kind is RecordKind.EPOCH:
            epoch = max(epoch, record.epoch)
        if record.kind is kind and not (kind in OWNERS_WORD and record.epoch < epoch):
            yield partition, stored


Rows = Callable[[int, StoredRecord, codec.DecisionRecord], list[dict[str, object]]]


def _tables(read: ReadLogs, rows_of: Rows, schema: pa.Schema) -> Iterator[pa.Table]:
    rows: list[dict[str, object]] = []
    for partition, stored in _records(read, RecordKind.DECISION):
        rows += rows_of(partition, stored, codec.decode_decision(stored.record.payload))
        if len(rows) >= ROWS_PER_TABLE:
            yield pa.Table.from_pylist(rows, schema=schema)
            rows = []
    yield pa.Table.from_pylist(rows, schema=schema)


def _text(key: bytes) -> str:
    return key.decode(errors="backslashreplace")


def chosen(decision: Decision) -> SlateAction | None:
    """Return the action that was given to the asking channel or sent; None for none, or one of an earlier slate."""
    wanted = decision.answered or (decision.slate[0].action_id if decision.slate and decision.send_channel else "")
    return next((action for action in decision.slate if action.action_id == wanted), None)


def _decision_rows(partition: int, stored: StoredRecord, record: codec.DecisionRecord) -> list[dict[str, object]]:
    decision = record.decision
    action = chosen(decision)
    score = next((one.score for one in decision.candidates if action and one.offer == action.offer), None)
    return [
        {
            "partition": partition,
            "offset": stored.offset,
            "decision_id": decision.decision_id,
            "request_id": decision.request_id,
            "household": _text(decision.household),
            "member": _text(decision.member),
            "decided_at_us": decision.decided_us,
            "asked": bool(decision.channel),
            "channel": decision.channel or decision.send_channel,
            "playbook_version": decision.plan_version,
            "model_version": decision.model_version,
            "feature_schema_hash": decision.schema_hash,
            "degraded": decision.degraded,
            "withheld": decision.withheld,
            "propensity": decision.propensity,
            "reasons": list(decision.reasons),
            "moments": [moment.moment_id for moment in decision.moments],
            "local_minute_of_week": decision.local_minute_of_week,
            "action_id": action.action_id if action else None,
            "chosen_offer": action.offer if action else None,
            "chosen_price_minor": action.price_minor if action else None,
            "chosen_has_moment": bool(action.journey) if action else None,
            "chosen_score": score,
            "valid_until_us": action.valid_until_us if action else None,
            "state_vector": decision.state_vector,
        }
    ]


def _moment_rows(partition: int, stored: StoredRecord, record: codec.DecisionRecord) -> list[dict[str, object]]:
    return [
        {
            "partition": partition,
            "moment_id": moment.moment_id,
            "household": _text(record.decision.household),
            "member": _text(member),
            "journey": moment.journey,
            "event_id": moment.event_id,
            "event_type": moment.event_type,
            "time_us": moment.time_us,
            "decision_id": record.decision.decision_id,
        }
        for moment, member in zip(record.decision.moments, record.moment_members, strict=True)
    ]


def _signals(read: ReadLogs) -> Iterator[pa.Table]:
    """Yield the signals as they were sent: event_id, household, member, type, time_us, and a column per field.

    Batches differ in their fields, so the log is read twice: once for the columns there are, once for the rows.
    """
    columns: dict[str, pa.DataType] = {}
    for _, stored in _records(read, RecordKind.SIGNALS):
        with pa.ipc.open_stream(pa.py_buffer(stored.record.payload)) as stream:
            columns.update({field.name: _plain_type(field.type) for field in stream.schema})
    schema = pa.schema(
        [("partition", pa.int32())]
        + [(_column_name(name, columns), pa.string() if name in KEYS else kind) for name, kind in columns.items()]
    )
    for partition, stored in _records(read, RecordKind.SIGNALS):
        with pa.ipc.open_stream(pa.py_buffer(stored.record.payload)) as stream:
            batch = stream.read_next_batch()
        arrays = [pa.array([partition] * batch.num_rows, pa.int32())]
        for name, field in zip(columns, list(schema)[1:], strict=True):
            if name in batch.schema.names:
                arrays.append(pc.cast(batch.column(name), field.type))
            else:
                arrays.append(pa.nulls(batch.num_rows, field.type))
        yield pa.Table.from_arrays(arrays, schema=schema)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _column_name(name: str, columns: dict[str, pa.DataType]) -> str:
    """A field is called as its sender called it; where it came as number and as text, the text is `<name>_text`."""
    space, _, field = name.partition(":")
    if not field:
        return "time_us" if name == "time" else name
    return f"{field}_text" if space == "s" and f"n:{field}" in columns else field
