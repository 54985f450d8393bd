"""What is assumed of people. Nothing of it says what an arm brings: that comes out.

docs/town.md says where each comes from. No published uplift, conversion or churn figure is among these.
"""

from dataclasses import dataclass
from enum import IntEnum


class Need(IntEnum):
    """What a member may come to want, for a while."""

    TOP_UP = 0
    """Runs out of balance or data."""
    TRAVEL = 1
    LINE = 2
    """Somebody else at home wants a line."""
    WATCH = 3
    PLAY = 4
    HOME = 5
    """A home that is connected, or connected better."""
    PAY = 6
    """Would pay with the phone."""
    HELP = 7
    """Something went wrong: wants it set right, and not to be sold anything."""


DAYS_TO_HALF = (1.0, 3.0, 7.0, 2.0, 4.0, 10.0, 4.0, 5.0)
"""In how many days each need is half as strong, in the order of Need; times `Assumptions.half_life`."""

PER_30_DAYS = (0.8, 0.10, 0.04, 0.20, 0.15, 0.06, 0.15, 0.05)
"""How often each need arises, per member who can have it; times `Assumptions.need_rate`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """All that is assumed beyond the town's habits. Log-odds are of accepting what one is shown."""

    half_life: float = 1.0
    """Factor on `DAYS_TO_HALF`."""
    need_rate: float = 1.0
    """Factor on `PER_30_DAYS`."""
    strength: float = 3.0
    """Log-odds that a fresh need adds to what meets it; falls with its half-life."""
    shows: float = 0.7
    """Share of needs that leave signals: checks, visits, calls. The others nobody can see."""
    alone: float = 0.3
    """Chance, as a hazard summed over the life of a need, that it is met by buying from us unasked."""
    elsewhere: float = 0.3
    """The same of going to a competitor for it."""
    base: float = -3.5
    """Log-odds of taking something that costs nothing, is neither liked nor needed, at a bad hour."""
    remembers_days: float = 14.0
    """Asked again within these, a member answers the same question the same, unless her needs have changed."""
    tolerance: float = 3.0
    """Contacts lately that are borne without weariness; each counts half after `weary_days`."""
    weary_days: float = 7.0
    weary: float = 0.5
    """Log-odds lost per contact beyond; and the hazard of leaving grows by a factor e for every five of them."""
    opts_out: float = 0.01
    """Chance per contact, for each beyond, of wanting no more of it."""
    leaves_30d: float = 0.01
    """Hazard of a household's leaving in 30 days, with one product and nothing wrong."""
    grief: float = 0.8
    """Logarithm of the factor on that hazard for a fresh grievance; half after `DAYS_TO_HALF[HELP]`."""
    holds: float = 0.15
    """Logarithm of the factor by which each product family beyond the first lessens it."""
    foothold: float = 0.3
    """Logarithm of the factor for each need that a competitor has met."""
    margin: float = 0.4
    """Part of what is paid that is left after what it costs to provide; of each euro, whoever brought it about."""
    reward_minor: float = 100.0
    """What an accepted reward costs."""
    ask_share: float = 0.15
    """Share of visits on which a channel has room for something of ours, and asks."""
    batch_days: float = 30.0
    """How often the batch arm chooses and sends."""
