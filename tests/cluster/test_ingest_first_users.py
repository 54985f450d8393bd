"""Small inputs of the first users, where they are at hand: none ends with a traceback, each row is accounted for."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cluster.conftest import Run
from tests.cluster.fake_hearth import FakeHearth


@pytest.fixture
def cases(shared: Path) -> Path:
    folder = shared / "cases"
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    return folder


@pytest.mark.parametrize(
    ("name", "applied", "unreadable", "households"),
    [
        ("ids_appended.jsonl", 3, 0, {"HF1"}),
        ("j_surr.jsonl", 0, 4, set()),
        ("ce_data_type.jsonl", 1, 0, {"H1"}),
        ("p_ts_ns.parquet", 2, 0, {"H1", "H2"}),
        ("p_uuid_ext.parquet", 2, 0, {"H1", "H2"}),
        ("c_pgtz.csv", 3, 0, {"H1"}),
        ("c_pandas_index.csv", 1, 0, {"H1"}),
        ("many_fields.jsonl", 600, 0, {"H1"}),
    ],
)
def test_each_row_is_applied_or_kept_as_unreadable(
    name: str, applied: int, unreadable: int, households: set[str], cases: Path, hearth: FakeHearth, run: Run
):
    shutil.copy(cases / name, name)

    ended = run("ingest", "--target", hearth.address, "--json", name)

    assert (ended.code, ended.json["applied"], ended.json["unreadable"]) == (0, applied, unreadable)
    assert {signal["household"] for signal in hearth.signals} <= households
    assert all(len(signal) < 20 for signal in hearth.signals)
    if unreadable:
        assert len(Path(f"{name}.rejects.jsonl").read_text().splitlines()) == unreadable


def test_what_was_sent_before_a_text_stood_among_the_ids_is_not_sent_anew(cases: Path, hearth: FakeHearth, run: Run):
    for name in ("ids_first.jsonl", "ids_appended.jsonl"):
        shutil.copy(cases / name, name)
        ended = run("ingest", "--target", hearth.address, "--json", name)
    assert (ended.json["duplicate"], ended.json["applied"]) == (2, 1)


def test_a_country_is_a_text_and_a_nought_is_a_number(cases: Path, hearth: FakeHearth, run: Run):
    for name in ("norway.csv", "norway.yaml"):
        shutil.copy(cases / name, name)

    run("ingest", "--mapping", "norway.yaml", "--target", hearth.address, "--json", "norway.csv")

    assert [(one["type"], one.get("gb")) for one in hearth.signals] == [
        ("roaming.norway", 0.0), ("roaming.other", 3.0), ("roaming.other", 5.0),
    ]  # fmt: skip
    assert json.dumps(hearth.signals).count("household") == 3
