"""Households that move between the partitions of several shards.

Laws: whatever is lost, doubled or dies between shards, what graph events tie together comes to lie together, is found
by every door, and reads as in one partition that was told all; live and replayed state are the same.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from actors.failpoints import RELOCATIONS, Failpoint
from actors.log.contract import LogStore
from tests.actors.doors import Doors, graph, of
from tests.actors.harness import MONDAY, in_loop, signal
from tests.actors.inventory_town import Town, a_town, check_replay, seats
from wire.partitions import partition_of

PARTITIONS = 3
PHONE = "msisdn:+447700900123"


def names_in(place: int, prefix: str) -> list[str]:
    return [one for number in range(60) if partition_of((one := f"{prefix}{number}").encode(), PARTITIONS) == place]


async def come_together(town: Town) -> None:
    """See to what waits until nothing does."""
    for _ in range(200):
        await town.revive()
        left = 0
        for partition in town.partitions:
            try:
                await town.place[partition].relocations.round(partition)
                left += await town.in_state(lambda state: len(state.departures) + len(state.waiting), partition)
            except KeyError:
                left += 1
        if not left:
            return
    raise AssertionError("what waits comes never together")


@in_loop
async def test_households_of_two_partitions_become_one_and_every_door_finds_it(tmp_path: Path):
    async with a_town(tmp_path, shard_count=2, partition_count=PARTITIONS, plan=seats(1)) as town:
        doors = Doors(town)
        first, second = names_in(0, "h")[0], names_in(1, "h")[0]
        anna = names_in(2, "member:a")[0]
        await doors.told(
            signal("v1", first, "visit", MONDAY),
            signal("v2", second, "visit", MONDAY + 1),
            of(PHONE, "v3", "visit", MONDAY + 2),
        )
        asked = await doors.decide(household=second, request_id="before")
        await doors.told(
            graph("merge", "g1", MONDAY + 3, first, other=second),
            graph("link", "g2", MONDAY + 4, identifier=PHONE, subject=anna),
            graph("join", "g3", MONDAY + 5, second, subject=anna),
        )
        await come_together(town)

        told = [await doors.get(household=first), await doors.get(household=second), await doors.get(identifier=PHONE)]
        assert len({one.household for one in told}) == 1
        assert len({one.partition for one in told}) == 1
        assert told[0].known

        # What was asked before the move is answered as it was, and explained from where it was decided.
        again = await doors.decide(household=second, request_id="before")
        assert again.decision_id == asked.decision_id
        assert again.repeated_request
        explained = await doors.explain(household=first, decision_id=asked.decision_id)
        assert explained.found

        # What comes next finds them, whichever name it has, and what came before is known.
        answer = await doors.ingest(
            signal("v2", second, "visit", MONDAY + 1),
            signal("v4", second, "visit", MONDAY + 6),
            of(PHONE, "v5", "visit", MONDAY + 7),
        )
        assert (answer.counts.received, answer.counts.applied, answer.counts.duplicate) == (3, 2, 1)
        live = await town.standing_of_all()
    check_replay(tmp_path, live)


@pytest.mark.parametrize("failpoint", sorted(RELOCATIONS), ids=str)
@in_loop
async def test_whoever_dies_wherever_nothing_is_lost_or_doubled(failpoint: Failpoint, tmp_path: Path):
    await dying_at(failpoint, tmp_path)


async def dying_at(failpoint: Failpoint, folder: Path, *, logs: Callable[[], LogStore] | None = None) -> None:
    """Let owners die at a failpoint while pairs of households become one; see that each is one, and known once."""
    named = {"shard_count": 2, "partition_count": PARTITIONS, "plan": seats(1), "loss": 0.2, "doubling": 0.3}
    async with a_town(folder, logs=logs, **named) as town:
        doors = Doors(town)
        households = [f"h{number}" for number in range(12)]
        await doors.told(*(signal(f"v-{one}", one, "visit", MONDAY) for one in households))
        for number, (one, other) in enumerate(zip(households[::2], households[1::2], strict=True)):
            town.kill_at = failpoint
            told = await doors.ingest(graph("merge", f"g{number}", MONDAY + 1, one, other=other))
            # Whoever died behind its write has told it already.
            assert told.counts.applied + told.counts.duplicate == 1
            await come_together(town)
            found = [await doors.get(household=one), await doors.get(household=other)]
            assert found[0].household == found[1].household
            assert found[0].partition == found[1].partition
        assert town.deaths[failpoint]
        answer = await doors.ingest(*(signal(f"v-{one}", one, "visit", MONDAY) for one in households))
        assert answer.counts.duplicate == len(households)
        if logs is not None:
            return
        live = await town.standing_of_all()
    check_replay(folder, live)
