"""What kernels know of a plan's journeys, and which of their states they can lead an instance through by themselves.

Plain are states that wait for events or so long, slots, and ends. Where an instance acts, branches, waits for a local
time or looks back, where several of a lane live, or something was learned late, it is walked in Python (walk.py).
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from household.journeys.course import Course, Courses
from household.plan import END, NONE, Again, JourneyStep, ListensFor, Plan, StepKind
from household.tables.acts import ActOfInstance, ActStatus
from household.tables.contract import columns_of
from household.tables.heard import Heard
from household.tables.instances import NEVER_US, Ending, Instance
from household.tables.slots import FIELDS
from household.tables.values import NamePool


def _places(row: type) -> dict[str, int]:
    return {column.name: FIELDS + place for place, column in enumerate(columns_of(row))}


_OF_INSTANCE, _OF_HEARD, _OF_ACT = _places(Instance), _places(Heard), _places(ActOfInstance)

JOURNEY, MEMBER, NUMBER = _OF_INSTANCE["journey"], _OF_INSTANCE["member"], _OF_INSTANCE["number"]
CORRELATION, VERSION, ENTERED = _OF_INSTANCE["correlation"], _OF_INSTANCE["version"], _OF_INSTANCE["entered_us"]
ENTRANT, STEP, SINCE, DUE_US = (_OF_INSTANCE[name] for name in ("entrant", "step", "since_us", "due_us"))
VISITS, BASE_VISITS = _OF_INSTANCE["visits"], _OF_INSTANCE["base_visits"]
BASE_STEP, BASE_SINCE, BASE_DUE = (_OF_INSTANCE[name] for name in ("base_step", "base_since_us", "base_due_us"))
BASED, ENDING, ENDED = (_OF_INSTANCE[name] for name in ("based_us", "ending", "ended_us"))
INSTANCE_COLUMNS: Final = len(_OF_INSTANCE)

HEARD_KEY, HEARD_TIME, HEARD_MEMBER = _OF_HEARD["listener"], _OF_HEARD["time_us"], _OF_HEARD["member"]
HEARD_CORRELATION, HEARD_ABOUT, HEARD_VISIT = (_OF_HEARD[name] for name in ("correlation", "about", "visit"))
HEARD_EVENT, HEARD_KEEP = _OF_HEARD["event"], _OF_HEARD["keep_until_us"]

ACT_JOURNEY, ACT_NUMBER, ACT_STATUS = (_OF_ACT[name] for name in ("journey", "number", "status"))

_ENDINGS, _STATUSES = list(Ending), list(ActStatus)
LIVE, COMPLETED, GOAL = (_ENDINGS.index(one) for one in (Ending.LIVE, Ending.COMPLETED, Ending.GOAL))
EXIT_RULE, TIMEOUT = _ENDINGS.index(Ending.EXIT_RULE), _ENDINGS.index(Ending.TIMEOUT)
PENDING, DECIDED, SAID = (_STATUSES.index(one) for one in (ActStatus.PENDING, ActStatus.DECIDED, ActStatus.SAID))
NEVER: Final = NEVER_US

L_KEY, L_COURSE, L_ROLE, L_STEP, L_TARGET, L_FIELD, L_MUST_SAY, L_LOOK_BACK, L_VERSION = range(9)
"""Columns of `listeners`."""
OF_GOAL, OF_EXIT, OF_WAIT, OF_ENTRY = range(4)
_ROLES = {ListensFor.GOAL: OF_GOAL, ListensFor.EXIT: OF_EXIT, ListensFor.WAIT: OF_WAIT, ListensFor.ENTRY: OF_ENTRY}

C_NAME, C_OF_MEMBER, C_IS_PLAIN, C_AGAIN, C_AFTER, C_PARALLEL, C_MOST, C_WINDOW, C_KEPT, C_FIRST, C_COUNT, C_ENTERS = (
    range(12)
)
"""Columns of `courses`."""
ONCE, AFTER_EXIT, AFTER = range(3)
_AGAINS = {Again.ONCE: ONCE, Again.AFTER_EXIT: AFTER_EXIT, Again.AFTER: AFTER}

S_NAME, S_KIND, S_AFTER, S_FROM, S_TO, S_TARGET, S_MISSED, S_VERSION = range(8)
"""Columns of `steps`; their places are those of all journeys together."""
WAITS, IS_SLOT, ENDS, OTHER = range(4)
AT_END: Final = -1


class Ways(NamedTuple):
    """The journeys of a plan, with the codes of a partition's names."""

    listeners: NDArray[np.int64]
    """(listeners, 9)."""
    courses: NDArray[np.int64]
    """(courses, 12)."""
    steps: NDArray[np.int64]
    """(steps, 8)."""
    course_by_name: NDArray[np.int32]
    """(names,) which course a key of the table `heard` belongs to; -1 for none."""
    carried: NDArray[np.uint8]
    """(event types, fields) not 0 where an event may carry a field."""
    is_report: NDArray[np.uint8]
    """(event types,)."""
    version: NDArray[np.int64]
    """(1,) code of the plan's version."""


