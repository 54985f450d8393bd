"""Laws: where access rules hold, a command on the data directory is for whom they let, and leaves its trace; where none
do, everything goes as before; the rules of the last start hold until others are given.
"""

import contextvars
import inspect
import json
import shutil
import time
from enum import StrEnum
from pathlib import Path
from typing import get_args

import pytest
import yaml
from typer.models import OptionInfo
from typer.testing import CliRunner

from cluster import access as access_module
from cluster.access import check_access, door_factory, permit, remember_rules, with_its_rules
from cluster.cli import app
from cluster.command_line.commands import COMMANDS
from cluster.config import load_config
from cluster.data_dir import hold
from cluster.errors import CommandFailed, UsageWrong
from cluster.installation import installation_of
from serving.access.audit import entries_of
from serving.access.door import Door
from serving.access.rights import RIGHTS, Role
from tests.parts.certificates import written
from tests.serving.access_world import Issuer, usual_rules

ISSUER = Issuer()


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(access_module, "user_name", lambda: "anna")
    with hold(load_config(data_dir=tmp_path / "data")) as path:
        return path


def with_rules(data_dir: Path, **more: object) -> Path:
    written(data_dir.parent / "issuer.pem", ISSUER.public_pem)
    rules = usual_rules()
    rules["callers"] = [{"user": "anna", "roles": ["auditor"]}]
    path = written(data_dir.parent / "access.yaml", yaml.safe_dump(rules | more).encode())
    remember_rules(data_dir, path)
    return path


def entries(data_dir: Path) -> list[dict]:
    return list(entries_of(data_dir / "audit"))


def test_without_rules_everything_goes_and_changes_are_written_down(data_dir: Path):
    for what in RIGHTS:
        if what.startswith("hearth "):
            permit(what, data_dir)
    assert {entry["who"] for entry in entries(data_dir)} == {"user:anna"}
    assert {entry["did"] for entry in entries(data_dir)} > {"hearth models promote", "hearth backup"}
    assert "hearth models list" not in {entry["did"] for entry in entries(data_dir)}


def test_with_rules_a_command_is_for_whom_they_let_by_user_or_token(data_dir: Path, monkeypatch: pytest.MonkeyPatch):
    with_rules(data_dir)
    permit("hearth audit verify", data_dir)
    with pytest.raises(CommandFailed, match=r"models promote is for data_scientist; your roles: auditor.*HEARTH_TOKEN"):
        permit("hearth models promote", data_dir)
    assert entries(data_dir)[-1]["refused"] == "ROLE_NOT_PERMITTED"

    monkeypatch.setenv("HEARTH_TOKEN", ISSUER.token(Role.DATA_SCIENTIST, sub="bob"))
    permit("hearth models promote", data_dir)
    assert entries(data_dir)[-1] | {"number": 0, "time": "", "before": "", "seal": "", "where": ""} == {
        "number": 0, "time": "", "who": "token:bob", "roles": ["data_scientist"], "did": "hearth models promote",
        "trace": "change", "where": "", "before": "", "seal": "",
    }  # fmt: skip
    monkeypatch.setenv("HEARTH_TOKEN", ISSUER.token(Role.DATA_SCIENTIST, exp=int(time.time()) - 60))
    with pytest.raises(CommandFailed, match="TOKEN_EXPIRED"):
        permit("hearth models promote", data_dir)
    monkeypatch.setattr(access_module, "user_name", lambda: "eve")
    monkeypatch.delenv("HEARTH_TOKEN")
    with pytest.raises(CommandFailed, match="have user eve listed"):
        permit("hearth models list", data_dir)
    for what, right in RIGHTS.items():
        if right.by_system:
            permit(what, data_dir)


def test_every_command_that_asks_for_a_role_takes_a_token(data_dir: Path):
    with_rules(data_dir)
    token = ISSUER.token(Role.DATA_SCIENTIST, sub="bob")
    contextvars.Context().run(
        CliRunner().invoke, app, ["audit", "verify", "--data-dir", str(data_dir), "--token", token]
    )
    assert (entries(data_dir)[-1]["who"], entries(data_dir)[-1]["refused"]) == ("token:bob", "ROLE_NOT_PERMITTED")
    for what, right in RIGHTS.items():
        if what.startswith("hearth ") and not right.by_system:
            assert "--token" in CliRunner().invoke(app, [*what.split()[1:], "--help"]).output, what


def test_a_secret_that_is_gone_is_not_made_anew_while_something_is_sealed_by_it(data_dir: Path):
    permit("hearth models promote", data_dir)
    (data_dir / "installation.key").unlink()
    with pytest.raises(CommandFailed, match=r"installation.key is gone, and .* is sealed by it: put it back"):
        installation_of(data_dir)
    assert not (data_dir / "installation.key").exists()
    shutil.move(data_dir / "audit", data_dir / "audit-of-before")
    installation_of(data_dir)


