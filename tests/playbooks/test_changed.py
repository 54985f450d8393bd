"""What a journey declares of who is inside when it changes, as it is written and checked.

Law: what a version cannot do with who is inside under the version before is told before it comes into force, at its
place, with what to write; a map that is total is told nothing.
"""

from pathlib import Path

import pytest

from household.plan import END, StateMove, WhenChanged
from playbooks.compiler import check, examine
from tests.household.journey_world import plan_of, playbook_text

FIRST = """
trigger: {on: wallet.topup}
goal: {on: wallet.payment}
exits: {visited: {on: app.visit}}
states:
  invite: {act: invite, within: 1h, blocked: exit, then: waiting}
  waiting: {wait: {on: wallet.payment}, then: end, timeout: {after: 7d, then: remind}}
  remind: {act: remind, slot: {from: 7d, to: 9d}, within: 1h, blocked: skip, missed: end, then: end}
"""
SECOND = FIRST.replace("after: 7d", "after: 3d").replace("waiting", "patience")
TOTAL = "changed: {migrate: {invite: invite, waiting: {to: patience, rearm: true}, remind: end}}\n"


def journey(folder: Path, text: str) -> list[str]:
    path = folder / "playbook.yaml"
    path.write_text(playbook_text(text))
    return [str(one) for one in check(path)]


def after(folder: Path, text: str, *, first: str = FIRST, gone: str = "") -> list[str]:
    before = plan_of(folder, first)
    path = folder / "playbook.yaml"
    path.write_text(playbook_text(text).replace(gone, "") if gone else playbook_text(text))
    return [str(one).removeprefix(f"{folder}/") for one in examine(path, before=before).problems]


def test_it_is_read_as_it_is_written(tmp_path: Path):
    flows = [plan_of(tmp_path, f"{SECOND}changed: {word}\n").journeys[0].flow for word in ("pin", "drain", "restart")]
    assert [one.changed for one in flows if one] == [WhenChanged.PIN, WhenChanged.DRAIN, WhenChanged.RESTART]
    flow = plan_of(tmp_path, SECOND + TOTAL).journeys[0].flow
    assert flow is not None
    assert flow.changed is WhenChanged.MIGRATE
    assert flow.moves == (
        StateMove(state="invite", target=0),
        StateMove(state="waiting", target=1, rearms=True),
        StateMove(state="remind", target=END),
    )


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("changed: pinned\n", "'changed' of journey 'story' is 'pinned'; write pin, drain or restart, or 'migrate:'"),
        ("changed: {migrate: {waiting: patince}}\n", "has no state 'patince'; did you mean 'patience'?"),
        ("changed: {migrate: {waiting: {rearm: true}}}\n", "needs 'to'"),
        ("changed: {migrate: {waiting: {to: patience, rearms: true}}}\n", "did you mean 'rearm'?"),
        ("changed: {migrate: {waiting: [patience]}}\n", "name a state, or 'end'"),
        ("changed: {migrate: {}}\n", "migrates nobody"),
        ("changed: {moves: {waiting: patience}}\n", "migrates nobody"),
    ],
)
def test_what_is_no_rule_is_told(tmp_path: Path, written: str, told: str):
    assert any(told in one for one in journey(tmp_path, SECOND + written)), journey(tmp_path, SECOND + written)


def test_a_journey_without_states_has_none(tmp_path: Path):
    told = journey(tmp_path, "trigger: {on: wallet.topup, when: true, cooldown: 1d}\noffers: invite\nchanged: pin\n")
    assert any("has 'changed' and no states" in one for one in told)


def test_a_map_that_is_total_is_told_nothing(tmp_path: Path):
    assert after(tmp_path, SECOND + TOTAL) == []
    assert after(tmp_path, SECOND + "changed: pin\n") == []


def test_a_map_that_leaves_a_state_out_is_told_at_its_place(tmp_path: Path):
    [told] = after(tmp_path, SECOND + TOTAL.replace("waiting: {to: patience, rearm: true}, ", ""))
    lines = playbook_text(SECOND + TOTAL).splitlines()
    line = next(number for number, text in enumerate(lines, 1) if "migrate" in text)
    assert told.startswith(f"playbook.yaml:{line}:")
    assert "does not say where instances go that are in 'waiting'; write 'waiting: …' with a state" in told


def test_a_map_of_a_state_that_never_was_is_told(tmp_path: Path):
    told = after(tmp_path, SECOND + TOTAL.replace("remind: end", "remind: end, wating: patience"))
    assert [one for one in told if "names 'wating', and the version before has no such state; did you mean" in one]


def test_a_map_is_not_asked_for_where_the_states_mean_the_same(tmp_path: Path):
    stale = TOTAL.replace("remind: end", "gone: end")
    assert after(tmp_path, SECOND + stale, first=SECOND) == []


def test_pinned_states_that_refer_to_what_is_gone_are_told(tmp_path: Path):
    text = SECOND.replace("app.visit", "app.refusal") + "changed: pin\n"
    [told] = after(tmp_path, text, gone="  app.visit: {source: app}\n")
    assert "refer to what is gone: event 'app.visit'; keep that for as long as they run, or write 'migrate:'" in told
