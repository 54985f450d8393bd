"""A partition's state as it stood at points of its log, folded from the records alone: what a decision then would read.

A point is a time (all that was recorded by then counts, whatever it tells of), or what one decision had seen: the
events that were folded when its features were read, which may be fewer than stand before its record.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from actors.log.contract import LOG_START, Offset, PartitionId, RecordKind, StoredRecord
from actors.log.location import PartitionReader
from actors.records import codec
from actors.records.kinds import OWNERS_WORD
from actors.records.replay import Replay
from actors.records.signals import decode_signals
from actors.snapshots.store import SnapshotStore
from household.decision import Decision
from household.events import EventBatch
from household.scoring import state_vector
from household.state import NO_HOUSEHOLD, PartitionState


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Where the fold stops and looks."""

    number: int
    """By which whoever asks knows it."""
    as_of_us: int
    """Features are read as of then."""
    record: Offset | None = None
    """Of the decision that saw it; None for a time alone."""
    events_seen: int = -1
    """What the decision had seen; -1 for all that stands before its record."""

    @classmethod
    def of(cls, number: int, decision: Decision, offset: Offset) -> "Point":
        """Return what a recorded decision saw."""
        return cls(number=number, as_of_us=decision.decided_us, record=offset, events_seen=decision.events_seen)


class LogTooShort(Exception):
    """The log no longer holds what would have to be folded, and no snapshot covers it."""


@dataclass(slots=True, kw_only=True, eq=False)
class Start:
    """Where a fold begins."""

    replay: Replay = field(default_factory=Replay)
    position: Offset = LOG_START


def states_at(
    start: Start, records: Iterable[StoredRecord], points: Sequence[Point]
) -> Iterator[tuple[Point, PartitionState]]:
    """Yield each point and the state there, to read and not to keep: the next one changes it.

    Points that lie before the start are not yielded, nor those of decisions that the records do not hold.

    Args:
        start: folded on.
        records: of one partition, in log order; those before the start are passed over.
        points: in any order.

    Raises:
        LogTooShort: the records begin behind the start.
        PayloadUnreadable, PlanUnreadable, and what reading the records raises.
    """
    ahead = _Ahead(points, start.replay)
    replay, is_first = start.replay, True
    for stored in records:
        if stored.offset < start.position:
            continue
        if is_first and stored.offset > start.position and replay.state is None:
            raise LogTooShort(f"it begins at offset {stored.offset}")
        is_first = False
        if ahead.is_done:
            return
        if replay.state is not None:
            yield from ahead.before(stored, replay.state)
        if stored.record.kind is RecordKind.SIGNALS:
            yield from _signals(replay, stored, ahead)
        else:
            replay.fold(stored)
    if replay.state is not None:
        yield from ahead.rest(replay.state)


def _signals(replay: Replay, stored: StoredRecord, ahead: "_Ahead") -> Iterator[tuple[Point, PartitionState]]:
    """Fold a batch of events, up to each point that lies between two of them."""
    batch, folded = decode_signals(stored.record.payload, replay.now.plan), 0
    for stop in ahead.stops(replay.now, batch, stored.record.stamp_us):
        if stop > folded:
            replay.fold_signals(batch.part(folded, stop), stored.record.stamp_us)
            folded = stop
        yield from ahead.between(stop, replay.now)
    if folded < batch.count or not batch.count:
        replay.fold_signals(batch.part(folded, batch.count) if folded else batch, stored.record.stamp_us)
    replay.fold_count += 1


