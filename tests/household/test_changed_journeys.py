"""What becomes of who is inside a journey when another version of its states comes into force, as that has declared.

Laws: pinned, one goes by the states, the goal and the rules that it entered under, and what was begun is said once;
drained, nobody enters beside one; restarted, one begins anew; migrated, one goes where it is told with the time that it
had, or armed anew; back at a version, who was pinned to it goes by it again; where nothing is declared or the states
mean the same, nothing of this shows.
"""

import re
from pathlib import Path

import pytest

from household.journeys.versions import instances_by_state
from household.migration import migrated
from household.plan import Plan, plan_from_bytes
from household.plan.earlier import with_earlier, without_earlier
from playbooks.becoming import becoming
from playbooks.compiler import compile_playbook
from tests.household.journey_world import Story, plan_of
from tests.household.shop import DAY, HOUR, MINUTE
from tests.household.test_journeys import INVITE

SOONER = ("timeout: {after: 7d, then: remind}", "timeout: {after: 2d, then: remind}")
OTHER_GOAL = ("household.payments >= 3", "household.payments >= 1")

LOANS = """
trigger: {on: loan.asked}
correlate: loan
parallel: 3
goal: {on: loan.paid}
states:
  asked: {pause: {after: 30d}, then: end}
"""


def version(folder: Path, *changes: tuple[str, str], changed: str = "", of: str = INVITE) -> Plan:
    text = of
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return plan_of(folder, f"{text}changed: {changed}\n" if changed else text)


def change(story: Story, plan: Plan) -> None:
    """Let a version come into force as a cluster does: with what earlier ones it has to carry, by way of bytes."""
    made, not_carried = with_earlier(plan, story.state.plan)
    assert not not_carried
    assert without_earlier(made) == plan
    story.state = migrated(story.state, plan_from_bytes(made.canonical_bytes))


def invited(plan: Plan) -> Story:
    story = Story(plan)
    story.happens("app.consent")
    story.happens("wallet.topup", after_us=HOUR)
    story.happens("wallet.topup", after_us=HOUR)
    assert story.says() == ["invite"]
    assert story.where == ["first"]
    return story


def own(story: Story) -> list[str]:
    """Return where each is, by the names that states have in their own version."""
    return [re.sub("@[0-9a-f]+", "", one) for one in story.where]


def test_a_version_that_declares_nothing_is_the_version_it_was(tmp_path: Path):
    plan = version(tmp_path)
    assert b"changed" not in plan.canonical_bytes
    assert b"earlier" not in plan.canonical_bytes
    assert version(tmp_path, changed="pin").version != plan.version


def test_where_the_states_mean_the_same_nothing_is_carried(tmp_path: Path):
    story = invited(version(tmp_path))
    change(
        story, version(tmp_path, ("title: A story", "title: Another"), of="title: A story\n" + INVITE, changed="pin")
    )
    assert story.where == ["first"]


def test_who_is_pinned_goes_by_the_states_that_it_has(tmp_path: Path):
    story = invited(version(tmp_path))
    change(story, version(tmp_path, SOONER, changed="pin"))
    assert story.where[0].startswith("first@")
    story.pass_time(3 * DAY)
    assert own(story) == ["first"]
    story.pass_time(4 * DAY)
    assert own(story) == ["remind"]
    assert story.says() == ["remind"]
    assert own(story) == ["second"]
    story.happens("wallet.payment", after_us=HOUR)
    assert own(story) == ["paid:COMPLETED"]


def test_who_enters_goes_by_the_new_ones(tmp_path: Path):
    story = invited(version(tmp_path))
    change(story, version(tmp_path, SOONER, changed="pin"))
    story.happens("app.consent", household="other", member="ben")
    for _ in range(2):
        story.happens("wallet.topup", after_us=HOUR, household="other", member="ben")
    assert sorted(one.partition("@")[0] for one in story.where) == ["first", "invite"]
    assert instances_by_state(story.state)[("story", "invite")] == 1


def test_goals_and_rules_are_those_of_the_version_that_one_goes_by(tmp_path: Path):
    story = invited(version(tmp_path))
    no_exit = ("exits: {visited: {on: app.visit}}\n", "")
    change(story, version(tmp_path, OTHER_GOAL, no_exit, changed="pin"))
    story.happens("wallet.payment", after_us=HOUR)
    assert own(story) == ["paid:COMPLETED"]
    again = invited(version(tmp_path))
    change(again, version(tmp_path, OTHER_GOAL, no_exit, changed="pin"))
    again.happens("app.visit", after_us=HOUR)
    assert own(again) == ["first:EXIT_RULE"]


def test_what_one_has_begun_to_say_is_said_once(tmp_path: Path):
    story = Story(version(tmp_path))
    story.happens("app.consent")
    story.happens("wallet.topup", after_us=HOUR)
    story.happens("wallet.topup", after_us=HOUR)
    change(story, version(tmp_path, SOONER, changed="pin"))
    assert own(story) == ["invite"]
    story.pass_time(MINUTE)
    assert story.says() == ["invite"]
    assert own(story) == ["first"]
    assert story.says() == []
    decided = invited(version(tmp_path))
    decided.pass_time(7 * DAY + MINUTE)
    decided.decide_all()
    change(decided, version(tmp_path, SOONER, changed="pin"))
    assert decided.send_all() == ["remind"]
    assert own(decided) == ["second"]


