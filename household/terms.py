"""What an action is worth, term by term: amounts that add up to its value to the last bit.

    value = p · ΔV · context · lever · stay − cost − Σ λ · use, in minor units

Where an uplift is known, it stands in the place of p, and ΔV is all that what it adds brings.

Every amount is a whole multiple of 2⁻¹⁰ minor units and at most 2⁴⁰ of them. Sums of such amounts are exact in double
precision, in whatever order and by whatever program they are added.
"""

from collections.abc import Sequence
from math import copysign, isnan
from typing import Any, Final, NamedTuple

from household.plan import Offer

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


class ModelTerms(NamedTuple):
    """What models of other terms than acceptance say of a candidate; None each where none does."""

    uplift: float | None = None
    hazard: float | None = None
    """Of the household: that it leaves."""
    worth_minor: float | None = None
    """What an acceptance brings."""


NO_MODEL_TERMS: Final = ModelTerms()


def weigh(
    offer: Offer,
    score: float,
    *,
    cost_minor: int,
    shown: int = 0,
    prior_weight: float = 0.0,
    context: float = 1.0,
    prices: tuple[Price, ...] = (),
    told: ModelTerms = NO_MODEL_TERMS,
) -> Terms:
    """Return the terms of an offer's value.

    Args:
        offer: as the plan has it.
        score: P(accept) by the model, or the prior.
        cost_minor: of making the offer and of the channel, each whole.
        shown: how often it was shown.
        prior_weight: how many showings the prior is worth.
        context: factor of what is asked when and where.
        prices: of what it uses that is scarce, on the grain.
        told: by models of other terms.
    """
    probability = smoothed(score, offer.prior_acceptance, shown=shown, prior_weight=prior_weight)
    is_gross = offer.increment_minor is None
    if told is not NO_MODEL_TERMS:
        return _weighed_by_models(offer, probability, told, cost_minor, shown, context, prices)
    gain_minor = on_grain(probability * offer.brings_minor * context * offer.lever)
    return Terms(gain_minor, cost_minor, probability, shown, offer.brings_minor, is_gross, context, offer.lever, prices)


def _weighed_by_models(
    offer: Offer,
    probability: float,
    told: ModelTerms,
    cost_minor: int,
    shown: int,
    context: float,
    prices: tuple[Price, ...],
) -> Terms:
    uplift = told.uplift
    is_gross = uplift is None and offer.increment_minor is None
    # An uplift is net of what would have come anyway; an increment would take that off once more.
    brings_minor = offer.brings_minor if uplift is None else offer.margin_minor
    if told.worth_minor is not None and (is_gross or uplift is not None):
        brings_minor = round(on_grain(told.worth_minor))
    stay = 1.0
    if told.hazard is not None and not (offer.retains and uplift is not None):
        # What an uplift says of an offer that retains is what it keeps: the hazard is in it.
        stay = told.hazard if offer.retains else 1.0 - told.hazard
    chance = probability if uplift is None else uplift
    gain_minor = on_grain(chance * brings_minor * context * offer.lever * stay)
    return Terms(
        gain_minor,
        cost_minor,
        probability,
        shown,
        brings_minor,
        is_gross,
        context,
        offer.lever,
        prices,
        uplift,
        stay,
    )


def smoothed(score: float, prior: float, *, shown: int, prior_weight: float) -> float:
    """Return a score pulled toward the prior while there is little that it could know: (n₀·p₀ + n·p) / (n₀ + n).

    >>> smoothed(0.5, 0.1, shown=0, prior_weight=100), smoothed(0.5, 0.1, shown=300, prior_weight=100)
    (0.1, 0.4)
    >>> smoothed(0.5, 0.1, shown=0, prior_weight=0)
    0.5
    """
    if prior_weight <= 0.0 or score == prior:
        return score
    return (prior_weight * prior + shown * score) / (prior_weight + shown)


def on_grain(amount_minor: float) -> float:
    """Return the nearest amount that adds exactly, half to even; what is no number is nothing.

    >>> on_grain(0.1), on_grain(-2.5), on_grain(1e300), on_grain(float("nan"))
    (0.099609375, -2.5, 1099511627776.0, 0.0)
    """
    if not abs(amount_minor) <= AMOUNT_MOST_MINOR:
        return 0.0 if isnan(amount_minor) else copysign(AMOUNT_MOST_MINOR, amount_minor)
    return round(amount_minor / GRAIN_MINOR) * GRAIN_MINOR
