"""The states of a journey, in the section `journeys`: where an instance waits, acts, branches and ends."""

from dataclasses import dataclass
from enum import StrEnum

from household.later import later
from household.plan.references import NONE

END = -1
"""Where a step leads that is the last."""


class Again(StrEnum):
    """When a trigger that becomes true once more lets the same household (or member), and key, enter again."""

    ONCE = "once"
    AFTER_EXIT = "after_exit"
    AFTER = "after"
    """So much after the one before has ended."""


class WhenMerged(StrEnum):
    """What becomes of two instances whose households become one."""

    KEEP_BOTH = "keep_both"
    KEEP_OLDER = "keep_older"
    EXIT = "exit"


class WhenBlocked(StrEnum):
    """What becomes of an instance whose act the contact policy keeps back."""

    SKIP = "skip"
    EXIT = "exit"


class WhenChanged(StrEnum):
    """What becomes of who is inside when another version of the journey's states comes into force."""

    BY_NAME = "by_name"
    """Not declared: each goes on in the state of the same name that does the same, and ends where there is none."""
    PIN = "pin"
    """Each goes on by the states that it has, to its end; who enters goes by the new ones."""
    DRAIN = "drain"
    """The same, and none enters whose household (or member) still has one that goes by earlier ones."""
    RESTART = "restart"
    """Each begins anew, in the first state."""
    MIGRATE = "migrate"
    """Each goes where it is told, by the state that it is in."""


class StepKind(StrEnum):
    """What an instance does in a state."""

    WAIT = "wait"
    """Until an event, or a time, or either."""
    SLOT = "slot"
    """Until a slot of time begins; passed at once while it lasts."""
    ACT = "act"
    BRANCH = "branch"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """A time after a state began: so much later, and from then on the next such local time."""

    after_us: int = 0
    minute: int = NONE
    """Of the local day; NONE for any."""
    weekday: int = NONE
    """From Monday, 0; NONE for any. Without a minute: as that day begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneyWait:
    """An event that ends a wait."""

    events: tuple[int, ...]
    target: int
    program: int = NONE
    """About the moment of the event; NONE for any such event."""
    look_back_us: int = 0
    """An event so long before the wait began ends it, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """[from, to] after the entry: both ends are part of it."""

    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchWay:
    """One way on from a branch: the first whose condition is true, or one drawn by shares."""

    target: int
    program: int = NONE
    """NONE for what remains."""
    share_bp: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What is weighed and said in a state: decided like any other moment, under a key of instance, state and visit."""

    offers: tuple[int, ...]
    within_us: int
    """Later it makes no offer."""
    hold_us: int = 0
    """So much longer what the contact policy keeps back may be held."""
    blocked: WhenBlocked = WhenBlocked.SKIP
    failed: int = END
    """Where a permanent failure leads; END ends with ERROR."""
    slot: Slot | None = None
    """It is not said after the end of this."""
    repeats: int = later(NONE)
    """The state that acts whose very action is handed over once more, on the journey's next channel; NONE for an act
    that is decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneyStep:
    """A state of a journey."""

    name: str
    kind: StepKind
    waits: tuple[JourneyWait, ...] = ()
    timer: Timer | None = None
    """Of a WAIT: when it has been long enough."""
    slot: Slot | None = None
    """Of a SLOT."""
    act: Act | None = None
    ways: tuple[BranchWay, ...] = ()
    target: int = END
    """Where it leads: a WAIT when its time is over, a SLOT as it begins, an ACT when it is done."""
    missed: int = END
    """Of a SLOT that is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What is looked for at every event of a household, before steps: a goal, or a rule to leave by."""

    name: str
    events: tuple[int, ...]
    program: int = NONE
    is_of_any_event: bool = False
    """It is a condition on what is known rather than something that happens: nothing before the entry counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateMove:
    """Where an instance goes that is in a state of the version before."""

    state: str
    """Of the version before; a slot means the act behind it, too."""
    target: int
    """State, or END: it ends with VERSION."""
    rearms: bool = False
    """It begins there anew; otherwise a time that it waits for stays due when it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierStates:
    """The states of an earlier version by which some still go: `count` of the journey's, from `first` on."""

    version: str
    """Digest of what they mean (household/plan/earlier.py); each is called `name@version`."""
    first: int
    count: int
    correlation: int = NONE
    goal: Mark | None = None
    exits: tuple[Mark, ...] = ()
    budget_acts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """The states of a journey, how an instance enters, and what ends it."""

    steps: tuple[JourneyStep, ...]
    """The first is the one that an instance begins in."""
    again: Again = Again.AFTER_EXIT
    after_us: int = 0
    """With Again.AFTER."""
    correlation: int = NONE
    """Field by which events are told which instance they are about; NONE where there is one at a time."""
    parallel: int = 1
    """Instances of a household (or member) at the same time, each with another value of the field."""
    entries_most: int = 0
    """Entries of a household (or member) within the window; 0 for any number."""
    entries_window_us: int = 0
    is_each: bool = False
    """Each event at which the trigger is true is an entry, rather than the first at which it has become true."""
    goal: Mark | None = None
    exits: tuple[Mark, ...] = ()
    merged: WhenMerged = WhenMerged.KEEP_OLDER
    owner: str
    """Who answers for it."""
    budget_acts: int
    """How often one instance may act; then its acts are blocked."""
    changed: WhenChanged = later(WhenChanged.BY_NAME)
    moves: tuple[StateMove, ...] = later(())
    """With WhenChanged.MIGRATE."""
    earlier: tuple[EarlierStates, ...] = later(())
    """In the plan that is in force only; their steps stand behind the journey's own."""

    @property
    def own_count(self) -> int:
        """How many of its steps are of the version in force."""
        return self.earlier[0].first if self.earlier else len(self.steps)

    def version_of(self, step: int) -> int:
        """Return whose a step is: 0 for the version in force, n for the n-th of the earlier ones."""
        return sum(step >= one.first for one in self.earlier)


