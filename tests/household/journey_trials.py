"""Random journeys, and all that may happen in them, told to the fold and to the reference alike.

python -m tests.household.journey_trials 100000 [first seed]
"""

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from household.apply import apply_decision, apply_delivery, apply_epoch, apply_signals, apply_tick
from household.columns.program import Op
from household.deciding.reasons import Reason
from household.decision import Decision, SlateAction
from household.decision_bytes import encode_decision
from household.delivery import DeliveryNote, DeliveryStep
from household.events import RESERVED_TYPES, Status
from household.migration import migrated
from household.plan import (
    NONE,
    Act,
    Again,
    BranchWay,
    Channel,
    EventField,
    EventTimeRules,
    EventType,
    Feature,
    FeatureKind,
    Field,
    FieldKind,
    Flow,
    Halt,
    HaltedJourney,
    JourneyStep,
    JourneyWait,
    Mark,
    Offer,
    Plan,
    Program,
    Scope,
    Slot,
    StateMove,
    StepKind,
    Timer,
    Treatment,
    Trigger,
    WhenBlocked,
    WhenChanged,
    WhenMerged,
)
from household.plan import Journey as PlanJourney
from household.plan.earlier import with_earlier
from household.state import PartitionState
from tests.household.graph_reference import Said
from tests.household.graph_worlds import batch_of_told
from tests.household.journey_reference import END, Happening, Journey, Match, Reference, State
from tests.household.oracle import Event, batch_of

LATENESS = 60
START = 1_000_000
KINDS = ("x", "y", "counted")
MEMBERS = ("anna", "ben", "")
STEPS = 40


# --- journeys --------------------------------------------------------------------------------------------------------


def random_journey(chance: random.Random) -> Journey:
    """Draw a journey that the check would let pass, or nearly: what takes no time leads forward."""
    count = chance.randint(1, 5)
    names = [f"s{place}" for place in range(count)]
    states = tuple(_random_state(chance, place, names) for place in range(count))
    keyed = chance.random() < 0.35
    goal_count = chance.choice((0, 0, 0, 2, 4))
    return Journey(
        name="j",
        states=states,
        entry=_random_match(chance),
        entry_count=chance.choice((0, 0, 0, 1, 2)),
        goal=_random_match(chance) if not goal_count and chance.random() < 0.5 else None,
        goal_count=goal_count,
        leave=_random_match(chance) if chance.random() < 0.3 else None,
        again=chance.choice(("once", "after_exit", "after_exit", "after")),
        after=chance.randint(1, 80),
        keyed=keyed,
        parallel=chance.randint(1, 3) if keyed else 1,
        most=chance.choice((0, 0, 1, 2)),
        window=chance.randint(5, 150),
        of_member=chance.random() < 0.4,
        budget=chance.choice((9, 9, 1, 2)),
        merged=chance.choice(("keep_both", "keep_older", "keep_older", "exit")),
    )


def changed_journey(chance: random.Random, journey: Journey) -> Journey:
    """Return another version: states with other times and waits, called otherwise, doing otherwise, or gone."""
    states = list(journey.states)
    names = [one.name for one in states]
    for place, one in enumerate(states):
        draw = chance.random()
        if draw < 0.3:
            states[place] = replace(one, after=chance.randint(1, 40), within=chance.randint(1, 30))
        elif draw < 0.4:
            states[place] = _random_state(chance, place, names)
        elif draw < 0.5 and one.what == "wait":
            states[place] = replace(one, waits=one.waits[:1], then=chance.choice([*names[place + 1 :], END]))
    called = {name: f"{name}_" if chance.random() < 0.15 else name for name in names} | {END: END}
    if len(states) > 1 and chance.random() < 0.25:
        gone = states.pop(chance.randrange(1, len(states)))
        called[gone.name] = END
    if states[0].what == "end":
        states[0] = journey.states[0]
    changed = chance.choice(("by_name", "by_name", "pin", "pin", "drain", "restart", "migrate"))
    there = [called[one] for one in names if called[one] != END] + [END]
    return replace(
        journey,
        states=tuple(_called(one, called) for one in states),
        goal=chance.choice((journey.goal, journey.goal, None)),
        leave=chance.choice((journey.leave, journey.leave, _random_match(chance))),
        budget=chance.choice((journey.budget, 1, 3)),
        changed=changed,
        moves=tuple((name, chance.choice(there), chance.random() < 0.3) for name in names)
        if changed == "migrate"
        else (),
    )


