"""Random lists of graph events and signals, in any order, folded by a partition and told to the reference."""

import random
from dataclasses import dataclass, replace

import numpy as np

from household.apply import Applied, apply_epoch, apply_signals
from household.digest import household_digests
from household.events import UNKNOWN_TYPE, keys_of
from household.graph.events import GraphKind, GraphRow, saying_of
from household.plan import (
    EventField,
    EventType,
    Feature,
    FeatureKind,
    Field,
    FieldKind,
    GraphRules,
    Plan,
    Scope,
    Window,
)
from household.state import NO_MEMBER, PartitionState
from household.tables.graph_events import GRAPH_EVENTS
from tests.household.graph_reference import Reference, Said
from tests.household.oracle import Event, batch_of

NOW_US = 1_750_075_200_000_000
HOUR_US = 3_600_000_000

HOUSES = ("h1", "h2", "h3", "h4")
PEOPLE = ("member:anna", "member:ben", "member:cleo", "line:sim")
NUMBERS = ("msisdn:+441", "email:a@x.org", "device:7")


def _feature(name: str, kind: FeatureKind, scope: Scope, **more: object) -> Feature:
    return Feature(name=name, kind=kind, scope=scope, result="double", events=(0,), **more)  # type: ignore[arg-type]


def _both(name: str, kind: FeatureKind, **more: object) -> tuple[Feature, ...]:
    return tuple(_feature(f"{scope.value}.{name}", kind, scope, **more) for scope in Scope)


_SPENT = tuple(
    _feature(f"{scope.value}.spent", FeatureKind.WINDOW_SUM, scope, span_us=24 * HOUR_US, window=window)
    for window, scope in enumerate(Scope)
)

EXACT = Plan(
    name="graph",
    fields=(Field(name="amount", kind=FieldKind.NUMBER),),
    event_types=(EventType(name="paid", source="shop", fields=(EventField(field=0),)),),
    windows=tuple(Window(scope=scope, events=(0,), field=0, bucket_us=HOUR_US, bucket_count=24) for scope in Scope),
    features=(
        *_both("count", FeatureKind.COUNT),
        *_both("seen", FeatureKind.LAST_SEEN, unit_us=1),
        *_both("times", FeatureKind.NEWEST_TIMES, keep=3, span_us=8 * HOUR_US),
        *_both("last", FeatureKind.PROFILE, field=0),
        *_SPENT,
    ),
    graph=GraphRules(members_most=2, households_most=2),
)
"""Features whose cells do not tell in which order signals came."""

ALL_KINDS = replace(
    EXACT,
    features=(
        *EXACT.features,
        *_both("lately", FeatureKind.DECAYED_COUNT, half_life_us=HOUR_US),
        *_both("distinct", FeatureKind.DISTINCT, field=0, keep=4),
        *_both("session", FeatureKind.SESSION_LENGTH, gap_us=HOUR_US, unit_us=1),
    ),
)


@dataclass(frozen=True)
class Heard:
    """A signal."""

    id: bytes
    time_us: int
    amount: float
    household: str = ""
    identifier: str = ""


Told = Said | Heard


def random_told(dice: random.Random, *, said_count: int, heard_count: int) -> list[Told]:
    """Return graph events and signals, each with an id of its own, in no order."""
    hours = dice.sample(range(1, 40), 12)

    def time_us() -> int:
        return NOW_US - dice.choice(hours) * HOUR_US // 2

    told: list[Told] = [_random_said(dice, b"g%03d" % i, time_us()) for i in range(said_count)]
    for i in range(heard_count):
        amount, when_us = float(dice.randint(1, 9)), time_us() + dice.randint(-2, 2) * 1_000_000 + i
        if dice.random() < 0.3:
            told.append(Heard(b"s%03d" % i, when_us, amount, household=dice.choice(HOUSES)))
        else:
            told.append(Heard(b"s%03d" % i, when_us, amount, identifier=dice.choice((*NUMBERS, *NUMBERS, *PEOPLE))))
    return told


def _random_said(dice: random.Random, name: bytes, time_us: int) -> Said:
    kind = dice.choice(("link", "link", "link", "unlink", "join", "join", "leave", "merge", "merge", *_KINDS))
    households = (*HOUSES, dice.choice(PEOPLE), dice.choice(NUMBERS))
    subjects = tuple(sorted(dice.sample(PEOPLE, 2 if kind == "split" else 1)))
    cause = dice.choice(("", "c1", "c2", "g001", "g003"))
    said = Said(name, kind, time_us, cause=cause if kind in ("link", "merge", "unmerge", "confirm") else "")
    match kind:
        case "link":
            chance = dice.choice((1.0, 1.0, 1.0, 0.95, 0.5))
            return replace(said, identifier=dice.choice(NUMBERS), subjects=subjects, probability=chance)
        case "unlink" | "recycle":
            return replace(said, identifier=dice.choice(NUMBERS))
        case "join" | "split":
            return replace(said, subjects=subjects, household=dice.choice(households))
        case "leave":
            return replace(said, subjects=subjects)
        case "merge":
            ours, theirs = dice.sample(households, 2)
            return replace(said, household=ours, other=theirs)
        case "close":
            return replace(said, household=dice.choice(households))
        case _:
            return replace(said, cause=cause or "c1")


_KINDS = ("unmerge", "split", "recycle", "close", "confirm")


