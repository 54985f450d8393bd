"""What a journey has said, said once more.

Laws: it is the same action, under the same id, on the next channel; it has a place under the caps from then on, and
counts once it is handed over; where nothing was said, no channel is left or somebody has answered, the instance goes
on; what ends the instance, or takes its state away, takes it off its way, as it does what goes another way because a
channel failed.
"""

from pathlib import Path

import pytest

from household.migration import migrated
from household.plan import Plan
from tests.household.journey_world import Story, plan_of
from tests.household.shop import HOUR

TWICE = """
trigger: {on: wallet.topup}
again: 30d
outbound: [push, sms]
goal: {on: wallet.payment}
states:
  tell: {act: invite, within: 1h, hold: 1h, blocked: skip, failed: lost, then: told}
  told: {pause: {after: 3h}, then: once_more}
  once_more: {repeat: tell, within: 2h, hold: 4h, blocked: skip, failed: lost, then: rest}
  rest: {wait: [{on: hearth.decline, then: lost}], timeout: {after: 2d, then: end}}
  lost: end
"""


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan_of(tmp_path_factory.mktemp("twice"), TWICE)


def told(plan: Plan) -> Story:
    """Return a story in which anna has been told on push."""
    story = Story(plan)
    story.happens("app.consent")
    story.happens("wallet.topup", after_us=HOUR)
    assert story.says() == ["invite"]
    assert story.where == ["told"]
    return story


def delivered(story: Story) -> str:
    """Let the gateway of push say that it was delivered; return the action's id."""
    (action,) = story.state.actions
    story.report("delivered", action.action_id, channel="push")
    return action.action_id


def channels_of(story: Story) -> list[str]:
    """Return the channels of all contacts that were made."""
    return [story.state.plan.channels[one.channel].name for one in story.state.contacts if one.is_handed]


def test_the_same_action_goes_out_on_the_next_channel(twice: Plan):
    story = told(twice)
    action_id = delivered(story)
    story.pass_time(3 * HOUR)
    assert [one.action_id for one in story.state.outbox] == [action_id]
    assert story.where == ["once_more"]
    assert story.decide_all() is None, "it is not decided again"
    assert (story.send_all(), story.where) == (["invite"], ["rest"])
    assert channels_of(story)[-1] == "sms"
    assert [one.action_id for one in story.state.actions] == [action_id]


def test_it_has_a_place_until_it_goes_out_and_gives_it_back_where_it_does_not(twice: Plan):
    story = told(twice)
    delivered(story)
    story.pass_time(3 * HOUR)
    places = [one for one in story.state.contacts if not one.is_handed]
    assert [(story.state.plan.channels[one.channel].name, one.is_pending) for one in places] == [("sms", False)]
    story.happens("wallet.payment")
    assert story.where == ["once_more:GOAL"]
    assert (story.send_all(), [one for one in story.state.contacts if not one.is_handed]) == ([], [])


def test_it_replaces_what_a_gateway_never_acknowledged(twice: Plan):
    story = told(twice)
    story.pass_time(3 * HOUR)
    assert (story.send_all(), story.where) == (["invite"], ["rest"])
    (action,) = story.state.actions
    story.report("delivered", action.action_id, channel="sms")
    assert len(story.state.outbox) == 0


def test_who_has_answered_is_not_told_again(twice: Plan):
    story = told(twice)
    story.report("accept", delivered(story), channel="push")
    story.pass_time(3 * HOUR)
    assert (story.send_all(), story.where) == ([], ["rest"])


def test_where_no_channel_is_left_it_goes_on(twice: Plan):
    story = told(twice)
    (action,) = story.state.actions
    story.report("undelivered", action.action_id, channel="push")
    assert story.send_all() == ["invite"]  # by text, since push has failed
    story.report("delivered", action.action_id, channel="sms")
    story.pass_time(3 * HOUR)
    assert (len(story.state.outbox), story.send_all(), story.where) == (0, [], ["rest"])


def test_what_cannot_be_delivered_leads_where_it_is_declared(twice: Plan):
    story = told(twice)
    action_id = delivered(story)
    story.pass_time(3 * HOUR)
    story.send_all()
    story.report("undelivered", action_id, channel="sms")
    assert story.where == ["lost:COMPLETED"]


def test_what_nobody_fetches_in_time_is_not_said_later(twice: Plan):
    story = told(twice)
    delivered(story)
    story.pass_time(3 * HOUR)
    story.pass_time(7 * HOUR)
    assert (len(story.state.outbox), story.send_all()) == (0, [])


def test_under_a_playbook_that_has_no_such_state_it_is_taken_off_its_way(twice: Plan, tmp_path: Path):
    story = told(twice)
    delivered(story)
    story.pass_time(3 * HOUR)
    other = plan_of(tmp_path, TWICE.replace("once_more", "again_then"), name="story")
    story.state = migrated(story.state, other)
    assert story.where == ["once_more:VERSION"]
    assert (len(story.state.outbox), story.send_all()) == (0, [])


def test_at_the_goal_what_goes_another_way_since_a_channel_failed_goes_nowhere(twice: Plan):
    story = told(twice)
    (action,) = story.state.actions
    story.report("undelivered", action.action_id, channel="push")
    assert len(story.state.outbox) == 1
    story.happens("wallet.payment")
    assert story.where == ["told:GOAL"]
    assert (story.send_all(), len(story.state.outbox)) == ([], 0)
