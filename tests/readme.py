"""The commands that the README types under "Use it"."""

import shlex
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent


def readme_commands() -> list[list[str]]:
    """Return the arguments of each `.venv/bin/hearth` there, in order, as a shell would pass them."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    use_it = text.partition("\n## Use it\n")[2].partition("\n## ")[0]
    typed = [shlex.split(line, comments=True) for line in use_it.splitlines() if line.startswith("    ")]
    assert typed, "no commands"
    assert {command[0] for command in typed} == {".venv/bin/hearth"}
    return [command[1:] for command in typed]
