"""`hearth models dataset`, `hearth features`, `hearth models train --from` and `hearth models leaks`.

Laws: a training set says what its columns are, and is there whole or not at all; what is not known yet has no label;
features as of a decision are those that it recorded, whatever came later; what leaks is not learned from.

One log of decisions is shared with the other commands of models.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cluster.commands import models, training_from
from cluster.exporting import ROW_GROUP_BYTES, write_parquet
from household.scoring import feature_schema
from tests.actors.harness import MONDAY, corner
from tests.cluster.conftest import Run
from tests.cluster.test_models_commands import ENOUGH, HOUSEHOLDS, data, lived  # noqa: F401

SCHEMA = feature_schema(corner())


@pytest.fixture
def dataset(run: Run, data: tuple[str, ...], tmp_path: Path) -> Path:  # noqa: F811
    ended = run("models", "dataset", "--out", str(tmp_path / "set.parquet"), "--check", "--json", *data)
    assert ended.code == 0, ended.err
    told = ended.json
    assert (told["rows"], told["labelled"]) == (HOUSEHOLDS + 1, HOUSEHOLDS), "the last decision's window is open"
    assert told["parity"]["equal"] == told["parity"]["decisions"] == HOUSEHOLDS + 1
    return tmp_path / "set.parquet"


def test_the_set_has_names_types_schema_label_propensity_arm_and_candidates(dataset: Path):
    table = pq.read_table(dataset)
    metadata = table.schema.metadata
    assert metadata[b"hearth.feature_schema_hash"].decode() == SCHEMA.hash
    assert tuple(json.loads(metadata[b"hearth.columns"])) == SCHEMA.names
    assert table.column_names[-len(SCHEMA.names) :] == list(SCHEMA.names)
    assert {str(table.schema.field(name).type) for name in SCHEMA.names} == {"float"}
    assert json.loads(table.schema.field("member.pack").metadata[b"values"]) == ["film", "kids"]
    assert "hearth.accept" in metadata[b"hearth.label_definition"].decode()
    assert pc.sum(table["label"]).as_py() > 20
    assert table["label"].null_count == 1
    assert set(table["arm"].to_pylist()) == {"treated"}
    assert pc.min(table["propensity"]).as_py() > 0
    assert min(map(len, table["candidates"].to_pylist())) >= 1


def test_a_row_group_ends_where_its_bytes_do_though_its_rows_be_few(tmp_path: Path):
    wide = pa.table({"candidates": pa.array([bytes(ROW_GROUP_BYTES // 8)] * 5, pa.large_binary())})
    rows = write_parquet(iter([wide, wide, wide]), tmp_path / "wide.parquet", lambda *_: None)
    written = pq.ParquetFile(tmp_path / "wide.parquet").metadata
    assert rows == 15
    assert [written.row_group(group).num_rows for group in range(written.num_row_groups)] == [10, 5]


def test_features_as_of_a_decision_are_those_it_recorded(run: Run, data: tuple[str, ...], dataset: Path):  # noqa: F811
    one = pq.read_table(dataset).slice(7, 1).to_pylist()[0]
    at = one["decided_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    names = SCHEMA.names[: len(SCHEMA.scored)]
    for arguments in (("--at", at), ("--decision", one["decision_id"]), ("--at", at, "--member", "ann")):
        told = run("features", one["household"], *arguments, "--json", *data[:2])
        assert told.code == 0, told.err
        assert told.json["decision"] == {"decision_id": one["decision_id"], "member": "ann", "equal": True}
        assert tuple(told.json["columns"]) == names
        for name, value in zip(names, told.json["vectors"]["ann"], strict=True):
            row = one[name]
            is_unknown = value is None and np.isnan(row)
            assert is_unknown or np.float32(value).tobytes() == np.float32(row).tobytes(), name
    plain = run("features", one["household"], "--at", at, *data[:2])
    assert f"as decision {one['decision_id']} read it" in plain.out
    assert "household.payments: " in plain.out
    now = run("features", one["household"], "--json", *data[:2]).json
    assert (now["decision"], list(now["vectors"])) == (None, ["", "ann"])


def test_what_was_not_known_or_is_not_there_is_told(run: Run, data: tuple[str, ...]):  # noqa: F811
    where = data[:2]
    early = run("features", "h7", "--at", "2001-01-01T00:00:00", *where)
    assert (early.code, "nothing was known of household 'h7' at 2001" in early.err) == (1, True)
    nobody = run("features", "nobody", *where)
    assert (nobody.code, "nothing was known of household 'nobody'" in nobody.err) == (1, True)
    bob = run("features", "h7", "--member", "bob", *where)
    assert (bob.code, "member 'bob' of household 'h7' by then, only of 'ann'" in bob.err) == (1, True)
    none = run("features", "h7", "--decision", "d", *where)
    assert (none.code, "household 'h7' has no decision d in the log" in none.err) == (1, True)
    assert run("features", "h7", "--at", "soon", *where).code == 2
    assert run("features", "h7", "--at", "2025-01-06", "--decision", "d", *where).code == 2


def test_a_folder_is_whole_or_not_there_and_nothing_is_written_over(
    run: Run,
    data: tuple[str, ...],  # noqa: F811
    dataset: Path,
    tmp_path: Path,
):
    out = tmp_path / "folder"
    told = run("models", "dataset", "--out", str(out), *data)
    assert told.code == 0, told.err
    folder, file = pq.read_table(out), pq.read_table(dataset)
    assert folder.drop_columns(list(SCHEMA.names)).equals(file.drop_columns(list(SCHEMA.names)))
    assert all(np.array_equal(folder[name], file[name], equal_nan=True) for name in SCHEMA.names)
    again = run("models", "dataset", "--out", str(out), *data)
    assert (again.code, "is there already" in again.err) == (2, True)
    nowhere = run("models", "dataset", "--out", str(tmp_path / "no" / "set.parquet"), *data)
    assert (nowhere.code, "make it first" in nowhere.err) == (2, True)
    other = run("models", "dataset", "--out", str(tmp_path / "set.csv"), *data)
    assert (other.code, "a set is Parquet" in other.err) == (2, True)
    unknown = run("models", "dataset", "--out", str(tmp_path / "a.parquet"), "--label", "churn", *data)
    assert (unknown.code, "there are check, consent" in unknown.err) == (2, True)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["data", "folder", "set.parquet"]


def test_an_event_is_a_label_as_well(run: Run, data: tuple[str, ...], tmp_path: Path):  # noqa: F811
    out = tmp_path / "paid.parquet"
    told = run("models", "dataset", "--out", str(out), "--label", "visit", "--window-hours", "48", "--json", *data)
    assert told.code == 0, told.err
    # Only h0 came again, a day later; no window of two days is over.
    assert (told.json["rows"], told.json["labelled"]) == (HOUSEHOLDS + 1, 0)
    refused = run("models", "train", "--from", str(out), *ENOUGH, *data)
    assert (refused.code, "its label" in refused.err or "the label of" in refused.err) == (2, True)


def test_a_version_is_trained_from_a_set_and_comes_into_force_as_any_other(
    run: Run,
    data: tuple[str, ...],  # noqa: F811
    dataset: Path,
):
    ended = run("models", "train", "--from", str(dataset), "--promote", "--json", *ENOUGH, *data)
    assert (ended.code, ended.json["champion"]) == (0, True), ended.err
    assert ended.json["training"]["rows"] == HOUSEHOLDS
    gone = run("models", "train", "--from", str(dataset) + "x", *ENOUGH, *data)
    assert (gone.code, "neither a Parquet file nor a folder" in gone.err) == (2, True)
    cuda = run("models", "train", "--from", str(dataset), "--device", "cuda", *ENOUGH, *data)
    assert (cuda.code, "CUDA" in cuda.err or "cuda" in cuda.err) == (2, True)
    assert run("models", "train", "--device", "tpu", *data).code == 2


def test_what_was_not_served_so_is_a_leak_and_nothing_is_trained(
    run: Run,
    data: tuple[str, ...],  # noqa: F811
    dataset: Path,
    tmp_path: Path,
):
    table = pq.read_table(dataset)
    place = table.column_names.index("household.payments")
    later = pc.add(table["household.payments"].fill_null(0), pc.cast(table["label"].fill_null(False), pa.float32()))
    pq.write_table(table.set_column(place, table.schema.field(place), later), tmp_path / "later.parquet")
    refused = run("models", "train", "--from", str(tmp_path / "later.parquet"), *ENOUGH, *data)
    assert refused.code == 1
    assert "household.payments (of the future)" in refused.err
    assert "served another value" in refused.err
    assert run("models", "list", "--json", *data[:2]).json["versions"] == []
    vouched = ("--not-a-leak", "household.payments")
    assert run("models", "train", "--from", str(tmp_path / "later.parquet"), *vouched, *ENOUGH, *data).code == 0


def test_leaks_of_any_table_are_named(run: Run, dataset: Path, tmp_path: Path):
    clean = run("models", "leaks", str(dataset.with_name("clean.parquet")))
    assert clean.code == 2
    none = run("models", "leaks", str(dataset), "--time", "decided_at")
    assert (none.code, f"columns of {HOUSEHOLDS:,} rows" in none.out) == (0, True), none.out
    assert f"1 of {HOUSEHOLDS + 1:,} rows have no label" in none.err
    rows = [
        "id,visits,churn_reason,Churn",
        *(f"{n},{n % 7},{n % 3},{'Yes' if n % 4 == 0 else 'No'}" for n in range(400)),
    ]
    (tmp_path / "churn.csv").write_text("\n".join(rows))
    found = run("models", "leaks", str(tmp_path / "churn.csv"), "--label", "Churn", "--without", "id", "--json")
    assert found.code == 1
    assert [(one["column"], one["kind"]) for one in found.json["leaks"]] == [("churn_reason", "named as an outcome")]
    missing = run("models", "leaks", str(tmp_path / "churn.csv"), "--label", "visits")
    assert (missing.code, "7 different values" in missing.err) == (2, True)


def test_a_log_too_long_to_hold_is_learned_from_by_way_of_disk(
    run: Run,
    data: tuple[str, ...],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(models, "IN_MEMORY_MAX", 10)
    ended = run("models", "train", "--promote", "--json", *ENOUGH, *data)
    assert (ended.code, ended.json["champion"]) == (0, True), ended.err
    assert "by way of a training set on disk" in ended.err
    facts = ended.json["training"]
    assert (facts["rows"], facts["left_out"]) == (HOUSEHOLDS, {"without_label": 1})
    assert ended.json["comparison"]["rows"] == facts["holdout_rows"]
    assert left_beside(tmp_path) == [ended.json["version"]]


def test_ctrl_c_leaves_no_version_and_nothing_beside(
    run: Run,
    data: tuple[str, ...],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    asked = 0

    @contextmanager
    def pressed_at_last() -> Iterator[Callable[[], bool]]:
        def is_pressed() -> bool:
            nonlocal asked
            asked += 1
            return asked > 20

        yield is_pressed

    monkeypatch.setattr(models, "IN_MEMORY_MAX", 10)
    monkeypatch.setattr(training_from, "interruptions", pressed_at_last)
    ended = run("models", "train", *ENOUGH, *data)
    assert (ended.code, "stopped; no version was saved" in ended.err) == (130, True), ended.err
    assert asked > 20, "it was stopped while trees were grown"
    assert left_beside(tmp_path) == []


def test_features_of_many_are_as_of_their_times(
    run: Run,
    data: tuple[str, ...],  # noqa: F811
    dataset: Path,
    tmp_path: Path,
):
    served = pq.read_table(dataset).slice(20, 3)
    names = SCHEMA.names[: len(SCHEMA.scored)]
    early = pa.array([MONDAY - 1] * 3, served["decided_at"].type)
    asked = [
        pa.table({"household": served["household"], "member": served["member"], "time": when, "note": ["a", "b", "c"]})
        for when in (served["decided_at"], early)
    ]
    pq.write_table(pa.concat_tables(asked), tmp_path / "whom.parquet")
    out = ("--as-of", str(tmp_path / "whom.parquet"), "--out", str(tmp_path / "as_of.parquet"))
    told = run("models", "dataset", *out, "--json", *data)
    assert (told.code, told.json["rows"], told.json["left_out"]) == (0, 3, {"unknown_household": 3}), told.err
    table = pq.read_table(tmp_path / "as_of.parquet")
    assert table.schema.metadata[b"hearth.feature_schema_hash"].decode() == SCHEMA.hash
    by_note = {one["note"]: one for one in table.to_pylist()}
    for note, row in zip("abc", served.to_pylist(), strict=True):
        assert np.array_equal([by_note[note][name] for name in names], [row[name] for name in names], equal_nan=True)
    pq.write_table(pa.table({"household": ["h"], "time": [5]}), tmp_path / "whom.parquet")
    refused = run("models", "dataset", *out, *data)
    assert (refused.code, "column 'time' is int64, and should be a timestamp" in refused.err) == (2, True)


def left_beside(tmp_path: Path) -> list[str]:
    """Return the versions, and whatever else lies in the registry, but for its own files."""
    registry = tmp_path / "data" / "models"
    found = [*registry.iterdir(), *(registry / "acceptance").glob("*")] if registry.is_dir() else []
    return [one.name for one in found if one.is_dir() and one.name != "acceptance"]
