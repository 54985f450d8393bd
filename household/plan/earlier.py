"""States of earlier versions, by which instances go on that their journey's new version pins: carried into its plan.

A plan refers by index, and an index means another thing in another plan: what is carried is written anew by names. What
a state means is told in names, too (`meaning_of`): two versions with equal ones have the same states.
"""

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from household.columns.program import Op
from household.plan.canonical import to_plain
from household.plan.conditions import Program
from household.plan.flow import END, EarlierStates, Flow, JourneyStep, ListensFor, Mark, WhenChanged
from household.plan.journeys import Journey
from household.plan.plan import Plan
from household.plan.references import NONE

VERSION_DIGITS = 8

PINNING = (WhenChanged.PIN, WhenChanged.DRAIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCarried:
    """States of an earlier version that a plan cannot carry: who goes by them ends with VERSION."""

    journey: str
    version: str
    lacks: tuple[str, ...]
    """What they refer to and the plan does not have: `event 'loan_overdue'`."""


def meaning_of(plan: Plan, journey: Journey) -> str:
    """Return a digest of what an instance of a journey with states goes by: states, goal, rules to leave by."""
    assert journey.flow is not None
    told = _Teller(plan).told(journey.flow)
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:VERSION_DIGITS]


def listened_for(plan: Plan, journey: Journey) -> dict[str, tuple[object, ...]]:
    """Return what goal, rules to leave by and waits of a journey's own states listen for: key → that in names."""
    index, tell = plan.journey_by_name[journey.name], _Teller(plan)
    return {
        one.key: (*tell.heard(one.events, one.program).values(), one.is_of_any_event, tell.field(one.correlation))
        for one in plan.listeners
        if one.journey == index and one.role is not ListensFor.ENTRY and one.version == 0
    }


def step_called(name: str, version: str) -> str:
    """Return what a state is called in plans that carry it as one of an earlier version."""
    return f"{name}@{version}"


def pinned_in(before: Plan, plan: Plan) -> dict[str, str]:
    """Return the journeys of which a plan pins those that go by the version before: name → that version."""
    found = {}
    for journey in plan.journeys:
        old = _of(before, journey)
        if old is not None and journey.flow is not None and journey.flow.changed in PINNING:
            was = meaning_of(before, old)
            if was != meaning_of(plan, journey):
                found[journey.name] = was
    return found


def with_earlier(
    plan: Plan, before: Plan, *, empty: Collection[tuple[str, str]] = ()
) -> tuple[Plan, tuple[NotCarried, ...]]:
    """Return a plan that carries the states by which instances go on that are under way as it comes into force.

    Args:
        plan: as it is written.
        before: in force until then, with the earlier states that it carries itself.
        empty: (journey, version) of those by which nobody goes any more.

    Returns:
        The plan, and what it cannot carry.
    """
    if before.name != plan.name:
        return plan, ()
    pinned, carrying = pinned_in(before, plan), _Carrying(before=before, plan=plan, programs=list(plan.programs))
    journeys = []
    for journey in plan.journeys:
        old = _of(before, journey)
        if old is None or old.flow is None or journey.flow is None:
            journeys.append(journey)
            continue
        own = meaning_of(plan, journey)
        wanted = [(one.version, _earlier_part(old.flow, one)) for one in old.flow.earlier]
        if journey.name in pinned:
            wanted.append((pinned[journey.name], _own_part(old.flow)))
        flow = journey.flow
        for version, part in wanted:
            if version != own and (journey.name, version) not in empty:
                flow = carrying.carried(journey.name, flow, version, part)
        journeys.append(replace(journey, flow=flow))
    made = replace(
        plan,
        journeys=tuple(journeys),
        programs=tuple(carrying.programs),
        earlier_programs=len(carrying.programs) - len(plan.programs),
    )
    return made, tuple(carrying.not_carried)


