"""Random histories of one cluster, and the many ways in which they may be folded.

A history is what logs hold: signals, decisions, ticks, epochs and a change of plan, in one order. It may be cut into
batches anywhere, spread over any number of partitions, and the state put away and taken up again between any two
batches. What is known of each household in the end must be the same.

On the stream clock `now` is a partition's own, so there the partitions do not vary; nor where the window of known ids
is made to overflow: what it forgets, and when, is a partition's own too (an id that is forgotten would be late).
"""

import functools
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings

from household import apply, state
from household import freeze as freezing
from household.apply import apply_decision, apply_epoch, apply_signals, apply_tick
from household.columns.dedupe import _free_arrays
from household.columns.layout import Layout, lay_out
from household.columns.program import Op
from household.columns.windows import new_slab
from household.decision import Decision, Moment, SlateAction
from household.decision_bytes import encode_decision
from household.digest import household_digests, state_digest
from household.events import RESERVED_TYPES
from household.freeze import Freeze, Frozen
from household.migration import migrated
from household.plan import (
    NONE,
    Channel,
    ContactCap,
    ContactPolicy,
    EventType,
    Feature,
    FeatureKind,
    Journey,
    Offer,
    Plan,
    Scope,
    Trigger,
)
from household.state import NO_MEMBER, PartitionState
from tests.household.oracle import Event, batch_of
from tests.household.side import side_of
from tests.household.worlds import DICE, LONGEST_KEY, START_US, STEPS_US, VALUES, S, _pick, _spoilt, plans, program_of
from wire.partitions import partition_of

HOUSEHOLDS = (b"a", b"b", b"c", b"home-7", b"c" * LONGEST_KEY, b"\xff\x00", b"a", b"b")
MEMBERS = (b"", b"x", b"y", b"x", b"x", b"z" * LONGEST_KEY)
PLAIN_TYPES = 3
EVENT_COUNT_MAX = 40
PARTITION_COUNT_MAX = 8


# --- worlds ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A plan, and the one that replaces it where a history changes its plan."""

    plan: Plan
    successor: Plan


OFFERS = tuple(
    Offer(name=f"offer_{number}", kind="offer", family=family, excludes=((number + 1) % 3,) if number else ())
    for number, family in enumerate(("content", "content", "wallet"))
)
CHANNELS = (
    Channel(name="app", inbound=True, outbound=False),
    Channel(name="sms", inbound=False, outbound=True),
    Channel(name="push", inbound=False, outbound=True),
)
POLICY = ContactPolicy(
    caps=(ContactCap(name="cap", scope=Scope.MEMBER, channels=(1, 2), window_us=12 * S, most=1),),
    decline_offer_us=10 * S,
    decline_family_us=6 * S,
)
EVENTS_SEEN = Feature(
    name="household.seen", kind=FeatureKind.COUNT, scope=Scope.HOUSEHOLD, result="int", events=(0, 1, 2)
)
LATE_COUNT = Feature(name="household.since", kind=FeatureKind.COUNT, scope=Scope.HOUSEHOLD, result="int", events=(0, 1))


def world_of(plan: Plan, chance: random.Random) -> World:
    """Return a world that decides: a plan of random features, with offers, channels, caps and all reserved types.

    One journey is of those to which an event more or less makes the difference: it begins at every third event.
    """
    known = {kind.name for kind in plan.event_types}
    reports = tuple(EventType(name=name, source="hearth") for name in RESERVED_TYPES if name not in known)
    third = program_of(
        (
            (Op.FEATURE, float(len(plan.features))),
            (Op.CONST, 3.0),
            (Op.MODULO_INT, 0.0),
            (Op.CONST, 0.0),
            (Op.EQUAL, 0.0),
        )
    )
    at_third = Trigger(events=(0, 1, 2), program=len(plan.programs), scope=chance.choice(list(Scope)))
    clock = replace(plan.clock, request_window_us=chance.choice([2, 30]) * S)
    plan = replace(
        plan,
        event_types=plan.event_types + reports,
        programs=(*plan.programs, third),
        features=(*plan.features, EVENTS_SEEN),
        journeys=(*plan.journeys, Journey(name="third", trigger=at_third)),
        channels=CHANNELS,
        families=("content", "wallet"),
        offers=OFFERS,
        policy=POLICY,
        clock=clock,
    )
    return World(plan=plan, successor=_successor(plan, chance))


