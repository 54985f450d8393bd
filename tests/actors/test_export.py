"""Laws of exports: once old log was dropped behind snapshots, they hold all of what is left, and the plans under which
it was decided; a decision of an outdated owner is not among them. A column holds one thing: each feature its own, ids
and labels as text, times as timestamps, flags as bool; a file is read without Hearth.
"""

import json
import math
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.exports.log_export import export_plans, export_table
from actors.log.contract import Epoch, Offset, PartitionId, Record, RecordKind, StoredRecord
from actors.log.reading import ReadLogs, read_only_logs
from actors.log.segments import SegmentSettings
from actors.records import codec
from actors.records.kinds import EXPORTS
from actors.snapshots.store import SnapshotStore, snapshot_store
from actors.snapshots.tables import PLAN
from actors.snapshots.taking import SnapshotPolicy
from cluster.exporting import write_parquet
from household.decision import Decision
from household.decision_bytes import encode_decision
from household.events import NO_TIME_US
from household.plan import Plan
from household.scoring import schema_hash
from tests.actors.harness import HOUR, MONDAY, SettableClock, corner, in_loop, records, running, signal
from tests.actors.test_decider import check, visit
from tests.actors.test_recovery import some_life
from wire.batches import ipc_bytes

ZERO = PartitionId(0)


def rows(read: ReadLogs, kind: str, snapshots: SnapshotStore | None = None) -> list[dict[str, object]]:
    return [row for table in export_table(read, kind, snapshots) for row in table.to_pylist()]


def told(read: ReadLogs, kind: str, snapshots: SnapshotStore | None = None) -> list[str]:
    """Return what is in each row, whatever else has columns there."""
    return [
        repr(sorted((name, value) for name, value in row.items() if value is not None))
        for row in rows(read, kind, snapshots)
    ]


async def a_life_whose_beginning_was_dropped(folder: Path) -> tuple[ReadLogs, list[StoredRecord]]:
    """Return what reads its log, and its records before any was dropped."""
    small, clock = SegmentSettings(segment_bytes=20_000), SettableClock()
    policy = SnapshotPolicy(log_retention_s=48 * 3_600.0)
    named = {"snapshots": folder / "snapshots", "snapshot_policy": policy, "segments": small, "partitions": (0,)}
    async with running(folder / "log", clock, **named) as hearth:
        for tag in "abcd":
            await some_life(hearth, 15, tag=tag)
            await hearth.snapshot()
    whole = records(folder / "log")
    assert whole[0].offset == 0
    async with running(folder / "log", clock, **named) as hearth:
        clock.pass_us(49 * HOUR)
        for tag in "ef":
            await some_life(hearth, 3, tag=tag)
            await hearth.snapshot()
        clock.pass_us(49 * HOUR)
        await hearth.snapshot()
    return partial(read_only_logs, folder / "log"), whole


@in_loop
async def test_what_is_left_behind_a_drop_is_exported_whole(tmp_path: Path):
    read, whole = await a_life_whose_beginning_was_dropped(tmp_path)
    left = [stored for _, stored in read()]
    assert left[0].offset > 0, "nothing was dropped"
    assert not any(stored.record.kind is RecordKind.PLAN for stored in left)

    old = lambda: ((0, stored) for stored in whole if stored.offset < left[0].offset)  # noqa: E731
    both = lambda: iter([*old(), *read()])  # noqa: E731
    snapshots = snapshot_store(str(tmp_path / "snapshots"))
    for kind in EXPORTS:
        behind = told(read, kind, snapshots)
        assert told(old, kind) + behind == told(both, kind)
        assert behind, kind


@in_loop
async def test_the_plan_in_force_where_the_log_begins_is_that_of_the_snapshots(tmp_path: Path):
    read, _ = await a_life_whose_beginning_was_dropped(tmp_path)
    snapshots = snapshot_store(str(tmp_path / "snapshots"))
    wanted = {row["playbook_version"] for row in rows(read, "decisions")}

    assert export_plans(read) == {}
    plans = export_plans(read, snapshots)
    assert set(plans) == wanted == {corner().version}
    assert isinstance(plans[corner().version], Plan)

    for folder in (tmp_path / "snapshots" / "p-0000").iterdir():
        (folder / PLAN).write_bytes(b"x" * (folder / PLAN).stat().st_size)
    assert export_plans(read, snapshots) == {}, "a plan that is not as it was written is none"


