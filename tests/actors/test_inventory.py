"""Scarce items between shards.

Laws: of a number of units no more are ever granted, whichever owner dies at whichever step and whatever is lost or
doubled between shards; whoever accepted has one, or was told that none was left; live and replayed state are the same.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from actors.failpoints import Failpoint
from actors.log.contract import LogStore, RecordKind
from actors.records.codec import decode_delivery
from household.delivery import DeliveryNote, DeliveryStep
from household.state import PartitionState
from household.tables.claims import CLAIMS, ClaimState
from tests.actors.harness import HOUR, MINUTE, MONDAY, corner, in_loop, records, running, signal
from tests.actors.inventory_town import ITEM, KILLED_AT, Town, a_town, check_replay, seats
from tests.actors.test_delivery import to_send

SEATS = 4


async def asked(town: Town, household: str) -> tuple[str, str]:
    """Somebody comes and asks; return what she is offered, and its action."""
    visit = signal(f"visit-{household}", household, "visit", MONDAY)
    answer = await town.decide(household, visit, request_id=f"ask-{household}")
    return (answer.action.offer, answer.action.action_id)


@in_loop
async def test_a_seat_is_offered_held_granted_and_given_back(tmp_path: Path):
    async with a_town(tmp_path, shard_count=2, partition_count=3, plan=seats(SEATS)) as town:
        given = {f"h{number}": await asked(town, f"h{number}") for number in range(12)}
        shown = {household: action for household, (offer, action) in given.items() if offer == "films"}
        await town.settle()
        assert await town.stock() == (0, SEATS, 0)
        explained = await town.explain(next(one for one in given if one not in shown))
        assert {one.offer: list(one.vetoes) for one in explained.candidates}["films"] == [f"INVENTORY:{ITEM}"]

        first, second = [item for item in shown.items() if await _is_held(town, *item)][:2]
        assert (await town.accept(*first)).effective
        assert (await town.decline(*second)).effective
        await town.settle()
        assert await town.stock() == (1, SEATS - 2, 1)
        assert (await asked(town, "late"))[0] == "films"
        await town.settle()

        town.clock.pass_us(15 * MINUTE)
        await town.tick()
        await town.settle()
        assert await town.stock() == (1, 0, SEATS - 1)
        live = await town.standing_of_all()
    check_replay(tmp_path, live)


async def _is_held(town: Town, household: str, action: str) -> bool:
    def read(state: PartitionState) -> bool:
        claim = state.inventory.claim_of(action)
        return claim is not None and claim.state is ClaimState.HELD

    return bool(await town.in_state(read, town.partition_of(household)))


@pytest.mark.parametrize("failpoint", KILLED_AT, ids=str)
@in_loop
async def test_whoever_dies_wherever_no_more_are_granted_than_there_are(failpoint: Failpoint, tmp_path: Path):
    await dying_at(failpoint, tmp_path)


async def dying_at(failpoint: Failpoint, folder: Path, *, logs: Callable[[], LogStore] | None = None) -> None:
    """Let owners die at a failpoint while some ask and accept; see that no more were granted than there are."""
    named = {"shard_count": 2, "partition_count": 3, "plan": seats(SEATS), "loss": 0.2, "doubling": 0.3}
    async with a_town(folder, logs=logs, **named) as town:
        accepted: set[str] = set()
        for number in range(12):
            town.kill_at = failpoint if number % 3 == 0 else town.kill_at
            offer, action = await asked(town, f"h{number}")
            if offer == "films":
                # Whether it was in time its owner may know, and die before it says so.
                accepted.add(action)
                await town.accept(f"h{number}", action)
            granted, held, free = await _stock(town)
            assert granted + held + free == SEATS
            assert free >= 0
        town.clock.pass_us(2 * HOUR)  # holds are over, and the owners tidy up
        town.kill_at = None if failpoint is not Failpoint.TICK_SYNCED else failpoint
        await town.tick()
        await town.settle()

        assert town.deaths[failpoint] >= 1
        claims = [
            one
            for partition in town.partitions
            for one in await town.in_state(lambda state: list(state.tables.of(CLAIMS)), partition)
        ]
        granted, held, free = await town.stock()
        assert (granted, held) == (len(claims), 0)
        assert {one.claim_id for one in claims} <= accepted
        assert granted == min(SEATS, len(accepted)), "whoever accepts gets one while there is one"
        assert free == SEATS - granted


async def _stock(town: Town) -> tuple[int, int, int]:
    await town.revive()
    return await town.stock()


@in_loop
async def test_what_goes_out_unasked_does_so_once_its_seat_is_held_and_never_without(tmp_path: Path):
    plan = corner(
        ("offers:\n", f"inventory:\n  {ITEM}: {{number: 1, hold: 15m}}\noffers:\n"),
        ("    price: 9.99\n", f"    price: 9.99\n    item: {ITEM}\n"),
    )
    async with running(tmp_path, plan=plan) as hearth, hearth.subscribed("push") as deliveries:
        await to_send(hearth, "h1")
        first = await anext(deliveries)
        claim = await hearth.in_state(lambda state: state.inventory.claim_of(first.action.action_id))
        assert claim.state is ClaimState.HELD
        steps = [note.step for note in notes(hearth.disk_copy(tmp_path / "copy"))]
        assert steps == [DeliveryStep.CLAIMED, DeliveryStep.HANDED]

        checks = (signal(f"c{number}", "h2", "check", MONDAY, member="m") for number in range(2))
        await hearth.ingest(*checks)
        await hearth.until(lambda: hearth.counter("pending") == 0)
        explained = await hearth.explain("h2")
        assert {one.offer: list(one.vetoes) for one in explained.candidates}["topup"] == [f"INVENTORY:{ITEM}"]
        await hearth.decline("h1", first.action.action_id)
        await hearth.until(lambda: hearth.shard.claims.report(0)[f"item {ITEM} free"] == 1)


def notes(directory: Path) -> list[DeliveryNote]:
    return [
        note
        for stored in records(directory)
        if stored.record.kind is RecordKind.DELIVERY
        for note in decode_delivery(stored.record.payload)
    ]
