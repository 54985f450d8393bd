"""Law: a match over an enum names every member, so that a new one shows where it has to be thought of."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

COLOURS = """
from enum import Enum

class Colour(Enum):
    RED = 1
    BLUE = 2

def told(colour: Colour) -> int:
    match colour:
        case Colour.RED:
            return 1
"""


def settings(repository: Path) -> list[str]:
    mypy = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["mypy"]
    return list(mypy["enable_error_code"])


@pytest.mark.parametrize(("rest", "is_red"), [("", True), ("        case Colour.BLUE:\n            return 2\n", False)])
def test_a_member_without_its_case_turns_red(repository: Path, tmp_path: Path, rest: str, is_red: bool):
    (tmp_path / "colours.py").write_text(COLOURS + rest + "    return 0\n")
    codes = [f"--enable-error-code={code}" for code in settings(repository)]

    command = [sys.executable, "-m", "mypy", "--config-file=", "--cache-dir=cache", *codes, "colours.py"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ("[exhaustive-match]" in told.stdout) is is_red, told.stdout
