"""Commands that change the playbook of a running Hearth: options only, what they do is in cluster/commands/."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.command_line.options import DataDir, Json, Playbook, Target, leave, target_of
from cluster.config import load_config
from cluster.instants import instant_us

FolderArgument = Annotated[Path, typer.Argument(metavar="PATH", help="Playbook folder or file.", show_default=False)]
JourneyArgument = Annotated[str, typer.Argument(metavar="JOURNEY", show_default=False)]
DraftArgument = Annotated[
    str, typer.Argument(metavar="DRAFT", help="As `hearth playbook drafts` has it.", show_default=False)
]
FromOption = Annotated[
    str, typer.Option("--from", help="The version it was made from.  [default: what its folder remembers]")
]
WhyOption = Annotated[str, typer.Option("--why", help="The reason, for history and audit log.", show_default=False)]
AtOption = Annotated[
    str, typer.Option("--at", help="Comes into force by itself then; ISO 8601, UTC if no zone is named.")
]
UntilOption = Annotated[str, typer.Option("--until", help="The version before comes into force by itself then.")]


def _where(data_dir: Path | None, target: str | None) -> str:
    return target_of(load_config(data_dir=data_dir), target)


def push(
    what: Annotated[
        str, typer.Argument(metavar="PATH|DRAFT", help="Playbook folder, or an approved draft.", show_default=False)
    ],
    from_version: FromOption = "",
    why: WhyOption = "",
    at: AtOption = "",
    until: UntilOption = "",
    without_approval: Annotated[
        bool, typer.Option("--without-approval", help="For approvers: though nobody else has approved it; with --why.")
    ] = False,
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Put a playbook into force in a running Hearth, on all partitions, while all goes on.

    Exit code 1 if it has mistakes, 3 if another version is in force than the one it was made from: nothing is changed.
    """
    from cluster.commands.playbook_change import Pushed
    from cluster.commands.playbook_change import push as run

    how = Pushed(
        from_version=from_version,
        why=why,
        at_us=instant_us(at, option="--at") if at else None,
        until_us=instant_us(until, option="--until") if until else None,
        without_approval=without_approval,
    )
    leave(run(what, how, target=_where(data_dir, target), as_json=as_json))


def rollback(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="[default: the one before]")] = "",
    from_version: Annotated[str, typer.Option("--from", help="Only while this one is in force.")] = "",
    why: WhyOption = "",
    at: AtOption = "",
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Put a version into force again that was before."""
    from cluster.commands.playbook_change import Pushed
    from cluster.commands.playbook_change import rollback as run

    how = Pushed(from_version=from_version, why=why, at_us=instant_us(at, option="--at") if at else None)
    leave(run(version, how, target=_where(data_dir, target), as_json=as_json))


def diff(
    old: Annotated[str, typer.Argument(metavar="PATH|VERSION", help="To put into force.", show_default=False)],
    new: Annotated[str, typer.Argument(metavar="[PATH|VERSION]", help="Given: what the first is compared with.")] = "",
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Tell what a playbook changes of the one in force, what hangs on that, and what becomes of running instances."""
    from cluster.commands.playbook_difference import diff as run

    leave(run(new, old, target=_where(data_dir, target), as_json=as_json))


def history(
    limit: Annotated[int, typer.Option("--limit", min=1, help="The newest so many.")] = 20,
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Tell which playbook is in force, and who changed what, when and why."""
    from cluster.commands.playbook_difference import history as run

    leave(run(limit=limit, target=_where(data_dir, target), as_json=as_json))


def pull(
    path: FolderArgument,
    version: Annotated[str, typer.Option("--version", help="[default: the one in force]")] = "",
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Write the files of a version into a folder, to be edited and pushed."""
    from cluster.commands.playbook_change import pull as run

    leave(run(path, version=version, target=_where(data_dir, target), as_json=as_json))


def affects(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Of an offer, segment, feature, rule ...", show_default=False),
    ],
    playbook: Playbook = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Tell what hangs on parts of a playbook, directly or by way of others."""
    from cluster.commands.playbook_difference import affects as run

    leave(run(load_config(data_dir=data_dir, playbook=playbook), names, as_json=as_json))


def pause(
    journey: JourneyArgument,
    why: WhyOption = "",
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Have a journey enter nobody and say nothing; its timers stand still until it is resumed."""
    _halt(journey, "JOURNEY_HALT_PAUSE", why, data_dir, target, as_json)


def stop(
    journey: JourneyArgument,
    why: WhyOption = "",
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """End all instances of a journey, take back what was not said, and enter nobody until it is resumed."""
    _halt(journey, "JOURNEY_HALT_STOP", why, data_dir, target, as_json)


def resume(
    journey: JourneyArgument,
    why: WhyOption = "",
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Let a journey go on that is paused or stopped; who was ended does not come back."""
    _halt(journey, "JOURNEY_HALT_RESUME", why, data_dir, target, as_json)


def _halt(journey: str, how: str, why: str, data_dir: Path | None, target: str | None, as_json: bool) -> None:
    from cluster.commands.playbook_change import halt as run

    leave(run(journey, how, why=why, target=_where(data_dir, target), as_json=as_json))


def submit(
    path: FolderArgument,
    from_version: FromOption = "",
    why: WhyOption = "",
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Keep a playbook as a draft that waits for a second person; exit code 1 if it has mistakes."""
    from cluster.commands.playbook_change import submit as run

    leave(run(path, from_version=from_version, why=why, target=_where(data_dir, target), as_json=as_json))


def approve(
    draft: DraftArgument, why: WhyOption = "", data_dir: DataDir = None, target: Target = None, as_json: Json = False
) -> None:
    """Say yes to somebody else's draft."""
    from cluster.commands.playbook_change import decide_draft as run

    leave(run(draft, is_no=False, why=why, target=_where(data_dir, target), as_json=as_json))


def reject(
    draft: DraftArgument, why: WhyOption = "", data_dir: DataDir = None, target: Target = None, as_json: Json = False
) -> None:
    """Say no to a draft, or take back what is scheduled."""
    from cluster.commands.playbook_change import decide_draft as run

    leave(run(draft, is_no=True, why=why, target=_where(data_dir, target), as_json=as_json))


def drafts(data_dir: DataDir = None, target: Target = None, as_json: Json = False) -> None:
    """List drafts, and what comes into force by itself."""
    from cluster.commands.playbook_difference import drafts as run

    leave(run(target=_where(data_dir, target), as_json=as_json))
