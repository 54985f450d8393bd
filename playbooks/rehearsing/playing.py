"""Playing a rehearsal: step by step, until what is expected does not come."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from household.events import Status
from household.experiments.drawing import drawn_arm
from household.local_time import local_datetime
from household.plan import Plan
from household.plan.experiments import CONTROL, TREATED
from household.tables.instances import Ending, Instance
from playbooks.rehearsing.judging import Judging, Unexpected, is_about
from playbooks.rehearsing.reading import experiments_about
from playbooks.rehearsing.script import (
    Base,
    Expectation,
    Question,
    Rehearsal,
    Repeat,
    Reply,
    ScriptStep,
    Signal,
    Variant,
    When,
)
from playbooks.rehearsing.times import instant_us
from playbooks.rehearsing.world import Doing, Happening, RehearsalStage
from written.problems import Place, Problem

HOUSEHOLDS_MOST = 1_000_000
"""Keys that are tried until one is drawn into the arms that are asked for."""

_MINUTE_US, _DAY_US = 60_000_000, 86_400_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What became of a rehearsal."""

    name: str
    file: str
    problem: Problem | None = None
    """What came otherwise than expected first; None where all came as expected."""
    variant: Variant | None = None
    """In which other way it was played then."""


def play(one: Rehearsal, plan: Plan) -> Played:
    """Play a rehearsal as it is written, and then in the other ways that it names; stop at what comes otherwise."""
    for variant in (None, *one.also):
        try:
            Playing(one, plan, variant).play()
        except Unexpected as wrong:
            return Played(name=one.name, file=one.place.file, problem=wrong.problem, variant=variant)
    return Played(name=one.name, file=one.place.file)


def played_until(one: Rehearsal, plan: Plan, *, state: str) -> RehearsalStage:
    """Return the world of a rehearsal as its journey's newest instance has come to a state.

    Raises:
        LookupError: it never does.
    """
    playing = Playing(one, plan, None)
    for _ in playing.steps():
        instances = playing.instances(one.journey)
        if instances and instances[-1].step == state:
            return playing.world
    raise LookupError(f"{one.name} never comes to '{state}'")


def household_for(one: Rehearsal, plan: Plan) -> bytes:
    """Return the first of some household keys that is drawn into the arms that a rehearsal needs.

    Raises:
        LookupError: none of a million is.
    """
    about = {experiment.name for experiment in experiments_about(plan, one.journey)}
    for number in range(HOUSEHOLDS_MOST):
        key = f"home-{number}".encode()
        if all(_is_wanted(one, drawn_arm(plan, it, key).name, is_own=it.name in about) for it in plan.all_experiments):
            return key
    raise LookupError(f"none of {HOUSEHOLDS_MOST:,} households is in arm '{one.arm}' and in no other control group")


def _is_wanted(one: Rehearsal, arm: str, *, is_own: bool) -> bool:
    if is_own and one.arm != TREATED:
        return arm == one.arm
    return arm != CONTROL


