"""Which version is champion, and which was before.

Laws: a rollback goes to what was in force before, and once more goes one further; what was noted and never made counts
for nothing; the history is only added to.
"""

import doctest
import errno
import json
from pathlib import Path

import pytest

from serving.models import bundle as bundles
from serving.models import history, rollout
from serving.models.bundle import BundleRefused, save_bundle
from serving.models.history import By, NothingBefore, last_stage, read_history
from serving.models.registry import read_aliases, set_alias
from serving.models.rollout import StageRefused, canary, promote, retire, roll_back, shadow
from tests.serving.test_bundle import make_draft

NAME = "acceptance"
BY = By(time="t")


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
        promote(registry, NAME, version, by=BY, is_forced=False)


def back(registry: Path) -> str:
    return roll_back(registry, NAME, by=BY).champion


def test_the_example_runs():
    assert doctest.testmod(history).failed == 0


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
        patch.setattr(rollout, "write_stages", lambda *_: 1 / 0)
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


SHARE_IN_WORDS = '[{"time": "t", "champion": "b", "before": "b", "how": "canary", "share": "half"}]'


@pytest.mark.parametrize("content", ["", "{", '{"a": 1}', "[1]", '[{"time": "t"}]', SHARE_IN_WORDS])
def test_a_damaged_history_is_refused_and_the_champion_stays(registry: Path, content: str):
    put(registry, "a", "b")
    (registry / NAME / "history.json").write_text(content)
    for change in (back, lambda where: put(where, "c")):
        with pytest.raises(BundleRefused, match=r"history\.json"):
            change(registry)
    assert champion(registry) == "b"
    assert (registry / NAME / "history.json").read_text() == content


def test_a_rollback_passes_over_what_is_retired_since_and_the_next_goes_on_from_there(registry: Path):
    put(registry, "a", "b", "c")
    retire(registry, NAME, "b", by=BY)
    assert back(registry) == "a"
    assert back(registry) == ""
    put(registry, "c")
    retire(registry, NAME, "a", by=BY)
    assert back(registry) == ""


def test_of_two_that_proved_better_than_the_same_only_the_first_is_promoted(registry: Path):
    put(registry, "a")
    promote(registry, NAME, "b", by=BY, is_forced=False, compared_with="a")
    with pytest.raises(StageRefused, match="compared with a, and b came into force meanwhile"):
        promote(registry, NAME, "c", by=BY, is_forced=False, compared_with="a")
    assert champion(registry) == "b"
    assert promote(registry, NAME, "b", by=BY, is_forced=False, compared_with="a") == "b"


def test_a_full_disk_changes_nothing_and_leaves_nothing_behind(registry: Path, monkeypatch: pytest.MonkeyPatch):
    put(registry, "a")
    before = sorted(registry.rglob("*"))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundles.os, "fsync", full)
    with pytest.raises(OSError, match="No space") as failed:
        put(registry, "b")
    assert str(registry) in failed.value.filename
    assert champion(registry) == "a"
    assert sorted(registry.rglob("*")) == before


def test_the_history_tells_who_insisted(registry: Path):
    promote(registry, NAME, "a", by=By(time="2026-11-02"), is_forced=True)
    assert json.loads((registry / NAME / "history.json").read_text()) == [
        {"time": "2026-11-02", "champion": "a", "before": "", "how": "forced", "version": "a"}
    ]


# --- stages -----------------------------------------------------------------------------------------------------------


def stages(registry: Path) -> dict[str, object]:
    file = registry / NAME / "aliases.json"
    told: dict[str, object] = json.loads(file.read_text()) if file.exists() else {}
    return told


def test_a_version_goes_from_shadow_to_canary_to_champion_and_back(registry: Path):
    put(registry, "a")
    assert shadow(registry, NAME, "b", by=By(time="1", who="ann", why="looks good"))
    assert stages(registry) == {"champion": "a", "shadow": ["b"]}
    assert not shadow(registry, NAME, "b", by=BY)
    assert canary(registry, NAME, "b", 0.05, by=BY)
    assert stages(registry) == {"champion": "a", "canary": {"version": "b", "share": 0.05}}
    assert canary(registry, NAME, "b", 0.5, by=BY)
    assert not canary(registry, NAME, "b", 0.5, by=BY)
    put(registry, "b")
    assert stages(registry) == {"champion": "b"}
    assert back(registry) == "a"
    assert stages(registry) == {"champion": "a"}

    changes = read_history(registry, NAME)
    told = [(one.how, one.subject, one.share) for one in changes]
    assert told == [
        ("promoted", "a", ""),
        ("shadow", "b", ""),
        ("canary", "b", "0.05"),
        ("canary", "b", "0.5"),
        ("promoted", "b", ""),
        ("rolled back", "b", ""),
    ]
    assert (changes[1].who, changes[1].why, changes[1].time) == ("ann", "looks good", "1")
    assert [str(last_stage(changes, one)) for one in "bc"] == ["rolled back", "registered"]


