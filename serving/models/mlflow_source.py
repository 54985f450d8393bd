"""MLflow's registry as a source to follow: where its aliases point, and the file of a booster. Nothing of it is run.

Of a version's artifacts only `MLmodel`, which is YAML, and the booster that it names for the flavour `xgboost` are
fetched. Pickles, `python_function` and whatever else lies there are never even downloaded. Tags of a version:
`hearth.starts_from_priors` (true), `hearth.seen_to` (ISO 8601), `hearth.canary_share` (5% or 0.05).

Needs the extra `hearth[mlflow]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml

from serving.models.adoption import FILE_BYTES_MAX, Origin
from serving.models.bundle import BundleRefused, read_plain
from serving.models.following import Pointed, SourceFailed
from serving.models.in_force import ModelStage

STARTS_FROM_PRIORS: Final = "hearth.starts_from_priors"
SEEN_TO: Final = "hearth.seen_to"
CANARY_SHARE: Final = "hearth.canary_share"

FOLLOWED: Final = (ModelStage.CHAMPION, ModelStage.CANARY, ModelStage.SHADOW)

ATTACHED: Final = "hearth"
"""Folder among the artifacts of a run for what is put there from here."""

DESCRIPTION: Final = "MLmodel"
DESCRIPTION_BYTES_MAX: Final = 1 << 20


class MlflowSource:
    """The versions of one registered model of an MLflow server."""

    def __init__(self, uri: str, model: str) -> None:
        """Ask nothing yet.

        Raises:
            ImportError: without the extra.
            SourceFailed: this is no address of a server.
        """
        from mlflow import MlflowClient

        try:
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        except Exception as wrong:
            raise SourceFailed(_short(wrong)) from wrong
        self._uri = uri
        self._model = model

    def pointed(self) -> Mapping[ModelStage, Pointed]:
        """Return where champion, canary and shadow point."""
        try:
            numbers: dict[str, str] = dict(self._client.get_registered_model(self._model).aliases)
            return {alias: self._pointed(str(numbers[alias])) for alias in FOLLOWED if alias in numbers}
        except Exception as wrong:
            raise SourceFailed(_short(wrong)) from wrong

    def fetch(self, number: str, into: Path) -> Path:
        """Put the booster of a version into a folder and return its file."""
        described = read_plain(self._download(number, DESCRIPTION, DESCRIPTION_BYTES_MAX, into), DESCRIPTION_BYTES_MAX)
        file = booster_of(described, Path(f"models:/{self._model}/{number}") / DESCRIPTION)
        return self._download(number, file, FILE_BYTES_MAX, into)

    def _pointed(self, number: str) -> Pointed:
        from mlflow import MlflowException

        try:
            version = self._client.get_model_version(self._model, number)
        except MlflowException as wrong:
            if wrong.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return Pointed(number=number, origin=Origin(), wrong=f"there is no such version: {_short(wrong)}")
        return pointed_of(number, dict(version.tags), run=version.run_id or str(version.source))

    def _download(self, number: str, file: str, bytes_max: int, into: Path) -> Path:
        """Fetch one file of a version, if it is there and not too long."""
        from mlflow.artifacts import download_artifacts, list_artifacts

        try:
            at = self._client.get_model_version_download_uri(self._model, number)
            folder = str(PurePosixPath(file).parent)
            listed = list_artifacts(at if folder == "." else f"{at}/{folder}", tracking_uri=self._uri)
            sizes = {PurePosixPath(one.path).name: one.file_size for one in listed}
            size = sizes.get(PurePosixPath(file).name)
            if size is not None and size <= bytes_max:
                return Path(download_artifacts(f"{at}/{file}", dst_path=str(into), tracking_uri=self._uri))
        except Exception as wrong:
            raise SourceFailed(f"{file} of version {number} cannot be fetched: {_short(wrong)}") from wrong
        raise BundleRefused(
            Path(f"models:/{self._model}/{number}") / file,
            "is not there" if size is None else f"has {size:,} bytes, and {bytes_max:,} are the most",
        )


def attach(uri: str, run: str, file: Path) -> str:
    """Put a file among the artifacts of a run, and return where it lies there.

    Raises:
        ImportError: without the extra.
        SourceFailed: the server does not answer, or does not have the run.
    """
    from mlflow import MlflowClient

    try:
        MlflowClient(tracking_uri=uri, registry_uri=uri).log_artifact(run, str(file), ATTACHED)
    except Exception as wrong:
        raise SourceFailed(f"{file.name} is not in run {run} of {uri}: {_short(wrong)}") from wrong
    return f"runs:/{run}/{ATTACHED}/{file.name}"


def pointed_of(number: str, tags: Mapping[str, str], *, run: str) -> Pointed:
    """Return a version with what its tags say of it.

    >>> one = pointed_of("7", {"hearth.canary_share": "5%", "hearth.seen_to": "2026-11-01T00:00:00Z"}, run="r")
    >>> one.share, one.origin.seen_to_us, one.origin.starts_from_priors
    (0.05, 1793491200000000, False)
    >>> pointed_of("7", {"hearth.canary_share": "some"}, run="r").wrong
    "the tag hearth.canary_share is 'some', and 5% or 0.05 is meant"
    """
    share, seen_to_us, wrong = None, None, ""
    share_text, time_text = tags.get(CANARY_SHARE, "").strip(), tags.get(SEEN_TO, "").strip()
    try:
        if share_text:
            share = float(share_text.removesuffix("%")) / (100 if share_text.endswith("%") else 1)
    except ValueError:
        wrong = f"the tag {CANARY_SHARE} is {share_text[:40]!r}, and 5% or 0.05 is meant"
    try:
        if time_text:
            seen_to = datetime.fromisoformat(time_text)
            seen_to = seen_to if seen_to.tzinfo is not None else seen_to.replace(tzinfo=UTC)
            seen_to_us = round(seen_to.timestamp() * 1e6)
    except (ValueError, OverflowError):
        wrong = f"the tag {SEEN_TO} is {time_text[:40]!r}, and a time such as 2026-11-01T00:00:00Z is meant"
    from_priors = tags.get(STARTS_FROM_PRIORS, "").strip().lower() in ("true", "1", "yes")
    origin = Origin(starts_from_priors=from_priors, seen_to_us=seen_to_us, made_of=run)
    return Pointed(number=number, origin=origin, share=share, wrong=wrong)


def booster_of(description: bytes, file: Path) -> str:
    """Return where among its artifacts a model's booster lies, by its MLmodel.

    Raises:
        BundleRefused: it has none, or says nothing that can be followed.
    """
    try:
        told = yaml.safe_load(description)
        flavours: dict[str, Any] = told["flavors"]
        if "xgboost" not in flavours:
            others = ", ".join(sorted(map(str, flavours))) or "none"
            raise BundleRefused(
                file,
                f"has no flavour xgboost (but {others}), and nothing else is ever opened: "
                "mlflow.xgboost.log_model(booster, model_format='ubj') saves what is needed",
            )
        data = PurePosixPath(str(flavours["xgboost"]["data"]))
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, AttributeError, RecursionError) as wrong:
        raise BundleRefused(file, f"is no description of a model: {wrong!r}") from wrong
    if data.is_absolute() or ".." in data.parts or not data.name:
        raise BundleRefused(file, f"names {str(data)[:100]!r}, which lies elsewhere")
    return str(data)


def _short(wrong: Exception) -> str:
    return (str(wrong).strip().partition("\n")[0] or type(wrong).__name__)[:300]
