"""Print the part of requirements.lock that a running Hearth needs, with hashes: not what tests and lint need.

    python deploy/runtime_requirements.py > runtime.lock

Follows the lock's own notes of what each package is there for, from the dependencies and the extras `kafka` and
`postgresql` in pyproject.toml; so there is no second lock that could say something else.
Needs the standard library only.
"""

import re
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
EXTRAS = ("kafka", "postgresql")


def runtime_requirements(lock: str, project: dict) -> str:
    """Return the entries of a lock that the project's dependencies lead to, as they stand there."""
    entries = {_name(entry): entry for entry in re.split(r"\n(?=[A-Za-z0-9])", lock) if not entry.startswith("#")}
    wanted = [*project["dependencies"], *(one for extra in EXTRAS for one in project["optional-dependencies"][extra])]
    needed = {_name(one) for one in wanted}
    while True:
        more = {name for name, entry in entries.items() if name not in needed and needed & _needed_by(entry)}
        if not more:
            break
        needed |= more
    missing = {_name(one) for one in wanted} - entries.keys()
    if missing:
        raise SystemExit(f"requirements.lock lacks {', '.join(sorted(missing))}: run `make lock`")
    return "".join(entry.rstrip("\n") + "\n" for name, entry in entries.items() if name in needed)


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None, requirement
    return re.sub(r"[-_.]+", "-", match.group()).lower()


def _needed_by(entry: str) -> set[str]:
    """Return who needs an entry, as the comment below it says."""
    told = entry.partition("# via")[2]
    return {_name(word) for word in re.findall(r"^[ #]*([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*$", told, re.MULTILINE)}


if __name__ == "__main__":
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    print(runtime_requirements((REPOSITORY / "requirements.lock").read_text(), project), end="")
