"""What is read of logs between which households have moved.

Law: whatever is asked of the logs of several partitions is answered as by the log of one that was told all, from before
and after a household changed its partition; and nothing counts twice, or not at all.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.exports.across_partitions import lying, next_place
from actors.exports.assignments import assignment_tables
from actors.exports.household_story import Opened, told
from actors.exports.households_by_segment import segments
from actors.exports.point_in_time import Start
from actors.exports.redrafting import Redrafting
from actors.exports.weighed_anew import WeighedDecision, WeighingAnew
from actors.log.contract import PartitionId, StoredRecord
from actors.log.reading import read_only_logs
from actors.partition.draft_scoring import priors
from cluster.config import HearthConfig
from cluster.measured import places_of, read_measured, segments_of
from cluster.repairing.files import look_at_layout
from household.contact_rules.share import CapacityShare
from tests.actors.harness import DAY, corner, records, replayed
from tests.cluster.conftest import Run
from tests.cluster.moved_town import (
    AFTER_US,
    BEFORE_US,
    CHANGES,
    HOUSEHOLDS,
    PARTITIONS,
    MovedTown,
    cuts,
    moved_town,
    plan,
)
from wire.partitions import partition_of

APART, ALONE = moved_town(), moved_town(1)


def config(town: MovedTown) -> HearthConfig:
    return HearthConfig(data_dir=town.data)


def test_there_is_something_to_be_found():
    assert APART.moved
    assert APART.moved & APART.accepted, "who moved between a decision and what came of it"
    assert APART.accepted == ALONE.accepted


# --- training sets ----------------------------------------------------------------------------------------------------


def dataset(run: Run, town: MovedTown, out: Path, *more: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    ended = run("models", "dataset", "--out", out, "--check", "--json", *more, *town.where, "--playbook", town.playbook)
    assert ended.code == 0, ended.err
    # Among candidates stands how often each was shown in the partition.
    own = ["decision_id", "action_id", "playbook_version", "candidates"]
    rows = pq.read_table(out).drop_columns(own).to_pylist()
    return sorted(rows, key=lambda row: (row["decided_at"], row["household"])), ended.json


@pytest.mark.parametrize("label", [(), ("--label", "pay")])
def test_a_label_is_found_wherever_it_was_reported(run: Run, tmp_path: Path, label: tuple[str, ...]):
    (apart, counts), (alone, alike) = (
        dataset(run, town, tmp_path / f"{town.partitions}.parquet", *label) for town in (APART, ALONE)
    )
    assert [(row["household"], row["label"]) for row in apart] == [(row["household"], row["label"]) for row in alone]
    assert repr(apart) == repr(alone)
    assert counts["parity"]["equal"] == counts["parity"]["decisions"] == alike["parity"]["decisions"]
    assert not counts["parity"]["before_start"]


# --- features ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_us", [BEFORE_US, AFTER_US, None])
def test_features_are_those_of_then_wherever_it_lay(run: Run, at_us: int | None):
    when = () if at_us is None else ("--at", str(at_us))
    for one in HOUSEHOLDS:
        apart, alone = (run("features", one, *when, "--json", *town.where) for town in (APART, ALONE))
        assert apart.code == alone.code == 0, (one, apart.err, alone.err)
        assert apart.json["features"] == alone.json["features"], one


def test_features_as_of_a_decision_before_it_moved_are_those_it_recorded(run: Run):
    for one, decision in APART.decided.items():
        ended = run("features", one, "--decision", decision, "--json", *APART.where)
        assert ended.code == 0, ended.err
        assert ended.json["decision"]["equal"]


def test_features_of_many_are_those_of_then(run: Run, tmp_path: Path):
    rows = [(one, at_us) for one in HOUSEHOLDS for at_us in (BEFORE_US, AFTER_US)]
    asked = pa.table(
        {"household": [one for one, _ in rows], "time": pa.array([at for _, at in rows], pa.timestamp("us", "UTC"))}
    )
    pq.write_table(asked, tmp_path / "asked.parquet")
    found = []
    for town in (APART, ALONE):
        out = tmp_path / f"{town.partitions}.parquet"
        ended = run(
            *("models", "dataset", "--as-of", tmp_path / "asked.parquet", "--out", out, "--json"),
            *(*town.where, "--playbook", town.playbook),
        )
        assert ended.code == 0, ended.err
        assert not ended.json["left_out"]
        found.append(sorted(map(repr, pq.read_table(out).to_pylist())))
    assert found[0] == found[1]
    assert len(found[0]) == len(rows)


# --- explanations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_us", [BEFORE_US, AFTER_US, None])
def test_a_timeline_is_whole_wherever_it_happened(run: Run, at_us: int | None):
    when = () if at_us is None else ("--at", str(at_us))

    def lines(town: MovedTown, one: str) -> Counter[tuple[str, ...]]:
        ended = run("explain", one, "--timeline", *when, "--json", *town.where)
        assert ended.code == 0, ended.err
        return Counter(
            (line["time"], line["kind"], line["member"], line["text"].partition(", decision")[0])
            for line in ended.json["timeline"]
        )

    for one in HOUSEHOLDS:
        assert lines(APART, one) == lines(ALONE, one), one


def test_a_decision_from_before_it_moved_is_explained(run: Run):
    for one, decision in APART.decided.items():
        ended = run("explain", one, "--decision", decision, "--at", str(AFTER_US), "--json", *APART.where)
        assert ended.code == 0, (one, ended.err)
        assert ended.json["decision"]["decision_id"] == decision


# --- what there is by now ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("until_us", [BEFORE_US, AFTER_US, None])
def test_each_household_is_in_its_segment_once(until_us: int | None):
    assert segments_of(config(APART), until_us=until_us) == segments_of(config(ALONE), until_us=until_us)
    found, alike = (
        Counter(one.household for one in places_of(config(town), until_us=until_us)) for town in (APART, ALONE)
    )
    assert found == alike


def test_each_household_has_its_arm_once(run: Run, tmp_path: Path):
    found = []
    for town in (APART, ALONE):
        out = tmp_path / f"{town.partitions}.parquet"
        ended = run("export", "assignments", "--out", out, "--json", *town.where)
        assert ended.code == 0, ended.err
        rows = pq.read_table(out).drop_columns(["partition"]).to_pylist()
        found.append(sorted(map(repr, rows)))
    assert found[0] == found[1]


def test_each_event_is_a_fact_once():
    apart, alone = (read_measured(config(town), None).facts for town in (APART, ALONE))
    told = [
        Counter(zip(facts.time_us.tolist(), [facts.told.names[code] for code in facts.told.codes], strict=True))
        for facts in (apart, alone)
    ]
    assert told[0] == told[1]


# --- on the way -------------------------------------------------------------------------------------------------------


def test_on_its_way_a_household_is_found_with_all_that_is_known_of_it(tmp_path: Path):
    seen_on_its_way = 0
    for data in cuts(tmp_path):
        states = {partition: replayed(data / "log", partition) for partition in range(PARTITIONS)}
        for one in HOUSEHOLDS:
            found = lying(one.encode(), PartitionId(partition_of(one.encode(), PARTITIONS)), states.get)
            assert found is not None
            seen_on_its_way += found.state is not states[found.partition]
            row, member = found.state.find(one.encode(), b"ann")
            feature = next(at for at, each in enumerate(plan().features) if each.name == "household.payments")
            assert found.state.readings(row, member, BEFORE_US)[feature] >= 1.0, one
    assert seen_on_its_way


def test_on_its_way_a_household_has_its_story(tmp_path: Path):
    for data in list_some(cuts(tmp_path)):

        def opened(partition: PartitionId, data: Path = data) -> Opened:
            return Start(), records(data / "log", partition)

        for one in HOUSEHOLDS:
            first = PartitionId(partition_of(one.encode(), PARTITIONS))
            story = told(first, opened, one.encode(), until_us=None)
            assert [line.kind for line in story.lines[:3]] == ["signal", "signal", "decided"], one
            assert story.state is not None
            assert story.state.find(one.encode(), b"ann")[1] >= 0


def test_on_its_way_a_household_is_in_its_segment_and_arm_once(tmp_path: Path):
    arms = None
    for data in list_some(cuts(tmp_path)):
        read = partial(read_only_logs, data / "log")
        assert sorted(one for one, _ in segments(read)) == sorted(HOUSEHOLDS)
        table = pa.concat_tables(assignment_tables(read)).drop_columns(["partition"])
        found = sorted(map(repr, table.to_pylist()))
        assert arms in (None, found)
        arms = found


def test_while_logs_are_read_one_after_another_a_household_is_there_once(tmp_path: Path):
    before = list[dict[int, list[StoredRecord]]]()
    for data in cuts(tmp_path):
        before.append({partition: records(data / "log", partition) for partition in range(PARTITIONS)})
        # Of each partition another moment: some steps lie between two readings.
        for steps in (2, 7):
            moments = [before[max(len(before) - 1 - steps * back, 0)] for back in (2, 1, 0)]

            def read(moments: list[dict[int, list[StoredRecord]]] = moments) -> Iterator[tuple[int, StoredRecord]]:
                return ((place, one) for place, logs in enumerate(moments) for one in logs[place])

            assert sorted(one for one, _ in segments(read)) == sorted(HOUSEHOLDS)


def list_some(data: Iterator[Path]) -> Iterator[Path]:
    """Yield every other one: each is read through."""
    return islice(data, 0, None, 2)


# --- deciding once more -----------------------------------------------------------------------------------------------


def test_every_decision_comes_out_again_to_the_last_bit(run: Run):
    ended = run("playbook", "simulate", "--mode", "replay", "--json", *APART.where)
    assert ended.code == 0, ended.out
    assert ended.json["decisions"] == ended.json["equal"] == len(HOUSEHOLDS) * 3 // 2


OTHER = (
    ("margin: 3, prior: 0.2, standing", "margin: 3, prior: 0.21, standing"),
    (
        "journeys:\n",
        "journeys:\n  dear: {trigger: {on: pay, when: household.payments >= 3, scope: member}, offers: series}\n",
    ),
)
"""Playbook changes: one offer is worth a little more, and who has paid thrice is told something."""


@pytest.mark.parametrize("is_other", [False, True])
def test_another_playbook_is_simulated_over_them_as_over_one(run: Run, tmp_path: Path, is_other: bool):
    text = APART.playbook.read_text()
    for old, new in OTHER if is_other else ():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "other.yaml").write_text(text)
    found = []
    for town in (APART, ALONE):
        ended = run(
            *("playbook", "simulate", "--mode", "counterfactual", "--playbook", tmp_path / "other.yaml"),
            *("--min-effective-sample", "1", "--json", *town.where),
        )
        assert ended.out, ended.err
        found.append(ended.json)
    assert found[0].pop("partitions") == PARTITIONS
    assert found[1].pop("partitions") == 1
    assert found[0] == found[1]
    assert found[0]["before"]["answers_used"]
    assert bool(found[0]["after"]["moments"]) == is_other


def test_what_came_of_a_decision_elsewhere_is_weighed_with_it():
    found = []
    for town in (APART, ALONE):
        weighing, rows = WeighingAnew(plan=plan(), score=priors, window_us=DAY), list[WeighedDecision]()
        for partition in range(town.partitions):
            share = CapacityShare(partition, town.partitions)
            rows += weighing.run(Start(), records(town.data / "log", partition), share=share)
        weighing.take_elsewhere(rows)
        found.append(Counter((one.household, one.decided_us, one.accepted, one.earned_minor) for one in rows))
    assert found[0] == found[1]
    assert any(accepted for household, _, accepted, _ in found[0] if household.decode() in APART.moved)


def test_under_another_playbook_what_came_is_known(tmp_path: Path):
    other = corner(*CHANGES, *OTHER)
    found = list[float]()
    for partition in range(PARTITIONS):
        drafting = Redrafting(Start(), share=CapacityShare(partition, PARTITIONS), plan=other)
        for _ in drafting.run(records(APART.data / "log", partition)):
            pass
        state = drafting.state
        for one in HOUSEHOLDS:
            if next_place(state, one.encode()) is None:
                row, member = state.find(one.encode(), b"ann")
                at = next(at for at, each in enumerate(other.features) if each.name == "household.payments")
                found.append(float(state.readings(row, member, state.now_us)[at]))
    # Three times each of a pair, by now one household.
    assert found == [6.0] * len(HOUSEHOLDS)


# --- repairs ----------------------------------------------------------------------------------------------------------


def test_a_layout_that_is_gone_is_found_again(tmp_path: Path):
    (tmp_path / "log").symlink_to(APART.data / "log")
    found = look_at_layout(tmp_path, range(PARTITIONS), tmp_path / "aside", is_applied=True)
    assert found.ok, found.lines
