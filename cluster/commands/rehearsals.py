"""`hearth playbook test`: do a playbook's journeys do what its rehearsals say."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cluster.errors import UsageWrong
from cluster.output import print_json
from household.plan import Plan
from playbooks.compiler import examine
from playbooks.rehearsing.playing import Played, play
from playbooks.rehearsing.reading import GROUPS_FILE, read_rehearsals
from playbooks.rehearsing.script import Rehearsal
from playbooks.source import playbook_of, test_files
from written.problems import Problem, Problems

WRONG = 2
"""Exit code where a file, or the playbook, cannot be read: nothing was played."""


def rehearse(paths: Sequence[Path], *, playbook: Path | None, shipped: Path, only: str, as_json: bool) -> int:
    """Play rehearsals and print what came otherwise than expected; exit code 1 if anything did.

    Args:
        paths: files of rehearsals, folders of them, or playbooks with a folder `tests`; those of the playbook if none.
        playbook: that they are about; None for the one whose folder `tests` they lie in.
        shipped: the playbook that comes with Hearth, for who names nothing.
        only: a part of the names of those to be played; empty for all.
        as_json: one JSON document instead of lines.
    """
    started_s = time.monotonic()
    chosen = list(paths) or [playbook or shipped]
    for path in chosen:
        if not path.exists():
            raise UsageWrong(f"there is no {path}; name a file of tests, a folder of such files, or a playbook")
    problems, tests, plans = Problems(), list[tuple[Rehearsal, Plan]](), dict[Path, Plan]()
    for path in chosen:
        files = [one for one in test_files(path) if one.name != GROUPS_FILE]
        if not files:
            raise UsageWrong(
                f"there are no tests in {path}; write them into {path / 'tests'}, in files ending in .yaml"
            )
        about = playbook or (path if path.is_dir() and (path / "tests").is_dir() else playbook_of(path))
        if about not in plans:
            examined = examine(about)
            if examined.plan is None:
                return _not_read(examined.problems, f"the playbook {about} has mistakes", as_json=as_json)
            plans[about] = examined.plan
        for file in files:
            tests += [(one, plans[about]) for one in read_rehearsals(file, plans[about], problems, name=_name(file))]
    if problems:
        return _not_read(problems.in_reading_order(), "the tests have mistakes", as_json=as_json)
    wanted = [(one, plan) for one, plan in tests if only in one.name]
    if not wanted:
        raise UsageWrong(f"none of {len(tests)} tests has {only!r} in its name" if tests else "the files hold no tests")
    played = [play(one, plan) for one, plan in wanted]
    _tell(played, time.monotonic() - started_s, as_json=as_json)
    return 1 if any(one.problem is not None for one in played) else 0


def _name(file: Path) -> str:
    """Return a file's path as people at this command line would write it."""
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


def _not_read(problems: Sequence[Problem], what: str, *, as_json: bool) -> int:
    if as_json:
        found = [{**asdict(one.place), "message": one.wrong, "fix": one.right} for one in problems]
        print_json({"ok": False, "problems": found, "tests": []})
    else:
        for one in problems:
            print(f"{one.place}: {one.wrong}" + (f" - {one.right}" if one.right else ""))
        print(f"{what}: nothing was tested")
    return WRONG


def _tell(played: Sequence[Played], elapsed_s: float, *, as_json: bool) -> None:
    failed = [one for one in played if one.problem is not None]
    if as_json:
        tests = [_plain(one) for one in played]
        print_json({"ok": not failed, "problems": [], "tests": tests, "elapsed_s": round(elapsed_s, 3)})
        return
    for file in dict.fromkeys(one.file for one in played):
        own = [one for one in played if one.file == file]
        wrong = [one for one in own if one.problem is not None]
        print(f"{file}: {len(own) - len(wrong)} of {len(own)} as expected")
        for one in wrong:
            assert one.problem is not None
            print(f"  {one.problem.place}: {one.problem.wrong}")
            if one.problem.right:
                print(f"      {one.problem.right}")
    print(f"{len(played)} tests, {len(failed)} failed, in {elapsed_s:.1f} s")


def _plain(one: Played) -> dict[str, object]:
    facts: dict[str, object] = {"file": one.file, "name": one.name, "ok": one.problem is None}
    if one.problem is not None:
        facts |= {
            "line": one.problem.place.line,
            "column": one.problem.place.column,
            "message": one.problem.wrong,
            "came": one.problem.right,
        }
    if one.variant is not None:
        facts["variant"] = str(one.variant)
    return facts
