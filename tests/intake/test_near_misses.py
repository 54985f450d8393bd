r"""What is nearly right in files and messages: read as it is meant, or told; never silently as something else.

Laws: no two ids that differ are made one; what a cell means is the same in every container and beside any neighbours;
a broken row costs itself; a mapping that cannot be meant is refused when it is loaded, in the words of the file.
"""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgpack
import pyarrow as pa
import pyarrow.parquet
import pytest

from intake.capture.decoders import _read_json, _read_msgpack
from intake.errors import IntakeFailed
from intake.reading.examine import SourceFile, examine, mapper_for, merged_fields
from intake.reading.json_file import RowWrong, event_of
from intake.reading.json_text import text_of_cell
from intake.reading.mapping import MappingInvalid, load_mapping
from intake.reading.values import as_calendar_time, as_counted_time

ROW = '"type": "t", "time": "2026-01-05T18:30:00Z", "household": "H1"'
NOW = datetime(2026, 1, 5, tzinfo=UTC)


def examined(path: Path, mapping: Path | None = None) -> SourceFile:
    found = load_mapping(str(mapping), now=NOW) if mapping is not None else None
    return examine(path, mapping=found, file_format=None, show=lambda *_: None)


def ids_and_whys(source: SourceFile) -> list[str]:
    """By row: the event's id, or why it is none."""
    mapper = mapper_for(source, file_index=0, fields=source.fields)
    found: dict[int, str] = {}
    for chunk in source.reader.chunks():
        mapped = mapper.map(chunk)
        found |= {row["_row"]: row["event_id"] for row in mapped.signals.to_pylist()}
        found |= {one.row: one.why for one in mapped.unreadable}
    return [found[row] for row in sorted(found)]


def test_ids_of_more_digits_than_a_float_keeps_stay_two():
    written = [
        "20261127210542001.0", "20261127210542002.0", "9007199254740992.0", "9007199254740993.00",
        "0.12345678901234567", "0.12345678901234568",
        "1e400", "2e400", "1e-400", "-1e400", "1e9999999999999999999", "123456789012345678901.5",
    ]  # fmt: skip
    texts = [text_of_cell(event_of(f'{{"a": {number}}}', is_cloudevents=False)["a"]) for number in written]

    assert len(set(texts)) == len(written)
    assert texts[0] == "20261127210542001"
    # As it was before, where nothing is lost; and a list stays the JSON that it is.
    same = event_of(
        '{"a": 0.30000000000000004, "b": 1.50000000000000000000, "c": [1.00000000000000000001]}', is_cloudevents=False
    )
    assert [text_of_cell(cell) for cell in same.values()] == ["0.30000000000000004", "1.5", "[1.0]"]


@pytest.mark.parametrize("nothing", ["None", "NaT", "<NA>", "null", "NULL", "undefined", "\\N", "nan"])
def test_what_programs_write_where_there_is_no_id_is_none(tmp_path: Path, nothing: str):
    path = tmp_path / "a.csv"
    path.write_text(f"event_id,type,household,time\n{nothing},t,H1,2026-01-05T18:30:00Z\n")

    assert ids_and_whys(examined(path)) == ["a.csv:1"]

    event = {"specversion": "1.0", "source": "/a", "type": "t", "time": "2026-01-05", "subject": "H1", "id": nothing}
    path = tmp_path / "a.cloudevents"
    path.write_text(json.dumps(event))
    assert ids_and_whys(examined(path)) == ["a.cloudevents:1"]


