"""Laws: figures, experiments and readiness are read from the log as it is; each number names its events; a leak, a
sample ratio that is off and a journey without a control group end with exit code 1 and say so.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from actors.log.contract import Epoch, Offset, PartitionId, Record, RecordKind, StoredRecord
from actors.log.location import PartitionReader
from actors.records import codec
from cluster.data_dir import LAYOUT_NAME
from household.decision import Decision, Ghost, Moment, SlateAction
from household.decision_bytes import encode_decision
from household.delivery import DeliveryNote, DeliveryStep
from household.plan import Layer, Plan
from household.tables.arms import AssignedBy, Assignment
from serving.signal_batches import batch_from_signals
from tests.actors.harness import DAY, MINUTE, MONDAY, SECOND, corner, signal
from tests.cluster.conftest import Run
from wire.batches import ipc_bytes

HOUSEHOLDS = 400
END = MONDAY + 40 * DAY

DEFINITIONS = """\
products: [{held: opened, ended: closed, family: content}]
revenue: [{events: pay, amount: amount, category: wallet}]
taken_up: {mobile: pay}
uses: {app: {events: visit, target: 2, half_life: 7d, weight: 1}}
journeys: {low: {owner: CVM prepaid, kpi: K6, channels: {push: app team, sms: messaging}}}
"""
WITH_CONTROL = ("offers: topup\n", "offers: topup\n    control: 30%\n")
MORE_EVENTS = ("  visit: {source: app}\n", "  visit: {source: app}\n  opened: {source: app}\n  closed: {source: app}\n")


def plan_of(*changes: tuple[str, str]) -> Plan:
    return corner(MORE_EVENTS, *changes)


def is_control(number: int) -> bool:
    return number % 10 < 3


def decided(number: int, plan: Plan, *, leaks: bool) -> Decision:
    household, at_us = f"H{number}", MONDAY + number * SECOND
    arm = "control" if is_control(number) else "treated"
    action = SlateAction(
        action_id=f"a{number}", offer="topup", journey="low", price_minor=999, valid_until_us=at_us + DAY
    )
    is_given = arm == "treated" or leaks
    moment = Moment(
        moment_id=f"m{number}", journey="low", member=0, event_id=f"{household}-check".encode(), event_type="check",
        time_us=at_us - MINUTE,
    )  # fmt: skip
    met = Assignment(
        "low",
        Layer.JOURNEY,
        arm,
        3_000 if arm == "control" else 7_000,
        "s",
        plan.version,
        at_us,
        AssignedBy.DRAWN_OF_JOURNEY,
    )
    ghosts = (Ghost(offer="topup", journey="low", channel="push", time_us=at_us, experiments=("low",)),)
    empty = dict.fromkeys(("request_id", "channel", "model_version", "schema_hash", "stands", "answered"), "")
    return Decision(
        decision_id=f"d{number}", household=household.encode(), member=b"m", decided_us=at_us, moments=(moment,),
        plan_version=plan.version, degraded=False, withheld=not is_given, propensity=1.0, reasons=(), candidates=(),
        slate=(action,), send_channel="push" if is_given else "", send_before_us=at_us + DAY, local_minute_of_week=0,
        state_vector=np.zeros(1, np.float32), arms=(met,), ghosts=() if is_given else ghosts, **empty,
    )  # fmt: skip


def a_log(plan: Plan, *, leaks: bool = False, lost: int = 0) -> list[Record]:
    """Return a log in which households check, journey `low` sends, and many of the treated, few of control pay."""

    def record(kind: RecordKind, payload: bytes, at_us: int) -> Record:
        return Record(kind=kind, version=1, epoch=Epoch(1), stamp_us=at_us, payload=payload)

    log = [record(RecordKind.PLAN, codec.encode_plan(plan), MONDAY - DAY)]
    for number in range(HOUSEHOLDS):
        if is_control(number) and number < lost:
            continue
        household, at_us = f"H{number}", MONDAY + number * SECOND
        told = [
            signal(f"{household}-open", household, "opened", at_us - DAY),
            signal(f"{household}-check", household, "check", at_us - MINUTE, member="m"),
        ]
        log.append(record(RecordKind.SIGNALS, ipc_bytes(batch_from_signals(told)), at_us))
        if number % 10 in (0, 3, 4, 5):
            fields, paid_us = {"amount": 700.0 if is_control(number) else 900.0}, at_us + 3 * DAY
            paying = signal(f"{household}-pay", household, "pay", paid_us, member="m", fields=fields)
            log.append(record(RecordKind.SIGNALS, ipc_bytes(batch_from_signals([paying])), paid_us))
        decision = decided(number, plan, leaks=leaks and number == 0)
        payload = encode_decision(decision, member_keys={0: b"m"})
        log.append(
            Record(
                kind=RecordKind.DECISION, version=codec.DECISION_LAYOUT, epoch=Epoch(1), stamp_us=at_us, payload=payload
            )
        )
        if decision.send_channel:
            note = DeliveryNote(action_id=f"a{number}", step=DeliveryStep.HANDED, channel="push")
            log.append(record(RecordKind.DELIVERY, codec.encode_delivery([note]), at_us + 2 * SECOND))
    log.append(
        record(RecordKind.SIGNALS, ipc_bytes(batch_from_signals([signal("last", "H1", "visit", END - 1)])), END - 1)
    )
    return log


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / LAYOUT_NAME).write_text("{}")
    (tmp_path / "measures.yaml").write_text(DEFINITIONS)
    return folder


def with_log(monkeypatch: pytest.MonkeyPatch, log: list[Record]) -> None:
    def read() -> Iterator[tuple[int, StoredRecord]]:
        for offset, record in enumerate(log):
            yield 0, StoredRecord(offset=Offset(offset), record=record)

    def read_from(partition: int, start: int) -> Iterator[StoredRecord]:
        return (stored for _, stored in read() if stored.offset >= start)

    reader = PartitionReader(partitions=lambda: (PartitionId(0),), read=read_from)
    monkeypatch.setattr("cluster.measured.log_reader", lambda config: read)
    monkeypatch.setattr("cluster.rolled.log_partitions", lambda config: reader)
    monkeypatch.setattr("cluster.command_line.measuring.settings_of", _settings)


def _settings(**options: object):
    from cluster.config import load_config

    return load_config(**options)


def test_figures_are_those_of_the_log_and_name_their_events(monkeypatch, data_dir: Path, run: Run, tmp_path: Path):
    with_log(monkeypatch, a_log(plan_of(WITH_CONTROL)))
    named = ("--measures", tmp_path / "measures.yaml", "--data-dir", data_dir)
    told = run("kpis", *named, "--by", "journey", "--json")
    by_arm = run("kpis", *named, "--by", "arm", "--experiment", "low", "--json")
    rows = {row["row"]: row for row in told.json["rows"]}

    assert (told.code, by_arm.code) == (0, 0)
    assert rows["K1.families/2025-01"]["value"] == 1.0
    # A tenth of control and three tenths of the treated paid.
    paid = 40 * 700 + 120 * 900
    assert rows["K2.arpu/2025-01"]["numerator"] == paid
    assert rows["K4.handed_p50/2025-01"]["value"] == 62_000.0
    assert rows["K4.handed_p50/2025-01"]["numerator"] == 280
    assert rows["K6.conversion/2025-01/journey=low"]["denominator"] == HOUSEHOLDS
    assert rows["renewal.rate/2025-01"]["missing"] == "renewal (the definitions name none)"
    arms = {row["group"]: row for row in by_arm.json["rows"] if row["row"].startswith("K2.arpu/2025-01/")}
    assert {name: row["numerator"] for name, row in arms.items()} == {"control": 40 * 700, "treated": 120 * 900}

    explained = run(
        "kpis", *named, "--explain", "K2.arpu/2025-01/arm=control", "--by", "arm", "--experiment", "low", "--json"
    )
    assert sorted(explained.json["events"]) == sorted(f"H{number}-pay" for number in range(0, HOUSEHOLDS, 10))

    exported = run("export", "kpis", *named, "--out", tmp_path / "kpis.parquet", "--json")
    table = pq.read_table(tmp_path / "kpis.parquet").to_pylist()
    assert exported.json["rows"] == len(table)
    assert {row["row"]: row["numerator"] for row in table}["K2.arpu/2025-01"] == paid

    assert "the log ends at 2025-02-15" in run("kpis", *named, "--as-of", "2025-06-01").err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--by", "colour"), "--by colour is not known; it is one of journey"),
        (("--by", "arm"), "--by arm needs --experiment; households have met low"),
        (("--by", "arm", "--experiment", "none"), "--experiment none has met nobody; households have met low"),
        (("--as-of", "yesterday"), "--as-of yesterday is no instant"),
        (("--as-of", "9999-12-31"), "--as-of 9999-12-31 lies outside of what can be asked for"),
        (("--explain", "K7"), "there is no row 'K7'"),
        (("--explain", "K2.arpu/2025-01/arm=control"), "is a row of --by arm: ask for it with --by arm"),
        (("--measures", "none.yaml"), "none.yaml cannot be read"),
    ],
)
def test_what_cannot_be_asked_says_what_can(monkeypatch, data_dir: Path, run: Run, arguments, told: str):
    with_log(monkeypatch, a_log(plan_of(WITH_CONTROL)))
    ended = run("kpis", "--data-dir", data_dir, *arguments)
    assert ended.code == 2
    assert told in ended.err


def test_where_nothing_can_be_written_nothing_is_worked_out(data_dir: Path, run: Run, tmp_path: Path):
    # There is no log, which whoever began to read it would find out.
    nowhere, folder = tmp_path / "none" / "kpis.parquet", tmp_path
    assert "make it first" in run("export", "kpis", "--data-dir", data_dir, "--out", nowhere).err
    assert "is a folder" in run("export", "kpis", "--data-dir", data_dir, "--out", folder).err
    assert "is a folder" in run("report", data_dir, "--out", folder).err


def test_where_the_newest_event_is_now_the_log_ends_with_it(monkeypatch, data_dir: Path, run: Run, tmp_path: Path):
    opening = codec.encode_epoch(codec.EpochOpening(owner="s", stream_clock=True, fold_version=1))
    log = [replace(one, stamp_us=one.stamp_us + 400 * DAY) for one in a_log(plan_of(WITH_CONTROL))]
    epoch = Record(kind=RecordKind.EPOCH, version=codec.EPOCH_LAYOUT, epoch=Epoch(1), stamp_us=MONDAY, payload=opening)
    named = ("--measures", tmp_path / "measures.yaml", "--data-dir", data_dir)

    with_log(monkeypatch, [epoch, *log])
    told, known = run("kpis", *named, "--json"), run("kpis", *named, "--known-by", "2025-02-01")
    early = run("experiments", "--as-of", "2025-02-10", *named, "--json")
    assert told.json["as_of"] == "2025-02-15T10:00:00+00:00"
    rows = {row["row"]: row for row in told.json["rows"]}
    assert rows["K2.arpu/2025-01"]["numerator"] == 40 * 700 + 120 * 900
    assert rows["K4.handed_p50/2025-01"]["note"] == "hand-overs are not known: only what was answered counts"
    assert early.json["experiments"][0]["readings"][0]["treated"] == pytest.approx(120 / 280)
    assert known.code == 2
    assert "--known-by cannot be told where the newest event is now" in known.err

    with_log(monkeypatch, log)
    assert run("kpis", *named, "--json").json["as_of"] > "2026"


def test_an_experiment_gets_a_verdict(monkeypatch, data_dir: Path, run: Run, tmp_path: Path):
    with_log(monkeypatch, a_log(plan_of(WITH_CONTROL)))
    named = ("--measures", tmp_path / "measures.yaml", "--data-dir", data_dir)
    told = run("experiments", "low", *named, "--json")
    as_text = run("experiments", *named)
    early = run("experiments", "--as-of", "2025-01-20", *named, "--json")

    (one,) = told.json["experiments"]
    assert told.code == as_text.code == 0
    assert one["arms"] == {"control": 120, "treated": 280}
    conversion = one["readings"][0]
    assert conversion["treated"] == pytest.approx(120 / 280)
    assert conversion["control"] == pytest.approx(40 / 120)
    assert one["exposed"][0]["treated_households"] == 280
    assert "sample ratio: p = 1" in as_text.out
    assert "treated: NOT ENOUGH YET" in as_text.out
    assert early.json["experiments"][0]["over"] == {}


def test_a_leak_and_a_sample_ratio_that_is_off_are_found(monkeypatch, data_dir: Path, run: Run, tmp_path: Path):
    named = ("--measures", tmp_path / "measures.yaml", "--data-dir", data_dir)
    with_log(monkeypatch, a_log(plan_of(WITH_CONTROL), leaks=True))
    leaking = run("experiments", *named)
    with_log(monkeypatch, a_log(plan_of(WITH_CONTROL), lost=200))
    off = run("experiments", *named)

    assert (leaking.code, off.code) == (1, 1)
    assert "leak: H0 is in control and was exposed" in leaking.out
    assert "treated: DO NOT: the arms cannot be compared: household H0" in leaking.out
    assert "OFF: nothing they differ in means anything" in off.out
    assert "treated: DO NOT: the arms cannot be compared: the sample ratio is off" in off.out


def test_a_journey_without_a_control_group_is_not_ready_until_somebody_says_why(
    monkeypatch, data_dir: Path, run: Run, tmp_path: Path
):
    named = ("--measures", tmp_path / "measures.yaml", "--data-dir", data_dir, "--as-of", "2025-01-08")
    for plan, code in ((plan_of(WITH_CONTROL), 0), (plan_of(), 1)):
        with_log(monkeypatch, a_log(plan))
        monkeypatch.setattr("cluster.commands.readiness.playbook_in_force", lambda config, plan=plan: InForce(plan))
        told = run("readiness", "low", *named, "--json")
        (one,) = told.json["journeys"]
        assert (told.code, one["is_ready"]) == (code, code == 0), one["wanting"]
        seen = {signal["type"]: signal for signal in one["signals"]}
        assert (seen["check"]["count"], seen["check"]["households"]) == (HOUSEHOLDS, HOUSEHOLDS)
        assert one["entries"] == HOUSEHOLDS
    assert "no control group" in one["wanting"][0]

    hasty = run("readiness", "low", *named, "--without-control", "later")
    said = run("readiness", "low", *named, "--without-control", "A legal notice that goes to everybody.")
    again = run("readiness", "low", *named)
    assert (hasty.code, said.code, again.code) == (2, 0, 0)
    assert "A legal notice that goes to everybody." in again.out
    audit = run("audit", "list", "--data-dir", data_dir)
    assert "low may go without a control group: A legal notice" in audit.out


class InForce:
    """A playbook in force."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan


