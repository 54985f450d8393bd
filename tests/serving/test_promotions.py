"""Which version is champion, and which was before.

Laws: a rollback goes to what was in force before, and once more goes one further; what was noted and never made counts
for nothing; the history is only added to.
"""

import doctest
import json
from pathlib import Path

import pytest

from serving.models import bundle as bundles
from serving.models import rollout as promotions
from serving.models.bundle import BundleRefused, save_bundle
from serving.models.registry import read_aliases, set_alias
from serving.models.rollout import NothingBefore, promote, read_history, roll_back
from tests.serving.test_bundle import make_draft

NAME = "acceptance"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bundles, "_probe", lambda *_: None)  # test_bundle.py has it
    for version in ("a", "b", "c"):
        save_bundle(tmp_path, NAME, make_draft(), created="now", version=version)
    return tmp_path


def champion(registry: Path) -> str | None:
    return read_aliases(registry, NAME).get("champion")


def put(registry: Path, *versions: str) -> None:
    for version in versions:
        promote(registry, NAME, version, time="t", is_forced=False)


def back(registry: Path) -> str:
    return roll_back(registry, NAME, time="t").champion


def test_the_example_runs():
    assert doctest.testmod(promotions).failed == 0


def test_rolling_back_walks_to_the_priors_and_no_further(registry: Path):
    put(registry, "a", "b", "c")
    assert [back(registry) for _ in range(3)] == ["b", "a", ""]
    assert champion(registry) is None
    with pytest.raises(NothingBefore):
        back(registry)
    assert [one.how for one in read_history(registry, NAME)] == ["promoted"] * 3 + ["rolled back"] * 3


def test_a_version_that_was_rolled_back_and_promoted_again_goes_back_to_what_it_replaced(registry: Path):
    put(registry, "a", "b")
    assert back(registry) == "a"
    put(registry, "c", "b")
    assert [back(registry) for _ in range(3)] == ["c", "a", ""]


def test_the_same_version_again_changes_nothing(registry: Path):
    put(registry, "a", "b", "b")
    assert len(read_history(registry, NAME)) == 2
    assert back(registry) == "a"


def test_a_champion_that_was_set_by_hand_is_rolled_back_to_the_one_that_is_known(registry: Path):
    put(registry, "a")
    set_alias(registry, NAME, "champion", "b")
    assert back(registry) == "a"

    set_alias(registry, NAME, "champion", "b")
    put(registry, "c")
    assert [back(registry), back(registry)] == ["b", "a"]


def test_a_registry_without_a_history_notes_what_was_before(registry: Path):
    set_alias(registry, NAME, "champion", "a")
    with pytest.raises(NothingBefore):
        back(registry)
    put(registry, "b")
    assert back(registry) == "a"


@pytest.mark.parametrize("is_rollback", [False, True])
def test_a_change_that_was_noted_and_never_made_counts_for_nothing(
    registry: Path, monkeypatch: pytest.MonkeyPatch, is_rollback: bool
):
    put(registry, "a", "b")
    with monkeypatch.context() as patch:
        patch.setattr(promotions, "set_alias", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            back(registry) if is_rollback else put(registry, "c")
    assert champion(registry) == "b"
    assert back(registry) == "a"


def test_what_is_not_in_the_registry_is_neither_promoted_nor_returned_to(registry: Path):
    put(registry, "a", "b")
    with pytest.raises(BundleRefused, match="cannot be read"):
        put(registry, "z")
    (registry / NAME / "a" / "manifest.json").unlink()
    with pytest.raises(BundleRefused, match="cannot be read"):
        back(registry)
    assert champion(registry) == "b"
    assert len(read_history(registry, NAME)) == 2


@pytest.mark.parametrize("content", ["", "{", '{"a": 1}', "[1]", '[{"time": "t"}]'])
def test_a_damaged_history_is_refused_and_the_champion_stays(registry: Path, content: str):
    put(registry, "a", "b")
    (registry / NAME / "history.json").write_text(content)
    for change in (back, lambda where: put(where, "c")):
        with pytest.raises(BundleRefused, match=r"history\.json"):
            change(registry)
    assert champion(registry) == "b"
    assert (registry / NAME / "history.json").read_text() == content


def test_the_history_tells_who_insisted(registry: Path):
    promote(registry, NAME, "a", time="2026-11-02", is_forced=True)
    assert json.loads((registry / NAME / "history.json").read_text()) == [
        {"time": "2026-11-02", "champion": "a", "before": "", "how": "forced"}
    ]
