"""The container file, read and carried out in a scratch root where there is no builder.

Only what it uses is understood: FROM, ARG, WORKDIR, COPY, RUN, ENV and what says how it is run; all else is refused.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CONTAINERFILE = REPOSITORY / "deploy" / "Containerfile"
WRITABLE = ("/data", "/tmp", "/var/cache/hearth")

TOLD = ("FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK")
COMMANDS = ("ENTRYPOINT", "CMD")


@dataclass
class Stage:
    """What stands between one FROM and the next."""

    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [rest for name, rest in self.steps if name == instruction]

    def only(self, instruction: str) -> str:
        (one,) = self.all(instruction)
        return one

    @property
    def environment(self) -> dict[str, str]:
        pairs = [pair for rest in self.all("ENV") for pair in shlex.split(rest)]
        return dict(pair.split("=", 1) for pair in pairs)


def stages() -> list[Stage]:
    """Return the stages in order."""
    found: list[Stage] = []
    text = re.sub(r"\\\n\s*", "", CONTAINERFILE.read_text())
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(" ")
        assert name in (*TOLD, *COMMANDS), f"{name} is not understood here"
        if name == "FROM":
            found.append(Stage(rest.partition(" AS ")[2]))
        elif found:
            found[-1].steps.append((name, rest))
    return found


def carry_out(root: Path) -> Stage:
    """Do what the file says, below `root` instead of `/`, with this Python; return the last stage."""
    build, final = stages()
    for stage in (build, final):
        folder = root / build.only("WORKDIR").lstrip("/")
        for name, rest in stage.steps:
            match name:
                case "WORKDIR":
                    (root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
                case "COPY" if not rest.startswith("--from="):
                    *sources, target = rest.split()
                    _copy(sources, folder / target)
                case "RUN":
                    _run(rest, root, folder if stage is build else root)
                case _:
                    continue
    return final


def below(root: Path, text: str) -> str:
    """Return a text whose paths of the image are below a folder."""
    return re.sub(r"(?<![\w/.])/(src|opt|data|tmp|var/cache/hearth|usr/local/bin)\b", rf"{root}/\1", text)


def json_form(rest: str) -> list[str]:
    words = json.loads(rest)
    assert isinstance(words, list)
    return words


def _copy(sources: list[str], target: Path) -> None:
    for source in sources:
        path = REPOSITORY / source
        if path.is_dir():
            shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place = target / path.name if str(target).endswith(("/", "deploy")) or target.is_dir() else target
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def _base_python(root: Path) -> Path:
    """Return a folder with a `python` as the base image has one: this machine's, which every user may run."""
    folder = root / "base"
    if not folder.exists():
        folder.mkdir()
        shared = Path("/usr/bin/python3")
        asked = subprocess.run([shared, "-c", "import ensurepip, venv, tomllib"], capture_output=True, check=False)
        is_whole = asked.returncode == 0
        (folder / "python").symlink_to(shared if is_whole else Path(sys.executable).resolve())
    return folder


def _run(command: str, root: Path, folder: Path) -> None:
    for name in ("usr/local/bin", "var/cache", "tmp", "opt"):
        (root / name).mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "PYTHON"))}
    done = subprocess.run(
        ["sh", "-c", below(root, command)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env=environment | {"PATH": f"{_base_python(root)}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, f"RUN {command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
