"""Commands that send to a running Hearth and ask it: options only, what they do is in cluster/commands/."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.command_line.options import (
    DataDir,
    HouseholdArgument,
    IdentifierOption,
    Json,
    LogOption,
    Target,
    leave,
    settings_of,
    target_of,
)
from cluster.config import load_config


def ingest(
    files: Annotated[list[Path], typer.Argument(help="CSV, JSON lines, CloudEvents or Parquet.", show_default=False)],
    mapping: Annotated[
        str | None, typer.Option("--mapping", help="Mapping file, or the name of a shipped one.")
    ] = None,
    file_format: Annotated[
        str | None, typer.Option("--format", help="csv, jsonl, cloudevents, parquet.  [default: by extension]")
    ] = None,
    data_dir: DataDir = None,
    target: Target = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 unless every row got in.")] = False,
    as_json: Json = False,
) -> None:
    """Send files of signals into a running Hearth, merged in order of time. Sending them again does no harm."""
    from cluster.commands.ingest import ingest as run

    config = load_config(data_dir=data_dir)
    leave(
        run(
            files,
            mapping_name=mapping,
            file_format=file_format,
            target=target_of(config, target),
            is_strict=strict,
            as_json=as_json,
        )
    )


def capture(
    topics: Annotated[str, typer.Option("--topics", help="Topics, with commas; ^… is a pattern.", show_default=False)],
    bootstrap: Annotated[
        str, typer.Option("--bootstrap", help="HOST:PORT of Kafka brokers, with commas.", show_default=False)
    ],
    message_format: Annotated[str, typer.Option("--format", help="json, msgpack or protobuf.")] = "json",
    mapping: Annotated[
        str, typer.Option("--mapping", help="What json and msgpack messages mean: a mapping file.", show_default=False)
    ] = "",
    group: Annotated[str, typer.Option("--group", help="Consumer group.")] = "hearth",
    member: Annotated[
        str, typer.Option("--member", help="Keep partitions across a restart, by this name.", show_default=False)
    ] = "",
    kafka_settings: Annotated[
        Path | None, typer.Option("--kafka-settings", help="YAML of Kafka client settings, e.g. for TLS.")
    ] = None,
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Send what arrives on Kafka topics into a running Hearth, in the foreground, until Ctrl-C. Nothing is lost."""
    from cluster.commands.capture import capture as run
    from cluster.commands.capture import settings_of as settings_asked_for

    settings = settings_asked_for(
        topics=topics, bootstrap=bootstrap, message_format=message_format, mapping=mapping, group=group, member=member,
        kafka_settings=kafka_settings,
    )  # fmt: skip
    leave(run(settings, target=target_of(load_config(data_dir=data_dir), target), as_json=as_json))


def decide(
    channel: Annotated[
        str, typer.Option("--channel", help="Channel that asks, e.g. app, web, ivr, agent.", show_default=False)
    ],
    household: HouseholdArgument = "",
    identifier: IdentifierOption = "",
    member: Annotated[str, typer.Option("--member", help="Member on the channel.", show_default=False)] = "",
    request_id: Annotated[
        str | None, typer.Option("--request-id", help="Same id, same decision.  [default: a new one]")
    ] = None,
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Ask for the next best action of a household."""
    from cluster.commands.decide import decide as run

    config = load_config(data_dir=data_dir)
    leave(
        run(
            household,
            identifier=identifier,
            channel=channel,
            member=member,
            request_id=request_id,
            target=target_of(config, target),
            as_json=as_json,
        )
    )


def explain(
    household: HouseholdArgument = "",
    identifier: IdentifierOption = "",
    decision: Annotated[
        str, typer.Option("--decision", help="Decision id.  [default: the newest]", show_default=False)
    ] = "",
    at: Annotated[
        str | None, typer.Option("--at", help="From the log, as of then: ISO 8601, UTC if no zone is named.")
    ] = None,
    journey: Annotated[
        str, typer.Option("--journey", help="From the log: where it is in it, or why it did not enter.")
    ] = "",
    timeline: Annotated[bool, typer.Option("--timeline", help="From the log: all that happened.")] = False,
    data_dir: DataDir = None,
    target: Target = None,
    log: LogOption = None,
    as_json: Json = False,
) -> None:
    """Tell why Hearth decided as it did for a household, and why a journey did or did not take it in."""
    from cluster.commands.explain import explain as run

    if at is not None or journey or timeline:
        leave(_explain_from_log(household, identifier, decision, at, journey, timeline, data_dir, log, as_json))
    config = load_config(data_dir=data_dir)
    address = target_of(config, target)
    leave(run(household, identifier=identifier, decision_id=decision, target=address, as_json=as_json))


def _explain_from_log(
    household: str,
    identifier: str,
    decision: str,
    at: str | None,
    journey: str,
    timeline: bool,
    data_dir: Path | None,
    log: str | None,
    as_json: bool,
) -> int:
    from cluster.access import permit
    from cluster.commands.explain_from_log import LogQuestion, explain_from_log
    from cluster.instants import instant_us

    if identifier or not household:
        raise typer.BadParameter("the log is asked by the household's key", param_hint="HOUSEHOLD")
    if decision and (journey or timeline):
        raise typer.BadParameter("a decision is no journey and no timeline; name one", param_hint="--decision")
    config = settings_of(data_dir=data_dir, log=log)
    permit("hearth explain", config.data_dir)
    asked = LogQuestion(
        household=household,
        at_us=None if at is None else instant_us(at, option="--at"),
        decision_id=decision,
        journey=journey,
        is_timeline=timeline,
    )
    return explain_from_log(config, asked, as_json=as_json)


def rejects_list(
    reason: Annotated[str | None, typer.Option("--reason", help="Only this one, e.g. UNKNOWN_TYPE.")] = None,
    partition: Annotated[int | None, typer.Option("--partition", min=0, help="Only this one's.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="30m, 2h, 7d ago, or a time.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="The newest so many; 0 for all.")] = 50,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List what could not be accepted, with its reason and position."""
    from cluster.commands.rejects import list_rejects as run

    config = settings_of(data_dir=data_dir)
    leave(run(config, reason=reason, partition=partition, since=since, limit=limit, as_json=as_json))


def rejects_show(
    position: Annotated[str, typer.Argument(metavar="ID", help="As the list has it.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", help="Write its bytes, as they came, to this file.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Tell all there is to know of one reject, its bytes included."""
    from cluster.commands.rejects import show_reject as run

    leave(run(settings_of(data_dir=data_dir), position, output=output, as_json=as_json))


def rejects_replay(
    positions: Annotated[
        list[str] | None, typer.Argument(metavar="ID…", help="As the list has them.", show_default=False)
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="All with this reason.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Those that were replayed before, too.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", help="Write those that never were signals to this file, one per line.")
    ] = None,
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Send rejected events into a running Hearth again; each counts once, however often it is sent."""
    from cluster.commands.rejects import replay as run

    config = settings_of(data_dir=data_dir)
    leave(
        run(
            config,
            positions or [],
            reason=reason,
            is_all=everything,
            is_again=again,
            output=output,
            target=target_of(config, target),
            as_json=as_json,
        )
    )
