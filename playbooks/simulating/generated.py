"""A generated instance: walked through a journey by the engine that walks everybody, with what happens to it drawn.

What may happen is what the playbook allows: conditions are true together only where they can be, reports come of what
was said only, and those in no control group are not withheld from. Of what may happen, what happened least comes first.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from household.journeys.course import ActOutcome, Course, outcome_key
from household.journeys.walk import Lane, Walk
from household.plan import NONE, JourneyStep, ListensFor, StepKind
from household.tables.heard import ANY, Heard
from household.tables.instances import Ending
from playbooks.simulating.together import Supposed
from playbooks.simulating.ways import ANYWHERE, JourneyWay, JourneyWays, Walked, WayKind

MOVES_MAX = 200
"""Of one instance; a journey that goes round for ever is left then."""

BY_CHANCE = 0.3
"""Share of draws in which what happened often may happen again."""

MEMBER = 0
OWNER = 0


class _Looked(tuple[JourneyStep, ...]):
    """States that note which of them the engine looks at."""

    seen: list[int]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int):
            self.seen.append(index)
        return super().__getitem__(index)


class WatchedLane(Lane):
    """A lane of which is known through which states it goes, and that asks which way a branch is to be left by."""

    generated: "GeneratedInstance"

    def _go(self, place: int, walk: Walk, target: int, at_us: int, ending: Ending) -> None:
        states = cast(_Looked, self.course.steps)
        states.seen = []
        super()._go(place, walk, target, at_us, ending)
        passed, states.seen = states.seen, []
        self.generated.went(walk, passed, at_us)

    def _way(self, walk: Walk, step: JourneyStep, at_us: int) -> int:
        self.generated.draw_way(walk, step, at_us)
        way = super()._way(walk, step, at_us)
        self.generated.left(walk, way)
        return way


@dataclass(frozen=True, slots=True)
class _Move:
    """Something that may happen next."""

    way: JourneyWay
    """That it makes the instance go."""
    event: int = NONE
    """Type of the event that happens; NONE where none does."""


class GeneratedInstance:
    """One instance on its way."""

    def __init__(self, ways: JourneyWays, course: Course, walked: Walked, *, seed: str, start_us: int) -> None:
        """Let one enter.

        Args:
            ways: of its journey.
            course: the same, as the engine has it; its own, since its states are watched.
            walked: what was walked by others; what this one walks is added.
            seed: of all that is drawn.
            start_us: about when it enters.
        """
        self._ways, self._walked, self._chance = ways, walked, _drawing(seed)
        states = _Looked(course.steps)
        states.seen = []
        course.steps = states
        self._course = course
        self._listeners = [one.listener for one in course.told.values() if one.listener is not None]
        self._key_of = {(one.role, one.step, one.place): one.key for one in self._listeners}
        self._number = int(self._chance.integers(1, 1 << 40))
        self._now_us = start_us + int(self._chance.integers(7 * 86_400_000_000))
        self._correlation = 0 if ways.flow.correlation == NONE else int(self._chance.integers(1, 1 << 40))
        self._is_control = ways.has_control and self._chance.random() < 0.25
        self._said: tuple[int, int] | None = None
        """State and visit of what was said last."""
        self._facts: dict[int, Supposed] = {}
        """Instant → what was true then, and what was not."""
        self._wanted: dict[int, bool] = {}
        """Program → whether it holds, in the branch that is being left."""
        self.lane = WatchedLane(
            course=course,
            member=MEMBER,
            walks=[],
            heard=[],
            zone=ways.plan.policy.time_zone,
            holds=lambda program, _walk, _at_us: self._wanted.get(program, False),
            version="",
            owners=[],
        )
        self.lane.generated = self

    def walk(self) -> None:
        """Let things happen to it until it ends."""
        entries = self._ways.entries()
        self._facts[self._now_us] = entries[int(self._chance.integers(len(entries)))]
        self._hear(self._key_of[ListensFor.ENTRY, NONE, 0], about=ANY)
        for _ in range(MOVES_MAX):
            if not self.lane.walks or not self.lane.walks[0].is_live:
                return
            self._move(self.lane.walks[0])

    # --- what happens -------------------------------------------------------------------------------------------------

    def _move(self, walk: Walk) -> None:
        moves = list(self._moves(walk))
        move = self._drawn(moves, [one.way for one in moves])
        before = (walk.step, walk.since_us, walk.ending)
        self._happens(walk, move)
        if (walk.step, walk.since_us, walk.ending) != before:
            self._walked.gone(move.way)
        else:
            # What should have moved it did not: time does.
            self._pass(walk.due_us)

    def _drawn(self, moves: "Sequence[Any]", ways: Sequence[JourneyWay]) -> Any:
        if self._chance.random() < BY_CHANCE:
            return moves[int(self._chance.integers(len(moves)))]
        counts = [self._walked.ways.get(way, 0) for way in ways]
        least = [one for one, count in zip(moves, counts, strict=True) if count == min(counts)]
        return least[int(self._chance.integers(len(least)))]

    def _moves(self, walk: Walk) -> Iterator[_Move]:
        step = self._course.flow.steps[walk.step]
        match step.kind:
            case StepKind.WAIT:
                if walk.due_us > self._now_us + 1:
                    own = (JourneyWay(walk.step, WayKind.EVENT, place) for place in range(len(step.waits)))
                    yield from self._by_events(own)
                    yield from self._from_anywhere()
                yield _Move(JourneyWay(walk.step, WayKind.TIMEOUT))
            case StepKind.SLOT:
                if walk.due_us > self._now_us + 1:
                    yield from self._from_anywhere()
                yield _Move(JourneyWay(walk.step, WayKind.IN_SLOT))
            case StepKind.ACT:
                yield from self._of_act(walk)
            case StepKind.BRANCH | StepKind.END:
                raise AssertionError(f"{step.name} takes no time")

    def _by_events(self, ways: Iterable[JourneyWay]) -> Iterator[_Move]:
        for way in ways:
            events = self._ways.possible_events(way, was_said=self._said is not None)
            if events:
                yield _Move(way, events[int(self._chance.integers(len(events)))])

    def _from_anywhere(self) -> Iterator[_Move]:
        yield from self._by_events(way for way, _ in self._ways.marks())
        if self._said is not None and self._ways.journey.outbound and self.lane.walks[0].last_act == self._said:
            yield _Move(JourneyWay(self._said[0], WayKind.FAILED))

    def _of_act(self, walk: Walk) -> Iterator[_Move]:
        index = walk.step
        yield _Move(JourneyWay(index, WayKind.NOTHING))
        yield _Move(JourneyWay(index, WayKind.BLOCKED))
        if self._ways.why_never_said(index) is None:
            if self._is_control:
                if JourneyWay(index, WayKind.WITHHELD) in self._ways.of(index):
                    yield _Move(JourneyWay(index, WayKind.WITHHELD))
            else:
                yield _Move(JourneyWay(index, WayKind.SAID))
                if self._ways.journey.outbound:
                    yield _Move(JourneyWay(index, WayKind.FAILED))

    def _happens(self, walk: Walk, move: _Move) -> None:
        way = move.way
        match way.kind:
            case WayKind.EVENT | WayKind.GOAL | WayKind.EXIT:
                self._event(walk, way, move.event)
            case WayKind.TIMEOUT | WayKind.IN_SLOT:
                self._pass(walk.due_us)
            case WayKind.SAID:
                if self._chance.random() < 0.5:
                    self._told(walk, way.step, self._drawn_outcome(ActOutcome.DECIDED, ActOutcome.HELD))
                self._now_us = self._between(self._now_us, walk.due_us - 1)
                self._said = (way.step, walk.visits[way.step])
                self._told(walk, way.step, ActOutcome.SAID)
            case WayKind.WITHHELD:
                self._told(walk, way.step, ActOutcome.WITHHELD)
            case WayKind.NOTHING:
                self._told(walk, way.step, ActOutcome.NOTHING)
            case WayKind.BLOCKED:
                outcomes = (ActOutcome.BLOCKED, ActOutcome.NO_CONSENT, ActOutcome.STALE, ActOutcome.HELD)
                outcome = self._drawn_outcome(*outcomes)
                self._told(walk, way.step, outcome)
                if outcome is ActOutcome.HELD:
                    self._pass(walk.due_us)
            case WayKind.FAILED if self._said is not None and walk.step != way.step:
                self._now_us = self._between(self._now_us, walk.due_us - 1)
                self._told(walk, way.step, ActOutcome.FAILED, visit=self._said[1])
                self._said = None
            case WayKind.FAILED:
                self._told(walk, way.step, ActOutcome.DECIDED)
                self._pass(walk.due_us)
            case WayKind.BRANCH | WayKind.MISSED:
                raise AssertionError(f"{way.kind} takes no time")

    def _drawn_outcome(self, *outcomes: ActOutcome) -> ActOutcome:
        return outcomes[int(self._chance.integers(len(outcomes)))]

    def _event(self, walk: Walk, way: JourneyWay, event: int) -> None:
        at_us = self._between(self._now_us + 1, walk.due_us - 1)
        self._now_us = at_us
        self._facts[at_us] = self._ways.asked_of_event(way, event)
        if way.step == ANYWHERE:
            role = ListensFor.GOAL if way.kind is WayKind.GOAL else ListensFor.EXIT
            key = next(one.key for one in self._listeners if one.role is role and one.place == way.place)
        else:
            key = self._key_of[ListensFor.WAIT, way.step, way.place]
        self._hear(key, about=walk.number if self._ways.is_report(event) else ANY)

    def _between(self, first_us: int, last_us: int) -> int:
        """Return an instant between two, both included: soon, late or anywhere."""
        if last_us <= first_us:
            return first_us
        match int(self._chance.integers(3)):
            case 0:
                return first_us + min(int(self._chance.integers(1, 3_600_000_000)), last_us - first_us)
            case 1:
                return last_us
            case _:
                return int(self._chance.integers(first_us, last_us + 1))

    def _told(self, walk: Walk, step: int, outcome: ActOutcome, *, visit: int | None = None) -> None:
        key = outcome_key(self._course.name, self._course.flow.steps[step].name, outcome)
        self._hear(key, about=walk.number, visit=walk.visits[step] if visit is None else visit)

    def _hear(self, key: str, *, about: int, visit: int = 0) -> None:
        heard, owners = cast(list[Heard], self.lane.heard), cast(list[int], self.lane.owners)
        number = self._number + len(heard)
        correlation = 0 if visit else self._correlation
        heard.append(Heard(key, self._now_us, MEMBER, correlation, about, visit, number, self._now_us))
        owners.append(OWNER)
        self.lane.run(len(heard) - 1, self._now_us)

    def _pass(self, until_us: int) -> None:
        self._now_us = max(self._now_us, until_us)
        self.lane.run(len(self.lane.heard), self._now_us)

    # --- what the lane tells ------------------------------------------------------------------------------------------

    def draw_way(self, walk: Walk, step: JourneyStep, at_us: int) -> None:
        """Draw which way a branch is to be left by, of those that may be gone at that instant."""
        self._wanted = {}
        if step.ways[0].share_bp or len(step.ways) == 1:
            return
        fact = self._facts.get(at_us, Supposed())
        places, passed = list[tuple[int, Supposed]](), list[int]()
        for place, way in enumerate(step.ways):
            true = () if way.program == NONE else (way.program,)
            asked = Supposed(events=fact.events, true=(*fact.true, *true), untrue=(*fact.untrue, *passed))
            if self._ways.together.may_be(asked):
                places.append((place, asked))
            passed += true
        if not places:
            return  # what is not understood has been taken to be possible before; the last way is always open
        place, asked = self._drawn(places, [JourneyWay(walk.step, WayKind.BRANCH, at) for at, _ in places])
        self._facts[at_us] = asked
        program = step.ways[place].program
        self._wanted = {} if program == NONE else {program: True}

    def left(self, walk: Walk, way: int) -> None:
        """Note by which way a branch was left."""
        self._walked.gone(JourneyWay(walk.step, WayKind.BRANCH, way))

    def went(self, walk: Walk, passed: Sequence[int], at_us: int) -> None:
        """Note through which states an instance went at an instant."""
        after_us = at_us - walk.entered_us
        for place, index in enumerate(passed):
            step = self._course.flow.steps[index]
            is_last = place == len(passed) - 1 and walk.is_live
            self._walked.came(index, after_us)
            if step.kind is StepKind.SLOT:
                assert step.slot is not None
                if is_last:
                    continue
                is_in = after_us <= step.slot.to_us
                self._walked.gone(JourneyWay(index, WayKind.IN_SLOT if is_in else WayKind.MISSED))
            elif step.kind is StepKind.ACT and not is_last:
                self._walked.spent.add(index)
                self._walked.gone(JourneyWay(index, WayKind.BLOCKED))


def _drawing(seed: str) -> np.random.Generator:
    digest = hashlib.blake2b(seed.encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))
