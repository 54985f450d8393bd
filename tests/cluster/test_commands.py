"""Laws: what is read is told to people or as one line of JSON; a mistake is one sentence on stderr and an exit code."""

import math
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from actors.log.contract import DamagedLog, PartitionId
from actors.log.reading import ReadLogs
from actors.snapshots.store import SnapshotStore
from cluster.commands import up
from cluster.config import HearthConfig
from cluster.data_dir import announce, find_running, hold
from cluster.supervisor import Hear
from hearth.v1 import decision_pb2, household_pb2
from tests.cluster.conftest import Run
from tests.cluster.fake_hearth import FakeHearth

AT = Timestamp(seconds=1_767_571_200)


def an_action() -> decision_pb2.Action:
    return decision_pb2.Action(
        action_id="a-1", offer="topup_series_plus", kind="offer", family="mobile", price_minor=999, currency="EUR",
        valid_until=AT, status=decision_pb2.ACTION_STATUS_LIVE, journey="s1_low_balance",
        treatment=decision_pb2.Treatment(name="app", channel="app", text="Top up", parameters={"one_tap": "true"}),
    )  # fmt: skip


def a_record() -> household_pb2.DecisionRecord:
    return household_pb2.DecisionRecord(
        decision_id="d-1", household="H1", member="M1", channel="app", decided_at=AT,
        playbook_version="abc", model_version="prior",
        moments=[household_pb2.Moment(moment_id="m", journey="s1_low_balance", event_id="e-3", time=AT)],
        features=[household_pb2.FeatureValue(name="member.balance_checks_7d", value=3, unit="events")],
        candidates=[
            household_pb2.Candidate(offer="data_weekend", vetoes=["NOT_ELIGIBLE"]),
            household_pb2.Candidate(offer="topup_series_plus", score=0.22, value=70.4),
        ],
        slate=[an_action()], reasons=["MOMENT:s1_low_balance"], propensity=0.95,
    )  # fmt: skip


def test_decide_tells_the_action_and_why(hearth: FakeHearth, run: Run):
    hearth.decide_answer = decision_pb2.DecideResponse(
        decision_id="d-1",
        action=an_action(),
        reasons=["MOMENT:s1_low_balance"],
        playbook_version="abc",
        model_version="prior",
    )

    told = run("decide", "H1", "--channel", "app", "--member", "M1", "--target", hearth.address)
    as_json = run("decide", "H1", "--channel", "app", "--request-id", "r-1", "--target", hearth.address, "--json")

    assert told.code == as_json.code == 0
    assert "topup_series_plus (offer, mobile): 9.99 EUR" in told.out
    assert "why: MOMENT:s1_low_balance" in told.out
    assert (hearth.asked[0].household, hearth.asked[0].member, hearth.asked[0].channel) == ("H1", "M1", "app")
    assert len(hearth.asked[0].request_id) > 20
    assert hearth.asked[1].request_id == "r-1"
    assert as_json.json["action"]["action_id"] == "a-1"


def test_nothing_for_now_is_an_answer_and_a_refusal_is_told_with_its_details(hearth: FakeHearth, run: Run):
    hearth.decide_answer = decision_pb2.DecideResponse(decision_id="d-2", reasons=["NOTHING_BETTER"])
    nothing = run("decide", "H1", "--channel", "app", "--target", hearth.address)
    hearth.decide_refusal = "one of app, web"
    refused = run("decide", "H1", "--channel", "fax", "--target", hearth.address)

    assert (nothing.code, nothing.out.splitlines()[:2]) == (0, ["nothing for now", "why: NOTHING_BETTER"])
    assert refused.code == 1
    assert refused.err.startswith("hearth: deciding on channel fax failed")
    assert "INVALID_ARGUMENT: the request is wrong; channel: one of app, web" in refused.err


def test_explain_tells_the_story_from_the_moment_to_the_reason(hearth: FakeHearth, run: Run):
    hearth.decisions["H1", ""] = a_record()

    told = run("explain", "H1", "--target", hearth.address)
    as_json = run("explain", "H1", "--target", hearth.address, "--json")

    for piece in (
        "s1_low_balance",
        "by event e-3",
        "member.balance_checks_7d",
        "NOT_ELIGIBLE",
        "0.2200",
        "9.99 EUR",
        "why: MOMENT:",
    ):
        assert piece in told.out
    assert as_json.json["candidates"][0]["vetoes"] == ["NOT_ELIGIBLE"]


