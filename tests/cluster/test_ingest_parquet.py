"""Laws: a cell of a Parquet file that no signal can have costs its row, never the file; times are rounded down."""

import datetime
import decimal
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.cluster.conftest import Run
from tests.cluster.fake_hearth import FakeHearth

START_US = 1_767_571_200_000_000


STRING = pa.string()


def not_utf8(count: int, kind: pa.DataType = STRING) -> pa.Array:
    """Texts of which the second is none."""
    cells = [b"\xff\xfe" if index == 1 else b"%d" % index for index in range(count)]
    raw = pa.array(cells, pa.large_binary() if pa.types.is_large_string(kind) else pa.binary())
    return pa.Array.from_buffers(kind, count, raw.buffers())


def send(hearth: FakeHearth, run: Run, count: int = 3, **columns: pa.Array) -> dict[str, object]:
    usual = {
        "event_id": pa.array([f"e{index}" for index in range(count)]),
        "type": pa.array(["t"] * count),
        "household": pa.array(["H1"] * count),
        "time": pa.array([START_US + index for index in range(count)], pa.timestamp("us", "UTC")),
    }
    pa.parquet.write_table(pa.table(usual | columns), "a.parquet")
    ended = run("ingest", "--target", hearth.address, "--json", "a.parquet")
    return ended.json  # type: ignore[no-any-return]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "+05:30", None])
@pytest.mark.parametrize("unit", ["ns", "us", "ms"])
def test_timestamps_of_any_unit_and_zone_are_instants_rounded_down(
    unit: str, zone: str | None, hearth: FakeHearth, run: Run
):
    per_us = {"ns": 1_000, "us": 1, "ms": 0.001}[unit]
    instants = [START_US + 123_000, START_US - 1_000, -1_000]
    ticks = [int(instant * per_us) + (999 if unit == "ns" else 0) for instant in instants]

    summary = send(hearth, run, time=pa.array(ticks, pa.timestamp(unit, zone)))

    assert summary["applied"] == 3
    assert sorted(signal["time"] for signal in hearth.signals) == sorted(instants)


def test_uuids_durations_times_and_numbers_of_every_kind_become_what_a_signal_can_have(hearth: FakeHearth, run: Run):
    ids = [uuid.UUID(int=number) for number in range(3)]
    storage = pa.array([one.bytes for one in ids], pa.binary(16))

    summary = send(
        hearth, run,
        event_id=pa.ExtensionArray.from_storage(pa.uuid(), storage),
        household=pa.array(["a", "b", "a"]).dictionary_encode(),
        member=pa.array([decimal.Decimal("7.00")] * 3, pa.decimal128(10, 2)),
        call=pa.array([90_500, None, -1], pa.duration("ms")),
        half=pa.array(np.array([1.5, 2.5, 3.5], np.float16)),
        money=pa.array([decimal.Decimal("1.25")] * 3, pa.decimal256(50, 2)),
        clock=pa.array([datetime.time(18, 30)] * 3, pa.time64("us")),
        day=pa.array([datetime.date(2026, 1, 5)] * 3),
        big=pa.array(["x"] * 3, pa.large_string()),
        view=pa.array(["y"] * 3, pa.string_view()),
        raw=pa.array([b"z"] * 3, pa.binary_view()),
        empty=pa.nulls(3),
        listed=pa.array([[1], [2], None]),
        mapped=pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int64())),
        deep=pa.array([{"a": {"b": 1}}, None, {"a": None}]),
        shaped=pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.int64(), [1]), pa.array([[1], [2], [3]], pa.list_(pa.int64(), 1))
        ),
    )  # fmt: skip

    assert (summary["applied"], summary["unreadable"]) == (3, 0)
    first, second = hearth.signals[:2]
    assert first["event_id"] == str(ids[0])
    assert first["member"] == "7"
    wanted = {
        "call": 90.5, "half": 1.5, "money": 1.25, "day": "2026-01-05", "big": "x", "view": "y", "raw": "z",
        "deep.a.b": 1.0,
    }  # fmt: skip
    assert {name: first[name] for name in wanted} == wanted
    assert first["clock"].startswith("18:30:00")
    assert not {"call", "deep.a.b", "empty", "listed", "mapped"} & second.keys()
    assert [one.partition(" (")[0] for one in summary["files"][0]["passed_over"]] == [
        "column listed",
        "column mapped",
        "column shaped",
    ]  # type: ignore[index]


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("event_id", not_utf8(3)),
        ("household", not_utf8(3, pa.large_string())),
        ("note", not_utf8(3)),
        ("note", pa.array([b"a", b"\xff", b"c"])),
        ("note", pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int8()), not_utf8(2))),
        ("time", pa.array([0, 2**62, 1], pa.timestamp("us", "UTC"))),
        ("time", pa.array([0, -(2**60), 1], pa.timestamp("ms"))),
        ("day", pa.array([0, 2**31 - 1, 1], pa.date32())),
    ],
)
def test_a_cell_that_no_signal_can_have_costs_its_row(column: str, cells: pa.Array, hearth: FakeHearth, run: Run):
    summary = send(hearth, run, **{column: cells})

    assert (summary["read"], summary["applied"], summary["unreadable"]) == (3, 2, 1)
    assert '"row": 2' in Path("a.parquet.rejects.jsonl").read_text()
    assert column in Path("a.parquet.rejects.jsonl").read_text()


def test_what_stands_in_a_column_that_the_mapping_does_not_name_costs_nothing(hearth: FakeHearth, run: Run):
    Path("map.yaml").write_text("files: [{type: t, household: '{who}', time: {column: at}}]")
    table = {"who": pa.array(["a", "b"]), "at": pa.array([0, 1], pa.timestamp("ns")), "junk": not_utf8(2)}
    pa.parquet.write_table(pa.table(table), "a.parquet")

    ended = run("ingest", "--mapping", "map.yaml", "--target", hearth.address, "--json", "a.parquet")

    assert (ended.json["applied"], ended.json["unreadable"]) == (2, 0)


def test_a_column_that_occurs_twice_and_a_file_that_was_cut_are_told_before_anything_is_sent(
    hearth: FakeHearth, run: Run
):
    times = pa.array([START_US], pa.timestamp("us"))
    names = ["type", "household", "time", "x", "x"]
    pa.parquet.write_table(pa.Table.from_arrays([["t"], ["H"], times, [1], [2]], names=names), "a.parquet")
    whole = Path("a.parquet").read_bytes()
    Path("b.parquet").write_bytes(whole[: len(whole) // 2])
    Path("c.parquet").write_bytes(b"")

    for name, code, wanted in (
        ("a.parquet", 2, "column 'x' occurs twice"),
        ("b.parquet", 2, "b.parquet cannot be read as Parquet"),
        ("c.parquet", 2, "c.parquet cannot be read as Parquet"),
    ):
        ended = run("ingest", "--target", hearth.address, name)
        assert (ended.code, hearth.signals) == (code, [])
        assert wanted in ended.err
