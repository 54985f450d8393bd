"""What a partition's households claim of scarce items, on its way to the items' home partitions and back.

A claim is a row of the state, and is sent again until its home has answered; the answer is a record (the protocol:
household/inventory.py). Nobody waits for it: a decision goes by what homes last told. They are asked as soon as a claim
waits, and at each look for how much is free.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial

from actors.conditions import NotCurrent, PartitionLost
from actors.partition.caller import Caller
from actors.partition.owner import PartitionOwner
from actors.partition.stock_told import ITEM
from actors.passing_over import passing_over
from actors.records import codec
from actors.state_thread import StateThread, Urgency
from hearth.internal.v1 import shard_pb2
from household.inventory_notes import InventoryNote, WishTold
from wire.failures import CallFailed
from wire.partitions import partition_of

logger = logging.getLogger(__name__)

Forward = Callable[[int, int, bytes], Awaitable[bytes]]
"""Brings a call (method, partition, payload) to the partition's owner; returns its answer. Raises CallFailed."""

CallHere = Callable[[int, int, bytes, Caller | None, str], Awaitable[bytes]]
"""As Shard.call."""

CLAIMS_AT_ONCE = 1_000
"""Sent in one round, and written in one record."""

PAUSE_S = 0.1
"""After a round in which a home did not answer."""


class ShardClaims:
    """The claims of all partitions of a shard. For one event loop."""

    def __init__(
        self, state_thread: StateThread, call: CallHere, forward: Forward | None, *, partition_count: int
    ) -> None:
        """Take what answers calls to the shard's own partitions, and what brings calls to others, if anything does."""
        self._state_thread = state_thread
        self._call = call
        self._forward_away = forward
        self._partition_count = partition_count
        self._by_partition: dict[int, Claims] = {}

    def begin(self, owner: PartitionOwner) -> None:
        """Send what waits in a partition from now on."""
        self.end(owner.partition)
        count = self._partition_count
        self._by_partition[owner.partition] = Claims(owner, self._state_thread, self._forward, partition_count=count)

    def end(self, partition: int) -> None:
        """Send nothing more of a partition: whoever owns it next does."""
        if (claims := self._by_partition.pop(partition, None)) is not None:
            claims.stop()

    def look(self) -> None:
        """Send what waits, soon."""
        for claims in self._by_partition.values():
            claims.look()

    def look_at_stock(self) -> None:
        """Ask, soon, how much is free."""
        for claims in self._by_partition.values():
            claims.look_at_stock()

    async def answer(self, partition: int, payload: bytes) -> bytes:
        """Answer another partition's claims; raises as Claims.answer does, and PartitionLost."""
        claims = self._by_partition.get(partition)
        if claims is None:
            raise PartitionLost
        return await claims.answer(payload)

    def report(self, partition: int) -> dict[str, int | str | bool]:
        """Return how many units of the items whose home a partition is are granted, held and free, as it last told."""
        claims = self._by_partition.get(partition)
        return {} if claims is None else dict(claims.stock)

    async def round(self, partition: int) -> bool:
        """Ask homes once, how much is free too; see Claims.round."""
        claims = self._by_partition[partition]
        claims.look_at_stock()
        return await claims.round()

    async def _forward(self, partition: int, payload: bytes) -> bytes:
        if partition in self._by_partition or self._forward_away is None:
            return await self._call(shard_pb2.METHOD_INVENTORY, partition, payload, None, "")
        return await self._forward_away(shard_pb2.METHOD_INVENTORY, partition, payload)


