"""What is scarce over all households: how much is left of each budget, and at which price it is given away.

    λ ← max(0, λ + η · (use − rate · Δt))

λ is the price of a unit. Each use raises it; the time that passes lowers it by what might have been used meanwhile, at
the rate that would use up what is left just when the window ends. η is such that a share of the amount (the budget's
`step`) used ahead of time raises the price from nothing to what the best use is worth. All of it is whole numbers that
the fold keeps, so a replay has the same prices. Each partition has its share of the amount and its own price, and asks
nobody: what does not fit into the share is vetoed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from household.contact_rules.compiled import is_meant
from household.contact_rules.windows import window_of
from household.plan import NONE, Budget, BudgetUnit, Plan
from household.tables.budgets import BUDGETS, EARMARKS, BudgetUse, Earmark
from household.tables.of_partition import Tables
from household.terms import Price, on_grain
from household.traits import traits_of

if TYPE_CHECKING:
    from household.state import PartitionState

SCALE: Final = 2**20
"""Prices are kept in 2⁻²⁰ minor units."""

_PPM: Final = 1_000_000


@dataclass(slots=True, kw_only=True)
class Standing:
    """A budget as of now."""

    budget: Budget
    from_us: int
    until_us: int
    share: int
    """Of this partition, in the window."""
    used: int
    price: int
    """Of a unit, in 2⁻²⁰ minor units."""
    left: int
    """Of the share; what the group that is being formed gives out is taken off already."""

    @property
    def price_minor(self) -> float:
        """Of a unit."""
        return self.price / SCALE


class _Worth(NamedTuple):
    """What a unit of a budget may bring, in 2⁻²⁰ minor units."""

    expected: int
    """By the playbook's priors, where it brings most."""
    most: int
    """Were it sure to be accepted: no price is above that."""
    use_most: int
    """Units that one action uses at most."""


Uses = tuple[tuple[int, int], ...]
"""(budget, amount) of what an action uses."""


class Scarcity:
    """The budgets of one plan in one partition; belongs to the state thread, like the tables it keeps."""

    __slots__ = ("_budgets", "_earmarks", "_plan", "_promised", "_uses", "_uses_by_action", "_worth")

    def __init__(self, plan: Plan, tables: Tables) -> None:
        """Take the tables as they will be by the first question."""
        self._plan, self._budgets = plan, plan.budgets
        self._uses, self._earmarks = tables.of(BUDGETS), tables.of(EARMARKS)
        self._worth = _worths(plan)
        self._uses_by_action: dict[tuple[int, str, int], Uses] = {}
        self._promised: dict[int, int] = {}

    # --- for decisions -----------------------------------------------------------------------------------------------

    def uses_of(self, offer: int, journey: str, channel: int) -> Uses:
        """Return what an offer, by index, of a journey uses on a channel."""
        key = (offer, journey, channel)
        known = self._uses_by_action.get(key)
        if known is None:
            known = self._uses_by_action[key] = _uses(self._plan, *key)
        return known

    def standings(self, state: "PartitionState") -> "Standings | None":
        """Return the budgets as of now; None where there are none."""
        return Standings(self, state) if self._budgets else None

    def begin_group(self) -> None:
        """Forget what decisions were to give out that are folded by now, or never will be."""
        self._promised.clear()

    def promise(self, uses: Mapping[str, int]) -> None:
        """Take off what a decision gives out that is written, and not folded yet; by name of the budget."""
        for index, budget in enumerate(self._budgets):
            if used := uses.get(budget.name, 0):
                self._promised[index] = self._promised.get(index, 0) + used

    # --- for the fold ------------------------------------------------------------------------------------------------

    def use(self, state: "PartitionState", name: str, amount: int, *, share: int, earmarked_by: str = "") -> None:
        """Fold that a decision gave out some of a budget, for good or for an action on its way.

        Args:
            state: as of the decision.
            name: of the budget.
            amount: that was given out.
            share: of the partition in the window, as the decision tells it: a fold does not know which one it is.
            earmarked_by: id of the action that is on its way; empty for what was answered.
        """
        index = next((index for index, budget in enumerate(self._budgets) if budget.name == name), NONE)
        if index == NONE:
            return  # another plan came into force
        now_us = int(state.now_us)
        before = self.standing(state, index, now_us, share=share)
        budget = before.budget
        worth = self._worth[index]
        rise = worth.expected * amount * _PPM // _step_ppm(budget, share, worth)
        price = min(before.price + rise, worth.most)
        used = before.used + amount
        self._uses.put(BudgetUse(name, before.from_us, before.until_us, share, used, price, now_us))
        if earmarked_by:
            self._earmarks.put(Earmark(earmarked_by, name, amount, before.from_us, before.until_us))

    def spend_earmarks(self, action_id: str) -> None:
        """Fold that an action was handed over: what it uses is used for good."""
        self._take_earmarks(action_id)

    def release(self, state: "PartitionState", action_id: str) -> None:
        """Fold that an action will never be handed over: the window it was decided in has again what it was to use.

        What was shown meanwhile, as an answer, has used it.
        """
        action = state.actions.get(action_id) if len(self._earmarks) else None
        for one in self._take_earmarks(action_id):
            if action is not None and action.is_shown:
                continue
            row = self._uses.get(one.budget)
            if row is not None and row.from_us == one.from_us:
                self._uses.put(replace(row, used=max(row.used - one.amount, 0)))

    def release_expired(self, state: "PartitionState", slots: NDArray[np.int64]) -> None:
        """Fold the same of all that expires in these slots of the outbox."""
        if len(self._earmarks):
            for slot in slots.tolist():
                self.release(state, state.outbox.row(slot).action_id)

    def _take_earmarks(self, action_id: str) -> list[Earmark]:
        if not len(self._earmarks):
            return []
        names = [budget.name for budget in self._budgets]
        found = [one for name in names if (one := self._earmarks.get(action_id, name)) is not None]
        for one in found:
            self._earmarks.remove(action_id, one.budget)
        return found

    # --- prices ------------------------------------------------------------------------------------------------------

    def standing(self, state: "PartitionState", index: int, now_us: int, *, share: int | None = None) -> Standing:
        """Return a budget as of a time, by this partition's share of it or another."""
        budget, zone = self._budgets[index], self._plan.policy.time_zone
        from_us, until_us = window_of(budget.span, zone, now_us)
        if share is None:
            share = state.share.of(budget.amount, from_us, until_us)
        row = self._uses.get(budget.name)
        used = price = 0
        if row is not None and row.from_us == from_us:
            used = row.used
            price = row.price - self._fall(index, share, used, row.priced_us, now_us, until_us)
        elif row is not None and row.until_us == from_us:
            price = row.price - self._fall(index, row.share, row.used, row.priced_us, row.until_us, row.until_us)
            price = max(price, 0) - self._fall(index, share, 0, from_us, now_us, until_us)
        left = share - used - self._promised.get(index, 0)
        return Standing(
            budget=budget,
            from_us=from_us,
            until_us=until_us,
            share=share,
            used=used,
            price=max(price, 0),
            left=left,
        )

    def _fall(self, index: int, share: int, used: int, from_us: int, now_us: int, until_us: int) -> int:
        """Return how much a price falls in a time in which nothing is used."""
        elapsed_us, ahead_us = max(now_us - from_us, 0), max(until_us - from_us, 1)
        if used >= share:
            return 0
        worth = self._worth[index]
        step_ppm = _step_ppm(self._budgets[index], share, worth)
        return worth.expected * (share - used) * elapsed_us * _PPM // (step_ppm * ahead_us)