def _called(state: State, called: dict[str, str]) -> State:
    return replace(
        state,
        name=called[state.name],
        then=called[state.then],
        failed=called[state.failed],
        otherwise=called[state.otherwise],
        missed=called[state.missed],
        waits=tuple(replace(one, then=called[one.then]) for one in state.waits),
        shares=tuple((called[name], share) for name, share in state.shares),
    )


def waiting_journey(chance: random.Random) -> Journey:
    """Draw a journey of which most is done by waiting: states that kernels can lead through, and others in between."""
    journey = random_journey(chance)
    states = [
        replace(one, what="wait", after=chance.randint(1, 40), waits=(replace(_random_match(chance), then=one.then),))
        if one.what in ("act", "split", "ask") and chance.random() < 0.8
        else one
        for one in journey.states
    ]
    return replace(journey, states=tuple(states))


def _random_match(chance: random.Random) -> Match:
    return Match(kind=chance.choice(KINDS), least=chance.choice((0.0, 0.0, 2.0)))


def _random_state(chance: random.Random, place: int, names: list[str]) -> State:
    later = [*names[place + 1 :], END]
    anywhere = [*names, END]
    what = chance.choice(("wait", "wait", "wait", "act", "act", "split", "ask", "slot", "end"))
    if what == "end" and place == 0:
        what = "wait"
    name, then = names[place], chance.choice(later)
    match what:
        case "wait":
            waits = tuple(
                Match(
                    kind=chance.choice((*KINDS, "hearth.decline")),
                    least=chance.choice((0.0, 0.0, 2.0)),
                    look_back=chance.choice((0, 0, 0, 5, 30)),
                    then=chance.choice(later if chance.random() < 0.7 else anywhere),
                )
                for _ in range(chance.randint(0, 2))
            )
            waits = tuple(
                Match(kind=one.kind, look_back=one.look_back, then=one.then) if one.kind.startswith("h") else one
                for one in waits
            )
            return State(name=name, what=what, waits=waits, after=chance.randint(1, 40), then=chance.choice(anywhere))
        case "act":
            return State(
                name=name,
                what=what,
                within=chance.randint(1, 30),
                then=then,
                leaves_when_blocked=chance.random() < 0.3,
                failed=chance.choice(later),
            )
        case "split":
            one = chance.randint(1, 9_999)
            shares = ((chance.choice(later), one), (chance.choice(later), 10_000 - one))
            return State(name=name, what=what, shares=shares)
        case "ask":
            return State(name=name, what=what, asks=chance.randint(1, 3), then=then, otherwise=chance.choice(later))
        case "slot":
            begin = chance.randint(0, 40)
            slot = (begin, begin + chance.randint(0, 30))
            return State(name=name, what=what, slot=slot, then=then, missed=chance.choice(later))
        case _:
            return State(name=name, what="end")


