"""Hand-overs of outbound actions, as a table: what owners noted of actions on their way to gateways, in log order."""

from collections.abc import Iterator

import pyarrow as pa

from actors.exports.columns import TIME
from actors.log.contract import RecordKind
from actors.log.reading import ReadLogs
from actors.records import codec

NOTES_PER_TABLE = 65_536

DELIVERY_SCHEMA = pa.schema(
    [
        ("partition", pa.int32()),
        ("recorded_at", TIME),
        ("action_id", pa.string()),
        ("step", pa.string()),
        ("channel", pa.string()),
        ("reason", pa.string()),
    ]
)


def delivery_tables(read: ReadLogs) -> Iterator[pa.Table]:
    """Yield all steps of all outbound actions, in tables of some thousand rows: at least one.

    Raises:
        LogError: a log is damaged or cannot be read.
        PayloadUnreadable: a record is not what its kind says.
    """
    rows: list[tuple[object, ...]] = []
    for partition, stored in read():
        if stored.record.kind is RecordKind.DELIVERY:
            at_us = stored.record.stamp_us
            rows += [
                (partition, at_us, note.action_id, note.step.value, note.channel, note.reason)
                for note in codec.decode_delivery(stored.record.payload)
            ]
            if len(rows) >= NOTES_PER_TABLE:
                yield _table(rows)
                rows = []
    yield _table(rows)


def _table(rows: list[tuple[object, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(DELIVERY_SCHEMA)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, DELIVERY_SCHEMA, strict=True)]
    return pa.table(arrays, schema=DELIVERY_SCHEMA)
