"""Laws of paths: of the playbook we ship every state and way is reached; what cannot be reached is told, and only that,
with what speaks against it; the same seed gives the same paths, and another seed no other verdict.
"""

from pathlib import Path

import pytest

from playbooks.compiler import TELCO, compile_playbook
from playbooks.simulating.paths import JourneyPaths, walk_paths
from tests.household.journey_world import plan_of

SOUND = """
trigger: {on: wallet.topup, when: household.topups >= 2}
again: 30d
goal: {when: household.payments >= 3}
exits: {visited: {on: app.visit}}
states:
  invite: {act: invite, within: 1h, blocked: exit, failed: lost, then: first}
  first: {wait: [{on: wallet.payment, then: paid}, {on: hearth.decline, then: lost}], timeout: {after: 7d, then: which}}
  paid: {pause: {after: 2d}, then: end}
  which: {branch: [{when: household.topups >= 3, then: paid}], else: drawn}
  drawn: {shares: {paid: 40%, lost: 60%}}
  lost: end
"""


def paths_of(folder: Path, journey: str, *, seed: int = 0, **how: str) -> JourneyPaths:
    (found,) = walk_paths(plan_of(folder, journey, **how), seed=seed, instances_most=400)
    return found


def told(found: JourneyPaths) -> dict[str, str]:
    """Return what cannot be reached, by state or state and way, and why."""
    states = {one.name: one.why_not for one in found.states if one.why_not}
    ways = {f"{one.name}, {way.name}": way.why_not for one in found.states for way in one.ways if way.why_not}
    return states | ways


def test_all_that_the_shipped_playbook_can_do_is_reached_with_any_seed():
    plan = compile_playbook(TELCO)
    first, again, other = walk_paths(plan), walk_paths(plan), walk_paths(plan, seed=7)
    assert [told(one) for one in (*first, *other)] == [{} for _ in (*first, *other)]
    assert first == again
    assert first != other
    assert [one.journey for one in first] == [one.name for one in plan.journeys]
    walked = [one for one in first if one.instances]
    assert walked
    assert all(state.reached and all(way.gone for way in state.ways) for one in walked for state in one.states)


def test_each_way_is_there_and_gone(tmp_path: Path):
    found = paths_of(tmp_path, SOUND, control="10%")
    assert told(found) == {}
    ways = {one.name: [way.name for way in one.ways] for one in found.states}
    assert ways["invite"] == ["said", "nothing worth saying", "withheld", "blocked", "failed"]
    assert ways["first"] == ["wallet.payment", "hearth.decline", "timeout"]
    assert ways["which"] == ["household.topups >= 3", "else"]
    assert ways["drawn"] == ["40 %", "60 %"]
    assert ways["(anywhere)"] == ["goal", "exit rule 'visited'"]


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        # keep: 3, so never more
        ("topups >= 3,", "topups >= 4,", {"which, household.topups >= 4": "never"}),
        # what comes first takes all of it
        (
            "{when: household.topups >= 3, then: paid}",
            "{when: household.topups >= 1, then: paid}, {when: household.topups >= 2, then: lost}",
            {"which, household.topups >= 2": "a way before it"},
        ),
        # nobody enters
        ("on: wallet.topup, when: household.topups >= 2", "on: wallet.topup, when: household.topups >= 4", None),
        # every visit ends it
        ("{on: wallet.payment, then: paid}", "{on: app.visit, then: paid}", {"first, app.visit": "always"}),
        # over before anybody comes there
        (
            "timeout: {after: 7d, then: which}",
            "timeout: {after: 30d, then: late}",
            {"late, said": "is never reached", "which": "no way leads there"},
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_reached_is_told_with_why(tmp_path: Path, old: str, new: str, wanted: dict[str, str] | None):
    text = SOUND.replace(old, new)
    assert text != SOUND
    if "late" in new:
        act = "late: {act: invite, within: 1h, blocked: skip, slot: {from: 1d, to: 14d}, missed: lost, then: which}"
        text = text.replace("  lost: end", f"  {act}\n  lost: end")
    found = paths_of(tmp_path, text)
    against = told(found)
    if wanted is None:
        assert found.instances == 0
        assert all("its trigger can never be true" in one.why_not for one in found.states)
        return
    if "late" in new:
        slot = next(one for one in found.states if any(way.name == "in its slot" for way in one.ways))
        assert "takes longer" in next(way.why_not for way in slot.ways if way.name == "in its slot")
        assert all(way.gone for way in slot.ways if way.name == "slot is over")
        assert against["which"]
        return
    assert list(against) == list(wanted)
    for name, word in wanted.items():
        assert word in against[name]


def test_a_report_of_what_was_never_said_ends_no_wait(tmp_path: Path):
    journey = """
    trigger: {on: wallet.topup, when: household.topups >= 2}
    goal: {when: household.payments >= 3}
    states:
      first: {wait: [{on: wallet.payment, then: say}, {on: hearth.decline, then: say}], timeout: {after: 7d, then: say}}
      say: {act: invite, within: 1h, blocked: skip, then: end}
    """
    assert told(paths_of(tmp_path, journey)) == {
        "first, hearth.decline": "nothing that is said before can be reported of here"
    }


def test_an_act_for_which_nobody_is_eligible_is_never_said(tmp_path: Path):
    plan_of(tmp_path, SOUND)
    file = tmp_path / "playbook.yaml"
    eligible = "invite: {kind: offer, eligible: household.topups >= 4,"
    file.write_text(file.read_text().replace("invite: {kind: offer,", eligible))
    (found,) = walk_paths(compile_playbook(file), instances_most=200)
    against = told(found)
    assert list(against)[:2] == ["invite, said", "invite, failed"]
    assert "nobody is eligible for 'invite': household.topups >= 4 is never true" in against["invite, said"]
