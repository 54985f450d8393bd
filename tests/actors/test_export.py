"""Laws of exports: once old log was dropped behind snapshots, they hold all of what is left, and the plans under which
it was decided; a decision of an outdated owner is not among them.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from actors import codec
from actors.export import KINDS, export_plans, export_table
from actors.log import Epoch, Offset, PartitionId, Record, RecordKind, StoredRecord
from actors.reading import ReadLogs, read_only_logs
from actors.segments import SegmentSettings
from actors.snapshot import snapshot_store
from actors.snapshot_tables import PLAN
from actors.snapshotting import SnapshotPolicy
from household.decision import Decision
from household.plan import Plan
from tests.actors.harness import HOUR, SettableClock, corner, in_loop, records, running
from tests.actors.test_recovery import some_life

ZERO = PartitionId(0)


def rows(read: ReadLogs, kind: str) -> list[dict[str, object]]:
    return [row for table in export_table(read, kind) for row in table.to_pylist()]


def told(read: ReadLogs, kind: str) -> list[str]:
    """Return what is in each row; not numbers are equal there."""
    return [repr({name: value for name, value in row.items() if value is not None}) for row in rows(read, kind)]


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
    for kind in KINDS:
        behind = told(read, kind)
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
    payload = codec.encode_decision(decided, member_keys={})
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
    for kind in KINDS:
        tables = list(export_table(lambda: iter(()), kind))
        assert sum(table.num_rows for table in tables) == 0
        assert all(isinstance(table, pa.Table) for table in tables)
    with pytest.raises(AssertionError, match="none of"):
        next(export_table(lambda: iter(()), "wishes"))