def plan_of(journey: Journey, halted: str = "") -> Plan:
    """Return a plan with that journey, which is halted in that way if in any."""
    events = (*KINDS, *RESERVED_TYPES)
    index = {name: place for place, name in enumerate(events)}
    programs: list[Program] = []

    def program(text: str, *code: tuple[Op, float]) -> int:
        programs.append(Program(text=text, ops=tuple(int(op) for op, _ in code), args=tuple(arg for _, arg in code)))
        return len(programs) - 1

    def amount(least: float) -> int:
        if not least:
            return NONE
        return program(f"amount >= {least}", (Op.FIELD, 0.0), (Op.CONST, least), (Op.GREATER_EQUAL, 0.0))

    def counted(least: int) -> int:
        code = ((Op.FEATURE, 0.0), (Op.CONST, float(least)), (Op.GREATER_EQUAL, 0.0))
        return program(f"counted >= {least}", *code)

    def mark(name: str, match: Match) -> Mark:
        return Mark(name=name, events=(index[match.kind],), program=amount(match.least))

    place = {one.name: number for number, one in enumerate(journey.states)} | {END: -1}
    goal = mark("goal", journey.goal) if journey.goal is not None else None
    if journey.goal_count:
        everything = tuple(range(len(KINDS)))
        goal = Mark(name="goal", events=everything, program=counted(journey.goal_count), is_of_any_event=True)
    steps = []
    for one in journey.states:
        match one.what:
            case "wait":
                waits = tuple(
                    JourneyWait(
                        events=(index[wait.kind],),
                        program=amount(wait.least),
                        look_back_us=wait.look_back,
                        target=place[wait.then],
                    )
                    for wait in one.waits
                )
                timer = Timer(after_us=one.after)
                step = JourneyStep(name=one.name, kind=StepKind.WAIT, waits=waits, timer=timer, target=place[one.then])
            case "act":
                act = Act(
                    offers=(0,),
                    within_us=one.within,
                    blocked=WhenBlocked.EXIT if one.leaves_when_blocked else WhenBlocked.SKIP,
                    failed=place[one.failed],
                )
                step = JourneyStep(name=one.name, kind=StepKind.ACT, act=act, target=place[one.then])
            case "split":
                ways = tuple(BranchWay(target=place[name], share_bp=share) for name, share in one.shares)
                step = JourneyStep(name=one.name, kind=StepKind.BRANCH, ways=ways)
            case "ask":
                asked = BranchWay(program=counted(one.asks), target=place[one.then])
                step = JourneyStep(
                    name=one.name, kind=StepKind.BRANCH, ways=(asked, BranchWay(target=place[one.otherwise]))
                )
            case "slot":
                slot = Slot(from_us=one.slot[0], to_us=one.slot[1])
                target, missed = place[one.then], place[one.missed]
                step = JourneyStep(name=one.name, kind=StepKind.SLOT, slot=slot, target=target, missed=missed)
            case _:
                step = JourneyStep(name=one.name, kind=StepKind.END)
        steps.append(step)
    flow = Flow(
        steps=tuple(steps),
        again=Again(journey.again),
        after_us=journey.after if journey.again == "after" else 0,
        correlation=1 if journey.keyed else NONE,
        parallel=journey.parallel,
        entries_most=journey.most,
        entries_window_us=journey.window if journey.most else 0,
        is_each=journey.keyed or not journey.entry_count,
        goal=goal,
        exits=() if journey.leave is None else (mark("leave", journey.leave),),
        owner="nobody",
        budget_acts=journey.budget,
        merged=WhenMerged(journey.merged),
        changed=WhenChanged(journey.changed),
        moves=tuple(StateMove(state=old, target=place[new], rearms=begins) for old, new, begins in journey.moves),
    )
    trigger = Trigger(
        events=(index[journey.entry.kind],),
        program=counted(journey.entry_count) if journey.entry_count else amount(journey.entry.least),
        scope=Scope.MEMBER if journey.of_member else Scope.HOUSEHOLD,
    )
    uses = (EventField(field=0), EventField(field=1))
    return Plan(
        name="trial",
        fields=(Field(name="amount", kind=FieldKind.NUMBER), Field(name="key", kind=FieldKind.NUMBER)),
        event_types=(
            *(EventType(name=name, source="app", fields=uses) for name in KINDS),
            *(EventType(name=name, source="hearth") for name in RESERVED_TYPES),
        ),
        programs=tuple(programs),
        features=(
            Feature(
                name="household.counted",
                kind=FeatureKind.COUNT,
                scope=Scope.HOUSEHOLD,
                result="int",
                events=(index["counted"],),
            ),
        ),
        channels=(Channel(name="push", inbound=False, outbound=True),),
        families=("f",),
        offers=(
            Offer(
                name="o",
                kind="offer",
                family="f",
                treatments=(Treatment(name="t", channel=0, text="…"),),
            ),
        ),
        journeys=(PlanJourney(name="j", trigger=trigger, offers=(0,), outbound=(0,), flow=flow),),
        clock=EventTimeRules(lateness_us=LATENESS, future_us=5, request_window_us=50),
        halted=(HaltedJourney(journey="j", how=Halt(halted)),) if halted else (),
    )


# --- trials ----------------------------------------------------------------------------------------------------------


class Differs(AssertionError):
    """The fold is not where the reference is."""


