"""What an offer is worth, one by one and in plain Python, to hold against what weighs many at once."""

from typing import Final, NamedTuple

from household.plan import Offer
from household.terms import Price, Terms, on_grain


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
