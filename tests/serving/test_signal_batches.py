"""Laws: a batch holds every row that was sent, right or wrong; both ways in give the same batch; a mistake in a stream
is named with its column and what it should be; of many answers one, whose rejections lead back to the request.
"""

import decimal
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2

from hearth.v1 import signal_pb2
from household.events import NO_TIME_US
from serving.arrow_streams import batch_from_arrow_stream, without_unknown
from serving.signal_batches import batch_from_signals, microseconds, report_batch
from serving.totals import merged_response
from wire.batches import FIELD_COUNT_MAX, FIXED_COLUMNS
from wire.failures import InvalidRequest, RequestTooLarge


def signal(event_id="e1", event_type="wallet.payment", household="h1", member="m1", time_us=1_000_001, **fields):
    made = signal_pb2.Signal(event_id=event_id, type=event_type, household=household, member=member)
    if time_us is not None:
        made.time.FromMicroseconds(time_us)
    for name, value in fields.items():
        match value:
            case bool():
                made.fields[name].flag = value
            case int():
                made.fields[name].integer = value
            case float():
                made.fields[name].number = value
            case str():
                made.fields[name].text = value
            case None:
                made.fields[name].SetInParent()
    return made


def stream_of(columns, *, rows_per_batch=None, options=None) -> bytes:
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows_per_batch)
    return bytes(sink.getvalue())


def columns_of(count=2, **changed):
    columns = {
        "event_id": pa.array([f"e{row}" for row in range(count)]),
        "type": pa.array(["a.b"] * count),
        "household": pa.array([f"h{row}" for row in range(count)]),
        "member": pa.array([""] * count),
        "time": pa.array(range(count), pa.int64()),
    }
    return {name: column for name, column in (columns | changed).items() if column is not None}


def batch_of(payload: bytes) -> pa.RecordBatch:
    (batch,) = pa.ipc.open_stream(payload)
    return batch


def violation(error: InvalidRequest) -> str:
    for detail in error.status.details:
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(bad_request):
            return str(bad_request.field_violations[0].description)
    raise AssertionError("no violation")


# --- protobuf ---


def test_signals_become_the_columns_of_the_contract():
    batch = batch_from_signals(
        [signal(amount=1.5, count=3, roaming=True, app="video"), signal("e2", "app.open", "h2", "", 2, app="chat")]
    )

    assert batch.schema == pa.schema(
        {
            "event_id": pa.binary(),
            "household": pa.binary(),
            "member": pa.binary(),
            "type": pa.dictionary(pa.int16(), pa.string()),
            "time": pa.int64(),
            "n:amount": pa.float64(),
            "n:count": pa.float64(),
            "n:roaming": pa.float64(),
            "s:app": pa.dictionary(pa.int32(), pa.string()),
        }
    )
    assert batch.to_pylist() == [
        {
            "event_id": b"e1",
            "household": b"h1",
            "member": b"m1",
            "type": "wallet.payment",
            "time": 1_000_001,
            "n:amount": 1.5,
            "n:count": 3.0,
            "n:roaming": 1.0,
            "s:app": "video",
        },
        {
            "event_id": b"e2",
            "household": b"h2",
            "member": b"",
            "type": "app.open",
            "time": 2,
            "n:amount": None,
            "n:count": None,
            "n:roaming": None,
            "s:app": "chat",
        },
    ]


def test_what_is_missing_is_empty_and_never_null():
    batch = batch_from_signals([signal_pb2.Signal(), signal()])

    assert batch.slice(0, 1).to_pylist() == [
        {"event_id": b"", "household": b"", "member": b"", "type": "", "time": NO_TIME_US}
    ]
    assert [column.null_count for column in batch.columns] == [0, 0, 0, 0, 0]


def test_one_name_may_hold_a_number_here_and_a_text_there():
    batch = batch_from_signals([signal(x=1), signal(x="one"), signal(x=None)])

    assert batch.column("n:x").to_pylist() == [1.0, None, None]
    assert batch.column("s:x").to_pylist() == [None, "one", None]


def test_nan_and_the_largest_integers_go_through():
    batch = batch_from_signals([signal(x=float("nan"), y=2**63 - 1)])

    assert np.isnan(batch.column("n:x")[0].as_py())
    assert batch.column("n:y")[0].as_py() == float(2**63)