def test_a_rollback_takes_the_canary_first_and_whatever_is_named(registry: Path):
    put(registry, "a", "b")
    shadow(registry, NAME, "c", by=BY)
    assert roll_back(registry, NAME, "c", by=BY).champion == "b"
    assert stages(registry) == {"champion": "b"}
    canary(registry, NAME, "c", 0.2, by=BY)
    assert roll_back(registry, NAME, by=BY).subject == "c"
    assert stages(registry) == {"champion": "b"}
    canary(registry, NAME, "c", 0.2, by=BY)
    assert roll_back(registry, NAME, "b", by=BY).champion == "a"
    assert stages(registry) == {"champion": "a", "canary": {"version": "c", "share": 0.2}}
    with pytest.raises(StageRefused, match="b is not in service"):
        roll_back(registry, NAME, "b", by=BY)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, float("nan"), float("inf")])
def test_a_share_is_above_nothing_and_at_most_all(registry: Path, share: float):
    shadow(registry, NAME, "b", by=BY)
    with pytest.raises(StageRefused, match="above 0 % and at most 100 %"):
        canary(registry, NAME, "b", share, by=BY)


def test_each_step_is_refused_with_its_reason_and_changes_nothing(registry: Path):
    put(registry, "a")
    with pytest.raises(StageRefused, match="never in shadow"):
        canary(registry, NAME, "b", 0.1, by=BY)
    assert canary(registry, NAME, "b", 0.1, by=BY, is_forced=True)
    before = stages(registry), (registry / NAME / "history.json").read_text()
    refused = {
        "a is champion": [lambda: shadow(registry, NAME, "a", by=BY), lambda: canary(registry, NAME, "a", 0.1, by=BY)],
        "b is canary": [lambda: shadow(registry, NAME, "b", by=BY), lambda: retire(registry, NAME, "b", by=BY)],
        "would move some of them back": [lambda: canary(registry, NAME, "b", 0.05, by=BY)],
        "there is one at a time": [lambda: canary(registry, NAME, "c", 0.5, by=BY, is_forced=True)],
        "and decides": [lambda: retire(registry, NAME, "a", by=BY)],
    }
    for why, steps in refused.items():
        for step in steps:
            with pytest.raises(StageRefused, match=why):
                step()
    for step in (shadow, retire):
        with pytest.raises(BundleRefused, match="cannot be read"):
            step(registry, NAME, "z", by=BY)
    assert (stages(registry), (registry / NAME / "history.json").read_text()) == before


def test_what_is_retired_comes_into_service_no_more(registry: Path):
    shadow(registry, NAME, "a", by=BY)
    assert retire(registry, NAME, "a", by=BY)
    assert stages(registry) == {"retired": ["a"]}
    assert not retire(registry, NAME, "a", by=BY)
    for step in (
        lambda: shadow(registry, NAME, "a", by=BY),
        lambda: canary(registry, NAME, "a", 0.5, by=BY, is_forced=True),
        lambda: promote(registry, NAME, "a", by=BY, is_forced=True),
    ):
        with pytest.raises(StageRefused, match="a is retired"):
            step()


@pytest.mark.parametrize(
    "content",
    [
        '{"canary": "a"}',
        '{"canary": {"version": "a"}}',
        '{"canary": {"version": "a", "share": 0}}',
        '{"canary": {"version": "a", "share": true}}',
        '{"canary": {"version": "a", "share": NaN}}',
        '{"canary": {"version": "../a", "share": 0.1}}',
        '{"canary": {"version": ["a"], "share": 0.1}}',
        '{"shadow": [1]}',
        '{"shadow": {"a": 1}}',
        '{"retired": ["a", null]}',
        '{"champion": ["a"]}',
        '{"mine": {"a": 1}}',
    ],
)
def test_broken_stages_are_refused_by_file_and_left_as_they_are(registry: Path, content: str):
    (registry / NAME / "aliases.json").write_text(content)
    for step in (back, lambda where: put(where, "c"), lambda where: shadow(where, NAME, "b", by=BY)):
        with pytest.raises(BundleRefused, match=r"aliases\.json"):
            step(registry)
    assert (registry / NAME / "aliases.json").read_text() == content