class Claims:
    """The claims of one partition's households, and what the partition is home of."""

    def __init__(
        self,
        owner: PartitionOwner,
        state_thread: StateThread,
        forward: Callable[[int, bytes], Awaitable[bytes]],
        *,
        partition_count: int,
    ) -> None:
        self._owner = owner
        self._state_thread = state_thread
        self._forward = forward
        self._partition_count = max(partition_count, owner.partition + 1)
        self._changed = asyncio.Event()
        self._should_look = True
        self.stock: dict[str, int] = {}
        """For a shard's report."""
        self._changed.set()
        task = asyncio.create_task(self._work(), name=f"claims-{owner.partition}")
        self._task: asyncio.Task[None] | None = owner.supervised(task)

    def stop(self) -> None:
        """Send nothing more; what waits is sent by whoever owns the partition next.

        Nothing of it refers to the task any more: what is frozen for the garbage collector would keep the owner.
        """
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def look(self) -> None:
        """Send what waits, soon."""
        if self._owner.state.inventory.may_have_open:
            self._changed.set()

    def look_at_stock(self) -> None:
        """Ask, soon, how much is free."""
        if self._owner.state.plan.inventory:
            self._should_look = True
            self._changed.set()

    async def answer(self, payload: bytes) -> bytes:
        """Return, as the home of items, what was made of claims of another partition's households.

        Raises:
            PayloadUnreadable, and what PartitionOwner.note_inventory raises.
        """
        asked = codec.decode_inventory(payload).asked
        if asked:
            await self._owner.note_inventory(InventoryNote(asked=asked))

        def told() -> InventoryNote:
            state = self._owner.state_as_of_now()
            mine = [one.name for one in state.plan.inventory if self.home_of(one.name) == self._owner.partition]
            inventory = state.inventory
            self.stock = {
                f"{ITEM}{name} {what}": count
                for name in mine
                for stock in (inventory.stock(name),)
                for what, count in (
                    ("granted", stock.granted),
                    ("held", stock.held),
                    ("free", inventory.free(name)),
                )
            }
            return InventoryNote(answered=inventory.answers(state, asked), stock=inventory.stock_told(mine))

        return codec.encode_inventory(await self._state_thread.run(Urgency.DECISION, told))

    def home_of(self, item: str) -> int:
        """Return the home partition of an item."""
        return partition_of(item.encode(), self._partition_count)

    async def _work(self) -> None:
        while self._owner.is_open:
            await self._changed.wait()
            self._changed.clear()
            if not await self.round():
                await asyncio.sleep(PAUSE_S)
                self._changed.set()

    async def round(self) -> bool:
        """Ask homes once, and write what they answer; return whether all did."""
        should_look, self._should_look = self._should_look, False
        asked, homes = await self._state_thread.run(Urgency.INGEST, partial(self._to_ask, should_look=should_look))
        if not homes:
            return True
        answers = await asyncio.gather(*(self._ask(home, asked.get(home, ())) for home in homes))
        told = [one for one in answers if one is not None]
        answered = tuple(one for note in told for one in note.answered)
        stock = tuple(one for note in told for one in note.stock)
        with passing_over(NotCurrent, PartitionLost, because="whoever owns the partition next asks again"):
            await self._owner.note_inventory(InventoryNote(answered=answered, stock=stock))
        if len(told) < len(homes):
            self._should_look |= should_look
        return len(told) == len(homes) and len(answered) == sum(map(len, asked.values()))

    def _to_ask(self, *, should_look: bool) -> tuple[dict[int, list[WishTold]], list[int]]:
        """Return what is asked, by home, and all homes that are asked anything. In the state thread."""
        state = self._owner.state
        asked: defaultdict[int, list[WishTold]] = defaultdict(list)
        for one in state.inventory.open_claims(CLAIMS_AT_ONCE):
            asked[self.home_of(one.item)].append(one)
        looked_at = [self.home_of(one.name) for one in state.plan.inventory] if should_look else []
        return asked, sorted({*asked, *looked_at})

    async def _ask(self, home: int, asked: "list[WishTold] | tuple[()]") -> InventoryNote | None:
        payload = codec.encode_inventory(InventoryNote(asked=tuple(asked)))
        try:
            return codec.decode_inventory(await self._forward(home, payload))
        except CallFailed as away:
            logger.debug("partition %d: home %d of scarce items: %s", self._owner.partition, home, away)
            return None
