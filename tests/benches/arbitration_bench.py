"""Whether what decisions say of themselves is true: terms that add up, propensities that are those of the draws.

python -m tests.benches.arbitration_bench terms [--decisions 100000]
python -m tests.benches.arbitration_bench propensity [--draws 1000000]

Ends with exit code 1 where it is not. `make test` has a small one of each (tests/household/test_arbitration.py).
"""

import argparse
import itertools
import math
import random
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

from actors.shard.warm import warm_kernels
from household.decide import Ask, Scores, decide, prepare
from household.deciding.arbitration import explored, in_order
from household.decision import Decision
from household.decision_bytes import decode_decision, encode_decision
from household.plan import Arbitration, Offer, Plan
from loadtest.shipped import SHIPPED_PLAYBOOK
from playbooks.compiler import compile_playbook
from tests.benches.decide_bench import Core

SIGMAS = 3.0


# --- terms -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class TermsTally:
    """What was looked at, and what was wrong."""

    decisions: int = 0
    weighed: int = 0
    vetoed: int = 0
    wrong: int = 0

    def look(self, decision: Decision) -> None:
        """Look at every candidate of a decision, as its record has it."""
        self.decisions += 1
        for one in decode_decision(encode_decision(decision, member_keys={}))[0].candidates:
            terms = one.terms
            if terms is None or one.value_minor is None:
                self.vetoed += 1
                self.wrong += not one.vetoes
                continue
            self.weighed += 1
            parts = [terms.gain_minor, -float(terms.cost_minor), *(-price.minor for price in terms.prices)]
            sums = {sum_plainly(order) for order in itertools.islice(itertools.permutations(parts), 24)}
            exact = sum(map(Fraction, parts)) == Fraction(one.value_minor)
            product = terms.probability * terms.increment_minor * terms.context * terms.lever
            is_product = abs(product - terms.gain_minor) <= 2.0**-11
            self.wrong += not (sums == {one.value_minor} and exact and is_product)


def sum_plainly(parts: Iterable[float]) -> float:
    """Return a sum in double precision, one by one: `sum` hides what adding loses."""
    total = 0.0
    for part in parts:
        total += part
    return total


def look_at_terms(plan: Plan, *, decisions: int, households: int) -> TermsTally:
    """Return what was found in that many decisions, scored at random, by a partition that has shown things before."""
    draw, tally = random.Random(5), TermsTally()
    core = Core(plan, households)
    state, count = core.state, core.state.households.count
    # Half of them are shown something; the others are asked again and again, so that all is weighed each time.
    for row in range(0, count, 2):
        core.ask(row, f"shown{row}")
    inbound = [index for index, channel in enumerate(plan.channels) if channel.inbound]
    for number in range(decisions):
        row = 2 * draw.randrange(count // 2) + 1
        members = state.members.children(row)
        ask = Ask(
            household=state.households.key(row),
            member=state.members.key(members[0]) if members else b"",
            channel=inbound[number % len(inbound)],
            request_id=f"r{number}",
            is_contact=True,
            contact_types=core.contacts,
        )
        draft = prepare(state, ask)
        scores = Scores(
            by_offer={offer: draw.random() for offer in draft.to_score}, model_version="drawn", degraded=False
        )
        tally.look(decide(state, draft, scores, epoch=1, schema_hash=""))
    return tally


# --- propensities ----------------------------------------------------------------------------------------------------

WORLDS = (
    (0.05, (900.0, 700.0, 700.0, 20.0)),
    (0.3, (500.0, 500.0, 500.0, 20.0, 10.0)),
    (0.0, (500.0, 500.0, 3.0)),
    (1.0, (40.0, 30.0, 20.0, 20.0)),
    (0.2, (7.0, 7.0)),
)
"""(exploration, values): with ties at the top, below it, and without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """How often an action came first, and what was said of it."""

    world: int
    offer: str
    count: int
    draws: int
    propensity: float

    @property
    def sigmas(self) -> float:
        """How many standard errors the frequency lies from the propensity."""
        error = math.sqrt(self.propensity * (1.0 - self.propensity) / self.draws)
        away = abs(self.count / self.draws - self.propensity)
        return away / error if error else math.inf if away > 0.0 else 0.0


def draw_firsts(draws: int) -> list[Drawn]:
    """Return of each world and action how often it came first in so many decisions altogether.

    Raises:
        ValueError: one action was first with two propensities in one state, or those of a state are not 1 together.
    """
    found = []
    each = draws // len(WORLDS)
    for world, (exploration, values) in enumerate(WORLDS):
        offers = tuple(Offer(name=f"offer_{index}", kind="offer", family="f") for index in range(len(values)))
        plan = Plan(name="drawn", offers=offers, arbitration=Arbitration(exploration=exploration, salt=f"salt{world}"))
        counts: Counter[int] = Counter()
        said: dict[int, float] = {}
        for number in range(each):
            decision_id = f"{world}-{number}"
            ranked, propensity = explored(plan, in_order(plan, list(enumerate(values)), decision_id), decision_id)
            first = ranked[0][0]
            counts[first] += 1
            if said.setdefault(first, propensity) != propensity:
                raise ValueError(f"world {world}: {first} came first with {said[first]} and with {propensity}")
        if abs(sum(said.values()) - 1.0) > 1e-9:
            raise ValueError(f"world {world}: propensities of {said} are not 1 together")
        found += [
            Drawn(world=world, offer=offers[one].name, count=counts[one], draws=each, propensity=said[one])
            for one in sorted(said)
        ]
    return found


# --- the command -----------------------------------------------------------------------------------------------------


def main() -> int:
    """Look, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("terms", "propensity"))
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--households", type=int, default=400)
    parser.add_argument("--draws", type=int, default=1_000_000)
    options = parser.parse_args()
    if options.what == "terms":
        plan = compile_playbook(SHIPPED_PLAYBOOK)
        warm_kernels()
        levers = [replace(offer, lever=1.0 + index / 7) for index, offer in enumerate(plan.offers)]
        tally = look_at_terms(
            replace(plan, offers=tuple(levers)), decisions=options.decisions, households=options.households
        )
        print(
            f"{tally.decisions} decisions: {tally.weighed} candidates weighed, {tally.vetoed} vetoed; "
            f"{tally.wrong} whose terms do not add up to the value, or that have neither terms nor a veto"
        )
        return int(bool(tally.wrong))
    found = draw_firsts(options.draws)
    for one in found:
        print(
            f"world {one.world} {one.offer}: first in {one.count} of {one.draws} ({one.count / one.draws:.6f}), "
            f"propensity {one.propensity:.6f}, {one.sigmas:.2f} standard errors apart"
        )
    worst = max(one.sigmas for one in found)
    print(f"{sum(one.count for one in found)} draws, at most {worst:.2f} standard errors apart")
    return int(worst > SIGMAS)


if __name__ == "__main__":
    sys.exit(main())
