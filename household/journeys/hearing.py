"""What journeys listened for and heard, kept; and whom that moves."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from household.decision import Moment
from household.events import EventBatch
from household.journeys.at_once import at_once
from household.journeys.course import Course
from household.journeys.effects import carried_out
from household.journeys.lanes import lane_member, moved_on
from household.plan import NONE, ListensFor
from household.state import NO_MEMBER, PartitionState
from household.tables.heard import ANY, Heard

_FLOAT, _WHOLE = struct.Struct("<d"), struct.Struct("<q")

FEW = 3
"""Rows that are put one by one: fewer than a call for all of them costs."""

NOTHING_ABOUT = 0
"""Of a report: about no instance of its journey."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedRows:
    """A batch of events that is being folded, and whose they are."""

    batch: EventBatch
    household_rows: NDArray[np.int32]
    member_rows: NDArray[np.int32]
    first_count: int
    """Of its first event, among all of the partition."""


def heard(state: PartitionState, fired: NDArray[np.int64], of: FoldedRows) -> list[tuple[int, Moment]]:
    """Keep what journeys listened for and heard; where that concerns instances, let them move.

    Args:
        state: changed in place.
        fired: (n, 3) row of the batch, row of `Rules.triggers`, room; in order. No two of these events that concern
            instances are of one household.
        of: the batch.

    Returns:
        The moments that arose, with their households.
    """
    many, arose = at_once(state), list[tuple[int, Moment]]()
    if many is not None:
        batch = of.batch
        is_report = many.ways.is_report[batch.types[fired[:, 0]]] != 0
        told = fired[~is_report]
        if told.shape[0]:
            left = many.hear(
                state,
                told,
                batch.types,
                batch.times_us,
                np.ascontiguousarray(batch.values),
                of.household_rows,
                of.member_rows,
                state.number(of.first_count),
                state.partition_count,
            )
            for row, journey in left:
                household, member = int(of.household_rows[row]), int(of.member_rows[row])
                arose += _moved(state, household, member, (journey,), int(batch.times_us[row]))
        fired = fired[is_report]
    return arose + _heard_singly(state, fired[:, :2].tolist(), of) if fired.shape[0] else arose


def _heard_singly(state: PartitionState, fired: Sequence[tuple[int, int]], of: FoldedRows) -> list[tuple[int, Moment]]:
    courses = state.courses
    assert courses is not None
    lateness_us = state.plan.clock.lateness_us
    batch, household_rows, member_rows = of.batch, of.household_rows, of.member_rows
    owners, rows = [], []
    concerned, entering = dict[int, dict[str, None]](), set[int]()
    for row, trigger in fired:
        place = trigger - courses.first
        listener, field = courses.listeners[place], courses.fields[place]
        course = courses.by_name[courses.names[listener.journey]]
        if listener.role is ListensFor.ENTRY and course.name in state.plan.halt_by_journey:
            continue  # it is not kept: nobody enters later by what happened meanwhile
        kind, time_us = int(batch.types[row]), int(batch.times_us[row])
        about = ANY
        if courses.is_report[kind]:
            action_id = next((one.action_id for one in batch.outcomes if one.row == row), "")
            about = _about(state, course, int(household_rows[row]), action_id)
        correlation = 0
        if field != NONE and field in courses.carried[kind]:
            value = float(batch.values[field, row])
            # Zero as -0.0, whose bits are not those of nothing.
            correlation = _WHOLE.unpack(_FLOAT.pack(value or -0.0))[0] if value == value else 0
        if field != NONE and correlation == 0 and about == ANY and courses.must_say[place]:
            continue  # it does not say which instance it is about
        concerned.setdefault(row, {})[course.name] = None
        if listener.role is ListensFor.ENTRY:
            entering.add(row)
        owners.append(int(household_rows[row]))
        rows.append(
            Heard(
                listener=listener.key,
                time_us=time_us,
                member=int(member_rows[row]),
                correlation=correlation,
                about=about,
                visit=0,
                event=state.number(of.first_count + row),
                keep_until_us=time_us + lateness_us + listener.look_back_us + 1,
            )
        )
    if not rows:
        return []
    _keep(state, owners, rows)
    arose = list[tuple[int, Moment]]()
    for row, journeys in concerned.items():
        household, member, time_us = int(household_rows[row]), int(member_rows[row]), int(batch.times_us[row])
        if row in entering or any(map(state.instances.of, state.rows_together(household))):
            arose += _moved(state, household, member, journeys, time_us)
    return arose


def _keep(state: PartitionState, owners: Sequence[int], rows: Sequence[Heard]) -> None:
    if len(rows) <= FEW:
        for owner, one in zip(owners, rows, strict=True):
            state.heard.put(one, owner=owner)
        return
    code = state.tables.names.code
    lying = [
        (
            code(one.listener),
            one.time_us,
            one.member,
            one.correlation,
            one.about,
            one.visit,
            one.event,
            one.keep_until_us,
        )
        for one in rows
    ]
    state.heard.append(np.array(owners, np.int64), np.array(lying, np.int64))


def _moved(
    state: PartitionState, household: int, member: int, journeys: Iterable[str], time_us: int
) -> list[tuple[int, Moment]]:
    assert state.courses is not None
    arose = []
    for name in journeys:
        course = state.courses.by_name[name]
        lane = lane_member(course, member)
        if course.is_members and lane == NO_MEMBER:
            continue
        arose += carried_out(state, moved_on(state, course, household, lane, since_us=time_us))
    return arose


def _about(state: PartitionState, course: Course, household: int, action_id: str) -> int:
    """Return the number of the instance that said something which is reported of; NOTHING_ABOUT for none."""
    for row in state.rows_together(household):
        for act in state.acts.of(row):
            if act.action_id and act.action_id == action_id and act.journey == course.name:
                return act.number
    return NOTHING_ABOUT
