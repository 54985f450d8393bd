"""Bytes to values and back: deliveries, plans, epochs and what a reader wants of decisions, as they stand in records.

Reading a newer layout than this software knows raises; older ones stay readable. Signals are in `signals`,
what a record of each kind does in `kinds`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import msgpack
import numpy as np

from actors.records.payload import PayloadUnreadable
from household import decision_bytes
from household.decision import Decision
from household.delivery import DeliveryNote, DeliveryStep
from household.inventory_notes import InventoryNote, StockTold, WishAnswer, WishTold
from household.plan import Plan, plan_from_bytes
from household.relocation.notes import (
    Came,
    Done,
    Lies,
    Out,
    RelocationAnswer,
    RelocationNote,
    RelocationQuestion,
)
from household.scoring import NEVER
from household.state import FOLD_VERSION
from household.tables.holds import HoldStatus, Wish

SIGNALS_LAYOUT = 1
DECISION_LAYOUT = 2
PLAN_LAYOUT = 1
EPOCH_LAYOUT = 1
TICK_LAYOUT = 1
DELIVERY_LAYOUT = 1
INVENTORY_LAYOUT = 1
RELOCATION_LAYOUT = 1

NEVER_RECORDED = float(np.float32(NEVER))
"""What a record holds, at least, for a time since what never happened; a reading holds infinity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochOpening:
    """What an epoch record holds: who owns the partition from here on, and by which clock it folds."""

    owner: str
    stream_clock: bool
    fold_version: int
    partition: int = 0
    """Which of how many: what is born in it follows from that."""
    partition_count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """A decision as read from a log, with the member keys of its moments (their rows are the reader's own)."""

    decision: Decision
    moment_members: tuple[bytes, ...]


def decode_decision(payload: bytes) -> DecisionRecord:
    """Return the decision of a record; its moments' member rows are unset (−1).

    Raises:
        PayloadUnreadable: not a decision record.
    """
    try:
        decision, moment_members = decision_bytes.decode_decision(payload)
    except decision_bytes.DecisionUnreadable as wrong:
        raise PayloadUnreadable(f"decision record: {wrong}") from wrong
    return DecisionRecord(decision=decision, moment_members=moment_members)


def encode_delivery(notes: Sequence[DeliveryNote]) -> bytes:
    """Return a delivery record's payload."""
    return bytes(msgpack.packb([[one.action_id, one.step.value, one.channel, one.reason] for one in notes]))


def decode_delivery(payload: bytes) -> tuple[DeliveryNote, ...]:
    """Return the notes of a delivery record.

    Raises:
        PayloadUnreadable: not a delivery record.
    """
    try:
        return tuple(
            DeliveryNote(action_id=action_id, step=DeliveryStep(step), channel=channel, reason=reason)
            for action_id, step, channel, reason in msgpack.unpackb(payload)
        )
    except (ValueError, TypeError, msgpack.UnpackException) as wrong:
        raise PayloadUnreadable(f"delivery record: {wrong}") from wrong


def encode_inventory(note: InventoryNote) -> bytes:
    """Return an inventory record's payload; also what travels between partitions."""
    return bytes(
        msgpack.packb(
            [
                [[one.claim_id, one.item, one.wish.value, one.until_us] for one in note.asked],
                [[one.claim_id, one.wish.value, one.status.value, one.held_until_us] for one in note.answered],
                [[one.item, one.free, one.version] for one in note.stock],
            ]
        )
    )


def decode_inventory(payload: bytes) -> InventoryNote:
    """Return the note of an inventory record.

    Raises:
        PayloadUnreadable: not an inventory record.
    """
    try:
        asked, answered, stock = msgpack.unpackb(payload)
        return InventoryNote(
            asked=tuple(
                WishTold(claim_id=claim_id, item=item, wish=Wish(wish), until_us=until_us)
                for claim_id, item, wish, until_us in asked
            ),
            answered=tuple(
                WishAnswer(claim_id=claim_id, wish=Wish(wish), status=HoldStatus(status), held_until_us=held_until_us)
                for claim_id, wish, status, held_until_us in answered
            ),
            stock=tuple(StockTold(item=item, free=free, version=version) for item, free, version in stock),
        )
    except (ValueError, TypeError, msgpack.UnpackException) as wrong:
        raise PayloadUnreadable(f"inventory record: {wrong}") from wrong