def _successor(plan: Plan, chance: random.Random) -> Plan:
    """Return a plan with a feature more and a journey less, its channels turned round; or one with features less."""
    if chance.random() < 0.5:
        journeys = plan.journeys[1:]
        return replace(
            plan, name="more", features=(*plan.features, LATE_COUNT), journeys=journeys, channels=CHANNELS[::-1]
        )
    kept = [feature for feature in plan.features if chance.random() < 0.6]
    chance.shuffle(kept)
    windows = tuple(dict.fromkeys(plan.windows[one.window] for one in kept if one.window != NONE))
    features = tuple(
        one if one.window == NONE else replace(one, window=windows.index(plan.windows[one.window])) for one in kept
    )
    return replace(plan, name="less", features=features, windows=windows, journeys=())


def some_worlds(count: int) -> list[World]:
    """Return the same worlds whenever asked: laying plans out and drawing them costs more than folding a list."""
    drawn: list[Plan] = []

    # Drawing on a busy machine is slow; that says nothing.
    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(plans())
    def draw(plan: Plan) -> None:
        drawn.append(plan)

    draw()
    chance = random.Random(7)
    return [world_of(plan, chance) for plan in drawn]


@contextmanager
def layouts_kept() -> Iterator[None]:
    """Lay each plan out once; nothing changes a layout."""
    by_version: dict[str, Layout] = {}

    def once(plan: Plan) -> Layout:
        if plan.version not in by_version:
            by_version[plan.version] = lay_out(plan)
        return by_version[plan.version]

    with mock.patch.object(state, "lay_out", once):
        yield


