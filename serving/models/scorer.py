"""The model plane: one Serve deployment per model version, and the same booster inside a process.

A replica answers one contiguous float32 matrix per call. It does not wait to fill a batch: shards coalesce.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from ray import serve
from ray.serve.schema import LoggingConfig

from household.scoring import Scored, Way
from serving.models.bundle import Bundle, load_bundle, read_manifest
from serving.models.probe import OpenModel, not_probabilities
from serving.replica_port import confine_replica_port

DEPLOYMENT: Final = "Scorer"

INLINE_ROWS_MAX: Final = 256
"""Up to here a prediction takes under a millisecond, and handing it to a thread would cost more than it saves."""


class RowsRefused(Exception):
    """Rows that this model was not made for; says what came and what was expected."""


class ScoresRefused(Exception):
    """Scores that no decision may be made by; says what is wrong with them."""


class Booster:
    """A loaded model, single-threaded. Safe to call from several threads at once; releases the GIL."""

    def __init__(self, bundle: Bundle) -> None:
        self.version = bundle.version
        self.feature_schema_hash = bundle.manifest.feature_schema_hash
        self.column_count = len(bundle.manifest.columns)
        self.term = bundle.manifest.term
        self._model = OpenModel(bundle.model)
        # The first call builds what later calls reuse.
        self.score(bundle.manifest.golden_rows)

    def score(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n,) float32 of `rows`, (n, columns) float32: P(accept), or what its term is.

        Raises:
            RowsRefused: another number of columns.
            ScoresRefused: a score is no probability, or not what its term takes.
        """
        if rows.ndim != 2 or rows.shape[1] != self.column_count:
            raise RowsRefused(f"model {self.version}: rows {rows.shape}, it has {self.column_count} columns")
        assert rows.dtype == np.float32

        if not len(rows):
            return np.empty(0, np.float32)
        scores = self._model.predict(rows)
        if scores.shape != (len(rows),) or (wrong := not_probabilities(scores, self.term)):
            wrong = wrong if scores.ndim == 1 else f"gives scores {scores.shape} for {len(rows)} rows"
            raise ScoresRefused(f"model {self.version} {wrong}")
        return scores


class LocalScorer:
    """A model in this process: the champion a shard keeps for when Serve is late, or all it needs."""

    def __init__(self, booster: Booster) -> None:
        self._booster = booster
        self.model_version = booster.version

    async def score(self, rows: NDArray[np.float32], *, deadline_s: float | None = None) -> Scored:
        """Score in this thread, at once; about 0.15 ms for 8 rows."""
        return Scored(scores=self.score_now(rows), model_version=self.model_version, degraded=False, way=Way.SHARD)

    def score_now(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (n,) float32 scores of `rows`, (n, columns) float32."""
        return self._booster.score(rows)


def local_scorer(
    bundle_path: Path,
    *,
    feature_schema_hash: str,
    columns: Sequence[str] | None = None,
    proven_sha256: str | None = None,
    term: str | None = None,
) -> LocalScorer:
    """Return the scorer of a bundle, checked as `load_bundle` does; blocks for about a second unless it is proven.

    Raises:
        BundleRefused: damaged, or made for another feature schema.
    """
    bundle = load_bundle(
        bundle_path, feature_schema_hash=feature_schema_hash, columns=columns, proven_sha256=proven_sha256, term=term
    )
    return LocalScorer(Booster(bundle))


class ScorerReplica:
    """One replica of one model version; Serve makes it remote."""

    def __init__(self, bundle_path: str, proven_sha256: str | None = None) -> None:
        confine_replica_port()
        self._booster = Booster(load_bundle(Path(bundle_path), proven_sha256=proven_sha256))

    async def score(self, buf: bytes, count: int, feature_schema_hash: str) -> bytes:
        """Return the `count` float32 scores of the rows in `buf` (count × columns float32, row by row).

        Raises:
            RowsRefused: rows of another width, or built for another feature schema.
        """
        booster = self._booster
        if feature_schema_hash != booster.feature_schema_hash:
            raise RowsRefused(
                f"model {booster.version}: rows of feature schema {feature_schema_hash}, "
                f"it was made for {booster.feature_schema_hash}"
            )
        if count < 0 or len(buf) != count * booster.column_count * 4:
            raise RowsRefused(
                f"model {booster.version}: {len(buf)} bytes for {count} rows, "
                f"{booster.column_count} columns need {count * booster.column_count * 4}"
            )
        rows = np.frombuffer(buf, np.float32).reshape(count, booster.column_count)
        if count <= INLINE_ROWS_MAX:
            return booster.score(rows).tobytes()
        scores = await asyncio.get_running_loop().run_in_executor(None, booster.score, rows)
        return scores.tobytes()


def app_name(version: str) -> str:
    """Return the name of the Serve application of a model version, as `ModelInForce.served_as` has it."""
    return f"model-{version}"


def scorer_application(
    bundle_path: Path,
    *,
    proven_sha256: str | None = None,
    replicas: int = 1,
    cpus: float = 0.1,
    concurrent_max: int = 8,
    queued_max: int = 64,
) -> serve.Application:
    """Return the Serve application of one model version; its replicas check the bundle before they open it.

    Args:
        bundle_path: readable at this path on every node that may run a replica.
        proven_sha256: as in `load_bundle`.
        cpus: what Ray reserves for a replica; scheduling only.
        concurrent_max: batches in a replica at once. Shards send one each, so about as many as shards.
        queued_max: batches waiting in one caller before it fails fast.
    """
    make = serve.deployment(
        name=DEPLOYMENT,
        num_replicas=replicas,
        max_ongoing_requests=concurrent_max,
        max_queued_requests=queued_max,
        ray_actor_options={"num_cpus": cpus},
        # A rejected call waits before it is tried again; 25 ms and more, as it comes, would miss every deadline.
        request_router_config={"initial_backoff_s": 0.001, "backoff_multiplier": 2.0, "max_backoff_s": 0.02},
        graceful_shutdown_timeout_s=2,
        graceful_shutdown_wait_loop_s=0.1,
        logging_config=LoggingConfig(enable_access_log=False),
    )
    return make(ScorerReplica).bind(str(bundle_path), proven_sha256)


def deploy(
    bundle_path: Path,
    *,
    feature_schema_hash: str | None = None,
    columns: Sequence[str] | None = None,
    proven_sha256: str | None = None,
    term: str | None = None,
    served_as: str = "",
    **options: Any,
) -> str:
    """Run a model version on Serve and wait until it is ready; return its application name. Twice is once.

    What is expected of it is as in `load_bundle`; its replicas take only the bytes that were proven here. It runs as
    its version unless `served_as` says otherwise.

    Raises:
        BundleRefused: found out here, before any replica starts.
    """
    bundle = load_bundle(
        bundle_path, feature_schema_hash=feature_schema_hash, columns=columns, proven_sha256=proven_sha256, term=term
    )
    name = app_name(served_as or bundle.version)
    application = scorer_application(bundle_path, proven_sha256=bundle.manifest.digest, **options)
    serve.run(application, name=name, route_prefix=None)
    return name


def undeploy(version: str) -> None:
    """Take a model version off Serve; nothing happens when it is not there."""
    serve.delete(app_name(version))


def deployed_versions() -> list[str]:
    """Return the model versions that Serve runs, or is starting."""
    prefix = app_name("")
    return sorted(name.removeprefix(prefix) for name in serve.status().applications if name.startswith(prefix))


def bundle_app_name(bundle_path: Path) -> str:
    """Return the application name of a bundle that is in a registry."""
    return app_name(read_manifest(bundle_path).version)
