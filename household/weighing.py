"""The terms of many offers' values at once, as columns: what household/terms.py tells of each, in one call.

value = p · ΔV · context · lever · stay − cost − Σ λ · use, in minor units
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from household.kernel import inlined, kernel
from household.plan import Offer
from household.terms import AMOUNT_MOST_MINOR, GRAIN_MINOR, Price, Terms

VALUE: Final = 0
"""Before prices, as it is weighed."""
GAIN: Final = 1
PROBABILITY: Final = 2
CONTEXT: Final = 3
LEVER: Final = 4
UPLIFT: Final = 5
STAY: Final = 6
AMOUNT_COLUMNS: Final = 7

COST: Final = 0
SHOWN: Final = 1
BRINGS: Final = 2
IS_GROSS: Final = 3
HAS_UPLIFT: Final = 4
COUNT_COLUMNS: Final = 5

TOLD_UPLIFT: Final = 0
TOLD_HAZARD: Final = 1
TOLD_WORTH: Final = 2
TOLD_COLUMNS: Final = 3
"""Of what models of other terms than acceptance tell: an uplift; that the household leaves; what an acceptance brings,
in minor units."""


class OfferWorths(NamedTuple):
    """What the values of offers hang on, as columns (offers,)."""

    priors: NDArray[np.float64]
    brings: NDArray[np.int64]
    """Minor units: of the increment where it is known, else of the margin."""
    margins: NDArray[np.int64]
    is_net: NDArray[np.uint8]
    """Whether an increment is known."""
    levers: NDArray[np.float64]
    retains: NDArray[np.uint8]


def worths_of(offers: Sequence[Offer]) -> OfferWorths:
    """Return what the values of offers hang on."""
    return OfferWorths(
        priors=np.array([one.prior_acceptance for one in offers], np.float64),
        brings=np.array([one.brings_minor for one in offers], np.int64),
        margins=np.array([one.margin_minor for one in offers], np.int64),
        is_net=np.array([one.increment_minor is not None for one in offers], np.uint8),
        levers=np.array([one.lever for one in offers], np.float64),
        retains=np.array([one.retains for one in offers], np.uint8),
    )


@dataclass(slots=True, eq=False)
class WeighedTerms:
    """The terms of some offers. Changed by nobody but who takes prices off their values."""

    amounts: NDArray[np.float64]
    """(n, AMOUNT_COLUMNS)"""
    counts: NDArray[np.int64]
    """(n, COUNT_COLUMNS)"""

    def at(self, place: int, prices: tuple[Price, ...] = ()) -> Terms:
        """Return those of one, with the prices of what it uses that is scarce."""
        _, gain, probability, context, lever, uplift, stay = self.amounts[place].tolist()
        cost, shown, brings, is_gross, has_uplift = self.counts[place].tolist()
        told = uplift if has_uplift else None
        return Terms(gain, cost, probability, shown, brings, bool(is_gross), context, lever, prices, told, stay)


NO_COUNTS = np.empty(0, np.int64)
NO_FLOATS = np.empty(0)
NOTHING_TOLD = np.empty((0, TOLD_COLUMNS))
NONE_IS_TOLD = np.empty((0, TOLD_COLUMNS), np.uint8)


def weigh_all(
    worths: OfferWorths,
    places: NDArray[np.int64],
    scores: NDArray[np.float64],
    *,
    costs_minor: NDArray[np.int64],
    shown: NDArray[np.int64] = NO_COUNTS,
    prior_weight: float = 0.0,
    contexts: NDArray[np.float64] = NO_FLOATS,
    told: NDArray[np.float64] = NOTHING_TOLD,
    is_told: NDArray[np.uint8] = NONE_IS_TOLD,
) -> WeighedTerms:
    """Return the terms of some offers' values.

    Args:
        worths: of all offers.
        places: (n,) which of them are weighed.
        scores: (n,) P(accept) by the model, or the prior.
        costs_minor: (n,) of making the offer and of the channel.
        shown: (n,) how often each was shown; empty for never.
        prior_weight: how many showings the prior is worth.
        contexts: (n,) factor of what is asked when and where; empty for 1.
        told: (n, TOLD_COLUMNS) by models of other terms; empty where there are none.
        is_told: (n, TOLD_COLUMNS) whether such a model tells anything.
    """
    count = places.shape[0]
    amounts, counts = np.empty((count, AMOUNT_COLUMNS)), np.empty((count, COUNT_COLUMNS), np.int64)
    _weigh_all(
        *worths, places, scores, costs_minor, shown, float(prior_weight), contexts, told, is_told, amounts, counts
    )
    return WeighedTerms(amounts, counts)


@inlined
def _on_grain(amount_minor: float) -> Any:
    """As household.terms.on_grain."""
    if not abs(amount_minor) <= AMOUNT_MOST_MINOR:
        return 0.0 if np.isnan(amount_minor) else np.copysign(AMOUNT_MOST_MINOR, amount_minor)
    return np.rint(amount_minor / GRAIN_MINOR) * GRAIN_MINOR + 0.0  # and never −0


@kernel
def _weigh_all(
    priors: NDArray[np.float64],
    brings: NDArray[np.int64],
    margins: NDArray[np.int64],
    is_net: NDArray[np.uint8],
    levers: NDArray[np.float64],
    retains: NDArray[np.uint8],
    places: NDArray[np.int64],
    scores: NDArray[np.float64],
    costs_minor: NDArray[np.int64],
    shown: NDArray[np.int64],
    prior_weight: float,
    contexts: NDArray[np.float64],
    told: NDArray[np.float64],
    is_told: NDArray[np.uint8],
    amounts: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None:
    """Fill amounts and counts."""
    for i in range(places.shape[0]):
        at, score = places[i], scores[i]
        times = shown[i] if shown.shape[0] > 0 else np.int64(0)
        context = contexts[i] if contexts.shape[0] > 0 else 1.0
        # The score, pulled toward the prior while there is little that it could know.
        probability = score
        if prior_weight > 0.0 and score != priors[at]:
            probability = (prior_weight * priors[at] + times * score) / (prior_weight + times)
        chance, uplift, stay, has_uplift = probability, np.nan, 1.0, False
        worth, is_gross = brings[at], is_net[at] == 0
        if told.shape[0] > 0:
            has_uplift = is_told[i, TOLD_UPLIFT] == 1
            if has_uplift:
                # It is net of what would have come anyway; an increment would take that off once more.
                chance = uplift = told[i, TOLD_UPLIFT]
                worth, is_gross = margins[at], False
            if is_told[i, TOLD_WORTH] == 1 and (is_gross or has_uplift):
                worth = np.int64(np.rint(_on_grain(told[i, TOLD_WORTH])))
            if is_told[i, TOLD_HAZARD] == 1 and not (retains[at] == 1 and has_uplift):
                # What an uplift says of an offer that retains is what it keeps: the hazard is in it.
                hazard = told[i, TOLD_HAZARD]
                stay = hazard if retains[at] == 1 else 1.0 - hazard
        gain = chance * worth * context * levers[at]
        gain = _on_grain(gain * stay)
        amounts[i, VALUE], amounts[i, GAIN] = gain - costs_minor[i], gain
        amounts[i, PROBABILITY], amounts[i, CONTEXT], amounts[i, LEVER] = probability, context, levers[at]
        amounts[i, UPLIFT], amounts[i, STAY] = uplift, stay
        counts[i, COST], counts[i, SHOWN], counts[i, BRINGS] = costs_minor[i], times, worth
        counts[i, IS_GROSS], counts[i, HAS_UPLIFT] = is_gross, has_uplift
