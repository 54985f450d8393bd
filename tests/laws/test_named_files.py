"""Law: every file, folder and module that documents, docstrings and comments name is there."""

import ast
import io
import os
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.laws.recipes import STEP

NAMED = re.compile(
    r"(?<![\w/.:<>@$~{}*-])"
    r"(?P<path>(?:[\w.-]+/)+[\w.*-]*|[\w-]+\.(?:py|md|proto|toml|yaml))"
    r"(?![\w/<*-])"
)
RUN = re.compile(r"python -m ([a-z]\w*(?:\.\w+)+)")
URL = re.compile(r"\w[\w+]*://\S+")

OF_A_RUN = {
    "backup.json", "layout.json", "playbook.json", "logs", "log", "models", "rejects", "repaired", "snapshots",
    "signals.jsonl",
}  # fmt: skip
"""What lies in a data directory or is made by a user, and not in the repository."""


def tracked(root: Path) -> list[str]:
    told = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=root, capture_output=True, text=True, check=True
    )
    return told.stdout.splitlines()


def docstrings_and_comments(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of what a module says to people."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def said(root: Path, files: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield file, place and text of all that is said to people."""
    for name in files:
        if name.endswith(".md"):
            yield name, name, (root / name).read_text()
        elif name.endswith(".py") and not name.startswith("protos/"):
            for line, text in docstrings_and_comments((root / name).read_text()):
                yield name, f"{name}:{line}", text


def missing(root: Path, files: list[str]) -> list[str]:
    """Return what is named and not there, each with the place that names it."""
    there = set(files) | {parent.as_posix() for name in files for parent in Path(name).parents}
    names = {name.rpartition("/")[2] for name in files}
    folders = {name.partition("/")[0] for name in files if "/" in name}
    wrong = []
    for file, place, text in said(root, files):
        plain = URL.sub("", STEP.sub("", text))
        for match in NAMED.finditer(plain):
            path = match["path"].rstrip("./")
            beside = os.path.normpath(f"{Path(file).parent}/{path}")
            if path in there or beside in there or ("/" not in path and path in names):
                continue
            is_ours = path.partition("/")[0] in folders or path.endswith((".py", ".md"))
            if path and is_ours and "*" not in path and path.partition("/")[0] not in OF_A_RUN:
                wrong.append(f"{place}: {path}")
        for module in RUN.findall(plain):
            path = module.replace(".", "/")
            if path.partition("/")[0] in folders and not {f"{path}.py", f"{path}/__main__.py"} & there:
                wrong.append(f"{place}: python -m {module}")
    return wrong


def test_everything_that_is_named_is_there(repository: Path):
    assert missing(repository, tracked(repository)) == []


@pytest.mark.parametrize(
    "text",
    ["see `room/gone.py`", "see [it](gone.md)", "as gone.py has it", "`python -m room.gone`", "in `room/gone/`"],
)
def test_what_is_not_there_turns_red(tmp_path: Path, text: str):
    for name, content in {"room/here.py": f'"""A room: {text}."""\n# {text}\n', "docs/page.md": text}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)

    told = missing(tmp_path, ["room/here.py", "docs/page.md"])

    assert [place.partition(" ")[0] for place in told] == ["room/here.py:1:", "room/here.py:2:", "docs/page.md:"]


def test_what_is_there_is_green(tmp_path: Path):
    text = "see `room/here.py`, [it](../room/here.py), here.py, `python -m room.here`, https://x.org/gone.md, room/*.py"
    for name, content in {"room/here.py": '"""A room."""\n', "docs/page.md": text}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)

    assert missing(tmp_path, ["room/here.py", "docs/page.md"]) == []
