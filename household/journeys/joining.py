"""Households that become one, or are so no more: what instances have done stays done, and from then on they hear alike.

What one of them heard before ends no wait of the other's instances, also where all is walked anew later.
"""

from dataclasses import dataclass

import numpy as np

from household.decision import Moment
from household.graph.events import GraphSaying
from household.journeys.course import Courses
from household.journeys.effects import carried_out
from household.journeys.lanes import lane_member, moved_on
from household.journeys.settling import settle_as_they_are
from household.state import NO_MEMBER, PartitionState


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """Which rows lay together before a graph event."""

    groups: frozenset[tuple[int, ...]]


def before(state: PartitionState, saying: GraphSaying | None) -> Apart | None:
    """Return how the rows that a graph event may bring together, or apart, lie now; None where no instance is there."""
    if saying is None or state.courses is None or not len(state.instances):
        return None
    names = (saying.household, saying.other, saying.identifier, *saying.subjects)
    rows = [state.households.find(name.encode()) for name in names if name]
    return Apart(groups=frozenset(state.rows_together(row) for row in rows if row >= 0))


def after(state: PartitionState, apart: Apart | None) -> list[tuple[int, Moment]]:
    """Let the instances of households that lie otherwise than before go on as they lie now.

    Returns:
        The moments that arose, with their households.
    """
    if apart is None:
        return []
    assert state.courses is not None
    rows = dict.fromkeys(row for group in sorted(apart.groups) for row in group)
    groups = dict.fromkeys(state.rows_together(row) for row in rows)
    changed = [group for group in groups if group not in apart.groups]
    arose = []
    for group in changed:
        for row in group:
            _settle(state, state.courses, row)
        lanes = {
            (one.journey, lane_member(state.courses.by_name[one.journey], one.member)): row
            for row in group
            for one in state.instances.of(row)
            if one.journey in state.courses.by_name
        }
        for (journey, member), row in sorted(lanes.items(), key=lambda lane: _by_name(state, *lane[0])):
            course = state.courses.by_name[journey]
            arose += carried_out(state, moved_on(state, course, row, member, since_us=None, is_joined=True))
    return arose


def _by_name(state: PartitionState, journey: str, member: int) -> tuple[str, bytes, bytes, int]:
    """Return the place of a lane among others: not by its row, which hangs on how the log was batched."""
    if state.fold_version < 5 or member == NO_MEMBER:
        return journey, b"", b"", member
    household = int(state.members.arrays.parents[member])
    return journey, state.households.key(household), state.members.key(member), member


def _settle(state: PartitionState, courses: Courses, row: int) -> None:
    slots = state.instances.slots_of(row)
    settle_as_they_are(state, slots)
    heard = state.heard
    own = [slot for slot in heard.slots_of(row).tolist() if _is_of_event(courses, heard.row(slot).listener)]
    heard.forget(np.array(own, np.int64))


def _is_of_event(courses: Courses, key: str) -> bool:
    course = courses.of_key(key)
    told = course.told.get(key) if course is not None else None
    return told is None or told.listener is not None
