"""Commands about who belongs together: options only, what they do is in cluster/commands/household.py."""

from enum import StrEnum
from typing import Annotated

import typer

from cluster.command_line.options import DataDir, HouseholdArgument, IdentifierOption, Json, Target, leave, target_of
from cluster.config import load_config

NoteOption = Annotated[str, typer.Option("--note", help="Why, for those who look later.", show_default=False)]
RequestIdOption = Annotated[
    str | None, typer.Option("--request-id", help="Same id, same change.  [default: a new one]", show_default=False)
]


class QuarantineDeed(StrEnum):
    """What is to be done with what is in quarantine."""

    LIST = "list"
    CONFIRM = "confirm"


def household_show(
    household: HouseholdArgument = "",
    identifier: IdentifierOption = "",
    whole: Annotated[bool, typer.Option("--whole", help="Show identifiers whole; for auditors.")] = False,
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Show a household: its members, lines, identifiers, products, what it is offered, what waits for a person."""
    from cluster.commands.household import show as run

    config = load_config(data_dir=data_dir)
    leave(run(household, identifier=identifier, is_whole=whole, target=target_of(config, target), as_json=as_json))


def household_merge(
    household: Annotated[str, typer.Argument(help="Household key.", show_default=False)],
    other: Annotated[str, typer.Argument(help="Key of the other.", show_default=False)],
    cause: Annotated[
        str, typer.Option("--cause", help="By which it can be taken back.  [default: a new one]", show_default=False)
    ] = "",
    note: NoteOption = "",
    request_id: RequestIdOption = None,
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Say that two households are one. `hearth household unmerge` takes it back without a trace."""
    from cluster.commands.household import merge as run

    config = load_config(data_dir=data_dir)
    leave(
        run(
            household,
            other,
            cause=cause,
            note=note,
            request_id=request_id,
            target=target_of(config, target),
            as_json=as_json,
        )
    )


def household_unmerge(
    cause: Annotated[str, typer.Argument(help="Of the merges that were wrong.", show_default=False)],
    note: NoteOption = "",
    request_id: RequestIdOption = None,
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Take back all merges of a cause: the state is that of a log without them."""
    from cluster.commands.household import unmerge as run

    config = load_config(data_dir=data_dir)
    leave(run(cause, note=note, request_id=request_id, target=target_of(config, target), as_json=as_json))


def household_quarantine(
    deed: Annotated[QuarantineDeed, typer.Argument(help="What to do.")] = QuarantineDeed.LIST,
    cause: Annotated[str, typer.Argument(help="Of what is right, to confirm it.", show_default=False)] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000, help="The newest so many.")] = 100,
    note: NoteOption = "",
    request_id: RequestIdOption = None,
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """List graph events that wait for a person's word, or confirm those of a cause."""
    from cluster.commands.household import confirm, quarantine

    address = target_of(load_config(data_dir=data_dir), target)
    match deed:
        case QuarantineDeed.LIST:
            leave(quarantine(cause, limit=limit, target=address, as_json=as_json))
        case QuarantineDeed.CONFIRM:
            leave(confirm(cause, note=note, request_id=request_id, target=address, as_json=as_json))
