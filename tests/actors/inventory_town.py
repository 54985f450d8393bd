"""Some shards in one process that share an item: a post between them that loses and doubles, and owners that die.

An owner dies where it writes: at a failpoint its append, sync or fold ends in an error, which ends its term, memory and
all, and whoever owns the partition next reads the log. What had been written by then is there, and nobody was answered.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import grpc

from actors import failpoints
from actors.conditions import PartitionLost
from actors.failpoints import Failpoint
from actors.log.contract import LogStore
from actors.log.segments import SegmentStore
from actors.partition.caller import Caller
from actors.partition.owner import PartitionOwner
from actors.shard.config import ShardConfig
from actors.shard.shard import Shard
from actors.state_thread import Urgency
from household.plan import Plan
from household.state import PartitionState
from household.tables.claims import CLAIMS, ClaimState
from household.tables.holds import HOLDS, HoldStatus
from tests.actors.harness import DiskFiles, Hearth, SettableClock, Standing, corner
from wire.failures import CallFailed, Failure, failed
from wire.partitions import partition_of

ITEM = "seats"


def seats(number: int, hold: str = "15m") -> Plan:
    """Return a playbook in which films come with a seat, and are worth most; series are there for all."""
    return corner(
        ("offers:\n", f"inventory:\n  {ITEM}: {{number: {number}, hold: {hold}}}\noffers:\n"),
        ("margin: 3, prior: 0.2, standing: true", f"margin: 3, prior: 0.9, item: {ITEM}, standing: true"),
    )


class Killed(Exception):
    """The process ended here."""


KILLED_AT = (
    Failpoint.GROUP_FORMED,
    Failpoint.GROUP_WRITTEN,
    Failpoint.GROUP_SYNCED,
    Failpoint.GROUP_FOLDED,
    Failpoint.CLAIMS_FORMED,
    Failpoint.CLAIMS_SYNCED,
    Failpoint.TICK_SYNCED,
)


class Town(Hearth):
    """Several shards; calls go to whoever owns the partition, and again to the next owner if that one dies."""

    def __init__(
        self,
        directory: Path,
        *,
        shard_count: int,
        partition_count: int,
        plan: Plan,
        seed: int = 0,
        loss: float = 0.0,
        doubling: float = 0.0,
        logs: Callable[[], LogStore] | None = None,
        epoch: int = 1,
    ) -> None:
        self.directory, self.clock, self.plan = directory, SettableClock(), plan
        self.partitions = tuple(range(partition_count))
        self.random = Random(seed)
        self.loss, self.doubling = loss, doubling
        self.deaths = Counter[Failpoint]()
        self.kill_one_in = 0
        """Of so many failpoints that are reached, one is where an owner dies; 0 for none."""
        self.kill_at: Failpoint | None = None
        """The next time that it is reached, its owner dies."""
        make = logs or (lambda: SegmentStore(directory, files=DiskFiles()))
        self.shards = [
            Shard(
                ShardConfig(
                    name=f"shard-{number}", address="unix:", partition_count=partition_count, tick_interval_s=600.0
                ),
                make(),
                clock=self.clock,
                forward=self.forward,
            )
            for number in range(shard_count)
        ]
        self.place = {partition: self.shards[partition % shard_count] for partition in self.partitions}
        self._opening: dict[int, asyncio.Lock] = {}
        self.first_epoch = epoch
        self._epochs = itertools.count(epoch + 1)
        self._letters: set[asyncio.Task[Any]] = set()

    @property
    def home(self) -> int:
        """The item's home partition."""
        return partition_of(ITEM.encode(), len(self.partitions))

    def reached(self, failpoint: Failpoint) -> None:
        """A failpoint is reached, in whatever thread."""
        if failpoint not in KILLED_AT and failpoint not in failpoints.RELOCATIONS:
            return
        if self.kill_at is failpoint:
            self.kill_at = None
        elif not self.kill_one_in or self.random.randrange(self.kill_one_in):
            return
        self.deaths[failpoint] += 1
        raise Killed(failpoint.value)

    async def call(self, method: int, partition: int, payload: bytes, *, timeout_s: float | None = None) -> bytes:
        """Return the answer of the partition's owner; the next one's, if that one dies."""
        while True:
            try:
                return await self.place[partition].call(method, partition, payload, Caller(timeout_s), "")
            except CallFailed as failure:
                is_dead = failure.code is grpc.StatusCode.UNAVAILABLE or failure.reason == Failure.NOT_OWNED_HERE.reason
                if not is_dead:
                    raise
                await self._revive(partition)

    async def _revive(self, partition: int) -> None:
        """Give a partition whose owner is dead to another shard."""
        async with self._opening.setdefault(partition, asyncio.Lock()):
            shard = self.place[partition]
            facts = shard.report().get(partition)
            if facts is not None and not facts["is_lost"]:
                return
            await shard.release(partition)
            while True:
                self.place[partition] = shard = self.random.choice(self.shards)
                try:
                    epoch = next(self._epochs)
                    await shard.assign(partition, plan_bytes=self.plan.canonical_bytes, epoch=epoch)
                except (Killed, PartitionLost):
                    continue
                return

    async def forward(self, method: int, partition: int, payload: bytes) -> bytes:
        """Between shards: lost on the way there or back, or come twice."""
        if self.random.random() < self.loss:
            raise failed(Failure.SHARD_UNREACHABLE, "lost on its way")
        if self.random.random() < self.doubling:
            letter = asyncio.create_task(self._late(method, partition, payload))
            self._letters.add(letter)
            letter.add_done_callback(self._letters.discard)
        answer = await self.place[partition].call(method, partition, payload, None, "")
        if self.random.random() < self.loss:
            raise failed(Failure.OUTCOME_UNKNOWN, "the answer was lost")
        return answer

    async def _late(self, method: int, partition: int, payload: bytes) -> None:
        for _ in range(self.random.randrange(20)):
            await asyncio.sleep(0)
        try:
            await self.place[partition].call(method, partition, payload, None, "")
        except CallFailed:
            return

    async def revive(self) -> None:
        """Every partition has an owner."""
        for partition in self.partitions:
            await self._revive(partition)

    async def settle(self) -> None:
        """Send until nothing waits any more, and all know what is free."""
        passes = 0
        while passes < 2:  # after the first nothing waits, but who was asked early in it knows of before
            is_settled = True
            await self.revive()
            for partition in self.partitions:
                try:
                    is_settled &= await self.place[partition].claims.round(partition)
                    is_settled &= not await self.in_state(lambda state: state.inventory.may_have_open, partition)
                except (KeyError, PartitionLost):
                    is_settled = False
            passes = passes + 1 if is_settled else 0

    async def tick(self) -> None:
        """Let all owners look at the time."""
        for partition in self.partitions:
            while True:
                await self.revive()
                owner = self.owner(partition)
                owner.wake()
                try:
                    await owner.between_groups(_nothing)
                except PartitionLost:
                    continue
                break

    def owner(self, partition: int = 0) -> PartitionOwner:
        return self.place[partition]._owned[partition].owner

    async def in_state(self, read: Callable[[PartitionState], Any], partition: int = 0) -> Any:
        owner = self.owner(partition)
        return await self.place[partition]._state_thread.run(Urgency.INGEST, lambda: read(owner.state))

    # --- how things are ---

    async def stock(self) -> tuple[int, int, int]:
        """Return units granted, held and free, after having counted who has them."""

        def read(state: PartitionState) -> tuple[int, int, int]:
            holds = Counter(one.status for one in state.tables.of(HOLDS))
            stock, free = state.inventory.stock(ITEM), state.inventory.free(ITEM)
            assert (holds[HoldStatus.GRANTED], holds[HoldStatus.HELD]) == (stock.granted, stock.held)
            assert stock.granted + stock.held + free == state.plan.inventory[0].number
            return stock.granted, stock.held, free

        found: tuple[int, int, int] = await self.in_state(read, self.home)
        return found

    async def claims(self) -> Counter[ClaimState]:
        """Return how many claims of households are in which state."""
        found = Counter[ClaimState]()
        for partition in self.partitions:
            found.update(await self.in_state(lambda state: [one.state for one in state.tables.of(CLAIMS)], partition))
        return found

    async def standing_of_all(self) -> dict[int, Standing]:
        """Return how each partition stands, and at which end of its log."""
        return {partition: await self.standing(partition) for partition in self.partitions}


async def _nothing() -> None: ...


def check_replay(directory: Path, live: Mapping[int, Standing]) -> None:
    """See that the logs of a town that has ended fold to how its partitions stood."""
    assert {one: Standing.replayed(directory, one, stood.end) for one, stood in live.items()} == live


@asynccontextmanager
async def a_town(directory: Path, **named: Any) -> AsyncIterator[Town]:
    """Run a town until the end of the block."""
    town = Town(directory, **named)
    failpoints.arm(town.reached)
    try:
        for partition in town.partitions:
            shard = town.place[partition]
            await shard.assign(partition, plan_bytes=town.plan.canonical_bytes, epoch=town.first_epoch)
        yield town
    finally:
        failpoints.arm(lambda _: None)
        for letter in tuple(town._letters):
            letter.cancel()
        for shard in town.shards:
            await shard.drain()
