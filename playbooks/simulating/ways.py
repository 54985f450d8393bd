"""The ways of a journey: out of each of its states, and those that end it from anywhere.

What is walked is counted here, and what was not is told apart: by what speaks against it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from household.experiments.coverage import Coverage
from household.plan import NONE, Flow, Journey, Mark, Plan, StepKind
from playbooks.simulating.together import Supposed, Together


class WayKind(StrEnum):
    """What makes an instance take a way."""

    EVENT = "event"
    """One of a wait's events."""
    TIMEOUT = "timeout"
    IN_SLOT = "in its slot"
    MISSED = "slot is over"
    SAID = "said"
    NOTHING = "nothing worth saying"
    WITHHELD = "withheld"
    BLOCKED = "blocked"
    FAILED = "failed"
    BRANCH = "branch"
    GOAL = "goal"
    EXIT = "exit rule"


ANYWHERE = NONE
"""In place of a state: of goal and exit rules, which end an instance wherever it is."""


@dataclass(frozen=True, slots=True)
class JourneyWay:
    """One way out of a state. Two of one place are equal."""

    step: int
    """Index of the state, or ANYWHERE."""
    kind: WayKind
    place: int = 0
    """Which of several of this kind."""


@dataclass(slots=True, kw_only=True)
class Walked:
    """How often states were come to and ways were gone, by instances of one journey."""

    states: dict[int, int] = field(default_factory=dict)
    ways: dict[JourneyWay, int] = field(default_factory=dict)
    arrivals_us: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Slot → the earliest and the latest that anybody came to it, after the entry."""
    spent: set[int] = field(default_factory=set)
    """States that act which somebody came to with the budget used up."""

    def came(self, step: int, after_us: int) -> None:
        """Note that an instance came to a state, so long after its entry."""
        self.states[step] = self.states.get(step, 0) + 1
        first, last = self.arrivals_us.get(step, (after_us, after_us))
        self.arrivals_us[step] = (min(first, after_us), max(last, after_us))

    def gone(self, way: JourneyWay) -> None:
        """Note that an instance went a way."""
        self.ways[way] = self.ways.get(way, 0) + 1


@dataclass(slots=True, kw_only=True)
class JourneyWays:
    """The ways of one journey with states, and what may be on each by the playbook."""

    plan: Plan
    journey: Journey
    flow: Flow
    together: Together
    has_control: bool = field(init=False)
    untreated: frozenset[int] = field(init=False)
    """States that who is told nothing, and so answers nothing, can come to."""

    def __post_init__(self) -> None:
        """Look whether some of those who enter are left untreated."""
        coverage, name = Coverage(self.plan), self.journey.name
        self.has_control = any(coverage.of(offer, (name,)) for offer in self.journey.offers)
        reached, open_ones = {0}, [0]
        while open_ones:
            for target in self._untreated_from(open_ones.pop()):
                if target != NONE and target not in reached:
                    reached.add(target)
                    open_ones.append(target)
        self.untreated = frozenset(reached)

    def _untreated_from(self, index: int) -> Iterator[int]:
        step = self.flow.steps[index]
        yield step.target
        yield step.missed
        yield from (one.target for one in step.ways)
        yield from (one.target for one in step.waits if not all(map(self.is_report, one.events)))

    def of(self, index: int) -> Iterator[JourneyWay]:
        """Yield the ways out of a state."""
        step = self.flow.steps[index]
        match step.kind:
            case StepKind.WAIT:
                yield from (JourneyWay(index, WayKind.EVENT, place) for place in range(len(step.waits)))
                yield JourneyWay(index, WayKind.TIMEOUT)
            case StepKind.SLOT:
                yield from (JourneyWay(index, WayKind.IN_SLOT), JourneyWay(index, WayKind.MISSED))
            case StepKind.ACT:
                yield from (JourneyWay(index, WayKind.SAID), JourneyWay(index, WayKind.NOTHING))
                assert step.act is not None
                # Whoever is in control has been told nothing, so there is nothing to answer, or to say once more.
                if self.has_control and index in self.untreated and step.act.repeats == NONE:
                    yield JourneyWay(index, WayKind.WITHHELD)
                yield JourneyWay(index, WayKind.BLOCKED)
                if self.journey.outbound:
                    yield JourneyWay(index, WayKind.FAILED)
            case StepKind.BRANCH:
                yield from (JourneyWay(index, WayKind.BRANCH, place) for place in range(len(step.ways)))
            case StepKind.END:
                return

    def marks(self) -> Iterator[tuple[JourneyWay, Mark]]:
        """Yield goal and exit rules."""
        if self.flow.goal is not None:
            yield JourneyWay(ANYWHERE, WayKind.GOAL), self.flow.goal
        for place, rule in enumerate(self.flow.exits):
            yield JourneyWay(ANYWHERE, WayKind.EXIT, place), rule

    def all(self) -> Iterator[JourneyWay]:
        """Yield all ways of the journey."""
        for index in range(len(self.flow.steps)):
            yield from self.of(index)
        yield from (way for way, _ in self.marks())

    def target(self, way: JourneyWay) -> int:
        """Return the state that a way leads to; NONE (that is END) where it ends the instance."""
        if way.step == ANYWHERE:
            return NONE
        step = self.flow.steps[way.step]
        match way.kind:
            case WayKind.EVENT:
                return step.waits[way.place].target
            case WayKind.BRANCH:
                return step.ways[way.place].target
            case WayKind.MISSED:
                return step.missed
            case WayKind.FAILED:
                assert step.act is not None
                return step.act.failed
            case WayKind.BLOCKED:
                assert step.act is not None
                return step.target if step.act.blocked.value == "skip" else NONE
            case _:
                return step.target

    def label(self, way: JourneyWay) -> str:
        """Return what a way is called by people."""
        step = self.flow.steps[way.step] if way.step != ANYWHERE else None
        match way.kind:
            case WayKind.EVENT:
                assert step is not None
                wait = step.waits[way.place]
                return self._events_text(wait.events, wait.program)
            case WayKind.BRANCH:
                assert step is not None
                one = step.ways[way.place]
                if one.share_bp:
                    return f"{one.share_bp / 100:g} %"
                return "else" if one.program == NONE else self.together.text(one.program)
            case WayKind.EXIT:
                return f"exit rule '{self.flow.exits[way.place].name}'"
            case _:
                return way.kind.value

    def _events_text(self, events: tuple[int, ...], program: int) -> str:
        names = " or ".join(self.plan.event_types[one].name for one in events)
        return names if program == NONE else f"{names} when {self.together.text(program, events)}"

    # --- what may be --------------------------------------------------------------------------------------------------

    def asked_of_event(self, way: JourneyWay, event: int) -> Supposed:
        """Return what has to hold for an event to make an instance go a way, and no other that is looked at before."""
        marks = list(self.marks())
        if way.step == ANYWHERE:
            mark = next(one for other, one in marks if other == way)
            before = [one for other, one in marks[: [other for other, _ in marks].index(way)]]
            return Supposed(events=(event,), true=_some(mark.program), untrue=self._hearing(before, event))
        wait = self.flow.steps[way.step].waits[way.place]
        others = [one.program for one in self.flow.steps[way.step].waits[: way.place] if event in one.events]
        untrue = (*self._hearing([one for _, one in marks], event), *others)
        return Supposed(events=(event,), true=_some(wait.program), untrue=untrue)

    def _hearing(self, marks: list[Mark], event: int) -> tuple[int, ...]:
        return tuple(one.program for one in marks if event in one.events)

    def events_of(self, way: JourneyWay) -> tuple[int, ...]:
        """Return the event types that may make an instance go a way that an event leads."""
        if way.step == ANYWHERE:
            return next(one.events for other, one in self.marks() if other == way)
        return self.flow.steps[way.step].waits[way.place].events

    def possible_events(self, way: JourneyWay, *, was_said: bool) -> tuple[int, ...]:
        """Return those of them that can: reports count only of what was said."""
        return tuple(
            event
            for event in self.events_of(way)
            if (was_said or not self.is_report(event)) and self.together.may_be(self.asked_of_event(way, event))
        )

    def is_report(self, event: int) -> bool:
        """Return whether an event tells what became of something that was said."""
        return self.plan.event_types[event].source == "hearth"

    def why_never_said(self, index: int) -> str | None:
        """Return why an act can never say any of its offers; None where one may be said."""
        step = self.flow.steps[index]
        assert step.act is not None
        channels = {*self.journey.outbound, *(at for at, one in enumerate(self.plan.channels) if one.inbound)}
        if not step.act.offers:
            return "it has no offers"
        why = "none of its offers has words for a channel on which the journey speaks or somebody asks"
        for one in step.act.offers:
            offer = self.plan.offers[one]
            if channels.isdisjoint(item.channel for item in offer.treatments):
                continue
            against = self.together.why_not(Supposed(true=_some(offer.eligible)))
            if against is None:
                return None
            why = f"nobody is eligible for '{offer.name}': {against}"
        return why

    def entries(self) -> tuple[Supposed, ...]:
        """Return what may hold as an instance enters, for each event type by which one can."""
        trigger = self.journey.trigger
        assert trigger is not None, "a journey with states has one"
        asked = (Supposed(events=(event,), true=_some(trigger.program)) for event in trigger.events)
        return tuple(one for one in asked if self.together.may_be(one))

    def why_never_entered(self) -> str | None:
        """Return why nobody can enter; None where somebody may."""
        trigger = self.journey.trigger
        assert trigger is not None, "a journey with states has one"
        if self.entries():
            return None
        against = self.together.why_not(Supposed(events=trigger.events, true=_some(trigger.program)))
        return f"its trigger can never be true: {against}"


def _some(program: int) -> tuple[int, ...]:
    return () if program == NONE else (program,)
