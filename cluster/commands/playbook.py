"""`hearth playbook check`: does a playbook compile, and if not, where is what wrong."""

from dataclasses import asdict
from pathlib import Path

from cluster.errors import UsageWrong
from cluster.output import print_json
from household.plan import Plan
from playbooks.compiler import compile_playbook
from playbooks.diagnostics import PlaybookInvalid, Problem


def check(path: Path, *, as_json: bool) -> int:
    """Print every problem, or what the playbook holds; exit code 1 when there is a problem."""
    if not path.exists():
        raise UsageWrong(f"there is no playbook {path}; name its folder or its YAML file")
    try:
        plan = compile_playbook(path)
    except PlaybookInvalid as invalid:
        _report(invalid.problems, as_json=as_json)
        return 1
    counts = _counts(plan)
    if as_json:
        print_json({"ok": True, "name": plan.name, "version": plan.version, **counts, "problems": []})
    else:
        print(f"{path}: playbook {plan.name}, version {plan.version}, has no mistakes")
        print("  " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()))
    return 0


def _report(problems: tuple[Problem, ...], *, as_json: bool) -> None:
    if as_json:
        entries = [{**asdict(problem.place), "message": problem.wrong, "fix": problem.right} for problem in problems]
        print_json({"ok": False, "problems": entries})
        return
    for problem in problems:
        fix = f" - {problem.right}" if problem.right else ""
        print(f"{problem.place}: {problem.wrong}{fix}")
    print(f"{len(problems)} mistake{'s' if len(problems) != 1 else ''}")


def _counts(plan: Plan) -> dict[str, int]:
    return {
        "event_types": len(plan.event_types),
        "features": len(plan.features),
        "segments": len(plan.segments),
        "channels": len(plan.channels),
        "offers": len(plan.offers),
        "journeys": len(plan.journeys),
    }