# --- histories -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Events that one owner stamped together."""

    events: list[Event]
    stamp_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A decision, by an owner that may be outdated."""

    decision: Decision
    epoch: int
    offset: int
    stamp_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time has passed."""

    epoch: int
    stamp_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Another owner."""

    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """Another plan."""

    plan: Plan


Record = Signals | Decided | Ticked | Opened | Planned


@dataclass(slots=True)
class History:
    """Records in order, made while they are folded event by event: decisions name what is pending by then."""

    world: World
    stream_clock: bool
    is_tight: bool
    """Tables so small that they grow on the way."""
    records: list[Record] = field(default_factory=list)
    event_count: int = 0


def start(history: History, *, is_known_ids_tight: bool) -> PartitionState:
    """Return the state before the first record."""
    fresh = PartitionState(plan=history.world.plan, stream_clock=history.stream_clock)
    if history.is_tight:
        fresh.cells = fresh.cells._replace(slab=new_slab(2))
    if is_known_ids_tight:
        fresh.dedupe.arrays = _free_arrays(8)
    apply_epoch(fresh, epoch=1)
    return fresh


@dataclass(slots=True)
class _Author:
    """Writes a history, folding it as it goes."""

    chance: random.Random
    history: History
    folded: PartitionState
    clock_us: int = START_US
    stamp_us: int = START_US
    epoch: int = 1
    sent: list[Event] = field(default_factory=list)
    decision_count: int = 0
    action_ids: list[tuple[bytes, bytes, str]] = field(default_factory=list)
    """(household, member, action id)"""
    is_planned: bool = False

    def write(self, event_count: int) -> None:
        while self.history.event_count < event_count:
            self.signals(min(1 + self.chance.randrange(10), event_count - self.history.event_count))
            for _ in range(self.chance.randrange(3)):
                self.other()

    def put(self, record: Record) -> None:
        self.history.records.append(record)
        self.folded = fold_record(self.folded, record, cuts=every_event)

    def signals(self, count: int) -> None:
        events = [self.event() for _ in range(count)]
        self.stamp_us = max(self.stamp_us, self.clock_us + self.chance.choice((0, S, -2 * S)))
        self.history.event_count += count
        self.put(Signals(events=events, stamp_us=self.stamp_us))

    def event(self) -> Event:
        dice = bytes(self.chance.randrange(256) for _ in range(DICE))
        if self.sent and dice[0] % 8 == 7:
            return self.sent[dice[1] % len(self.sent)]
        event = self.report(dice) if self.action_ids and dice[0] % 8 < 2 else self.plain(dice)
        if dice[10] % 12 == 11:
            event = _spoilt(event, dice[11])
        # An event id is known to its household's partition only, so it must name its household.
        event = replace(event, id=event.id and (event.household[:9] + b"/" + event.id)[: LONGEST_KEY + 1])
        self.sent.append(event)
        return event

    def plain(self, dice: bytes) -> Event:
        return Event(
            id=b"e%d" % len(self.sent),
            household=_pick(HOUSEHOLDS, dice[2]),
            member=_pick(MEMBERS, dice[3]),
            kind=dice[4] % PLAIN_TYPES,
            time_us=self.time_us(dice[1]),
            values=tuple((field, _pick(VALUES[field], dice[5 + field])) for field in range(4) if dice[5 + field] < 240),
        )

    def report(self, dice: bytes) -> Event:
        household, member, action_id = _pick(self.action_ids[-4:], dice[2])
        kinds = len(self.history.world.plan.event_types) - PLAIN_TYPES
        return Event(
            id=b"r%d" % len(self.sent),
            household=household,
            member=member,
            kind=PLAIN_TYPES + dice[3] % kinds,
            time_us=self.time_us(dice[1]),
            action_id=action_id,
        )

    def time_us(self, die: int) -> int:
        time_us = self.clock_us + _pick(STEPS_US, die)
        self.clock_us = max(self.clock_us, time_us)
        return time_us

    def other(self) -> None:
        self.stamp_us += self.chance.choice((0, 0, 1, S, 4 * S))
        kind = self.chance.randrange(10)
        # A past owner's record now and then: it is void.
        epoch = self.epoch - int(self.epoch > 1 and self.chance.randrange(6) == 0)
        if kind < 6:
            self.put(
                Decided(
                    decision=self.decision(),
                    epoch=epoch,
                    offset=len(self.history.records),
                    stamp_us=self.stamp_us,
                )
            )
        elif kind < 8:
            self.put(Ticked(epoch=epoch, stamp_us=self.stamp_us))
        elif kind == 8:
            self.epoch += 1 + self.chance.randrange(2)
            self.put(Opened(epoch=self.epoch))
        elif not self.is_planned:
            self.is_planned = True
            self.put(Planned(plan=self.history.world.successor))

    def decision(self) -> Decision:
        chance, number = self.chance, self.decision_count
        self.decision_count += 1
        household, member, moments = self.who()
        decision_id = f"d{number}"
        slate = tuple(
            SlateAction(
                action_id=f"{decision_id}/{rank}",
                offer=chance.choice(OFFERS).name,
                journey="",
                price_minor=0,
                valid_until_us=self.stamp_us + chance.choice((0, 2, 9)) * S,
            )
            for rank in range(chance.randrange(3))
        )
        self.action_ids += [(household, member, action.action_id) for action in slate]
        return Decision(
            decision_id=decision_id,
            request_id=chance.choice(("", f"request-{number}", "again")),
            household=household,
            member=member,
            channel=chance.choice(("", "app")),
            decided_us=self.stamp_us,
            moments=moments,
            plan_version=self.folded.plan.version,
            model_version="prior",
            schema_hash="",
            degraded=False,
            withheld=chance.randrange(8) == 0,
            propensity=1.0,
            reasons=(),
            candidates=(),
            slate=slate,
            stands="d0" if number and chance.randrange(10) == 0 else "",
            answered="",
            send_channel=chance.choice(("", "sms", "push", "gone")) if slate else "",
            send_before_us=self.stamp_us + chance.choice((1, 5)) * S,
            local_minute_of_week=0,
            state_vector=np.zeros(0, np.float32),
        )

    def who(self) -> tuple[bytes, bytes, tuple[Moment, ...]]:
        """Return a household, a member and which of its moments a decision is about; often one that waits."""
        waiting = self.folded.pending.owners()
        if not waiting or self.chance.randrange(4) == 0:
            return self.chance.choice(HOUSEHOLDS), self.chance.choice(MEMBERS), ()
        row = waiting[self.chance.randrange(len(waiting))]
        ledger = side_of(self.folded, row)
        # As a log gives it back: without the member's row.
        moments = [replace(moment, member=NO_MEMBER) for moment in ledger.pending]
        if ledger.settled and self.chance.randrange(3) == 0:
            moments = [replace(moments[0], moment_id=next(iter(ledger.settled)))]
        return (
            self.folded.households.key(row),
            self.chance.choice(MEMBERS),
            tuple(moments[: 1 + self.chance.randrange(2)]),
        )


def written(world: World, chance: random.Random, *, event_count: int) -> tuple[History, PartitionState, bool]:
    """Return a history, its fold event by event in one partition, and whether its window of known ids is tight."""
    stream_clock, is_tight = chance.randrange(4) == 0, chance.randrange(4) == 0
    is_known_ids_tight = stream_clock and is_tight
    history = History(world=world, stream_clock=stream_clock, is_tight=is_tight)
    author = _Author(chance=chance, history=history, folded=start(history, is_known_ids_tight=is_known_ids_tight))
    author.write(event_count)
    return history, author.folded, is_known_ids_tight


# --- folds -----------------------------------------------------------------------------------------------------------

Cuts = Callable[[int], list[int]]
"""From how many events there are to where batches end, the last end left out."""


def every_event(count: int) -> list[int]:
    """Cut behind each event."""
    return list(range(1, count))


def nowhere(count: int) -> list[int]:
    """Do not cut."""
    del count
    return []


def anywhere(chance: random.Random) -> Cuts:
    """Return cuts at random places."""

    def cuts(count: int) -> list[int]:
        return sorted({1 + chance.randrange(count - 1) for _ in range(chance.randrange(4))}) if count > 1 else []

    return cuts


def fold_record(folded: PartitionState, record: Record, *, cuts: Cuts) -> PartitionState:
    """Return the state after one record."""
    match record:
        case Signals():
            for part in batches(folded.plan, record, cuts):
                apply_signals(folded, part, stamp_us=record.stamp_us)
        case Decided():
            payload = encode_decision(record.decision, member_keys={})
            apply_decision(
                folded, record.decision, payload, epoch=record.epoch, offset=record.offset, stamp_us=record.stamp_us
            )
        case Ticked():
            apply_tick(folded, epoch=record.epoch, stamp_us=record.stamp_us)
        case Opened() if record.epoch > folded.epoch:
            apply_epoch(folded, epoch=record.epoch)
        case Planned():
            return migrated(folded, record.plan)
    return folded


def batches(plan: Plan, record: Signals, cuts: Cuts):
    """Yield the record's events in batches; made anew each time, for the fold fills in missing times."""
    batch = batch_of(plan, record.events)
    begin = 0
    for end in [*cuts(batch.count), batch.count]:
        yield batch.part(begin, end)
        begin = end