@dataclass(slots=True)
class Trial:
    """One journey, a household or two, and what happens."""

    seed: int
    chance: random.Random
    journey: Journey
    state: PartitionState
    reference: Reference
    now: int = START
    sent: list[Event] = field(default_factory=list)
    number: int = 0
    offset: int = 0
    actions: dict[tuple[int, str, int], str] = field(default_factory=dict)
    to_be_said_by: dict[tuple[int, str, int], int] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    is_halted_at_times: bool = False
    changes_at_times: bool = False
    changes_most: float = 0.24
    """Where among chances below one a change ends that begins at 0.2."""
    homes: tuple[str, ...] = ("home",)
    are_one: bool = False
    name: str = "j"

    @classmethod
    def of(cls, seed: int) -> "Trial":
        chance = random.Random(seed)
        journey = random_journey(chance)
        state = PartitionState(plan=plan_of(journey), stream_clock=False)
        apply_epoch(state, epoch=1)
        one = cls(seed, chance, journey, state, Reference(journey, lateness=LATENESS))
        one.is_halted_at_times, one.changes_at_times = chance.random() < 0.3, chance.random() < 0.3
        # What conditions see of households that are one is not a journey's to say.
        if not _counts(journey) and chance.random() < 0.5:
            one.homes = ("home", "other")
        return one

    @classmethod
    def changing(cls, seed: int) -> "Trial":
        """Return one in which the journey is changed again and again."""
        one = cls.of(seed)
        one.changes_at_times, one.changes_most, one.homes = True, 0.32, ("home",)
        return one

    def run(self) -> None:
        """Let things happen, and compare after each."""
        self.tick(0)
        for _ in range(STEPS):
            self.one_thing()
            self.compare()

    def one_thing(self) -> None:
        pending = [key for key, status in self.reference.acts.items() if status == "pending"]
        draw, halted = self.chance.random(), self.reference.halted
        if self.something_changes():
            return
        if pending and draw < 0.3 and not halted:
            self.decide(self.chance.choice(pending))
        elif draw < 0.45 and not halted:
            self.later()
        elif draw < 0.52:
            self.report()
        elif draw < 0.62:
            self.tick(self.chance.choice((1, 2, 5, 20, 70)))
        elif draw < 0.65 and self.sent:
            self.send(self.chance.choice(self.sent), is_again=True)
        else:
            self.now += self.chance.choice((0, 0, 1, 3, 10))
            self.send(self.random_event())

    def something_changes(self) -> bool:
        """Perhaps let the journey be halted or go on, another version come into force, or two households be one."""
        draw = self.chance.random()
        if self.is_halted_at_times and draw < (0.15 if self.reference.halted else 0.05):
            self.halt("" if self.reference.halted else self.chance.choice(("paused", "paused", "paused", "stopped")))
        elif self.changes_at_times and 0.2 < draw < self.changes_most:
            changed = changed_journey(self.chance, self.journey)
            carried = sorted(self.reference.carried)
            if carried and self.chance.random() < 0.3:
                back = self.reference.versions[self.chance.choice(carried)]
                changed = replace(back, changed=changed.changed, moves=())
            if len(self.homes) > 1 and _counts(changed):
                return False
            plan = self.in_force(changed, self.reference.halted)
            if plan.version == self.state.plan.version:
                return False  # it says the same
            self.tick(0)
            self.journey, self.state = changed, migrated(self.state, plan)
            self.log.append(f"{self.now} {self.journey!r}")
            self.reference.changes(self.journey, now=self.now)
        elif len(self.homes) > 1 and not self.are_one and 0.3 < draw < 0.34:
            self.become_one()
        else:
            return False
        return True

    def in_force(self, journey: Journey, halted: str) -> Plan:
        """Return the plan with a journey that comes into force by now."""
        plan, not_carried = with_earlier(plan_of(journey, halted), self.state.plan)
        assert not not_carried
        return plan

    def halt(self, how: str) -> None:
        self.tick(0)
        self.state = migrated(self.state, self.in_force(self.journey, how))
        self.log.append(f"{self.now} {how or 'goes on'}")
        self.reference.halt(how, now=self.now)

    def become_one(self) -> None:
        self.tick(0)
        merge = Said(b"m", "merge", self.now, household="home", other="other")
        self.reference.number = self.number
        are_known = all(self.row(home) >= 0 for home in self.homes)
        apply_signals(self.state, batch_of_told(self.state.plan, [merge]), stamp_us=self.now)
        self.number += 1
        self.are_one = True
        self.log.append(f"{self.now} home and other are one")
        self.reference.become_one("home", "other", are_known=are_known)

    def random_event(self) -> Event:
        chance = self.chance
        times = [self.now, self.now, self.now - chance.randint(0, LATENESS + 2)]
        for run in self.reference.runs:
            times += [run.due - 1, run.due, run.due + 1, run.since, run.since - 1, run.since - 5]
        time = chance.choice([one for one in times if self.now - LATENESS - 3 <= one <= self.now])
        return Event(
            id=b"e%d" % (self.number + 1),
            household=chance.choice(self.homes).encode(),
            member=chance.choice(MEMBERS).encode(),
            kind=chance.randrange(len(KINDS)),
            time_us=time,
            values=((0, float(chance.randint(1, 3))), (1, float(chance.choice((1, 2, 3))))),
        )

    def send(self, event: Event, *, is_again: bool = False) -> None:
        """Let the fold take in an event, and the reference if it is new and in time."""
        applied = apply_signals(self.state, batch_of(self.state.plan, [event]), stamp_us=self.now)
        self.number += 1
        is_late = event.time_us < self.now - LATENESS
        status = Status(int(applied.statuses[0]))
        assert (status in (Status.DUPLICATE, Status.LATE)) == (is_again or is_late), status
        self.log.append(f"{self.now} {event} {status.name}")
        if is_again or is_late:
            return
        self.sent.append(event)
        values = dict(event.values)
        happening = Happening(
            time=event.time_us,
            kind=KINDS[event.kind],
            home=event.household.decode(),
            member=event.member.decode(),
            key=values[1],
            amount=values[0],
        )
        self.reference.happens(happening, self.number)

    def tick(self, elapsed: int) -> None:
        self.now += elapsed
        assert apply_tick(self.state, epoch=1, stamp_us=self.now)
        self.log.append(f"{self.now} tick")
        self.reference.tick(self.now)

    def decide(self, key: tuple[int, str, int], outcome: str = "") -> None:
        """Let what is pending be decided in a way, or in any."""
        outcome = outcome or self.chance.choice(
            ("decided", "decided", "decided", "held", "nothing", "blocked", "no_consent", "withheld")
        )
        home = self.home_of(key)
        moment_id = f"{home}/{self.name}/{key[0]}/{key[1]}/{key[2]}"
        moment = next(one for one in self.state.pending.of(self.row(home)) if one.moment_id == moment_id)
        if moment.until_us <= self.now:
            return  # a tick comes first
        self.offset += 1
        is_said = outcome in ("decided", "held", "withheld")
        action_id = f"d{self.offset}-0"
        reasons = {"blocked": (Reason.CONTACT_CAP,), "no_consent": (Reason.NO_CONSENT,)}.get(outcome, ())
        slate = (
            SlateAction(
                action_id=action_id,
                offer=self.offer_of(key[1]),
                journey=self.name,
                price_minor=0,
                valid_until_us=self.now + self.valid,
            ),
        )
        decision = Decision(
            decision_id=f"d{self.offset}",
            request_id="",
            household=b"home" if self.are_one and self.row("home") >= 0 else home.encode(),
            member=self.state.members.key(moment.member) if moment.member >= 0 else b"",
            channel="",
            decided_us=self.now,
            moments=(moment,),
            plan_version=self.state.plan.version,
            model_version="prior",
            schema_hash="",
            degraded=False,
            withheld=outcome == "withheld",
            propensity=1.0,
            reasons=reasons,
            candidates=(),
            slate=slate if is_said else (),
            stands="",
            answered="",
            send_channel="push" if outcome in ("decided", "held") else "",
            send_before_us=moment.until_us,
            send_not_before_us=self.now if outcome == "held" else 0,
            local_minute_of_week=0,
            state_vector=np.empty(0, np.float32),
        )
        payload = encode_decision(decision, member_keys={})
        assert apply_decision(self.state, decision, payload, epoch=1, offset=self.offset, stamp_us=self.now)
        self.log.append(f"{self.now} {key} {outcome}")
        self.actions[key], self.to_be_said_by[key] = action_id, moment.until_us
        others = [
            one
            for one, status in self.reference.acts.items()
            if status == "decided" and (self.are_one or self.home_of(one) == home)
        ]
        self.reference.outcome(key, outcome, now=self.now, number=self.number)
        if outcome in ("decided", "held"):
            for other in others:
                if self.reference.acts[other] == "decided":
                    self.reference.outcome(other, "nothing", now=self.now, number=self.number)

    valid = 10_000
    """How long what is said holds."""

    def offer_of(self, state: str) -> str:
        """Return an offer that an act may say."""
        return "o"

    def home_of(self, key: tuple[int, str, int]) -> str:
        return next((one.home for one in self.reference.runs if one.number == key[0]), "home")

    def row(self, home: str) -> int:
        return self.state.households.find(home.encode())

    def later(self) -> None:
        """Let something that is on its way be handed over."""
        open_ones = [
            (key, run)
            for key, status in self.reference.acts.items()
            if status == "decided"
            for run in self.reference.runs
            # What is decided keeps its time while the journey stands still.
            if run.number == key[0] and min(run.due, self.to_be_said_by[key]) > self.now
        ]
        if not open_ones:
            return self.tick(1)
        self.hand(self.chance.choice(open_ones)[0])
        return None

    def hand(self, key: tuple[int, str, int]) -> None:
        """Let what an act says be handed over."""
        channel = self.state.plan.channels[self.state.outbox[self.actions[key]].channel].name
        note = DeliveryNote(action_id=self.actions[key], step=DeliveryStep.HANDED, channel=channel, reason="")
        assert apply_delivery(self.state, [note], epoch=1, stamp_us=self.now)
        self.log.append(f"{self.now} {key} handed")
        self.reference.outcome(key, "said", now=self.now, number=self.number)

    def report(self) -> None:
        """Let a gateway say that something was declined, or not delivered."""
        known = [key for key, status in self.reference.acts.items() if status in ("said", "decided")]
        if not known:
            return
        key = self.chance.choice(known)
        outcome = self.chance.choice(("decline", "undelivered"))
        self.report_of(key, outcome, time=self.now - self.chance.choice((0, 0, 1, 4)))

    def report_of(self, key: tuple[int, str, int], outcome: str, *, time: int) -> None:
        """Let a gateway say what became of what an act said."""
        home = self.home_of(key)
        event = Event(
            id=b"r%d" % (self.number + 1),
            household=home.encode(),
            member=b"anna",
            kind=self.state.plan.event_type_by_name[f"hearth.{outcome}"],
            time_us=time,
            values=(),
            action_id=self.actions[key],
            channel="push",
        )
        apply_signals(self.state, batch_of(self.state.plan, [event]), stamp_us=self.now)
        self.number += 1
        self.log.append(f"{self.now} {key} {outcome} at {time}")
        reference = self.reference
        was = reference.acts[key]
        happening = Happening(time=time, kind=f"hearth.{outcome}", home=home, member="anna")
        reference.happens(happening, self.number, about=key[0])
        if outcome == "undelivered" and reference.acts[key] in ("said", "decided"):
            reference.outcome(key, "failed", now=time, number=self.number)
        elif outcome in ("accept", "decline") and was == "decided" and reference.acts[key] == "decided":
            reference.outcome(key, "said", now=time, number=self.number)

    def compare(self) -> None:
        found = sorted(
            (
                one.number,
                one.step.partition("@")[0],
                one.ending == "LIVE" and "@" in one.step,
                one.since_us,
                "" if one.ending == "LIVE" else str(one.ending),
                _visits(one.visits),
            )
            for one in self.state.instances
            if one.journey == self.name
        )
        acts = {
            (one.number, one.step.partition("@")[0], one.visit): str(one.status)
            for one in self.state.acts
            if one.journey == self.name
        }
        wanted = {key: self.reference.acts[key] for key in acts if key in self.reference.acts}
        pending = {one.moment_id for one in self.state.pending if one.journey == self.name}
        to_decide = {
            f"{self.home_of((number, state, visit))}/{self.name}/{number}/{state}/{visit}"
            for (number, state, visit), status in self.reference.acts.items()
            if status == "pending"
        }
        if found != self.reference.instances() or acts != wanted or pending != to_decide:
            told = "\n".join([repr(self.journey), *self.log])
            raise Differs(
                f"seed {self.seed}\n{told}\nfold      {found}\nreference {self.reference.instances()}\n"
                f"acts      {acts}\nreference {wanted}\npending   {pending}\nreference {to_decide}"
            )


def _counts(journey: Journey) -> bool:
    """Return whether a journey goes by how many events there were."""
    return bool(journey.entry_count or journey.goal_count or any(state.what == "ask" for state in journey.states))


def _visits(text: bytes) -> int:
    return sum(int(part.partition(b"=")[2]) for part in text.split(b",") if part)


def trials(
    count: int,
    *,
    first: int = 0,
    made: Callable[[int], Trial] = Trial.of,
    done: Callable[[int], None] = lambda _: None,
) -> None:
    """Run so many, each made by its seed.

    Raises:
        Differs: with all that happened.
    """
    for seed in range(first, first + count):
        made(seed).run()
        done(seed)


if __name__ == "__main__":
    wanted, begin = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    for make in (Trial.of, Trial.changing):
        count = wanted if make == Trial.of else wanted // 10
        trials(
            count,
            first=begin,
            made=make,
            done=lambda seed: print(seed + 1, flush=True) if seed % 1_000 == 999 else None,
        )
    print(f"{wanted} random journeys: the fold and the reference agree")