def without_earlier(plan: Plan) -> Plan:
    """Return a plan as it was written."""
    if not any(one.flow is not None and one.flow.earlier for one in plan.journeys):
        return plan
    return replace(
        plan,
        journeys=tuple(
            replace(one, flow=replace(one.flow, steps=one.flow.steps[: one.flow.own_count], earlier=()))
            if one.flow is not None
            else one
            for one in plan.journeys
        ),
        programs=plan.programs[: len(plan.programs) - plan.earlier_programs],
        earlier_programs=0,
    )


def _of(before: Plan, journey: Journey) -> Journey | None:
    index = before.journey_by_name.get(journey.name)
    old = before.journeys[index] if index is not None else None
    return old if old is not None and old.flow is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """States of one version, as they stand in their plan."""

    first: int
    steps: tuple[JourneyStep, ...]
    """By their own names."""
    correlation: int
    goal: Mark | None
    exits: tuple[Mark, ...]
    budget_acts: int


def _own_part(flow: Flow) -> _Part:
    return _Part(
        first=0,
        steps=flow.steps[: flow.own_count],
        correlation=flow.correlation,
        goal=flow.goal,
        exits=flow.exits,
        budget_acts=flow.budget_acts,
    )


def _earlier_part(flow: Flow, one: EarlierStates) -> _Part:
    suffix = step_called("", one.version)
    steps = flow.steps[one.first : one.first + one.count]
    return _Part(
        first=one.first,
        steps=tuple(replace(step, name=step.name.removesuffix(suffix)) for step in steps),
        correlation=one.correlation,
        goal=one.goal,
        exits=one.exits,
        budget_acts=one.budget_acts,
    )


class _Lacking(Exception):
    """The plan has no such thing."""


@dataclass(slots=True, kw_only=True)
class _Carrying:
    """Writes states of one plan anew for another."""

    before: Plan
    plan: Plan
    programs: list[Program]
    not_carried: list[NotCarried] = field(default_factory=list)
    _lacks: list[str] = field(default_factory=list)

    def carried(self, journey: str, flow: Flow, version: str, part: _Part) -> Flow:
        """Return the states of a journey with those of an earlier version behind them, if the plan can have those."""
        self._lacks, known = [], len(self.programs)
        shift = len(flow.steps) - part.first
        steps = tuple(self._step(one, version, shift) for one in part.steps)
        earlier = EarlierStates(
            version=version,
            first=len(flow.steps),
            count=len(steps),
            correlation=self._field(part.correlation),
            goal=None if part.goal is None else self._mark(part.goal),
            exits=tuple(map(self._mark, part.exits)),
            budget_acts=part.budget_acts,
        )
        if self._lacks:
            del self.programs[known:]
            lacks = tuple(dict.fromkeys(self._lacks))
            self.not_carried.append(NotCarried(journey=journey, version=version, lacks=lacks))
            return flow
        return replace(flow, steps=(*flow.steps, *steps), earlier=(*flow.earlier, earlier))

    def _step(self, step: JourneyStep, version: str, shift: int) -> JourneyStep:
        def led(target: int) -> int:
            return target if target == END else target + shift

        act = step.act
        if act is not None:
            offers = [self._named("offer", self.before.offers, self.plan.offer_by_name, one) for one in act.offers]
            repeats = act.repeats if act.repeats == NONE else act.repeats + shift
            act = replace(act, offers=tuple(offers), failed=led(act.failed), repeats=repeats)
        return replace(
            step,
            name=step_called(step.name, version),
            waits=tuple(
                replace(
                    one, events=self._events(one.events), program=self._program(one.program), target=led(one.target)
                )
                for one in step.waits
            ),
            act=act,
            ways=tuple(replace(one, program=self._program(one.program), target=led(one.target)) for one in step.ways),
            target=led(step.target),
            missed=led(step.missed),
        )

    def _mark(self, mark: Mark) -> Mark:
        return replace(mark, events=self._events(mark.events), program=self._program(mark.program))

    def _events(self, events: tuple[int, ...]) -> tuple[int, ...]:
        known = self.plan.event_type_by_name
        return tuple(self._named("event", self.before.event_types, known, one) for one in events)

    def _named(self, what: str, olds: tuple[Any, ...], news: dict[str, int], index: int) -> int:
        name = olds[index].name
        if name not in news:
            self._lacks.append(f"{what} '{name}'")
        return news.get(name, 0)

    def _field(self, index: int) -> int:
        if index == NONE:
            return NONE
        found = self._named("field", self.before.fields, self.plan.field_by_name, index)
        old, new = self.before.fields[index], self.plan.fields[found] if self.plan.fields else None
        if new is not None and new.name == old.name and (new.kind, new.values) != (old.kind, old.values):
            self._lacks.append(f"field '{old.name}' as it was")
        return found

    def _feature(self, index: int) -> int:
        old = self.before.features[index]
        found = next((place for place, one in enumerate(self.plan.features) if one.name == old.name), NONE)
        if found == NONE:
            self._lacks.append(f"feature '{old.name}'")
            return 0
        new = self.plan.features[found]
        if (new.result, _values(self.plan, found)) != (old.result, _values(self.before, index)):
            self._lacks.append(f"feature '{old.name}' as it was")
        return found

    def _program(self, index: int) -> int:
        """Return where a condition of the plan before stands in this one."""
        if index == NONE:
            return NONE
        old, args = self.before.programs[index], list[float]()
        for op, arg in zip(old.ops, old.args, strict=True):
            match op:
                case Op.FEATURE:
                    args.append(float(self._feature(int(arg))))
                case Op.FIELD:
                    args.append(float(self._field(int(arg))))
                case _:
                    args.append(arg)
        made = replace(old, args=tuple(args))
        if made not in self.programs:
            self.programs.append(made)
        return self.programs.index(made)


