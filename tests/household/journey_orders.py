"""The shipped journeys with states, and all orders in which a few things may happen in them.

    python -m tests.household.journey_orders [--things 7]

Each is told to the fold, under the shipped playbook, and to the reference, to which the journeys are told anew here, by
hand. An event of its own begins each journey, rather than its trigger: how people come in is for other tests; what they
do from there on is looked at after each thing that happens.
"""

import argparse
import functools
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from household.apply import apply_epoch, apply_signals
from household.events import Status
from household.plan import NONE, FieldKind, Plan
from household.state import PartitionState
from household.tables.acts import ActStatus
from loadtest.shipped import SHIPPED_PLAYBOOK
from playbooks.compiler import compile_playbook
from tests.household.journey_reference import Happening, Journey, Match, Reference, State
from tests.household.journey_trials import Trial
from tests.household.oracle import Event, batch_of

MINUTE, HOUR, DAY = 60_000_000, 3_600_000_000, 86_400_000_000
MONDAY = 1_748_858_400_000_000
"""Monday, 2 June 2025, 10:00 UTC."""

BEGINS = "app.pricing_viewed"


def _wait(name: str, *waits: tuple[str, str], then: str, **timer: int) -> State:
    return State(
        name=name, what="wait", waits=tuple(Match(kind=kind, then=to) for kind, to in waits), then=then, **timer
    )


def _act(name: str, within: int, then: str, failed: str, **more: bool) -> State:
    return State(name=name, what="act", within=within, then=then, failed=failed, **more)


def _ends(*names: str) -> tuple[State, ...]:
    return tuple(State(name=name, what="end") for name in names)


ACCEPT, DECLINE = "hearth.accept", "hearth.decline"
_ACTIVATED = (Match(kind="active", look_back=DAY, then="active_wallet"), Match(kind=DECLINE, then="declined"))


@dataclass(frozen=True, kw_only=True)
class Told:
    """One of the journeys, told anew, and what happens in it."""

    journey: Journey
    things: tuple[str, ...]
    """accept, decline, convert, a number of days, or an event with what it says: `event:field=value`."""
    means: dict[str, str]
    """Event → what it is to the journey; any other is nothing."""


