"""Experiments on the town whose truth is known: who buys of their own accord, who because of it, and what they pay.

Households come one after another, each drawn with replacement from one town, so the truth is the mean over all of the
town. Members of a household resemble each other, and what they paid before tells of what they will pay.
"""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from insight.experiments.effect import Measured
from tests.insight.town import HOUSEHOLDS, TREATED_WITH, KnownTown, known_town, visitors

Floats = NDArray[np.float64]

BOUGHT_MINOR = 500.0
LOOKS = 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Treatment:
    """What treating does in the town, and so the truth."""

    alone: Floats
    """(members,) chance to buy of their own accord."""
    treated: Floats
    """(members,) chance to buy where they are treated."""
    pays: Floats
    """(members,) what they pay in a month, in the long run."""
    conversion: float
    """Households that buy because of it, per household."""
    revenue: float
    """What members pay more because of it, per member."""


@functools.cache
def treatment(lift: float) -> Treatment:
    """Return a treatment that lets so many of those who would accept buy; below 0 it puts them off."""
    town = known_town()
    alone = 0.04 + 0.06 * town.people.has_app
    treated = np.clip(alone + lift * town.accepts[:, TREATED_WITH], 0.001, 0.999)
    if lift == 0.0:
        treated = alone
    draw = np.random.default_rng(77)
    of_household = draw.lognormal(0.0, 0.5, HOUSEHOLDS)
    pays = 2_000.0 * of_household[town.people.household] * draw.lognormal(0.0, 0.5, len(alone))
    buys = [1.0 - np.exp(np.bincount(town.people.household, np.log1p(-one))) for one in (alone, treated)]
    # Households are drawn, so members count as their households do: the mean per member is a ratio.
    revenue = float((treated - alone).mean()) * BOUGHT_MINOR
    return Treatment(
        alone=alone, treated=treated, pays=pays, conversion=float((buys[1] - buys[0]).mean()), revenue=revenue
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lived:
    """What became of the households of one experiment, in the order in which they were met."""

    is_control: NDArray[np.bool_]
    """(households,)"""
    bought: Floats
    """(households,) whether any member did."""
    first_member: NDArray[np.intp]
    """(households + 1,) where the members of each begin among all."""
    pays: Floats
    """(members,)"""
    paid_before: Floats
    """(members,)"""
    units: NDArray[np.intp]
    """(members,)"""

    def conversion(self, households: int) -> Measured:
        """Return whether the first so many households bought."""
        return Measured(outcome=self.bought[:households], is_control=self.is_control[:households])

    def arpu(self, households: int, *, with_past: bool = True) -> Measured:
        """Return what the members of the first so many households pay."""
        rows = int(self.first_member[households])
        return Measured(
            outcome=self.pays[:rows],
            is_control=self.is_control[self.units[:rows]],
            before=self.paid_before[:rows, None] if with_past else None,
            units=self.units[:rows],
        )


def lived(done: Treatment, *, seed: int, households: int, control_share: float) -> Lived:
    """Return the households of one experiment."""
    town: KnownTown = known_town()
    members, units = visitors(town, seed=seed, households=households)
    draw = np.random.default_rng([seed, 4])
    is_control = draw.random(households) < control_share
    chance = np.where(is_control[units], done.alone[members], done.treated[members])
    bought = draw.random(len(members)) < chance
    month = done.pays[members]
    return Lived(
        is_control=is_control,
        bought=(np.bincount(units, bought) > 0).astype(np.float64),
        first_member=np.concatenate([[0], np.cumsum(np.bincount(units, minlength=households))]),
        pays=month * draw.gamma(4.0, 0.25, len(members)) + BOUGHT_MINOR * bought,
        paid_before=month * draw.gamma(4.0, 0.25, len(members)),
        units=units,
    )


def looks(households: int) -> list[int]:
    """Return after how many households one looks: twenty times, evenly."""
    return [households * look // LOOKS for look in range(1, LOOKS + 1)]
