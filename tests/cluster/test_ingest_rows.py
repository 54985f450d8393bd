"""Laws: read = sent + unreadable, sent = applied + duplicate + late + rejected; what is broken costs itself only, is
told with its place, and its bytes are kept; the exit code is 0 with the count, and 1 under --strict.
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.cluster.conftest import Run
from tests.cluster.fake_hearth import FakeHearth

PLAIN = "event_id,type,household,member,time,amount\n"
MAPPING = """
files:
  - match: "*.csv"
    type: wallet.payment
    household: "H{who}"
    time: {column: at, unit: s, start: 2026-01-05T00:00:00Z}
    fields:
      amount_minor: {column: amount, type: number}
      is_card: {column: card, type: flag}
"""
START_US = 1_767_571_200_000_000


def ids(hearth: FakeHearth) -> list[str]:
    return [signal["event_id"] for signal in hearth.signals]


def rejects(name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(f"{name}.rejects.jsonl").read_text().splitlines()]


def test_broken_lines_are_counted_told_with_their_line_kept_and_the_rest_goes_on(hearth: FakeHearth, run: Run):
    Path("map.yaml").write_text(MAPPING)
    lines = [
        b"who,at,amount,card",
        b"1,10,100,true",  # row 1, line 2
        b"2,20",  # too few
        b"3,30,300,yes,extra",  # too many
        b'4,40,"400,true',  # quote not closed
        b"\xff\xfe,50,500,true",  # not UTF-8
        b"",  # blank: no row
        b"6,60,6x0,true",  # no number
        b"7,later,700,true",  # no time
        b",80,800,true",  # no household: "H" + nothing
        b"9,90,900,perhaps",  # no flag
        b'10,100,"1000",0',
    ]
    Path("pay.csv").write_bytes(b"\r\n".join(lines))

    ended = run("ingest", "--mapping", "map.yaml", "--target", hearth.address, "--json", "pay.csv")

    assert ended.code == 0
    summary = ended.json
    assert (summary["read"], summary["sent"], summary["unreadable"], summary["applied"]) == (10, 2, 8, 2)
    assert ids(hearth) == ["pay.csv:1", "pay.csv:10"]
    assert hearth.signals[1] == {
        "event_id": "pay.csv:10", "type": "wallet.payment", "household": "H10", "member": "",
        "time": START_US + 100_000_000, "amount_minor": 1000.0, "is_card": False,
    }  # fmt: skip
    kept = rejects("pay.csv")
    assert [(entry["row"], entry["line"]) for entry in kept] == [
        (2, 3), (3, 4), (4, 5), (5, 6), (6, 8), (7, 9), (8, 10), (9, 11),
    ]  # fmt: skip
    assert kept[0]["text"] == "2,20"
    assert kept[2]["text"] == '4,40,"400,true'
    assert kept[3]["text"] == "\\xff\\xfe,50,500,true"
    assert "pay.csv:3: 2 values where 4 belong" in ended.err
    assert "pay.csv:9: at is 'later': not fit for time, which should be a number of s" in ended.err


def test_strict_sends_all_the_same_and_ends_with_1(hearth: FakeHearth, run: Run):
    Path("a.csv").write_text(PLAIN + "e1,app.login,H1,,2026-01-05T10:00:00Z,1\nbroken\n")

    ended = run("ingest", "--strict", "--target", hearth.address, "a.csv")

    assert ended.code == 1
    assert ids(hearth) == ["e1"]


def test_nan_is_sent_rejected_by_hearth_counted_and_kept_with_its_reason(hearth: FakeHearth, run: Run):
    Path("a.csv").write_text(PLAIN + "e1,t,H1,,2026-01-05T10:00:00Z,nan\ne2,t,H1,,2026-01-05T10:00:01Z,2\n")

    ended = run("ingest", "--target", hearth.address, "--json", "a.csv")

    assert ended.code == 0
    assert (ended.json["sent"], ended.json["applied"], ended.json["rejected"]) == (2, 1, 1)
    assert ended.json["rejected_by_reason"] == {"OUT_OF_RANGE": 1}
    assert rejects("a.csv") == [
        {"file": "a.csv", "row": 1, "event_id": "e1", "why": "rejected by Hearth: OUT_OF_RANGE"}
    ]


def test_an_unknown_event_type_is_rejected_counted_and_nonzero_under_strict(hearth: FakeHearth, run: Run):
    hearth.known_types = frozenset({"app.login"})
    Path("a.csv").write_text(PLAIN + "e1,app.logn,H1,,2026-01-05T10:00:00Z,\ne2,app.login,H1,,2026-01-05T10:00:01Z,\n")

    lenient = run("ingest", "--target", hearth.address, "a.csv")
    strict = run("ingest", "--strict", "--target", hearth.address, "a.csv")

    assert (lenient.code, strict.code) == (0, 1)
    assert "sent 2 = applied 1 + duplicate 0 + late 0 + rejected 1" in lenient.out
    assert "UNKNOWN_TYPE" in lenient.err


def test_rows_of_an_unsorted_file_go_in_order_of_time(hearth: FakeHearth, run: Run):
    Path("a.csv").write_text(PLAIN + "".join(f"e{n},t,H1,,2026-01-05T10:00:{n:02}Z,1\n" for n in (5, 3, 9, 1)))

    ended = run("ingest", "--target", hearth.address, "--json", "a.csv")

    assert ids(hearth) == ["e1", "e3", "e5", "e9"]
    assert ended.json["files"][0]["in_order"] is False


def test_an_id_that_is_missing_comes_from_the_position_and_one_too_long_from_its_hash(hearth: FakeHearth, run: Run):
    long = "x" * 129
    Path("a.csv").write_text(PLAIN + f",t,H1,,2026-01-05T10:00:00Z,1\n{long},t,H1,,2026-01-05T10:00:01Z,1\n")

    run("ingest", "--target", hearth.address, "a.csv")
    first = ids(hearth)
    again = run("ingest", "--target", hearth.address, "--json", "a.csv")

    assert first[0] == "a.csv:1"
    assert first[1].startswith("blake2b:")
    assert len(first[1]) <= 128
    assert again.json["duplicate"] == 2


def test_json_lines_become_signals_nested_keys_with_dots_and_a_broken_line_costs_itself_only(
    hearth: FakeHearth, run: Run
):
    rows = [
        {
            "event_id": "j1",
            "type": "t",
            "household": "H1",
            "time": "2026-01-05T10:00:00Z",
            "amount": 3,
            "who": {"n": "x"},
        },
        {"event_id": "j2", "type": "t", "household": "H2", "time": "2026-01-05T11:00:00+01:00", "card": True},
    ]
    lines = [json.dumps(rows[0]), "{broken", "[1]", json.dumps(rows[1])]
    Path("a.jsonl").write_text("\n".join(lines) + "\n")

    ended = run("ingest", "--target", hearth.address, "--json", "a.jsonl")

    assert (ended.json["read"], ended.json["unreadable"], ended.json["applied"]) == (4, 2, 2)
    at_10 = START_US + 36_000_000_000
    assert hearth.signals == [
        {"event_id": "j1", "type": "t", "household": "H1", "member": "", "time": at_10, "amount": 3.0, "who.n": "x"},
        {"event_id": "j2", "type": "t", "household": "H2", "member": "", "time": at_10, "card": True},
    ]
    assert [(entry["line"], entry["text"]) for entry in rejects("a.jsonl")] == [(2, "{broken"), (3, "[1]")]


def cloudevent(number: int, **changes: object) -> dict[str, object]:
    event = {
        "specversion": "1.0", "id": f"{number}", "source": "/shop/7", "type": "partner.purchase", "subject": "H1",
        "time": "2018-04-05T17:31:00Z", "datacontenttype": "application/json",
        "data": {"amount_minor": 250, "shop": "a"},
    }  # fmt: skip
    return {name: value for name, value in (event | changes).items() if value is not None}


@pytest.mark.parametrize("shape", ["lines", "batch", "structured"])
def test_cloudevents_are_recognised_their_subject_is_the_household_and_their_data_the_fields(
    shape: str, hearth: FakeHearth, run: Run
):
    events = [cloudevent(1), cloudevent(2, data=None, data_base64="eyJhbW91bnRfbWlub3IiOiAzfQ==")]
    if shape == "structured":
        Path("a.json").write_text(json.dumps(events[0], indent=2))
    elif shape == "batch":
        Path("a.json").write_text(json.dumps(events))
    else:
        Path("a.json").write_text("\n".join(map(json.dumps, events)))

    ended = run("ingest", "--target", hearth.address, "--json", "a.json")

    first = {
        "event_id": "/shop/7#1", "type": "partner.purchase", "household": "H1", "member": "",
        "time": 1_522_949_460_000_000, "amount_minor": 250.0, "shop": "a",
    }  # fmt: skip
    second = {name: value for name, value in first.items() if name != "shop"} | {
        "event_id": "/shop/7#2",
        "amount_minor": 3.0,
    }
    assert hearth.signals == ([first] if shape == "structured" else [first, second])
    assert ended.json["unreadable"] == 0


def test_a_cloudevent_of_another_version_or_without_what_it_must_have_is_unreadable(hearth: FakeHearth, run: Run):
    events = [
        cloudevent(1),
        cloudevent(2, specversion="0.3"),
        cloudevent(3, source=None),
        cloudevent(4, time=None),
        cloudevent(5, subject=None),
        cloudevent(6, data_base64="AAAA"),
        cloudevent(7, data=None, data_base64="?"),
    ]
    Path("a.cloudevents").write_text("\n".join(map(json.dumps, events)))

    ended = run("ingest", "--target", hearth.address, "--json", "a.cloudevents")

    assert (ended.json["applied"], ended.json["unreadable"]) == (1, 6)
    reasons = [str(entry["why"]) for entry in rejects("a.cloudevents")]
    assert [reason.split(";")[0] for reason in reasons[:4]] == [
        "specversion is '0.3'",
        "the CloudEvents attribute source is missing or empty",
        "time (time) is empty",
        "household is empty",
    ]


def test_parquet_keeps_its_types_and_flattens_structs(hearth: FakeHearth, run: Run):
    table = pa.table(
        {
            "event_id": ["p1", "p2"],
            "type": pa.array(["t", "t"]).dictionary_encode(),
            "household": [1, 2],
            "member": [None, "m"],
            "time": pa.array([START_US, START_US + 1], pa.timestamp("us", "UTC")),
            "amount": [1.5, None],
            "where": [{"city": "x", "zip": 1}, None],
        }
    )
    pa.parquet.write_table(table, "a.parquet")

    ended = run("ingest", "--target", hearth.address, "--json", "a.parquet")

    assert ended.json["applied"] == 2
    assert hearth.signals == [
        {"event_id": "p1", "type": "t", "household": "1", "member": "", "time": START_US, "amount": 1.5,
         "where.city": "x", "where.zip": 1.0},
        {"event_id": "p2", "type": "t", "household": "2", "member": "m", "time": START_US + 1},
    ]  # fmt: skip


def test_a_file_longer_than_a_block_keeps_its_row_and_line_numbers(
    hearth: FakeHearth, run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("intake.reading.csv_file.CHUNK_BYTES", 500)
    rows = [f"e{n},t,H{n % 7},,2026-01-05T10:{n // 60:02}:{n % 60:02}Z,{n}\n" for n in range(1, 301)]
    rows[149] = "broken\n"
    Path("a.csv").write_text(PLAIN + "".join(rows))

    ended = run("ingest", "--target", hearth.address, "--json", "a.csv")

    assert (ended.json["read"], ended.json["applied"]) == (300, 299)
    assert [(entry["row"], entry["line"]) for entry in rejects("a.csv")] == [(150, 151)]
    assert [signal["amount"] for signal in hearth.signals] == [float(n) for n in range(1, 301) if n != 150]


def test_quoted_line_breaks_are_broken_lines_unless_the_mapping_allows_them(hearth: FakeHearth, run: Run):
    mapping = 'files: [{type: t, household: "{who}", time: {column: at, unit: s}, fields: {note: {column: note}}%s}]'
    Path("strict.yaml").write_text(mapping % "")
    Path("open.yaml").write_text(mapping % ", csv: {multiline: true}")
    Path("a.csv").write_text('who,at,note\n1,1,"one\ntwo"\n2,2,three\n')

    closed = run("ingest", "--mapping", "strict.yaml", "--target", hearth.address, "--json", "a.csv")
    opened = run("ingest", "--mapping", "open.yaml", "--target", hearth.address, "--json", "a.csv")

    assert (closed.json["applied"], closed.json["unreadable"]) == (1, 2)
    assert (opened.json["read"], opened.json["unreadable"]) == (2, 0)
    # Row 3 of the one reading is row 2 of the other: how a file is framed is part of what its ids mean.
    assert [signal["note"] for signal in hearth.signals] == ["three", "one\ntwo", "three"]


def test_a_batch_too_large_for_hearth_is_halved_and_a_row_too_large_is_unreadable(hearth: FakeHearth, run: Run):
    hearth.rows_max = 10
    Path("a.csv").write_text(PLAIN + "".join(f"e{n},t,H1,,2026-01-05T10:00:00Z,1\n" for n in range(100)))

    ended = run("ingest", "--target", hearth.address, "--json", "a.csv")
    hearth.rows_max = 0
    refused = run("ingest", "--target", hearth.address, "--json", "a.csv")

    assert ended.json["applied"] == 100
    assert max(hearth.batches) <= 10
    assert ids(hearth) == [f"e{n}" for n in range(100)]
    assert (refused.json["sent"], refused.json["unreadable"], refused.json["read"]) == (0, 100, 100)


def test_a_batch_whose_answer_was_lost_is_sent_again_and_comes_back_as_duplicate(
    hearth: FakeHearth, run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("intake.files.RETRY_WAITS_S", (0.0, 0.0))
    hearth.busy_times = 2
    Path("a.csv").write_text(PLAIN + "e1,t,H1,,2026-01-05T10:00:00Z,1\n")

    ended = run("ingest", "--target", hearth.address, "--json", "a.csv")

    assert (ended.code, ended.json["sent"], ended.json["duplicate"]) == (0, 1, 1)


def test_without_a_place_for_the_rejects_file_rows_go_to_stderr(hearth: FakeHearth, run: Run):
    Path("a.csv").write_text(PLAIN + "broken\n")
    Path("a.csv.rejects.jsonl").mkdir()

    ended = run("ingest", "--target", hearth.address, "a.csv")

    assert '"text": "broken"' in ended.err


def test_an_empty_file_and_one_with_a_header_alone_hold_nothing(hearth: FakeHearth, run: Run):
    Path("empty.csv").touch()
    Path("header.csv").write_text(PLAIN)

    ended = run("ingest", "--target", hearth.address, "--json", "empty.csv", "header.csv")

    assert (ended.code, ended.json["read"], ended.json["sent"]) == (0, 0, 0)
