"""What listens for a signal, where what is known of its household lies in several rows.

Laws: told by whatever names, of a household or of who lives there, the same signals let the same moments arise, and the
same instances enter, as told of one household by one name; however they are batched, and while a freeze is taken. Where
graph events come between, what fires is what reads as true of all that lies together by then, and once within its
cooldown. A term of before reads the row of its signal alone.
"""

import random
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from numpy.typing import NDArray

from household.apply import Applied, apply_epoch, apply_signals
from household.columns.program import Op
from household.digest import state_digest
from household.events import keys_of
from household.freeze import Freeze, thaw
from household.graph.graph import span_key
from household.plan import Journey, Plan, Program, Scope, Trigger
from household.state import NO_MEMBER, PartitionState
from playbooks.compiler import compile_playbook
from tests.household.graph_worlds import EXACT, HOUR_US, NOW_US, Heard, Said, batch_of_told, random_told
from tests.household.oracle import Event, batch_of

PLAYBOOK = """
playbook: {name: together, clock: {lateness: 2d, future: 5m, request_window: 1d}}
fields: {amount: number}
events:
  check: {source: app}
  pay: {source: wallet, fields: {amount: optional}}
features:
  member.checks: {kind: newest_times, events: check, keep: 3, span: 1d}
  member.spent: {kind: window_sum, events: pay, field: amount, span: 1d, bucket: 1h}
  member.amounts: {kind: distinct, events: pay, field: amount, keep: 4}
  household.payments: {kind: count, events: pay}
  household.spent: {kind: window_sum, events: pay, field: amount, span: 1d, bucket: 1h}
families: [wallet]
channels:
  app: {inbound: true}
offers:
  invite: {kind: offer, family: wallet, margin: 5, prior: 20%, treatments: {app: Try it}}
journeys:
  third: {trigger: {on: check, when: member.checks >= 3, cooldown: 6h, scope: member}, offers: invite, control: 0%}
  spends: {trigger: {on: pay, when: household.spent >= 12.0, cooldown: 3h}, offers: invite, control: 0%}
  own: {trigger: {on: pay, when: member.spent >= 6.0, scope: member, cooldown: 1h}, offers: invite, control: 0%}
  both:
    trigger: {on: [check, pay], when: member.checks >= 1 && household.payments >= 4, cooldown: 2h, scope: member}
    offers: invite
    control: 0%
  large: {trigger: {on: pay, when: event.amount >= 4.0, cooldown: 5h}, offers: invite, control: 0%}
  walks:
    title: A walk
    owner: wallet team
    contact_class: offer
    purpose: marketing
    budget: 9
    control: 0%
    trigger: {on: pay, when: household.spent >= 6.0}
    again: 1h
    goal: {when: household.payments >= 25}
    states:
      first:
        wait: {on: check}
        then: second
        timeout: {after: 4h, then: end}
      second:
        wait: {on: pay, when: household.spent >= 14.0}
        then: end
        timeout: {after: 5h, then: end}
"""

ANNA, BEN = "member:anna", "member:ben"
NAMES = {"anna": ("msisdn:+441", "email:anna@x.org", ANNA), "ben": ("msisdn:+442", "device:7", BEN)}


@cache
def plan() -> Plan:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "together.yaml"
        path.write_text(PLAYBOOK)
        return compile_playbook(path)


def opened(*, fold_version: int = 5, of: Plan | None = None) -> PartitionState:
    state = PartitionState(plan=of or plan(), stream_clock=False, fold_version=fold_version)
    apply_epoch(state, epoch=1, fold_version=fold_version)
    return state


@dataclass(frozen=True)
class Signal:
    """What somebody of the household did."""

    number: int
    kind: str
    member: str
    """Empty for the household alone."""
    time_us: int
    amount: float


def some_signals(dice: random.Random, count: int) -> list[Signal]:
    """Return signals in order of time, mostly close to one another."""
    time_us, found = NOW_US - 30 * HOUR_US, []
    for number in range(count):
        time_us += dice.choice((1, 60, 600, 3_600)) * 500_000
        kind, member = dice.choice(("check", "check", "pay", "pay")), dice.choice(("anna", "ben", "ben", ""))
        found.append(Signal(number, kind, member, time_us, float(dice.randint(1, 5))))
    return found


