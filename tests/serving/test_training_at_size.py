"""Laws of a training set on disk: what is learned from it is as good as what is learned in memory, the same files and
seed give the same model, whoever stops it leaves nothing, and what leaks, or is none, is refused by name.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from household.scoring import feature_schema
from serving.models.examples import NotEnoughData, TrainingConfig
from serving.models.leaks import LeaksFound
from serving.models.probe import open_booster, predict
from serving.models.tables import BadExport
from serving.models.training_at_size import (
    Device,
    DeviceMissing,
    TrainingRun,
    TrainingStopped,
    check_device,
    train_from,
)
from serving.models.training_sets import TrainingSet
from tests.actors.harness import MONDAY, corner

PLAN = corner()
SCHEMA = feature_schema(PLAN)
ROWS = 6_000
CONFIG = TrainingConfig(rounds_max=40)


def table(rows: int = ROWS, seed: int = 1) -> pa.Table:
    """Return a training set in which those who pay often take what they are offered."""
    draw = np.random.default_rng(seed)
    columns = {name: draw.integers(0, 5, rows).astype(np.float32) for name in SCHEMA.names}
    columns["prior_acceptance"] = np.full(rows, 0.3, np.float32)
    columns["household.payments"] = draw.integers(0, 9, rows).astype(np.float32)
    columns["member.pack"] = np.where(draw.random(rows) < 0.5, np.nan, 1).astype(np.float32)
    label = draw.random(rows) < np.where(columns["household.payments"] >= 5, 0.7, 0.1)
    decided = pa.array(MONDAY + np.arange(rows) * 60_000_000, pa.timestamp("us", "UTC"))
    about = {
        "decision_id": [f"d{one}" for one in range(rows)],
        "household": [f"h{one % 500}" for one in range(rows)],
        "decided_at": decided,
        "propensity": draw.uniform(0.1, 1, rows),
        "label": pa.array(label, mask=np.arange(rows) % 50 == 0),
    }
    metadata = {"hearth.kind": "dataset", "hearth.feature_schema_hash": SCHEMA.hash, "hearth.label": "accepted"}
    metadata["hearth.label_definition"] = "true where it was taken"
    return pa.table(about | columns).replace_schema_metadata(metadata)


def written(tmp_path: Path, made: pa.Table, *, name: str = "set.parquet") -> TrainingSet:
    pq.write_table(made, tmp_path / name, row_group_size=700)
    return TrainingSet(tmp_path / name, SCHEMA)


def train(source: TrainingSet, **changes: object):
    run = TrainingRun(**{key: changes.pop(key) for key in ("is_stopped", "show", "device") if key in changes})
    return train_from(source, PLAN, seed=3, config=replace(CONFIG, **changes), run=run)


def test_a_preference_is_learned_and_the_report_is_on_the_newest(tmp_path: Path):
    told: list[tuple[int, int | None, str]] = []
    made = table()
    draft = train(written(tmp_path, made), show=lambda *one: told.append(one))
    facts = draft.training
    labelled = ROWS - made["label"].null_count
    assert (facts.rows, facts.left_out) == (labelled, {"without_label": ROWS - labelled})
    assert facts.holdout_rows == round(labelled * 0.2)
    assert facts.auc > 0.8 > 0.55 > facts.prior_auc
    assert {note.split(",")[0] for _, _, note in told} >= {
        "laying out what is fitted",
        "trees",
        "judging on the newest",
    }
    assert [one["name"] for one in facts.reference["columns"]] == list(SCHEMA.names)
    rows = np.full((2, len(SCHEMA.names)), 1, np.float32)
    rows[:, SCHEMA.names.index("prior_acceptance")] = 0.3
    rows[:, SCHEMA.names.index("household.payments")] = 1, 8
    low, high = predict(open_booster(draft.model), rows)
    assert high > 0.5 > 0.25 > low


def test_the_same_files_and_seed_give_the_same_model_in_one_file_or_several(tmp_path: Path):
    made = table()
    one = train(written(tmp_path, made))
    (tmp_path / "set").mkdir()
    for part in range(3):
        pq.write_table(made.slice(part * 2_000, 2_000), tmp_path / "set" / f"part-{part}.parquet", row_group_size=900)
    several = train(TrainingSet(tmp_path / "set", SCHEMA))
    assert several.model == one.model
    assert several.training == one.training
    assert train(written(tmp_path, made), weigh_by_propensity=True).model != one.model


@pytest.mark.parametrize("after", [0, 3, 25, 45])
def test_whoever_stops_it_gets_no_model(tmp_path: Path, after: int):
    source, asked = written(tmp_path, table()), 0

    def is_stopped() -> bool:
        nonlocal asked
        asked += 1
        return asked > after

    with pytest.raises(TrainingStopped):
        train(source, is_stopped=is_stopped)


def test_a_leak_is_named_before_anything_is_trained_and_can_be_vouched_for(tmp_path: Path):
    made = table()
    place = made.column_names.index("member.checks_7d")
    known = np.nan_to_num(made["label"].fill_null(False).to_numpy().astype(np.float32))
    source = written(tmp_path, made.set_column(place, "member.checks_7d", pa.array(known)))
    with pytest.raises(LeaksFound, match=r"member.checks_7d \(impossible power\)"):
        train(source, is_stopped=lambda: pytest.fail("something was trained"))
    assert train(source, allowed=frozenset({"member.checks_7d"})).training.auc > 0.99


def test_too_little_says_how_much_there_is(tmp_path: Path):
    with pytest.raises(NotEnoughData, match="294 rows with a label, 500 needed"):
        train(written(tmp_path, table(300)))
    made = table()
    late = pa.array(np.arange(ROWS) > ROWS - 900)
    with pytest.raises(NotEnoughData, match="training part: 0 of"):
        train(written(tmp_path, made.set_column(made.column_names.index("label"), "label", late)))


WRONG: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "another schema": (
        lambda one: one.replace_schema_metadata({"hearth.feature_schema_hash": "f" * 16}),
        "is of feature schema ffff",
    ),
    "a column less": (lambda one: one.drop_columns(["has_moment"]), "column has_moment is missing"),
    "no label": (lambda one: one.drop_columns(["label"]), "column label is missing"),
    "a label of numbers": (
        lambda one: one.set_column(one.column_names.index("label"), "label", pa.array(np.ones(one.num_rows))),
        "label is double, bool is needed",
    ),
    "names for numbers": (
        lambda one: one.set_column(one.column_names.index("family"), "family", pa.array(["x"] * one.num_rows)),
        "family is string, a number is needed",
    ),
    "a column of the row twice": (
        lambda one: one.append_column("family", one["family"]),
        "set.parquet has 2 columns family, and which is meant cannot be told; keep one",
    ),
    "the label twice": (lambda one: one.append_column("label", one["label"]), "has 2 columns label"),
    "two propensities": (lambda one: one.append_column("propensity", one["propensity"]), "has 2 columns propensity"),
    "a window of no number": (
        lambda one: one.replace_schema_metadata({"hearth.window_us": "a day"}),
        "its metadata `hearth.window_us` is 'a day', and should be a whole number",
    ),
}


@pytest.mark.parametrize("how", WRONG)
def test_what_is_no_training_set_of_the_schema_is_refused_by_name(tmp_path: Path, how: str):
    change, why = WRONG[how]
    with pytest.raises(BadExport, match=why):
        written(tmp_path, change(table(100)))


def test_a_set_may_say_of_itself_what_is_no_text_and_have_what_is_not_read_twice(tmp_path: Path):
    made = table(100).append_column("note", pa.nulls(100)).append_column("note", pa.nulls(100))
    assert "\ufffd" in written(tmp_path, made.replace_schema_metadata({"hearth.label": b"\xff\xfe"})).label_name


def test_what_is_no_parquet_is_refused(tmp_path: Path):
    (tmp_path / "notes.parquet").write_text("no")
    for path in (tmp_path / "notes.parquet", tmp_path / "gone", tmp_path):
        with pytest.raises(BadExport, match=str(path)):
            TrainingSet(path, SCHEMA)


def test_a_device_that_is_not_there_is_refused_with_what_to_do(tmp_path: Path):
    check_device(Device.CPU)
    with pytest.raises(DeviceMissing, match="CUDA"):
        train(written(tmp_path, table()), device=Device.CUDA)
