"""What a new journey has to have before it is launched: a control group, or an approver's word that it goes without.

Asked wherever a playbook comes into force over another one. What is in force already goes on, whatever it lacks; so
does the first playbook of a data directory, of which nobody was left alone before.
"""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from cluster.access import now_text, permit_with_reason
from cluster.data_dir import write_durably
from cluster.errors import CommandFailed, UsageWrong
from household.plan import Plan
from serving.access.rights import WITHOUT_CONTROL

OVERRIDES_NAME: Final = "without_control.json"
"""In the data directory: of which journeys somebody said that they may go without a control group."""

REASON_LEAST: Final = 10
"""Letters of a reason that others will understand."""


def without_control(plan: Plan, before: Plan | None, allowed: Collection[str]) -> list[str]:
    """Return the journeys that may not be launched: new ones without a control group of which nobody said why.

    A journey is new that the playbook in force has not, and one that had a control group and has none any more.

    Args:
        plan: that is to come into force.
        before: the one in force; None where there is none.
        allowed: journeys that may go without.
    """
    if before is None:
        return []
    from insight.readiness import (
        control_share,
    )  # with all that figures take, which a start without a launch does not need

    had = {one.name: control_share(before, one) for one in before.journeys}
    return [
        one.name
        for one in plan.journeys
        if control_share(plan, one) == 0.0 and had.get(one.name, 1.0) > 0.0 and one.name not in allowed
    ]


def check_launch(plan: Plan, before: Plan | None, data_dir: Path, *, command: str, reason: str | None = None) -> None:
    """Refuse a playbook with a journey that may not be launched; with a reason, note that it may.

    Args:
        plan, before: as `without_control` takes them.
        command: that launches it, such as `hearth up`.
        reason: why all of its journeys may go without; None where nobody has said so.

    Raises:
        UsageWrong: it is refused; says which journey, and what to do. Or the reason is none.
        CommandFailed: who says so may not; or it cannot be written down.
    """
    lacking = without_control(plan, before, overrides(data_dir))
    if not lacking:
        return
    if reason is not None:
        allow(data_dir, lacking, reason, command=command)
        return
    names = ", ".join(f"'{name}'" for name in lacking)
    has, it = ("have", "them") if len(lacking) > 1 else ("has", "it")
    raise UsageWrong(
        f"journey {names} {has} no control group, so nobody will know what {it} brought: write 'control: 10%' under "
        f'{it}, or let an approver say why not: {command} ... --without-control "why, in a sentence"'
    )


def check_reason(reason: str) -> None:
    """Look whether a reason can be one.

    Raises:
        UsageWrong: it cannot.
    """
    if len(reason.strip()) < REASON_LEAST:
        raise UsageWrong("--without-control needs a reason that others will understand, in a sentence")


def allow(data_dir: Path, journeys: Sequence[str], reason: str, *, command: str) -> None:
    """Note that journeys may go without a control group: in the audit log, and for whoever asks later.

    Raises:
        UsageWrong: the reason is none.
        CommandFailed: the access rules do not let the user of this command; or it cannot be written down.
    """
    check_reason(reason)
    known = _read(data_dir / OVERRIDES_NAME)
    said = f"{', '.join(journeys)} may go without a control group: {reason.strip()}"
    who = permit_with_reason(command, data_dir, right=WITHOUT_CONTROL, said=said)
    known |= {name: {"reason": reason.strip(), "who": who, "time": now_text()} for name in journeys}
    write_durably(data_dir / OVERRIDES_NAME, json.dumps(known, ensure_ascii=False, indent=1) + "\n")


def overrides(data_dir: Path) -> dict[str, str]:
    """Return by journey why it may go without a control group, who said so and when.

    Raises:
        CommandFailed: what is written down cannot be read.
    """
    known = _read(data_dir / OVERRIDES_NAME)
    return {name: f"{one['reason']} ({one['who']}, {one['time']})" for name, one in known.items()}


def _read(file: Path) -> dict[str, dict[str, str]]:
    try:
        found: dict[str, dict[str, str]] = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as wrong:
        raise CommandFailed(f"{file} cannot be read: {wrong}") from wrong
    return found
