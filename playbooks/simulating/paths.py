"""Paths: generated instances walked through each journey, until every state and way is reached or told to be none.

    walk_paths(plan, seed=0) -> (JourneyPaths, …)

The same plan, seed and number of instances give the same paths. Whether signals could be sent that make a condition
true is not tried: a condition counts as possible unless the playbook itself says that it can never hold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from household.journeys.course import Courses
from household.plan import END, NONE, Journey, Plan
from playbooks.simulating.generated import GeneratedInstance
from playbooks.simulating.together import Supposed, Together
from playbooks.simulating.ways import ANYWHERE, JourneyWay, JourneyWays, Walked, WayKind

START_US = 1_767_225_600_000_000
"""About when instances enter: the beginning of 2026, UTC; weeks later ones meet both changes of a clock."""

INSTANCES_LEAST = 50
INSTANCES_MOST = 2_000
"""Of one journey; what none of so many reached is told to be out of reach."""

SPREAD_US = 7 * 86_400_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WayPath:
    """A way out of a state, and how often it was gone."""

    name: str
    leads_to: str
    """Name of a state, or `end`."""
    gone: int
    why_not: str = ""
    """Why it cannot be gone; empty where it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePath:
    """A state, or what a journey does without states, and how often it was come to."""

    name: str
    reached: int
    ways: tuple[WayPath, ...] = ()
    why_not: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneyPaths:
    """What was reached of a journey."""

    journey: str
    instances: int
    """Generated; 0 of a journey without states, which has no instances."""
    states: tuple[StatePath, ...]

    @property
    def unreachable(self) -> int:
        """How many states and ways nobody reached."""
        return sum(bool(one.why_not) + sum(bool(way.why_not) for way in one.ways) for one in self.states)


