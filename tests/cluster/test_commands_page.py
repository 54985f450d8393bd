"""Laws: docs/commands.md names every command and every setting; docs/ingest.md shows a mapping that holds."""

import re
from pathlib import Path

import typer
import yaml

from cluster.cli import app
from cluster.command_line.commands import COMMANDS
from cluster.config import HearthConfig
from intake.reading.mapping import Mapping


def test_every_command_is_on_the_page(repository: Path):
    page = (repository / "docs" / "commands.md").read_text()
    top = typer.main.get_command(app)
    names = []
    for name, command in top.commands.items():  # type: ignore[attr-defined]
        names += [f"{name} {inner}" for inner in getattr(command, "commands", {})] or [name]
    assert sorted(names) == sorted(command.name for command in COMMANDS)
    for name in names:
        assert f"| `hearth {name}` |" in page, name


def test_every_setting_is_on_the_page_with_default_and_meaning(repository: Path):
    page = (repository / "docs" / "commands.md").read_text()
    for name, field in HearthConfig.model_fields.items():
        default = "" if field.default is None else getattr(field.default, "value", field.default)
        meaning = " ".join((field.description or "").split())
        assert f"| `{name}` | {default} | {meaning} |" in page, name


def test_the_mapping_on_the_page_holds(repository: Path):
    page = (repository / "docs" / "ingest.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert example is not None
    mapping = Mapping.model_validate(yaml.safe_load(example.group(1)))
    assert list(mapping.files[0].columns_used()) == ["duration", "caller", "timestamp", "callee"]
