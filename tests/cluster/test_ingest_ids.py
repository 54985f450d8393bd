"""Laws: the id of a row hangs on that row alone; no two pairs of source and id make one event; what is no
text is no id. Fields may be called as they like; a column that cannot be a field is passed over and said.
"""

import base64
import json
from itertools import product
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake.reading.json_file import RowWrong, event_of
from intake.reading.signals import FIELD_PREFIX, FILE_COLUMN, ROW_COLUMN, cloudevent_id
from intake.request import request_of
from serving.signal_batches import batch_from_signals
from tests.cluster.conftest import Run
from tests.cluster.fake_hearth import FakeHearth

ODD_IDS = [
    1,
    1.0,
    "1.0",
    "A3",
    True,
    None,
    [1],
    {"a": 1},
    0.5,
    -0.0,
    float("nan"),
    2**53 + 1,
    2**63,
    1e300,
    "",
    " 1",
    "ü",
]


def line(number: int, **changes: object) -> dict[str, object]:
    at = f"2026-01-05T10:00:{number:02}Z"
    return {"type": "t", "time": at, "event_id": f"e{number}", "household": "H1"} | changes


def write(name: str, rows: list[dict[str, object]]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def ids(hearth: FakeHearth) -> list[str]:
    return [signal["event_id"] for signal in hearth.signals]


def test_an_id_is_the_same_whatever_stands_around_it_and_however_the_file_is_cut(
    hearth: FakeHearth, run: Run, monkeypatch: pytest.MonkeyPatch
):
    rows = [line(number, event_id=odd, amount=odd) for number, odd in enumerate(ODD_IDS)]
    found = []
    for chunk_rows in (1, 3, 16_384):
        monkeypatch.setattr("intake.reading.json_file.CHUNK_ROWS", chunk_rows)
        hearth.signals.clear()
        hearth.ids.clear()
        write("a.jsonl", rows)
        run("ingest", "--target", hearth.address, "a.jsonl")
        found.append(ids(hearth))
    assert found[0] == found[1] == found[2]
    # 1 and 1.0 are one number, so one id; a row without an id goes by its place.
    assert found[0] == [
        "1", "1.0", "A3", "true", "a.jsonl:6", "[1]", "a.jsonl:8", "0.5", "0", "a.jsonl:11",
        "9007199254740993", "9223372036854775808", "1e+300", "a.jsonl:15", " 1", "ü",
    ]  # fmt: skip


def test_rows_that_were_sent_are_duplicates_once_a_row_with_a_text_for_an_id_was_appended(hearth: FakeHearth, run: Run):
    rows = [line(1, event_id=1.0), line(2, event_id=2.0)]
    write("a.jsonl", rows)
    run("ingest", "--target", hearth.address, "a.jsonl")
    write("a.jsonl", [*rows, line(3, event_id="A3")])

    again = run("ingest", "--target", hearth.address, "--json", "a.jsonl")

    assert (again.json["duplicate"], again.json["applied"]) == (2, 1)
    assert ids(hearth) == ["1", "2", "A3"]


@pytest.mark.parametrize("shape", ["lines", "array"])
def test_half_a_surrogate_pair_or_a_byte_that_is_no_utf8_costs_its_row_and_is_kept(
    shape: str, hearth: FakeHearth, run: Run
):
    wrong = [
        b'{"type": "t", "time": "2026-01-05T10:00:00Z", "event_id": "x\\ud83d", "household": "H1"}',
        b'{"type": "t", "time": "2026-01-05T10:00:00Z", "event_id": "x\\ud83e", "household": "H1"}',
        b'{"type": "t", "time": "2026-01-05T10:00:00Z", "event_id": "a", "household": "\\ude00"}',
        b'{"type": "t", "time": "2026-01-05T10:00:00Z", "event_id": "b", "household": "H1", "\\ud83d": 1}',
        b'{"type": "t", "time": "2026-01-05T10:00:00Z", "event_id": "c", "household": "H1", "n": {"m": ["\\ud83d"]}}',
        b'{"type": "t", "time": "2026-01-05T10:00:00Z", "event_id": "d\xff", "household": "H1"}',
        b'{"type": "t", "time": "2026-01-05T10:00:00Z", "event_id": "d\\\xff", "household": "H1"}',
        b'{"type": "t", "time": "2026-01-05T10:00:00Z", "event_id": "e\xed\xa0\xbd", "household": "H1"}',
    ]
    right = [json.dumps(line(1)).encode(), json.dumps(line(2, event_id="\U0001f600")).encode()]
    if shape == "array":
        wrong.pop(6)  # a backslash before it breaks the document as a whole
    rows = [right[0], *wrong, right[1]]
    Path("a.json").write_bytes(b"[" + b",".join(rows) + b"]" if shape == "array" else b"\n".join(rows))

    ended = run("ingest", "--target", hearth.address, "--json", "a.json")

    assert (ended.json["read"], ended.json["unreadable"], ended.json["applied"]) == (len(rows), len(wrong), 2)
    assert ids(hearth) == ["e1", "\U0001f600"]
    kept = [json.loads(entry) for entry in Path("a.json.rejects.jsonl").read_text().splitlines()]
    assert [entry["row"] for entry in kept] == list(range(2, len(wrong) + 2))


@pytest.mark.parametrize("content", ["{broken\n[1]\n", '[1, "\\ud83d", {"a": "\\ud83d"}]'])
def test_a_file_of_which_no_row_can_be_read_is_accounted_for_like_any_other(content: str, hearth: FakeHearth, run: Run):
    Path("a.json").write_text(content)
    Path("b.jsonl").write_text(json.dumps(line(1)) + "\n")

    ended = run("ingest", "--target", hearth.address, "--json", "a.json", "b.jsonl")

    assert ended.json["unreadable"] == ended.json["files"][0]["rows"] > 0
    assert (ended.code, ids(hearth)) == (0, ["e1"])


def test_a_key_that_occurs_twice_costs_its_row(hearth: FakeHearth, run: Run):
    lines = [
        '{"type": "t", "time": "2026-01-05T10:00:00Z", "event_id": "a", "event_id": "b", "household": "H1"}',
        '{"type": "t", "time": "2026-01-05T10:00:00Z", "event_id": "c", "household": "H1", "x.y": 1, "x": {"y": 2}}',
        json.dumps(line(1) | {"deep": 0}).replace("0}", '{"a":' * 970 + "1" + "}" * 971),
        json.dumps(line(1)),
    ]
    Path("a.jsonl").write_text("\n".join(lines))

    ended = run("ingest", "--target", hearth.address, "--json", "a.jsonl")

    assert (ended.json["unreadable"], ids(hearth)) == (3, ["e1"])
    assert "the key 'event_id' occurs twice" in ended.err


@pytest.mark.parametrize("space", ["  ", "\t", "\r", " \t "])
def test_a_doubled_key_is_found_whatever_white_space_stands_before_a_colon(space: str):
    with pytest.raises(RowWrong, match="the key 'a' occurs twice"):
        event_of(f'{{"a": 1, "a": 2, "b"{space}: 3}}', is_cloudevents=False)


def test_a_doubled_attribute_is_found_beside_data_in_base64():
    data = base64.b64encode(b'{"b": 1}').decode()
    attributes = '"specversion": "1.0", "type": "t", "source": "s", "id": "1", "id": "2"'
    with pytest.raises(RowWrong, match="the key 'id' occurs twice"):
        event_of(f'{{{attributes}, "data_base64": "{data}"}}', is_cloudevents=True)


@given(st.lists(st.tuples(st.text("a#%:1", max_size=5), st.text("a#%:1", max_size=5)), min_size=2, max_size=20))
def test_no_two_pairs_of_source_and_id_have_one_event_id(pairs: list[tuple[str, str]]):
    assert len({cloudevent_id(*pair) for pair in pairs}) == len(set(pairs))


def test_long_pairs_of_source_and_id_fit_and_stay_apart():
    parts = ["x" * 100, "x" * 100 + "#", "#" + "x" * 100, "x" * 101]
    found = {pair: cloudevent_id(*pair) for pair in product(parts, parts)}
    assert len(set(found.values())) == len(found)
    assert all(len(one.encode()) <= 128 for one in found.values())


def cloudevent(number: int, **changes: object) -> dict[str, object]:
    event = {
        "specversion": "1.0", "id": f"{number}", "source": "/a", "type": "t", "subject": "S",
        "time": f"2026-01-05T10:00:{number:02}Z",
    }  # fmt: skip
    return {name: value for name, value in (event | changes).items() if value is not None}


def test_data_may_have_fields_that_are_called_like_parts_of_a_signal(hearth: FakeHearth, run: Run):
    data = {"type": "recharge", "time": 3, "household": True, "member": "m", "event_id": "x", "subject": "y", "_row": 2}
    write("a.jsonl", [cloudevent(1, data=data), cloudevent(2, data={"amount": 1})])

    ended = run("ingest", "--target", hearth.address, "--json", "a.jsonl")

    assert (ended.json["applied"], ended.json["unreadable"]) == (2, 0)
    ours = {"type": "t", "household": "S", "member": "", "time": 1_767_607_201_000_000}
    assert hearth.signals[0] == {
        **ours, "event_id": "/a#1", "field:type": "recharge", "field:time": 3.0, "field:household": True,
        "field:member": "m", "field:event_id": "x", "subject": "y", "_row": 2.0,
    }  # fmt: skip
    assert (hearth.signals[1]["event_id"], hearth.signals[1]["amount"]) == ("/a#2", 1.0)


def test_columns_called_file_and_row_are_fields_like_others(hearth: FakeHearth, run: Run):
    Path("a.csv").write_text("type,household,time,_file,_row\nt,H1,2026-01-05T10:00:00Z,f,7\nx,H1,,f,8\n")

    ended = run("ingest", "--target", hearth.address, "--json", "a.csv")

    assert (ended.json["applied"], ended.json["unreadable"]) == (1, 1)
    signal = hearth.signals[0]
    assert (signal["event_id"], signal["_file"], signal["_row"]) == ("a.csv:1", "f", 7.0)


def test_the_household_of_a_cloudevent_or_else_its_subject_is_chosen_event_by_event(hearth: FakeHearth, run: Run):
    events = [
        cloudevent(1),
        cloudevent(2, household="H"),
        cloudevent(3, household=""),
        cloudevent(4, household="H", subject=None),
        cloudevent(5, subject=None),
    ]
    Path("a.json").write_text(json.dumps(events))

    ended = run("ingest", "--target", hearth.address, "--json", "a.json")

    assert [signal["household"] for signal in hearth.signals] == ["S", "H", "S", "H"]
    assert ended.json["unreadable"] == 1


def test_a_column_without_a_name_is_passed_over_and_said(hearth: FakeHearth, run: Run):
    Path("a.csv").write_bytes(
        b"\xef\xbb\xbf,event_id,type,household,time,amount,\r\n0,1,t,H1,2026-01-05T10:00:00Z,1,\r\n"
    )
    write("b.jsonl", [line(1) | {"": 5}])

    ended = run("ingest", "--target", hearth.address, "--json", "a.csv", "b.jsonl")

    assert ended.json["applied"] == 2
    assert {name for signal in hearth.signals for name in signal} == {
        "event_id", "type", "household", "member", "time", "amount"
    }  # fmt: skip
    assert "a.csv: passed over: a column without a name" in ended.err
    assert [file["passed_over"] for file in ended.json["files"]] == [["a column without a name"]] * 2


def test_a_column_that_occurs_twice_is_refused_only_where_it_would_be_used(hearth: FakeHearth, run: Run):
    Path("a.csv").write_text("who,at,x,x\n1,1,2,3\n")
    section = "files: [{type: t, household: 'H{who}', time: {column: at, unit: s}, fields: %s}]"
    Path("all.yaml").write_text(section % "'*'")
    Path("none.yaml").write_text(section % "{}")

    refused = run("ingest", "--mapping", "all.yaml", "--target", hearth.address, "a.csv")
    taken = run("ingest", "--mapping", "none.yaml", "--target", hearth.address, "--json", "a.csv")

    assert refused.code == 2
    assert "column 'x' occurs twice" in refused.err
    assert taken.json["applied"] == 1


@pytest.mark.parametrize("name", ["source", "identifier"])
def test_a_field_called_as_what_says_whose_an_event_is_is_a_field_and_says_nothing(name: str):
    table = pa.table(
        {
            **{name: ["x"] for name in ("event_id", "type", "household", "member")},
            "time": [1],
            "identifier": [""],
            FILE_COLUMN: [0],
            ROW_COLUMN: [0],
            f"{FIELD_PREFIX}{name}": ["shop"],
        }
    )
    request = request_of(table)
    assert request.signals, "as columns, it would be the events' own"
    batch = batch_from_signals(request.signals)
    assert (name in batch.schema.names, batch.column(f"s:{name}").to_pylist()) == (False, ["shop"])
