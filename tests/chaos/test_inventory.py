"""Laws, on a real `hearth up` with four shards that are killed with SIGKILL, over its public port: ten thousand
households want a hundred seats; exactly so many are granted, whoever was told that it has one has it, holds end, and
what was given back is granted again. And with the log on Kafka, owners that die where they write grant no more either.

How many, and how often: CHAOS_SEAT_CLAIMS, CHAOS_SHARD_KILLS. What came of it is printed (-s).
"""

import asyncio
import os
import random
import sys
from collections import Counter
from pathlib import Path

import grpc
import pytest

from actors.failpoints import CLAIMS as CLAIMS_FAILPOINTS
from actors.failpoints import Failpoint
from hearth.v1 import decision_pb2
from household.tables.claims import CLAIMS, ClaimState
from household.tables.holds import HOLDS, HoldStatus
from tests.actors.harness import CORNER, replayed, signal
from tests.actors.inventory_town import ITEM
from tests.actors.test_inventory import dying_at
from tests.chaos.cluster_processes import Part, find
from tests.chaos.public_client import PublicChannel
from tests.end_to_end.hearth_process import Hearth, running
from wire.partitions import partition_of

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(1_200)]

CLAIMS_COUNT = int(os.environ.get("CHAOS_SEAT_CLAIMS", "10000"))
KILLS = int(os.environ.get("CHAOS_SHARD_KILLS", "6"))
SEATS, HOLD_S = 100, 20
SHARDS, PARTITIONS, AT_ONCE = 4, 8, 64
ENDS_WITHIN_S = 900.0
CALL_TIMEOUT_S = 5.0


def playbook(folder: Path) -> Path:
    text = CORNER.replace("offers:\n", f"inventory:\n  {ITEM}: {{number: {SEATS}, hold: {HOLD_S}s}}\noffers:\n", 1)
    text = text.replace("margin: 3, prior: 0.2, standing: true", f"margin: 3, prior: 0.9, item: {ITEM}, standing: true")
    path = folder / "seats.yaml"
    path.write_text(text, encoding="utf-8")
    return path


class Crowd:
    """Households that ask, and answer what they are offered; a call is made again until it is answered."""

    def __init__(self, channel: PublicChannel, *, seed: int) -> None:
        self._channel, self._random = channel, random.Random(seed)
        self.offered = Counter[str]()
        self.accepted: set[str] = set()
        self.left = 0
        self.passed = asyncio.Event()
        """Set whenever one has come and gone."""

    async def come(self, first: int, count: int, *, eager: bool = False) -> None:
        """Let so many come, some at once."""
        numbers = iter(range(first, first + count))
        self.left = count

        async def one_by_one() -> None:
            for number in numbers:
                await self._come(f"h{number}", eager=eager)
                self.left -= 1
                self.passed.set()

        await asyncio.gather(*(one_by_one() for _ in range(AT_ONCE)))

    async def _come(self, household: str, *, eager: bool) -> None:
        visit = signal(f"visit-{household}", household, "visit", 0)
        visit.ClearField("time")
        visit.time.GetCurrentTime()
        ask = decision_pb2.DecideRequest(
            request_id=f"ask-{household}", household=household, channel="app", signals=[visit]
        )
        answer = await self._insist(self._channel.decisions.Decide, ask)
        self.offered[answer.action.offer] += 1
        mood = 0.0 if eager else self._random.random()
        if answer.action.offer != "films" or mood >= 0.6:
            return
        outcome = decision_pb2.OUTCOME_ACCEPT if mood < 0.4 else decision_pb2.OUTCOME_DECLINE
        report = decision_pb2.ReportRequest(
            request_id=f"tell-{household}", household=household, action_id=answer.action.action_id, outcome=outcome
        )
        report.channel = "app"
        await self._insist(self._channel.decisions.Report, report)
        if outcome == decision_pb2.OUTCOME_ACCEPT:
            self.accepted.add(answer.action.action_id)

    async def _insist(self, call, request):
        while True:
            try:
                return await call(request, timeout=CALL_TIMEOUT_S)
            except grpc.aio.AioRpcError as failure:
                if failure.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL):
                    raise
                await asyncio.sleep(self._random.uniform(0.05, 0.3))


