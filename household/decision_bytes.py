"""A decision as the bytes that are logged, answered from and kept while its slate stands: encoded once.

Reading a newer layout than this software knows raises; older ones stay readable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

import msgpack
import numpy as np

from household.deciding.weighed import Weighed
from household.decision import (
    Candidate,
    Decision,
    Ghost,
    Moment,
    RuleNote,
    ScarcePrice,
    ShadowScores,
    SlateAction,
    TermScores,
    Withdrawal,
)
from household.later import spoken
from household.plan import Layer
from household.tables.arms import AssignedBy, Assignment
from household.terms import terms_of

_rule_note_values = attrgetter("rule", "effect", "offer", "channel", "contacts", "passes_us")
_assignment_values = attrgetter("experiment", "layer", "arm", "share_bp", "salt", "version", "met_us", "reason")
_scarce_values = attrgetter("budget", "price_minor", "share", "left", "used")
_term_values = attrgetter("term", "model_version", "scores", "scored_by", "degraded", "why")
_ghost_values = attrgetter("offer", "journey", "channel", "time_us", "experiments")


class DecisionUnreadable(ValueError):
    """Bytes are not those of a decision; names what is wrong."""


def encode_decision(decision: Decision, *, member_keys: Mapping[int, bytes]) -> bytes:
    """Return a decision as bytes.

    Args:
        decision: as decided.
        member_keys: key of each member row that its moments name: rows are a partition's own, keys are for ever.
    """
    plain = spoken(decision)
    plain["moments"] = [
        [one.moment_id, one.journey, member_keys.get(one.member, b""), one.event_id, one.event_type, one.time_us]
        for one in decision.moments
    ]
    plain["slate"] = [
        [one.action_id, one.offer, one.journey, one.price_minor, one.valid_until_us, *([True] * one.is_personal)]
        for one in decision.slate
    ]
    if decision.withdrawals:
        plain["withdrawals"] = [[one.action_id, one.reason] for one in decision.withdrawals]
    if decision.rules:
        plain["rules"] = [list(_rule_note_values(one)) for one in decision.rules]
    if decision.arms:
        plain["arms"] = [list(_assignment_values(one)) for one in decision.arms]
    if decision.ghosts:
        plain["ghosts"] = [list(_ghost_values(one)) for one in decision.ghosts]
    if decision.shadows:
        plain["shadows"] = [
            [one.model_version, one.scores, *([one.term] if one.term else [])] for one in decision.shadows
        ]
    if decision.term_scores:
        plain["term_scores"] = [list(_term_values(one)) for one in decision.term_scores]
    if decision.scarce:
        plain["scarce"] = [list(_scarce_values(one)) for one in decision.scarce]
    plain["state_vector"] = decision.state_vector.astype(_F4, copy=False).tobytes()
    items, packer = tuple(plain.items()), msgpack.Packer()
    return b"".join(
        (
            packer.pack_map_header(len(items)),
            _packed_items(packer, dict(items[:_CANDIDATES_AT])),
            _CANDIDATES,
            packer.pack_array_header(len(decision.candidates)),
            *_packed(decision.candidates),
            _packed_items(packer, dict(items[_CANDIDATES_AT + 1 :])),
        )
    )


_F4 = np.dtype("<f4")

_CANDIDATES = msgpack.packb("candidates")
_CANDIDATES_AT = [one.name for one in fields(Decision)].index("candidates")
"""All fields before it stand in every record."""


def _packed_items(packer: msgpack.Packer, fields: dict[str, Any]) -> bytes:
    """Return a map as bytes, without what tells how many are in it."""
    return bytes(packer.pack(fields)[1 if len(fields) < _FEW else 3 :])


_FEW = 16
"""A map or a list of so many tells its length in more bytes."""


def _packed(candidates: Sequence[Candidate]) -> list[bytes]:
    if isinstance(candidates, Weighed):
        return candidates.packed()
    return [msgpack.packb(_written(one)) for one in candidates]


def _written(one: Candidate) -> list[Any]:
    head: list[Any] = [one.offer, one.score, one.value_minor, one.vetoes]
    return head if one.terms is None else [*head, one.terms.written]


def decode_decision(payload: bytes) -> tuple[Decision, tuple[bytes, ...]]:
    """Return a decision, whose moments' member rows are unset (−1), and the member key of each of its moments.

    Raises:
        DecisionUnreadable: these bytes are no decision's.
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
                    Candidate(
                        offer=o, score=s, value_minor=v, vetoes=tuple(x), terms=terms_of(*terms) if terms else None
                    )
                    for o, s, v, x, *terms in plain["candidates"]
                ),
                "slate": tuple(
                    SlateAction(
                        action_id=a, offer=o, journey=j, price_minor=p, valid_until_us=u, is_personal=bool(personal)
                    )
                    for a, o, j, p, u, *personal in plain["slate"]
                ),
                "withdrawals": tuple(Withdrawal(action_id=a, reason=r) for a, r in plain.get("withdrawals", ())),
                "fallback_channels": tuple(plain.get("fallback_channels", ())),
                "rules": tuple(map(_rule_note_of, plain.get("rules", ()))),
                "arms": tuple(map(_assignment_of, plain.get("arms", ()))),
                "ghosts": tuple(map(_ghost_of, plain.get("ghosts", ()))),
                "shadows": tuple(
                    ShadowScores(model_version=v, scores=tuple(scores), term="".join(term))
                    for v, scores, *term in plain.get("shadows", ())
                ),
                "term_scores": tuple(map(_term_scores_of, plain.get("term_scores", ()))),
                "scarce": tuple(map(_scarce_of, plain.get("scarce", ()))),
                "state_vector": np.frombuffer(plain["state_vector"], "<f4"),
            }
        )
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException) as wrong:
        raise DecisionUnreadable(str(wrong)) from wrong
    return decision, tuple(bytes(moment[2]) for moment in moments)


def _rule_note_of(values: Sequence[Any]) -> RuleNote:
    rule, effect, offer, channel, contacts, passes_us = values
    return RuleNote(
        rule=rule, effect=effect, offer=offer, channel=channel, contacts=tuple(contacts), passes_us=passes_us
    )


def _assignment_of(values: Sequence[Any]) -> Assignment:
    experiment, layer, arm, share_bp, salt, version, met_us, reason = values
    return Assignment(
        experiment=experiment,
        layer=Layer(layer),
        arm=arm,
        share_bp=share_bp,
        salt=salt,
        version=version,
        met_us=met_us,
        reason=AssignedBy(reason),
    )


def _term_scores_of(values: Sequence[Any]) -> TermScores:
    term, model_version, scores, scored_by, degraded, why = values
    return TermScores(
        term=term,
        model_version=model_version,
        scores=tuple(scores),
        scored_by=scored_by,
        degraded=degraded,
        why=why,
    )


def _scarce_of(values: Sequence[Any]) -> ScarcePrice:
    budget, price_minor, share, left, used = values
    return ScarcePrice(budget=budget, price_minor=price_minor, share=share, left=left, used=used)


def _ghost_of(values: Sequence[Any]) -> Ghost:
    offer, journey, channel, time_us, experiments = values
    return Ghost(offer=offer, journey=journey, channel=channel, time_us=time_us, experiments=tuple(experiments))
