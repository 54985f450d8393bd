"""Law: journeys go where a slow reference in plain Python has them go, in whatever order things are learned.

A hundred thousand of them: `python -m tests.household.journey_trials 100000`. A rule that is planted wrong must show.
"""

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from household.journeys import effects, lanes
from household.journeys.walk import Lane, Walk
from household.plan import Again, ListensFor
from household.tables.heard import ANY, Heard
from tests.household.journey_trials import Differs, trials

COUNT = 250
TRIES = 50
"""In so many a planted fault must show."""


def test_random_journeys_go_where_the_reference_has_them_go():
    trials(COUNT)


def _events_win_ties() -> Any:
    real = Lane._let_time_pass
    return mock.patch.object(Lane, "_let_time_pass", lambda lane, until_us: real(lane, until_us - 1))


def _waits_match_the_person() -> Any:
    def ends_wait(lane: Lane, walk: Walk, one: Heard, told: Any) -> bool:
        listener = told.listener
        return bool(
            listener is not None
            and listener.role is ListensFor.WAIT
            and listener.step == walk.step
            and one.time_us >= walk.since_us - listener.look_back_us
            and one.event not in walk.used
        )

    return mock.patch.object(Lane, "_ends_wait", ends_wait)


def _one_event_ends_two_waits() -> Any:
    real = Lane._ends_wait

    def ends_wait(lane: Lane, walk: Walk, one: Heard, told: Any) -> bool:
        walk.used.clear()
        return real(lane, walk, one, told)

    return mock.patch.object(Lane, "_ends_wait", ends_wait)


def _all_goes_on_from_where_it_is() -> Any:
    def current(course: Any, instances: Any) -> list[Walk]:
        return [lanes._walk(course, owner, one) for owner, one in instances]

    return mock.patch.object(lanes, "_base_walks", current)


def _the_past_is_forgotten() -> Any:
    return mock.patch.object(effects, "settled", return_value=None)


def _what_is_over_is_still_said() -> Any:
    return mock.patch.object(lanes, "_taken_back", return_value=[])


def _once_is_after_exit() -> Any:
    real = Lane._may_enter

    def may_enter(lane: Lane, one: Heard) -> bool:
        flow = lane.course.flow
        if flow.again is Again.ONCE:
            alike = [walk for walk in lane.walks if walk.correlation == one.correlation]
            return not any(walk.is_live for walk in alike) and sum(walk.is_live for walk in lane.walks) < flow.parallel
        return real(lane, one)

    return mock.patch.object(Lane, "_may_enter", may_enter)


def _reports_are_about_anybody() -> Any:
    return mock.patch.object(effects, "_about", return_value=ANY)


RARE = 940
"""First seed, for what shows in few of them only."""

FAULTS: dict[str, Callable[[], Any]] = {
    "events win ties with time": _events_win_ties,
    "waits match the person": _waits_match_the_person,
    "one event ends two waits": _one_event_ends_two_waits,
    "all goes on from where it is": _all_goes_on_from_where_it_is,
    "the past is forgotten before it is taken in": _the_past_is_forgotten,
    "what is over is still said": _what_is_over_is_still_said,
    "once is after every exit": _once_is_after_exit,
    "reports are about anybody": _reports_are_about_anybody,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_rule_that_is_planted_wrong_turns_red(fault: str):
    with FAULTS[fault](), pytest.raises((Differs, AssertionError, StopIteration)):
        trials(TRIES, first=RARE if fault.startswith("reports") else 0)