def encode_relocations(note: RelocationNote) -> bytes:
    """Return a relocation record's payload; also what travels between partitions."""
    return bytes(
        msgpack.packb(
            [
                [[one.source, one.number, one.data] for one in note.came],
                list(note.events),
                [[one.target, [[_key(name), _key(root)] for name, root in one.named]] for one in note.outs],
                [[one.target, one.number] for one in note.done],
                list(note.told),
            ]
        )
    )


def decode_relocations(payload: bytes) -> RelocationNote:
    """Return the note of a relocation record.

    Raises:
        PayloadUnreadable: not a relocation record.
    """
    try:
        came, events, outs, done, told = msgpack.unpackb(payload)
        return RelocationNote(
            came=tuple(Came(source=source, number=number, data=data) for source, number, data in came),
            events=tuple(events),
            outs=tuple(
                Out(target=target, named=tuple((_name(name), _name(root)) for name, root in named))
                for target, named in outs
            ),
            done=tuple(Done(target=target, number=number) for target, number in done),
            told=tuple(told),
        )
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as wrong:
        raise PayloadUnreadable(f"relocation record: {wrong}") from wrong


def encode_relocation_question(question: RelocationQuestion) -> bytes:
    """Return what one partition asks another, as it travels."""
    return bytes(msgpack.packb([[_key(name) for name in question.names], encode_relocations(question.note)]))


def decode_relocation_question(payload: bytes) -> RelocationQuestion:
    """Return what another partition asks; raises PayloadUnreadable."""
    try:
        names, note = msgpack.unpackb(payload)
        return RelocationQuestion(names=tuple(map(_name, names)), note=decode_relocations(note))
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as wrong:
        raise PayloadUnreadable(f"relocation question: {wrong}") from wrong


def encode_relocation_answer(answer: RelocationAnswer) -> bytes:
    """Return what is answered, as it travels."""
    lies = [[one.partition, _key(one.root)] for one in answer.lies]
    return bytes(msgpack.packb([lies, list(answer.came), list(answer.events)]))


def decode_relocation_answer(payload: bytes) -> RelocationAnswer:
    """Return what another partition answers; raises PayloadUnreadable."""
    try:
        lies, came, events = msgpack.unpackb(payload)
        return RelocationAnswer(
            lies=tuple(Lies(partition=partition, root=_name(root)) for partition, root in lies),
            came=tuple(came),
            events=tuple(events),
        )
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as wrong:
        raise PayloadUnreadable(f"relocation answer: {wrong}") from wrong


def _key(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def _name(key: bytes) -> str:
    return key.decode(errors="surrogateescape")


def encode_plan(plan: Plan) -> bytes:
    """Return a plan record's payload: the plan's canonical bytes, whole."""
    return plan.canonical_bytes


def decode_plan(payload: bytes) -> Plan:
    """Return the plan of a record; raises PlanUnreadable."""
    return plan_from_bytes(payload)


def encode_epoch(opening: EpochOpening) -> bytes:
    """Return an epoch record's payload."""
    return bytes(msgpack.packb(asdict(opening)))


def decode_epoch(payload: bytes) -> EpochOpening:
    """Return the epoch opening of a record.

    Raises:
        PayloadUnreadable: not an epoch record, or written by a newer fold.
    """
    try:
        opening = EpochOpening(**msgpack.unpackb(payload))
    except (ValueError, TypeError, msgpack.UnpackException) as wrong:
        raise PayloadUnreadable(f"epoch record: {wrong}") from wrong
    if opening.fold_version > FOLD_VERSION:
        raise PayloadUnreadable(f"written by fold version {opening.fold_version}, this software is at {FOLD_VERSION}")
    return opening