class Standings:
    """The budgets as one decision sees them. Looked at when something uses them: most decisions use few."""

    __slots__ = ("_looked_at", "_scarcity", "_state")

    def __init__(self, scarcity: Scarcity, state: "PartitionState") -> None:
        """Take the state of the decision."""
        self._scarcity, self._state = scarcity, state
        self._looked_at: dict[int, Standing] = {}

    def __getitem__(self, index: int) -> Standing:
        """Return a budget."""
        known = self._looked_at.get(index)
        if known is None:
            known = self._looked_at[index] = self._scarcity.standing(self._state, index, int(self._state.now_us))
        return known

    @property
    def looked_at(self) -> list[tuple[int, Standing]]:
        """Return what was looked at, as the playbook lists it."""
        return sorted(self._looked_at.items())


def prices_of(uses: Uses, standings: Standings) -> tuple[Price, ...]:
    """Return what using this much costs, of each budget that has a price."""
    return tuple(
        [
            Price(one.budget.name, on_grain(amount * one.price_minor))
            for index, amount in uses
            if amount and (one := standings[index]).price
        ]
    )


def too_much(uses: Uses, standings: Standings) -> tuple[str, ...]:
    """Return the names of the budgets of which less is left than this uses."""
    return tuple(standings[index].budget.name for index, amount in uses if amount > standings[index].left)


def _uses(plan: Plan, offer: int, journey: str, channel: int) -> Uses:
    return _uses_on(plan, offer, channel, _meant(plan, offer, journey))


def _meant(plan: Plan, offer: int, journey: str) -> list[int]:
    """Return the budgets that mean an offer, by index, of a journey, on whatever channel."""
    traits = traits_of(plan, plan.offers[offer].name, journey)
    return [index for index, budget in enumerate(plan.budgets) if is_meant(budget.of, traits)]


def _uses_on(plan: Plan, offer: int, channel: int, meant: Sequence[int]) -> Uses:
    cost_minor = plan.offers[offer].cost_minor + (0 if channel == NONE else plan.channels[channel].cost_minor)
    return tuple(
        (index, cost_minor if plan.budgets[index].unit is BudgetUnit.MONEY else 1)
        for index in meant
        if not plan.budgets[index].of.channels or channel in plan.budgets[index].of.channels
    )


def _worths(plan: Plan) -> tuple[_Worth, ...]:
    """Return what a unit of each budget is worth. A state that is laid out waits for it: all budgets at once."""
    count = len(plan.budgets)
    expected, most, use_most = [0.0] * count, [0.0] * count, [1] * count
    for offer, one in enumerate(plan.offers if count else ()):
        journeys = ["", *(journey.name for journey in plan.journeys if offer in journey.offers)]
        channels = {treatment.channel for treatment in one.treatments}
        # Most journeys differ in nothing that budgets look at.
        for meant in dict.fromkeys(tuple(_meant(plan, offer, journey)) for journey in journeys):
            for index, amount in (use for channel in channels for use in _uses_on(plan, offer, channel, meant)):
                if amount:
                    brings = one.brings_minor * one.lever / amount
                    expected[index] = max(expected[index], brings * one.prior_acceptance)
                    most[index] = max(most[index], brings)
                    use_most[index] = max(use_most[index], amount)
    return tuple(
        _Worth(max(round(expected[index] * SCALE), 1), max(round(most[index] * SCALE), 1), use_most[index])
        for index in range(count)
    )


def _step_ppm(budget: Budget, share: int, worth: _Worth) -> int:
    """Return how many millionths of a unit take the price from nothing to what the best use is worth.

    At least one action's: of a few, one that is used must not price out all others.
    """
    return max(round(budget.step * _PPM) * share, worth.use_most * _PPM)
