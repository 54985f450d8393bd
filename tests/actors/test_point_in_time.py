"""Laws of the past: what a decision was served is what the log folds to at that point, to the last bit, whatever came
between its draft and its record, and after whatever playbooks, mergers, late signals, snapshots and restarts; as of a
time, all that was recorded by then counts and nothing else.
"""

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from actors.exports.log_export import export_plans, export_table
from actors.exports.point_in_time import (
    LogTooShort,
    Point,
    Start,
    decisions_in_force,
    parity_of,
    readings_of,
    start_before,
    states_at,
)
from actors.log.contract import LOG_START, PartitionId, StoredRecord
from actors.log.location import InFiles, partition_reader
from actors.log.reading import read_only_logs
from actors.snapshots.store import snapshot_store
from household import decide
from household.deciding.draft import Draft
from household.deciding.passages import Passage
from household.scoring import feature_schema, state_vector
from household.state import PartitionState
from serving.models.dataset import DatasetConfig, DatasetCounts, DecisionOutcomes, dataset_tables
from tests.actors.harness import (
    DAY,
    HOUR,
    MINUTE,
    MONDAY,
    ScriptedScorer,
    SettableClock,
    corner,
    in_loop,
    records,
    running,
    signal,
)
from tests.actors.parity_world import Remembering, live

CONFIG = DatasetConfig(window_us=DAY)


def rows_of(table: pa.Table) -> np.ndarray:
    names = [name for name in table.column_names if table.schema.field(name).type == pa.float32()]
    return np.column_stack([table[name].to_numpy() for name in names])


def dataset(directory: Path, plan, *, newest_us: int, config: DatasetConfig = CONFIG) -> tuple[pa.Table, DatasetCounts]:
    read, counts = partial(read_only_logs, directory), DatasetCounts()
    outcomes = DecisionOutcomes(config)
    for table in export_table(read, "signals"):
        outcomes.add(table)
    tables = dataset_tables(
        export_table(read, "decisions"),
        outcomes,
        plan,
        plans=list(export_plans(read).values()),
        newest_us=newest_us,
        config=config,
        counts=counts,
    )
    return pa.concat_tables(tables), counts


@in_loop
async def test_rows_are_those_that_were_scored_and_the_log_folds_to_them_again(tmp_path: Path):
    log, snapshots = tmp_path / "log", tmp_path / "snapshots"
    life = await live(log, snapshots=snapshots, asks_per_term=48)
    first, second, third = life.plans
    assert feature_schema(first).hash == feature_schema(second).hash != feature_schema(third).hash

    accepted, rows = 0, 0
    for plan in (first, third):
        table, counts = dataset(log, plan, newest_us=life.end_us + 2 * DAY)
        names = feature_schema(plan).names
        assert tuple(table.column_names[-len(names) :]) == names
        scored = [row.tobytes() for row in rows_of(table)]
        assert [row in life.scored for row in scored] == [True] * counts.rows
        assert len(set(scored)) > counts.rows // 3, "rows that are all alike would prove little"
        assert set(table.filter(table["label"])["action_id"].to_pylist()) <= life.accepted
        rows, accepted = rows + counts.rows, accepted + counts.positives
    assert rows > 40
    assert accepted > 5

    reader = partition_reader(InFiles(log))
    found = parity_of(reader, snapshot_store(str(snapshots)), PartitionId(0))
    assert found.first_difference == ""
    assert found.equal == found.decisions >= life.asked


@in_loop
async def test_what_is_folded_between_a_draft_and_its_record_it_has_not_seen(tmp_path: Path):
    scorer = ScriptedScorer()
    async with running(tmp_path) as hearth:
        await hearth.use(scorer)
        await hearth.ingest(signal("p0", "h", "pay", MONDAY, member="m", fields={"amount": 2.0}))
        scorer.hold()
        deciding = asyncio.create_task(hearth.decide("h", member="m"))
        await scorer.asked.wait()
        await hearth.ingest(signal("p1", "h", "pay", MONDAY, member="m", fields={"amount": 3.0}))
        scorer.free.set()
        await deciding
    ((offset, made),) = decisions_in_force(records(tmp_path))
    assert made.events_seen == 1

    def folded(point: Point) -> bytes:
        found = states_at(Start(), records(tmp_path), [point])
        (vector,) = [state_vector(state.plan, vector_of(state, made)) for _, state in found]
        return vector.tobytes()

    assert folded(Point.of(0, made, offset)) == made.state_vector.tobytes()
    # As recorded before this was kept, it would be taken to have seen all before its record.
    assert folded(Point.of(0, replace(made, events_seen=-1), offset)) != made.state_vector.tobytes()


