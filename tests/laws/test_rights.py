"""Law: every RPC of the public port and every command stands in the one table of rights, and nothing else does."""

import re
from pathlib import Path

from cluster.command_line.commands import COMMANDS
from serving import edge
from serving.access.rights import RIGHTS


def rpcs(repository: Path) -> set[str]:
    """Return the full name of every RPC in the public protos, and those of health."""
    found = {f"/{edge.HEALTH_SERVICE}/{name}" for name in ("Check", "Watch")}
    for path in (repository / "protos" / "hearth" / "v1").glob("*.proto"):
        text = path.read_text()
        for service, body in re.findall(r"^service (\w+) \{(.*?)^\}", text, re.MULTILINE | re.DOTALL):
            found |= {f"/hearth.v1.{service}/{name}" for name in re.findall(r"^  rpc (\w+)\(", body, re.MULTILINE)}
    return found


def test_every_rpc_and_every_command_stands_in_the_table_and_nothing_else(repository: Path):
    calls, commands = rpcs(repository), {f"hearth {command.name}" for command in COMMANDS}

    assert len(calls) > 10
    assert RIGHTS.keys() == calls | commands


def test_everything_is_for_somebody():
    assert all(right.roles for right in RIGHTS.values())


def test_the_page_has_every_role_and_right(repository: Path):
    page = (repository / "docs" / "security.md").read_text()
    for name, right in RIGHTS.items():
        told = name.rpartition("/")[2] if name.startswith("/") else name
        row = next((line for line in page.splitlines() if line.startswith("|") and f"`{told}`" in line), "")
        assert row, told
        assert {role for role in map(str, right.roles) if f"`{role}`" in row} == set(right.roles) or "everybody" in row
