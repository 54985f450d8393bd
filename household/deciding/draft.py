"""What a decision is made of on its way: who asks, the candidates with what speaks against them, and their scores."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from household.deciding.candidate_columns import CandidateColumns, Vetoed
from household.deciding.passages import Passage
from household.deciding.sending import Outlet, outlet_of
from household.decision import Moment, RuleNote, Withdrawal
from household.plan import NONE, Plan, ValueTerm
from household.tables.slates import Slate


@dataclass(slots=True, kw_only=True)
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


@dataclass(slots=True, kw_only=True)
class Draft:
    """Candidates of a decision, before scores."""

    ask: Ask
    household: int
    member: int
    birth_id: bytes
    """By which the household is drawn into what is tried on some: the same whichever of its keys is asked by."""
    now_us: int
    moments: tuple[Moment, ...]
    standing: Slate | None
    """A slate that stands and answers this ask; then nothing is weighed."""
    withdrawals: tuple[Withdrawal, ...]
    """What of the slate that stood no longer holds."""
    columns: CandidateColumns
    """The candidates, as they are laid out."""
    journey_by_offer: dict[int, str]
    """Candidate offer → journey whose moment brought it up, or empty. Shared by all that has these candidates."""
    stale: frozenset[int]
    """Candidate offers for which it is too late."""
    freshness: dict[str, float]
    """Journey → what is left of the value of what its moment brings up; those of which all is left are not in it."""
    has_consent: bool
    """Whether the asking channel may be answered on."""
    not_to_answer: dict[str, tuple[str, ...]]
    """Actions of the standing slate, by id, with what keeps each from being the answer."""
    vetoed: Vetoed
    """What speaks against each candidate."""
    prices_minor: list[int]
    """Of each candidate, in their order."""
    personal: frozenset[int]
    """Candidate offers that are the member's own: of their own moment, or hanging on what is known of them."""
    outlets: tuple[Outlet, ...]
    """How it may be sent unasked, best first."""
    passages: dict[int, Passage]
    """Candidate offer → how it may be sent under the rules of the contact policy; empty where all go by the outlets."""
    notes: tuple[RuleNote, ...]
    """What rules spoke against, of candidates and of answers."""
    reasons: tuple[str, ...]
    readings: NDArray[np.float64]
    events_seen: int
    """Events of the partition that were folded when the readings were taken."""
    local_minute_of_week: int

    def price_minor(self, offer: int) -> int:
        """Return the price of a candidate offer."""
        return self.prices_minor[self.columns.place_of[offer]]

    @property
    def vetoes(self) -> Mapping[int, tuple[str, ...]]:
        """Candidate offer → what speaks against it."""
        return self.vetoed.vetoes

    @property
    def to_score(self) -> tuple[int, ...]:
        """Candidate offers that nothing speaks against."""
        return self.vetoed.to_score


@dataclass(slots=True, kw_only=True)
class Scores:
    """P(accept) of the offers to score, or another term of their values, and where it came from."""

    by_offer: dict[int, float]
    model_version: str
    degraded: bool
    way: str = ""
    """A value of household.scoring.Way; empty when there was nothing to score."""
    shadows: tuple[tuple[str, dict[int, float]], ...] = ()
    """Of each version in shadow, its scores of the same offers."""
    why: str = ""
    """Where no model that is in force could be used: why not, for people."""
    terms: "tuple[tuple[ValueTerm, Scores], ...]" = ()
    """What models of other terms say of the same offers. One without scores says nothing: the playbook counts."""

    @property
    def is_degraded(self) -> bool:
        """Whether any term is scored worse than it should be."""
        return self.degraded or any(one.degraded for _, one in self.terms)


def context_channel(plan: Plan, draft: Draft, offer: int) -> int:
    """Return the channel whose cost and habits a candidate is weighed by: the one that asks, or its own outlet."""
    if draft.ask.channel != NONE:
        return draft.ask.channel
    outlet = outlet_for(plan, draft, offer)
    return NONE if outlet is None else outlet.channel


def outlet_for(plan: Plan, draft: Draft, offer: int) -> Outlet | None:
    """Return the outlet by which a candidate would go out; None if there is none for it."""
    return draft.passages[offer].outlet if offer in draft.passages else outlet_of(draft.outlets, plan.offers[offer])