def told_of(hearth: FakeHearth, run: Run, **changes: object) -> str:
    record = a_record()
    for name, value in changes.items():
        match value:
            case list():
                record.ClearField(name)  # type: ignore[arg-type]
                getattr(record, name).extend(value)
            case Message():
                getattr(record, name).CopyFrom(value)
            case _:
                setattr(record, name, value)
    hearth.decisions["H1", ""] = record
    return run("explain", "H1", "--target", hearth.address).out


def test_explain_tells_where_a_household_is_in_its_journeys(hearth: FakeHearth, run: Run):
    hearth.instances = [
        household_pb2.JourneyInstance(
            journey="loans", state="waiting", entered_at=AT, since=AT, due_at=AT, member="M1"
        ),
        household_pb2.JourneyInstance(journey="welcome", state="touch", entered_at=AT, since=AT, ending="GOAL"),
    ]
    journeys = [line for line in told_of(hearth, run).splitlines() if line.startswith("journey")]
    assert journeys[0].startswith("journey: loans, member M1: in 'waiting' since 2026-01-05")
    assert journeys[0].endswith("at most")
    assert journeys[1].endswith("ended by GOAL")


@pytest.mark.parametrize("value", [math.inf, 1e30, float(np.float32(1e30)), 3e38])
def test_what_never_happened_is_never(hearth: FakeHearth, run: Run, value: float):
    since = household_pb2.FeatureValue(name="member.since_days", value=value, unit="days")
    told = told_of(hearth, run, features=[since])
    (line,) = [line for line in told.splitlines() if "member.since_days" in line]
    assert line.split() == ["member.since_days", "never"]


def test_explain_tells_money_and_times_as_the_operator_writes_them(hearth: FakeHearth, run: Run):
    dinar = an_action()
    dinar.price_minor, dinar.currency = 1250, "KWD"
    told = told_of(hearth, run, slate=[dinar], currency="KWD", time_zone="Asia/Kuwait")
    assert "1.250 KWD" in told
    assert "value, KWD" in told
    assert "0.0704" in told
    assert "decided 2026-01-05 03:00:00 +03" in told

    yen = an_action()
    yen.price_minor, yen.currency = 500, "JPY"
    assert ": 500 JPY" in told_of(hearth, run, slate=[yen], currency="JPY", time_zone="Nowhere/Land")


def test_explain_tells_who_asked_where_it_went_and_what_stood(hearth: FakeHearth, run: Run):
    sent = told_of(hearth, run, channel="", send_channel="sms", send_before=AT)
    assert "unasked" in sent
    assert "to go out on sms: action a-1, before 2026-01-05 00:00:00 UTC" in sent
    gone = told_of(
        hearth, run, channel="", send_channel="sms", send_before=AT, handed_over_channel="push", handed_over_at=AT
    )
    assert "went out on push at 2026-01-05 00:00:00 UTC: action a-1" in gone
    held = told_of(hearth, run, send_channel="sms", send_before=AT, send_not_before=AT, fallback_channels=["push"])
    assert "to go out on sms; else on push: action a-1, not before 2026-01-05 00:00:00 UTC, before" in held

    stood = told_of(hearth, run, slate=[], stands="d-0", request_id="r-7", answered=an_action())
    assert "asked on app" in stood
    assert "request r-7" in stood
    assert "that of decision d-0 stood" in stood
    assert "answered on app with action a-1" in stood
    assert "topup_series_plus (offer, mobile)" in stood


def test_explain_tells_what_was_withheld_and_what_nobody_knows_any_more(hearth: FakeHearth, run: Run):
    withheld = an_action()
    withheld.status = decision_pb2.ACTION_STATUS_WITHHELD
    told = told_of(hearth, run, slate=[withheld], withheld=True)
    assert "action a-1, withheld, until" in told
    assert "expired" not in told

    bare = decision_pb2.Action(action_id="a-1", offer="old", price_minor=999)
    forgotten = told_of(hearth, run, slate=[bare], features=[], playbook_missing=True)
    assert "playbook abc, under which it was decided, is in no log and no snapshot any more" in forgotten
    assert "old: 999 minor units" in forgotten
    assert "how is not known any more" in forgotten


def test_explain_of_what_is_not_there_says_which(hearth: FakeHearth, run: Run):
    hearth.decisions["H1", "d-1"] = a_record()
    hearth.dropped.add("H5")
    for arguments, told in (
        (("H5",), "the newest decision of household H5 is older than the log is kept"),
        (("H5", "--decision", "d-3"), "decision d-3 of household H5 is older than the log is kept"),
        (("H9",), "no signal has named household H9"),
        (("H1", "--decision", "d-7"), "household H1 has no decision d-7"),
        (("H1",), "nothing was decided for household H1 yet"),
    ):
        ended = run("explain", *arguments, "--target", hearth.address)
        assert (ended.code, ended.out) == (1, "")
        assert told in ended.err


