"""The section `offers`: what may be said, to whom, at which price and in which words on each channel."""

from dataclasses import dataclass

from household.later import later
from household.plan.references import NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """How an offer looks on one channel."""

    name: str
    channel: int
    text: str
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentPrice:
    """Price for those in a segment; the first that holds applies."""

    segment: int
    price_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One thing worth doing: offer, message, badge, reward or escalation."""

    name: str
    kind: str
    family: str
    price_minor: int = 0
    segment_prices: tuple[SegmentPrice, ...] = ()
    margin_minor: int = 0
    """What we earn when it is accepted, before contact cost."""
    cost_minor: int = 0
    """What making the offer costs whether or not it is accepted, besides the channel's cost."""
    lever: float = 1.0
    """Business weight on the value; 1 is neutral."""
    prior_acceptance: float = 0.0
    """P(accept) while no model is in force."""
    eligible: int = NONE
    """Program; NONE is always eligible."""
    excludes: tuple[int, ...] = ()
    """Offers that may not be live or accepted beside it."""
    standing: bool = False
    """Whether a contact alone (no moment) may bring it up."""
    valid_us: int = 86_400_000_000
    treatments: tuple[Treatment, ...] = ()
    contact_class: str = later("")
    """A ContactClass; empty for its journey's, or else for that of its kind."""
    purpose: str = later("")
    """Empty for its journey's, or else for that of its class."""
    tags: tuple[str, ...] = later(())
    increment_minor: int | None = later(None)
    """What an acceptance brings that would not have come anyway; None where no uplift is known: the margin counts."""
    item: int = later(NONE)
    """Of the inventory: what an acceptance uses a unit of."""
    retains: bool = later(False)
    """What an acceptance brings is a household kept that would have left, so churn makes it worth more, not less."""

    @property
    def brings_minor(self) -> int:
        """What an acceptance counts for: the increment where it is known, else the margin."""
        return self.margin_minor if self.increment_minor is None else self.increment_minor