@pytest.mark.parametrize(
    ("seconds", "nanos", "time_us"),
    [
        (0, 999, 0),
        (-1, 999_999_999, -1),
        (253_402_300_799, 0, 253_402_300_799_000_000),
        (253_402_300_800, 0, 253_402_300_800_000_000),
        (2**62, 0, 253_402_300_800_000_000),
        (0, -1, NO_TIME_US),
    ],
)
def test_microseconds_are_kept_and_impossible_times_are_none(seconds: int, nanos: int, time_us: int):
    assert microseconds(Timestamp(seconds=seconds, nanos=nanos)) == time_us


def test_ten_thousand_signals_travel_and_one_more_does_not():
    assert batch_from_signals([signal()] * 10_000).num_rows == 10_000
    with pytest.raises(InvalidRequest, match="10,001 signals; at most 10,000"):
        batch_from_signals([signal()] * 10_001)


def test_too_many_field_names_are_refused():
    with pytest.raises(InvalidRequest, match="513 different fields"):
        batch_from_signals([signal(**{f"f{number}": 1 for number in range(513)})])


def test_a_report_is_one_row_of_a_reserved_type():
    payload = report_batch(
        request_id="r1",
        household="h1",
        member="",
        event_type="hearth.accept",
        action_id="a1",
        channel="app",
        time_us=7,
    )

    assert batch_of(payload).to_pylist() == [
        {
            "event_id": b"r1",
            "household": b"h1",
            "member": b"",
            "type": "hearth.accept",
            "time": 7,
            "s:action_id": "a1",
            "s:channel": "app",
        }
    ]


# --- Arrow ---


def test_a_stream_gives_the_same_batch_as_signals():
    signals = [signal(amount=1.5, app="video"), signal("e2", "app.open", "h2", "", 2, app="chat")]
    stream = stream_of(
        {
            "app": pa.array(["video", "chat"]).dictionary_encode(),
            "amount": pa.array([1.5, None]),
            "time": pa.array([1_000_001, 2], pa.timestamp("us")),
            "event_id": pa.array([b"e1", b"e2"]),
            "type": pa.array(["wallet.payment", "app.open"], pa.large_string()),
            "household": pa.array(["h1", "h2"]).dictionary_encode(),
            "member": pa.array(["m1", None]),
        },
        rows_per_batch=1,
    )

    from_stream, from_signals = batch_from_arrow_stream(stream), batch_from_signals(signals)

    assert from_stream.to_pylist() == from_signals.to_pylist()
    assert set(map(str, from_stream.schema)) == set(map(str, from_signals.schema))


@pytest.mark.parametrize(
    "sources",
    [pa.array(["app", None]), pa.array(["app", None]).dictionary_encode(), pa.array([b"app", None], pa.large_binary())],
    ids=lambda sources: str(sources.type),
)
def test_a_source_travels_in_both_forms(sources: pa.Array):
    batch = batch_from_arrow_stream(stream_of(columns_of(source=sources)))
    assert batch.column("source").to_pylist() == [b"app", b""]
    assert batch.column("source").type == pa.binary()
    is_text = "binary" not in str(sources.type)
    assert ("s:source" in batch.schema.names) == is_text, "a playbook may have a field of that name"
    signals = [signal_pb2.Signal(event_id="e", source="app"), signal_pb2.Signal(event_id="e")]
    assert batch_from_signals(signals).column("source").equals(batch.column("source"))


def test_whose_event_it_is_hangs_on_no_number_of_fields():
    many = {f"x{number}": pa.array([1.0, 2.0]) for number in range(FIELD_COUNT_MAX + 1)}
    stream = stream_of(columns_of(source=pa.array(["app", "shop"]), amount=pa.array([3.0, 4.0]), **many))

    fewer, passed_over = without_unknown(stream, {"amount"})

    assert batch_from_arrow_stream(fewer).column("source").to_pylist() == [b"app", b"shop"]
    assert sorted(one.name for one in passed_over) == sorted(many)


def test_a_column_source_that_holds_no_names_is_a_field_and_without_any_there_is_no_column():
    batch = batch_from_arrow_stream(stream_of(columns_of(source=pa.array([1.5, 2.5]))))
    assert ("source" in batch.schema.names, batch.column("n:source").to_pylist()) == (False, [1.5, 2.5])
    assert "source" not in batch_from_signals([signal_pb2.Signal(event_id="e")]).schema.names


