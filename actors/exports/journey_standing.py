"""Where a household is in a journey at a time, what it waits for there, and why it did not enter if it did not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from actors.exports.condition_told import parts_of
from household.graph.persons import members_of, name_of_row
from household.plan import NONE, Again, Journey, Plan, Scope, StepKind
from household.plan.experiments import CONTROL
from household.state import NO_MEMBER, PartitionState
from household.tables.instances import NEVER_US, Ending, Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestSignal:
    """The newest signal of a type that the household had."""

    time_us: int
    fields: tuple[float, ...]
    """(fields,) NaN where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceTold:
    """One instance, as people ask for it."""

    member: str
    state: str
    entered_us: int
    since_us: int
    waits_for: tuple[str, ...]
    due_us: int | None
    """Until when; None where it has ended."""
    ending: str
    """Empty while it has not."""
    ended_us: int
    playbook_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotEntered:
    """Why one who could be in a journey is not, or would not enter once more."""

    member: str
    """Empty for the household as a whole."""
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneyTold:
    """All there is to say of a household and a journey."""

    journey: str
    title: str
    is_in_control: bool
    instances: tuple[InstanceTold, ...]
    not_entered: tuple[NotEntered, ...]


def journey_told(
    state: PartitionState,
    household: int,
    name: str,
    seen: Mapping[str, NewestSignal],
    fired: Mapping[int, int],
    at_us: int,
) -> JourneyTold:
    """Return how a household stands in a journey.

    Args:
        state: as of then; read only.
        household: row of it.
        name: of the journey, which the plan of the state has.
        seen: event type → its newest signal of the household.
        fired: row of a member, or NO_MEMBER → when a moment of the journey arose last, for one without states.
        at_us: as of when.
    """
    plan = state.plan
    journey = plan.journeys[plan.journey_by_name[name]]
    own = [one for one in state.together(state.instances, household) if one.journey == name]
    own.sort(key=lambda one: (one.entered_us, one.number))
    controls = {one.experiment for one in state.together(state.arms, household) if one.arm == CONTROL}
    return JourneyTold(
        journey=name,
        title=journey.title,
        is_in_control=name in controls,
        instances=tuple(_standing(state, journey, one) for one in own),
        not_entered=tuple(_not_entered(state, household, journey, own, seen, fired, at_us)),
    )


def _standing(state: PartitionState, journey: Journey, one: Instance) -> InstanceTold:
    is_live = one.ending is Ending.LIVE
    return InstanceTold(
        member=name_of_row(state, one.entrant),
        state=one.step,
        entered_us=one.entered_us,
        since_us=one.since_us,
        waits_for=tuple(_waits_for(state.plan, journey, one.step)) if is_live else (),
        due_us=one.due_us if is_live and one.due_us < NEVER_US else None,
        ending="" if is_live else one.ending.value,
        ended_us=one.ended_us,
        playbook_version=one.version,
    )


def _waits_for(plan: Plan, journey: Journey, state_name: str) -> Iterator[str]:
    """Yield what ends a state."""
    flow = journey.flow
    step = next((one for one in flow.steps if one.name == state_name), None) if flow is not None else None
    if step is None:
        return
    if step.kind is StepKind.ACT:
        yield "its action to be handed over, or to be blocked"
    if step.kind is StepKind.SLOT:
        yield "its slot to begin"
    for wait in step.waits:
        names = " or ".join(plan.event_types[index].name for index in wait.events)
        yield names + (f" with {plan.programs[wait.program].text}" if wait.program != NONE else "")


def _not_entered(
    state: PartitionState,
    household: int,
    journey: Journey,
    own: Sequence[Instance],
    seen: Mapping[str, NewestSignal],
    fired: Mapping[int, int],
    at_us: int,
) -> Iterator[NotEntered]:
    trigger = journey.trigger
    if trigger is None:
        return
    for name, row, member in [*members_of(state, household)] or [("", household, NO_MEMBER)]:
        lanes = state.same_members(row, member) if trigger.scope is Scope.MEMBER else (NO_MEMBER,)
        mine = [one for one in own if one.member in lanes]
        if any(one.ending is Ending.LIVE for one in mine):
            continue
        reasons = [*_unheard(state.plan, journey, seen), *_untrue(state, row, member, journey, seen, at_us)]
        newest = max((fired[one] for one in lanes if one in fired), default=None)
        reasons += _rests(journey, mine, newest, at_us)
        if not reasons:
            reasons = ["all of it is true: it enters when one of its events makes it so"]
        yield NotEntered(member=name, reasons=tuple(reasons))


def _unheard(plan: Plan, journey: Journey, seen: Mapping[str, NewestSignal]) -> Iterator[str]:
    assert journey.trigger is not None
    names = [plan.event_types[index].name for index in journey.trigger.events]
    if not any(name in seen for name in names):
        yield f"nothing has come that it is looked at for: {', '.join(names)}"


def _untrue(
    state: PartitionState, household: int, member: int, journey: Journey, seen: Mapping[str, NewestSignal], at_us: int
) -> Iterator[str]:
    trigger, plan = journey.trigger, state.plan
    assert trigger is not None
    if trigger.program == NONE:
        return
    readings = [float(one) for one in state.readings(household, member, at_us)]
    heard = [seen[name] for index in trigger.events if (name := plan.event_types[index].name) in seen]
    newest = max(heard, key=lambda one: one.time_us, default=None)
    fields = newest.fields if newest is not None else tuple([np.nan] * len(plan.fields))
    for part in parts_of(plan, trigger.program, readings, fields):
        if part.holds is True:
            continue
        known = ", ".join(f"{name} is {text}" for name, text in part.readings)
        word = "is not true" if part.holds is False else "is not known"
        yield f"{part.text} {word}" + (f": {known}" if known else "")


def _rests(journey: Journey, mine: Sequence[Instance], fired_us: int | None, at_us: int) -> Iterator[str]:
    """Yield what keeps one away who has been there."""
    trigger, flow = journey.trigger, journey.flow
    assert trigger is not None
    if flow is None:
        if fired_us is not None and at_us < fired_us + trigger.cooldown_us:
            yield f"it rests until {_at(fired_us + trigger.cooldown_us)}, after the moment at {_at(fired_us)}"
        return
    ended = max((one.ended_us for one in mine), default=0)
    if mine and flow.again is Again.ONCE:
        yield "it is entered once, and was"
    if mine and flow.again is Again.AFTER and at_us < ended + flow.after_us:
        yield f"it may be entered again from {_at(ended + flow.after_us)} on"
    recent = sum(one.entered_us > at_us - flow.entries_window_us for one in mine)
    if flow.entries_most and recent >= flow.entries_most:
        yield f"it was entered {recent} times within its window, of {flow.entries_most} at most"


def _at(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1e6, tz=UTC).isoformat(timespec="seconds")
