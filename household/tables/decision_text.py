"""A decision as text, while its slate stands: what a table keeps of it, in some 1 KB instead of some fifty objects."""

import json
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from household.decision import Candidate, Decision, Moment, RuleNote, SlateAction, Withdrawal

LAYOUT = 1
"""First in each text; grows when the same place means something else. What is added stands behind the rest."""

_PLAIN = (
    *("decision_id", "request_id", "channel", "decided_us", "plan_version", "model_version", "schema_hash", "degraded"),
    *("withheld", "propensity", "reasons", "stands", "answered", "send_channel", "send_before_us"),
    *("local_minute_of_week", "send_not_before_us", "fallback_channels", "scored_by"),
)
_plain_values = attrgetter(*_PLAIN)
_action_values = attrgetter("action_id", "offer", "journey", "price_minor", "valid_until_us", "is_personal")
_candidate_values = attrgetter("offer", "score", "value_minor", "vetoes")

rule_note_values = attrgetter("rule", "effect", "offer", "channel", "contacts", "passes_us")
"""What `rule_note_of` reads."""

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_BYTES = "latin-1"
"""One character per byte."""


def decision_text(decision: Decision) -> bytes:
    """Return a decision as text."""
    plain = (
        LAYOUT,
        _plain_values(decision),
        decision.household.decode(_BYTES),
        decision.member.decode(_BYTES),
        [
            (one.moment_id, one.journey, one.member, one.event_id.decode(_BYTES), one.event_type, one.time_us)
            for one in decision.moments
        ],
        list(map(_candidate_values, decision.candidates)),
        list(map(_action_values, decision.slate)),
        decision.state_vector.astype("<f4").tobytes().hex(),
        decision.request_hash.hex(),
        [(one.action_id, one.reason) for one in decision.withdrawals],
        *([list(map(rule_note_values, decision.rules))] if decision.rules else []),
    )
    return _encode(plain).encode("utf-8", "surrogatepass")


def rule_note_of(values: Sequence[Any]) -> RuleNote:
    """Return the note of these values.

    Raises:
        ValueError, TypeError: they are none of a note.
    """
    rule, effect, offer, channel, contacts, passes_us = values
    return RuleNote(
        rule=rule, effect=effect, offer=offer, channel=channel, contacts=tuple(contacts), passes_us=passes_us
    )


def decision_of(text: bytes) -> Decision:
    """Return the decision of a text.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it is none of a decision.
    """
    read = json.loads(text)
    layout, plain, household, member, moments, candidates, slate, vector, request_hash, withdrawals, *added = read
    if layout != LAYOUT:
        raise ValueError(f"a decision of layout {layout}, this software reads {LAYOUT}")
    named = dict(zip(_PLAIN, plain, strict=True))
    named["reasons"], named["fallback_channels"] = tuple(named["reasons"]), tuple(named["fallback_channels"])
    return Decision(
        household=household.encode(_BYTES),
        member=member.encode(_BYTES),
        moments=tuple(
            Moment(moment_id=m, journey=j, member=row, event_id=e.encode(_BYTES), event_type=k, time_us=t)
            for m, j, row, e, k, t in moments
        ),
        candidates=tuple(Candidate(offer=o, score=s, value_minor=v, vetoes=tuple(x)) for o, s, v, x in candidates),
        slate=tuple(
            SlateAction(action_id=a, offer=o, journey=j, price_minor=p, valid_until_us=u, is_personal=personal)
            for a, o, j, p, u, personal in slate
        ),
        state_vector=np.frombuffer(bytes.fromhex(vector), "<f4"),
        request_hash=bytes.fromhex(request_hash),
        withdrawals=tuple(Withdrawal(action_id=a, reason=r) for a, r in withdrawals),
        rules=tuple(map(rule_note_of, added[0])) if added else (),
        **named,
    )