@pytest.mark.parametrize(
    "keys",
    [
        pa.array(["h0", None]),
        pa.array(["h0", None], pa.large_string()),
        pa.array([b"h0", None], pa.binary()),
        pa.array([b"h0", None], pa.large_binary()),
        pa.array([b"h0", None], pa.binary(2)),
        pa.array(["h0", None]).dictionary_encode(),
        pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.uint8()), pa.array([None, "h0"])),
        pa.DictionaryArray.from_arrays(pa.array([0, None], pa.int64()), pa.array([b"h0"], pa.large_binary())),
    ],
    ids=lambda keys: str(keys.type),
)
def test_keys_come_in_many_types(keys: pa.Array):
    batch = batch_from_arrow_stream(stream_of(columns_of(household=keys)))

    assert batch.column("household").to_pylist() == [b"h0", b""]
    assert batch.column("household").null_count == 0


@pytest.mark.parametrize(
    ("times", "expected_us"),
    [
        (pa.array([1_700_000_000_000_001, None], pa.int64()), [1_700_000_000_000_001, NO_TIME_US]),
        (pa.array([1_700_000_000, -1], pa.timestamp("s")), [1_700_000_000_000_000, -1_000_000]),
        (pa.array([1_700_000_000_001, None], pa.timestamp("ms", "UTC")), [1_700_000_000_001_000, NO_TIME_US]),
        (pa.array([1_001, -1], pa.timestamp("ns", "Europe/Berlin")), [1, -1]),
        (pa.array([2**62, -(2**63)], pa.timestamp("s")), [253_402_300_800_000_000, -62_135_596_801_000_000]),
        (pa.array([None, None], pa.null()), [NO_TIME_US, NO_TIME_US]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_times_of_every_unit_become_microseconds(times: pa.Array, expected_us: list[int]):
    batch = batch_from_arrow_stream(stream_of(columns_of(time=times)))

    assert batch.column("time").to_pylist() == expected_us


@pytest.mark.parametrize(
    "values",
    [
        pa.array([3, None], pa.int8()),
        pa.array([3, None], pa.uint64()),
        pa.array([3, None], pa.float32()),
        pa.array([decimal.Decimal("3.00"), None], pa.decimal128(10, 2)),
        pa.array([3, None], pa.int64()).dictionary_encode(),
    ],
    ids=lambda values: str(values.type),
)
def test_numbers_of_every_width_become_float64(values: pa.Array):
    batch = batch_from_arrow_stream(stream_of(columns_of(amount=values)))

    assert batch.schema.field("n:amount").type == pa.float64()
    assert batch.column("n:amount").to_pylist() == [3.0, None]


def test_bools_become_flags_and_a_column_without_values_is_none():
    columns = columns_of(roaming=pa.array([True, None]), nothing=pa.nulls(2))

    batch = batch_from_arrow_stream(stream_of(columns))

    assert batch.column("n:roaming").to_pylist() == [1.0, None]
    assert batch.schema.names == [*FIXED_COLUMNS, "n:roaming"]


def test_member_may_be_left_out_and_no_rows_are_a_batch():
    assert batch_from_arrow_stream(stream_of(columns_of(member=None))).column("member").to_pylist() == [b"", b""]
    assert batch_from_arrow_stream(stream_of(pa.table(columns_of()).slice(0, 0))).num_rows == 0


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        (columns_of(household=None), "column 'household' is missing; wanted event_id, household, member, type, time"),
        (columns_of(household=pa.array([1, 2])), "column 'household' is int64; wanted string or binary"),
        (columns_of(type=pa.array([b"a", b"b"])), "column 'type' is binary; wanted string"),
        (
            columns_of(time=pa.array(["now", "then"])),
            "column 'time' is string; wanted timestamp, or int64 microseconds since 1970 UTC",
        ),
        (columns_of(time=pa.array([1, 2], pa.int32())), "column 'time' is int32; wanted timestamp"),
        (columns_of(tags=pa.array([["a"], []])), "column 'tags' is list<item: string>; wanted a number"),
        (columns_of(raw=pa.array([b"a", b"b"])), "column 'raw' is binary; wanted a number, decimal, bool or string"),
        (columns_of(**{"": pa.array([1, 2])}), "field name '' has 0 bytes; wanted 1..128"),
        (columns_of(**{"x" * 129: pa.array([1, 2])}), "has 129 bytes; wanted 1..128"),
    ],
)
def test_a_wrong_column_is_named_with_the_type_wanted(columns: dict[str, pa.Array], complaint: str):
    with pytest.raises(InvalidRequest) as raised:
        batch_from_arrow_stream(stream_of(columns))

    assert complaint in violation(raised.value)


def test_a_column_that_occurs_twice_is_refused():
    names = [*columns_of(), "time"]
    doubled = pa.Table.from_arrays([*columns_of().values(), pa.array([1, 2])], names=names)

    with pytest.raises(InvalidRequest, match="'time' occurs 2 times"):
        batch_from_arrow_stream(stream_of(doubled))


def test_one_row_over_the_limit_is_refused():
    assert batch_from_arrow_stream(stream_of(columns_of(65_536))).num_rows == 65_536
    with pytest.raises(InvalidRequest, match="over 65,536 rows"):
        batch_from_arrow_stream(stream_of(columns_of(65_537), rows_per_batch=10_000))


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compressed_buffers_are_refused_before_they_unfold(codec: str):
    options = pa.ipc.IpcWriteOptions(compression=codec)
    plain = columns_of(1_000)
    in_dictionaries = columns_of(1_000, household=pa.array(["h" * 1_000] * 1_000).dictionary_encode())

    for columns in (plain, in_dictionaries):
        with pytest.raises(InvalidRequest, match="buffers are compressed"):
            batch_from_arrow_stream(stream_of(columns, options=options))


def test_one_long_dictionary_entry_cannot_be_spread_over_all_rows():
    bomb = pa.DictionaryArray.from_arrays(pa.array(np.zeros(60_000, np.int8)), pa.array(["h" * 100_000]))

    with pytest.raises(RequestTooLarge, match=r"6,0..,...,... bytes when dictionaries are spread out"):
        batch_from_arrow_stream(stream_of(columns_of(60_000, household=bomb)))


def test_text_that_is_not_utf8_is_refused():
    buffers = [None, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xff")]
    broken = pa.Array.from_buffers(pa.string(), 1, buffers)

    with pytest.raises(InvalidRequest, match="not a readable Arrow IPC stream"):
        batch_from_arrow_stream(stream_of(columns_of(1, household=broken)))


def test_damaged_streams_are_refused_and_nothing_else_happens():
    whole = stream_of(columns_of(household=pa.array(["h1", "h2"]).dictionary_encode(), x=pa.array([1, 2])))
    random = np.random.default_rng(7)
    for stream in (b"", b"not arrow", whole[:-9], whole[:100], whole[:400]):
        with pytest.raises(InvalidRequest, match="arrow_stream"):
            batch_from_arrow_stream(stream)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[random.integers(len(damaged))] ^= 1 << random.integers(8)
        with suppress(InvalidRequest, RequestTooLarge):
            assert batch_from_arrow_stream(bytes(damaged)).num_rows <= 2


# --- answers ---


def test_counts_are_added_and_rejections_lead_back_to_the_request():
    first = signal_pb2.IngestResponse(
        counts=signal_pb2.SignalCounts(received=3, applied=1, rejected=2),
        rejections=[
            signal_pb2.Rejection(index=0, event_id="e5", reason="FUTURE"),
            signal_pb2.Rejection(index=2, reason="BAD_ID"),
        ],
    )
    second = signal_pb2.IngestResponse(
        counts=signal_pb2.SignalCounts(received=2, duplicate=1, late=0, rejected=1),
        rejections=[signal_pb2.Rejection(index=1, event_id="e6", reason="UNKNOWN_TYPE")],
    )

    merged = merged_response([(np.array([5, 7, 9]), first), (np.array([0, 6]), second)])

    assert merged.counts == signal_pb2.SignalCounts(received=5, applied=1, duplicate=1, rejected=3)
    assert [(found.index, found.event_id, found.reason) for found in merged.rejections] == [
        (5, "e5", "FUTURE"),
        (6, "e6", "UNKNOWN_TYPE"),
        (9, "", "BAD_ID"),
    ]


def test_the_first_hundred_rejections_are_those_of_the_first_rows():
    pieces = []
    for start in (1, 0):  # odd rows, then even rows
        found = [signal_pb2.Rejection(index=index, reason="FUTURE") for index in range(100)]
        pieces.append((np.arange(start, 400, 2), signal_pb2.IngestResponse(rejections=found)))

    merged = merged_response(pieces)

    assert [rejection.index for rejection in merged.rejections] == list(range(100))
