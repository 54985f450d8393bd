"""What is written of a version here, put beside the run of MLflow that made it."""

from pathlib import Path

from cluster.commands.following import mlflow_client
from cluster.errors import CommandFailed, UsageWrong
from serving.models.bundle import Bundle
from serving.models.following import SourceFailed


def run_of(bundle: Bundle, named: str) -> str:
    """Return the run of MLflow that a report belongs to: the one that was named, or that the version came from."""
    made_of = str(bundle.manifest.training.get("made_of", ""))
    if named or made_of.isalnum():
        return named or made_of
    raise UsageWrong(
        f"--mlflow: {bundle.version} came from no run of MLflow; name the one its report is to lie beside with --run"
    )


def attached_to(uri: str, run: str, file: Path) -> str:
    """Put a file among the artifacts of a run of a server, and return where it lies there."""
    try:
        with mlflow_client():
            from serving.models.mlflow_source import attach

            return attach(uri, run, file)
    except SourceFailed as failed:
        raise CommandFailed(f"{file} is written, and {failed}") from failed
