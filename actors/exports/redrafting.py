"""Drafts once more what a partition's log says was decided, each as its events had been folded then.

What a log does not tell is open to whoever looks: a draft may have been made at any instant between two events, and
decisions of one stamp may have been written in one group, of which none sees the others, or in several.

Under another playbook than the log's own the same is asked of what that makes of it: what happened, what was decided
and what became of it is taken as it was.
"""

import copy
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from actors.exports.point_in_time import LogTooShort, Start
from actors.log.contract import Offset, RecordKind, StoredRecord
from actors.records import codec
from actors.records.replay import Replay
from actors.records.signals import decode_signals
from household.contact_rules.share import CapacityShare
from household.decide import prepare
from household.deciding.draft import Ask, Draft
from household.deciding.reasons import by_contact
from household.decision import Decision
from household.events import EventBatch
from household.migration import migrated
from household.plan import NONE, EventTimeUs, Plan
from household.relocation.folding import read_under
from household.state import PartitionState

AHEAD_RECORDS = 4_096
AHEAD_BYTES = 64 << 20
"""Records looked at ahead: what a decision has seen lies no further back, or is not known any more."""


@dataclass(slots=True, eq=False)
class Redrafted:
    """A decision of the log that was drafted once more."""

    stored: StoredRecord
    read: codec.DecisionRecord
    logged: Plan | None = None
    """That was in force."""
    early: list[Draft] = field(default_factory=list)
    """Made when its events had just been folded, and just before the next one was."""

    @property
    def decision(self) -> Decision:
        """As it is recorded."""
        return self.read.decision


class Redrafting:
    """Folds a partition's log, and stops at each decision in force before it is folded."""

    def __init__(self, start: Start, *, share: CapacityShare, plan: Plan | None = None) -> None:
        """Begin.

        Args:
            start: folded on.
            share: of what is scarce over all partitions.
            plan: in force all along; None for those of the log.
        """
        self._start, self._replay, self._plan = start, start.replay, plan
        self._logged: Plan | None = None
        if self._replay.state is not None:
            self._logged = self._replay.state.plan
            if plan is not None:
                self._replay.state = migrated(self._replay.state, plan)
        self._replay.take_share(share)
        self._ahead: deque[StoredRecord] = deque()
        self._bytes = 0
        self._waiting: dict[Offset, Redrafted] = {}
        """Decisions among those ahead."""
        self._by_events: dict[int, list[Redrafted]] = {}
        """The same by the events that each had seen."""
        self._of_group: list[tuple[StoredRecord, Decision | None]] = []
        """Decisions that may have been written at once with the next one, None for void ones; not folded yet."""

    @property
    def state(self) -> PartitionState:
        """As of the record that it stops at."""
        return self._replay.now

    @property
    def replay(self) -> Replay:
        """What is folded."""
        return self._replay

    def run(self, records: Iterable[StoredRecord]) -> Iterator[Redrafted | EventBatch]:
        """Yield decisions in force, each before it is folded, and the batches of events that are folded in between.

        Args:
            records: of the partition, in log order; those before the start are passed over.

        Raises:
            LogTooShort: the records begin behind the start.
            PayloadUnreadable, PlanUnreadable, and what reading the records raises.
        """
        is_first = True
        for stored in records:
            if stored.offset < self._start.position:
                continue
            if is_first and stored.offset > self._start.position and self._replay.state is None:
                raise LogTooShort(f"it begins at offset {stored.offset}")
            is_first = False
            self._look_at(stored)
            while len(self._ahead) > AHEAD_RECORDS or self._bytes > AHEAD_BYTES:
                yield from self._next()
        while self._ahead:
            yield from self._next()

    def _look_at(self, stored: StoredRecord) -> None:
        self._ahead.append(stored)
        self._bytes += len(stored.record.payload)
        if stored.record.kind is RecordKind.DECISION:
            one = Redrafted(stored, codec.decode_decision(stored.record.payload))
            self._waiting[stored.offset] = one
            if one.decision.events_seen >= 0:
                self._by_events.setdefault(one.decision.events_seen, []).append(one)

    def _taken(self) -> StoredRecord:
        stored = self._ahead.popleft()
        self._bytes -= len(stored.record.payload)
        return stored

    def _next(self) -> Iterator[Redrafted | EventBatch]:
        kind = self._ahead[0].record.kind
        if kind is RecordKind.DECISION and self._replay.state is not None:
            yield from self._group()
            return
        stored = self._taken()
        if kind is RecordKind.SIGNALS:
            yield self._fold_signals(stored)
        elif kind is RecordKind.PLAN and stored.record.epoch >= self._replay.epoch:
            self._logged = codec.decode_plan(stored.record.payload)
            if self._plan is None:
                self._replay.fold(stored)
            elif self._replay.state is None:
                self._replay.fold_plan(self._plan, stored.record.epoch, stored.record.stamp_us)
        elif kind is RecordKind.RELOCATION and self._plan is not None and self._logged is not None:
            record, state = stored.record, self._replay.now
            note = codec.decode_relocations(record.payload)
            note = read_under(note, self._logged, state.plan, now_us=state.now_us)
            self._replay.fold_relocations(note, record.epoch, record.stamp_us)
        else:
            self._waiting.pop(stored.offset, None)
            self._replay.fold(stored)

    # --- events -------------------------------------------------------------------------------------------------------

    def _fold_signals(self, stored: StoredRecord) -> EventBatch:
        """Fold a batch, and draft between its events what had seen them so far."""
        replay, stamp_us = self._replay, stored.record.stamp_us
        batch = decode_signals(stored.record.payload, replay.now.plan)
        received, folded = replay.now.counters.received, 0
        stops = sorted(one - received for one in self._by_events if received <= one < received + batch.count)
        for stop in stops:
            if stop > folded:
                replay.fold_signals(batch.part(folded, stop), stamp_us)
                folded = stop
                self._draft(received + stop)
            self._draft(received + stop)
            del self._by_events[received + stop]
        if folded < batch.count or not batch.count:
            replay.fold_signals(batch.part(folded, batch.count) if folded else batch, stamp_us)
            self._draft(received + batch.count)
        replay.fold_count += 1
        return batch

    def _draft(self, events_seen: int) -> None:
        logged = self._logged
        for one in self._by_events.get(events_seen, ()):
            if logged is not None and one.decision.plan_version == logged.version:
                one.logged = logged
                one.early.append(self._drafted(one.decision, logged))

    def _drafted(self, decision: Decision, logged: Plan) -> Draft:
        state = as_of(self._replay.now, decision.decided_us)
        return prepare(state, ask_of(state.plan, decision, logged))

    # --- decisions ----------------------------------------------------------------------------------------------------

    def drafts(self, one: Redrafted) -> Iterator[Draft]:
        """Yield the drafts that a decision may have been made of, the likeliest first."""
        assert one.logged is not None, "it was stopped at"
        seen, received = one.decision.events_seen, self._replay.now.counters.received
        if seen < 0 or seen == received or not one.early:
            yield self._drafted(one.decision, one.logged)
        yield from one.early

    def fold_before(self) -> bool:
        """Fold the first of what may have been written at once with what it stops at; False if there is nothing.

        Where a group began is not in the log: a decision may have seen the first of those before it and not the others.
        """
        if len(self._of_group) < 2:
            return False
        stored, _ = self._of_group.pop(0)
        self._replay.fold(stored)
        self._begin_group()
        for _, written in self._of_group[:-1]:
            if written is not None:
                self._promise(written)
        return True

    def _group(self) -> Iterator[Redrafted]:
        """Stop at each of what may have been written at once."""
        first = self._ahead[0].record
        self._begin_group()
        while self._ahead and (record := self._ahead[0].record).kind is RecordKind.DECISION:
            if (record.stamp_us, record.epoch) != (first.stamp_us, first.epoch):
                break
            stored = self._taken()
            one = self._waiting.pop(stored.offset)
            one.logged = self._logged
            self._forget(one)
            is_in_force = record.epoch >= self._replay.now.epoch and one.logged is not None and not self._is_void(one)
            self._of_group.append((stored, one.decision if is_in_force else None))
            if is_in_force:
                yield one
                self._promise(one.decision)
        for stored, _ in self._of_group:
            self._replay.fold(stored)
        self._of_group.clear()
        self._begin_group()

    def _promise(self, decision: Decision) -> None:
        self._replay.now.scarcity.promise({each.budget: each.used for each in decision.scarce})
        self._replay.now.inventory.promise(self._replay.now, decision)

    def _begin_group(self) -> None:
        self._replay.now.scarcity.begin_group()
        self._replay.now.inventory.begin_group()

    def _forget(self, one: Redrafted) -> None:
        seen = one.decision.events_seen
        left = [each for each in self._by_events.get(seen, ()) if each is not one]
        if left:
            self._by_events[seen] = left
        else:
            self._by_events.pop(seen, None)

    def _is_void(self, one: Redrafted) -> bool:
        """Return whether the fold will pass it over: another decision has settled all its moments."""
        state, decision = self._replay.now, one.decision
        household, _ = state.find(decision.household)
        if household < 0 or not decision.moments:
            return False
        rows = state.rows_together(household)
        return all(any((row, moment.moment_id) in state.settled for row in rows) for moment in decision.moments)


