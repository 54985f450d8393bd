"""The product as the laws see it: its packages, modules and their syntax trees, in this clone or in a small tree."""

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

GENERATED = "protos/hearth"


@dataclass(frozen=True)
class Module:
    """One file of the product."""

    path: Path
    name: str
    """As the laws tell it: the path from the repository's root."""

    @cached_property
    def text(self) -> str:
        """Return what stands in it."""
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        """Return its syntax tree."""
        return ast.parse(self.text)


def packages(root: Path) -> tuple[str, ...]:
    """Return the packages that are written by hand, as pyproject.toml ships them."""
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    shipped = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return tuple(name for name in shipped if name != GENERATED)


def modules(root: Path) -> Iterator[Module]:
    """Yield every module of the product, in order of their names."""
    for package in packages(root):
        for path in sorted((root / package).rglob("*.py")):
            yield Module(path, path.relative_to(root).as_posix())