def _values(plan: Plan, feature: int) -> tuple[str, ...]:
    """Return the names of a feature's values, in the order that conditions know them by."""
    one = plan.features[feature]
    return one.values or (() if one.field == NONE else plan.fields[one.field].values)


class _Teller:
    """Tells in names what an instance goes by."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def told(self, flow: Flow) -> dict[str, Any]:
        steps = flow.steps[: flow.own_count]
        plain = [to_plain(JourneyStep, step) for step in steps]
        for step, one in zip(steps, plain, strict=True):
            one |= {"target": self._led(flow, step.target), "missed": self._led(flow, step.missed)}
            for wait, told in zip(step.waits, one["waits"], strict=True):
                told |= self.heard(wait.events, wait.program) | {"target": self._led(flow, wait.target)}
            for way, told in zip(step.ways, one["ways"], strict=True):
                told |= {"program": self._text(way.program), "target": self._led(flow, way.target)}
            if step.act is not None:
                one["act"] |= {
                    "offers": [self._plan.offers[offer].name for offer in step.act.offers],
                    "failed": self._led(flow, step.act.failed),
                }
                if step.act.repeats != NONE:
                    one["act"]["repeats"] = flow.steps[step.act.repeats].name
        marks = [mark for mark in (flow.goal, *flow.exits) if mark is not None]
        return {
            "steps": plain,
            "goal": flow.goal is not None,
            "marks": [to_plain(Mark, one) | self.heard(one.events, one.program) for one in marks],
            "correlation": self.field(flow.correlation),
            "budget": flow.budget_acts,
        }

    def _led(self, flow: Flow, target: int) -> str:
        return "" if target == END else flow.steps[target].name

    def _text(self, program: int) -> str:
        return "" if program == NONE else self._plan.programs[program].text

    def field(self, index: int) -> str:
        """Return a field's name; empty for none."""
        return "" if index == NONE else self._plan.fields[index].name

    def heard(self, events: tuple[int, ...], program: int) -> dict[str, Any]:
        """Return which events are listened for, and under which condition."""
        names = sorted(self._plan.event_types[event].name for event in events)
        return {"events": names, "program": self._text(program)}
