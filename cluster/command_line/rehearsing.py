"""Commands about what a playbook's journeys do: options only, what they do is in cluster/commands/."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.command_line.options import Json, leave
from cluster.config import shipped_playbook


def playbook_test(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILES]", help="Files or folders of tests, or playbooks with a folder `tests`."),
    ] = None,
    playbook: Annotated[
        Path | None, typer.Option("--playbook", help="That they are about.  [default: the one whose `tests` they are]")
    ] = None,
    only: Annotated[str, typer.Option("--only", help="A part of the names of those to be played.")] = "",
    as_json: Json = False,
) -> None:
    """Play a playbook's tests: given these signals at these times, its journeys do what they are expected to.

    Exit code 1 if something comes otherwise, 2 if a file cannot be read.
    """
    from cluster.commands.rehearsals import rehearse

    shipped = shipped_playbook("telco")
    leave(rehearse(paths or [], playbook=playbook, shipped=shipped, only=only, as_json=as_json))
