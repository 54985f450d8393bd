"""Laws: every row of both files of the real calls and texts gets in exactly once, under the id of its file and row,
in one order of time, and again under the same ids; counts per sender equal an independent count over the files.
"""

import csv
from collections import Counter
from pathlib import Path

import pytest

from playbooks.compiler import compile_playbook
from tests.cluster.conftest import Run
from tests.cluster.fake_hearth import FakeHearth

START_US = 1_767_571_200_000_000
"""2026-01-05T00:00:00Z."""


@pytest.fixture
def cns(shared: Path) -> Path:
    folder = shared / "data" / "streams" / "cns"
    if not folder.is_dir():
        pytest.skip(f"the Copenhagen data is absent: {folder}")
    return folder


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_row_gets_in_once_and_counts_per_sender_are_those_of_the_files(cns: Path, hearth: FakeHearth, run: Run):
    texts, calls = read(cns / "sms.csv"), read(cns / "calls.csv")

    ended = run("ingest", "--mapping", "cns", "--target", hearth.address, "--json", cns / "sms.csv", cns / "calls.csv")

    assert ended.code == 0
    summary = ended.json
    assert summary["read"] == summary["sent"] == summary["applied"] == len(texts) + len(calls) == 24_333 + 3_600
    assert summary["unreadable"] == summary["duplicate"] == summary["late"] == summary["rejected"] == 0
    sent = hearth.signals
    by_sender = Counter((signal["type"], signal["household"]) for signal in sent)
    expected = Counter(("network.text_sent", f"U{row['sender']}") for row in texts)
    missed = {True: "network.call_missed", False: "network.call_made"}
    expected += Counter((missed[row["duration"] == "-1"], f"U{row['caller']}") for row in calls)
    assert by_sender == expected
    assert by_sender.total() == 27_933
    assert sum(count for (kind, _), count in by_sender.items() if kind == "network.call_missed") == 366


def test_ids_are_file_and_row_times_and_fields_are_the_rows_own_and_files_are_merged_by_time(
    cns: Path, hearth: FakeHearth, run: Run
):
    run("ingest", "--mapping", "cns", "--target", hearth.address, "--json", cns / "calls.csv", cns / "sms.csv")

    by_id = {signal["event_id"]: signal for signal in hearth.signals}
    assert len(by_id) == 27_933
    for name, sender, recipient in (("sms.csv", "sender", "recipient"), ("calls.csv", "caller", "callee")):
        for number, row in enumerate(read(cns / name), start=1):
            signal = by_id[f"{name}:{number}"]
            assert signal["household"] == "U" + row[sender]
            assert signal["recipient"] == row[recipient]
            assert signal["time"] == START_US + int(row["timestamp"]) * 1_000_000
            duration = row.get("duration", "-1")
            assert signal.get("duration_s") == (None if duration == "-1" else float(duration))
    times = [signal["time"] for signal in hearth.signals]
    assert times == sorted(times)


def test_ingesting_again_sends_the_same_ids_so_all_are_duplicates(cns: Path, hearth: FakeHearth, run: Run):
    arguments = ("ingest", "--mapping", "cns", "--target", hearth.address, "--json", cns / "sms.csv", cns / "calls.csv")
    run(*arguments)

    again = run(*arguments)

    assert again.code == 0
    assert again.json["duplicate"] == again.json["sent"] == 27_933
    assert again.json["applied"] == 0
    assert len(hearth.signals) == 27_933


def test_the_shipped_playbook_declares_what_the_shipped_mapping_sends(repository: Path, hearth: FakeHearth, run: Run):
    plan = compile_playbook(repository / "playbooks" / "cns")
    Path("sms.csv").write_text("timestamp,sender,recipient\n18,370,512\n")
    Path("calls.csv").write_text("timestamp,caller,callee,duration\n184,300,301,121\n190,300,301,-1\n")

    run("ingest", "--mapping", "cns", "--target", hearth.address, "sms.csv", "calls.csv")

    declared = {event.name: {plan.fields[use.field].name for use in event.fields} for event in plan.event_types}
    assert len(hearth.signals) == 3
    for signal in hearth.signals:
        assert set(signal) - {"event_id", "type", "household", "member", "time"} <= declared[signal["type"]]
    assert plan.clock.lateness_us >= 28 * 86_400_000_000