def as_of(state: PartitionState, time_us: int) -> PartitionState:
    """Return the state as it reads at a time, as its owner reads it; to read and not to keep."""
    if state.stream_clock or time_us <= state.now_us:
        return state
    view = copy.copy(state)
    view.now_us = EventTimeUs(time_us)
    return view


def ask_of(plan: Plan, decision: Decision, logged: Plan) -> Ask:
    """Return who asked for a recorded decision, and why.

    Args:
        plan: under which it is asked.
        decision: as recorded.
        logged: the plan that it was made under.
    """
    types = contact_types_of(logged, decision)
    named = frozenset(plan.event_type_by_name[one] for one in types or () if one in plan.event_type_by_name)
    return Ask(
        household=decision.household,
        member=decision.member,
        channel=plan.channel_by_name.get(decision.channel, NONE) if decision.channel else NONE,
        request_id=decision.request_id,
        request_hash=decision.request_hash,
        is_contact=types is not None and (not types or bool(named)),
        contact_types=named,
    )


def contact_types_of(plan: Plan, decision: Decision) -> frozenset[str] | None:
    """Return names of event types that start the journeys which a recorded decision says its contact started.

    None where it started none. What came with the question is not recorded.
    """
    named = {journey for journey in plan.journey_by_name if by_contact(journey) in decision.reasons}
    if not named:
        return None
    types, others = set[int](), set[int]()
    for journey in plan.journeys:
        if journey.trigger is None and journey.name not in plan.halt_by_journey:
            (types if journey.name in named else others).update(journey.contact_events)
    return frozenset(plan.event_types[one].name for one in types - others)
