"""Laws of `hearth rejects`: it shows every reject with reason, position and bytes beside a running Hearth; a replay
counts each event once, however often it is repeated or interrupted; what came of it is on record; what would come
back late, rejected or unreadable is told so.
"""

import json
import signal as signals
from collections.abc import Iterator
from pathlib import Path

import grpc
import pyarrow as pa
import pytest

import intake.replaying
from actors.log.contract import PartitionId
from actors.log.segments import SegmentStore
from actors.rejects.entries import read_rejects
from hearth.v1 import admin_pb2, admin_pb2_grpc, household_pb2, household_pb2_grpc, signal_pb2, signal_pb2_grpc
from tests.actors.harness import DAY, HOUR, MONDAY, SettableClock, corner, signal
from tests.cluster.conftest import Run
from tests.cluster.real_hearth import RealHearth, running

GAME = "  game.level: {source: app, fields: {score: optional}}\n"
WITH_GAME = corner(
    ("  opt_out: {source: app}", GAME + "  opt_out: {source: app}"),
    ("\nfields: {amount", "\nfields: {score: number, amount"),
)
"""The playbook once it knows the type that was sent too early."""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "hearth-data"


@pytest.fixture
def hearth(data_dir: Path) -> Iterator[RealHearth]:
    with running(data_dir, corner(), clock=SettableClock()) as one:
        yield one


def ingest(hearth: RealHearth, *sent: signal_pb2.Signal) -> signal_pb2.SignalCounts:
    with grpc.insecure_channel(hearth.address) as channel:
        answer = signal_pb2_grpc.SignalServiceStub(channel).Ingest(signal_pb2.IngestRequest(signals=sent), timeout=20)
    hearth.settle()
    return answer.counts


def payments(hearth: RealHearth, household: str) -> float:
    with grpc.insecure_channel(hearth.address) as channel:
        stub = household_pb2_grpc.HouseholdServiceStub(channel)
        answer = stub.Get(household_pb2.GetRequest(household=household), timeout=20)
    return next((one.value for one in answer.features if one.name == "household.payments"), 0.0)


def total(hearth: RealHearth, name: str) -> int:
    return sum(int(report[name]) for report in hearth.report().values())


def levels(count: int) -> list[signal_pb2.Signal]:
    return [
        signal(f"level-{n}" if n % 2 else "", f"h{n}", "game.level", MONDAY, fields={"score": float(n)})
        for n in range(count)
    ]


