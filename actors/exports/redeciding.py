"""Decides once more what a partition's log says was decided, by the code that decides: is it the same to the last bit?

What models said is taken from the records: replayed is what was made of it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.exports.point_in_time import Start
from actors.exports.redrafting import Redrafted, Redrafting, as_of
from actors.log.contract import Offset, StoredRecord
from actors.records import codec
from household.contact_rules.share import CapacityShare
from household.decide import decide
from household.deciding.draft import Scores
from household.decision import Decision
from household.decision_bytes import encode_decision
from household.plan import Plan, ValueTerm
from household.scoring import schema_hash

TOLD_LENGTH_MAX = 160
"""Characters of a value that is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionDifference:
    """In what a decision comes out otherwise."""

    field: str
    logged: str
    made: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Redecided:
    """A decision of the log that was made once more."""

    offset: Offset
    decision: Decision
    """As it is recorded."""
    difference: DecisionDifference | None
    """None where it is the same to the last bit."""


def redecided(start: Start, records: Iterable[StoredRecord], *, share: CapacityShare) -> Iterator[Redecided]:
    """Yield each decision in force of a partition's log, made once more.

    Memory holds the state, and the records that are looked at ahead.

    Args:
        start: folded on.
        records: of the partition, in log order; those before the start are passed over.
        share: of what is scarce over all partitions.

    Raises:
        LogTooShort: the records begin behind the start.
        PayloadUnreadable, PlanUnreadable, and what reading the records raises.
    """
    drafting = Redrafting(start, share=share)
    for one in drafting.run(records):
        if isinstance(one, Redrafted):
            difference = _made_again(drafting, one)
            while difference is not None and drafting.fold_before():
                # It may have been written behind that one, and not with it.
                difference = _made_again(drafting, one)
            yield Redecided(offset=one.stored.offset, decision=one.decision, difference=difference)


def _made_again(drafting: Redrafting, one: Redrafted) -> DecisionDifference | None:
    """Return in what a decision differs, whichever of its drafts it was made of; None where it does not."""
    decision, record = one.decision, one.stored.record
    difference: DecisionDifference | None = None
    for draft in drafting.drafts(one):
        state = as_of(drafting.state, record.stamp_us)
        scores = scores_of(state.plan, decision)
        made = decide(state, draft, scores, epoch=record.epoch, schema_hash=schema_hash(state.plan))
        keys = {each.member: state.members.key(each.member) for each in made.moments if each.member >= 0}
        payload = encode_decision(made, member_keys=keys)
        found = None if payload == record.payload else _difference(one.read, payload)
        if found is None:
            return None
        difference = difference or found
    return difference


def scores_of(plan: Plan, decision: Decision) -> Scores:
    """Return what models said of a recorded decision's candidates, as a plan numbers them."""
    scored = [one.offer for one in decision.candidates if one.score is not None]
    by_offer = {one.offer: one.score for one in decision.candidates if one.score is not None}

    def numbered(said: "dict[str, float] | zip[tuple[str, float]]") -> dict[int, float]:
        pairs = said.items() if isinstance(said, dict) else said
        return {plan.offer_by_name[name]: score for name, score in pairs if name in plan.offer_by_name}

    def shadows(term: str) -> tuple[tuple[str, dict[int, float]], ...]:
        return tuple(
            (one.model_version, numbered(zip(scored, one.scores, strict=False)))
            for one in decision.shadows
            if one.term == term
        )

    terms = tuple(
        (
            ValueTerm(one.term),
            Scores(
                by_offer=numbered(zip(scored, one.scores, strict=False)),
                model_version=one.model_version,
                degraded=one.degraded,
                way=one.scored_by,
                why=one.why,
                shadows=shadows(one.term),
            ),
        )
        for one in decision.term_scores
    )
    return Scores(
        by_offer=numbered(by_offer),
        model_version=decision.model_version,
        degraded=decision.degraded,
        way=decision.scored_by,
        shadows=shadows(""),
        terms=terms,
    )


def _difference(read: codec.DecisionRecord, payload: bytes) -> DecisionDifference | None:
    """Return the first field in which a record and what was made differ; None where only their layouts do."""
    made = codec.decode_decision(payload)
    for one in fields(Decision):
        logged, ours = getattr(read.decision, one.name), getattr(made.decision, one.name)
        if isinstance(logged, np.ndarray):
            if logged.tobytes() != ours.tobytes():
                place = _first_place(logged, ours)
                return _told(
                    f"{one.name}[{place}]", logged[place : place + 1].tolist(), ours[place : place + 1].tolist()
                )
        elif logged != ours:
            return _first_within(one.name, logged, ours)
    if read.moment_members != made.moment_members:
        return _told("members of moments", read.moment_members, made.moment_members)
    return None


def _first_place(logged: NDArray[np.float32], ours: NDArray[np.float32]) -> int:
    length = min(len(logged), len(ours))
    bits, others = logged[:length].view(np.uint32), ours[:length].view(np.uint32)
    return int(np.argmax(bits != others)) if (bits != others).any() else length


def _first_within(name: str, logged: Any, ours: Any) -> DecisionDifference:
    """Return where two values differ first, as deep as that can be told."""
    if isinstance(logged, tuple) and isinstance(ours, tuple) and len(logged) == len(ours):
        place = next(at for at, (one, other) in enumerate(zip(logged, ours, strict=True)) if one != other)
        return _first_within(f"{name}[{place}]", logged[place], ours[place])
    if is_dataclass(logged) and type(logged) is type(ours):
        for one in fields(logged):
            mine, other = getattr(logged, one.name), getattr(ours, one.name)
            if mine != other:
                return _first_within(f"{name}.{one.name}", mine, other)
    return _told(name, logged, ours)


def _told(name: str, logged: object, made: object) -> DecisionDifference:
    return DecisionDifference(field=name, logged=_short(logged), made=_short(made))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= TOLD_LENGTH_MAX else text[:TOLD_LENGTH_MAX] + " …"
