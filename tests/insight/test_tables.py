"""Laws: a file that is not what it should be is refused with the column, the place and what would be right."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from insight.evaluation.decisions import read_decisions
from insight.evaluation.policies import read_policy
from insight.tables import BadTable, read_table
from insight.uplift.trial import read_trial

GOOD: dict[str, list[object]] = {
    "decision_id": ["d1", "d2"],
    "action": ["a", "b"],
    "propensity": [0.5, 0.5],
    "reward": [1, 0],
}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"decision_id": ["d1", "d1"]}, "decision_id 'd1' is there 2 times"),
        ({"decision_id": ["d1", None]}, "'decision_id' is null in 1 rows"),
        ({"decision_id": [1.5, 2.5]}, "'decision_id' is double, and should be text"),
        ({"action": [0.5, 1.5]}, "'action' is double"),
        ({"propensity": [0.5, 1.5]}, "'propensity' is 1.5 in row 1"),
        ({"propensity": [-0.1, 0.5]}, "'propensity' is -0.1 in row 0"),
        ({"propensity": ["half", "half"]}, "'propensity' is string, and should be a number"),
        ({"reward": [1.0, None]}, "'reward' holds no finite number in 1 of 2 rows, first in row 1"),
        ({"reward": [1.0, float("inf")]}, "'reward' holds no finite number"),
        ({"reward": None}, "no column 'reward'; it has decision_id, action, propensity"),
        ({"household": ["h", None]}, "'household' is null in 1 rows"),
        ({"actions": [["a", "b"]] * 2}, "no column 'propensities'"),
        ({"actions": [["a", "b"]] * 2, "propensities": [[0.5], [0.5]]}, "row 0 has 2 'actions' and 1 'propensities'"),
        ({"actions": [["a", "b"]] * 2, "propensities": [[0.5, 0.4]] * 2}, "add up to 0.9"),
        ({"actions": [["a", "a"]] * 2, "propensities": [[0.5, 0.5]] * 2}, "row 0 has an action more than once"),
        ({"actions": [["a", "b"]] * 2, "propensities": [[0.6, 0.4]] * 2}, "'d1' chose 'a' with 'propensity' 0.5"),
    ],
)
def test_decisions_that_are_wrong(change: dict[str, list[object] | None], told: str):
    columns = {name: values for name, values in (GOOD | change).items() if values is not None}
    with pytest.raises(BadTable) as refused:
        read_decisions(pa.table(columns), file="decisions.parquet")

    assert str(refused.value).startswith("decisions.parquet")
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (
            {"decision_id": ["d1"], "action": ["a"], "probability": [1.0]},
            "says nothing of 1 of 2 decisions, first 'd2'",
        ),
        ({"action": ["a", "b"], "probability": [0.5, 0.4]}, "decision 'd1' add up to 0.9"),
        ({"action": ["a", "a"], "probability": [0.5, 0.5]}, "'d1' has an action more than once"),
        ({"action": ["a", "b"], "probability": [1.5, -0.5]}, "1.5 for decision 'd1' is no probability"),
        ({"action": ["a"]}, "no column 'probability'"),
        ({"probability": [1.0]}, "no column 'action'"),
    ],
)
def test_policies_that_are_wrong(columns: dict[str, list[object]], told: str):
    decisions = read_decisions(pa.table(GOOD), file="decisions.parquet")
    with pytest.raises(BadTable) as refused:
        read_policy(pa.table(columns), decisions, file="policy.csv")

    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"treated": ["yes", "control"]}, "'treated' is 'yes' in row 0"),
        ({"treated": ["1", "x"]}, "'treated' is 'x' in row 1"),
        ({"treated": [2, 0]}, "'treated' is 2 in row 0; it is true or false"),
        ({"treated": [None, 0]}, "'treated' holds no finite number"),
        ({"uplift": [None, 0.1]}, "'uplift' holds no finite number"),
        ({"propensity": [0.5, 1.2]}, "'propensity' is 1.2 in row 1"),
        ({"outcome": None}, "no column 'outcome'"),
    ],
)
def test_trials_that_are_wrong(change: dict[str, list[object] | None], told: str):
    good: dict[str, list[object]] = {"treated": ["treated", "control"], "outcome": [1, 0], "uplift": [0.1, 0.2]}
    columns = {name: values for name, values in (good | change).items() if values is not None}
    with pytest.raises(BadTable) as refused:
        read_trial(pa.table(columns), file="trial.parquet")

    assert told in str(refused.value)


def test_null_and_empty_actions_are_nothing_and_rows_about_other_decisions_are_passed_over():
    table = pa.table({**GOOD, "action": ["", None]})
    decisions = read_decisions(table, file="decisions")
    policy = read_policy(
        pa.table({"decision_id": ["d2", "d9", "d1"], "action": [None, "z", "nothing"], "probability": [1.0, 0.3, 1.0]}),
        decisions,
        file="policy",
    )

    assert decisions.actions == ("nothing",)
    assert policy.choices.decision.tolist() == [1, 0]
    assert policy.choices.action.tolist() == [0, 0]


def test_parquet_and_csv_are_read_alike_and_anything_else_is_refused(tmp_path: Path):
    table = pa.table(GOOD)
    pq.write_table(table, tmp_path / "good.parquet")
    (tmp_path / "good.csv").write_text("decision_id,action,propensity,reward\nd1,a,0.5,1\nd2,b,0.5,0\n")
    assert read_table(tmp_path / "good.parquet").to_pylist() == read_table(tmp_path / "good.csv").to_pylist()

    (tmp_path / "bad.parquet").write_text("not at all")
    for name, told in (("bad.parquet", "cannot be read as a Parquet file"), ("gone.csv", "is not there")):
        with pytest.raises(BadTable, match=told):
            read_table(tmp_path / name)
    with pytest.raises(BadTable, match="is no file"):
        read_table(tmp_path)


def test_a_file_with_several_columns_of_one_name_is_refused_by_that_name(tmp_path: Path):
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["action", "action"]), tmp_path / "twice.parquet")
    (tmp_path / "twice.csv").write_text("decision_id,action,action\nd1,a,b\n")
    for name in ("twice.parquet", "twice.csv"):
        with pytest.raises(BadTable, match=f"{name} has several columns 'action', and which is meant"):
            read_table(tmp_path / name)
