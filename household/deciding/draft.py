"""What a decision is made of on its way: who asks, the candidates with what speaks against them, and their scores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from household.deciding.reasons import Reason
from household.deciding.sending import Outlet, outlet_of
from household.decision import Moment, Withdrawal
from household.plan import NONE, Plan
from household.tables.slates import Slate


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Who asks for a decision, and why."""

    household: bytes
    member: bytes
    channel: int
    """The channel that asks; NONE when moments alone call for a decision."""
    request_id: str
    is_contact: bool
    """Whether the asking itself is a contact: no signals came with it, or one of a contact type."""
    contact_types: frozenset[int]
    """Event types of the signals that came with it."""
    request_hash: bytes = b""
    """Of the request's body; empty where none was told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Candidates of a decision, before scores."""

    ask: Ask
    household: int
    member: int
    now_us: int
    moments: tuple[Moment, ...]
    standing: Slate | None
    """A slate that stands and answers this ask; then nothing is weighed."""
    withdrawals: tuple[Withdrawal, ...]
    """What of the slate that stood no longer holds."""
    journey_by_offer: dict[int, str]
    """Candidate offer → journey whose moment brought it up, or empty."""
    contact_journeys: tuple[str, ...]
    """Journeys that the contact itself started."""
    has_consent: bool
    """Whether the asking channel may be answered on."""
    vetoes: dict[int, tuple[Reason, ...]]
    prices_minor: dict[int, int]
    personal: frozenset[int]
    """Candidate offers that are the member's own: of their own moment, or hanging on what is known of them."""
    outlets: tuple[Outlet, ...]
    """How it may be sent unasked, best first."""
    reasons: tuple[str, ...]
    readings: NDArray[np.float64]
    local_minute_of_week: int

    @property
    def to_score(self) -> tuple[int, ...]:
        """Candidate offers that nothing speaks against."""
        return tuple(offer for offer in self.journey_by_offer if not self.vetoes[offer])


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """P(accept) of the offers to score, and where it came from."""

    by_offer: dict[int, float]
    model_version: str
    degraded: bool
    way: str = ""
    """A value of household.scoring.Outlet; empty when there was nothing to score."""


def context_channel(plan: Plan, draft: Draft, offer: int) -> int:
    """Return the channel whose cost and habits a candidate is weighed by: the one that asks, or its own outlet."""
    if draft.ask.channel != NONE:
        return draft.ask.channel
    outlet = outlet_of(draft.outlets, plan.offers[offer])
    return NONE if outlet is None else outlet.channel