@pytest.mark.parametrize("nothing", ["NULL", "nan", "None"])
def test_what_programs_write_where_there_is_no_household_makes_no_household(tmp_path: Path, nothing: str):
    path, mapping = tmp_path / "a.csv", tmp_path / "map.yaml"
    path.write_text(f"type,household,other,time\nt,{nothing},H2,2026-01-05\nt,{nothing},{nothing},2026-01-05\n")
    empty = "household is empty"
    for household, told in (
        ("{column: household}", [empty, empty]),
        ("{column: household, else_column: other}", ["a.csv:1", empty]),
        ("'U{household}'", [empty, empty]),
        ("{column: household, map: {" + nothing + ": H3}}", ["a.csv:1", "a.csv:2"]),
    ):
        mapping.write_text(f"files: [{{type: t, household: {household}, time: {{column: time}}}}]")
        assert ids_and_whys(examined(path, mapping)) == told

    mapping.write_text(
        'files: [{type: t, household: h, time: {column: time}, fields: {subject: {text: "member:{household}"}}}]'
    )
    source = examined(path, mapping)
    (chunk,) = source.reader.chunks()
    signals = mapper_for(source, file_index=0, fields=source.fields).map(chunk).signals
    assert signals.column("field:subject").to_pylist() == [None, None]

    lines = tmp_path / "a.jsonl"
    lines.write_text('{"type": "t", "household": NaN, "time": "2026-01-05"}\n')
    assert ids_and_whys(examined(lines)) == [empty]


def test_an_entry_of_another_kind_at_the_head_of_a_file_costs_itself_only(tmp_path: Path):
    lines, document = tmp_path / "a.json", tmp_path / "b.json"
    lines.write_text(f'[]\n{{{ROW}, "event_id": "x"}}\n')
    document.write_text(f'[{{{ROW}, "event_id": "x"}},\n {json.dumps("{" + ROW + "}")}]')

    assert ids_and_whys(examined(lines)) == ["a JSON object belongs here, not list", "x"]
    assert ids_and_whys(examined(document)) == ["x", "a JSON object belongs here, not str"]