def test_what_is_wanting_is_said(monkeypatch, data_dir: Path, run: Run):
    with_log(monkeypatch, a_log(plan_of(WITH_CONTROL)))
    monkeypatch.setattr("cluster.commands.readiness.playbook_in_force", lambda config: InForce(plan_of(WITH_CONTROL)))
    stale = run("readiness", "low", "--data-dir", data_dir)
    other = run("readiness", "high", "--data-dir", data_dir)

    assert stale.code == 1
    assert "no signal that starts it has come for 40 days: check" in stale.out
    assert "nobody is named as its owner" in stale.out
    assert "nobody is named who answers for the channel push" in stale.out
    assert other.code == 2
    assert "there is no journey 'high'; the playbook has low, contact" in other.err


def test_shares_are_typed_as_people_type_them(monkeypatch, data_dir: Path, run: Run):
    with_log(monkeypatch, a_log(plan_of(WITH_CONTROL)))
    monkeypatch.setattr("cluster.commands.readiness.playbook_in_force", lambda config: InForce(plan_of(WITH_CONTROL)))
    of_low = ("readiness", "low", "--data-dir", data_dir, "--json")
    typed = {text: run(*of_low, "--effect", text) for text in ("0.2", "20%", "20 %")}
    assert typed["0.2"].json == typed["20%"].json == typed["20 %"].json
    for arguments in ((*of_low, "--effect"), ("experiments", "--data-dir", data_dir, "--confidence")):
        for wrong, told in (
            ("much", "'much' is no share; write it like 0.05 or 5%"),
            ("200%", f"{arguments[-1]} 2 is"),
        ):
            ended = run(*arguments, wrong)
            assert (ended.code, told in " ".join(ended.err.split())) == (2, True), ended.err