JOURNEYS = (
    Told(
        journey=Journey(
            name="j1_wallet_activation",
            entry=Match(kind="begins"),
            goal=Match(kind="goal"),
            leave=Match(kind="leaves"),
            again="after",
            after=90 * DAY,
            most=2,
            window=365 * DAY,
            of_member=True,
            budget=4,
            states=(
                _act("invite", 26 * HOUR, "invited", "uninvited"),
                State(
                    name="invited",
                    what="wait",
                    waits=(
                        Match(kind="active", look_back=DAY, then="active_wallet"),
                        Match(kind=DECLINE, then="declined"),
                    ),
                    after=7 * DAY,
                    minute=18 * 60,
                    then="remind",
                ),
                _act("remind", 26 * HOUR, "reminded", "uninvited"),
                State(
                    name="reminded",
                    what="wait",
                    waits=(
                        Match(kind="active", look_back=DAY, then="active_wallet"),
                        Match(kind=DECLINE, then="declined"),
                    ),
                    after=14 * DAY,
                    then="uninvited",
                ),
                _wait("active_wallet", ("pays", "first_week"), after=30 * DAY, then="unused"),
                _wait("first_week", weekday=0, then="second_week"),
                _wait("second_week", ("pays", "paid_in_two"), weekday=0, then="third_week_of_one"),
                _wait("paid_in_two", weekday=0, then="third_week"),
                _wait("third_week", ("pays", "habit"), weekday=0, then="fourth_week"),
                _wait("third_week_of_one", ("pays", "third_paid"), weekday=0, then="no_habit"),
                _wait("third_paid", weekday=0, then="fourth_week"),
                _wait("fourth_week", ("pays", "habit"), weekday=0, then="no_habit"),
                _act("habit", 3 * DAY, "expanding", "kept"),
                _wait("expanding", after=30 * DAY, then="kept"),
                *_ends("kept", "no_habit", "unused", "declined", "uninvited"),
            ),
        ),
        things=(BEGINS, "wallet.activated", "wallet.payment", "7", "wallet.payment", "decline", "wallet.closed"),
        means={BEGINS: "begins", "wallet.activated": "active", "wallet.payment": "pays", "wallet.closed": "leaves"},
    ),
    Told(
        journey=Journey(
            name="j3_spend",
            entry=Match(kind="begins"),
            goal=Match(kind="hearth.convert"),
            leave=Match(kind="leaves"),
            most=3,
            window=7 * DAY,
            of_member=True,
            budget=2,
            states=(
                _act("at_the_till", 15 * MINUTE, "offered", "missed", leaves_when_blocked=True),
                _wait("offered", (ACCEPT, "taken"), (DECLINE, "declined"), after=DAY, then="not_taken"),
                State(name="taken", what="ask", asks=1, then="pending", otherwise="done"),
                _wait("pending", after=3 * DAY, then="booked"),
                _act("booked", 25 * HOUR, "done", "done"),
                *_ends("done", "declined", "not_taken", "missed"),
            ),
        ),
        things=(BEGINS, "wallet.payment", "accept", "decline", "convert", "wallet.refund", "3"),
        means={BEGINS: "begins", "wallet.payment": "counted", "wallet.refund": "leaves"},
    ),
    Told(
        journey=Journey(
            name="j4_convergence",
            entry=Match(kind="begins"),
            goal=Match(kind="goal"),
            again="after",
            after=90 * DAY,
            most=2,
            window=365 * DAY,
            budget=2,
            states=(
                _act("offer", 26 * HOUR, "pushed", "unreached"),
                _wait(
                    "pushed", (ACCEPT, "taken"), (DECLINE, "declined"), after=2 * DAY, minute=18 * 60, then="by_text"
                ),
                _act("by_text", 26 * HOUR, "at_next_call", "at_next_call", repeats=True),
                _wait("at_next_call", (ACCEPT, "taken"), (DECLINE, "declined"), after=9 * DAY, then="not_taken"),
                _wait("taken", after=30 * DAY, then="end"),
                *_ends("declined", "not_taken", "unreached"),
            ),
        ),
        things=(BEGINS, "accept", "decline", "billing.product_activated:product=extra_line", "3", "10", BEGINS),
        means={BEGINS: "begins", "billing.product_activated:product=extra_line": "goal"},
    ),
    Told(
        journey=Journey(
            name="j5_gaming",
            entry=Match(kind="begins"),
            goal=Match(kind="goal"),
            leave=Match(kind="leaves"),
            again="after",
            after=60 * DAY,
            most=3,
            window=365 * DAY,
            of_member=True,
            budget=2,
            states=(
                State(name="session_over", what="ask", asks=1, then="offer", otherwise="peak"),
                _wait("peak", ("counted", "offer"), after=14 * DAY, then="no_peak"),
                _act("offer", 15 * MINUTE, "offered", "no_peak"),
                _wait("offered", (ACCEPT, "taken"), (DECLINE, "declined"), after=7 * DAY, then="once_more"),
                _wait("once_more", ("counted", "offer_again"), after=14 * DAY, then="no_peak"),
                _act("offer_again", 15 * MINUTE, "waiting", "no_peak"),
                _wait("waiting", (ACCEPT, "taken"), (DECLINE, "declined"), after=7 * DAY, then="watching"),
                _wait("watching", after=7 * DAY, then="not_taken"),
                _wait("taken", after=30 * DAY, then="end"),
                *_ends("declined", "not_taken", "no_peak"),
            ),
        ),
        things=(
            BEGINS,
            "network.gaming_session",
            "accept",
            "decline",
            "8",
            "network.gaming_session",
            "billing.product_activated:product=gaming",
        ),
        means={
            BEGINS: "begins",
            "network.gaming_session": "counted",
            "billing.product_activated:product=gaming": "goal",
        },
    ),
    Told(
        journey=Journey(
            name="j6_silent_churn",
            entry=Match(kind="begins"),
            goal_count=1,
            leave=Match(kind="leaves"),
            again="after",
            after=90 * DAY,
            most=2,
            window=365 * DAY,
            of_member=True,
            budget=2,
            states=(
                _act("second_product", 3 * DAY, "offered", "unreached"),
                _wait("offered", (DECLINE, "think"), after=7 * DAY, minute=18 * 60, then="another"),
                _wait("think", after=7 * DAY, minute=18 * 60, then="another"),
                _act("another", 3 * DAY, "waiting", "unreached"),
                _wait("waiting", (DECLINE, "declined"), after=7 * DAY, then="watching"),
                _wait("watching", after=14 * DAY, then="not_taken"),
                *_ends("declined", "not_taken", "unreached"),
            ),
        ),
        things=(
            BEGINS,
            "decline",
            "8",
            "decline",
            "8",
            "billing.product_activated:product=broadband",
            "billing.port_out_requested",
        ),
        means={
            BEGINS: "begins",
            "billing.product_activated:product=broadband": "counted",
            "billing.port_out_requested": "leaves",
        },
    ),
)

ALWAYS_SAID = {"wallet.payment": {"amount_minor": 350.0, "merchant_category": "coffee_shop"}}
ALWAYS_SAID |= {"wallet.refund": {"amount_minor": 350.0}, "network.gaming_session": {"minutes": 30.0}}


