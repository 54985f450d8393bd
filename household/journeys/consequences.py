"""What moving on brings about, as data: a moment arises, an act is taken back, or said once more."""

from dataclasses import dataclass
from enum import Enum, auto

from household.decision import Moment
from household.journeys.course import Course
from household.journeys.walk import Walk
from household.plan import NONE
from household.tables.acts import ActOfInstance


class ConsequenceKind(Enum):
    """What is to be carried out."""

    ARISES = auto()
    """A moment is to be decided."""
    TAKEN_BACK = auto()
    """What was not said yet of an act never will be."""
    SAID_AGAIN = auto()
    """What an act before has said is to go out once more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequence:
    """Something that moving on brought about, as data."""

    kind: ConsequenceKind
    owner: int
    """Row of the household beneath which the instance lies."""
    moment: Moment | None = None
    act: ActOfInstance | None = None
    until_us: int = 0
    """What is said again goes out before then."""


def begun(course: Course, walk: Walk, act: ActOfInstance) -> Consequence:
    """Return what an act that has just begun brings about."""
    said = course.steps[walk.step].act
    if said is not None and said.repeats != NONE:
        return Consequence(kind=ConsequenceKind.SAID_AGAIN, owner=walk.owner, act=act, until_us=walk.due_us)
    return Consequence(kind=ConsequenceKind.ARISES, owner=walk.owner, act=act, moment=_moment(walk, act))


def _moment(walk: Walk, act: ActOfInstance) -> Moment:
    return Moment(
        moment_id=act.moment_id,
        journey=act.journey,
        member=walk.entrant,
        event_id=b"",
        event_type="",
        time_us=walk.since_us,
        step=act.step,
        until_us=walk.due_us,
    )
