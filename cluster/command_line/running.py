"""Commands that run Hearth here and look at one that runs: options only, what they do is in cluster/commands/."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.command_line.options import (
    ClockOption,
    DataDir,
    Json,
    LogOption,
    Partitions,
    Playbook,
    Port,
    Shards,
    Target,
    leave,
    settings_of,
    target_of,
)
from cluster.config import load_config


def up(
    data_dir: DataDir = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Address the public port listens on.  [default: 127.0.0.1]")
    ] = None,
    port: Port = None,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="PEM file of the public port's certificate.", show_default=False)
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="PEM file of its key.", show_default=False)] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option("--tls-client-ca", help="PEM file of the authority of clients' certificates.", show_default=False),
    ] = None,
    tls_revoked: Annotated[
        Path | None, typer.Option("--tls-revoked", help="PEM file of those it has revoked (CRL).", show_default=False)
    ] = None,
    access: Annotated[
        Path | None,
        typer.Option("--access", help="YAML file of the access rules.  [default: those last started with]"),
    ] = None,
    playbook: Playbook = None,
    clock: ClockOption = None,
    shards: Shards = None,
    partitions: Partitions = None,
    log: LogOption = None,
    metadata: Annotated[
        str | None,
        typer.Option(
            "--metadata", help="postgresql+psycopg://USER@HOST/NAME.  [default: a file in the data directory]"
        ),
    ] = None,
    capture: Annotated[
        Path | None,
        typer.Option("--capture", help="YAML file of capture connectors to run beside.", show_default=False),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option("--ray-address", help="HOST:PORT of the Ray cluster to join.  [default: a Ray of our own]"),
    ] = None,
    without_control: Annotated[
        str | None,
        typer.Option(
            "--without-control",
            metavar="REASON",
            help="Why new journeys of the playbook may go without a control group; noted.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run Hearth here, in the foreground, until Ctrl-C."""
    from cluster.commands.up import up as run

    config = settings_of(
        data_dir=data_dir, host=host, port=port, tls_certificate=tls_cert, tls_key=tls_key, tls_client_ca=tls_client_ca,
        tls_revoked=tls_revoked, access=access, playbook=playbook, clock=clock, shard_count=shards,
        partition_count=partitions, log=log, metadata_url=metadata, capture=capture, ray_address=ray_address,
        json_lines=as_json or None,
    )  # fmt: skip
    leave(run(config, without_control=without_control))


def demo(
    households: Annotated[int, typer.Option("--households", min=1, help="How large the simulated town is.")] = 800,
    days: Annotated[float, typer.Option("--days", min=0.1, help="How long it lives, in simulated days.")] = 5.0,
    report: Annotated[Path | None, typer.Option("--report", help="Write the report as JSON to this file.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Keep the data here.  [default: a temporary folder]")
    ] = None,
    playbook: Playbook = None,
    shards: Shards = None,
    partitions: Partitions = None,
) -> None:
    """Start a Hearth, let a simulated town live on it, show what it decides and why; then clean up."""
    from cluster.demo import DemoPlan
    from cluster.demo import demo as run

    config = load_config(playbook=playbook, shard_count=shards, partition_count=partitions)
    leave(run(config, DemoPlan(households=households, days=days, report=report, data_dir=data_dir)))


def status(data_dir: DataDir = None, target: Target = None, as_json: Json = False) -> None:
    """Tell whether a Hearth runs on the data directory, and how it is; exit code 0 when it is ready."""
    from cluster.commands.status import status as run

    leave(run(load_config(data_dir=data_dir).data_dir, target=target, as_json=as_json))


def doctor(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Name versions, disk, open ports and whatever weakens durability or security; exit code 1 if something does."""
    from cluster.commands.doctor import doctor as run

    leave(run(load_config(data_dir=data_dir), as_json=as_json))


def top(
    data_dir: DataDir = None,
    every: Annotated[float, typer.Option("--every", min=0.5, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look for so long, show it, and end.")] = False,
    as_json: Json = False,
) -> None:
    """Show shards and partitions live: how busy each is, how far it lags, how fast it answers; until Ctrl-C."""
    from cluster.commands.top import top as run

    leave(run(load_config(data_dir=data_dir).data_dir, every_s=every, is_once=once, as_json=as_json))


def support_bundle(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="A new .tar.gz file.", show_default=False)],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Write a file for whoever helps: settings, versions, status, numbers, logs; no secrets and no identifiers."""
    from cluster.commands.support_bundle import support_bundle as run

    leave(run(settings_of(data_dir=data_dir), out=out, as_json=as_json))


def snapshot(data_dir: DataDir = None, target: Target = None, as_json: Json = False) -> None:
    """Write a snapshot of every partition of a running Hearth now; a restart then folds only what comes after."""
    from cluster.commands.admin import snapshot as run

    leave(run(target=target_of(load_config(data_dir=data_dir), target), as_json=as_json))


def clock_confirm(data_dir: DataDir = None, target: Target = None, as_json: Json = False) -> None:
    """Say that the machine's clock, which has jumped, is right as it is now; a running Hearth then decides again."""
    from cluster.commands.admin import confirm_clock as run

    leave(run(target=target_of(load_config(data_dir=data_dir), target), as_json=as_json))
