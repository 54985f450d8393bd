"""How many get a seat when ten thousand want one at once, owners die, and the post between shards loses and doubles.

python -m tests.benches.inventory_bench [--claims 10000] [--seats 100] [--shards 4] [--partitions 8] [--kill-one-in 60]

Two rounds, each with shards of its own in this process, real segment files, and owners that die at random where they
write (at a failpoint: memory gone, the next owner reads the log).

claims: so many claims come to the item's home at once, none of which knows of the others; half of those that have a
seat held give it back, some accept, the rest says nothing until its hold is over; others come, until all is granted.
decisions: so many households ask over `Decide` at once and report what they think of what they are offered.

Exits with 1 unless exactly as many are granted as there are, none is granted or held twice, holds end, and what was
given back was granted again.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from actors.records import codec
from hearth.internal.v1 import shard_pb2
from household.inventory_notes import InventoryNote, WishTold
from household.tables.claims import CLAIMS, ClaimState
from household.tables.holds import HOLDS, HoldStatus, Wish
from tests.actors.harness import MINUTE, MONDAY, signal
from tests.actors.inventory_town import ITEM, Town, a_town, seats
from wire.failures import CallFailed

HOLD_US = 15 * MINUTE
LATER_AT_ONCE = 64


class Claimants:
    """Who claims at the home itself, as another shard would: each wish again until it is answered."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._until_us = town.clock.now_us() + 100 * HOLD_US
        self.status: dict[str, HoldStatus] = {}

    async def wish(self, names: list[str], wish: Wish) -> Counter[HoldStatus]:
        """Let them all wish at once; return what was made of it."""
        await asyncio.gather(*(self._insist(name, wish) for name in names))
        return Counter(self.status[name] for name in names)

    async def _insist(self, name: str, wish: Wish) -> None:
        town = self._town
        asked = WishTold(claim_id=name, item=ITEM, wish=wish, until_us=self._until_us)
        payload = codec.encode_inventory(InventoryNote(asked=(asked,)))
        while True:
            try:
                answer = codec.decode_inventory(await town.forward(shard_pb2.METHOD_INVENTORY, town.home, payload))
            except CallFailed:
                await town.revive()
                continue
            for one in answer.answered:
                self.status[name] = one.status
                return


