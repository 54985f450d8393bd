"""`hearth up`: run Hearth here, in the foreground, until it is told to stop."""

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, assert_never

from actors.log.location import InFiles, OnKafka
from cluster.access import check_access, note, remember_rules, with_its_rules
from cluster.config import HearthConfig
from cluster.data_dir import announce, await_former_run, hold, low_space_warning
from cluster.errors import CommandFailed, UsageWrong
from cluster.launching import check_launch, check_reason
from cluster.logs import start_logging
from cluster.output import print_json, say
from cluster.ports import check_port
from cluster.remembered_playbook import told_facts
from cluster.run_dir import check_temporary_directory, sweep
from cluster.supervisor import supervise
from cluster.watching import telemetry_settings

if TYPE_CHECKING:
    from cluster.playbook_in_force import PlaybookInForce
    from household.plan import Plan

logger = logging.getLogger(__name__)

ORPHANS_PATIENCE_S = 10.0
"""A worker notices within a second or two that its raylet is gone."""


def up(config: HearthConfig, *, without_control: str | None = None) -> int:
    """Check what can be checked before anything starts, then run; return the exit code.

    Args:
        without_control: why new journeys may go without a control group; None where nobody has said so.

    Raises:
        CommandFailed: the data directory, the port, the playbook or the file of connectors cannot be used.
    """
    logs = telemetry_settings(config).logs
    if logs.folder.is_dir():
        # A refusal is part of the story that is told there.
        start_logging(logs, "supervisor")
    if config.ray_address is None:
        check_temporary_directory()
    check_certificates(config)
    config = with_its_rules(config)
    check_access(config)
    asked = _asked(config, is_allowed=without_control is not None)
    if without_control is not None:
        check_reason(without_control)
    check_log(config)
    if config.capture is not None:
        from cluster.capturing import check_connectors

        check_connectors(config.capture)
    with hold(config) as path:
        start_logging(telemetry_settings(config).logs, "supervisor")
        remember_rules(path, config.access)
        note(path, "hearth up")
        if asked is not None and without_control is not None:
            check_launch(asked.plan, _before(config), path, command="hearth up", reason=without_control)
        warning = low_space_warning(path, least_bytes=config.disk_free_bytes_min)
        if warning is not None:
            say(f"warning: {warning}")
        sweep()
        # Processes of an earlier run that fell may hold the port a moment longer.
        patience_s = ORPHANS_PATIENCE_S if await_former_run(path) else 0.0
        # In a Ray cluster the edge of a fallen run may go on with the port until this run has taken it down.
        is_taken_over = config.ray_address is not None and config.port != 0
        port = config.port if is_taken_over else check_port(config.host, config.port, patience_s=patience_s)
        # From here on the data directory tells, so that every run has the same, whatever becomes of the files.
        settled = config.model_copy(
            update={"data_dir": path, "port": port, "playbook": None, "metrics_port": _metrics_port(config, patience_s)}
        )
        return supervise(settled, partial(hear, settled), check=partial(_settle_playbook, settled, asked))


def check_certificates(config: HearthConfig) -> None:
    """Look whether the public port can use its certificates.

    Raises:
        UsageWrong: it cannot; names the file.
    """
    if config.tls is None:
        return
    from serving.tls import TlsUnusable, check_files

    try:
        check_files(config.tls)
    except TlsUnusable as wrong:
        raise UsageWrong(str(wrong)) from wrong


def _metrics_port(config: HearthConfig, patience_s: float) -> int | None:
    """Return the port for Prometheus, which is free here; in a Ray cluster an earlier run may have it yet."""
    if config.metrics_port is None or (config.ray_address is not None and config.metrics_port != 0):
        return config.metrics_port
    return check_port(
        config.metrics_host,
        config.metrics_port,
        patience_s=patience_s,
        setting="HEARTH_METRICS_PORT",
        host_setting="HEARTH_METRICS_HOST",
    )


def _asked(config: HearthConfig, *, is_allowed: bool) -> "PlaybookInForce | None":
    """Compile the playbook that is asked for: a mistake must not leave a data directory behind.

    Args:
        is_allowed: its journeys may go without a control group, as is noted once the data directory is held.
    """
    if config.playbook is None:
        return None
    from cluster.playbook_in_force import compiled

    asked = compiled(config.playbook)
    if not is_allowed:
        check_launch(asked.plan, _before(config), config.data_dir, command="hearth up")
    return asked


def _before(config: HearthConfig) -> "Plan | None":
    """Return the playbook in force, None where there is none, or nobody can tell."""
    from cluster.playbook_in_force import remembered
    from cluster.remembered_playbook import PlaybookForgotten

    try:
        known = remembered(config.data_dir)
    except PlaybookForgotten:
        return None
    return known.plan if known is not None else None


def _settle_playbook(config: HearthConfig, asked: "PlaybookInForce | None") -> None:
    """Beside the first run, which imports as much meanwhile."""
    from cluster.playbook_in_force import settle

    _, sentences = settle(config, asked)
    for sentence in sentences:
        say(sentence)


def check_log(config: HearthConfig) -> None:
    """Look whether the address of a log on Kafka can be one.

    Raises:
        CommandFailed: it cannot, or the library for Kafka is missing.
    """
    match config.log_location:
        case InFiles():
            return
        case OnKafka(url):
            try:
                from actors.log.kafka_url import kafka_settings

                kafka_settings(url, partition_count=config.partition_count)
            except (ImportError, ValueError) as wrong:
                raise CommandFailed(str(wrong), 2) from wrong
        case _:
            assert_never(config.log_location)


def hear(config: HearthConfig, message: dict[str, Any]) -> None:
    """Say what a run has to say, to people or to programs; `config` is what the run was given."""
    if message.get("ready"):
        announce_ready(config, address=str(message["address"]))
    elif config.json_lines:
        print_json(message)
    elif "model" in message:
        say(f"model {message['model'] or 'none: the playbook priors score'} is in force")


def announce_ready(config: HearthConfig, *, address: str) -> None:
    """Say that Hearth answers at `address`, to people or programs and to other `hearth` commands.

    Once per run, when the health service says SERVING.
    """
    running = announce(config.data_dir, address=address)
    logger.info("Hearth is ready at %s", running.address)
    if config.json_lines:
        facts = {"ready": True, "address": running.address, "pid": running.pid, "data_dir": str(config.data_dir)}
        print_json(facts | {"playbook": told_facts(config.data_dir)})
    else:
        say(f"Hearth is ready at {address}, data in {config.data_dir}. Ctrl-C stops it; nothing is lost.")