async def killing(hearth: Hearth, crowd: Crowd, count: int) -> int:
    """Kill a shard now and then while the crowd comes; return how many were."""
    done = 0
    while done < KILLS and crowd.left:
        before = crowd.left
        while crowd.left and crowd.left > before - count // (KILLS + 1):
            crowd.passed.clear()
            await crowd.passed.wait()
        if shards := find(hearth.process.pid, Part.SHARD):
            random.choice(shards).kill()
            done += 1
    return done


async def come_and_go(hearth: Hearth) -> Crowd:
    channel = PublicChannel(hearth.address)
    await channel.connected()
    crowd = Crowd(channel, seed=1)
    try:
        killer = asyncio.create_task(killing(hearth, crowd, CLAIMS_COUNT))
        await crowd.come(0, CLAIMS_COUNT)
        killed = await killer
        show(f"{CLAIMS_COUNT:,} asked, {killed} shards killed: offered {dict(crowd.offered)}")
        show(f"{len(crowd.accepted)} accepted")
        came = await until_none_is_free(crowd)
        show(f"{came} came later, until nothing was left")
    finally:
        await channel.close()
    return crowd


async def until_none_is_free(crowd: Crowd) -> int:
    """Let others come, who accept what they get, until none is offered a seat for two holds; return how many came."""
    came, offered, looks = 0, -1, 0
    async with asyncio.timeout(ENDS_WITHIN_S):
        while looks < 8:
            looks = 0 if crowd.offered["films"] > offered else looks + 1
            offered = crowd.offered["films"]
            await asyncio.sleep(HOLD_S / 4)
            await crowd.come(CLAIMS_COUNT + came, AT_ONCE, eager=True)
            came += AT_ONCE
    return came


def show(line: str) -> None:
    print(f"\n    {line}", file=sys.stderr)


def test_as_many_are_granted_as_there_are(tmp_path: Path):
    options = ("--playbook", str(playbook(tmp_path)), "--shards", str(SHARDS), "--partitions", str(PARTITIONS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEARTH_EDGE_COUNT", "1")
        patch.setenv("HEARTH_LEASE_TERM_S", "2.5")
        with running(tmp_path / "data", *options) as hearth:
            crowd = asyncio.run(come_and_go(hearth))
            hearth.stop()
    states = {one: replayed(tmp_path / "data" / "log", one) for one in range(PARTITIONS)}
    home = states[partition_of(ITEM.encode(), PARTITIONS)]
    at_home = {one.claim_id for one in home.tables.of(HOLDS) if one.status is HoldStatus.GRANTED}
    known = {
        one.claim_id for state in states.values() for one in state.tables.of(CLAIMS) if one.state is ClaimState.GRANTED
    }
    stock = home.inventory.stock(ITEM)
    show(f"{len(at_home)} granted of {SEATS}, {stock.held} held, {home.inventory.free(ITEM)} free")
    assert (len(at_home), stock.granted, home.inventory.free(ITEM)) == (SEATS, SEATS, 0)
    assert known == at_home
    assert known <= crowd.accepted


@pytest.mark.parametrize("failpoint", sorted(CLAIMS_FAILPOINTS | {Failpoint.GROUP_SYNCED, Failpoint.GROUP_FOLDED}))
def test_with_the_log_on_kafka_owners_may_die_as_well(failpoint: Failpoint, tmp_path: Path):
    """In this process, as in tests/actors/test_inventory.py."""
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    from actors.log.kafka import KafkaStore
    from tests.parts.kafka_broker import shared_broker
    from tests.parts.kafka_logs import settings_for

    settings = settings_for(shared_broker(), f"seats-{failpoint.value}", partition_count=3)
    asyncio.run(dying_at(failpoint, tmp_path, logs=lambda: KafkaStore(settings)))
