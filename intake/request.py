"""From columns of signals to the request that carries them."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.timestamp_pb2 import Timestamp

from hearth.v1 import signal_pb2
from intake.reading.signals import FIELD_PREFIX, FILE_COLUMN, ROW_COLUMN
from wire.batches import IDENTIFIER_COLUMN, SIGNAL_COUNT_MAX, SOURCE_COLUMN, ipc_bytes

OUR_COLUMNS = ("event_id", "type", "household", "member", "time")
OF_SIGNALS = frozenset({*OUR_COLUMNS, SOURCE_COLUMN, IDENTIFIER_COLUMN})
"""What a column of such a name would be taken for, also where the signals have none of it."""


def request_of(signals: pa.Table) -> signal_pb2.IngestRequest:
    """Return the request for a table as `FileMapper.map` makes it, up to 65,536 rows.

    Columnar; in that form a field cannot be called as a column of ours, so where one is, message by message. Then at
    most 10,000 rows. Fields that no row has are left out. No event is given a source: the ids of files hold it where
    there is one, and must not depend on which fields came along.
    """
    table = signals.drop_columns([FILE_COLUMN, ROW_COLUMN])
    ours = [*OUR_COLUMNS]
    if IDENTIFIER_COLUMN in table.column_names:
        if pc.any(pc.not_equal(table.column(IDENTIFIER_COLUMN), "")).as_py():
            ours.append(IDENTIFIER_COLUMN)
        else:
            table = table.drop_columns([IDENTIFIER_COLUMN])
    present = [name for name, column in zip(table.column_names, table.columns, strict=True) if _is_sent(name, column)]
    table = table.select(present)
    fields = [name.removeprefix(FIELD_PREFIX) for name in present if name.startswith(FIELD_PREFIX)]
    if not OF_SIGNALS.isdisjoint(fields):
        return signal_pb2.IngestRequest(signals=_signals_of(table))
    return signal_pb2.IngestRequest(arrow_stream=ipc_bytes(table.rename_columns([*ours, *fields])))


def _is_sent(name: str, column: pa.ChunkedArray) -> bool:
    return not name.startswith(FIELD_PREFIX) or column.null_count < len(column)


def _signals_of(table: pa.Table) -> Iterator[signal_pb2.Signal]:
    assert table.num_rows <= SIGNAL_COUNT_MAX
    fields = [name for name in table.column_names if name.startswith(FIELD_PREFIX)]
    for row in table.to_pylist():
        seconds, micros = divmod(row["time"], 1_000_000)
        yield signal_pb2.Signal(
            event_id=row["event_id"],
            type=row["type"],
            household=row["household"],
            member=row["member"],
            identifier=row.get(IDENTIFIER_COLUMN, ""),
            time=Timestamp(seconds=seconds, nanos=micros * 1_000),
            fields={name.removeprefix(FIELD_PREFIX): _value_of(row[name]) for name in fields if row[name] is not None},
        )


def _value_of(cell: float | str | bool) -> signal_pb2.FieldValue:
    match cell:
        case bool():
            return signal_pb2.FieldValue(flag=cell)
        case str():
            return signal_pb2.FieldValue(text=cell)
        case _:
            return signal_pb2.FieldValue(number=cell)
