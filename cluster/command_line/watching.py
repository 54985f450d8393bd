"""Commands of those who look after models: options only, what they do is in cluster/commands/."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.command_line.options import DataDir, Json, LogOption, Playbook, VersionArgument, leave, settings_of


def models_watch(
    versions: Annotated[
        list[str] | None, typer.Argument(metavar="[VERSION]...", help="[default: all that are in service]")
    ] = None,
    days: Annotated[float, typer.Option("--days", min=0.01, help="Of the newest decisions in the log.")] = 7.0,
    model: Annotated[
        str, typer.Option("--model", help="Its name in the registry.  [default: all that the playbook names]")
    ] = "",
    data_dir: DataDir = None,
    log: LogOption = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Tell how versions do against what they were trained on: drift, calibration, degraded decisions, latency.

    Exit code 1 if something is off; what was found is noted in the registry for the metrics of a running Hearth.
    """
    from cluster.commands.watching_models import watch_versions as run

    config = settings_of(data_dir=data_dir, log=log, playbook=playbook)
    leave(run(config, versions or [], days=days, as_json=as_json, name=model))


def models_report(
    version: VersionArgument,
    out: Annotated[
        Path | None, typer.Option("--out", help="HTML file.  [default: model-VERSION.html]", show_default=False)
    ] = None,
    on: Annotated[
        Path | None,
        typer.Option("--on", help="Labelled set it has not seen, as `models dataset` writes it.  [default: the log]"),
    ] = None,
    mlflow: Annotated[
        str, typer.Option("--mlflow", help="Server where it is put beside the run that the version came from.")
    ] = "",
    run_id: Annotated[str, typer.Option("--run", help="Another run of that server.")] = "",
    model: Annotated[
        str, typer.Option("--model", help="Its name in the registry.  [default: the playbook's of acceptance]")
    ] = "",
    data_dir: DataDir = None,
    log: LogOption = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Write all there is to know of a version into one HTML file that opens without a network."""
    from cluster.commands.reporting import report_version as run

    config = settings_of(data_dir=data_dir, log=log, playbook=playbook)
    leave(run(config, version, out, on=on, mlflow=mlflow, run=run_id, as_json=as_json, name=model))