def of_partition(record: Record, partition: int, partition_count: int) -> Record | None:
    """Return what of a record one partition's log holds."""
    match record:
        case Signals():
            events = [one for one in record.events if partition_of(one.household, partition_count) == partition]
            return replace(record, events=events) if events else None
        case Decided():
            return record if partition_of(record.decision.household, partition_count) == partition else None
    return record


def fold_partition(
    history: History, records: list[Record], chance: random.Random, *, cuts: Cuts, is_known_ids_tight: bool
) -> PartitionState:
    """Return the fold of one partition's records, with a freeze on the way.

    It begins between any two records and is taken row by row while the next ones are folded. Either the fold goes on,
    or what was frozen is taken up again in its place, and the records since then are folded once more.
    """
    folded = start(history, is_known_ids_tight=is_known_ids_tight)
    at = chance.randrange(len(records) + 1)
    reached = min(at + chance.randrange(4), len(records))
    for record in records[:at]:
        folded = fold_record(folded, record, cuts=cuts)
    freeze = Freeze(folded)
    for record in records[at:reached]:
        freeze.step(chance.randrange(3))
        folded = fold_record(folded, record, cuts=cuts)
    if freeze.is_stale:
        # Another plan came into force: begin anew behind it.
        assert freeze.end() is None
        at, freeze = reached, Freeze(folded)
    while not freeze.step():
        pass
    frozen = freeze.end()
    assert frozen is not None
    if chance.randrange(3):
        folded, reached = freezing.thaw(frozen), at
    for record in records[reached:]:
        folded = fold_record(folded, record, cuts=cuts)
    return folded


def differences(world: World, chance: random.Random, *, event_count: int) -> list[str]:
    """Return in what the folds of one random history differ; nothing if the law holds."""
    history, reference, tight = written(world, chance, event_count=event_count)
    wanted, found = state_digest(reference), []
    records = history.records
    whole = fold_partition(history, records, chance, cuts=nowhere, is_known_ids_tight=tight)
    if state_digest(whole) != wanted:
        found.append(f"whole batches and a snapshot: {_first_difference(whole, reference)}")

    partition_count = 1 if history.stream_clock else 1 + chance.randrange(PARTITION_COUNT_MAX)
    folded = []
    for partition in range(partition_count):
        own = [part for one in records if (part := of_partition(one, partition, partition_count)) is not None]
        if partition_count == 1 or any(isinstance(one, Signals | Decided) for one in own):
            cuts = anywhere(chance)
            folded.append(fold_partition(history, own, chance, cuts=cuts, is_known_ids_tight=tight))
    if partition_count == 1 and state_digest(folded[0]) != wanted:
        found.append(f"random batches: {_first_difference(folded[0], reference)}")
    found += _over_partitions(reference, folded, partition_count)
    return found