class _Ahead:
    """The points that the fold has not come to."""

    def __init__(self, points: Sequence[Point], replay: Replay) -> None:
        received = replay.state.counters.received if replay.state is not None else 0
        now_us = replay.state.now_us if replay.state is not None else None
        self._times = sorted(
            (one for one in points if one.record is None and (now_us is None or one.as_of_us >= now_us)),
            key=lambda one: -one.as_of_us,
        )
        """The next one last."""
        self._by_record: dict[int, list[Point]] = {}
        self._by_events: dict[int, list[Point]] = {}
        for one in points:
            if one.record is not None and not 0 <= one.events_seen < received:
                self._by_record.setdefault(one.record, []).append(one)
                if one.events_seen >= 0:
                    self._by_events.setdefault(one.events_seen, []).append(one)
        self._counts = sorted(self._by_events, reverse=True)
        """Of events seen; the next one last."""
        self._now_us = np.empty(0, np.int64)
        """(n,) what the newest event tells the time to be, behind each event of the batch that is being folded."""

    @property
    def is_done(self) -> bool:
        return not self._times and not self._by_record

    def before(self, stored: StoredRecord, state: PartitionState) -> Iterator[tuple[Point, PartitionState]]:
        """Yield what is to be looked at before a record is folded."""
        if not state.stream_clock:
            while self._times and self._times[-1].as_of_us < stored.record.stamp_us:
                yield self._times.pop(), state
        for one in self._by_record.pop(stored.offset, ()):
            # What had seen fewer events was looked at before.
            if one.events_seen < 0 or one.events_seen == state.counters.received:
                yield one, state

    def stops(self, state: PartitionState, batch: EventBatch, stamp_us: int) -> list[int]:
        """Return before which events of a batch something is to be looked at, in order."""
        received, found = state.counters.received, set[int]()
        while self._counts and self._counts[-1] < received + batch.count:
            count = self._counts.pop()
            if count >= received:
                found.add(count - received)
        if state.stream_clock and self._times and batch.count:
            # What is too far ahead to be taken tells nothing of the time.
            told_us = np.where(batch.times_us <= stamp_us + state.plan.clock.future_us, batch.times_us, state.now_us)
            self._now_us = np.maximum.accumulate(np.maximum(told_us, state.now_us))
            for one in reversed(self._times):
                if one.as_of_us >= self._now_us[-1]:
                    break
                found.add(int(np.argmax(self._now_us > one.as_of_us)))
        return sorted(found)

    def between(self, event: int, state: PartitionState) -> Iterator[tuple[Point, PartitionState]]:
        """Yield what is to be looked at before one event of a batch, those before it being folded."""
        for one in self._by_events.pop(state.counters.received, ()):
            assert one.record is not None, "only decisions have seen events"
            if one.record in self._by_record:
                self._forget(one)
                yield one, state
        if state.stream_clock:
            while self._times and self._times[-1].as_of_us < self._now_us[event]:
                yield self._times.pop(), state

    def _forget(self, point: Point) -> None:
        assert point.record is not None, "only decisions have a record"
        left = [one for one in self._by_record[point.record] if one is not point]
        if left:
            self._by_record[point.record] = left
        else:
            del self._by_record[point.record]

    def rest(self, state: PartitionState) -> Iterator[tuple[Point, PartitionState]]:
        """Yield what lies behind the last record."""
        while self._times:
            yield self._times.pop(), state


def readings_of(state: PartitionState, household: bytes, member: bytes, as_of_us: int) -> NDArray[np.float64]:
    """Return all features (features,) as a decision reads them: nothing is known of who is not known."""
    row, member_row = state.find(household, member)
    if row == NO_HOUSEHOLD:
        return np.full(len(state.plan.features), np.nan)
    return state.readings(row, member_row, as_of_us)


def start_before(snapshots: SnapshotStore | None, partition: PartitionId, points: Sequence[Point]) -> Start:
    """Return the newest sound snapshot that lies before all points; the beginning where there is none.

    Raises:
        OSError: the snapshots could not be listed.
    """
    records = [one.record for one in points if one.record is not None]
    seen = [one.events_seen for one in points if one.events_seen >= 0]
    first_us = min((one.as_of_us for one in points), default=0)
    for facts in snapshots.list(partition) if snapshots is not None else ():
        if facts.problem or (records and facts.position > min(records)):
            continue
        assert snapshots is not None, "it has just been listed"
        loaded = snapshots.load(partition, name=facts.name)
        state = loaded.replay.state if loaded.replay is not None else None
        if loaded.replay is None or state is None:
            continue
        if state.now_us <= first_us and (not seen or state.counters.received <= min(seen)):
            return Start(replay=loaded.replay, position=loaded.position)
    return Start()