@pytest.mark.parametrize(("changed", "live"), [("pin", 2), ("drain", 1)])
def test_while_a_version_is_drained_nobody_enters_beside_it(tmp_path: Path, changed: str, live: int):
    story = Story(version(tmp_path, of=LOANS))
    story.happens("loan.asked", loan=1)
    change(story, version(tmp_path, ("30d", "20d"), of=LOANS, changed=changed))
    story.happens("loan.asked", after_us=HOUR, loan=2)
    assert len(story.where) == live
    story.happens("loan.paid", after_us=HOUR, loan=1)
    story.happens("loan.asked", after_us=HOUR, loan=3)
    assert story.where[-1] == "asked"


def test_a_restart_begins_anew_and_times_after_the_entry_with_it(tmp_path: Path):
    story = invited(version(tmp_path))
    story.pass_time(DAY)
    change(story, version(tmp_path, SOONER, changed="restart"))
    assert story.where == ["invite"]
    assert story.instances[0].entered_us == story.now_us
    assert story.instances[0].version == story.state.plan.version
    story.pass_time(MINUTE)
    assert story.says() == ["invite"]
    story.pass_time(2 * DAY + MINUTE)
    assert story.where == ["remind"]


RENAMED = (("first", "patience"), SOONER)
MAP = "{migrate: {invite: invite, first: %s, remind: remind, second: second}}"


@pytest.mark.parametrize(
    ("to", "left_us"),
    [("patience", 6 * DAY), ("{to: patience, rearm: false}", 6 * DAY), ("{to: patience, rearm: true}", 2 * DAY)],
)
def test_who_migrates_has_the_time_that_it_had_or_is_armed_anew(tmp_path: Path, to: str, left_us: int):
    story = invited(version(tmp_path))
    story.pass_time(DAY)
    due_us = story.instances[0].due_us
    change(story, version(tmp_path, *RENAMED, changed=MAP % to))
    assert story.where == ["patience"]
    assert story.instances[0].due_us == (due_us if left_us == 6 * DAY else story.now_us + left_us)
    story.pass_time(left_us - HOUR)
    assert story.where == ["patience"]
    story.pass_time(HOUR)
    assert story.where == ["remind"]


def test_who_migrates_to_the_end_ends_and_to_an_act_says_it(tmp_path: Path):
    story = invited(version(tmp_path))
    change(story, version(tmp_path, *RENAMED, changed=MAP % "end"))
    assert story.where == ["first:VERSION"]
    story = invited(version(tmp_path))
    change(story, version(tmp_path, *RENAMED, changed=MAP % "remind"))
    assert story.where == ["remind"]
    assert story.says() == ["remind"]


def test_back_at_a_version_who_was_pinned_to_it_goes_by_it_again(tmp_path: Path):
    story, first = invited(version(tmp_path)), version(tmp_path)
    change(story, version(tmp_path, SOONER, changed="pin"))
    assert story.where[0].startswith("first@")
    change(story, first)
    assert story.where == ["first"]
    story.happens("wallet.payment", after_us=HOUR)
    assert story.where == ["paid:COMPLETED"]


def test_who_is_pinned_stays_so_over_further_versions(tmp_path: Path):
    story = invited(version(tmp_path))
    change(story, version(tmp_path, SOONER, changed="pin"))
    change(story, version(tmp_path, OTHER_GOAL, changed="restart"))
    assert own(story) == ["first"]
    story.pass_time(7 * DAY)
    assert own(story) == ["remind"]


def test_what_cannot_be_carried_is_named_and_ends(tmp_path: Path):
    story = invited(version(tmp_path))
    version(tmp_path, ("app.visit", "wallet.payment"), changed="pin")
    path = tmp_path / "playbook.yaml"
    path.write_text(path.read_text().replace("  app.visit: {source: app}\n", ""))
    made, not_carried = with_earlier(compile_playbook(path), story.state.plan)
    assert [one.lacks for one in not_carried] == [("event 'app.visit'",)]
    story.state = migrated(story.state, made)
    assert own(story) == ["first:VERSION"]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ("pin", "go on by the states that they have (pin)"),
        ("restart", "begin anew (restart)"),
        (MAP % "end", "end (VERSION)"),
        (MAP % "remind", "go from 'first' to 'remind'"),
    ],
)
def test_it_is_told_beforehand_what_becomes_of_how_many(tmp_path: Path, changed: str, what: str):
    story = invited(version(tmp_path))
    after = version(tmp_path, *(RENAMED if "migrate" in changed else (SOONER,)), changed=changed)
    running = {"story": {state: count for (_, state), count in instances_by_state(story.state).items()}}
    assert [(one.what, one.count) for one in becoming(story.state.plan, after, running)] == [(what, 1)]