def test_status_tells_what_runs_on_the_data_directory(hearth: FakeHearth, run: Run, tmp_path: Path):
    none = run("status", "--json")
    assert (none.code, none.json["health"], none.json["running"]) == (1, "not running", None)

    with hold(HearthConfig(data_dir=tmp_path / "hearth-data")) as path:
        assert run("status", "--json").json["health"] == "starting"
        announce(path, address=hearth.address)
        ready = run("status", "--json")
        assert (ready.code, ready.json["health"], ready.json["address"]) == (0, "ready", hearth.address)
        hearth.is_ready = False
        assert (run("status").code, run("status", "--json").json["health"]) == (1, "not ready")
        # Every command finds the Hearth of the data directory by itself.
        assert run("decide", "H1", "--channel", "app").code == 0


def test_playbook_check_tells_each_mistake_with_place_and_what_would_be_right(
    repository: Path, run: Run, tmp_path: Path
):
    good = run("playbook", "check", repository / "playbooks" / "telco", "--json")
    assert (good.code, good.json["ok"], good.json["name"]) == (0, True, "telco")

    (tmp_path / "bad.yaml").write_text("playbook: {name: bad}\nevents:\n  app.login: {source: ap}\n")
    bad = run("playbook", "check", "bad.yaml")
    assert bad.code == 1
    line = bad.out.splitlines()[0]
    assert line.startswith("bad.yaml:3:")
    assert " - " in line
    as_json = run("playbook", "check", "bad.yaml", "--json")
    assert as_json.json["problems"][0]["line"] == 3

    missing = run("playbook", "check", "nowhere")
    assert (missing.code, missing.err) == (
        2,
        "hearth: there is no playbook nowhere; name its folder or its YAML file\n",
    )


def test_playbook_check_warns_of_what_is_hardly_meant_and_fails_for_it_only_when_strict(run: Run, tmp_path: Path):
    (tmp_path / "odd.yaml").write_text(
        "playbook: {name: odd}\n"
        "events:\n  check: {source: app}\n"
        "features:\n  member.checks: {kind: newest_times, events: check, keep: 3, span: 7d}\n"
        "segments:\n  keen: member.checks >= 4\n"
    )
    warned, strict = run("playbook", "check", "odd.yaml"), run("playbook", "check", "odd.yaml", "--strict")
    as_json, strictly = (
        run("playbook", "check", "odd.yaml", "--json"),
        run("playbook", "check", "odd.yaml", "--strict", "--json"),
    )

    assert (warned.code, strict.code, as_json.code, strictly.code) == (0, 1, 0, 1)
    assert warned.out.startswith("odd.yaml:7:3: warning: segment 'keen' can never be true: member.checks >= 4, but ")
    assert "has no mistakes and 1 warning\n" in warned.out
    assert (as_json.json["ok"], strictly.json["ok"], as_json.json["problems"]) == (True, False, [])
    (told,) = as_json.json["warnings"]
    assert (told["file"], told["line"], bool(told["fix"])) == ("odd.yaml", 7, True)
    assert run("playbook", "check", Path(__file__).parents[2] / "playbooks" / "telco", "--strict").code == 0


