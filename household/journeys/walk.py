"""How instances of one journey move, for one household or member: what they heard, in order of time, and timers.

Pure and without memory: the same begin, the same things heard give the same walks, in whatever order they were learned.
Half-open: what is due at an instant comes before what happens at it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from household.journeys.branches import way_on
from household.journeys.course import ActOutcome, Course, Told
from household.journeys.timers import timer_due_us
from household.plan import END, Act, Again, JourneyStep, ListensFor, StepKind, WhenBlocked
from household.tables.heard import ANY, Heard
from household.tables.instances import NEVER_US, Ending

MOVES_AT_ONCE_MAX = 64
"""States an instance goes through at one instant; the check refuses playbooks in which it could be more."""


@dataclass(slots=True, kw_only=True)
class Walk:
    """An instance on its way. Changed as it goes."""

    owner: int
    """Row of the household beneath which it lies."""
    number: int
    correlation: int
    version: str
    entered_us: int
    entrant: int
    step: int
    since_us: int
    due_us: int = NEVER_US
    visits: dict[int, int] = field(default_factory=dict)
    """State that acts → how often it was there; the newest last."""
    former_visits: dict[str, int] = field(default_factory=dict)
    """The same, of states that it was in under another playbook and that are no more."""
    based_us: int = 0
    """What was heard before that has been taken in."""
    ending: Ending = Ending.LIVE
    ended_us: int = 0
    used: set[int] = field(default_factory=set)
    """Events that moved it at the instant `since_us`: one moves it once."""

    @property
    def is_live(self) -> bool:
        """Whether it has not ended."""
        return self.ending is Ending.LIVE

    @property
    def last_act(self) -> tuple[int, int]:
        """The state in which it acted last, and which visit that was."""
        return next(reversed(self.visits.items()), (END, 0))


@dataclass(slots=True, kw_only=True)
class Lane:
    """All instances of a journey that one household, or one member, has, and what was heard of them."""

    course: Course
    member: int
    """Row of the member whose it is; NO_MEMBER for the household's."""
    walks: list[Walk]
    heard: Sequence[Heard]
    """In order of time; of one time as they came."""
    zone: str
    holds: "Callable[[int, Walk, int], bool]"
    """(program, whose, time): whether a condition is true then, as far as is known."""
    version: str
    """Of the plan in force."""
    sticks: frozenset[tuple[int, int]] = frozenset()
    """(owner, number) of those that entered for good: something of theirs was said."""
    owners: Sequence[int] = ()
    """Household row of each thing heard."""
    horizon_us: int = 0
    """Who entered before is known."""
    is_paused: bool = False
    """Time moves nobody."""
    ways: dict[tuple[int, int, int, int], int] = field(default_factory=dict)
    """(owner, number, step, time) → which way a branch was left for the first time."""

    def run(self, first: int, until_us: int) -> None:
        """Take in what was heard from place `first` on, and let time pass until an instant, which is part of it."""
        for place in range(first, len(self.heard)):
            one = self.heard[place]
            if one.time_us > until_us:
                break
            self._let_time_pass(one.time_us)
            told = self.course.told.get(one.listener)
            if told is not None:
                self._take(place, one, told)
        self._let_time_pass(until_us)

    # --- what is heard ------------------------------------------------------------------------------------------------

    def _take(self, place: int, one: Heard, told: Told) -> None:
        if told.listener is not None and told.listener.role is ListensFor.ENTRY:
            self._enter(place, one)
            return
        for walk in self.walks:
            if not walk.is_live or one.time_us < walk.based_us or one.about not in (ANY, walk.number):
                continue
            if told.way >= 0:
                continue
            if told.listener is None:
                self._take_outcome(place, walk, one, told)
                continue
            match told.listener.role:
                case ListensFor.GOAL | ListensFor.EXIT:
                    is_own = told.listener.version == self.course.version_of[walk.step]
                    if is_own and one.correlation in (0, walk.correlation):
                        is_goal = told.listener.role is ListensFor.GOAL
                        _end(walk, Ending.GOAL if is_goal else Ending.EXIT_RULE, one.time_us)
                case ListensFor.WAIT:
                    if self._ends_wait(walk, one, told):
                        self._follow(place, walk, one, told, one.time_us)
                case ListensFor.ENTRY:
                    raise AssertionError("an entry moves nobody who is inside")
                case _:
                    assert_never(told.listener.role)

    def _ends_wait(self, walk: Walk, one: Heard, told: Told) -> bool:
        listener = told.listener
        return (
            listener is not None
            and listener.role is ListensFor.WAIT
            and listener.step == walk.step
            and (one.about == walk.number if one.about != ANY else one.correlation == walk.correlation)
            and one.time_us >= walk.since_us - listener.look_back_us
            and one.event not in walk.used
        )

    def _follow(self, place: int, walk: Walk, one: Heard, told: Told, at_us: int) -> None:
        assert told.listener is not None
        wait = self.course.steps[walk.step].waits[told.listener.place]
        if at_us != walk.since_us:
            walk.used.clear()
        walk.used.add(one.event)
        self._go(place, walk, wait.target, at_us, Ending.COMPLETED)

    def _take_outcome(self, place: int, walk: Walk, one: Heard, told: Told) -> None:
        if told.outcome is None:
            _end(walk, Ending.MERGED, one.time_us)
            return
        step = self.course.steps[told.step]
        assert step.act is not None
        if one.time_us != walk.since_us:
            walk.used.clear()
        if told.outcome is ActOutcome.FAILED:
            if walk.last_act == (told.step, one.visit):
                self._fail(place, walk, step.act, one.time_us)
            return
        if walk.step != told.step or walk.visits.get(told.step) != one.visit:
            return
        match told.outcome:
            case ActOutcome.DECIDED | ActOutcome.HELD:
                pass  # it tells what was the matter if nothing follows
            case ActOutcome.SAID | ActOutcome.WITHHELD | ActOutcome.NOTHING:
                self._go(place, walk, step.target, one.time_us, Ending.COMPLETED)
            case ActOutcome.BLOCKED:
                self._block(place, walk, step, Ending.POLICY, one.time_us)
            case ActOutcome.NO_CONSENT:
                self._block(place, walk, step, Ending.CONSENT, one.time_us)
            case ActOutcome.STALE:
                self._block(place, walk, step, Ending.STALE, one.time_us)
            case _:
                assert_never(told.outcome)

    def _block(self, place: int, walk: Walk, step: JourneyStep, ending: Ending, at_us: int) -> None:
        assert step.act is not None
        match step.act.blocked:
            case WhenBlocked.SKIP:
                self._go(place, walk, step.target, at_us, Ending.COMPLETED)
            case WhenBlocked.EXIT:
                _end(walk, ending, at_us)
            case _:
                assert_never(step.act.blocked)

    def _fail(self, place: int, walk: Walk, act: Act, at_us: int) -> None:
        self._go(place, walk, act.failed, at_us, Ending.ERROR)

    # --- entering -----------------------------------------------------------------------------------------------------

    def _enter(self, place: int, one: Heard) -> None:
        owner = self.owners[place]
        if one.time_us < self.horizon_us:
            return
        if any(walk.number == one.event and walk.owner == owner for walk in self.walks):
            return
        if (owner, one.event) not in self.sticks and not self._may_enter(one):
            return
        walk = Walk(
            owner=owner,
            number=one.event,
            correlation=one.correlation,
            version=self.version,
            entered_us=one.time_us,
            entrant=one.member,
            step=0,
            since_us=one.time_us,
            used={one.event},
        )
        self.walks.append(walk)
        self._go(place, walk, 0, one.time_us, Ending.COMPLETED)

    def _may_enter(self, one: Heard) -> bool:
        flow, at_us = self.course.flow, one.time_us
        known = [walk for walk in self.walks if walk.entered_us <= at_us]
        if sum(walk.is_live or walk.ended_us > at_us for walk in known) >= flow.parallel:
            return False
        after_us = at_us - flow.entries_window_us
        if flow.entries_most and sum(walk.entered_us > after_us for walk in known) >= flow.entries_most:
            return False
        alike = [walk for walk in known if walk.correlation == one.correlation]
        if any(walk.is_live for walk in alike):
            return False
        if self.course.is_drained and any(
            self.course.version_of[walk.step] and (walk.is_live or walk.ended_us > at_us) for walk in known
        ):
            return False
        match flow.again:
            case Again.ONCE:
                return not alike
            case Again.AFTER_EXIT:
                return True
            case Again.AFTER:
                return all(walk.ended_us + flow.after_us <= at_us for walk in alike)
            case _:
                assert_never(flow.again)

    def put(self, walk: Walk, target: int, at_us: int) -> None:
        """Let an instance go to a state because another playbook has come into force."""
        if at_us != walk.since_us:
            walk.used.clear()
        if target == END:
            walk.since_us = at_us
        self._go(self._place_at(at_us + 1), walk, target, at_us, Ending.VERSION)

    # --- time ---------------------------------------------------------------------------------------------------------

    def _let_time_pass(self, until_us: int) -> None:
        if self.is_paused:
            return
        for walk in self.walks:
            while walk.is_live and walk.due_us <= until_us:
                self._time_is_over(walk)

    def _time_is_over(self, walk: Walk) -> None:
        at_us, step = walk.due_us, self.course.steps[walk.step]
        if at_us != walk.since_us:
            walk.used.clear()
        place = self._place_at(at_us)
        match step.kind:
            case StepKind.WAIT:
                self._go(place, walk, step.target, at_us, Ending.TIMEOUT)
            case StepKind.SLOT:
                self._go(place, walk, step.target, at_us, Ending.COMPLETED)
            case StepKind.ACT:
                assert step.act is not None
                known = self._outcomes(walk, at_us)
                if ActOutcome.HELD in known:
                    self._block(place, walk, step, Ending.POLICY, at_us)
                elif ActOutcome.DECIDED in known:
                    self._fail(place, walk, step.act, at_us)
                else:
                    self._block(place, walk, step, Ending.STALE, at_us)
            case StepKind.BRANCH | StepKind.END:
                raise AssertionError(f"{step.name} takes no time")
            case _:
                assert_never(step.kind)

    def _outcomes(self, walk: Walk, before_us: int) -> set[ActOutcome]:
        """Return what was told of an act that is under way, before its time was over."""
        found = set()
        for one in self.heard:
            told = self.course.told.get(one.listener)
            if told is None or told.outcome is None or one.about != walk.number or one.time_us >= before_us:
                continue
            if told.step == walk.step and walk.visits.get(told.step) == one.visit:
                found.add(told.outcome)
        return found

    def _place_at(self, at_us: int) -> int:
        """Return the place of the last thing heard before an instant."""
        place = len(self.heard)
        while place and self.heard[place - 1].time_us >= at_us:
            place -= 1
        return place - 1

    # --- going on -----------------------------------------------------------------------------------------------------

    def _go(self, place: int, walk: Walk, target: int, at_us: int, ending: Ending) -> None:
        """Go to a state, and on from it as long as that takes no time.

        Args:
            place: of the last thing heard that it may know.
            walk: changed.
            target: the state, or END.
            at_us: when.
            ending: why it ends, if it does here.
        """
        for _ in range(MOVES_AT_ONCE_MAX):
            if target == END:
                _end(walk, ending, at_us)
                return
            step = self.course.steps[target]
            if at_us != walk.since_us:
                walk.used = {one for one in walk.used if place >= 0 and self.heard[place].event == one}
            walk.step, walk.since_us, walk.due_us = target, at_us, NEVER_US
            match step.kind:
                case StepKind.END:
                    _end(walk, Ending.COMPLETED, at_us)
                    return
                case StepKind.BRANCH:
                    target, ending = step.ways[self._way(walk, step, at_us)].target, Ending.COMPLETED
                case StepKind.SLOT:
                    assert step.slot is not None
                    begin_us, end_us = walk.entered_us + step.slot.from_us, walk.entered_us + step.slot.to_us
                    if at_us < begin_us:
                        walk.due_us = begin_us
                        return
                    target = step.target if at_us <= end_us else step.missed
                    ending = Ending.COMPLETED if at_us <= end_us else Ending.TIMEOUT
                case StepKind.ACT:
                    assert step.act is not None
                    acted = sum(walk.visits.values()) + sum(walk.former_visits.values())
                    if acted >= self.course.budget_of[target]:
                        if step.act.blocked is WhenBlocked.EXIT:
                            _end(walk, Ending.POLICY, at_us)
                            return
                        target, ending = step.target, Ending.COMPLETED
                        continue
                    walk.visits[target] = walk.visits.pop(target, 0) + 1
                    walk.due_us = deadline_us(step.act, walk.entered_us, at_us)
                    return
                case StepKind.WAIT:
                    assert step.timer is not None
                    walk.due_us = timer_due_us(step.timer, at_us, self.zone)
                    found = self._looked_back(place, walk)
                    if found is None:
                        return
                    one, told = found
                    assert told.listener is not None
                    walk.used.add(one.event)
                    target, ending = step.waits[told.listener.place].target, Ending.COMPLETED
                case _:
                    assert_never(step.kind)
        _end(walk, Ending.ERROR, at_us)

    def _way(self, walk: Walk, step: JourneyStep, at_us: int) -> int:
        """Return which way a branch leads: as it did when it was passed at this time before, or by what is known."""
        name = self.course.plain_names[walk.step]
        if len(step.ways) == 1 or step.ways[0].share_bp:
            return way_on(step, name, walk.number, lambda _: False)
        for one in self.heard:
            told = self.course.told.get(one.listener)
            if told is None or told.way < 0 or told.step != walk.step:
                continue
            if one.about == walk.number and one.time_us == at_us:
                return told.way
        key = (walk.owner, walk.number, walk.step, at_us)
        if key not in self.ways:
            self.ways[key] = way_on(step, name, walk.number, lambda program: self.holds(program, walk, at_us))
        return self.ways[key]

    def _looked_back(self, place: int, walk: Walk) -> tuple[Heard, Told] | None:
        """Return the first thing heard so far that ends the wait that has just begun."""
        for one in self.heard[: place + 1]:
            if one.time_us < walk.since_us - self.course.look_back_us:
                continue
            told = self.course.told.get(one.listener)
            if told is not None and self._ends_wait(walk, one, told):
                return one, told
        return None


def deadline_us(act: Act, entered_us: int, since_us: int) -> int:
    """Return from when on an act that began at a time says nothing any more."""
    last_us = since_us + act.within_us + act.hold_us
    return last_us if act.slot is None else min(last_us, entered_us + act.slot.to_us + 1)


def _end(walk: Walk, ending: Ending, at_us: int) -> None:
    walk.ending, walk.ended_us, walk.due_us = ending, at_us, NEVER_US
    walk.used.clear()
