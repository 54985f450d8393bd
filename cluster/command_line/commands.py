"""The one table of commands: what is listed here is a command of `hearth`, and nothing else is."""

from collections.abc import Callable
from typing import NamedTuple

import typer

from cluster.command_line import (
    asking,
    belonging,
    evaluating,
    keeping,
    learning,
    measuring,
    placing,
    playbooks,
    rehearsing,
    running,
    watching,
)
from cluster.command_line.options import calling, naming, permitted
from serving.access.rights import RIGHTS


class Command(NamedTuple):
    """One command; its first line of docstring is what `hearth --help` tells of it."""

    name: str
    """As it is typed: one word, or two where it is one of a group."""
    run: Callable[..., None]
    """Its parameters are its options."""
    calls: bool = False
    """It calls a running Hearth, and so has the options that say who calls; what it calls for is checked there."""
    reads: bool = True
    """It reads or writes the data directory; False where it only calls."""


GROUPS = {
    "household": "Look at households, and say who belongs together.",
    "playbook": "Work on playbooks.",
    "models": "Train, list and evaluate models.",
    "log": "Read the log.",
    "export": "Write what is known of households.",
    "rejects": "Look at what could not be accepted, and send it again.",
    "clock": "What time it is.",
    "audit": "Who looked at whom, who changed what, who was refused.",
}
"""What `hearth --help` tells of each group, in its order."""

COMMANDS = (
    Command("up", running.up),
    Command("demo", running.demo),
    Command("status", running.status, calls=True, reads=False),
    Command("top", running.top),
    Command("ingest", asking.ingest, calls=True, reads=False),
    Command("capture", asking.capture, calls=True, reads=False),
    Command("decide", asking.decide, calls=True, reads=False),
    Command("explain", asking.explain, calls=True, reads=False),
    Command("household show", belonging.household_show, calls=True, reads=False),
    Command("household merge", belonging.household_merge, calls=True, reads=False),
    Command("household unmerge", belonging.household_unmerge, calls=True, reads=False),
    Command("household quarantine", belonging.household_quarantine, calls=True, reads=False),
    Command("features", learning.features),
    Command("doctor", running.doctor),
    Command("support-bundle", running.support_bundle),
    Command("repair", keeping.repair),
    Command("snapshot", running.snapshot, calls=True, reads=False),
    Command("scale", placing.scale, calls=True, reads=False),
    Command("rebalance", placing.rebalance, calls=True, reads=False),
    Command("drain", placing.drain, calls=True, reads=False),
    Command("restart", placing.restart, calls=True, reads=False),
    Command("backup", keeping.backup),
    Command("restore", keeping.restore),
    Command("drill", keeping.drill),
    Command("verify", keeping.verify, calls=True),
    Command("playbook check", learning.playbook_check, calls=True),
    Command("playbook test", rehearsing.playbook_test),
    Command("playbook simulate", rehearsing.playbook_simulate),
    Command("playbook push", playbooks.push, calls=True, reads=False),
    Command("playbook rollback", playbooks.rollback, calls=True, reads=False),
    Command("playbook diff", playbooks.diff, calls=True, reads=False),
    Command("playbook history", playbooks.history, calls=True, reads=False),
    Command("playbook pull", playbooks.pull, calls=True, reads=False),
    Command("playbook affects", playbooks.affects),
    Command("playbook pause", playbooks.pause, calls=True, reads=False),
    Command("playbook stop", playbooks.stop, calls=True, reads=False),
    Command("playbook resume", playbooks.resume, calls=True, reads=False),
    Command("playbook submit", playbooks.submit, calls=True, reads=False),
    Command("playbook approve", playbooks.approve, calls=True, reads=False),
    Command("playbook reject", playbooks.reject, calls=True, reads=False),
    Command("playbook drafts", playbooks.drafts, calls=True, reads=False),
    Command("models train", learning.models_train),
    Command("models dataset", learning.models_dataset),
    Command("models leaks", learning.models_leaks),
    Command("models list", learning.models_list),
    Command("models promote", learning.models_promote),
    Command("models register", learning.models_register),
    Command("models shadow", learning.models_shadow),
    Command("models canary", learning.models_canary),
    Command("models rollback", learning.models_rollback),
    Command("models retire", learning.models_retire),
    Command("models follow", learning.models_follow),
    Command("models show", learning.models_show),
    Command("models compare", learning.models_compare),
    Command("models watch", watching.models_watch),
    Command("models report", watching.models_report),
    Command("models evaluate", evaluating.models_evaluate),
    Command("models uplift", evaluating.models_uplift),
    Command("kpis", measuring.kpis),
    Command("experiments", measuring.experiments),
    Command("readiness", measuring.readiness),
    Command("report", measuring.report),
    Command("log export", keeping.log_export),
    Command("export assignments", keeping.export_assignments),
    Command("export kpis", measuring.export_kpis),
    Command("rejects list", asking.rejects_list),
    Command("rejects show", asking.rejects_show),
    Command("rejects replay", asking.rejects_replay, calls=True),
    Command("clock confirm", running.clock_confirm, calls=True, reads=False),
    Command("audit list", keeping.audit_list),
    Command("audit verify", keeping.audit_verify),
)
"""In the order in which `--help` has them."""


def registered(commands: tuple[Command, ...] = COMMANDS) -> typer.Typer:
    """Return the command line that has these commands."""
    top = typer.Typer(
        name="hearth",
        help="Decides, for every household and in the moment itself, the next best experience.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    groups = {name: typer.Typer(help=told, no_args_is_help=True) for name, told in GROUPS.items()}
    for name, group in groups.items():
        top.add_typer(group, name=name)
    for command in commands:
        group_name, _, name = command.name.rpartition(" ")
        run = permitted(command.name, command.run) if command.reads else command.run
        if command.calls:
            run = calling(run)
        elif not RIGHTS[f"hearth {command.name}"].by_system:
            run = naming(run)
        (groups[group_name] if group_name else top).command(name)(run)
    return top
