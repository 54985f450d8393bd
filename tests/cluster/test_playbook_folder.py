"""Which version a folder was made from, as it remembers; what cannot be written into one is told."""

from pathlib import Path
from typing import Any, cast

import pytest

from cluster.commands.playbook_change import _base_of, pull, remember_base
from cluster.errors import UsageWrong
from hearth.v1 import playbook_pb2, playbook_pb2_grpc


class InForce:
    """A Hearth that has a version in force."""

    def __init__(self, version: str, source: str = "") -> None:
        self.shown = playbook_pb2.ShowPlaybookResponse(version=version, source=source)

    def ShowPlaybook(self, request: Any, timeout: float) -> playbook_pb2.ShowPlaybookResponse:
        return self.shown


def base_of(folder: Path, in_force: str, source: str = "") -> str:
    stub = cast(playbook_pb2_grpc.PlaybookServiceStub, InForce(in_force, source))
    return _base_of(folder, stub, "nowhere:1")


def test_it_is_what_was_pulled_or_pushed_last_whatever_is_in_force(tmp_path: Path):
    remember_base(tmp_path, "a")
    assert base_of(tmp_path, "b", source=str(tmp_path)) == "a"


def test_once_a_draft_of_it_is_in_force_it_was_made_from_that(tmp_path: Path):
    remember_base(tmp_path, "a", "d", "e")
    assert [base_of(tmp_path, version) for version in "abde"] == ["a", "a", "d", "e"]


def test_what_remembers_nothing_is_what_hearth_was_started_with_or_has_to_say(tmp_path: Path):
    assert base_of(tmp_path, "a", source=str(tmp_path)) == "a"
    with pytest.raises(UsageWrong, match="name it with --from"):
        base_of(tmp_path, "a", source="elsewhere")


def test_nothing_is_pulled_into_a_file(tmp_path: Path):
    (tmp_path / "book.yaml").write_text("x")
    with pytest.raises(UsageWrong, match="is a file; name a folder"):
        pull(tmp_path / "book.yaml", version="", target="nowhere:1", as_json=False)
