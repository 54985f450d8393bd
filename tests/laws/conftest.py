"""A small tree in which a law can be broken."""

from collections.abc import Callable
from pathlib import Path

import pytest

Tree = Callable[[dict[str, str]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Return what writes files by their path under a root of their own, whose only package is `room`."""

    def write(files: dict[str, str]) -> Path:
        settings = '[tool.hatch.build.targets.wheel]\npackages = ["room"]\n'
        for name, text in {"pyproject.toml": settings, "room/__init__.py": '"""A room."""\n', **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write