def event_of(one: Signal, *, household: str, member: str) -> Event:
    values = ((0, one.amount),) if one.kind == "pay" else ()
    kind = plan().event_type_by_name[one.kind]
    named = {"household": household.encode(), "member": member.encode()}
    return Event(id=b"s%d" % one.number, kind=kind, time_us=one.time_us, values=values, **named)


LONG_AGO_US = NOW_US - 40 * HOUR_US

GRAPH = (
    *(Said(b"j" + one.encode(), "join", LONG_AGO_US, subjects=(f"member:{one}",), household="h") for one in NAMES),
    *(
        Said(b"l" + name.encode(), "link", LONG_AGO_US, identifier=name, subjects=(f"member:{one}",))
        for one, names in NAMES.items()
        for name in names[:2]
    ),
    Said(b"m", "merge", LONG_AGO_US, household="h", other="account"),
)


def by_any_name(dice: random.Random, signals: list[Signal]) -> list[tuple[Signal, str, str]]:
    """Return signals, each with the household and member, or with the identifier, by which it is told."""
    told = []
    for one in signals:
        known_by = dice.choice((*NAMES.get(one.member, ()), "", ""))
        told.append((one, dice.choice(("h", "h", "account")) if not known_by else "", known_by))
    return told


def fold_told(state: PartitionState, told: list[tuple[Signal, str, str]]) -> Applied:
    events = [event_of(one, household=home, member=one.member if home else "") for one, home, _ in told]
    batch = replace(batch_of(plan(), events), identifiers=keys_of([name.encode() for _, _, name in told]))
    return apply_signals(state, batch, stamp_us=NOW_US)


def fired(applied: Applied) -> list[tuple[str, bytes]]:
    assert not applied.statuses.any()
    return [(moment.journey, moment.event_id) for _, moment in applied.moments]


def walks(state: PartitionState) -> list[tuple[object, ...]]:
    """Return where the instances of the household are and were, told without the rows that they lie in."""
    found = [one for row in range(state.households.count) for one in state.instances.of(row)]
    return sorted((one.entered_us, one.step, one.since_us, one.ending.value, one.ended_us) for one in found)


def joined(**how: int) -> PartitionState:
    """Return a partition in which anna and ben live in a household of two ids, and are known by several names."""
    state = opened(**how)
    batch = batch_of_told(EXACT, list(GRAPH))
    assert not apply_signals(state, replace(batch, plan_version=plan().version), stamp_us=NOW_US).statuses.any()
    return state


def of_one_name(signals: list[Signal]) -> tuple[list[tuple[str, bytes]], list[tuple[object, ...]]]:
    """Return what fires, and how instances go, where all are told of one household by one name: no graph, one row."""
    state = opened()
    events = [event_of(one, household="h", member=one.member) for one in signals]
    return fired(apply_signals(state, batch_of(plan(), events), stamp_us=NOW_US)), walks(state)


@pytest.mark.parametrize("seed", range(40))
def test_told_by_whatever_names_the_same_fires(seed: int):
    dice = random.Random(seed)
    signals = some_signals(dice, 60)
    told = by_any_name(dice, signals)
    wanted = of_one_name(signals)
    assert {journey for journey, _ in wanted[0]} == {"third", "spends", "own", "both", "large"}
    assert wanted[1]
    digests = set()
    for size in (60, 7, 1):
        state, found = joined(), []
        for start in range(0, len(told), size):
            found += fired(fold_told(state, told[start : start + size]))
        assert (found, walks(state)) == wanted
        digests.add(state_digest(state))
    assert len(digests) == 1


def test_control_a_term_of_before_reads_the_row_of_its_signal_alone():
    differs = 0
    for seed in range(10):
        dice = random.Random(seed)
        signals = some_signals(dice, 60)
        told = by_any_name(dice, signals)
        differs += fired(fold_told(joined(fold_version=4), told)) != of_one_name(signals)[0]
    assert differs == 10


