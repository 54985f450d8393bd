"""The states of a plan's journeys as instances meet them: by the names that tables hold."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from household.plan import Again, Flow, Journey, JourneyListener, ListensFor, Plan, Scope, WhenChanged

NEVER_FORGOTTEN_US = 2**62

LAST_RUN = 2**31 - 1


class ActOutcome(StrEnum):
    """What became of an act."""

    DECIDED = "decided"
    """It is to be sent; it is done once it has been handed over."""
    HELD = "held"
    """The same, and the contact policy keeps it back for now."""
    SAID = "said"
    """Handed over, or shown to whoever asks."""
    WITHHELD = "withheld"
    """The household is in control: it goes on as if it had been said."""
    NOTHING = "nothing"
    """There was nothing worth saying."""
    NO_CONSENT = "no_consent"
    BLOCKED = "blocked"
    STALE = "stale"
    FAILED = "failed"
    """It cannot be delivered."""


WAY = "way"
"""Of a key: a branch was passed, and this is where it led: it leads there whatever is learned later."""

MERGED = "merged"
"""Of a key: the instance gave way to another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a key of the table `heard` means."""

    listener: JourneyListener | None = None
    step: int = -1
    """Of an outcome."""
    outcome: ActOutcome | None = None
    """None, too, where an instance gave way."""
    way: int = -1
    """Of a branch that was passed: which."""


class Course:
    """One journey with states."""

    def __init__(self, index: int, journey: Journey, listeners: tuple[JourneyListener, ...]) -> None:
        """Take a journey of a plan, and what it listens for."""
        assert journey.flow is not None
        assert journey.trigger is not None
        self.index, self.name = index, journey.name
        self.flow: Flow = journey.flow
        self.steps = journey.flow.steps
        self.is_members = journey.trigger.scope is Scope.MEMBER
        self.step_by_name = {step.name: place for place, step in enumerate(self.steps)}
        self.told = {one.key: Told(listener=one) for one in listeners if one.journey == index}
        self.place_of = {key: place for place, key in enumerate(self.told)}
        """In which order what was heard of one event is looked at; what came of it is behind all of that."""
        self.told |= {
            outcome_key(self.name, step.name, outcome): Told(step=place, outcome=outcome)
            for place, step in enumerate(self.steps)
            if step.act is not None
            for outcome in ActOutcome
        }
        self.told |= {
            way_key(self.name, step.name, way): Told(step=place, way=way)
            for place, step in enumerate(self.steps)
            for way in range(len(step.ways))
        }
        self.told[f"{self.name}:{MERGED}"] = Told()
        self.entries = frozenset(key for key, told in self.told.items() if is_entry(told))
        """What lets somebody enter."""
        flow, whole = journey.flow, range(len(self.steps))
        self.version_of = tuple(flow.version_of(step) for step in whole)
        """Of each state: 0 for the version in force, n for the n-th of the earlier ones."""
        budgets = (flow.budget_acts, *(one.budget_acts for one in flow.earlier))
        self.budget_of = tuple(budgets[self.version_of[step]] for step in whole)
        suffixes = ("", *(f"@{one.version}" for one in flow.earlier))
        self.is_drained = flow.changed is WhenChanged.DRAIN and bool(flow.earlier)
        """Whether nobody enters beside one that goes by earlier states."""
        self.plain_names = tuple(
            step.name.removesuffix(suffixes[self.version_of[n]]) for n, step in enumerate(self.steps)
        )
        """Of each state: its name in its own version."""
        self._suffixes = suffixes
        self.look_back_us = max((one.look_back_us for one in listeners if one.journey == index), default=0)

    def step_of(self, name: str, beside: int) -> int | None:
        """Return the state of a name in the version that another state is of; None where it has none."""
        return self.step_by_name.get(name + self._suffixes[self.version_of[beside]])

    def kept_us(self, lateness_us: int) -> int:
        """Return how long an instance is remembered that has ended: for entries, which may be learned late."""
        flow = self.flow
        if flow.again is Again.ONCE:
            return NEVER_FORGOTTEN_US
        again_us = flow.after_us if flow.again is Again.AFTER else 0
        return int(lateness_us + 1 + max(again_us, flow.entries_window_us))


def outcome_key(journey: str, step: str, outcome: ActOutcome) -> str:
    """Return by which key the table `heard` has what became of an act."""
    return f"{journey}:{outcome}:{step}"


def way_key(journey: str, step: str, way: int) -> str:
    """Return by which key the table `heard` has which way of a branch was gone."""
    return f"{journey}:{WAY}:{step}:{way}"


class Courses:
    """All journeys of a plan that have states."""

    def __init__(self, plan: Plan) -> None:
        """Take a plan's."""
        listeners = plan.listeners
        self.by_name = {
            journey.name: Course(index, journey, listeners)
            for index, journey in enumerate(plan.journeys)
            if journey.flow is not None
        }
        self.listeners = listeners
        self.first = len(plan.journeys)
        """Row of `Rules.triggers` of the first of them."""
        self.fields = tuple(one.correlation for one in listeners)
        """By which field, of each, an event is told to be about an instance; NONE for none."""
        self.must_say = tuple(one.role in (ListensFor.ENTRY, ListensFor.WAIT) for one in listeners)
        """Whether, of each, an event that does not say which instance it is about is about none."""
        self.is_report = tuple(event.source == "hearth" for event in plan.event_types)
        self.carried = tuple(frozenset(use.field for use in event.fields) for event in plan.event_types)
        self.names = tuple(journey.name for journey in plan.journeys)
        self.at_once: object = None
        """Its AtOnce (at_once.py), made when it is needed."""
        self.touched = np.zeros(0, np.int32)
        """Per household, in which run of events something was heard of it last."""
        self.run = 0
        """Of the newest run of events."""

    def __bool__(self) -> bool:
        return bool(self.by_name)

    def next_run(self, households: int) -> tuple[NDArray[np.int32], int]:
        """Return, for another run of events, by which households those of earlier ones are known, and its number."""
        if self.touched.shape[0] < households:
            self.touched = np.zeros(households + households // 2, np.int32)
        self.run = self.run % LAST_RUN + 1
        if self.run == 1:
            self.touched[:] = 0
        return self.touched, self.run

    def of_key(self, key: str) -> Course | None:
        """Return whose a key of the table `heard` is; None for that of a journey that is gone."""
        return self.by_name.get(key.partition(":")[0])


def is_entry(told: Told) -> bool:
    """Return whether something heard may let an instance enter."""
    return told.listener is not None and told.listener.role is ListensFor.ENTRY