def test_log_export_writes_one_parquet_file_or_none(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def export_table(read: ReadLogs, kind: str, snapshots: SnapshotStore | None) -> Iterator[pa.Table]:
        assert list(read()) == []
        asked.append(kind)
        if kind == "decisions":
            raise ConnectionError("the store is away")
        schema = pa.schema([("event_id", pa.string())], {"hearth.kind": kind})
        yield pa.table({"event_id": ["a", "b"]}, schema=schema)
        yield pa.table({"event_id": ["c"]}, schema=schema)
        if is_failing:
            raise DamagedLog(PartitionId(0), "p-0000/1.seg", 7, "a bit has flipped")

    monkeypatch.setattr("actors.exports.log_export.export_table", export_table)
    with hold(HearthConfig(data_dir=tmp_path / "d")):
        pass

    is_failing = False
    ended = run("log", "export", "--kind", "signals", "--out", "s.parquet", "--data-dir", "d", "--json")

    assert (ended.code, ended.json["rows"]) == (0, 3)
    written = pa.parquet.read_table("s.parquet")
    assert written.to_pydict() == {"event_id": ["a", "b", "c"]}
    assert written.schema.metadata[b"hearth.kind"] == b"signals"
    assert asked == ["signals"]

    # What was there stays until the new one is whole.
    is_failing = True
    failed = run("log", "export", "--kind", "signals", "--out", "s.parquet", "--data-dir", "d")
    assert failed.code == 1
    assert "a bit has flipped" in failed.err
    assert pa.parquet.read_table("s.parquet").num_rows == 3
    assert run("log", "export", "--kind", "signals", "--out", "t.parquet", "--data-dir", "d").code == 1
    away = run("log", "export", "--kind", "decisions", "--out", "t.parquet", "--data-dir", "d")
    assert (away.code, "the snapshots cannot be listed: the store is away" in away.err) == (1, True)
    assert sorted(path.name for path in Path().glob("*.parquet*")) == ["s.parquet"]
    for arguments, told in (
        (("--kind", "wishes", "--out", "x", "--data-dir", "d"), "the kinds are decisions, signals, moments"),
        (("--kind", "signals", "--out", "x", "--data-dir", "."), "no data directory of Hearth"),
        (("--kind", "signals", "--out", "no/x", "--data-dir", "d"), "the folder of no/x does not exist"),
    ):
        wrong = run("log", "export", *arguments)
        assert wrong.code == 2
        assert told in wrong.err


def test_models_are_none_at_first(run: Run):
    ended = run("models", "list", "--json")
    assert (ended.code, ended.json["versions"]) == (0, [])
    assert run("models", "train").code == 2


def test_doctor_names_versions_disk_and_what_weakens(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cluster.commands.doctor.open_ports", lambda *_, **__: [])
    well = run("doctor", "--json")
    assert well.json["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert well.json["disk"]["sync_ms"] > 0
    monkeypatch.setenv("HEARTH_REFLECTION", "true")
    monkeypatch.setenv("HEARTH_CLOCK", "stream")
    monkeypatch.setenv("HEARTH_CLCOK", "wall")
    ill = run("doctor")
    assert ill.code == 1
    for told in ("reflection tells every client", "clock stream takes the newest event", "HEARTH_CLCOK is no setting"):
        assert told in ill.out


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[HearthConfig]:
    """Instead of a cluster: a note of the settings it would have run with."""
    seen: list[HearthConfig] = []

    def supervise(config: HearthConfig, hear: Hear, *, check: Callable[[], None]) -> int:
        check()
        seen.append(config)
        hear({"ready": True, "address": f"{config.host}:{config.port}"})
        assert find_running(config.data_dir) is not None
        return 0

    monkeypatch.setattr(up, "supervise", supervise)
    return seen


def test_up_settles_directory_and_port_and_says_where_it_can_be_reached(
    launched: list[HearthConfig], run: Run, tmp_path: Path
):
    ended = run("up", "--port", "0", "--clock", "stream", "--shards", "1", "--json")

    assert ended.code == 0
    config = launched[0]
    assert (config.data_dir, config.clock.value, config.shard_count) == (tmp_path / "hearth-data", "stream", 1)
    assert config.port > 0
    assert ended.json["address"] == f"127.0.0.1:{config.port}"


def test_up_starts_nothing_when_directory_port_or_playbook_are_wrong(
    launched: list[HearthConfig], run: Run, tmp_path: Path
):
    (tmp_path / "file").touch()
    (tmp_path / "bad.yaml").write_text("playbook: {}\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, code, told in (
            (("--data-dir", "file"), 1, "is a file"),
            (("--port", port), 1, f"port {port} on 127.0.0.1 is in use"),
            (("--port", "70000"), 2, "setting port"),
            (("--playbook", "nowhere"), 2, "there is no playbook nowhere"),
            (("--playbook", "bad.yaml"), 2, "the playbook has 1 mistake: bad.yaml:1:1"),
            (("--shards", "9"), 2, "shard_count 9 exceeds partition_count 8"),
        ):
            ended = run("up", *arguments)
            assert (ended.code, ended.out) == (code, "")
            assert told in ended.err
            assert ended.err.startswith("hearth: ")
    with hold(HearthConfig(data_dir=tmp_path / "hearth-data")):
        assert "already runs on" in run("up").err
    assert launched == []


def test_a_usage_mistake_ends_with_2(run: Run):
    assert run("decide", "H1").code == 2
    assert run("nonsense").code == 2
    assert run("ingest", "--target", "nowhere", "a.csv").code == 2


@pytest.mark.parametrize(
    "typed",
    [("models", "list", "--model", ""), ("models", "list", "--model="), ("models", "list", "--data-dir", "", "--json")],
)
def test_an_option_that_is_empty_is_named_and_nothing_is_taken_for_it(run: Run, typed: tuple[str, ...]):
    ended = run(*typed)
    assert ended.code == 2
    assert f"{typed[2].rstrip('=')} is empty; say what is meant, or leave it out" in ended.err
