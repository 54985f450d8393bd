"""What decisions reach with tight budgets, whatever the order in which households ask.

python -m tests.benches.budgets_bench [--asks 4000] [--orders 5] [--partitions 4]

The bound is what a linear programme reaches that knows all of a day beforehand, and may give a part of an action
(HiGHS, by scipy). Decisions, records and fold are those of the product, on some days of which the first has to learn
the prices. Ends with exit code 1 where less than 95 % of the bound is reached, a budget is overdrawn, or orders are
more than 1 % apart. `make test` has a small one (tests/household/test_arbitration.py).
"""

import argparse
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_matrix, vstack

from household.apply import apply_decision, apply_epoch, apply_signals
from household.contact_rules.share import CapacityShare
from household.decide import Ask, Scores, decide, prepare
from household.decision_bytes import encode_decision
from household.plan import (
    Budget,
    BudgetUnit,
    Channel,
    EventType,
    Journey,
    Offer,
    Plan,
    Selector,
    Span,
    Treatment,
)
from household.state import PartitionState
from household.weighing import VALUE, weigh_all, worths_of
from loadtest.town import MONDAY_US
from tests.household.oracle import Event, batch_of

DAYS = 2
DAY_US = 86_400_000_000

REACHED_LEAST, SPREAD_MOST = 0.95, 0.01

