"""A partition's log as what happened to it: events, questions and playbooks; what was decided then is beside the point.

For whoever lets the same happen under another playbook. A log is read once, record by record.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from actors.exports.redrafting import contact_types_of
from actors.log.contract import RecordKind, StoredRecord
from actors.records import codec
from household.decision import Decision
from household.delivery import DeliveryStep
from household.plan import Plan
from household.relocation.notes import RelocationNote

AHEAD_RECORDS = 1_024
AHEAD_US = 1_000_000
"""A question that is recorded so soon after some events was under way when they were folded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochFact:
    """An owner's term began."""

    epoch: int
    is_stream: bool
    partition: int = 0
    partition_count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFact:
    """A playbook came into force."""

    plan: Plan
    stamp_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsFact:
    """A batch of events was learned."""

    payload: bytes
    stamp_us: int
    asking: frozenset[bytes]
    """Households that ask within a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionFact:
    """A decision was made, for somebody who asked or for moments."""

    decision: Decision
    stamp_us: int
    contact_types: frozenset[str] | None
    """Types of events that may have come with the question and were a contact; None where it was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedFact:
    """An action was handed over to a gateway."""

    action_id: str
    channel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RelocationFact:
    """Households left for another partition, or came, with all that was known of them in the log that they left."""

    note: RelocationNote
    plan: Plan
    """Under which what came is to be read."""
    stamp_us: int


LogFact = EpochFact | PlanFact | EventsFact | DecisionFact | HandedFact | RelocationFact


def facts_of(records: Iterable[StoredRecord], *, plan: Plan | None = None, epoch: int = 0) -> Iterator[LogFact]:
    """Yield what a partition's log tells, in its order; what is void is left out.

    Args:
        records: of the partition, from its beginning or behind a snapshot.
        plan: in force before them; None where they are the beginning.
        epoch: of the term before them.

    Raises:
        PayloadUnreadable, PlanUnreadable, and what reading the records raises.
    """
    ahead = deque[tuple[StoredRecord, LogFact | None]]()
    reading = _Reading(plan, epoch)
    for stored in records:
        fact = reading.fact(stored)
        ahead.append((stored, fact))
        if len(ahead) > AHEAD_RECORDS:
            yield from _told(ahead)
    while ahead:
        yield from _told(ahead)


def _told(ahead: deque[tuple[StoredRecord, LogFact | None]]) -> Iterator[LogFact]:
    stored, fact = ahead.popleft()
    if stored.record.kind is RecordKind.SIGNALS:
        last_us, asking = stored.record.stamp_us + AHEAD_US, set[bytes]()
        for later, one in ahead:
            if later.record.stamp_us > last_us:
                break
            if isinstance(one, DecisionFact) and one.decision.channel:
                asking.add(one.decision.household)
        yield EventsFact(payload=stored.record.payload, stamp_us=stored.record.stamp_us, asking=frozenset(asking))
    elif stored.record.kind is RecordKind.DELIVERY:
        for note in codec.decode_delivery(stored.record.payload):
            if note.step is DeliveryStep.HANDED:
                yield HandedFact(action_id=note.action_id, channel=note.channel)
    elif fact is not None:
        yield fact


class _Reading:
    def __init__(self, plan: Plan | None, epoch: int) -> None:
        self._epoch, self._plan = epoch, plan

    def fact(self, stored: StoredRecord) -> LogFact | None:
        record = stored.record
        match record.kind:
            case RecordKind.EPOCH:
                if record.epoch <= self._epoch:
                    return None
                self._epoch = record.epoch
                opening = codec.decode_epoch(record.payload)
                return EpochFact(
                    epoch=record.epoch,
                    is_stream=opening.stream_clock,
                    partition=opening.partition,
                    partition_count=opening.partition_count,
                )
            case RecordKind.PLAN:
                if record.epoch < self._epoch:
                    return None
                self._plan = codec.decode_plan(record.payload)
                return PlanFact(plan=self._plan, stamp_us=record.stamp_us)
            case RecordKind.DECISION:
                if record.epoch < self._epoch:
                    return None
                decision = codec.decode_decision(record.payload).decision
                types = None if self._plan is None else contact_types_of(self._plan, decision)
                return DecisionFact(decision=decision, stamp_us=record.stamp_us, contact_types=types)
            case RecordKind.RELOCATION:
                if record.epoch < self._epoch or self._plan is None:
                    return None
                note = codec.decode_relocations(record.payload)
                return RelocationFact(note=note, plan=self._plan, stamp_us=record.stamp_us)
            case _:
                return None
