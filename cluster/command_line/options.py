"""Options that several commands have, and settings and targets from them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.client import find_target
from cluster.config import ClockKind, HearthConfig, load_config

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of log, metadata and models.  [default: ./hearth-data]")
]

Port = Annotated[int | None, typer.Option("--port", help="Public gRPC port; 0 takes a free one.  [default: 7077]")]

Playbook = Annotated[
    Path | None, typer.Option("--playbook", help="Playbook folder.  [default: the one in force; at first telco]")
]

Shards = Annotated[int | None, typer.Option("--shards", help="Actors that share the partitions.  [default: 2]")]

Partitions = Annotated[
    int | None, typer.Option("--partitions", help="Fixed when the data directory is born.  [default: 8]")
]

ClockOption = Annotated[
    ClockKind | None,
    typer.Option("--clock", help="What is now: the machine's clock, or the newest event.  [default: wall]"),
]

LogOption = Annotated[
    str | None, typer.Option("--log", help="kafka://HOST:PORT/PREFIX.  [default: files in the data directory]")
]

Target = Annotated[
    str | None,
    typer.Option("--target", help="HOST:PORT of a running Hearth.  [default: the one on the data directory]"),
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="A version, or an alias.", show_default=False)]


def settings_of(**options: Any) -> HearthConfig:
    """Return the settings for whoever reads or writes the log."""
    from cluster.data_dir import with_its_log

    return with_its_log(load_config(**options))


def target_of(config: HearthConfig, target: str | None) -> str:
    """Return the address of the Hearth that is meant."""
    return find_target(target=target, data_dir=config.data_dir, default_port=config.port)


def leave(code: int) -> None:
    """End the command with an exit code."""
    raise typer.Exit(code)