def batch_of_told(plan: Plan, told: list[Told]):
    """Return a batch of events in this order."""
    events, graph, identifiers = [], [], []
    for row, one in enumerate(told):
        if isinstance(one, Said):
            texts = {"identifier": one.identifier, "subjects": " ".join(one.subjects), "household": one.household}
            texts |= {"other": one.other, "cause": one.cause}
            saying = saying_of(GraphKind(one.kind), texts, "", one.probability)
            graph.append(GraphRow(row=row, saying=saying))
            # What takes back or confirms holds where the household lies that it names.
            household = one.household if one.kind in ("unmerge", "confirm") else ""
            events.append(Event(id=one.id, household=household.encode(), kind=UNKNOWN_TYPE, time_us=one.time_us))
            identifiers.append(b"")
        else:
            values = ((0, one.amount),)
            household = one.household.encode()
            events.append(Event(id=one.id, household=household, kind=0, time_us=one.time_us, values=values))
            identifiers.append(one.identifier.encode())
    named = keys_of(identifiers)
    return replace(batch_of(plan, events), graph=tuple(graph), identifiers=named)


def folded(told: list[Told], *, plan: Plan = EXACT, batch_rows: int = 1_000) -> PartitionState:
    """Return a partition that was told all this, in this order, in batches of so many rows."""
    state = PartitionState(plan=plan, stream_clock=False)
    apply_epoch(state, epoch=1)
    for start in range(0, len(told), batch_rows):
        assert not fold(state, told[start : start + batch_rows]).statuses.any()
    return state


def fold(state: PartitionState, told: list[Told]) -> Applied:
    """Fold one batch."""
    return apply_signals(state, batch_of_told(state.plan, told), stamp_us=NOW_US)


# --- what there is to compare -----------------------------------------------------------------------------------------


def told_of_households(state: PartitionState) -> dict[str, tuple[float, ...]]:
    """Return what each household that has a row reads, by the id that stands."""
    found: dict[str, tuple[float, ...]] = {}
    for row in range(state.households.count):
        key = state.households.key(row).decode()
        if key.endswith("\0"):
            continue
        name = state.graph.household_of(key) if state.graph else key
        readings = tuple(np.nan_to_num(state.readings(row, NO_MEMBER, NOW_US)[::2], nan=-1.0).tolist())
        assert found.setdefault(name, readings) == readings, f"{name}: its rows do not agree"
    return found


def expected_of_households(told: list[Told]) -> dict[str, tuple[float, ...]]:
    """Return what each household with signals has to read, out of the signals themselves."""
    reference = reference_of(told)
    heard: dict[str, list[Heard]] = {}
    for one in told:
        if isinstance(one, Heard):
            owner = reference.owner(one.identifier, one.time_us) if one.identifier else one.household
            heard.setdefault(reference.household(owner), []).append(one)
    return {name: _expected(ones) for name, ones in heard.items()}


def reference_of(told: list[Told]) -> Reference:
    """Return the reference of the graph events among these."""
    said = [one for one in told if isinstance(one, Said)]
    return Reference(said, members_most=EXACT.graph.members_most, households_most=EXACT.graph.households_most)


def _expected(heard: list[Heard]) -> tuple[float, ...]:
    times = sorted(one.time_us for one in heard)
    newest = max(heard, key=lambda one: one.time_us)
    this_hour = NOW_US // HOUR_US
    return (
        float(len(heard)),
        float(NOW_US - times[-1]),
        float(sum(NOW_US - 8 * HOUR_US < one <= NOW_US for one in times[-3:])),
        newest.amount,
        sum(one.amount for one in heard if this_hour - 24 < one.time_us // HOUR_US <= this_hour),
    )


def some_told(seed: int) -> tuple[random.Random, list[Told]]:
    """Return a random list, and the dice that made it."""
    dice = random.Random(seed)
    return dice, random_told(dice, said_count=dice.randint(1, 16), heard_count=dice.randint(0, 14))


def graph_digest(state: PartitionState) -> tuple[object, ...]:
    """Return all of a state that does not count what came."""
    told = state.tables.of(GRAPH_EVENTS).declaration.partition_digest
    assert told is not None
    return household_digests(state), told(list(state.tables.of(GRAPH_EVENTS)))


def assert_taken_back(dice: random.Random, told: list[Told], cause: str, seed: int) -> None:
    """A list with merges of a cause, and that they were none anywhere in it, is the list without them."""
    back = Said(b"back", "unmerge", NOW_US, cause=cause)
    without = [one for one in told if not (isinstance(one, Said) and one.kind == "merge" and one.why == cause)]
    place = dice.randint(0, len(told))
    with_it = folded([*told[:place], back, *told[place:]])
    assert graph_digest(with_it) == graph_digest(folded([*without, back])), f"seed {seed}, {cause}"
    assert told_of_households(with_it) == told_of_households(folded(without)), f"seed {seed}, {cause}"


def assert_conserved(told: list[Told]) -> None:
    """All sums over households are those over signals, and nobody is in two households, after every event."""
    state = folded([])
    heard: list[Heard] = []
    for one in told:
        fold(state, [one])
        heard += [one] if isinstance(one, Heard) else []
        read = told_of_households(state).values()
        assert sum(count for count, *_ in read) == len(heard)
        assert sum(spent for *_, spent in read) == sum(
            one.amount for one in heard if one.time_us // HOUR_US > NOW_US // HOUR_US - 24
        )
        counters = state.counters
        assert counters.received == sum(counters.by_status.values())
        people = [one for home in state.graph.membership.households.values() for one in home.subjects]
        assert len(people) == len(set(people))
