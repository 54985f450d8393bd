"""Following a recipe of docs/recipes/: every block of it that says into which file it goes."""

import re
import shutil
from pathlib import Path

STEP = re.compile(
    r"<!-- into (?P<file>\S+), "
    r"(?:below: (?P<line>.+?)|below the line that begins with: (?P<begin>.+?)|at its end|a new file) -->\n"
    r"```\w*\n(?P<block>.*?)```\n",
    re.DOTALL,
)


def copied(repository: Path, folder: Path, *names: str) -> Path:
    """Copy files and folders of the repository, without what was compiled; return the copy."""
    for name in names:
        source, target = repository / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
    return folder


def follow(recipe: Path, folder: Path) -> list[str]:
    """Do what a recipe says in a copy of the repository; return the files that it changed, in its order."""
    changed = []
    for step in STEP.finditer(recipe.read_text()):
        path = folder / step["file"]
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        at = len(lines)
        if step["line"]:
            (at,) = [place + 1 for place, line in enumerate(lines) if line.strip() == step["line"]]
        elif step["begin"]:
            (at,) = [place + 1 for place, line in enumerate(lines) if line.startswith(step["begin"])]
        path.write_text("".join([*lines[:at], step["block"], *lines[at:]]))
        changed.append(step["file"])
    return changed