class Playing:
    """One rehearsal on its way."""

    def __init__(self, one: Rehearsal, plan: Plan, variant: Variant | None) -> None:
        self._one, self._plan, self._variant = one, plan, variant
        self._zone = plan.policy.time_zone
        try:
            household = household_for(one, plan)
        except LookupError as none:
            raise Unexpected(one.place, str(none), "let its control share be less than everybody") from none
        self._world = RehearsalStage(
            plan, household, now_us=one.start_us, first_member=one.members[0], gateways=one.gateways
        )
        self._seen = 0
        """Happenings before the last expectation."""
        self._count = 0
        self._signals: dict[str, tuple[Signal, int, str]] = {}
        self._called: dict[str, str] = {}

    def play(self) -> None:
        """Play all steps.

        Raises:
            Unexpected: something comes otherwise.
        """
        for _ in self.steps():
            pass

    def steps(self) -> Iterator[None]:
        """Play step by step."""
        for step in self._one.steps:
            at_us = self._instant(step.at, step.place)
            if at_us < self._world.now_us:
                wrong = f"{self.at(at_us)} is before the step before, {self.at(self._world.now_us)}"
                raise Unexpected(
                    step.place, self._told(wrong), "put the steps in order; what is learned late has 'ago: …'"
                )
            if self._variant is Variant.RESTARTS and not self._world.restart():
                raise Unexpected(step.place, self._told("a restart before this step changes what is known"))
            if self._variant is Variant.VERSIONS:
                self._world.take_next_version()
            self._world.advance(at_us)
            self._play_step(step)
            yield
        if self._variant is Variant.RESTARTS and not self._world.is_replayed():
            raise Unexpected(self._one.place, self._told("its records, folded anew, give something else"))

    def _play_step(self, step: ScriptStep) -> None:
        world = self._world
        match step:
            case Signal():
                for number in range(step.times):
                    if number:
                        world.advance(world.now_us + step.every_us)
                    self._send(step, world.now_us - step.ago_us, self._name(step, number))
                    world.settle()
            case Repeat():
                signal, time_us, name = self._signals[step.name]
                self._expect_status(
                    step.place,
                    world.signal(signal.kind, signal.member, time_us, signal.values, name=name),
                    Status.DUPLICATE,
                )
                world.settle()
            case Question():
                carries = frozenset[int]()
                if step.carries is not None:
                    carries = frozenset({step.carries.kind})
                    self._send(step.carries, world.now_us - step.carries.ago_us, self._name(step.carries, 0))
                world.ask(step.channel, step.member, carries=carries)
                world.settle()
            case Reply():
                self._reply(step)
                world.settle()
            case Expectation():
                Judging(self, step).judge()
                if step.call_it:
                    self._called[step.call_it] = self._newest(step)
                if step.looks:
                    self._seen = len(world.happenings)

    def _newest(self, step: Expectation) -> str:
        said = [one for one in self.since() if one.action_id and one.doing in (Doing.SAID, Doing.ANSWERED)]
        wanted = [one for one in said if is_about(one, step.journey)]
        return wanted[-1].action_id if wanted else ""

    def _name(self, signal: Signal, number: int) -> str:
        self._count += 1
        name = f"event-{self._count}"
        if signal.name:
            self._signals[signal.name] = (signal, self._world.now_us - signal.ago_us, name)
        return name

    def _send(self, signal: Signal, time_us: int, name: str) -> None:
        for status in self._each_status():
            given = self._world.signal(signal.kind, signal.member, time_us, signal.values, name=name)
            self._expect_status(signal.place, given, status)

    def _each_status(self) -> Sequence[Status]:
        return (Status.APPLIED, Status.DUPLICATE) if self._variant is Variant.DUPLICATES else (Status.APPLIED,)

    def _expect_status(self, place: Place, given: Status, wanted: Status) -> None:
        if given is not wanted:
            right = "it is older than the playbook's lateness" if given is Status.LATE else ""
            raise Unexpected(place, self._told(f"the signal is {given.name}, not {wanted.name}"), right)

    def _reply(self, step: Reply) -> None:
        said = [one for one in self._world.happenings if one.doing in (Doing.SAID, Doing.ANSWERED) and one.action_id]
        about = [one for one in said if step.offer in ("", one.offer)]
        if not about:
            what = f"'{step.offer}'" if step.offer else "anything"
            raise Unexpected(step.place, self._told(f"nobody was told {what} before, so nobody can reply to it"))
        channel = step.channel or about[-1].channel
        self._count += 1
        name = f"reply-{self._count}"
        for status in self._each_status():
            given = self._world.report(step.outcome, about[-1].action_id, channel, step.member, name=name)
            self._expect_status(step.place, given, status)

    # --- words --------------------------------------------------------------------------------------------------------

    def _instant(self, when: When, place: Place) -> int:
        due_us = None
        if when.base is Base.DUE:
            live = [one for one in self.instances(self._one.journey) if one.ending is Ending.LIVE]
            due_us = live[-1].due_us if live else None
        at_us = instant_us(
            when, start_us=self._one.start_us, before_us=self._world.now_us, due_us=due_us, zone=self._zone
        )
        if at_us is None:
            raise Unexpected(place, self._told("nothing is due: the journey has no instance here"))
        return at_us

    def instant(self, when: When, place: Place) -> int:
        """Return which instant a time is, as it stands."""
        return self._instant(when, place)

    def instances(self, journey: str) -> list[Instance]:
        """Return the instances of a journey, in order."""
        return self._world.instances(journey)

    def since(self) -> list[Happening]:
        """Return what happened since the last expectation."""
        return self._world.happenings[self._seen :]

    def called(self, name: str) -> str:
        """Return the id of the action that was given a name."""
        return self._called[name]

    @property
    def world(self) -> RehearsalStage:
        """Where it is played."""
        return self._world

    @property
    def plan(self) -> Plan:
        """Of the playbook."""
        return self._plan

    def told(self, wrong: str) -> str:
        """Return a message with when and whose it is."""
        return self._told(wrong)

    def _told(self, wrong: str) -> str:
        how = f" (with {self._variant})" if self._variant is not None else ""
        return f"{self._one.name}{how}: {self.at(self._world.now_us)}: {wrong}"

    def at(self, time_us: int) -> str:
        """Return a time as people read it."""
        local = local_datetime(self._zone, time_us)
        exact = f"{local:%a %Y-%m-%d %H:%M}"
        if below_us := time_us % _MINUTE_US:
            exact += f":{below_us / 1e6:09.6f}".rstrip("0").rstrip(".")
        days = (time_us - self._one.start_us) / _DAY_US
        return f"{exact} (day {math.floor(days * 100) / 100:g})"