@pytest.mark.parametrize("seed", range(8))
def test_what_others_are_told_while_a_freeze_is_taken_is_not_in_it(seed: int):
    dice = random.Random(seed)
    told = by_any_name(dice, some_signals(dice, 60))
    state = joined()
    fired(fold_told(state, told[:30]))
    before = state_digest(state)
    freeze = Freeze(state)
    freeze.step(1)
    fired(fold_told(state, told[30:]))
    while not freeze.step(1):
        pass
    frozen = freeze.end()
    assert frozen is not None
    assert state_digest(state) != before
    assert state_digest(thaw(frozen)) == before


# --- graph events between ---------------------------------------------------------------------------------------------


def _at_least(feature: str, value: float) -> Program:
    index = next(place for place, one in enumerate(EXACT.features) if one.name == feature)
    ops = (int(Op.FEATURE), int(Op.CONST), int(Op.GREATER_EQUAL))
    return Program(text=f"{feature} >= {value:g}", ops=ops, args=(float(index), value, 0.0))


WITH_TRIGGERS = replace(
    EXACT,
    programs=(_at_least("household.count", 3.0), _at_least("member.times", 2.0), _at_least("household.spent", 9.0)),
    journeys=tuple(
        Journey(name=f"j{program}", trigger=Trigger(events=(0,), program=program, cooldown_us=cooldown_us, scope=scope))
        for program, (scope, cooldown_us) in enumerate(
            ((Scope.HOUSEHOLD, 2 * HOUR_US), (Scope.MEMBER, HOUR_US), (Scope.HOUSEHOLD, HOUR_US))
        )
    ),
)
"""The plan of random graphs, with two triggers for a household and one for a member."""


def rows_of(state: PartitionState, one: Heard) -> tuple[int, int]:
    """Return the rows to which a signal comes, as far as they are there."""
    if not one.identifier:
        return state.find(one.household.encode())
    key = span_key(one.identifier, state.graph.start_of(one.identifier, one.time_us))
    row = state.households.find(key.encode())
    return row, state.members.children(row)[0] if row >= 0 else NO_MEMBER


def last_fired(
    state: PartitionState, cells: NDArray[np.float64], place: int, trigger: Trigger, row: int, member: int
) -> float:
    """Return when a trigger last fired for any of the rows that lie together, as some cells had it; NaN for never."""
    rows, bases = state.rows_together(row), state.cells.household_bases
    if trigger.scope is Scope.MEMBER:
        rows, bases = state.same_members(row, member), state.cells.member_bases
    at = [int(bases[one]) + state.layout.trigger_cells[place] for one in rows if one >= 0]
    return max((float(cells[one]) for one in at if one < len(cells) and not np.isnan(cells[one])), default=np.nan)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_graph_events_come_between_all_that_lies_together_by_then_is_read(seed: int):
    dice = random.Random(1_000 + seed)
    told = random_told(dice, said_count=20, heard_count=60)
    dice.shuffle(told)
    state, arose = opened(of=WITH_TRIGGERS), 0
    triggers = [journey.trigger for journey in WITH_TRIGGERS.journeys if journey.trigger is not None]
    for one in told:
        before = state.cells.flat[: state.cells_used].copy()
        applied = apply_signals(state, batch_of_told(WITH_TRIGGERS, [one]), stamp_us=NOW_US)
        found = [moment.journey for _, moment in applied.moments]
        if isinstance(one, Said) or applied.statuses.any():
            assert found == []
            continue
        row, member = rows_of(state, one)
        wanted = []
        for place, trigger in enumerate(triggers):
            is_of_somebody = trigger.scope is Scope.HOUSEHOLD or member != NO_MEMBER
            is_cool = not one.time_us - last_fired(state, before, place, trigger, row, member) < trigger.cooldown_us
            holds = state.conditions(np.array([trigger.program]), row, member, one.time_us)[0] == 1.0
            if is_of_somebody and is_cool and holds:
                wanted.append(f"j{place}")
                assert last_fired(state, state.cells.flat, place, trigger, row, member) == one.time_us
        assert found == wanted
        arose += len(wanted)
    assert arose