def vector_of(state, decision) -> np.ndarray:
    return readings_of(state, decision.household, decision.member, decision.decided_us)


@in_loop
async def test_as_of_a_time_what_was_recorded_by_then_counts_however_old_it_is(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path, clock=clock) as hearth:
        for hour in range(3):
            clock.at_us = MONDAY + hour * HOUR
            # Each tells of Sunday evening.
            await hearth.ingest(signal(f"p{hour}", "h", "pay", MONDAY - 12 * HOUR, fields={"amount": 2.0}))
    payments = next(i for i, one in enumerate(corner().features) if one.name == "household.payments")
    times_us = [MONDAY - 1, MONDAY, MONDAY + HOUR - 1, MONDAY + HOUR, MONDAY + DAY]
    points = [Point(number=place, as_of_us=one) for place, one in enumerate(times_us)]
    found = {
        point.number: readings_of(state, b"h", b"", point.as_of_us)[payments]
        for point, state in states_at(Start(), records(tmp_path), points)
    }
    assert np.isnan(found[0])
    assert [found[place] for place in range(1, 5)] == [1.0, 1.0, 2.0, 3.0]


@in_loop
async def test_by_the_clock_of_the_events_a_time_ends_with_the_first_event_after_it(tmp_path: Path):
    async with running(tmp_path, stream_clock=True, clock=SettableClock(MONDAY + DAY)) as hearth:
        times_us = [MONDAY, MONDAY + HOUR, MONDAY + 30 * MINUTE, MONDAY + 2 * HOUR]
        await hearth.ingest(
            *(signal(f"p{place}", "h", "pay", one, fields={"amount": 2.0}) for place, one in enumerate(times_us))
        )
    payments = next(i for i, one in enumerate(corner().features) if one.name == "household.payments")
    points = [Point(number=one, as_of_us=MONDAY + one * MINUTE) for one in (0, 59, 60, 119, 500)]
    found = {
        point.number: readings_of(state, b"h", b"", point.as_of_us)[payments]
        for point, state in states_at(Start(), records(tmp_path), points)
    }
    # What came third tells of half past, and nobody knew it before the hour was over.
    assert found == {0: 1.0, 59: 1.0, 60: 3.0, 119: 3.0, 500: 4.0}


@in_loop
async def test_a_fold_begins_with_the_newest_snapshot_before_all_points_and_says_where_it_cannot(tmp_path: Path):
    clock, snapshots = SettableClock(), tmp_path / "snapshots"
    async with running(tmp_path / "log", clock=clock, snapshots=snapshots) as hearth:
        for hour in range(3):
            clock.at_us = MONDAY + hour * HOUR
            await hearth.ingest(signal(f"p{hour}", "h", "pay", MONDAY, fields={"amount": 2.0}))
            await hearth.snapshot()
    store, log = snapshot_store(str(snapshots)), records(tmp_path / "log")
    early, late = Point(number=0, as_of_us=MONDAY + HOUR), Point(number=1, as_of_us=MONDAY + DAY)
    assert start_before(store, PartitionId(0), [Point(number=0, as_of_us=MONDAY - 1)]).position == LOG_START
    starts = [start_before(store, PartitionId(0), points) for points in ([late, early], [late])]
    assert LOG_START < starts[0].position < starts[1].position

    def payments(start: Start, stored: list[StoredRecord]) -> list[float]:
        index = next(i for i, one in enumerate(corner().features) if one.name == "household.payments")
        found = states_at(start, stored, [early, late])
        return [readings_of(state, b"h", b"", one.as_of_us)[index] for one, state in found]

    cut = [stored for stored in log if stored.offset >= starts[0].position]
    assert payments(Start(), log) == payments(starts[0], cut) == [2.0, 3.0]
    with pytest.raises(LogTooShort, match="begins at offset"):
        payments(Start(), cut)


