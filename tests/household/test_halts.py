"""Journeys that somebody has paused or stopped.

Laws: paused, a journey enters nobody, also not later by what happened meanwhile, and says nothing, neither what waits
nor what has begun; what happens is heard; its timers stand still, and have as long to go afterwards as they had before;
stopped, its instances end and what was not said is taken back, and none of them comes back.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from household.deciding.hand_over import next_step
from household.migration import migrated
from household.plan import Halt, HaltedJourney, Plan, plan_from_bytes
from tests.household.journey_world import Story, plan_of
from tests.household.shop import DAY, HOUR, MINUTE
from tests.household.test_journeys import INVITE


@pytest.fixture(scope="module")
def invite(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan_of(tmp_path_factory.mktemp("invite"), INVITE)


def halt(story: Story, how: Halt | None, journey: str = "story") -> None:
    halted = () if how is None else (HaltedJourney(journey=journey, how=how),)
    plan = plan_from_bytes(replace(story.state.plan, halted=halted).canonical_bytes)
    story.state = migrated(story.state, plan)


def topped_up(plan: Plan, *, before: Halt | None = None) -> Story:
    story = Story(plan)
    story.happens("app.consent")
    story.happens("wallet.topup", after_us=HOUR)
    if before is not None:
        halt(story, before)
    story.happens("wallet.topup", after_us=HOUR)
    return story


def invited(plan: Plan) -> Story:
    story = topped_up(plan)
    assert story.says() == ["invite"]
    assert story.where == ["first"]
    return story


def test_a_playbook_that_nothing_is_halted_of_is_the_version_it_was(invite: Plan):
    paused = replace(invite, halted=(HaltedJourney(journey="story", how=Halt.PAUSED),))
    assert paused.version != invite.version
    assert replace(paused, halted=()).version == invite.version
    assert plan_from_bytes(paused.canonical_bytes) == paused


@pytest.mark.parametrize("how", [Halt.PAUSED, Halt.STOPPED])
def test_it_enters_nobody_and_what_happened_meanwhile_lets_nobody_in_later(invite: Plan, how: Halt):
    story = topped_up(invite, before=how)
    assert story.where == []
    halt(story, None)
    story.happens("app.visit", after_us=HOUR)
    story.pass_time(HOUR)
    assert story.where == []
    story.pass_time(8 * DAY)
    story.happens("wallet.topup")
    story.happens("wallet.topup", after_us=HOUR)
    assert story.where == ["invite"]


def test_timers_stand_still_and_have_as_long_to_go_as_before(invite: Plan):
    story = invited(invite)
    story.pass_time(6 * DAY)
    halt(story, Halt.PAUSED)
    story.pass_time(30 * DAY)
    assert story.where == ["first"]
    halt(story, None)
    story.pass_time(1 * DAY - 2 * HOUR)
    assert story.where == ["first"]
    story.pass_time(3 * HOUR)
    assert story.where == ["remind"]


def test_what_happens_is_heard_and_what_begins_then_waits(invite: Plan):
    story = invited(invite)
    halt(story, Halt.PAUSED)
    story.happens("wallet.payment", after_us=HOUR)
    assert story.where == ["paid:COMPLETED"]
    other = topped_up(invite)
    halt(other, Halt.PAUSED)
    other.happens("app.visit", after_us=HOUR)
    assert other.where == ["invite:EXIT_RULE"]


def test_what_waits_to_be_decided_is_said_when_it_goes_on(invite: Plan):
    story = topped_up(invite)
    halt(story, Halt.PAUSED)
    story.pass_time(2 * HOUR)
    assert story.says() == []
    assert story.where == ["invite"]
    halt(story, None)
    assert story.says() == ["invite"]
    assert story.where == ["first"]


def test_a_goal_takes_back_what_a_journey_was_about_to_say_however_long_it_was_paused(invite: Plan):
    story = topped_up(invite)
    halt(story, Halt.PAUSED)
    story.pass_time(30 * DAY)
    halt(story, None)
    story.happens("app.visit")
    assert story.where == ["invite:EXIT_RULE"]
    assert story.decide_all() is None


def test_what_is_learned_late_does_not_undo_what_time_had_done_before_a_pause(tmp_path: Path):
    story = Story(plan_of(tmp_path, INVITE.replace("after: 7d, then: remind", "after: 2h, then: remind")))
    for _ in range(2):
        story.happens("wallet.topup", after_us=HOUR)
    story.happens("app.consent")
    assert story.says() == ["invite"]
    story.pass_time(3 * HOUR)
    assert story.where == ["remind"]
    halt(story, Halt.PAUSED)
    story.fold(story.event("app.visit", ago_us=4 * HOUR))
    assert story.where == ["remind"]


def test_what_waits_to_be_handed_over_waits(invite: Plan):
    story = topped_up(invite)
    story.decide_all()
    halt(story, Halt.PAUSED)
    assert story.send_all() == []
    action = next(iter(story.state.outbox)).action_id
    assert next_step(story.state, action, ("push",)) is None
    story.pass_time(10 * MINUTE)
    halt(story, None)
    assert story.send_all() == ["invite"]


def test_stopped_its_instances_end_and_what_was_not_said_is_taken_back(invite: Plan):
    waiting, deciding, sending = invited(invite), topped_up(invite), topped_up(invite)
    sending.decide_all()
    for story in (waiting, deciding, sending):
        halt(story, Halt.STOPPED)
        assert [one.partition(":")[2] for one in story.where] == ["STOPPED"]
        assert story.says() == []
        assert not [one for one in story.state.outbox if not one.handed_us]
        halt(story, None)
        story.pass_time(2 * DAY)
        assert story.says() == []
        assert not [one for one in story.where if ":" not in one]


def test_a_playbook_that_comes_meanwhile_finds_it_paused(invite: Plan, tmp_path: Path):
    story = invited(invite)
    halt(story, Halt.PAUSED)
    other = replace(plan_of(tmp_path, INVITE.replace("after: 2d", "after: 3d")), halted=story.state.plan.halted)
    story.state = migrated(story.state, other)
    story.pass_time(20 * DAY)
    assert story.where == ["first"]
    halt(story, None)
    story.pass_time(7 * DAY + HOUR)
    assert story.where == ["remind"]
