"""Laws: what is wrong as a whole is told before anything is sent, in one sentence that names it and what to do."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.conftest import Run
from tests.cluster.fake_hearth import FakeHearth

SECTION = "files: [{type: t, household: '{who}', time: {column: at, unit: s}}]"


def mistake(hearth: FakeHearth, run: Run, mapping: str, *arguments: str, rows: str = "who,at\n1,2\n") -> str:
    Path("map.yaml").write_text(mapping)
    Path("a.csv").write_text(rows)
    ended = run("ingest", "--mapping", "map.yaml", "--target", hearth.address, "a.csv", *arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("hearth: ")
    assert hearth.signals == []
    return ended.err.strip()


def test_a_column_that_is_not_in_the_file_is_named_with_those_that_are(hearth: FakeHearth, run: Run):
    text = mistake(hearth, run, SECTION.replace("{who}", "{caller}"))
    assert text == "hearth: a.csv has no column 'caller', which mapping map.yaml names for household; it has: who, at"


def test_an_unknown_unit_is_named_with_those_that_are_known(hearth: FakeHearth, run: Run):
    text = mistake(hearth, run, SECTION.replace("unit: s", "unit: sec"))
    assert text == (
        "hearth: mapping map.yaml: files.0.time.unit: 'sec' is no unit of time; the units are ns, us, ms, s, min, h, d"
    )


def test_a_time_that_no_row_has_is_told_with_an_example(hearth: FakeHearth, run: Run):
    text = mistake(hearth, run, SECTION, rows="who,at\n1,yesterday\n")
    assert "no value of column 'at' can be read as a number of s (mapping map.yaml); the first is 'yesterday'" in text
    assert text.endswith("the columns are: who, at")


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ("files: [", "is not valid YAML"),
        ("sections: []", "files is missing"),
        (SECTION.replace("household", "houshold"), "houshold is not known"),
        (SECTION.replace("type: t", "type: {when: []}"), "files.0.type"),
        (SECTION.replace("unit: s", "unit: s, start: monday"), "'monday' is no instant"),
        (SECTION.replace("unit: s", "start: 2026-01-05T00:00:00Z"), "`start` needs a `unit`"),
        (SECTION.replace("unit: s", "zone: Mars/Base"), "'Mars/Base' is no time zone"),
        (SECTION.replace("type: t", "match: sms.csv, type: t"), "has no section for a file of this name"),
    ],
)
def test_a_wrong_mapping_is_told_where(mapping: str, expected: str, hearth: FakeHearth, run: Run):
    assert expected in mistake(hearth, run, mapping)


def test_fields_of_one_name_and_two_types_are_told(hearth: FakeHearth, run: Run):
    Path("map.yaml").write_text(
        """
files:
  - {match: a.csv, type: t, household: h, time: {column: at, unit: s}, fields: {x: {column: at, type: number}}}
  - {match: b.csv, type: t, household: h, time: {column: at, unit: s}, fields: {x: {column: at, type: text}}}
"""
    )
    for name in ("a.csv", "b.csv"):
        Path(name).write_text("at\n1\n")

    ended = run("ingest", "--mapping", "map.yaml", "--target", hearth.address, "a.csv", "b.csv")

    assert ended.code == 2
    assert "field x is a text in b.csv and a number in another file" in ended.err


def test_files_that_are_not_there_are_folders_or_have_no_format_are_told(hearth: FakeHearth, run: Run):
    Path("a.xyz").touch()
    for name, expected in (("no.csv", "there is no file"), (".", "no regular file"), ("a.xyz", "--format csv, jsonl")):
        ended = run("ingest", "--target", hearth.address, name)
        assert (ended.code, ended.out) == (2, "")
        assert expected in ended.err


def test_two_files_of_one_name_would_share_ids_and_are_refused(hearth: FakeHearth, run: Run):
    ended = run("ingest", "--target", hearth.address, "x/a.csv", "y/a.csv")
    assert ended.code == 2
    assert "a.csv is named twice" in ended.err


def test_columns_without_a_mapping_must_have_the_names_of_a_signal(hearth: FakeHearth, run: Run):
    Path("a.csv").write_text("who,time\n1,2026-01-05T00:00:00Z\n")
    ended = run("ingest", "--target", hearth.address, "a.csv")
    assert ended.code == 2
    assert "a.csv has no column 'type'; it has: who, time." in ended.err


def test_files_that_are_not_what_their_name_says_are_told(hearth: FakeHearth, run: Run):
    Path("a.parquet").write_text("not parquet")
    Path("a.json").write_text("[1, 2")
    Path("a.csv").write_bytes("who,at\n".encode("utf-16"))
    for name, expected in (("a.parquet", "as Parquet"), ("a.json", "not valid JSON"), ("a.csv", "not UTF-8")):
        ended = run("ingest", "--target", hearth.address, name)
        assert (ended.code, hearth.signals) == (2, [])
        assert expected in ended.err


def test_without_a_hearth_it_says_how_to_start_one(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cluster.client.CONNECT_DEADLINE_S", 0.3)
    Path("a.csv").write_text("who,at\n")
    ended = run("ingest", "--target", "127.0.0.1:1", "a.csv")
    assert ended.code == 1
    assert "no Hearth answers at 127.0.0.1:1; start one with `hearth up`" in ended.err


def test_ctrl_c_says_how_far_it_came_and_running_it_again_brings_the_rest(hearth: FakeHearth, run: Run, tmp_path: Path):
    header = "event_id,type,household,member,time\n"
    count = 3 * 8_192
    (tmp_path / "a.csv").write_text(header + "".join(f"e{n},t,H{n % 9},,2026-01-05T10:00:00Z\n" for n in range(count)))
    hearth.holds_after = 1
    command = [sys.executable, "-m", "cluster.cli", "ingest", "--json", "--target", hearth.address, "a.csv"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert hearth.reached_gate.wait(20)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)

    assert process.returncode == 130
    assert "interrupted after 8,192 acknowledged rows" in err
    assert "Traceback" not in err
    assert '"complete": false' in out
    hearth.gate.set()
    hearth.holds_after = None
    again = run("ingest", "--target", hearth.address, "--json", "a.csv")
    assert again.json["applied"] + again.json["duplicate"] == count
    assert {one["event_id"] for one in hearth.signals} == {f"e{n}" for n in range(count)}
    assert len(hearth.signals) == count