@in_loop
async def test_before_its_window_ends_nothing_is_known_and_an_event_labels_as_well(tmp_path: Path):
    clock = SettableClock()
    async with running(tmp_path, clock=clock) as hearth:
        for name in ("h0", "h1", "h2"):
            await hearth.decide(name, signal(f"v-{name}", name, "visit", MONDAY, member="m"), member="m")
        for name, later_us in (("h0", HOUR), ("h1", 3 * HOUR)):
            clock.at_us = MONDAY + later_us
            await hearth.ingest(signal(f"o-{name}", name, "opt_out", clock.at_us, member="m"))
    two_hours = DatasetConfig(label="opt_out", window_us=2 * HOUR)
    table, counts = dataset(tmp_path, corner(), newest_us=MONDAY + DAY, config=two_hours)
    assert table["label"].to_pylist() == [True, False, False]
    assert (counts.rows, counts.labelled, counts.positives) == (3, 3, 1)
    assert table.schema.metadata[b"hearth.label"] == b"opt_out"
    table, _ = dataset(tmp_path, corner(), newest_us=MONDAY + HOUR, config=two_hours)
    assert table["label"].null_count == 3
    table, _ = dataset(tmp_path, corner(), newest_us=MONDAY)
    assert table["label"].null_count == 3
    assert table["shown"].to_pylist() == [True] * 3


@in_loop
async def test_who_is_in_control_has_a_row_of_what_was_withheld_and_no_label_of_acceptance(tmp_path: Path):
    half = corner(
        ("contact: {contact: [visit], families: all}", "contact: {contact: [visit], families: all, control: 50%}")
    )
    scorer = Remembering()
    async with running(tmp_path, plan=half) as hearth:
        await hearth.use(scorer)
        for name in (f"h{number}" for number in range(30)):
            paid = signal(f"p-{name}", name, "pay", MONDAY, member="m", fields={"amount": float(len(name))})
            await hearth.decide(name, paid, signal(f"v-{name}", name, "visit", MONDAY, member="m"), member="m")
    table, counts = dataset(tmp_path, half, newest_us=MONDAY + 2 * DAY)
    assert counts.rows == 30
    assert 5 < counts.control < 25
    assert [row.tobytes() in scorer.rows for row in rows_of(table)] == [True] * 30
    is_control = [one == "control" for one in table["arm"].to_pylist()]
    assert [one is None for one in table["label"].to_pylist()] == is_control
    assert [not one for one in table["shown"].to_pylist()] == is_control
    assert [[one["arm"] for one in arms] for arms in table["arms"].to_pylist()] == [
        ["control" if one else "treated"] for one in is_control
    ]
    event, _ = dataset(tmp_path, half, newest_us=MONDAY + 2 * DAY, config=DatasetConfig(label="opt_out", window_us=DAY))
    assert event["label"].to_pylist() == [False] * 30


@in_loop
async def test_what_goes_out_on_another_channel_than_it_was_scored_for_has_the_row_that_was_scored(tmp_path: Path):
    def let_in_elsewhere(_state: PartitionState, draft: Draft, _offer: int, _value_minor: float) -> Passage:
        # As where its worth has let it into room that is reserved there.
        return Passage(outlet=draft.outlets[-1])

    scorer = Remembering()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decide, "_first_passage", let_in_elsewhere)
        async with running(tmp_path) as hearth:
            await hearth.use(scorer)
            await hearth.ingest(signal("m", "h", "consent", MONDAY, member="m", fields={"marketing": True}))
            await hearth.ingest(*(signal(f"c{one}", "h", "check", MONDAY, member="m") for one in range(2)))
            await hearth.until(lambda: hearth.counter("decisions") == 1)
    ((_, made),) = decisions_in_force(records(tmp_path))
    assert (made.send_channel, made.scored_channel) == ("sms", "push")
    table, _ = dataset(tmp_path, corner(), newest_us=MONDAY)
    assert [row.tobytes() in scorer.rows for row in rows_of(table)] == [True]