async def claims_at_once(town: Town, count: int) -> list[str]:
    """Let so many claim; return what is wrong."""
    claimants, number = Claimants(town), town.plan.inventory[0].number
    names = [f"claim-{one}" for one in range(count)]
    first = await claimants.wish(names, Wish.HOLD)
    held = [name for name in names if claimants.status[name] is HoldStatus.HELD]
    print(f"claims: {count:,} at once: {_told(first)}")
    wrong = [] if len(held) == number else [f"{len(held)} were held of {number}"]
    gone, taken = held[: number // 2], held[number // 2 : number * 3 // 4]
    await claimants.wish(gone, Wish.RELEASE)
    await claimants.wish(taken, Wish.GRANT)
    print(f"claims: {len(gone)} given back, {len(taken)} accepted: (granted, held, free) = {await _stock(town)}")
    late = [f"late-{one}" for one in range(count // 10)]
    second = await claimants.wish(late, Wish.HOLD)
    got = [name for name in late if claimants.status[name] is HoldStatus.HELD]
    await claimants.wish(got, Wish.GRANT)
    print(f"claims: {len(late):,} more at once: {_told(second)}; all that are held accept: {await _stock(town)}")
    wrong += [] if len(got) == len(gone) else [f"{len(got)} got what {len(gone)} had given back"]
    town.clock.pass_us(HOLD_US)
    await town.tick()
    silent = number - len(gone) - len(taken)
    granted, still_held, free = await _stock(town)
    print(f"claims: the holds of {silent} who said nothing are over: {(granted, still_held, free)}")
    wrong += [] if (granted, still_held, free) == (number - silent, 0, silent) else ["holds did not end"]
    last = [f"last-{one}" for one in range(count // 10)]
    await claimants.wish(last, Wish.HOLD)
    await claimants.wish([name for name in last if claimants.status[name] is HoldStatus.HELD], Wish.GRANT)
    granted, _, _ = await _stock(town)
    print(f"claims: {granted} granted of {number}; owners died {_deaths(town)}")
    known = {one for one, status in claimants.status.items() if status is HoldStatus.GRANTED}
    at_home = await town.in_state(
        lambda state: {one.claim_id for one in state.tables.of(HOLDS) if one.status is HoldStatus.GRANTED}, town.home
    )
    wrong += [] if known == at_home else ["who was told that it has a seat has none, or the other way round"]
    return wrong + ([] if granted == number else [f"{granted} were granted of {number}"])


async def decisions_at_once(town: Town, count: int) -> list[str]:
    """Let so many households ask, and answer; return what is wrong."""
    number, random = town.plan.inventory[0].number, town.random
    offered, accepted = Counter[str](), set[str]()

    async def ask(household: str, *, eager: bool) -> None:
        visit = signal(f"visit-{household}", household, "visit", MONDAY)
        answer = await town.decide(household, visit, request_id=f"ask-{household}")
        offered[answer.action.offer] += 1
        if answer.action.offer != "films":
            return
        mood = 0.0 if eager else random.random()
        if mood < 0.5:
            # Whether it was in time its owner may know, and die before it says so.
            accepted.add(answer.action.action_id)
            await town.accept(household, answer.action.action_id)
        elif mood < 0.75:
            await town.decline(household, answer.action.action_id)

    began_s = time.monotonic()
    await asyncio.gather(*(ask(f"h{one}", eager=False) for one in range(count)))
    await town.settle()
    took_s = time.monotonic() - began_s
    print(f"decisions: {count:,} ask at once, in {took_s:.0f} s: offered {dict(offered)}; {await _stock(town)}")
    town.clock.pass_us(HOLD_US)
    await town.tick()
    await town.settle()
    granted, held, free = await _stock(town)
    print(f"decisions: the holds of those who said nothing are over: {(granted, held, free)}")
    wrong = [] if held == 0 else ["holds did not end"]
    came = 0
    while free and came < count:
        names = [f"later{came + one}" for one in range(LATER_AT_ONCE)]
        came += len(names)
        await asyncio.gather(*(ask(name, eager=True) for name in names))
        await town.settle()
        granted, held, free = await _stock(town)
    print(f"decisions: {came} came later: {granted} granted of {number}; owners died {_deaths(town)}")
    has = set[str]()
    for partition in town.partitions:
        has |= await town.in_state(
            lambda state: {one.claim_id for one in state.tables.of(CLAIMS) if one.state is ClaimState.GRANTED},
            partition,
        )
    wrong += [] if has <= accepted else ["a seat was granted to who has not accepted"]
    wrong += [] if len(has) == granted else [f"{granted} are granted, and {len(has)} know of it"]
    return wrong + ([] if granted == number else [f"{granted} were granted of {number}"])


async def _stock(town: Town) -> tuple[int, int, int]:
    await town.revive()
    return await town.stock()


def _told(found: Counter[HoldStatus]) -> str:
    return ", ".join(f"{count:,} {status.value}" for status, count in sorted(found.items()))


def _deaths(town: Town) -> str:
    return f"{town.deaths.total()} times at {len(town.deaths)} places"


async def both(claims: int, number: int, shards: int, partitions: int, kill_one_in: int, seed: int) -> list[str]:
    """Run both rounds; return what is wrong."""
    wrong = []
    for round_ in (claims_at_once, decisions_at_once):
        with tempfile.TemporaryDirectory() as folder:
            named = {"shard_count": shards, "partition_count": partitions, "plan": seats(number), "seed": seed}
            async with a_town(Path(folder), loss=0.05, doubling=0.1, **named) as town:
                # Ten thousand claims at one home share a few records.
                town.kill_one_in = -(-kill_one_in // 15) if round_ is claims_at_once else kill_one_in
                wrong += await round_(town, claims)
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--claims", type=int, default=10_000)
    parser.add_argument("--seats", type=int, default=100)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--kill-one-in", type=int, default=60, help="failpoints that are reached; 0 for none")
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    logging.disable(logging.CRITICAL)  # each death is told there
    wrong = asyncio.run(both(told.claims, told.seats, told.shards, told.partitions, told.kill_one_in, told.seed))
    for one in wrong:
        print(f"WRONG: {one}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
