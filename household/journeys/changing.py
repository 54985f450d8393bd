"""What a journey's new version has declared of who is inside: they are pinned, begin anew, or go where they are told.

All of them have been settled as they are. Where nothing is declared, or the states mean what they meant, nothing is
done here: each goes on in the state of the same name (versions.py).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from household.journeys.course import ActOutcome, outcome_key, way_key
from household.journeys.effects import carried_out
from household.journeys.lanes import put_elsewhere
from household.journeys.settling import instances_of, live_among, settle_as_they_are
from household.plan import (
    END,
    EarlierStates,
    Flow,
    Journey,
    JourneyStep,
    ListensFor,
    Plan,
    StateMove,
    StepKind,
    WhenChanged,
)
from household.plan.earlier import PINNING, listened_for, meaning_of, step_called
from household.state import PartitionState
from household.tables.slots import FIELDS, OWNER
from household.tables.table import Table

TIMED = (StepKind.WAIT, StepKind.SLOT)
"""States whose time stays due when it was, under another name."""

_ACT = ".act"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """Where instances go that are in a state, by its name."""

    target: int
    """State, or END."""
    begins: bool
    """They begin there; otherwise they are there with the time that they had."""


def by_declared_rules(state: PartitionState, before: Plan) -> NDArray[np.int64]:
    """Let instances go on as the new versions of their journeys have declared.

    Args:
        state: under the new plan.
        before: the one before.

    Returns:
        Slots of the table of instances of those that are where the new version has said.
    """
    placed = list[NDArray[np.int64]]()
    # Another playbook's journeys are others, whatever they are called.
    for journey in state.plan.journeys if state.plan.name == before.name else ():
        index = before.journey_by_name.get(journey.name)
        old = before.journeys[index] if index is not None else None
        if old is None or old.flow is None or journey.flow is None:
            continue
        was, own = meaning_of(before, old), meaning_of(state.plan, journey)
        if was != own:
            placed += _changed(state, journey, before, old, was=was, own=own)
    return np.concatenate([*placed, np.empty(0, np.int64)])


def _changed(
    state: PartitionState, journey: Journey, before: Plan, old: Journey, *, was: str, own: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    flow, old_flow = journey.flow, old.flow
    assert flow is not None
    assert old_flow is not None
    names = [step.name for step in old_flow.steps[: old_flow.own_count]]
    is_pinning = flow.changed in PINNING
    if is_pinning:
        # Where the plan does not carry them, they are where it has no such state, and end.
        called = {name: step_called(name, was) for name in names}
        _call_heard(state, journey.name, called, old_flow)
        _copy_heard(state, {key: step_called(key, was) for key in _marks(journey.name, old_flow)})
        _call_instances(state, journey.name, called)
    known = {step.name for step in flow.steps}
    back = {step_called(name, own): name for name in sorted(known) if step_called(name, own) not in known}
    _forget_what_meant_otherwise(state, journey, before, old)
    _call_heard(state, journey.name, back, old_flow)
    for earlier in old_flow.earlier:
        if earlier.version == own:
            _copy_heard(state, {step_called(key, own): key for key in _marks(journey.name, earlier)})
            _have_heard_all(state, journey.name, names)
    placed = np.empty(0, np.int64)
    if not is_pinning:
        # Before those that come back have names that are to be moved.
        placed = _moved(state, journey.name, _moves(flow, old_flow), begins_anew=flow.changed is WhenChanged.RESTART)
    return placed, _call_instances(state, journey.name, back)


def _forget_what_meant_otherwise(state: PartitionState, journey: Journey, before: Plan, old: Journey) -> None:
    """Forget what was heard by a name that listens for something else by now: for those inside it is done.

    What the earlier states heard that are carried stays.
    """
    was, now = listened_for(before, old), listened_for(state.plan, journey)
    roles = tuple(f"{journey.name}:{role}:" for role in (ListensFor.GOAL, ListensFor.EXIT, ListensFor.WAIT))
    heard, names = state.heard, state.tables.names.names
    slots = heard.slots_in_order()
    listeners = heard.values("listener", slots)
    gone = [
        code
        for code in np.unique(listeners).tolist()
        if (key := names[code]).startswith(roles) and "@" not in key and (key not in was or was[key] != now.get(key))
    ]
    heard.forget(slots[np.isin(listeners, gone)])


def _have_heard_all(state: PartitionState, journey: str, names: Collection[str]) -> None:
    """Let the live instances in some states take in nothing of before: they did not go by what was heard then."""
    slots = live_among(state, instances_of(state, {journey}))
    there = [state.tables.names.code(name) for name in names]
    slots = slots[np.isin(state.instances.values("step", slots), there)]
    state.instances.set(slots, based_us=np.maximum(state.instances.values("based_us", slots), state.now_us + 1))


def _marks(journey: str, told: Flow | EarlierStates) -> list[str]:
    """Return by which names a version's goal and rules to leave by are heard while it is in force."""
    goals = [told.goal] if told.goal is not None else []
    of = [(ListensFor.GOAL, one) for one in goals] + [(ListensFor.EXIT, one) for one in told.exits]
    return [f"{journey}:{role}:{mark.name}" for role, mark in of]


