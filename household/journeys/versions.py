"""Instances under another playbook: each goes on in the state of the same name, with the times that it had."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from household.deciding.reasons import Reason
from household.journeys.acting import taken_back_of
from household.journeys.changing import by_declared_rules
from household.journeys.course import NEVER_FORGOTTEN_US
from household.journeys.effects import carried_out
from household.journeys.settling import forget_entries, instances_of, live_among, settle_as_they_are
from household.journeys.standing_still import going_us, standing_us
from household.open_actions import withdraw_action
from household.plan import Halt, JourneyStep, Plan
from household.state import PartitionState
from household.tables.acts import ActStatus
from household.tables.instances import NEVER_US, Ending, Instance


def under_new_plan(state: PartitionState, before: Plan) -> None:
    """Let instances go on under the plan of the state; those that are where it has no such state end.

    What they have done by now is settled: by the new plan's waits and timers they would have gone other ways. Costs a
    kernel's walk over what there is, and what has to be changed.

    Args:
        state: under the new plan.
        before: the one before.
    """
    halts, halted_before = state.plan.halt_by_journey, before.halt_by_journey
    changed = {name for name in halts.keys() | halted_before.keys() if halts.get(name) is not halted_before.get(name)}
    is_other = replace(state.plan, halted=()).version != replace(before, halted=()).version
    settled = {one.name for one in (*before.journeys, *state.plan.journeys) if one.flow is not None}
    settled = settled if is_other else settled & changed
    settle_as_they_are(state, instances_of(state, settled))
    forget_entries(state, settled)
    if is_other:
        _known_states(state, before, placed=by_declared_rules(state, before))
    for journey in sorted(changed):
        _halted(state, journey, halts.get(journey), was_paused=halted_before.get(journey) is Halt.PAUSED)


def _halted(state: PartitionState, journey: str, how: Halt | None, *, was_paused: bool) -> None:
    """Let the instances of a journey stand still, go on, or end."""
    if how is Halt.STOPPED:
        _silence(state, journey)
    table, now_us = state.instances, state.now_us
    for slot in live_among(state, instances_of(state, {journey})).tolist():
        one, owner = table.row(slot), table.owner(slot)
        if how is Halt.STOPPED:
            table.put(_based(_ended(state, one, Ending.STOPPED)), owner=owner)
            carried_out(state, taken_back_of(state, one, owner))
        elif how is Halt.PAUSED:
            table.put(_based(replace(one, due_us=standing_us(one.due_us, now_us))), owner=owner)
            _keep_acts(state, one, owner, NEVER_US)
        elif was_paused:
            going = replace(one, due_us=going_us(one.due_us, now_us))
            table.put(_based(going), owner=owner)
            _put_off(state, going, owner)
            _keep_acts(state, one, owner, going.due_us + state.plan.clock.lateness_us + 1)


def _keep_acts(state: PartitionState, one: Instance, owner: int, keep_until_us: int) -> None:
    """Keep what an instance is about to say for as long: a goal may still take it back."""
    for act in state.acts.of(owner):
        is_open = act.status in (ActStatus.PENDING, ActStatus.DECIDED)
        if is_open and act.journey == one.journey and act.number == one.number:
            action = state.actions.get(act.action_id) if act.action_id else None
            valid_us = action.valid_until_us + 1 if action is not None else 0
            state.acts.put(replace(act, keep_until_us=max(keep_until_us, valid_us)), owner=owner)


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


def _known_states(state: PartitionState, before: Plan, *, placed: NDArray[np.int64]) -> None:
    """End the instances that are where the plan has no state of that name that does the same, but for some slots."""
    table, code = state.instances, state.tables.names.code
    slots = live_among(state, table.slots_in_order())
    slots = slots[~np.isin(slots, placed)]
    if not slots.shape[0]:
        return
    did = {(journey, step.name): step.kind for journey, step in _states(before)}
    known = {
        (code(journey), code(step.name))
        for journey, step in _states(state.plan)
        if did.get((journey, step.name), step.kind) is step.kind
    }
    pairs = np.column_stack([table.values("journey", slots), table.values("step", slots)])
    unique, which = np.unique(pairs, axis=0, return_inverse=True)
    is_gone = np.array([(journey, step) not in known for journey, step in unique.tolist()])
    for slot in slots[is_gone[which.reshape(-1)]].tolist():
        one, owner = table.row(slot), table.owner(slot)
        table.put(_based(_ended(state, one, Ending.VERSION)), owner=owner)
        carried_out(state, taken_back_of(state, one, owner))


def _states(plan: Plan) -> Iterator[tuple[str, JourneyStep]]:
    for journey in plan.journeys:
        if journey.flow is not None:
            for step in journey.flow.steps:
                yield journey.name, step


def instances_by_state(state: PartitionState) -> dict[tuple[str, str], int]:
    """Return how many instances live: (journey, state) → count."""
    table, names = state.instances, state.tables.names
    slots = table.slots_in_order()
    living = live_among(state, slots)
    pairs = np.column_stack([table.values("journey", living), table.values("step", living)])
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    return {
        (names.names[journey], names.names[step]): count
        for (journey, step), count in zip(found.tolist(), counts.tolist(), strict=True)
    }


def _ended(state: PartitionState, one: Instance, ending: Ending) -> Instance:
    """Return an instance as it ends now; it is known for as long as it counts for whether one may enter again."""
    now_us = state.now_us
    course = state.courses.by_name.get(one.journey) if state.courses is not None else None
    kept_us = state.plan.clock.lateness_us + 1
    if course is not None:
        kept_us = course.kept_us(state.plan.clock.lateness_us)
    due_us = NEVER_US if kept_us == NEVER_FORGOTTEN_US else now_us + kept_us
    return replace(one, ending=ending, ended_us=now_us, since_us=now_us, due_us=due_us)


def _based(one: Instance) -> Instance:
    """Return an instance that is walked from where it is, whatever is learned of what was before."""
    return replace(
        one,
        base_step=one.step,
        base_since_us=one.since_us,
        base_due_us=one.due_us if one.ending is Ending.LIVE else NEVER_US,
        base_visits=one.visits,
        based_us=max(one.based_us, one.since_us + 1, one.ended_us + 1),
    )