def walk_paths(
    plan: Plan,
    *,
    seed: int = 0,
    instances_most: int = INSTANCES_MOST,
    journeys: Sequence[str] = (),
    show: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[JourneyPaths, ...]:
    """Walk instances through journeys.

    Args:
        plan: of the playbook.
        seed: of all that is drawn.
        instances_most: of one journey; it stops as soon as nothing is left to be reached.
        journeys: names of them; all if none are named.
        show: is told how many journeys of how many are done.
    """
    together, found = Together(plan=plan), list[JourneyPaths]()
    wanted = [one for one in plan.journeys if not journeys or one.name in journeys]
    for done, journey in enumerate(wanted):
        show(done, len(wanted))
        if journey.flow is None:
            found.append(_without_states(plan, journey, together))
        else:
            ways = JourneyWays(plan=plan, journey=journey, flow=journey.flow, together=together)
            found.append(_walked(ways, seed, instances_most))
    show(len(wanted), len(wanted))
    return tuple(found)


def _walked(ways: JourneyWays, seed: int, most: int) -> JourneyPaths:
    walked, count, every = Walked(), 0, list(ways.all())
    if ways.why_never_entered() is None:
        while count < most and (count < INSTANCES_LEAST or any(way not in walked.ways for way in every)):
            course = Courses(ways.plan).by_name[ways.journey.name]
            name = f"{seed}/{ways.journey.name}/{count}"
            GeneratedInstance(ways, course, walked, seed=name, start_us=START_US + count % 52 * SPREAD_US).walk()
            count += 1
    return JourneyPaths(journey=ways.journey.name, instances=count, states=_Telling(ways, walked).states())


class _Telling:
    """Tells of a journey what was walked, and of the rest why it was not."""

    def __init__(self, ways: JourneyWays, walked: Walked) -> None:
        self._ways, self._walked = ways, walked
        self._steps = ways.flow.steps

    def states(self) -> tuple[StatePath, ...]:
        found = [
            StatePath(
                name=step.name,
                reached=self._walked.states.get(index, 0),
                ways=tuple(self._way(way) for way in self._ways.of(index)),
                why_not="" if index in self._walked.states else self._why_no_state(index),
            )
            for index, step in enumerate(self._steps)
        ]
        marks = tuple(self._way(way) for way, _ in self._ways.marks())
        if marks:
            never = self._ways.why_never_entered() or ""
            found.append(StatePath(name="(anywhere)", reached=self._walked.states.get(0, 0), ways=marks, why_not=never))
        return tuple(found)

    def _way(self, way: JourneyWay) -> WayPath:
        gone, target = self._walked.ways.get(way, 0), self._ways.target(way)
        return WayPath(
            name=self._ways.label(way),
            leads_to="end" if target == END else self._steps[target].name,
            gone=gone,
            why_not="" if gone else self._why_no_way(way),
        )

    def _why_no_state(self, index: int) -> str:
        if (why := self._ways.why_never_entered()) is not None:
            return why
        leading = [way for way in self._ways.all() if self._ways.target(way) == index]
        if not leading:
            return "no way leads there"
        told = dict.fromkeys(
            f"'{self._steps[way.step].name}' ({self._ways.label(way)}): {self._why_no_way(way)}" for way in leading
        )
        return "; ".join(told)

    def _why_no_way(self, way: JourneyWay) -> str:
        if way.step == ANYWHERE:
            return self._ways.why_never_entered() or self._why_no_event(way)
        if way.step not in self._walked.states:
            return f"'{self._steps[way.step].name}' is never reached"
        match way.kind:
            case WayKind.EVENT:
                return self._why_no_event(way)
            case WayKind.IN_SLOT | WayKind.MISSED:
                return self._why_no_slot(way)
            case WayKind.BRANCH:
                return self._why_no_branch(way)
            case WayKind.SAID | WayKind.WITHHELD | WayKind.FAILED | WayKind.NOTHING:
                return self._why_no_act(way)
            case _:
                return self._not_met()

    def _why_no_event(self, way: JourneyWay) -> str:
        events = self._ways.events_of(way)
        against = [self._ways.together.why_not(self._ways.asked_of_event(way, event)) for event in events]
        told = [one for one in against if one is not None]
        if events and len(told) == len(events):
            return "; ".join(dict.fromkeys(told))
        if all(self._ways.is_report(event) for event, one in zip(events, against, strict=True) if one is None):
            return "nothing that is said before can be reported of here"
        return self._not_met()

    def _why_no_slot(self, way: JourneyWay) -> str:
        slot = self._steps[way.step].slot
        assert slot is not None
        first_us, last_us = self._walked.arrivals_us[way.step]
        if way.kind is WayKind.IN_SLOT:
            return (
                f"it ends {_days(slot.to_us)} after the entry, and nobody comes here before {_days(first_us)}: what "
                "is waited for before takes longer"
            )
        return f"it ends {_days(slot.to_us)} after the entry, and everybody comes here by {_days(last_us)}"

    def _why_no_branch(self, way: JourneyWay) -> str:
        step = self._steps[way.step]
        program = step.ways[way.place].program
        before = tuple(one.program for one in step.ways[: way.place])
        true = () if program == NONE else (program,)
        against = self._ways.together.why_not(Supposed(true=true))
        if against is not None:
            return f"it can never be true: {against}"
        against = self._ways.together.why_not(Supposed(true=true, untrue=before))
        if against is not None:
            return f"wherever it is true, a way before it is, too: {against}"
        return f"what is true on all ways here speaks against it; {self._not_met()}"

    def _why_no_act(self, way: JourneyWay) -> str:
        why = self._ways.why_never_said(way.step)
        if why is not None:
            return why
        if way.step in self._walked.spent:
            most = self._ways.flow.budget_acts
            return f"its budget of {most} acts is used up wherever it is reached"
        return self._not_met()

    def _not_met(self) -> str:
        return "no instance came by it"


def _days(time_us: int) -> str:
    return f"{time_us / 86_400_000_000:.4g} days"


def _without_states(plan: Plan, journey: Journey, together: Together) -> JourneyPaths:
    """Return what may come of a journey without states: its moment, or a contact, and each of its offers then."""
    states, true = list[StatePath](), tuple[int, ...]()
    events, begins = journey.contact_events, "contact"
    if journey.trigger is not None:
        events, begins = journey.trigger.events, "moment"
        true = () if journey.trigger.program == NONE else (journey.trigger.program,)
    possible = [one for one in events if together.may_be(Supposed(events=(one,), true=true))]
    against = "" if possible else together.why_not(Supposed(events=events, true=true)) or "no event brings it about"
    why_none = f"it can never arise: {against}" if against else ""
    states.append(StatePath(name=begins, reached=int(not why_none), why_not=why_none))
    sent = set(journey.outbound)
    asked = {index for index, one in enumerate(plan.channels) if one.inbound}
    for index in journey.offers:
        offer = plan.offers[index]
        why = "the moment that would bring it up never arises" if why_none else ""
        eligible = () if offer.eligible == NONE else (offer.eligible,)
        if not why and (sent | asked).isdisjoint(item.channel for item in offer.treatments):
            why = "it has no words for a channel on which the journey speaks or somebody asks"
        if not why and journey.trigger is None and not offer.standing:
            why = "it is not `standing`, so a contact alone does not bring it up"
        if not why and all(not together.may_be(Supposed(events=(one,), true=(*true, *eligible))) for one in possible):
            against = together.why_not(Supposed(events=tuple(possible[:1]), true=(*true, *eligible))) or ""
            why = f"nobody it is for can be there then: {against}"
        states.append(StatePath(name=f"offer {offer.name}", reached=int(not why), why_not=why))
    return JourneyPaths(journey=journey.name, instances=0, states=tuple(states))
