"""The `hearth` command: option parsing only. What a command does is in cluster/commands/."""

import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from cluster.client import find_target
from cluster.config import ClockKind, HearthConfig, load_config
from cluster.errors import CommandFailed
from cluster.output import say

app = typer.Typer(
    name="hearth",
    help="Decides, for every household and in the moment itself, the next best experience.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
playbook_app = typer.Typer(help="Work on playbooks.", no_args_is_help=True)
models_app = typer.Typer(help="Train and list models.", no_args_is_help=True)
log_app = typer.Typer(help="Read the log.", no_args_is_help=True)
app.add_typer(playbook_app, name="playbook")
app.add_typer(models_app, name="models")
app.add_typer(log_app, name="log")
rejects_app = typer.Typer(help="Look at what could not be accepted, and send it again.", no_args_is_help=True)
app.add_typer(rejects_app, name="rejects")
clock_app = typer.Typer(help="What time it is.", no_args_is_help=True)
app.add_typer(clock_app, name="clock")

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
Clock = Annotated[
    ClockKind | None,
    typer.Option("--clock", help="What is now: the machine's clock, or the newest event.  [default: wall]"),
]
Log = Annotated[
    str | None, typer.Option("--log", help="kafka://HOST:PORT/PREFIX.  [default: files in the data directory]")
]
Target = Annotated[
    str | None,
    typer.Option("--target", help="HOST:PORT of a running Hearth.  [default: the one on the data directory]"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def up(
    data_dir: DataDir = None,
    port: Port = None,
    playbook: Playbook = None,
    clock: Clock = None,
    shards: Shards = None,
    partitions: Partitions = None,
    log: Log = None,
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
    as_json: Json = False,
) -> None:
    """Run Hearth here, in the foreground, until Ctrl-C."""
    from cluster.commands.up import up as run

    config = _config(
        data_dir=data_dir, port=port, playbook=playbook, clock=clock, shard_count=shards, partition_count=partitions,
        log=log, metadata_url=metadata, capture=capture, ray_address=ray_address, json_lines=as_json or None,
    )  # fmt: skip
    _exit(run(config))


@app.command()
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
    _exit(run(config, DemoPlan(households=households, days=days, report=report, data_dir=data_dir)))


@app.command()
def status(data_dir: DataDir = None, target: Target = None, as_json: Json = False) -> None:
    """Tell whether a Hearth runs on the data directory, and how it is; exit code 0 when it is ready."""
    from cluster.commands.status import status as run

    _exit(run(load_config(data_dir=data_dir).data_dir, target=target, as_json=as_json))


@app.command()
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
    _exit(
        run(
            files,
            mapping_name=mapping,
            file_format=file_format,
            target=_target(config, target),
            is_strict=strict,
            as_json=as_json,
        )
    )


@app.command()
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
    from cluster.commands.capture import settings_of

    settings = settings_of(
        topics=topics, bootstrap=bootstrap, message_format=message_format, mapping=mapping, group=group, member=member,
        kafka_settings=kafka_settings,
    )  # fmt: skip
    _exit(run(settings, target=_target(load_config(data_dir=data_dir), target), as_json=as_json))


@app.command()
def decide(
    household: Annotated[str, typer.Argument(help="Household key.", show_default=False)],
    channel: Annotated[
        str, typer.Option("--channel", help="Channel that asks, e.g. app, web, ivr, agent.", show_default=False)
    ],
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
    _exit(
        run(
            household,
            channel=channel,
            member=member,
            request_id=request_id,
            target=_target(config, target),
            as_json=as_json,
        )
    )


@app.command()
def explain(
    household: Annotated[str, typer.Argument(help="Household key.", show_default=False)],
    decision: Annotated[
        str, typer.Option("--decision", help="Decision id.  [default: the newest]", show_default=False)
    ] = "",
    data_dir: DataDir = None,
    target: Target = None,
    as_json: Json = False,
) -> None:
    """Tell why Hearth decided as it did for a household."""
    from cluster.commands.explain import explain as run

    config = load_config(data_dir=data_dir)
    _exit(run(household, decision_id=decision, target=_target(config, target), as_json=as_json))


@app.command()
def doctor(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Name versions, disk, open ports and whatever weakens durability or security; exit code 1 if something does."""
    from cluster.commands.doctor import doctor as run

    _exit(run(load_config(data_dir=data_dir), as_json=as_json))


@app.command()
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

    _exit(run(_config(data_dir=data_dir), partition=partition, is_applied=apply, as_json=as_json))


@app.command()
def snapshot(data_dir: DataDir = None, target: Target = None, as_json: Json = False) -> None:
    """Write a snapshot of every partition of a running Hearth now; a restart then folds only what comes after."""
    from cluster.commands.admin import snapshot as run

    _exit(run(target=_target(load_config(data_dir=data_dir), target), as_json=as_json))


@clock_app.command("confirm")
def clock_confirm(data_dir: DataDir = None, target: Target = None, as_json: Json = False) -> None:
    """Say that the machine's clock, which has jumped, is right as it is now; a running Hearth then decides again."""
    from cluster.commands.admin import confirm_clock as run

    _exit(run(target=_target(load_config(data_dir=data_dir), target), as_json=as_json))


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="New folder for it.", show_default=False)],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Copy log, snapshots, rejects, models and playbook of a data directory, beside a running Hearth."""
    from cluster.commands.backup import backup as run

    _exit(run(_config(data_dir=data_dir), target=target, as_json=as_json))


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="Folder of a backup.", show_default=False)],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a new data directory of a backup, after checking every byte of it."""
    from cluster.commands.backup import restore as run

    _exit(run(load_config(data_dir=data_dir), source=source, as_json=as_json))


@app.command()
def verify(
    data_dir: DataDir = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Replay from the log's start, not from the oldest kept snapshot.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Replay the log and compare with the state of the running Hearth; exit code 1 on a difference."""
    from cluster.commands.backup import verify as run

    _exit(run(_config(data_dir=data_dir), from_start=from_start, as_json=as_json))


@playbook_app.command("check")
def playbook_check(
    path: Annotated[Path, typer.Argument(help="Playbook folder or file.", show_default=False)],
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 for warnings, too.")] = False,
    as_json: Json = False,
) -> None:
    """Tell every mistake in a playbook, and what is hardly meant, with file, line, and what would be right.

    Exit code 1 if there is a mistake.
    """
    from cluster.commands.playbook import check as run

    _exit(run(path, is_strict=strict, as_json=as_json))


@models_app.command("train")
def models_train(
    data_dir: DataDir = None,
    log: Log = None,
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

    config = _config(data_dir=data_dir, log=log, playbook=playbook)
    enough = Enough(decisions=min_decisions, accepted=min_accepted)
    _exit(run(config, seed=seed, enough=enough, is_promoted=promote, is_forced=force, as_json=as_json))


@models_app.command("list")
def models_list(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the model versions in the registry."""
    from cluster.commands.models import list_models as run

    _exit(run(load_config(data_dir=data_dir), as_json=as_json))


Version = Annotated[str, typer.Argument(metavar="VERSION", help="A version, or an alias.", show_default=False)]


@models_app.command("promote")
def models_promote(
    version: Version,
    force: Annotated[bool, typer.Option("--force", help="Even if it has not proved better.")] = False,
    data_dir: DataDir = None,
    log: Log = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Make a version champion, if it is better than what is in force on decisions that neither has seen."""
    from cluster.commands.promotion import promote_version as run

    config = _config(data_dir=data_dir, log=log, playbook=playbook)
    _exit(run(config, version, is_forced=force, as_json=as_json))


@models_app.command("rollback")
def models_rollback(data_dir: DataDir = None, playbook: Playbook = None, as_json: Json = False) -> None:
    """Put the champion before the present one back into force."""
    from cluster.commands.promotion import rollback as run

    _exit(run(_config(data_dir=data_dir, playbook=playbook), as_json=as_json))


@models_app.command("show")
def models_show(
    version: Annotated[str, typer.Argument(metavar="[VERSION]", help="A version, or an alias.")] = "champion",
    data_dir: DataDir = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Tell all there is to know of a version: what it learned, how good it is, when it was champion."""
    from cluster.commands.promotion import show as run

    _exit(run(_config(data_dir=data_dir, playbook=playbook), version, as_json=as_json))


@models_app.command("compare")
def models_compare(
    version: Version,
    other: Annotated[
        str | None, typer.Argument(metavar="[OTHER]", help="Or `prior`.  [default: what is in force]")
    ] = None,
    data_dir: DataDir = None,
    log: Log = None,
    playbook: Playbook = None,
    as_json: Json = False,
) -> None:
    """Compare a version with another on decisions that neither has seen, with an interval."""
    from cluster.commands.promotion import compare_versions as run

    config = _config(data_dir=data_dir, log=log, playbook=playbook)
    _exit(run(config, version, other, as_json=as_json))


@log_app.command("export")
def log_export(
    kind: Annotated[str, typer.Option("--kind", help="decisions, signals or moments.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Parquet file to write.", show_default=False)],
    data_dir: DataDir = None,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Write decisions, signals or moments from the log to a Parquet file."""
    from cluster.commands.log import export as run

    _exit(run(_config(data_dir=data_dir, log=log), kind=kind, out=out, as_json=as_json))


@rejects_app.command("list")
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

    config = _config(data_dir=data_dir)
    _exit(run(config, reason=reason, partition=partition, since=since, limit=limit, as_json=as_json))


@rejects_app.command("show")
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

    _exit(run(_config(data_dir=data_dir), position, output=output, as_json=as_json))


@rejects_app.command("replay")
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

    config = _config(data_dir=data_dir)
    _exit(
        run(
            config,
            positions or [],
            reason=reason,
            is_all=everything,
            is_again=again,
            output=output,
            target=_target(config, target),
            as_json=as_json,
        )
    )


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run `hearth`; a mistake of the user ends with one sentence on stderr and no traceback."""
    try:
        app(args=arguments, prog_name="hearth")
    except CommandFailed as failed:
        say(f"hearth: {failed}")
        sys.exit(failed.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output went away (`hearth … | head`): nothing is left to be said.
        sys.stderr.close()
        sys.exit(0)
    except OSError as failed:
        say(f"hearth: {failed}")
        sys.exit(1)
    sys.exit(0)


def _config(**options: Any) -> HearthConfig:
    """Return the settings for whoever reads or writes the log."""
    from cluster.data_dir import with_its_log

    return with_its_log(load_config(**options))


def _target(config: HearthConfig, target: str | None) -> str:
    return find_target(target=target, data_dir=config.data_dir, default_port=config.port)


def _exit(code: int) -> None:
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