def decisions_in_force(records: Iterable[StoredRecord], *, of: bytes = b"") -> Iterator[tuple[Offset, Decision]]:
    """Yield the recorded decisions that are not void, and where they stand; with `of` only a household's, by that key.

    Raises:
        PayloadUnreadable, and what reading the records raises.
    """
    epoch = 0
    for stored in records:
        record = stored.record
        if record.kind is RecordKind.EPOCH:
            epoch = max(epoch, record.epoch)
        if record.kind is not RecordKind.DECISION or (record.kind in OWNERS_WORD and record.epoch < epoch):
            continue
        if of in record.payload:
            decision = codec.decode_decision(record.payload).decision
            if not of or decision.household == of:
                yield stored.offset, decision


@dataclass(slots=True, kw_only=True)
class Parity:
    """How many recorded decisions read what the log folds to, to the last bit."""

    decisions: int = 0
    equal: int = 0
    before_start: int = 0
    """Those whose past the log no longer holds."""
    first_difference: str = ""

    def add(self, other: "Parity") -> None:
        """Count those of another partition as well."""
        self.decisions += other.decisions
        self.equal += other.equal
        self.before_start += other.before_start
        self.first_difference = self.first_difference or other.first_difference


def parity_of(reader: PartitionReader, snapshots: SnapshotStore | None, partition: PartitionId) -> Parity:
    """Fold a partition's log once more and compare what each decision recorded of its features with what is found.

    Memory holds the decisions' vectors of one partition.

    Raises:
        LogError, PayloadUnreadable, PlanUnreadable.
        LogTooShort: nothing of it can be folded any more.
        OSError: the snapshots could not be listed.
    """
    found, points, asked = Parity(), list[Point](), list[tuple[bytes, bytes, str, bytes]]()
    for offset, decision in decisions_in_force(reader.read(partition, LOG_START)):
        points.append(Point.of(len(points), decision, offset))
        vector = np.asarray(decision.state_vector, np.float32)
        asked.append((decision.household, decision.member, decision.decision_id, vector.tobytes()))
    if not points:
        return found
    start = whole_from(reader, snapshots, partition)
    for point, state in states_at(start, reader.read(partition, start.position), points):
        household, member, decision_id, recorded = asked[point.number]
        vector = state_vector(state.plan, readings_of(state, household, member, point.as_of_us))
        found.decisions += 1
        if vector.tobytes() == recorded:
            found.equal += 1
        elif not found.first_difference:
            found.first_difference = f"partition {partition}, offset {point.record}: decision {decision_id}"
    found.before_start = len(points) - found.decisions
    return found


def whole_from(reader: PartitionReader, snapshots: SnapshotStore | None, partition: PartitionId) -> Start:
    """Return from where on a partition can be folded: its beginning, or the oldest sound snapshot behind which it is.

    Raises:
        LogTooShort: there is none.
        LogError, and OSError: the snapshots could not be listed.
    """
    first = next((stored.offset for stored in reader.read(partition, LOG_START)), LOG_START)
    if first == LOG_START:
        return Start()
    for facts in reversed(snapshots.list(partition)) if snapshots is not None else ():
        if facts.problem or facts.position < first:
            continue
        assert snapshots is not None, "it has just been listed"
        loaded = snapshots.load(partition, name=facts.name)
        if loaded.replay is not None:
            return Start(replay=loaded.replay, position=loaded.position)
    raise LogTooShort(f"partition {partition}: the log begins at offset {first}, and no sound snapshot covers it")
