"""Commands about playbooks and models: options only, what they do is in cluster/commands/."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.command_line.options import DataDir, Json, LogOption, Playbook, VersionArgument, leave, settings_of
from cluster.config import load_config


def playbook_check(
    path: Annotated[Path, typer.Argument(help="Playbook folder or file.", show_default=False)],
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 for warnings, too.")] = False,
    as_json: Json = False,
) -> None:
    """Tell every mistake in a playbook, and what is hardly meant, with file, line, and what would be right.

    Exit code 1 if there is a mistake.
    """
    from cluster.commands.playbook import check as run

    leave(run(path, is_strict=strict, as_json=as_json))


def models_train(
    data_dir: DataDir = None,
    log: LogOption = None,
    playbook: Playbook = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same log: same model.")] = 0,
    promote: Annotated[
        bool, typer.Option("--promote", help="Make it champion, if it is better than what is in force.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="With --promote: even if it has not proved better.")] = False,
    min_decisions: Annotated[int, typer.Option("--min-decisions", min=10, help="Fewer train nothing.")] = 500,
    min_accepted: Annotated[int, typer.Option("--min-accepted", min=3, help="Fewer train nothing.")] = 50,
    as_json: Json = False,
) -> None:
    """Learn an acceptance model from the log and save it in the registry."""
    from cluster.commands.models import Enough
    from cluster.commands.models import train as run

    config = settings_of(data_dir=data_dir, log=log, playbook=playbook)
    enough = Enough(decisions=min_decisions, accepted=min_accepted)
    leave(run(config, seed=seed, enough=enough, is_promoted=promote, is_forced=force, as_json=as_json))


def models_list(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the model versions in the registry."""
    from cluster.commands.models import list_models as run

    leave(run(load_config(data_dir=data_dir), as_json=as_json))


def models_promote(
    version: VersionArgument,
    force: Annotated[bool, typer.Option("--force", help="Even if it has not proved better.")] = False,
    data_dir: DataDir = None,
    log: LogOption = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Make a version champion, if it is better than what is in force on decisions that neither has seen."""
    from cluster.commands.promotion import promote_version as run

    config = settings_of(data_dir=data_dir, log=log, playbook=playbook)
    leave(run(config, version, is_forced=force, as_json=as_json))


def models_rollback(data_dir: DataDir = None, playbook: Playbook = None, as_json: Json = False) -> None:
    """Put the champion before the present one back into force."""
    from cluster.commands.promotion import rollback as run

    leave(run(settings_of(data_dir=data_dir, playbook=playbook), as_json=as_json))


def models_show(
    version: Annotated[str, typer.Argument(metavar="[VERSION]", help="A version, or an alias.")] = "champion",
    data_dir: DataDir = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Tell all there is to know of a version: what it learned, how good it is, when it was champion."""
    from cluster.commands.promotion import show as run

    leave(run(settings_of(data_dir=data_dir, playbook=playbook), version, as_json=as_json))


def models_compare(
    version: VersionArgument,
    other: Annotated[
        str | None, typer.Argument(metavar="[OTHER]", help="Or `prior`.  [default: what is in force]")
    ] = None,
    data_dir: DataDir = None,
    log: LogOption = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Compare a version with another on decisions that neither has seen, with an interval."""
    from cluster.commands.promotion import compare_versions as run

    config = settings_of(data_dir=data_dir, log=log, playbook=playbook)
    leave(run(config, version, other, as_json=as_json))
