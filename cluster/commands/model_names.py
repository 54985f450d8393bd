"""Which model of the registry a command means, and which term it gives: `--model NAME`, or the playbook's."""

from pathlib import Path

from cluster.config import HearthConfig
from cluster.errors import CommandFailed, UsageWrong
from cluster.output import say
from cluster.playbook_in_force import playbook_in_force
from household.plan import Plan, ValueTerm
from serving.models.bundle import BundleRefused, checked_name, read_manifest
from serving.models.in_force import MODEL_NAME


def only_acceptance(folder: Path, what: str, instead: str) -> None:
    """Refuse a version that does not give acceptance what only one that does can be.

    Raises:
        UsageWrong: it gives another term; says what to do instead.
    """
    if (term := gives(folder)) is not ValueTerm.ACCEPTANCE:
        raise UsageWrong(f"model {folder.name} of {folder.parent.name} gives {term}, and is not {what}: {instead}")


def model_named(plan: Plan, name: str) -> str:
    """Return the registry's name of the model that is meant: the one named, or the playbook's of acceptance."""
    return name or plan.models.acceptance


def model_asked(config: HearthConfig, name: str) -> str:
    """Return the same where the playbook may be broken, which nobody who takes a version back can wait for."""
    try:
        return name or model_named(playbook_in_force(config).plan, name)
    except CommandFailed as broken:
        say(f"warning: which model gives acceptance cannot be told, so it is taken to be {MODEL_NAME}: {broken}")
        return MODEL_NAME


def in_one_line(value: object) -> str:
    """Return what a manifest says, which may be anybody's text, so that it moves no cursor."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in str(value))


def term_named(plan: Plan, name: str) -> ValueTerm | None:
    """Return the term for which the playbook names a model; None for a model that it does not name."""
    return next((term for term, known in plan.models.named if known == name), None)


def gives(folder: Path) -> ValueTerm:
    """Return the term that a version gives.

    Raises:
        CommandFailed: its manifest is damaged.
    """
    try:
        return ValueTerm(read_manifest(folder).term)
    except BundleRefused as refused:
        raise CommandFailed(f"model {folder.name} cannot be shown: {refused}") from refused


def refuse_other_term(plan: Plan, name: str, term: ValueTerm) -> None:
    """Refuse a version for a model that the playbook names for another term than the version gives.

    Raises:
        UsageWrong: it does.
    """
    try:
        checked_name(name)
    except ValueError as wrong:
        raise UsageWrong(f"--model {wrong}") from wrong
    for wanted, known in plan.models.named:
        if known == name and wanted is not term:
            raise UsageWrong(
                f"--model {name} is to give {wanted}, as the playbook's section 'models' has it, and this would give "
                f"{term}; --term {wanted}, or another name"
            )
