"""What an action is worth, term by term: amounts that add up to its value to the last bit.

    value = p · ΔV · context · lever · stay − cost − Σ λ · use, in minor units

Where an uplift is known, it stands in the place of p, and ΔV is all that what it adds brings.

Every amount is a whole multiple of 2⁻¹⁰ minor units and at most 2⁴⁰ of them. Sums of such amounts are exact in double
precision, in whatever order and by whatever program they are added.
"""

from collections.abc import Sequence
from math import copysign, isnan
from typing import Any, Final, NamedTuple

GRAIN_MINOR: Final = 2.0**-10
"""What amounts are whole multiples of: finer than anybody pays, coarse enough to add exactly."""

AMOUNT_MOST_MINOR: Final = 2.0**40
"""Above household.money.MONEY_MINOR_MAX, so that only weights and prices ever reach it."""

# 2^13 amounts may be added before a sum needs more than the 53 bits of a double.
assert AMOUNT_MOST_MINOR / GRAIN_MINOR * 2**3 <= 2**53


class Price(NamedTuple):
    """What using something scarce costs an action."""

    of: str
    """The playbook's name of what is scarce."""
    minor: float
    """λ · use."""


class Terms(NamedTuple):
    """What made an action's value. Fields that say nothing stand last, and are not written."""

    gain_minor: float
    """p · ΔV · context · lever · stay, with the uplift for p where there is one; rounded to the grain, half to even."""
    cost_minor: int
    """Of making the offer and of the channel."""
    probability: float
    """p: the score, smoothed toward the offer's prior while it is young."""
    shown: int
    """n: how often it was shown before, in this playbook's lineage and this partition."""
    increment_minor: int
    """ΔV: what an acceptance brings that would not have come anyway; where `is_gross`, all that it brings."""
    is_gross: bool
    """No uplift of the offer is known."""
    context: float = 1.0
    lever: float = 1.0
    prices: tuple[Price, ...] = ()
    uplift: float | None = None
    """What making the offer adds to the probability of what it is made for; None where no model tells."""
    stay: float = 1.0
    """What churn leaves of the gain: 1 − h by the hazard h; of an offer that retains, h."""

    @property
    def value_minor(self) -> float:
        """The value, exactly."""
        value = self.gain_minor - self.cost_minor
        for price in self.prices:
            value -= price.minor
        return value

    @property
    def written(self) -> tuple[Any, ...]:
        """The fields as a record has them: without those at the end that say nothing."""
        if self.stay != 1.0 or self.uplift is not None:
            return self[: 11 if self.stay != 1.0 else 10]
        count = 9 if self.prices else 8 if self.lever != 1.0 else 7 if self.context != 1.0 else 6
        return self[:count]


def terms_of(written: Sequence[Any]) -> Terms:
    """Return the terms of what a record has of them."""
    return Terms(*written[:8], *(tuple(Price(*each) for each in one) for one in written[8:9]), *written[9:])


def on_grain(amount_minor: float) -> float:
    """Return the nearest amount that adds exactly, half to even; what is no number is nothing.

    >>> on_grain(0.1), on_grain(-2.5), on_grain(1e300), on_grain(float("nan"))
    (0.099609375, -2.5, 1099511627776.0, 0.0)
    """
    if not abs(amount_minor) <= AMOUNT_MOST_MINOR:
        return 0.0 if isnan(amount_minor) else copysign(AMOUNT_MOST_MINOR, amount_minor)
    return round(amount_minor / GRAIN_MINOR) * GRAIN_MINOR