def ways_of(plan: Plan, courses: Courses, names: NamePool) -> Ways:
    """Return what kernels know of a plan's journeys, in a partition with these names."""
    laid, steps, listeners = list[list[int]](), list[list[int]](), list[list[int]]()
    keys, place_by_name = dict[int, int](), dict[str, int]()
    for place, course in enumerate(courses.by_name.values()):
        place_by_name[course.name] = place
        first = len(steps)
        laid.append(_course(plan, course, names, first=first))
        steps += [[*_step(one, names, first=first), course.version_of[index]] for index, one in enumerate(course.steps)]
        keys |= {names.code(key): place for key in course.told}
    for place, one in enumerate(courses.listeners):
        course = courses.by_name[courses.names[one.journey]]
        first = laid[place_by_name[course.name]][C_FIRST]
        target = AT_END
        if one.role is ListensFor.WAIT:
            led = course.steps[one.step].waits[one.place].target
            target = AT_END if led == END else first + led
        listeners.append(
            [
                names.code(one.key),
                place_by_name[course.name],
                _ROLES[one.role],
                first + one.step if one.role is ListensFor.WAIT else NONE,
                target,
                courses.fields[place],
                int(courses.must_say[place]),
                one.look_back_us,
                one.version,
            ]
        )
    course_by_name = np.full(max(keys, default=0) + 1, -1, np.int32)
    for code, place in keys.items():
        course_by_name[code] = place
    carried = np.zeros((len(plan.event_types), max(len(plan.fields), 1)), np.uint8)
    for kind, fields in enumerate(courses.carried):
        carried[kind, list(fields)] = 1
    return Ways(
        listeners=np.array(listeners, np.int64).reshape(-1, 9),
        courses=np.array(laid, np.int64).reshape(-1, 12),
        steps=np.array(steps, np.int64).reshape(-1, 8),
        course_by_name=course_by_name,
        carried=carried,
        is_report=np.array(courses.is_report, np.uint8),
        version=np.array([names.code(plan.version)], np.int64),
    )


def _course(plan: Plan, course: Course, names: NamePool, *, first: int) -> list[int]:
    flow, halt = course.flow, plan.halt_by_journey.get(course.name)
    return [
        names.code(course.name),
        int(course.is_members),
        int(halt is None and course.look_back_us == 0 and not course.is_drained),
        _AGAINS[flow.again],
        flow.after_us,
        flow.parallel,
        flow.entries_most,
        flow.entries_window_us,
        course.kept_us(plan.clock.lateness_us),
        first,
        len(course.steps),
        int(halt is None),
    ]


def _step(step: JourneyStep, names: NamePool, *, first: int) -> list[int]:
    kind, after_us, from_us, to_us = OTHER, 0, 0, 0
    match step.kind:
        case StepKind.WAIT:
            assert step.timer is not None
            if step.timer.minute == NONE and step.timer.weekday == NONE:
                kind, after_us = WAITS, step.timer.after_us
        case StepKind.SLOT:
            assert step.slot is not None
            kind, from_us, to_us = IS_SLOT, step.slot.from_us, step.slot.to_us
        case StepKind.END:
            kind = ENDS
        case StepKind.ACT | StepKind.BRANCH:
            pass
    leads = [AT_END if target == END else first + target for target in (step.target, step.missed)]
    return [names.code(step.name), kind, after_us, from_us, to_us, *leads]