class ListensFor(StrEnum):
    """What something that a journey listens for does, in the order in which an event is looked at."""

    GOAL = "goal"
    EXIT = "exit"
    WAIT = "wait"
    ENTRY = "entry"


@dataclass(frozen=True, slots=True, kw_only=True)
class JourneyListener:
    """Something that a journey listens for."""

    key: str
    """Its name in tables: journey, role, state or rule, and which of several."""
    journey: int
    role: ListensFor
    events: tuple[int, ...]
    program: int
    step: int = NONE
    """Of a WAIT."""
    place: int = 0
    """Of a WAIT, or of an exit rule: which of them."""
    look_back_us: int = 0
    is_of_any_event: bool = False
    version: int = 0
    """Whose it is: 0 for the version in force, n for the n-th of the earlier ones of `Flow.earlier`."""
    correlation: int = NONE
    """Field by which an event says which instance it is about."""


def listeners_of(
    journey: int, name: str, flow: Flow, events: tuple[int, ...], program: int
) -> tuple[JourneyListener, ...]:
    """Return what a journey listens for, in the order in which an event is looked at.

    Args:
        journey: index of it.
        name: of it.
        flow: its states.
        events: of its trigger.
        program: of its trigger.
    """
    found = []
    whole = [(0, "", flow.correlation, flow.goal, flow.exits)]
    whole += [
        (number, f"@{one.version}", one.correlation, one.goal, one.exits) for number, one in enumerate(flow.earlier, 1)
    ]
    for version, suffix, correlation, goal, exits in whole:
        marks = [(ListensFor.GOAL, 0, goal)] if goal is not None else []
        marks += [(ListensFor.EXIT, place, rule) for place, rule in enumerate(exits)]
        found += [
            JourneyListener(
                key=f"{name}:{role}:{mark.name}{suffix}",
                journey=journey,
                role=role,
                events=mark.events,
                program=mark.program,
                place=place,
                is_of_any_event=mark.is_of_any_event,
                version=version,
                correlation=correlation,
            )
            for role, place, mark in marks
        ]
    correlations = [correlation for _, _, correlation, _, _ in whole]
    found += [
        JourneyListener(
            key=f"{name}:{ListensFor.WAIT}:{step.name}:{place}",
            journey=journey,
            role=ListensFor.WAIT,
            events=wait.events,
            program=wait.program,
            step=index,
            place=place,
            look_back_us=wait.look_back_us,
            version=version,
            correlation=correlations[version],
        )
        for index, step in enumerate(flow.steps)
        for version in (flow.version_of(index),)
        for place, wait in enumerate(step.waits)
    ]
    entry = JourneyListener(
        key=f"{name}:{ListensFor.ENTRY}",
        journey=journey,
        role=ListensFor.ENTRY,
        events=events,
        program=program,
        correlation=flow.correlation,
    )
    return (*found, entry)
