"""Instances under another playbook: each goes on in the state of the same name, with the times that it had."""

from dataclasses import replace

import numpy as np

from household.journeys.effects import carried_out
from household.journeys.lanes import taken_back_of
from household.state import PartitionState
from household.tables.instances import Ending, Instance


def under_new_plan(state: PartitionState) -> None:
    """Let instances go on under the plan of the state; those that are where it has no state end.

    Costs what there is of different states, and what has to be changed.
    """
    table = state.instances
    slots = table.slots_in_order()
    if not slots.shape[0]:
        return
    known = {
        (state.tables.names.code(name), state.tables.names.code(step))
        for name, course in (state.courses.by_name.items() if state.courses is not None else ())
        for step in course.step_by_name
    }
    journeys = table.values("journey", slots)
    is_unknown = np.zeros(slots.shape[0], np.bool_)
    for column in ("step", "base_step"):
        pairs = np.column_stack([journeys, table.values(column, slots)])
        unique, which = np.unique(pairs, axis=0, return_inverse=True)
        # An instance that is not settled yet has no state as of when it was.
        gone = [(journey, step) not in known and step != 0 for journey, step in unique.tolist()]
        is_unknown |= np.array(gone)[which.reshape(-1)]
    for slot in slots[is_unknown].tolist():
        one, owner = table.row(slot), table.owner(slot)
        state.instances.put(_carried(state, one), owner=owner)
        if not _has(state, one, one.step):
            carried_out(state, taken_back_of(state, one, owner))


def _has(state: PartitionState, one: Instance, step: str) -> bool:
    course = state.courses.by_name.get(one.journey) if state.courses is not None else None
    return course is not None and step in course.step_by_name


def _carried(state: PartitionState, one: Instance) -> Instance:
    if not _has(state, one, one.step) and one.ending is Ending.LIVE:
        kept_us = state.plan.clock.lateness_us + 1
        now_us = state.now_us
        one = replace(one, ending=Ending.VERSION, ended_us=now_us, since_us=now_us, due_us=now_us + kept_us)
    return replace(
        one,
        base_step=one.step,
        base_since_us=one.since_us,
        base_due_us=one.due_us,
        base_visits=one.visits,
        based_us=max(one.since_us, one.ended_us) + 1,
    )