def _moves(flow: Flow, old: Flow) -> dict[str, _Move]:
    """Return by the name of a state of the version before where its instances go; nothing of those that stay."""
    places = {step.name: place for place, step in enumerate(flow.steps)}
    steps = [step for step in old.steps[: old.own_count] if step.kind in (*TIMED, StepKind.ACT)]
    match flow.changed:
        case WhenChanged.RESTART:
            return {step.name: _Move(target=0, begins=True) for step in steps}
        case WhenChanged.MIGRATE:
            told = {one.state: one for one in flow.moves}
            found = {}
            for step in steps:
                one = told.get(step.name) or told.get(step.name.removesuffix(_ACT))
                if one is None:
                    continue
                target = _target(flow, places, one, step)
                if one.rearms or not _is_the_same(flow, step, target):
                    begins = one.rearms or target == END or not _is_timed(flow, step, target)
                    found[step.name] = _Move(target=target, begins=begins)
            return found
        case _:
            return {}


def _target(flow: Flow, places: Mapping[str, int], move: StateMove, step: JourneyStep) -> int:
    """Return where one goes; from the act behind a slot to the act behind the other slot."""
    if move.target == END or move.state == step.name or flow.steps[move.target].kind is not StepKind.SLOT:
        return move.target
    return places.get(flow.steps[move.target].name + _ACT, move.target)


def _is_the_same(flow: Flow, step: JourneyStep, target: int) -> bool:
    return target != END and (flow.steps[target].name, flow.steps[target].kind) == (step.name, step.kind)


def _is_timed(flow: Flow, step: JourneyStep, target: int) -> bool:
    return step.kind in TIMED and flow.steps[target].kind in TIMED


def _moved(state: PartitionState, journey: str, moves: Mapping[str, _Move], *, begins_anew: bool) -> NDArray[np.int64]:
    """Let instances go to other states; return their slots."""
    if not moves:
        return np.empty(0, np.int64)
    assert state.courses is not None
    course, code = state.courses.by_name[journey], state.tables.names.code
    renamed = {code(name): code(course.steps[one.target].name) for name, one in moves.items() if not one.begins}
    anew = {code(name): one.target for name, one in moves.items() if one.begins}
    slots = live_among(state, instances_of(state, {journey}))
    steps = state.instances.values("step", slots)
    going = slots[np.isin(steps, list(anew))]
    # Before any is called otherwise: another state may have that name.
    targets = [
        (state.instances.owner(slot), state.instances.row(slot), anew[step])
        for slot, step in zip(going.tolist(), state.instances.values("step", going).tolist(), strict=True)
    ]
    otherwise = slots[np.isin(steps, list(renamed))]
    _name_anew(state.instances, otherwise, "step", renamed)
    settle_as_they_are(state, otherwise)
    # They were not there before: what is learned of before is about another state.
    state.instances.set(otherwise, based_us=state.now_us + 1)
    if begins_anew:
        state.instances.set(going, version=code(state.plan.version))
    by_lane: dict[tuple[int, int], dict[tuple[int, int], int]] = {}
    for owner, one, target in targets:
        by_lane.setdefault((owner, one.member), {})[(owner, one.number)] = target
    for (owner, member), targets_of_lane in by_lane.items():
        effects = put_elsewhere(state, course, owner, member, targets_of_lane, enters_anew=begins_anew)
        carried_out(state, effects)
    settle_as_they_are(state, going)
    return np.concatenate([going, otherwise])


