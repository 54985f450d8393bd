"""The model in a process, and the replica as a plain class; test_serve.py has it on Serve.

Laws: a replica gives the very scores of the local scorer; rows of another width or schema are refused, saying so.
"""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from serving.models import bundle as bundles
from serving.models.bundle import BundleRefused, save_bundle
from serving.models.scorer import RowsRefused, ScorerReplica, app_name, bundle_app_name, local_scorer
from tests.serving.test_bundle import make_draft

SCHEMA = "0123456789abcdef"


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bundles, "_probe", lambda *_: None)  # test_bundle.py has it
    return save_bundle(tmp_path, "acceptance", make_draft(), created="now", version="v1")


def ask(replica: ScorerReplica, rows: np.ndarray, *, count: int | None = None, schema: str = SCHEMA) -> bytes:
    return asyncio.run(replica.score(rows.tobytes(), len(rows) if count is None else count, schema))


@pytest.mark.parametrize("count", [0, 1, 24, 256, 257, 2_000])
def test_a_replica_gives_the_scores_of_the_local_scorer(saved: Path, count: int):
    rows = np.random.default_rng(1).normal(size=(count, 4)).astype(np.float32)
    local = asyncio.run(local_scorer(saved, feature_schema_hash=SCHEMA).score(rows))
    assert ask(ScorerReplica(str(saved)), rows) == local.scores.tobytes()
    assert (local.scores.shape, local.model_version, local.degraded) == ((count,), "v1", False)


def test_rows_of_another_width_are_refused(saved: Path):
    rows = np.zeros((3, 5), np.float32)
    with pytest.raises(RowsRefused, match="model v1: 60 bytes for 3 rows, 4 columns need 48"):
        ask(ScorerReplica(str(saved)), rows)
    with pytest.raises(RowsRefused, match=r"model v1: rows \(3, 5\), it has 4 columns"):
        local_scorer(saved, feature_schema_hash=SCHEMA).score_now(rows)


@pytest.mark.parametrize("count", [-1, 0, 2, 4])
def test_a_count_that_does_not_fit_the_bytes_is_refused(saved: Path, count: int):
    with pytest.raises(RowsRefused, match=f"48 bytes for {count} rows"):
        ask(ScorerReplica(str(saved)), np.zeros((3, 4), np.float32), count=count)


def test_rows_of_another_schema_are_refused(saved: Path):
    with pytest.raises(RowsRefused, match=f"rows of feature schema ffff, it was made for {SCHEMA}"):
        ask(ScorerReplica(str(saved)), np.zeros((3, 4), np.float32), schema="ffff")
    with pytest.raises(BundleRefused, match="this plan's is ffff"):
        local_scorer(saved, feature_schema_hash="ffff")


def test_an_application_is_named_after_its_version(saved: Path):
    assert bundle_app_name(saved) == app_name("v1") == "model-v1"
