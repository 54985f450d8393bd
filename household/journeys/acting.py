"""Which acts a walk has begun, and which it takes back."""

from dataclasses import replace

from household.journeys.consequences import Consequence, ConsequenceKind
from household.journeys.course import Course
from household.journeys.standing_still import is_paused
from household.journeys.walk import Walk
from household.plan import StepKind
from household.state import PartitionState
from household.tables.acts import ActOfInstance, ActStatus
from household.tables.instances import NEVER_US, Ending, Instance

TAKES_BACK = frozenset(
    {
        Ending.GOAL,
        Ending.EXIT_RULE,
        Ending.CONSENT,
        Ending.POLICY,
        Ending.STALE,
        Ending.MERGED,
        Ending.VERSION,
        Ending.STOPPED,
    }
)
"""Endings after which nothing that an instance has said already is to be shown any more."""


def _acts_of(state: PartitionState, journey: str, key: tuple[int, int]) -> list[ActOfInstance]:
    owner, number = key
    return [one for one in state.acts.of(owner) if one.journey == journey and one.number == number]


def taken_back_of(state: PartitionState, one: Instance, owner: int) -> list[Consequence]:
    """Mark, and return, all acts of an instance that is gone of which something was not said yet."""
    open_ones = (ActStatus.PENDING, ActStatus.DECIDED, ActStatus.SAID)
    return [
        _marked(state, act, owner)
        for act in _acts_of(state, one.journey, (owner, one.number))
        if act.status in open_ones
    ]


def _marked(state: PartitionState, act: ActOfInstance, owner: int) -> Consequence:
    state.acts.put(replace(act, status=ActStatus.WITHDRAWN), owner=owner)
    return Consequence(kind=ConsequenceKind.TAKEN_BACK, owner=owner, act=act)


def taken_back(state: PartitionState, course: Course, key: tuple[int, int], walk: Walk) -> list[Consequence]:
    """Mark, and return, the acts of which what was not said yet is not to be said any more."""
    effects = []
    for act in _acts_of(state, course.name, key):
        is_said = act.status is ActStatus.SAID and walk.ending in TAKES_BACK
        is_open = act.status in (ActStatus.PENDING, ActStatus.DECIDED)
        if is_said or (is_open and not _is_at(course, walk, act)):
            effects.append(_marked(state, act, key[0]))
    return effects


def _is_at(course: Course, walk: Walk, act: ActOfInstance) -> bool:
    """Return whether an act is what an instance is about at present."""
    if not walk.is_live or course.steps[walk.step].act is None:
        return False
    return course.step_by_name.get(act.step) == walk.step and walk.visits.get(walk.step) == act.visit


def to_say(state: PartitionState, course: Course, walk: Walk, member: int) -> ActOfInstance | None:
    """Return the act that has just begun; None where there is none, or it was begun before."""
    step = course.steps[walk.step]
    if not walk.is_live or step.kind is not StepKind.ACT:
        return None
    visit = walk.visits[walk.step]
    household = state.households.key(walk.owner).decode(errors="backslashreplace")
    # By the name in its own version: what was begun before another came into force is not said once more.
    moment_id = f"{household}/{course.name}/{walk.number}/{course.plain_names[walk.step]}/{visit}"
    known = state.acts.get(walk.owner, moment_id)
    if known is not None and (known.status is not ActStatus.WITHDRAWN or (walk.owner, moment_id) in state.settled):
        return None
    return ActOfInstance(
        moment_id=moment_id,
        journey=course.name,
        member=member,
        number=walk.number,
        step=step.name,
        visit=visit,
        status=ActStatus.PENDING,
        keep_until_us=NEVER_US if is_paused(state, course.name) else walk.due_us + state.plan.clock.lateness_us + 1,
    )
