"""What the graph costs, and how many random lists of graph events and signals come out right.

    python -m tests.benches.graph_bench                  # graph events a second; signals by identifier and by household
    python -m tests.benches.graph_bench --lists 100000   # each in 4 orders, against the reference; minutes to hours

One core, in process, by the clock of the CPU.
"""

import argparse
import random
import time

from household.apply import apply_epoch, apply_signals
from household.digest import state_digest
from household.events import EventBatch
from household.state import PartitionState
from tests.household.graph_reference import Said
from tests.household.graph_worlds import (
    EXACT,
    HOUR_US,
    NOW_US,
    Heard,
    Told,
    batch_of_told,
    expected_of_households,
    folded,
    random_told,
    told_of_households,
)

BATCH_ROWS = 1_000
ORDERS = 4


def _family(number: int) -> list[Told]:
    """Return what a CRM tells of one family: two people, a line, their numbers, and that two accounts are one."""
    at_us = NOW_US - 20 * HOUR_US + number
    anna, ben, sim = f"member:anna{number}", f"member:ben{number}", f"line:sim{number}"
    house = f"house{number}"
    told = [
        Said(b"", "join", at_us, subjects=(anna,), household=house),
        Said(b"", "join", at_us + 1, subjects=(ben,), household=house),
        Said(b"", "join", at_us + 2, subjects=(sim,), household=house),
        Said(b"", "link", at_us + 3, identifier=f"msisdn:+44{number}", subjects=(sim,)),
        Said(b"", "link", at_us + 4, identifier=f"email:anna{number}@x.org", subjects=(anna,)),
        Said(b"", "link", at_us + 5, identifier=f"email:ben{number}@x.org", subjects=(ben,)),
        Said(b"", "merge", at_us + 6, household=house, other=f"account{number}"),
        Said(b"", "leave", at_us + 7, subjects=(ben,)),
    ]
    return [Said(**{**vars(one), "id": b"g%d-%d" % (number, i)}) for i, one in enumerate(told)]


def _fold_time_s(state: PartitionState, batches: list[EventBatch]) -> float:
    start = time.process_time()
    for batch in batches:
        assert not apply_signals(state, batch, stamp_us=NOW_US).statuses.any()
    return time.process_time() - start


def _batches(told: list[Told]) -> list[EventBatch]:
    return [batch_of_told(EXACT, told[start : start + BATCH_ROWS]) for start in range(0, len(told), BATCH_ROWS)]


def _state() -> PartitionState:
    state = PartitionState(plan=EXACT, stream_clock=False)
    apply_epoch(state, epoch=1)
    return state


def measure(families: int) -> None:
    """Print what graph events cost, and signals by household and by identifier."""
    told = [one for number in range(families) for one in _family(number)]
    state = _state()
    compiled = folded([*told[:80], Heard(b"c", NOW_US, 1.0, household="h"), Heard(b"d", NOW_US, 1.0, identifier="a:b")])
    assert compiled.counters.received
    spent_s = _fold_time_s(state, _batches(told))
    print(f"graph events: {len(told):,}, {len(told) / spent_s:,.0f}/s")
    names = [(f"house{n}", f"msisdn:+44{n}") for n in range(families)]
    by_household: list[Told] = [Heard(b"h%d" % i, NOW_US - i, 1.0, household=h) for i, (h, _) in enumerate(names)]
    by_identifier: list[Told] = [Heard(b"i%d" % i, NOW_US - i, 1.0, identifier=x) for i, (_, x) in enumerate(names)]
    for name, heard in (("household", by_household), ("identifier", by_identifier)):
        spent_s = _fold_time_s(state, _batches(heard))
        print(f"signals by {name}: {len(heard) / spent_s:,.0f}/s")


def judge(lists: int, first: int) -> None:
    """Fold random lists in several orders, against the reference; stop at the first that differs."""
    for seed in range(first, first + lists):
        dice = random.Random(seed)
        told = random_told(dice, said_count=dice.randint(1, 16), heard_count=dice.randint(0, 14))
        expected = expected_of_households(told)
        digests = set()
        for _ in range(ORDERS):
            dice.shuffle(told)
            state = folded(told, batch_rows=dice.choice((1, 3, BATCH_ROWS)))
            digests.add(state_digest(state))
        read = told_of_households(state)
        assert len(digests) == 1, f"seed {seed}: {len(digests)} states"
        assert {name: read.get(name) for name in expected} == expected, f"seed {seed}"
    print(f"{lists:,} lists in {ORDERS} orders each: one state each, and the reference's")


def main() -> None:
    """Measure, or judge lists."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", type=int, default=5_000)
    parser.add_argument("--lists", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    if given.lists:
        judge(given.lists, given.first)
    else:
        measure(given.families)


if __name__ == "__main__":
    main()