def _over_partitions(reference: PartitionState, folded: list[PartitionState], partition_count: int) -> list[str]:
    households = {key: digest for one in folded for key, digest in household_digests(one).items()}
    wanted = household_digests(reference)
    found = [] if households == wanted else [f"{partition_count} partitions: {_keys_that_differ(households, wanted)}"]
    counted, expected = _summed(folded), _summed([reference])
    if counted != expected:
        found.append(f"{partition_count} partitions: counted {counted}, wanted {expected}")
    return found


def _summed(folded: list[PartitionState]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for one in folded:
        plain = asdict(one.counters)
        # A past owner's tick is void in each partition.
        del plain["voided"]
        for name, count in (plain | plain.pop("by_status")).items():
            totals[name] = totals.get(name, 0) + count
    totals.pop("by_status", None)
    return totals


def _keys_that_differ(got: dict[bytes, str], wanted: dict[bytes, str]) -> list[bytes]:
    return sorted(key[:12] for key in got.keys() | wanted.keys() if got.get(key) != wanted.get(key))


def _first_difference(got: PartitionState, wanted: PartitionState) -> str:
    keys = _keys_that_differ(household_digests(got), household_digests(wanted))
    return f"households {keys}" if keys else "what belongs to no household"


# --- what must be found ----------------------------------------------------------------------------------------------


@contextmanager
def triggers_at_the_end_of_a_batch() -> Iterator[None]:
    """Break the law of per-event predicates: fold a whole batch first, then ask its triggers."""
    fold = apply._fold

    def late(rules, cells, *rest):
        if cells.slab.bucket.shape[0] < 1_024:
            return fold(rules, cells, *rest)  # a tight slab may stop half way
        silent = rules._replace(trigger_start=np.zeros_like(rules.trigger_start))
        fold(silent, cells, *rest)
        still = rules._replace(update_start=np.zeros_like(rules.update_start))
        return fold(still, cells, *rest)

    with mock.patch.object(apply, "_fold", late):
        yield


@contextmanager
def outcomes_at_the_end_of_a_batch() -> Iterator[None]:
    """Fold the reports of a batch as of its end."""
    outcomes = apply._outcomes

    def late(state, batch, statuses, rows, before_us):
        del before_us
        return outcomes(state, batch, statuses, rows, state.now_us)

    with mock.patch.object(apply, "_outcomes", late):
        yield


@contextmanager
def freezing_without_ids() -> Iterator[None]:
    """Drop the window of known ids from every snapshot."""
    thaw, nothing = freezing.thaw, np.empty(0, np.uint64)

    def forgetful(frozen: Frozen) -> PartitionState:
        return thaw(replace(frozen, id_low=nothing, id_high=nothing, id_times=np.empty(0, np.int64)))

    with mock.patch.object(freezing, "thaw", forgetful):
        yield


@contextmanager
def freezing_what_came_later() -> Iterator[None]:
    """Let a snapshot hold the state as of its end, not as of its position."""
    end = Freeze.end

    def late(self: Freeze) -> Frozen | None:
        is_stale, _ = self.is_stale, end(self)
        if is_stale:
            return None
        later = Freeze(self._state)
        while not later.step():
            pass
        return end(later)

    with mock.patch.object(Freeze, "end", late):
        yield


FAULTS = (
    triggers_at_the_end_of_a_batch,
    outcomes_at_the_end_of_a_batch,
    freezing_without_ids,
    freezing_what_came_later,
)


@functools.cache
def standard_worlds() -> tuple[World, ...]:
    """Return the worlds of the long suite."""
    return tuple(some_worlds(48))


def broken_lists(seeds: range, *, most: int = EVENT_COUNT_MAX) -> list[str]:
    """Return what is wrong with the lists of these seeds, none for a law that holds."""
    found = []
    worlds = standard_worlds()
    with layouts_kept():
        for seed in seeds:
            chance = random.Random(seed)
            # Most are short, where small mistakes show; none is longer than `most`.
            event_count = 1 + int((most - 1) * chance.random() ** 2)
            world = worlds[chance.randrange(len(worlds))]
            wrong = differences(world, chance, event_count=event_count)
            found += [f"seed {seed}, {event_count} events: {one}" for one in wrong]
    return found
