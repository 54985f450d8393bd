"""Options that several commands have, and settings and targets from them."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.client import find_target
from cluster.config import ClockKind, HearthConfig, load_config
from cluster.credentials import Credentials, given
from cluster.data_dir import DATA_DIR, data_dir_of
from cluster.environment import ENVIRONMENT_PREFIX, environment_variable

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


def share_of(text: str | float) -> float:
    """Return a share as it was typed, of 1.

    >>> share_of("5%"), share_of("0.05"), share_of("12.5 %")
    (0.05, 0.05, 0.125)
    """
    typed = str(text).strip()
    number = typed.removesuffix("%")
    try:
        return float(number) / (100 if number != typed else 1)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no share; write it like 0.05 or 5%") from None


Confidence = Annotated[float, typer.Option("--confidence", parser=share_of, metavar="SHARE", help="Of the intervals.")]

Target = Annotated[
    str | None,
    typer.Option("--target", help="HOST:PORT of a running Hearth.  [default: the one on the data directory]"),
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
HouseholdArgument = Annotated[
    str, typer.Argument(metavar="HOUSEHOLD", help="Household key, or --identifier.", show_default=False)
]
IdentifierOption = Annotated[
    str,
    typer.Option("--identifier", help="By what it is known instead, e.g. msisdn:+447700900123.", show_default=False),
]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="A version, or an alias.", show_default=False)]


CaFile = Annotated[
    str | None,
    typer.Option("--ca", help="PEM file of the authority of Hearth's certificate, or `system`; for a Hearth with TLS."),
]
CertFile = Annotated[str | None, typer.Option("--cert", help="PEM file of our own certificate.", show_default=False)]
KeyFile = Annotated[str | None, typer.Option("--key", help="PEM file of its key.", show_default=False)]
TokenOption = Annotated[
    str | None, typer.Option("--token", help="JWT that says who we are, or @FILE with one.", show_default=False)
]


def calling(run: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the options that say who calls and whom it trusts, set for all that it calls."""

    def with_credentials(
        *, ca: CaFile = None, cert: CertFile = None, key: KeyFile = None, token: TokenOption = None, **options: object
    ) -> None:
        given.set(Credentials(ca=ca or "", cert=cert or "", key=key or "", token=token or ""))
        run(**options)

    return _also_taking(with_credentials, run)


def naming(run: Callable[..., None]) -> Callable[..., None]:
    """Return a command that calls nobody with the option that says who uses it."""

    def with_token(*, token: TokenOption = None, **options: object) -> None:
        given.set(Credentials(token=token or ""))
        run(**options)

    return _also_taking(with_token, run)


def _also_taking(more: Callable[..., None], run: Callable[..., None]) -> Callable[..., None]:
    """Return `more`, which hands on what it does not take itself, as a command with the options of `run` besides."""
    own, added = inspect.signature(run), inspect.signature(more)
    parameters = [*own.parameters.values(), *list(added.parameters.values())[:-1]]
    told = {
        "__name__": run.__name__,
        "__doc__": run.__doc__,
        "__signature__": own.replace(parameters=[one.replace(kind=one.KEYWORD_ONLY) for one in parameters]),
        "__annotations__": {one.name: one.annotation for one in parameters},
    }
    for name, value in told.items():
        setattr(more, name, value)
    return more


def permitted(name: str, run: Callable[..., None]) -> Callable[..., None]:
    """Return a command that asks first whether its user may, where the data directory has access rules."""

    @functools.wraps(run)
    def asking_first(**options: Any) -> None:
        from cluster.access import permit

        # `hearth report` is about the folder of its page where that is a data directory.
        named = data_dir_of(options.get("folder"), options.get("data_dir"))
        folder = named or environment_variable(f"{ENVIRONMENT_PREFIX}DATA_DIR") or DATA_DIR
        permit(f"hearth {name}", Path(folder))
        run(**options)

    return asking_first


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
