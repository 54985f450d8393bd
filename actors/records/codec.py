"""Bytes to values and back: decisions, deliveries, plans and epochs as they stand in records.

Reading a newer layout than this software knows raises; older ones stay readable. Signals are in `signals`,
what a record of each kind does in `kinds`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgpack
import numpy as np

from actors.records.payload import PayloadUnreadable
from household.decision import Candidate, Decision, Moment, SlateAction, Withdrawal
from household.delivery import DeliveryNote, DeliveryStep
from household.later import spoken
from household.plan import Plan, plan_from_bytes
from household.scoring import NEVER
from household.state import FOLD_VERSION
from household.tables.decision_text import rule_note_of, rule_note_values

SIGNALS_LAYOUT = 1
DECISION_LAYOUT = 2
PLAN_LAYOUT = 1
EPOCH_LAYOUT = 1
TICK_LAYOUT = 1
DELIVERY_LAYOUT = 1

NEVER_RECORDED = float(np.float32(NEVER))
"""What a record holds, at least, for a time since what never happened; a reading holds infinity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochOpening:
    """What an epoch record holds: who owns the partition from here on, and by which clock it folds."""

    owner: str
    stream_clock: bool
    fold_version: int


def encode_decision(decision: Decision, *, member_keys: dict[int, bytes]) -> bytes:
    """Return a decision's record payload.

    Args:
        decision: as decided.
        member_keys: key of each member row that its moments name: rows are a partition's own, keys are for ever.
    """
    plain = spoken(decision)
    plain["moments"] = [
        [one.moment_id, one.journey, member_keys.get(one.member, b""), one.event_id, one.event_type, one.time_us]
        for one in decision.moments
    ]
    plain["candidates"] = [[one.offer, one.score, one.value_minor, one.vetoes] for one in decision.candidates]
    plain["slate"] = [
        [one.action_id, one.offer, one.journey, one.price_minor, one.valid_until_us, *([True] * one.is_personal)]
        for one in decision.slate
    ]
    if decision.withdrawals:
        plain["withdrawals"] = [[one.action_id, one.reason] for one in decision.withdrawals]
    if decision.rules:
        plain["rules"] = [list(rule_note_values(one)) for one in decision.rules]
    plain["state_vector"] = decision.state_vector.astype("<f4").tobytes()
    return bytes(msgpack.packb(plain))


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
        plain = msgpack.unpackb(payload)
        moments = plain.pop("moments")
        decision = Decision(
            **plain
            | {
                "moments": tuple(
                    Moment(moment_id=m, journey=j, member=-1, event_id=e, event_type=k, time_us=t)
                    for m, j, _, e, k, t in moments
                ),
                "reasons": tuple(plain["reasons"]),
                "candidates": tuple(
                    Candidate(offer=o, score=s, value_minor=v, vetoes=tuple(x)) for o, s, v, x in plain["candidates"]
                ),
                "slate": tuple(
                    SlateAction(
                        action_id=a, offer=o, journey=j, price_minor=p, valid_until_us=u, is_personal=bool(personal)
                    )
                    for a, o, j, p, u, *personal in plain["slate"]
                ),
                "withdrawals": tuple(Withdrawal(action_id=a, reason=r) for a, r in plain.get("withdrawals", ())),
                "fallback_channels": tuple(plain.get("fallback_channels", ())),
                "rules": tuple(map(rule_note_of, plain.get("rules", ()))),
                "state_vector": np.frombuffer(plain["state_vector"], "<f4"),
            }
        )
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException) as wrong:
        raise PayloadUnreadable(f"decision record: {wrong}") from wrong
    return DecisionRecord(decision=decision, moment_members=tuple(bytes(moment[2]) for moment in moments))


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


def encode_plan(plan: Plan) -> bytes:
    """Return a plan record's payload: the plan's canonical bytes, whole."""
    return plan.canonical_bytes


def decode_plan(payload: bytes) -> Plan:
    """Return the plan of a record; raises PlanUnreadable."""
    return plan_from_bytes(payload)


def encode_epoch(opening: EpochOpening) -> bytes:
    """Return an epoch record's payload."""
    return bytes(
        msgpack.packb(
            {"owner": opening.owner, "stream_clock": opening.stream_clock, "fold_version": opening.fold_version}
        )
    )


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
