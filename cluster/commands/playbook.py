"""`hearth playbook check`: does a playbook compile, if not, where is what wrong, and what is hardly meant."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from cluster.errors import UsageWrong
from cluster.output import print_json
from household.plan import Plan
from playbooks.compiler import Examined, examine
from written.problems import Problem


def check(path: Path, *, is_strict: bool, as_json: bool, after: Plan | None = None) -> int:
    """Print every problem, or what the playbook holds and what makes one wonder; exit code 1 when there is a problem.

    With `is_strict` a warning counts as one. `after`: the plan that it is to follow.
    """
    if not path.exists():
        raise UsageWrong(f"there is no playbook {path}; name its folder or its YAML file")
    examined = examine(path, before=after)
    is_ok = examined.plan is not None and not (is_strict and examined.warnings)
    if as_json:
        facts: dict[str, object] = {"ok": is_ok}
        if examined.plan is not None:
            facts |= {"name": examined.plan.name, "version": examined.plan.version, **_counts(examined.plan)}
        kinds = {"problems": examined.problems, "warnings": examined.warnings, "information": examined.information}
        print_json(facts | {kind: [_plain(one) for one in found] for kind, found in kinds.items()})
    elif examined.plan is None:
        _print(examined.problems)
        print(_counted(len(examined.problems), "mistake"))
    else:
        _print_sound(path, examined, examined.plan)
    return 0 if is_ok else 1


def _print_sound(path: Path, examined: Examined, plan: Plan) -> None:
    _print(examined.warnings, kind="warning: ")
    _print(examined.information, kind="information: ")
    warned = f" and {_counted(len(examined.warnings), 'warning')}" if examined.warnings else ""
    print(f"{path}: playbook {plan.name}, version {plan.version}, has no mistakes{warned}")
    print("  " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in _counts(plan).items()))


def _print(found: Iterable[Problem], *, kind: str = "") -> None:
    for one in found:
        fix = f" - {one.right}" if one.right else ""
        print(f"{one.place}: {kind}{one.wrong}{fix}")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _plain(one: Problem) -> dict[str, object]:
    return {**asdict(one.place), "message": one.wrong, "fix": one.right}


def _counts(plan: Plan) -> dict[str, int]:
    return {
        "event_types": len(plan.event_types),
        "features": len(plan.features),
        "segments": len(plan.segments),
        "channels": len(plan.channels),
        "offers": len(plan.offers),
        "journeys": len(plan.journeys),
    }
