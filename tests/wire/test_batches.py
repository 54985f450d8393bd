"""Laws: what an edge makes of signals is of the layout that a shard checks; the column of a field leads back to it."""

import pyarrow as pa
import pytest

from hearth.v1 import signal_pb2
from household.events import NO_TIME_US
from serving.signal_batches import batch_from_signals, report_batch
from tests.serving.test_signal_batches import batch_of, signal
from wire.batches import (
    FIXED_COLUMNS,
    GROUP_COLUMN,
    NUMBERS,
    REPORT_FIELDS,
    REQUEST_HASH_COLUMN,
    SOURCE_COLUMN,
    TEXTS,
    field_column,
    field_of,
    ipc_bytes,
    is_of_layout,
)


def test_all_that_an_edge_makes_is_of_the_layout():
    plain = batch_from_signals([signal(amount=1.5, roaming=True, app="video"), signal_pb2.Signal(source="crm")])
    report = batch_of(
        report_batch(
            request_id="r",
            household="h",
            member="",
            event_type="hearth.accept",
            action_id="a",
            channel="app",
            time_us=NO_TIME_US,
            group="main",
            request_hash=b"x",
        )
    )
    for batch in (plain, report):
        assert set(FIXED_COLUMNS) <= set(batch.schema.names)
        assert all(is_of_layout(field.name, field.type) for field in batch.schema)
    assert SOURCE_COLUMN in plain.schema.names
    assert {GROUP_COLUMN, REQUEST_HASH_COLUMN} <= set(report.schema.names)
    assert {field[1] for name in report.schema.names if (field := field_of(name))} == set(REPORT_FIELDS)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("household", pa.int64()),
        ("time", pa.timestamp("us")),
        ("type", pa.int16()),
        ("n:amount", pa.string()),
        ("s:app", pa.float64()),
        (REQUEST_HASH_COLUMN, pa.string()),
    ],
)
def test_a_column_of_another_type_is_not(column: str, kind: pa.DataType):
    assert not is_of_layout(column, kind)


@pytest.mark.parametrize("space", [NUMBERS, TEXTS])
def test_a_column_leads_back_to_its_field(space: str):
    assert field_of(field_column(space, "a:b")) == (space, "a:b")


@pytest.mark.parametrize("column", [*FIXED_COLUMNS, SOURCE_COLUMN, REQUEST_HASH_COLUMN, "n:", "x:y", "n"])
def test_no_other_column_holds_a_field(column: str):
    assert field_of(column) is None


def test_rows_become_one_stream_of_one_batch():
    batch = batch_from_signals([signal()])
    assert batch_of(ipc_bytes(batch)).equals(batch)
    assert batch_of(ipc_bytes(pa.Table.from_batches([batch]))).equals(batch)