def a_decision(number: int, epoch: int) -> Record:
    texts = dict.fromkeys(("request_id", "model_version", "schema_hash", "stands", "answered", "send_channel"), "")
    lists = dict.fromkeys(("moments", "reasons", "candidates", "slate"), ())
    decided = Decision(
        decision_id=f"d-{number}", household=b"home", member=b"", channel="app", decided_us=number, plan_version="v",
        degraded=False, withheld=False, propensity=1.0, send_before_us=0, local_minute_of_week=0,
        state_vector=np.zeros(1, np.float32), **texts, **lists,
    )  # fmt: skip
    payload = encode_decision(decided, member_keys={})
    return Record(
        kind=RecordKind.DECISION, version=codec.DECISION_LAYOUT, epoch=Epoch(epoch), stamp_us=number, payload=payload
    )


def an_epoch(epoch: int) -> Record:
    payload = codec.encode_epoch(codec.EpochOpening(owner="shard-0", stream_clock=False, fold_version=1))
    return Record(kind=RecordKind.EPOCH, version=codec.EPOCH_LAYOUT, epoch=Epoch(epoch), stamp_us=0, payload=payload)


def test_what_an_outdated_owner_decided_is_left_out():
    logs = {
        0: [an_epoch(1), a_decision(1, 1), an_epoch(2), a_decision(2, 1), a_decision(3, 2)],
        1: [an_epoch(1), a_decision(4, 1)],
    }

    def read():
        for partition, log in logs.items():
            for offset, record in enumerate(log):
                yield partition, StoredRecord(offset=Offset(offset), record=record)

    assert [row["decision_id"] for row in rows(read, "decisions")] == ["d-1", "d-3", "d-4"]


def test_an_export_of_nothing_is_a_table_of_no_rows():
    for kind in EXPORTS:
        tables = list(export_table(lambda: iter(()), kind))
        assert sum(table.num_rows for table in tables) == 0
        assert all(isinstance(table, pa.Table) for table in tables)
    with pytest.raises(AssertionError, match="none of"):
        next(export_table(lambda: iter(()), "wishes"))


# --- what the columns are --------------------------------------------------------------------------------------------

UTC_US = pa.timestamp("us", tz="UTC")

MORE = """\
  member.since_check_days: {kind: last_seen, events: check, unit: days}
  member.wants: {kind: profile, events: consent, field: marketing}
"""
LAST_CHECK = ("  household.payments: {kind: count", f"{MORE}  household.payments: {{kind: count")
"""Gives the playbook a time since something, and a flag that models see."""

CHANGED = (
    LAST_CHECK,
    ("currency: EUR", "currency: USD"),
    ("pack: [film, kids]", "pack: [drama, film, kids]"),
    ("household.paid_7d: {kind: window_sum, events: pay, field: amount, span: 7d, bucket: 6h}",
     "household.paid_7d: {kind: window_count, events: pay, span: 7d, bucket: 6h}"),
    ("household.payments:", "household.purchases:"),
)  # fmt: skip
"""A later playbook: a name means something else, another is new, labels have moved."""


async def two_playbooks(folder: Path) -> ReadLogs:
    """Decide under one playbook, then under another; return what reads the log."""
    clock = SettableClock()
    async with running(folder, clock, plan=corner(LAST_CHECK)) as hearth:
        paid = signal("p1", "h", "pay", MONDAY, member="m", fields={"amount": 5.0, "pack": "film"})
        await hearth.ingest(paid, signal("c1", "h", "consent", MONDAY, member="m", fields={"marketing": True}))
        await hearth.ingest(signal("o1", "g", "opt_out", MONDAY, member="m"))
        await hearth.decide("h", visit(), member="m")
        await hearth.decide("g", visit("g"), member="m", channel="web")
    async with running(folder, clock, plan=corner(*CHANGED)) as hearth:
        clock.pass_us(3 * HOUR)
        now_us = clock.now_us()
        await hearth.ingest(signal("p2", "h", "pay", now_us, member="m", fields={"amount": 7.0, "pack": "drama"}))
        await hearth.decide("h", check(number=5, time_us=now_us), visit(number=5, time_us=now_us), member="m")
    return partial(read_only_logs, folder)


def as_file(read: ReadLogs, kind: str, folder: Path) -> pa.Table:
    """Return an export as it is read from its file."""
    write_parquet(export_table(read, kind), folder / f"{kind}.parquet", lambda *_: None)
    return pq.read_table(folder / f"{kind}.parquet")