@functools.cache
def plan_of_order(name: str) -> Plan:
    """Return the shipped playbook, in which an event of its own begins a journey."""
    plan = compile_playbook(SHIPPED_PLAYBOOK)
    place = plan.journey_by_name[name]
    journey = plan.journeys[place]
    assert journey.trigger is not None
    assert journey.flow is not None
    trigger = replace(journey.trigger, events=(plan.event_type_by_name[BEGINS],), program=NONE)
    journeys = list(plan.journeys)
    journeys[place] = replace(journey, trigger=trigger, flow=replace(journey.flow, is_each=True))
    return replace(plan, journeys=tuple(journeys))


class Order(Trial):
    """One order of the things that happen in a journey; what is to be said is said at once."""

    valid = 400 * DAY

    @classmethod
    def of_things(cls, told: Told) -> "Order":
        plan = plan_of_order(told.journey.name)
        state = PartitionState(plan=plan, stream_clock=False)
        apply_epoch(state, epoch=1)
        reference = Reference(told.journey, lateness=plan.clock.lateness_us)
        return cls(0, random.Random(0), told.journey, state, reference, now=MONDAY, name=told.journey.name)

    def offer_of(self, state: str) -> str:
        plan = self.state.plan
        flow = plan.journeys[plan.journey_by_name[self.name]].flow
        assert flow is not None
        act = next(one.act for one in flow.steps if one.name == state)
        assert act is not None
        return plan.offers[act.offers[0]].name

    def happen(self, told: Told, thing: str) -> None:
        """Let a thing happen, a minute after the one before, and let be said what is to be said."""
        self.log.append(thing)
        self.tick(MINUTE)
        if thing.isdigit():
            self.tick(int(thing) * DAY)
        elif thing in ("accept", "decline", "convert"):
            said = [key for key, status in self.reference.acts.items() if status == "said"]
            if said:
                self.report_of(said[-1], thing, time=self.now)
        else:
            self.signal(told, thing)
        for _ in range(4):
            self.say()

    def signal(self, told: Told, thing: str) -> None:
        plan = self.state.plan
        name, _, spoken = thing.partition(":")
        says = dict(ALWAYS_SAID.get(name, {}))
        if spoken:
            says[spoken.partition("=")[0]] = spoken.partition("=")[2]
        values = []
        for key, value in says.items():
            field = plan.field_by_name[key]
            is_one_of = plan.fields[field].kind is FieldKind.ENUM
            values.append((field, float(plan.fields[field].values.index(value) if is_one_of else value)))
        event = Event(
            id=b"e%d" % (self.number + 1),
            household=b"home",
            member=b"anna",
            kind=plan.event_type_by_name[name],
            time_us=self.now,
            values=tuple(values),
        )
        applied = apply_signals(self.state, batch_of(plan, [event]), stamp_us=self.now)
        assert int(applied.statuses[0]) == Status.APPLIED
        self.number += 1
        happening = Happening(time=self.now, kind=told.means.get(thing, "nothing"), member="anna")
        self.reference.happens(happening, self.number)

    def say(self) -> None:
        """Let what is pending be decided, and handed over."""
        for key, status in list(self.reference.acts.items()):
            if status != "pending":
                continue
            if self.reference.state_of(key).repeats:
                self.was_repeated(key)
            else:
                self.decide(key, "decided")
        for key, status in list(self.reference.acts.items()):
            if status == "decided":
                self.hand(key)

    def was_repeated(self, key: tuple[int, str, int]) -> None:
        """Tell the reference what became of saying something once more: whether it still holds is not a journey's."""
        act = next(one for one in self.state.acts if (one.number, one.step, one.visit) == key)
        self.actions[key] = act.action_id
        is_said = act.status is ActStatus.DECIDED
        self.reference.outcome(key, "held" if is_said else "nothing", now=self.now, number=self.number)


def orders(told: Told, things: int) -> Iterator[tuple[str, ...]]:
    """Yield all orders of the first so many things that happen in a journey, each once."""
    yield from dict.fromkeys(itertools.permutations(told.things[:things]))


def run(told: Told, order: tuple[str, ...]) -> None:
    """Let things happen in an order, and compare after each.

    Raises:
        Differs: with all that happened.
    """
    one = Order.of_things(told)
    for thing in order:
        one.happen(told, thing)
        one.compare()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--things", type=int, default=7)
    options = parser.parse_args()
    for told in JOURNEYS:
        count = 0
        for order in orders(told, options.things):
            run(told, order)
            count += 1
        print(
            f"{told.journey.name}: {count:,} orders of {options.things} things: the fold and the reference agree",
            flush=True,
        )


if __name__ == "__main__":
    main()