def _call_instances(state: PartitionState, journey: str, names: Mapping[str, str]) -> NDArray[np.int64]:
    """Let states be called otherwise in a journey's live instances and their acts; return the slots of those."""
    if not names:
        return np.empty(0, np.int64)
    code = state.tables.names.code
    codes = {code(name): code(new) for name, new in names.items()}
    slots = live_among(state, instances_of(state, {journey}))
    slots = slots[np.isin(state.instances.values("step", slots), list(codes))]
    _name_anew(state.instances, slots, "step", codes)
    settle_as_they_are(state, slots)
    acts = state.acts.slots_in_order()
    acts = acts[state.acts.values("journey", acts) == code(journey)]
    _name_anew(state.acts, acts, "step", codes)
    _call_moments(state, journey, names)
    return slots


def _call_moments(state: PartitionState, journey: str, names: Mapping[str, str]) -> None:
    pending = state.pending
    for household in pending.owners():
        if any(one.journey == journey and one.step in names for one in pending.of(household)):
            pending.rewrite(
                household,
                lambda one: replace(one, step=names[one.step]) if one.journey == journey and one.step in names else one,
            )


def _call_heard(state: PartitionState, journey: str, names: Mapping[str, str], old: Flow) -> None:
    """Let what became of acts be heard under the other names; what waits heard, under both.

    Without a look back, too: who comes into a state at the very instant of an event takes that in.
    """
    if not names:
        return
    code, heard = state.tables.names.code, state.heard
    own = [step for step in old.steps if step.name in names]
    told = [
        (make(step.name), make(names[step.name]))
        for step in own
        for make in (
            *(_outcome(journey, outcome) for outcome in ActOutcome if step.act is not None),
            *(_way(journey, way) for way in range(len(step.ways))),
        )
    ]
    slots = heard.slots_in_order()
    _name_anew(heard, slots, "listener", {code(key): code(new) for key, new in told})
    waited = {
        f"{journey}:{ListensFor.WAIT}:{step.name}:{place}": f"{journey}:{ListensFor.WAIT}:{names[step.name]}:{place}"
        for step in own
        for place in range(len(step.waits))
    }
    _copy_heard(state, waited)


def _copy_heard(state: PartitionState, names: Mapping[str, str]) -> None:
    """Let what was heard by some names be heard by others as well: in columns, since it may be all of a day."""
    code, heard = state.tables.names.code, state.heard
    slots, place = heard.slots_in_order(), heard.place("listener")
    codes = {code(key): code(new) for key, new in names.items()}
    rows = heard.rows[slots[np.isin(heard.values("listener", slots), list(codes))]]
    fields = rows[:, FIELDS:]
    fields[:, place] = [codes[one] for one in fields[:, place].tolist()]
    heard.append(rows[:, OWNER], fields)


def _outcome(journey: str, outcome: ActOutcome) -> Callable[[str], str]:
    return lambda step: outcome_key(journey, step, outcome)


def _way(journey: str, way: int) -> Callable[[str], str]:
    return lambda step: way_key(journey, step, way)


def _name_anew(table: Table[Any], slots: NDArray[np.int64], column: str, codes: Mapping[int, int]) -> None:
    """Put other names into a column of the rows in some slots."""
    values = table.values(column, slots)
    is_other = np.isin(values, list(codes))
    others = np.array([codes[one] for one in values[is_other].tolist()], np.int64)
    table.set(slots[is_other], **{column: others})