@in_loop
async def test_each_feature_has_a_column_of_its_own_and_the_file_names_their_schema(tmp_path: Path):
    read = await two_playbooks(tmp_path / "log")
    table = as_file(read, "decisions", tmp_path)
    old, new = corner(LAST_CHECK), corner(*CHANGED)
    first, second, third = table.to_pylist()
    assert table.schema.metadata[b"hearth.feature_schema_hash"].decode() == schema_hash(new)
    assert [first["feature_schema_hash"], third["feature_schema_hash"]] == [schema_hash(old), schema_hash(new)]

    kinds = {name: table.schema.field(name).type for name in table.column_names}
    assert kinds["member.pack"] == pa.string()
    assert kinds["member.wants"] == pa.bool_()
    assert kinds["member.checks_7d"] == pa.float32()
    assert kinds["decided_at"] == kinds["valid_until"] == kinds["send_before"] == UTC_US
    assert "member.marketing" not in kinds, "models do not see it, so no decision holds it"

    assert first["decided_at"] == datetime.fromtimestamp(MONDAY / 1e6, tz=UTC)
    assert (first["member.wants"], second["member.wants"], third["member.wants"]) == (True, None, True)
    assert (first["member.since_check_days"], third["member.since_check_days"]) == (math.inf, 0.0)


@in_loop
async def test_no_column_mixes_what_two_playbooks_mean_by_one_name(tmp_path: Path):
    read = await two_playbooks(tmp_path / "log")
    table = as_file(read, "decisions", tmp_path)
    first, _, third = table.to_pylist()
    old = schema_hash(corner(LAST_CHECK))

    assert (first["household.paid_7d"], first[f"household.paid_7d@{old}"]) == (None, 5.0), "a sum of then"
    assert (third["household.paid_7d"], third[f"household.paid_7d@{old}"]) == (2.0, None), "a count of now"
    # Labels that have moved are another definition; each reading has the label that its playbook gave it.
    assert (first["member.pack"], first[f"member.pack@{old}"]) == (None, "film")
    assert third[f"member.pack@{old}"] is None
    assert third["member.pack"] == "drama"
    assert (first["household.payments"], third["household.payments"]) == (1.0, None)
    assert (first["household.purchases"], third["household.purchases"]) == (None, 1.0)
    # What means the same in both is one column.
    assert f"member.checks_7d@{old}" not in table.column_names
    assert (first["currency"], third["currency"]) == ("EUR", "USD")
    named = json.loads(table.schema.metadata[b"hearth.feature_columns"])
    assert f"household.paid_7d@{old}" in named[old]


@in_loop
async def test_a_decision_holds_all_its_candidates_with_what_spoke_against_each(tmp_path: Path):
    read = await two_playbooks(tmp_path / "log")
    first, second, _ = as_file(read, "decisions", tmp_path).to_pylist()

    assert first["propensity"] == 1.0
    best = {one["offer"]: one for one in first["candidates"]}
    assert set(best) == {"films", "series", "phone"}
    films = best["films"]
    assert (films["score"], films["vetoes"], films["rank"]) == (0.2, [], 0)
    assert films["value_minor"] == pytest.approx(0.2 * 300)
    by_rank = sorted((one["rank"], name) for name, one in best.items() if one["rank"] is not None)
    assert [(place, one["offer"]) for place, one in enumerate(first["slate"])] == by_rank
    assert first["action_id"] == first["slate"][0]["action_id"]

    assert {veto for one in second["candidates"] for veto in one["vetoes"]} == {"NO_CONSENT"}
    assert {(one["score"], one["value_minor"], one["rank"]) for one in second["candidates"]} == {(None, None, None)}
    assert (second["action_id"], second["slate"]) == (None, [])


def test_features_of_a_playbook_that_nothing_has_any_more_are_kept_without_names(tmp_path: Path):
    def read():
        yield 0, StoredRecord(offset=Offset(0), record=a_decision(1, 1))

    table = as_file(read, "decisions", tmp_path)
    assert table["unnamed_features"].to_pylist() == [[0.0]]
    assert not [name for name in table.column_names if "." in name]


@in_loop
async def test_signals_have_text_times_and_flags(tmp_path: Path):
    read = await two_playbooks(tmp_path / "log")
    table = as_file(read, "signals", tmp_path)
    by_id = {row["event_id"]: row for row in table.to_pylist()}

    kinds = {name: table.schema.field(name).type for name in table.column_names}
    assert {kinds[name] for name in ("event_id", "household", "member", "type", "pack")} == {pa.string()}
    assert (kinds["time"], kinds["recorded_at"]) == (UTC_US, UTC_US)
    assert (kinds["marketing"], kinds["amount"]) == (pa.bool_(), pa.float64())
    assert (by_id["p1"]["pack"], by_id["p1"]["amount"], by_id["p1"]["marketing"]) == ("film", 5.0, None)
    assert by_id["c1"]["marketing"] is True
    assert by_id["c1"]["time"] == datetime.fromtimestamp(MONDAY / 1e6, tz=UTC)

    moments = as_file(read, "moments", tmp_path)
    assert moments.schema.field("event_id").type == pa.string()
    assert moments.schema.field("time").type == UTC_US


