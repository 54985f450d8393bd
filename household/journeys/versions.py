"""Instances under another playbook: each goes on in the state of the same name, with the times that it had."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from household.deciding.reasons import Reason
from household.journeys.course import NEVER_FORGOTTEN_US
from household.journeys.effects import carried_out
from household.journeys.lanes import taken_back_of
from household.journeys.standing_still import going_us, standing_us
from household.open_actions import withdraw_action
from household.plan import Halt
from household.state import PartitionState
from household.tables.acts import ActStatus
from household.tables.instances import NEVER_US, Ending, Instance

_LIVE = list(Ending).index(Ending.LIVE)


def under_new_plan(state: PartitionState, halted_before: Mapping[str, Halt]) -> None:
    """Let instances go on under the plan of the state; those that are where it has no state end.

    Costs what there is of different states, and what has to be changed.

    Args:
        state: under the new plan.
        halted_before: what was halted under the one before, by journey.
    """
    _known_states(state)
    halts = state.plan.halt_by_journey
    for journey in sorted(halts.keys() | halted_before.keys()):
        if halts.get(journey) is not halted_before.get(journey):
            _halted(state, journey, halts.get(journey), was_paused=halted_before.get(journey) is Halt.PAUSED)


def _halted(state: PartitionState, journey: str, how: Halt | None, *, was_paused: bool) -> None:
    """Let the instances of a journey stand still, go on, or end."""
    if how is Halt.STOPPED:
        _silence(state, journey)
    table, now_us = state.instances, state.now_us
    slots = table.slots_in_order()
    slots = slots[table.values("journey", slots) == state.tables.names.code(journey)]
    for slot in slots[table.values("ending", slots) == _LIVE].tolist():
        one, owner = table.row(slot), table.owner(slot)
        if how is Halt.STOPPED:
            table.put(_based(_stopped(state, one)), owner=owner)
            carried_out(state, taken_back_of(state, one, owner))
        elif how is Halt.PAUSED:
            table.put(_based(replace(one, due_us=standing_us(one.due_us, now_us))), owner=owner)
        elif was_paused:
            going = replace(one, due_us=going_us(one.due_us, now_us))
            table.put(_based(going), owner=owner)
            _put_off(state, going, owner)


def _silence(state: PartitionState, journey: str) -> None:
    """Take back what a journey was to say and has not said."""
    pending = state.pending
    for household in pending.owners():
        if any(one.journey == journey for one in pending.of(household)):
            pending.rewrite(household, lambda one: None if one.journey == journey else one)
    said = [
        (household, one.action_id)
        for household in state.slates.owners()
        for slate in state.slates.of(household)
        for one in slate.decision.slate
        if one.journey == journey
    ]
    for household, action_id in said:
        action = state.actions.get(action_id)
        if action is not None and not action.handed_us:
            withdraw_action(state, household, action_id, Reason.JOURNEY_OVER)


def _put_off(state: PartitionState, one: Instance, owner: int) -> None:
    """Give what an instance is about to say the time that it has by now."""
    saying = {
        act.moment_id
        for act in state.acts.of(owner)
        if act.journey == one.journey and act.number == one.number and act.status is ActStatus.PENDING
    }
    if saying:
        state.pending.rewrite(
            owner, lambda moment: replace(moment, until_us=one.due_us) if moment.moment_id in saying else moment
        )


def _known_states(state: PartitionState) -> None:
    """End the instances that are where the plan has no state."""
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


def instances_by_state(state: PartitionState) -> dict[tuple[str, str], int]:
    """Return how many instances live: (journey, state) → count."""
    table, names = state.instances, state.tables.names
    slots = table.slots_in_order()
    living = slots[table.values("ending", slots) == _LIVE]
    pairs = np.column_stack([table.values("journey", living), table.values("step", living)])
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    return {
        (names.names[journey], names.names[step]): count
        for (journey, step), count in zip(found.tolist(), counts.tolist(), strict=True)
    }


def _has(state: PartitionState, one: Instance, step: str) -> bool:
    course = state.courses.by_name.get(one.journey) if state.courses is not None else None
    return course is not None and step in course.step_by_name


def _carried(state: PartitionState, one: Instance) -> Instance:
    if not _has(state, one, one.step) and one.ending is Ending.LIVE:
        one = _ended(state, one, Ending.VERSION)
    return _based(one)


def _ended(state: PartitionState, one: Instance, ending: Ending) -> Instance:
    kept_us, now_us = state.plan.clock.lateness_us + 1, state.now_us
    return replace(one, ending=ending, ended_us=now_us, since_us=now_us, due_us=now_us + kept_us)


def _stopped(state: PartitionState, one: Instance) -> Instance:
    """Return an instance as it ends by a person's word; it is known for as long as whether one may enter again."""
    ended = _ended(state, one, Ending.STOPPED)
    course = state.courses.by_name.get(one.journey) if state.courses is not None else None
    if course is None:
        return ended
    kept_us = course.kept_us(state.plan.clock.lateness_us)
    return replace(ended, due_us=NEVER_US if kept_us == NEVER_FORGOTTEN_US else ended.ended_us + kept_us)


def _based(one: Instance) -> Instance:
    """Return an instance that is walked from where it is, whatever is learned of what was before."""
    return replace(
        one,
        base_step=one.step,
        base_since_us=one.since_us,
        base_due_us=one.due_us,
        base_visits=one.visits,
        based_us=max(one.since_us, one.ended_us) + 1,
    )