STEP = 0.1
"""As playbooks have it unless they say otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What one order of arrival brought."""

    values: tuple[float, ...]
    """Of each day, in minor units."""
    breaches: int
    """Budgets of which more was taken in a window than there is, over all partitions or in one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Market:
    """Who asks on each day, and what each offer is worth to them."""

    plan: Plan
    scores: NDArray[np.float64]
    """(days, asks, offers)."""
    values: NDArray[np.float64]
    """(days, asks, offers) before prices, in minor units."""
    uses: NDArray[np.float64]
    """(budgets, offers) of one action."""

    @property
    def amounts(self) -> list[float]:
        """Of each budget, in a day."""
        return [float(one.amount) for one in self.plan.budgets]

    def bounds(self) -> list[float]:
        """Return what could be reached on each day."""
        _, asks, offers = self.values.shape
        every = np.arange(asks * offers)
        once = coo_matrix((np.ones(asks * offers), (every // offers, every)))
        limits = vstack([once, coo_matrix(np.tile(self.uses, (1, asks)))])
        most = np.concatenate([np.ones(asks), self.amounts])
        found = []
        for day in self.values:
            solved = linprog(-day.reshape(-1), A_ub=limits, b_ub=most, bounds=(0, 1), method="highs")
            assert solved.success, solved.message
            found.append(-float(solved.fun))
        return found


def market_of(asks: int, *, tightness: float) -> Market:
    """Return a market in which budgets hold for so much of what would be taken without them."""
    draw = np.random.default_rng(11)
    families = tuple(f"family_{index}" for index in range(4))
    offers = tuple(
        Offer(
            name=f"offer_{index}",
            kind="offer",
            family=families[index % 4],
            margin_minor=int(draw.integers(200, 3_000)),
            cost_minor=int(draw.integers(5, 60)),
            prior_acceptance=0.25,
            standing=True,
            treatments=(Treatment(name="app", channel=0, text="…"),),
        )
        for index in range(8)
    )
    scores = draw.beta(2.0, 6.0, (DAYS, asks, len(offers)))
    values = np.empty_like(scores)
    for index, offer in enumerate(offers):
        asked = scores[..., index].reshape(-1)
        costs = np.full(asked.shape, offer.cost_minor)
        found = weigh_all(worths_of([offer]), np.zeros(asked.shape, np.int64), asked, costs_minor=costs)
        values[..., index] = found.amounts[:, VALUE].reshape(DAYS, asks)
    wanted = np.bincount(values.argmax(axis=2).reshape(-1), minlength=len(offers)) / DAYS
    money = float(wanted @ [one.cost_minor for one in offers])
    plan = Plan(
        name="market",
        event_types=(EventType(name="app.visit", source="app"),),
        channels=(Channel(name="app", inbound=True, outbound=False),),
        families=families,
        offers=offers,
        journeys=(Journey(name="inbound", contact_events=(0,), offers=tuple(range(len(offers)))),),
        budgets=(
            _budget("money", BudgetUnit.MONEY, Selector(), money * tightness),
            *(
                _budget(family, BudgetUnit.ACTIONS, Selector(families=(family,)), wanted[place::4].sum() * tightness)
                for place, family in enumerate(families[:2])
            ),
        ),
    )
    scarcity = PartitionState(plan=plan, stream_clock=False).scarcity
    uses = np.zeros((len(plan.budgets), len(offers)))
    for index in range(len(offers)):
        for budget, amount in scarcity.uses_of(index, "", 0):
            uses[budget, index] = amount
    return Market(plan=plan, scores=scores, values=values, uses=uses)


def _budget(name: str, unit: BudgetUnit, of: Selector, amount: float) -> Budget:
    return Budget(name=name, of=of, unit=unit, amount=max(1, int(amount)), span=Span.DAY, step=STEP)


def reach(market: Market, *, seed: int, partitions: int) -> Reached:
    """Return what is reached where households ask in an order of its own, spread over each day."""
    draw, plan, offset, breaches = np.random.default_rng(seed), market.plan, 0, 0
    _, asks, _ = market.values.shape
    states = [PartitionState(plan=plan, stream_clock=False) for _ in range(partitions)]
    for number, state in enumerate(states):
        state.share = CapacityShare(number, partitions)
        apply_epoch(state, epoch=1)
    values = []
    for day in range(DAYS):
        begin_us = MONDAY_US - MONDAY_US % DAY_US + day * DAY_US
        taken, value = np.zeros((partitions, len(plan.budgets))), 0.0
        for place, who in enumerate(draw.permutation(asks).tolist()):
            now_us, home = begin_us + DAY_US * place // asks, f"{day}-{who}".encode()
            state = states[who % partitions]
            apply_signals(state, batch_of(plan, [Event(id=home, household=home, time_us=now_us)]), stamp_us=now_us)
            ask = Ask(
                household=home,
                member=b"",
                channel=0,
                request_id=f"r{day}-{who}",
                is_contact=True,
                contact_types=frozenset(),
            )
            by_offer = dict(enumerate(market.scores[day, who].tolist()))
            scores = Scores(by_offer=by_offer, model_version="drawn", degraded=False)
            decision = decide(state, prepare(state, ask), scores, epoch=1, schema_hash="")
            payload = encode_decision(decision, member_keys={})
            offset += 1
            assert apply_decision(state, decision, payload, epoch=1, offset=offset, stamp_us=now_us)
            if decision.slate:
                offer = plan.offer_by_name[decision.slate[0].offer]
                value += float(market.values[day, who, offer])
                taken[who % partitions] += market.uses[:, offer]
        shares = [[state.share.of(one.amount, begin_us, begin_us + DAY_US) for one in plan.budgets] for state in states]
        breaches += int((taken > shares).sum()) + int((taken.sum(axis=0) > market.amounts).sum())
        values.append(value)
    return Reached(values=tuple(values), breaches=breaches)


def look(asks: int, orders: int, partitions: int) -> bool:
    """Print what several orders of arrival reach; return whether it is as it should be."""
    market = market_of(asks, tightness=0.25)
    bounds = market.bounds()
    amounts = ", ".join(f"{one.name} {one.amount}" for one in market.plan.budgets)
    print(f"{asks} households ask each day in {partitions} partitions; budgets of a day: {amounts}")
    found = [reach(market, seed=seed, partitions=partitions) for seed in range(orders)]
    shares = [[value / bound for value, bound in zip(one.values, bounds, strict=True)] for one in found]
    for number, (one, by_day) in enumerate(zip(found, shares, strict=True)):
        days = ", ".join(f"day {day}: {share:.2%}" for day, share in enumerate(by_day))
        print(f"order {number}: {days} of the bound; {one.breaches} breaches")
    least, breaches = min(map(min, shares)), sum(one.breaches for one in found)
    spread = max(max(column) / min(column) - 1.0 for column in zip(*shares, strict=True))
    print(f"at least {least:.2%} of the bound, {breaches} breaches, orders at most {spread:.2%} apart")
    return least >= REACHED_LEAST and spread <= SPREAD_MOST and not breaches


def main() -> int:
    """Look, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asks", type=int, default=4_000)
    parser.add_argument("--orders", type=int, default=5)
    parser.add_argument("--partitions", type=int, default=4)
    options = parser.parse_args()
    return int(not look(options.asks, options.orders, options.partitions))


if __name__ == "__main__":
    sys.exit(main())
