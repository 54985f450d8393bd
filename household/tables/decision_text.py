"""A decision as text: how the first snapshots of format 2 held those whose slates stood. Kept for reading only."""

import json

import numpy as np

from household.decision import Candidate, Decision, Moment, SlateAction, Withdrawal

LAYOUT = 1
"""First in each text."""

_PLAIN = (
    *("decision_id", "request_id", "channel", "decided_us", "plan_version", "model_version", "schema_hash", "degraded"),
    *("withheld", "propensity", "reasons", "stands", "answered", "send_channel", "send_before_us"),
    *("local_minute_of_week", "send_not_before_us", "fallback_channels", "scored_by"),
)
_BYTES = "latin-1"
"""One character per byte."""


def is_text(payload: bytes) -> bool:
    """Return whether these are a decision's bytes as text, and not as a record has them."""
    return payload.startswith(b"[")


def decision_of_text(text: bytes) -> Decision:
    """Return the decision of a text.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it is none of a decision.
    """
    layout, plain, household, member, moments, candidates, slate, vector, request_hash, withdrawals = json.loads(text)
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
        **named,
    )