def test_the_audit_log_of_what_is_no_data_directory_is_not_told_to_be_whole(tmp_path: Path):
    for command in (["audit", "verify"], ["audit", "list"], ["support-bundle", str(tmp_path / "bundle.tar.gz")]):
        told = CliRunner().invoke(app, [*command, "--data-dir", str(tmp_path)])
        assert isinstance(told.exception, UsageWrong), command
    assert not list(tmp_path.iterdir())


def test_a_command_asks_before_it_does_anything(data_dir: Path):
    with_rules(data_dir)
    told = CliRunner().invoke(app, ["models", "rollback", "--data-dir", str(data_dir)])
    assert isinstance(told.exception, CommandFailed)
    assert "ROLE_NOT_PERMITTED" in str(told.exception)


READING = [one.name for one in COMMANDS if one.reads and not RIGHTS[f"hearth {one.name}"].by_system]


def _value_of(kind: object) -> str:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return str(next(iter(kind)))
    return "1" if kind in (int, float) else "x"


def arguments(name: str) -> list[str]:
    """Return something for all that a command has to be asked with."""
    (command,) = (one for one in COMMANDS if one.name == name)
    given: list[str] = []
    for one in inspect.signature(command.run).parameters.values():
        if one.default is inspect.Parameter.empty:
            kind, told = get_args(one.annotation)[:2]
            name_of = [told.default] if isinstance(told, OptionInfo) else []  # Typer takes its first name for one
            given += [*name_of, _value_of(kind)]
    return given


@pytest.mark.parametrize("name", READING)
def test_whatever_reads_the_data_directory_asks_whether_its_user_may(data_dir: Path, name: str):
    with_rules(data_dir, callers=[{"user": "eve", "roles": ["auditor"]}])
    asked = [*name.split(), *arguments(name), "--data-dir", str(data_dir)]
    told = CliRunner().invoke(app, asked)
    assert isinstance(told.exception, CommandFailed), told.output
    assert "ROLE_NOT_PERMITTED" in str(told.exception)


def test_the_audit_log_is_listed_and_examined(data_dir: Path):
    installation = installation_of(data_dir)
    permit("hearth models promote", data_dir)
    access_module.note(data_dir, "hearth rejects list")
    run = CliRunner().invoke(app, ["audit", "verify", "--data-dir", str(data_dir)], catch_exceptions=False)
    assert (run.exit_code, run.output.startswith("2 entries are as they were written")) == (0, True)
    run = CliRunner().invoke(app, ["audit", "list", "--data-dir", str(data_dir), "--json"])
    assert [entry["did"] for entry in json.loads(run.output)["entries"]] == [
        "hearth models promote", "hearth rejects list", "hearth audit list",
    ]  # fmt: skip
    file = data_dir / "audit" / "audit.jsonl"
    file.write_bytes(file.read_bytes().replace(b"promote", b"demote "))
    run = CliRunner().invoke(app, ["audit", "verify", "--data-dir", str(data_dir)])
    assert run.exit_code == 1
    assert "BROKEN  entry 0 of " in run.output
    assert installation == installation_of(data_dir)
    assert (data_dir / "installation.key").stat().st_mode & 0o077 == 0


def test_rules_of_the_last_start_hold_until_others_are_given(data_dir: Path):
    config = load_config(data_dir=data_dir)
    assert with_its_rules(config).access is None
    assert door_factory(config) is None
    path = with_rules(data_dir)
    held = with_its_rules(config)
    assert held.access == path
    factory = door_factory(held)
    assert factory is not None
    assert isinstance(factory(), Door)
    (data_dir / "access.json").write_text("{")
    with pytest.raises(CommandFailed, match="not known which access rules hold"):
        with_its_rules(config)


def test_rules_of_the_last_start_forbid_reflection_too(data_dir: Path):
    with_rules(data_dir)
    with pytest.raises(UsageWrong, match="reflection tells everybody"):
        check_access(with_its_rules(load_config(data_dir=data_dir, reflection=True)))


def test_rules_that_cannot_be_used_are_told_before_anything_starts(data_dir: Path):
    with pytest.raises(UsageWrong, match="cannot be read"):
        check_access(load_config(data_dir=data_dir, access=data_dir / "nowhere.yaml"))
    path = written(data_dir.parent / "access.yaml", b"callers: [{user: anna, roles: [sre]}]")
    with pytest.raises(UsageWrong, match="names only certificates and users, and the public port asks for no cert"):
        check_access(load_config(data_dir=data_dir, access=path))
