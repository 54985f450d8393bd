"""The way to the model plane: a scorer of a Serve application, or what stands for one that cannot be used here."""

import numpy as np
from numpy.typing import NDArray

from actors.partition.scoring import ServeScorer
from actors.partition.scoring_settings import LocalModel, ScorerCall, ScoringConfig
from household.scoring import ModelMissing, Scored


class MissingModel:
    """Stands for a model that is in force and cannot be used here. A `Scorer`."""

    def __init__(self, why: str) -> None:
        self._why = why

    async def score(self, rows: NDArray[np.float32], *, deadline_s: float | None = None) -> Scored:
        """Raise ModelMissing."""
        raise ModelMissing(self._why)


async def connect(
    app_name: str,
    *,
    model_version: str,
    feature_schema_hash: str,
    column_count: int,
    local: LocalModel,
    config: ScoringConfig,
    rows: NDArray[np.float32] | None = None,
    deployment: str = "Scorer",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> ServeScorer:
    """Return a warm scorer of the Serve application `app_name`; `rows` as in `warm_up`, `bounds` of what it may say.

    Comes back with an open breaker, not an error, when the application does not answer.
    """
    call = serve_call(app_name, deployment=deployment, feature_schema_hash=feature_schema_hash)
    scorer = ServeScorer(
        call, model_version=model_version, column_count=column_count, local=local, config=config, bounds=bounds
    )
    await scorer.warm_up(rows)
    return scorer


def serve_call(app_name: str, *, deployment: str, feature_schema_hash: str) -> ScorerCall:
    """Return a call of a deployment's `score` by gRPC, on this node where it has a replica. Needs a running loop."""
    # Here, so that a shard that scores locally, and the tests, start without Serve.
    from ray.serve.handle import DeploymentHandle

    handle: DeploymentHandle[object] = DeploymentHandle(deployment, app_name)
    handle._init(_prefer_local_routing=True)
    score = handle.options(
        method_name="score", _by_reference=False, request_serialization="pickle", response_serialization="pickle"
    )

    async def call(buf: bytes, count: int) -> bytes:
        answer: bytes = await score.remote(buf, count, feature_schema_hash)
        return answer

    return call
