"""`hearth playbook diff`, `history`, `drafts` and `affects`: what changes, what has changed, and what hangs on what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from cluster.commands.playbook_change import shown_playbook
from cluster.config import HearthConfig
from cluster.errors import CommandFailed, UsageWrong
from cluster.output import print_json
from cluster.remembered_playbook import recall
from hearth.v1 import playbook_pb2
from household.plan import Plan, WhenChanged, plan_from_bytes
from household.plan.earlier import without_earlier
from playbooks.becoming import becoming
from playbooks.compiler import examine
from playbooks.difference import PlaybookDifference, Touched, affected, difference

FIELDS_SHOWN = 12


def diff(old: str, new: str, *, target: str, as_json: bool) -> int:
    """Tell what one version changes of another, each a folder or a version that is kept, and who is touched by it.

    Args:
        old: empty for the version in force.
        new: likewise.
        target: address of a running Hearth.
        as_json: for programs.
    """
    before, after = plan_of(old, target), without_earlier(plan_of(new, target))
    found = difference(without_earlier(before), after)
    counted = shown_playbook(target, instances=True).instances
    running = {one.journey: dict(one.by_state) for one in counted}
    become = list(becoming(before, after, running))
    if as_json:
        told = {"before": before.version, "after": after.version, **plain(found), "instances": running}
        print_json(told | {"becoming": [asdict(one) for one in become]})
        return 0
    print(f"from {before.version} to {after.version}")
    if not found.parts:
        print("  nothing changes")
    for line in lines_of(found):
        print(f"  {line}")
    for one in become:
        print(f"  journey {one.journey}: {one.count} instances {one.what}")
    return 0


def history(*, limit: int, target: str, as_json: bool) -> int:
    """Tell what is in force, and what was changed, newest first."""
    shown = shown_playbook(target, limit=limit)
    if as_json:
        print_json(_plain(shown))
        return 0
    print(f"playbook {shown.name}, version {shown.version}, from {shown.source or 'a version that was kept'}")
    print(f"{shown.partitions_live} of {shown.partitions} partitions decide by it")
    for one in shown.halted:
        what = "paused" if one.how == playbook_pb2.JOURNEY_HALT_PAUSE else "stopped"
        print(f"{one.journey} is {what} since {_time(one.since)}, by {one.by}{_because(one.why)}")
    for change in shown.history:
        what = f" {change.journey}" if change.journey else f" {change.before or 'nothing'} -> {change.version}"
        second = f", approved by {change.approved_by}" if change.approved_by else ""
        when = _time(change.time)
        print(f"{change.number:>4}  {when}  {change.did}{what}  by {change.by}{second}{_because(change.why)}")
    return 0


def drafts(*, target: str, as_json: bool) -> int:
    """Tell which drafts there are, and what is to come into force by itself."""
    shown = shown_playbook(target)
    if as_json:
        plain = _plain(shown)
        print_json({"drafts": plain["drafts"], "scheduled": plain["scheduled"]})
        return 0
    for one in shown.drafts:
        second = f" by {one.decided_by}{_because(one.decided_because)}" if one.decided_by else ""
        made = f"version {one.version} from {one.from_version}, by {one.submitted_by}{_because(one.why)}"
        print(f"{one.draft}  {one.state}{second}: {made}")
    for later in shown.scheduled:
        trouble = f"; it does not start: {later.trouble}" if later.trouble else ""
        print(f"{later.scheduled}  at {_time(later.at)}: version {later.version} from {later.from_version}{trouble}")
    if not shown.drafts and not shown.scheduled:
        print("no drafts, and nothing is scheduled")
    return 0


def affects(config: HearthConfig, names: list[str], *, as_json: bool) -> int:
    """Tell what hangs on parts of a playbook: of a folder, or of the one in force on a data directory; exit code 1 if
    one of the names is none.

    Raises:
        CommandFailed: there is no playbook, or it does not compile.
    """
    plan = without_earlier(_local_plan(config))
    touched, unknown = affected(plan, names)
    if as_json:
        print_json({"affected": [_touched(one) for one in touched], "unknown": list(unknown)})
        return 1 if unknown else 0
    for name in unknown:
        print(f"{name} is no part of this playbook")
    for one in touched:
        by = ", ".join(" ".join(part).strip() for part in one.by)
        print(f"{one.kind} {one.name}".rstrip() + ("" if one.is_direct else f"  by way of {by}") + _declared(plan, one))
    if not touched and not unknown:
        print("nothing hangs on it")
    return 1 if unknown else 0


def _declared(plan: Plan, one: Touched) -> str:
    """Return what a journey declares of who is inside when it changes."""
    index = plan.journey_by_name.get(one.name) if one.kind == "journey" else None
    flow = plan.journeys[index].flow if index is not None else None
    if flow is None:
        return ""
    rule = flow.changed
    return f"  (who is inside: {'goes on by the state of its name' if rule is WhenChanged.BY_NAME else rule})"


def lines_of(found: PlaybookDifference) -> Iterator[str]:
    """Yield what changes, for people."""
    for one in found.parts:
        yield f"{one.kind} {one.name}".rstrip() + f" is {one.what}"
        for path, before, after in one.fields[:FIELDS_SHOWN]:
            yield f"  {path or one.kind}: {_value(before)} -> {_value(after)}"
        if len(one.fields) > FIELDS_SHOWN:
            yield f"  and {len(one.fields) - FIELDS_SHOWN} more"
    for touched in found.touched:
        by = ", ".join(" ".join(part).strip() for part in touched.by)
        yield f"{touched.kind} {touched.name}".rstrip() + f" is touched by {by}"


def plain(found: PlaybookDifference) -> dict[str, Any]:
    """Return what changes, for programs."""
    return {
        "changes": [
            {
                "kind": one.kind,
                "name": one.name,
                "what": one.what,
                "fields": [{"path": path, "before": before, "after": after} for path, before, after in one.fields],
            }
            for one in found.parts
        ],
        "touched": [_touched(one) for one in found.touched],
        "states_gone": found.states_gone,
    }


def _touched(one: Touched) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "name": one.name,
        "by": [" ".join(part).strip() for part in one.by],
        "direct": one.is_direct,
    }


def plan_of(name: str, target: str) -> Plan:
    """Return the plan of a folder, of a version that a running Hearth keeps, or of the one in force there."""
    path = Path(name)
    if name and path.exists():
        return _compiled(path)
    return plan_from_bytes(shown_playbook(target, version=name, is_in_force=not name).plan.encode())


def _local_plan(config: HearthConfig) -> Plan:
    if config.playbook is not None:
        return _compiled(config.playbook)
    found = recall(config.data_dir)
    return plan_from_bytes(found[1]) if found is not None else _compiled(config.playbook_path)


def _compiled(path: Path) -> Plan:
    if not path.exists():
        raise UsageWrong(f"there is no playbook {path}; name its folder or its YAML file")
    examined = examine(path)
    if examined.plan is None:
        raise CommandFailed(f"{path} has mistakes: {examined.problems[0]}; `hearth playbook check {path}` shows all")
    return examined.plan


def _plain(shown: playbook_pb2.ShowPlaybookResponse) -> dict[str, Any]:
    plain: dict[str, Any] = json_format.MessageToDict(
        shown, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return plain


def _value(value: Any) -> str:
    return "nothing" if value in (None, "") else str(value)


def _because(why: str) -> str:
    return f": {why}" if why else ""


def _time(time: Any) -> str:
    return str(time.ToJsonString())