def test_a_file_with_more_fields_than_a_request_may_have_and_one_with_a_typo(
    run: Run, hearth: RealHearth, data_dir: Path
):
    rows = [
        {"type": "visit", "time": "2025-01-06T10:00:00Z", "event_id": f"e{n}", "household": "h1", f"cell_{n}": n}
        for n in range(600)
    ]
    rows.append(rows[0] | {"type": "pay", "event_id": "p", "amount": 5})
    rows.append(rows[0] | {"type": "pay", "event_id": "q", "amount": 1e9})
    Path("many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("typo.csv").write_text("type,household,time,amout\nvisit,h1,2025-01-06T10:00:00Z,3\n")

    many = run("ingest", "--target", hearth.address, "--json", "many.jsonl")
    typo = run("ingest", "--target", hearth.address, "typo.csv")

    assert (many.json["applied"], many.json["rejected"], many.json["passed_over_fields"]) == (601, 1, 600)
    assert many.json["rejected_by_field"] == {"amount": 1}
    assert payments(hearth, "h1") == 1
    assert "no playbook field needs cell_0, cell_1" in many.err
    assert "rejected by Hearth: OUT_OF_RANGE: amount: 1000000000 is above 1000000" in many.err
    assert "fields that the playbook does not know, so nothing reads them: amout 1" in typo.out


def test_of_a_request_with_too_many_fields_those_that_nothing_needs_are_passed_over_and_told(hearth: RealHearth):
    sent = [signal(f"e{n}", "h1", "pay", MONDAY, fields={f"x{n}": 1.0, "amount": 2.0}) for n in range(600)]
    table = pa.table(
        {
            "event_id": [f"a{n}" for n in range(600)],
            "household": ["h1"] * 600,
            "type": ["pay"] * 600,
            "time": pa.array([MONDAY] * 600, pa.int64()),
            "amount": [2.0] * 600,
            **{f"x{n}": [1.0] + [None] * 599 for n in range(600)},
        }
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    requests = [
        signal_pb2.IngestRequest(signals=sent), signal_pb2.IngestRequest(arrow_stream=sink.getvalue().to_pybytes())
    ]  # fmt: skip
    with grpc.insecure_channel(hearth.address) as channel:
        stub = signal_pb2_grpc.SignalServiceStub(channel)
        for request in requests:
            answer = stub.Ingest(request, timeout=20)
            assert answer.counts.applied == 600
            assert len(answer.unknown_fields) == 100
            assert all(one.passed_over and one.signals == 1 for one in answer.unknown_fields)
        described = stub.Describe(signal_pb2.DescribeRequest(), timeout=20)
    assert "pay" in {one.name for one in described.types}


def test_the_list_shows_reason_position_and_what_can_be_told(run: Run, hearth: RealHearth, data_dir: Path):
    assert run("rejects", "list").out == "no rejects\n"
    ingest(hearth, *levels(2), signal("ahead", "h1", "visit", MONDAY + HOUR), signal("ok", "h1", "visit", MONDAY))
    hearth.clock.pass_us(DAY)
    ingest(hearth, signal("range", "h1", "pay", MONDAY + DAY, fields={"amount": -1.0}))

    told = run("rejects", "list", "--json").json
    assert told["count"] == 4
    assert told["by_reason"] == {"BAD_ID": 1, "FUTURE": 1, "OUT_OF_RANGE": 1, "UNKNOWN_TYPE": 1}
    assert told["rejects"][-1]["reason"] == "OUT_OF_RANGE"
    assert told["rejects"][-1]["at"] == "2025-01-07T10:00:00+00:00"
    (future,) = run("rejects", "list", "--reason", "FUTURE", "--json").json["rejects"]
    detail = "time: 2025-01-06T11:00:00+00:00 is 3,600 s ahead of the owner's clock, at most "
    assert future["detail"].startswith(detail)

    lines = run("rejects", "list").out.splitlines()
    assert lines[-1] == "4 rejects: BAD_ID 1, FUTURE 1, OUT_OF_RANGE 1, UNKNOWN_TYPE 1; 0 replayed"
    assert all(one["id"] in "".join(lines) for one in told["rejects"])
    assert run("rejects", "list", "--since", "2025-01-07T00:00", "--json").json["count"] == 1
    assert run("rejects", "list", "--since", "2d", "--json").json["count"] == 0, "by the machine's own clock"
    partition = told["rejects"][-1]["partition"]
    counted = [run("rejects", "list", "--partition", p, "--json").json["count"] for p in (partition, 1 - partition)]
    assert sum(counted) == 4
    assert "the newest 1 above" in run("rejects", "list", "--limit", "1").out


def test_show_tells_everything_and_gives_the_bytes(run: Run, hearth: RealHearth, tmp_path: Path):
    ingest(hearth, signal("l1", "h1", "game.level", MONDAY, member="m", fields={"score": 7.0, "note": "x" * 5_000}))
    (listed,) = run("rejects", "list", "--json").json["rejects"]
    told = run("rejects", "show", listed["id"]).out
    assert "UNKNOWN_TYPE" in told
    assert "score=7.0" in told
    assert "(5,000 characters)" in told
    event = run("rejects", "show", listed["id"], "--json").json["event"]
    assert event == {
        "event_id": "l1", "household": "h1", "member": "m", "type": "game.level", "time": "2025-01-06T10:00:00+00:00",
        "fields": {"score": 7.0, "note": "x" * 5_000},
    }  # fmt: skip
    out = tmp_path / "row.arrow"
    run("rejects", "show", listed["id"], "--output", out)
    assert out.read_bytes().hex() == run("rejects", "show", listed["id"], "--json").json["original_hex"]
    wrong = run("rejects", "show", "log:9/9/9")
    assert wrong.code == 1
    assert "there is no reject log:9/9/9" in wrong.err


def test_a_replay_counts_each_event_once_however_often_it_is_repeated(run: Run, data_dir: Path):
    clock = SettableClock()
    with running(data_dir, corner(), clock=clock) as hearth:
        assert ingest(hearth, *levels(9)).rejected == 9
        still = run("rejects", "replay", "--all", "--target", hearth.address)
        assert "9 were rejected again" in still.out
        hearth.settle()
        assert run("rejects", "list", "--json").json["count"] == 18
    with running(data_dir, WITH_GAME, clock=clock) as hearth:
        first = run("rejects", "replay", "--all", "--target", hearth.address, "--json").json
        # The nine that were rejected again lie there under the ids they got: the same events once more.
        assert (first["sent"], first["replayed_before"]) == (9, 9)
        assert first["outcomes"] == {"APPLIED": 9}
        replayed = {one["replayed"] for one in run("rejects", "list", "--json").json["rejects"]}
        assert replayed == {"UNKNOWN_TYPE", "APPLIED"}
        assert run("rejects", "replay", "--all", "--target", hearth.address, "--json").json["sent"] == 0

        again = run("rejects", "replay", "--all", "--again", "--target", hearth.address, "--json").json
        assert again["outcomes"] == {"DUPLICATE": 18}
        assert total(hearth, "applied") == 9
        position = run("rejects", "list", "--json").json["rejects"][0]["id"]
        refused = run("rejects", "replay", position, "--target", hearth.address)
        assert refused.code == 1
        assert "replayed before" in refused.err
        assert "--again" in refused.err
        balance = {name: total(hearth, name) for name in ("received", "applied", "duplicate", "late", "rejected")}
        assert balance["received"] == sum(count for name, count in balance.items() if name != "received")


def test_a_replay_that_dies_between_sending_and_recording_is_repeated_without_harm(
    run: Run, hearth: RealHearth, monkeypatch: pytest.MonkeyPatch
):
    ahead = [signal(f"a{n}", f"h{n}", "pay", MONDAY + HOUR, fields={"amount": 5.0}) for n in range(6)]
    assert ingest(hearth, *ahead).rejected == 6
    hearth.clock.pass_us(HOUR)
    record = intake.replaying.Replayer._record

    def die(*_: object) -> None:
        signals.raise_signal(signals.SIGINT)
        signals.raise_signal(signals.SIGINT)

    monkeypatch.setattr(intake.replaying.Replayer, "_record", die)
    assert run("rejects", "replay", "--reason", "FUTURE", "--target", hearth.address).code == 130
    done = total(hearth, "applied")
    assert 0 < done < 6
    monkeypatch.setattr(intake.replaying.Replayer, "_record", record)
    told = run("rejects", "replay", "--reason", "FUTURE", "--target", hearth.address, "--json").json
    assert told["outcomes"] == {"APPLIED": 6 - done, "DUPLICATE": done}
    assert total(hearth, "applied") == 6
    assert [payments(hearth, f"h{n}") for n in range(6)] == [1.0] * 6


def test_what_is_too_late_by_now_is_told_so(run: Run, hearth: RealHearth):
    ingest(hearth, signal("ahead", "h1", "visit", MONDAY + HOUR))
    hearth.clock.pass_us(3 * DAY)
    ingest(hearth, signal("now", "h1", "visit", MONDAY + 3 * DAY))
    told = run("rejects", "replay", "--all", "--target", hearth.address)
    assert told.code == 0
    assert "LATE: 1 are older by now" in told.out
    assert total(hearth, "late") == 1


def test_inputs_that_never_were_signals_are_kept_shown_and_written_out(run: Run, hearth: RealHearth, tmp_path: Path):
    lines = [b"1;half a li", b"\xff\xfe\x00 not text"]
    request = admin_pb2.RejectRequest(
        rejects=[
            admin_pb2.Reject(position=f"file:calls.csv/{n}", reason="UNREADABLE", detail="7 wanted", original=line)
            for n, line in enumerate(lines)
        ]
    )
    with grpc.insecure_channel(hearth.address) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        assert stub.Reject(request, timeout=20).kept == 2
        assert stub.Reject(request, timeout=20).kept == 0
        request.rejects[0].position = "log:0/1/2"
        with pytest.raises(grpc.RpcError, match="by itself"):
            stub.Reject(request, timeout=20)
    told = run("rejects", "show", "file:calls.csv/1").out
    assert "7 wanted" in told
    assert "ff fe 00" in told
    out = tmp_path / "again.csv"
    told = run("rejects", "replay", "--all", "--output", out).out
    assert "2 never were signals; they are in" in told
    assert sorted(out.read_bytes().splitlines()) == sorted(lines)


def test_without_a_mapping_a_field_is_what_the_playbook_declares_and_a_bad_cell_costs_its_row(
    run: Run, hearth: RealHearth
):
    # A number that is none in one row; a text that is a number in all; a flag that is none in one.
    rows = [
        {"type": "pay", "household": "h1", "amount": 5, "shop": "12"},
        {"type": "pay", "household": "h1", "amount": "five", "shop": "12"},
        {"type": "pay", "household": "h1", "amount": "1e2", "shop": "7"},
        {"type": "consent", "household": "h1", "member": "m", "marketing": True},
        {"type": "consent", "household": "h1", "member": "m", "marketing": "perhaps"},
    ]
    rows = [row | {"event_id": f"e{n}", "time": "2025-01-06T10:00:00Z"} for n, row in enumerate(rows)]
    Path("pays.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = ["event_id", "type", "household", "member", "time", "amount", "shop", "marketing"]
    cells = [[str(row.get(name, "")).replace("True", "true") for name in names] for row in rows]
    Path("pays.csv").write_text("".join(",".join(line) + "\n" for line in [names, *cells]))

    first = run("ingest", "--target", hearth.address, "--json", "pays.jsonl").json
    again = run("ingest", "--target", hearth.address, "--json", "pays.csv").json

    assert (first["applied"], first["unreadable"], first["rejected"]) == (3, 2, 0)
    assert (again["duplicate"], again["unreadable"], again["rejected"]) == (3, 2, 0)
    assert payments(hearth, "h1") == 2


def test_rows_that_ingest_cannot_read_are_kept_too(run: Run, hearth: RealHearth, tmp_path: Path):
    lines = [
        '{"broken',
        '{"event_id": "v1", "type": "visit", "household": "h1", "time": "2025-01-06T10:00:00Z"}',
        "\ud800",
    ]
    (tmp_path / "visits.jsonl").write_bytes("\n".join(lines).encode(errors="surrogatepass"))
    for _ in range(2):
        told = run("ingest", "visits.jsonl", "--target", hearth.address, "--json").json
        assert (told["unreadable"], told["sent"]) == (2, 1)
    listed = run("rejects", "list", "--json").json
    assert [one["id"] for one in listed["rejects"]] == ["file:visits.jsonl/1", "file:visits.jsonl/3"]
    assert bytes.fromhex(run("rejects", "show", "file:visits.jsonl/1", "--json").json["original_hex"]) == b'{"broken'


def test_fields_by_the_name_of_a_column_are_replayed_too(run: Run, hearth: RealHearth):
    odd = signal("odd", "h1", "visit", MONDAY + HOUR, fields={"time": 3.0, "household": "other"})
    assert ingest(hearth, odd).rejected == 1
    hearth.clock.pass_us(HOUR)
    told = run("rejects", "replay", "--all", "--target", hearth.address, "--json").json
    assert told["outcomes"] == {"APPLIED": 1}


def test_mistakes_in_the_command_are_explained(run: Run, hearth: RealHearth, tmp_path: Path):
    for arguments, told in (
        (("replay",), "say which"),
        (("replay", "log:0/1/1", "--all"), "say which"),
        (("list", "--since", "yesterday"), "or how long ago: 30m, 2h, 7d"),
        (("list", "--data-dir", tmp_path / "nowhere"), "no data directory"),
    ):
        outcome = run("rejects", *arguments)
        assert outcome.code == 2
        assert told in outcome.err


def test_a_reject_log_is_read_by_the_tools_of_any_log(hearth: RealHearth, data_dir: Path):
    ingest(hearth, *levels(4))
    assert len(list(read_rejects(data_dir / "rejects"))) == 4
    assert SegmentStore(data_dir / "rejects").partitions() == (PartitionId(0), PartitionId(1))
