"""Laws, on a real `hearth up` with four shards that are killed with SIGKILL, over its public port: households of all
partitions merge while payments of theirs come, each at least twice; at the end each pair lies in one partition, no
signal of theirs is lost or counted twice, and every log folds to a state in which nothing waits. And with the log on
Kafka owners may die where they write as well.

How many, and how often: CHAOS_MERGES, CHAOS_SHARD_KILLS. What came of it is printed (-s).
"""

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from actors.failpoints import RELOCATIONS, Failpoint
from hearth.v1 import household_pb2, signal_pb2
from household.state import NO_MEMBER, PartitionState
from household.tables.relocations import HERE
from tests.actors.harness import CORNER, replayed, signal
from tests.actors.test_relocations import dying_at
from tests.chaos.cluster_processes import Part, find
from tests.chaos.public_client import PublicChannel
from tests.end_to_end.hearth_process import Hearth, running

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(1_200)]

MERGES = int(os.environ.get("CHAOS_MERGES", "2000"))
KILLS = int(os.environ.get("CHAOS_SHARD_KILLS", "6"))
SIGNALS_EACH, AT_ONCE, BATCH = 4, 16, 10
SHARDS, PARTITIONS = 4, 8
CALL_TIMEOUT_S, TOGETHER_WITHIN_S = 5.0, 300.0


def told() -> Iterator[list[signal_pb2.Signal]]:
    """Yield batches of what is told of pairs of households: payments of both, and in between that they are one."""
    dice, batch = random.Random(1), list[signal_pb2.Signal]()
    for number in range(MERGES):
        pair = [f"a{number}", f"b{number}"]
        for visit in range(SIGNALS_EACH):
            batch.append(_now(f"p{visit}-{number}", dice.choice(pair), "pay"))
            batch[-1].fields["amount"].number = 1.0
            if visit == SIGNALS_EACH // 2:
                merge = _now(f"m-{number}", pair[0], "hearth.graph.merge")
                merge.fields["other"].text = pair[1]
                batch.append(merge)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _now(event_id: str, household: str, kind: str) -> signal_pb2.Signal:
    made = signal(event_id, household, kind, 0)
    made.ClearField("time")
    made.time.GetCurrentTime()
    return made


async def tell_all(channel: PublicChannel, hearth: Hearth) -> Counter[str]:
    """Tell everything twice, some at once, while shards are killed; return what became of the signals."""
    batches = [batch for batch in told() for _ in range(2)]
    random.Random(2).shuffle(batches)
    counts, left, killed = Counter[str](), iter(batches), 0

    async def one_by_one() -> None:
        nonlocal killed
        for place, batch in enumerate(left):
            answer = await _insist(channel.signals.Ingest, signal_pb2.IngestRequest(signals=batch))
            for name in ("received", "applied", "duplicate", "late", "rejected"):
                counts[name] += getattr(answer.counts, name)
            if killed < KILLS and place and counts["received"] > killed * len(batches) * BATCH // (KILLS + 1):
                killed += 1
                random.choice(find(hearth.process.pid, Part.SHARD) or [_Nobody()]).kill()

    await asyncio.gather(*(one_by_one() for _ in range(AT_ONCE)))
    return counts


class _Nobody:
    def kill(self) -> None: ...


async def _insist(call, request):
    while True:
        try:
            return await call(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as failure:
            if failure.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL):
                raise
            await asyncio.sleep(random.uniform(0.05, 0.3))


async def all_together(channel: PublicChannel) -> None:
    """Wait until each pair is found as one household by both names."""
    async with asyncio.timeout(TOGETHER_WITHIN_S):
        for number in range(MERGES):
            while True:
                found = [
                    await _insist(channel.households.Get, household_pb2.GetRequest(household=name))
                    for name in (f"a{number}", f"b{number}")
                ]
                if found[0].household == found[1].household and found[0].partition == found[1].partition:
                    break
                await asyncio.sleep(0.05)


def show(line: str) -> None:
    print(f"\n    {line}", file=sys.stderr)


def test_pairs_come_together_and_nothing_is_lost_or_counted_twice(tmp_path: Path):
    playbook = tmp_path / "corner.yaml"
    playbook.write_text(CORNER, encoding="utf-8")
    options = ("--playbook", str(playbook), "--shards", str(SHARDS), "--partitions", str(PARTITIONS))

    async def told_to(hearth: Hearth) -> Counter[str]:
        channel = PublicChannel(hearth.address)
        await channel.connected()
        try:
            counts = await tell_all(channel, hearth)
            await all_together(channel)
        finally:
            await channel.close()
        return counts

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEARTH_EDGE_COUNT", "1")
        patch.setenv("HEARTH_LEASE_TERM_S", "2.5")
        with running(tmp_path / "data", *options) as hearth:
            counts = asyncio.run(told_to(hearth))
            hearth.stop()
    states = {one: replayed(tmp_path / "data" / "log", one) for one in range(PARTITIONS)}
    show(f"{MERGES:,} pairs: {dict(counts)}; {sum(_relocated(state) for state in states.values()):,} names relocated")
    assert counts["late"] == counts["rejected"] == 0
    assert not any(len(state.departures) + len(state.waiting) for state in states.values())
    paid = Counter(number for state in states.values() for number in _paid(state))
    assert paid == {f"{number}": SIGNALS_EACH for number in range(MERGES)}, "a signal was lost, or counted twice"


def _relocated(state: PartitionState) -> int:
    return sum(one.partition == HERE for one in state.places)


def _paid(state: PartitionState) -> Iterator[str]:
    """Yield the number of a pair for each payment of theirs that a partition has counted."""
    feature = next(place for place, one in enumerate(state.plan.features) if one.name == "household.payments")
    for event in state.graph.membership.events.values():
        row = state.households.find(event.household.encode())
        row = row if row >= 0 else state.households.find(event.other.encode())
        count = state.readings(row, NO_MEMBER, state.now_us)[feature] if row >= 0 else 0.0
        yield from [event.household.removeprefix("a")] * int(count)


@pytest.mark.parametrize("failpoint", sorted(RELOCATIONS | {Failpoint.GROUP_SYNCED, Failpoint.GROUP_FOLDED}))
def test_with_the_log_on_kafka_owners_may_die_as_well(failpoint: Failpoint, tmp_path: Path):
    """In this process, as in tests/actors/test_relocations.py."""
    pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    from actors.log.kafka import KafkaStore
    from tests.parts.kafka_broker import shared_broker
    from tests.parts.kafka_logs import settings_for

    settings = settings_for(shared_broker(), f"relocations-{failpoint.value}", partition_count=3)
    asyncio.run(dying_at(failpoint, tmp_path, logs=lambda: KafkaStore(settings)))