def test_the_mark_of_a_files_beginning_is_no_content_wherever_files_were_put_together(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    one = "\ufeff" + f'{{{ROW}, "event_id": "x"}}\n'
    path.write_text(one + one)

    assert ids_and_whys(examined(path)) == ["x", "x"]
    assert _read_json(one.encode(), False)["event_id"] == "x"


def test_a_cell_is_the_same_at_the_head_of_a_block_and_behind_others(tmp_path: Path):
    path = tmp_path / "a.csv"
    row = "\ufeffx,t,H1,2026-01-05T18:30:00Z\n"
    path.write_text("event_id,type,household,time\n" + row + row)

    assert ids_and_whys(examined(path)) == ["\ufeffx"] * 2


MISQUOTED = "a quotation mark stands neither around a whole value nor doubled within one"
RETURN = "a carriage return stands inside the line"


@pytest.mark.parametrize(
    ("line", "is_multiline", "told"),
    [
        ('x",",t,H1,2026-01-05T18:30:00Z', False, MISQUOTED),
        ('"x"y,t,H1,2026-01-05T18:30:00Z', False, MISQUOTED),
        ('"x" ,t,H1,2026-01-05T18:30:00Z', False, MISQUOTED),
        ('5" x 3",t,H1,2026-01-05T18:30:00Z', False, '5" x 3"'),
        ('"5"" x 3""",t,"H1",2026-01-05T18:30:00Z', False, '5" x 3"'),
        ("x,t,H1,2026-01-05T18:30:00Z\ry,t,H1,2026-01-05T18:30:00Z", True, RETURN),
        ("x,t,H1,2026-01-05T18:30:00Z\ry,t,H1,2026-01-05T18:30:00Z", False, RETURN),
        ('"x\ry",t,H1,2026-01-05T18:30:00Z', True, "x\ry"),
        ('"x\r\ny",t,H1,2026-01-05T18:30:00Z', True, "x\r\ny"),
    ],
)
def test_a_line_is_read_alike_wherever_it_stands_and_swallows_no_other(
    tmp_path: Path, line: str, is_multiline: bool, told: str
):
    mapping = tmp_path / "map.yaml"
    mapping.write_text(
        "files: [{event_id: {column: event_id}, type: {column: type}, household: {column: household}, "
        f"time: {{column: time}}, csv: {{multiline: {is_multiline}}}}}]"
    )
    path = tmp_path / "a.csv"
    good = "good,t,H1,2026-01-05T18:30:00Z\n"
    for before, after in ((good, good), (good, ""), ("", good), (good, line + "\n")):
        path.write_bytes(f"event_id,type,household,time\n{before}{line}\n{after}".encode())
        wanted = [*["good"] * bool(before), told, *(["good"] if after == good else [told] if after else [])]
        assert ids_and_whys(examined(path, mapping)) == wanted


def test_a_file_in_another_encoding_or_of_several_documents_says_what_to_do(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes(f"{{{ROW}}}".encode("utf-16"))
    with pytest.raises(IntakeFailed, match="UTF-16; convert it first"):
        examined(path)

    path.write_text(f"{{\n{ROW}\n}}\n{{\n{ROW}\n}}\n")
    with pytest.raises(IntakeFailed, match="write one object per line"):
        examined(path)

    old = tmp_path / "a.csv"
    old.write_bytes(b"type,household,time\rt,H1,2026-01-05T18:30:00Z\r")
    with pytest.raises(IntakeFailed, match="carriage returns stand inside the header"):
        examined(old)


def test_doubled_keys_are_told_within_lists_and_in_every_container(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text(f'[{{{ROW}, "a": [{{"b": 1, "b": 2}}]}}]')

    assert ids_and_whys(examined(path)) == ["the key 'b' occurs twice"]
    for raw in (b"\x82\xa1a\x01\xa1a\x02", b"\x81\xa1b\x91\x82\xa1a\x01\xa1a\x02"):
        with pytest.raises(RowWrong, match="the key 'a' occurs twice"):
            _read_msgpack(raw, False)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (msgpack.packb({"a": msgpack.ExtType(5, b"x")}), "extension type 5 is not known"),
        (msgpack.packb({"a": [msgpack.ExtType(5, b"x")]}), "extension type 5 is not known"),
        (b"\x81\xc4\x01a\x01", "the key b'a' is no text"),
    ],
)
def test_what_msgpack_has_and_signals_have_not_is_told(raw: bytes, told: str):
    with pytest.raises(RowWrong, match=told):
        _read_msgpack(raw, False)


def test_data_of_cloudevents_that_is_no_object_is_passed_over_and_said(tmp_path: Path):
    head = {"specversion": "1.0", "source": "/a", "type": "t", "time": "2026-01-05T18:30:00Z", "subject": "H1"}
    path = tmp_path / "a.jsonl"
    for data in ({"data": "text"}, {"data": [1]}, {"data_base64": "eA==", "datacontenttype": "text/plain"}):
        path.write_text(json.dumps(head | {"id": "1"} | data) + "\n" + json.dumps(head | {"id": "2"}) + "\n")
        assert examined(path).passed_over == ("data of CloudEvents that is no JSON object",)

    shouted = {"data_base64": "eyJhIjoxfQ==", "datacontenttype": "Application/JSON"}
    assert event_of(json.dumps(head | {"id": "1"} | shouted), is_cloudevents=True)["data.a"] == 1


def test_a_column_in_a_zone_that_nobody_knows_stops_nothing(tmp_path: Path):
    at = pa.array([1], pa.timestamp("ns", "Mars/Olympus"))
    path = tmp_path / "a.parquet"
    base = {"type": ["t"], "household": ["H1"], "event_id": ["x"]}
    pyarrow.parquet.write_table(pa.table(base | {"time": ["2026-01-05T18:30:00Z"], "note": at}), path)

    assert ids_and_whys(examined(path)) == ["x"]

    pyarrow.parquet.write_table(pa.table(base | {"time": at}), path)

    assert ids_and_whys(examined(path)) == ["x"]


def test_a_field_that_two_files_have_otherwise_and_nobody_declared_is_text(tmp_path: Path):
    sources = []
    for number, cell in enumerate(["3", "n/a", "true"]):
        path = tmp_path / f"{number}.csv"
        path.write_text(f"type,household,time,x\nt,H1,2026-01-05T18:30:00Z,{cell}\n")
        sources.append(examined(path))

    assert merged_fields(sources) == {"x": "text"}


def test_nanoseconds_are_the_same_instant_as_text_as_integers_and_as_a_databases_whole_numbers():
    ns = [1_768_415_400_123_456_999, -1, 0, None]
    cells = [
        pa.array([None if one is None else str(one) for one in ns]),
        pa.array(ns, pa.int64()),
        pa.array([None if one is None else Decimal(one) for one in ns], pa.decimal128(38, 0)),
    ]
    found = [as_counted_time(column, unit="ns", start_us=0) for column in cells]

    assert [one.values.to_pylist() for one in found] == [[1_768_415_400_123_456, -1, 0, None]] * 3
    huge = as_counted_time(pa.array([Decimal(10) ** 30], pa.decimal128(38, 0)), unit="ns", start_us=0)
    assert huge.is_wrong.tolist() == [True]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"])
def test_a_time_without_offset_is_the_same_instant_as_iso_and_by_a_pattern(zone: str):
    days = ("03-08", "03-29", "04-05", "10-04", "10-25", "11-01")
    at = [f"2026-{day} 0{hour}:{minute}:00" for day in days for hour in range(4) for minute in ("00", "15", "45")]
    iso = as_calendar_time(pa.array(at), zone=zone, pattern=None)
    by_pattern = as_calendar_time(pa.array(at), zone=zone, pattern="%Y-%m-%d %H:%M:%S")

    assert iso.values.equals(by_pattern.values)


def test_a_pattern_with_the_name_of_a_zone_reads_those_that_are_the_same_everywhere():
    at = [
        "2026-07-05 18:30 UTC",
        "2026-07-05 18:30 gmt",
        "2026-07-05 18:30 Z",
        "2026-07-05 18:30 CEST",
        "2026-07-05 18:30 ",
    ]
    found = as_calendar_time(pa.array(at), zone="Europe/Berlin", pattern="%Y-%m-%d %H:%M %Z")

    assert found.is_wrong.tolist() == [False, False, False, True, True]
    assert set(found.values.to_pylist()) == {1_783_276_200_000_000, None}


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("time: {column: at, zone: Factory}", "'Factory' is no time zone"),
        ("time: {column: at, zone: posixrules}", "'posixrules' is no time zone"),
        ("time: {column: at, zone: localtime}", "'localtime' is no time zone"),
        ('time: {column: at, format: "%Y %Y"}', "is no pattern for times: redefinition"),
        ('time: {column: at, format: "%Q"}', "'Q' is a bad directive"),
        ('time: {column: at, format: ""}', "leave it out for ISO 8601"),
        ('csv: {delimiter: "é"}', "'é' is no delimiter"),
        ('csv: {delimiter: "\\0"}', "is no delimiter"),
        ('csv: {delimiter: "\\n"}', "is no delimiter"),
        ("csv: {delimiter: '\"'}", "cannot be the delimiter"),
        ('fields: {"": {column: x}}', "it is empty; the name of a field has 1 to 128 bytes"),
        (f"fields: {{{'é' * 65}: {{column: x}}}}", "has 130 bytes"),
        ("fields: {x: {column: x, absent: 0}}", r"files.0.fields.x.absent: a list belongs here: \[a, b\]$"),
        ("fields: [x]", "files.0.fields: a mapping belongs here"),
        ('member: "\\ud83d"', "half a surrogate pair"),
        ('fields: {"\\udc00": {column: x}}', "half a surrogate pair"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused_in_its_own_words(tmp_path: Path, section: str, told: str):
    path = tmp_path / "map.yaml"
    time = "" if section.startswith("time") else "    time: {column: at}\n"
    path.write_text(f"files:\n  - type: t\n    household: h\n{time}    {section}\n")

    with pytest.raises(MappingInvalid, match=told):
        load_mapping(str(path), now=NOW)


def test_a_pair_of_surrogates_as_json_writes_it_is_one_character(tmp_path: Path):
    path = tmp_path / "map.yaml"
    path.write_text('files: [{type: "\\ud83d\\ude00", household: h, time: {column: at}}]\n')

    assert load_mapping(str(path), now=NOW).files[0].type == "😀"