def a_signal_log(*batches: pa.RecordBatch, plan: Plan) -> ReadLogs:
    def record(kind: RecordKind, payload: bytes) -> Record:
        return Record(kind=kind, version=1, epoch=Epoch(1), stamp_us=MONDAY, payload=payload)

    made = [record(RecordKind.PLAN, codec.encode_plan(plan))]
    made += [record(RecordKind.SIGNALS, ipc_bytes(batch)) for batch in batches]
    return lambda: ((0, StoredRecord(offset=Offset(offset), record=one)) for offset, one in enumerate(made))


def a_batch(ids: list[bytes], times_us: list[int], **fields: pa.Array) -> pa.RecordBatch:
    count = len(ids)
    return pa.record_batch(
        {
            "event_id": pa.array(ids, pa.binary()),
            "household": pa.array([b"h"] * count, pa.binary()),
            "member": pa.array([b""] * count, pa.binary()),
            "type": pa.array(["visit"] * count).dictionary_encode(),
            "time": pa.array(times_us, pa.int64()),
        }
        | {name.replace("_of_", ":"): values for name, values in fields.items()}
    )


def test_what_no_table_can_hold_is_null_and_costs_no_other_cell(tmp_path: Path):
    read = a_signal_log(
        a_batch([b"\xff\x00", b"b"], [NO_TIME_US, 10**18], n_of_marketing=pa.array([0.5, 1.0])),
        a_batch([b"c"], [MONDAY], n_of_marketing=pa.array([0.0]), s_of_pack=pa.array(["kids"])),
        plan=corner(),
    )
    table = as_file(read, "signals", tmp_path)
    assert table["event_id"].to_pylist() == ["\\xff\x00", "b", "c"]
    assert [time and time.year for time in table["time"].to_pylist()] == [None, None, 2025]
    assert table["marketing"].to_pylist() == [None, True, False]
    assert table["pack"].to_pylist() == [None, None, "kids"]
    assert table["offset"].to_pylist() == [1, 1, 2]


def test_fields_named_like_our_columns_or_sent_as_two_kinds_have_columns_of_their_own(tmp_path: Path):
    read = a_signal_log(
        a_batch([b"a"], [MONDAY], n_of_type=pa.array([7.0]), s_of_amount=pa.array(["much"])),
        a_batch([b"b"], [MONDAY], n_of_amount=pa.array([1.5]), s_of_time=pa.array(["noon"])),
        plan=corner(),
    )
    table = as_file(read, "signals", tmp_path)
    assert len(set(table.column_names)) == len(table.column_names)
    first, second = table.to_pylist()
    assert (first["type"], first["type_field"], first["amount_text"], first["amount"]) == ("visit", 7.0, "much", None)
    assert (second["time_field"], second["amount"], second["amount_text"]) == ("noon", 1.5, None)


def test_what_a_later_layout_says_of_a_signal_has_a_column(tmp_path: Path):
    more = {"source": pa.array([b"billing"], pa.binary()), "request_hash": pa.array([b"\xff"], pa.binary())}
    batch = a_batch([b"a"], [MONDAY], **more, n_of_source=pa.array([1.0]))
    row = as_file(a_signal_log(batch, plan=corner()), "signals", tmp_path).to_pylist()[0]
    assert "request_hash" not in row
    assert sorted((name, value) for name, value in row.items() if name.startswith("source")) == [
        ("source", "billing"),
        ("source_field", 1.0),
    ]


def test_small_batches_of_many_senders_stay_in_the_order_of_the_log(tmp_path: Path):
    batches = [
        a_batch([str(number).encode()], [MONDAY + number], **{f"n_of_{'abc'[number % 3]}": pa.array([float(number)])})
        for number in range(100)
    ]
    table = as_file(a_signal_log(*batches, plan=corner()), "signals", tmp_path)
    assert table["event_id"].to_pylist() == [str(number) for number in range(100)]
    assert [row["abc"[number % 3]] for number, row in enumerate(table.to_pylist())] == [float(n) for n in range(100)]


def test_what_is_written_while_an_export_reads_is_left_to_the_next(tmp_path: Path):
    log = [a_batch([b"a"], [MONDAY])]
    read_growing = lambda: a_signal_log(*log, plan=corner())()  # noqa: E731
    tables = export_table(read_growing, "signals")
    first = next(tables)
    log.append(a_batch([b"b"], [MONDAY], n_of_new=pa.array([1.0])))
    assert pa.concat_tables([first, *tables]).column_names == first.column_names
    assert [row["event_id"] for row in rows(read_growing, "signals")] == ["a", "b"]
