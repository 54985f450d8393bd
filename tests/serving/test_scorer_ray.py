"""Model versions on Serve: two beside each other, each its own scores; a shard's scorer reaches them."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from actors.partition.model_plane import connect, serve_call
from actors.partition.scoring_settings import ScoringConfig
from serving.models import bundle as bundles
from serving.models.bundle import BundleRefused, save_bundle
from tests.serving.test_bundle import make_draft

pytestmark = pytest.mark.ray

SCHEMA = "0123456789abcdef"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Ray of our own: nothing of another one on this machine is joined or touched."""
    home = tmp_path_factory.mktemp("r")
    settings = {
        "HOME": str(home),
        # Short: the path of a Unix socket ends at 107 bytes.
        "RAY_TMPDIR": os.path.realpath(f"/tmp/hearth-{os.getpid()}"),
        "RAY_AUTH_MODE": "disabled",
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    Path(settings["RAY_TMPDIR"]).mkdir(exist_ok=True)
    import ray
    from ray import serve

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    try:
        yield
    finally:
        serve.shutdown()
        ray.shutdown()
        shutil.rmtree(settings["RAY_TMPDIR"], ignore_errors=True)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def test_two_versions_are_served_beside_each_other_and_refuse_foreign_rows(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from serving.models.scorer import deploy, deployed_versions, local_scorer, undeploy

    # Replicas check in earnest; in this process six checks of a second each would add nothing to test_bundle.py.
    monkeypatch.setattr(bundles, "_probe", lambda *_: None)

    folders = [
        save_bundle(tmp_path, "acceptance", make_draft(seed), created="now", version=f"v{seed}") for seed in (1, 2)
    ]
    names = [deploy(folder) for folder in folders]
    assert names == ["model-v1", "model-v2"]
    assert deployed_versions() == ["v1", "v2"]
    rows = np.random.default_rng(1).normal(size=(24, 4)).astype(np.float32)
    locals_ = [local_scorer(folder, feature_schema_hash=SCHEMA) for folder in folders]

    async def story() -> None:
        for name, local in zip(names, locals_, strict=True):
            scorer = await connect(
                name,
                model_version=local.model_version,
                feature_schema_hash=SCHEMA,
                column_count=4,
                local=locals_[0],
                config=ScoringConfig(slice_ms_max=2_000, patience_ms=2_000),
            )
            assert scorer.counters.last_failure == ""
            answers = await asyncio.gather(*(scorer.score(rows[i : i + 6]) for i in range(0, 24, 6)))
            assert {(each.model_version, each.degraded) for each in answers} == {(local.model_version, False)}
            assert b"".join(each.scores.tobytes() for each in answers) == local.score_now(rows).tobytes()
            assert scorer.counters.batches == 1
            scorer.close()

        call = serve_call(names[0], deployment="Scorer", feature_schema_hash=SCHEMA)
        with pytest.raises(Exception, match="24 rows, 4 columns need 384"):
            await call(rows[:, :3].tobytes(), 24)
        call = serve_call(names[0], deployment="Scorer", feature_schema_hash="ffff")
        with pytest.raises(Exception, match="it was made for 0123456789abcdef"):
            await call(rows.tobytes(), 24)

        undeploy("v2")
        scorer = await connect(
            names[1],
            model_version="v2",
            feature_schema_hash=SCHEMA,
            column_count=4,
            local=locals_[0],
            config=ScoringConfig(warm_up_ms=300, slice_ms_max=50),
        )
        answer = await scorer.score(rows)
        assert (answer.model_version, answer.degraded) == ("v1", True)
        scorer.close()

    asyncio.run(story())
    assert deployed_versions() == ["v1"]

    (folders[1] / "model.ubj").write_bytes(b"nonsense")
    with pytest.raises(BundleRefused, match="sha256"):
        deploy(folders[1])
