"""Commands about a data directory and what is in it: options only, what they do is in cluster/commands/."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.command_line.options import DataDir, Json, LogOption, leave, settings_of
from cluster.config import load_config


def repair(
    data_dir: DataDir = None,
    partition: Annotated[
        int | None, typer.Option("--partition", min=0, help="Only this partition's log.  [default: everything]")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do what is proposed; what goes is set aside.")] = False,
    as_json: Json = False,
) -> None:
    """Tell what is wrong in the data directory of a stopped Hearth, and put it right; exit code 1 if something is."""
    from cluster.commands.repair import repair as run

    leave(run(settings_of(data_dir=data_dir), partition=partition, is_applied=apply, as_json=as_json))


def backup(
    target: Annotated[Path, typer.Argument(help="New folder for it.", show_default=False)],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Copy log, snapshots, rejects, models and playbook of a data directory, beside a running Hearth."""
    from cluster.commands.backup import backup as run

    leave(run(settings_of(data_dir=data_dir), target=target, as_json=as_json))


def restore(
    source: Annotated[Path, typer.Argument(help="Folder of a backup.", show_default=False)],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a new data directory of a backup, after checking every byte of it."""
    from cluster.commands.backup import restore as run

    leave(run(load_config(data_dir=data_dir), source=source, as_json=as_json))


def drill(
    backups: Annotated[
        Path | None,
        typer.Option("--backups", help="Folder of backups, of which the newest is taken.  [default: one is made now]"),
    ] = None,
    scratch: Annotated[
        Path | None, typer.Option("--scratch", help="Where to restore to; removed.  [default: a temporary folder]")
    ] = None,
    no_start: Annotated[bool, typer.Option("--no-start", help="Restore and verify only.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Restore the newest backup into a scratch place, verify and start it there; tell RPO and RTO as measured."""
    from cluster.commands.drill import drill as run

    config = load_config(data_dir=data_dir)
    leave(run(config, backups=backups, scratch=scratch, is_started=not no_start, as_json=as_json))


def verify(
    data_dir: DataDir = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Replay from the log's start, not from the oldest kept snapshot.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Replay the log and compare with the state of the running Hearth; exit code 1 on a difference."""
    from cluster.commands.backup import verify as run

    leave(run(settings_of(data_dir=data_dir), from_start=from_start, as_json=as_json))


def audit_list(
    household: Annotated[
        str | None, typer.Option("--household", help="Only looks at this household.", show_default=False)
    ] = None,
    who: Annotated[str | None, typer.Option("--who", help="Only this one's, e.g. token:anna.")] = None,
    refused: Annotated[bool, typer.Option("--refused", help="Only what was refused.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=0, help="The newest so many; 0 for all.")] = 50,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List who looked at whom, who changed what, and who was refused."""
    from cluster.commands.audit import list_entries as run

    config = load_config(data_dir=data_dir)
    leave(run(config, household=household, who=who, is_refused=refused, limit=limit, as_json=as_json))


def audit_verify(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Tell whether the audit log is as it was written, or which is the first entry that is not; exit code 1 then."""
    from cluster.commands.audit import verify as run

    leave(run(load_config(data_dir=data_dir), as_json=as_json))


def log_export(
    kind: Annotated[str, typer.Option("--kind", help="decisions, signals or moments.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Parquet file to write.", show_default=False)],
    data_dir: DataDir = None,
    log: LogOption = None,
    as_json: Json = False,
) -> None:
    """Write decisions, signals or moments from the log to a Parquet file."""
    from cluster.commands.log import export as run

    leave(run(settings_of(data_dir=data_dir, log=log), kind=kind, out=out, as_json=as_json))


def export_assignments(
    out: Annotated[Path, typer.Option("--out", help="Parquet file to write.", show_default=False)],
    data_dir: DataDir = None,
    log: LogOption = None,
    as_json: Json = False,
) -> None:
    """Write which household is in which arm of which experiment to a Parquet file."""
    from cluster.commands.assignments import export_assignments as run

    leave(run(settings_of(data_dir=data_dir, log=log), out=out, as_json=as_json))
