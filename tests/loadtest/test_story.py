"""Laws of the story: it passes where the third check speaks and not before, and says where an answer is not as told."""

import asyncio

import pytest

from loadtest.story import play
from loadtest.teller import Story, StoryWentWrong
from tests.loadtest.fake_hearth import FakeHearth, Faults, running


def told(hearth: FakeHearth, run: str = "test") -> Story:
    with running(hearth) as address:
        return asyncio.run(play(address, run))


def low_balance_hearth(faults: Faults | None = None) -> FakeHearth:
    return FakeHearth(
        offers=("topup_series_plus",),
        speaks_after={"app.balance_check": 3, "network.streaming_session": 5},
        faults=faults or Faults(),
    )


def test_the_third_check_speaks():
    story = told(low_balance_hearth())
    answers = [(step.channel, step.answer.split(" ")[0]) for step in story.steps if step.answer]

    assert story.ok, "\n".join(story.lines())
    assert answers == [
        ("ussd", "nothing"),
        ("ussd", "nothing"),
        ("app", "topup_series_plus"),
        ("ussd", "topup_series_plus"),
        ("app", "the"),
        ("ussd", "nothing"),
    ]
    assert story.explanation["decision_id"]
    assert any("third balance check" in line for line in story.as_dict()["lines"])


def test_a_hearth_that_speaks_too_early_is_found_out():
    hearth = FakeHearth(offers=("topup_series_plus",))
    story = told(hearth)

    assert not story.ok
    assert next(step.what for step in story.steps if not step.ok) == "first balance check, by text menu"
    assert any("!! expected nothing" in line for line in story.lines())


def test_two_actions_on_two_channels_are_found_out():
    story = told(low_balance_hearth(Faults(id_per_channel=True)))

    assert "two channels, two actions" in [step.what for step in story.steps if not step.ok]


def test_a_signal_that_is_not_applied_ends_the_story():
    with pytest.raises(StoryWentWrong, match="becomes a prepaid customer"):
        told(low_balance_hearth(Faults(loses_rows=True)))
