"""Traffic that outlives shards: households that send, ask and report, and a gateway that takes what is handed over.

Every call is tried until it is answered, with the same ids. Households are taken from a front that moves on, so that
there are always some about whom little is known. All chance comes from a seed.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable

import grpc.aio

from hearth.v1 import delivery_pb2, signal_pb2
from serving.shard_channel import ShardChannel
from tests.actors.harness import DAY, signal
from tests.chaos.client import Client
from tests.chaos.gateway import Delivery, GatewayLedger
from tests.chaos.history import Call, History

CALL_TIMEOUT_S = 5.0
OUTBOUND = ("push", "sms")
MEMBERS = ("ann", "bob")


class Load:
    """Sources, members and one gateway, all over one channel to the shard."""

    def __init__(self, channel: ShardChannel, partition_count: int, *, seed: int, prefix: str = "home") -> None:
        self._channel = channel
        self.history = History()
        self.ledger = GatewayLedger()
        self._client = Client(self._call, partition_count, self.history)
        self._chance = random.Random(seed)
        self._prefix = prefix
        self._numbers = 0
        self._picked = 0
        self._sent: list[signal_pb2.Signal] = []
        """The newest that were sent, to be sent again now and then."""
        self._is_ending = False
        self._tasks: list[asyncio.Task[None]] = []
        self._gateway: asyncio.Task[None] | None = None
        self._acks: set[asyncio.Task[None]] = set()

    async def _call(self, method: int, partition: int, payload: bytes) -> bytes:
        return await self._channel.call(method, partition, payload, timeout_s=CALL_TIMEOUT_S)

    def begin(self, *, sources: int = 3, members: int = 8) -> None:
        """Start the traffic."""
        self._gateway = asyncio.create_task(self._take_deliveries())
        for _ in range(sources):
            self._tasks.append(asyncio.create_task(self._repeat(self._send, pause_s=0.02)))
        for _ in range(members):
            self._tasks.append(asyncio.create_task(self._repeat(self._visit, pause_s=0.03)))

    async def end(self) -> None:
        """Let every call that is under way be answered; the gateway goes on, and refuses nothing any more."""
        self._is_ending = True
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Stop the gateway once its acknowledgements are answered."""
        if self._gateway is not None:
            assert not self._gateway.done(), f"the gateway gave up: {self._gateway}"
            self._gateway.cancel()
            await asyncio.gather(self._gateway, return_exceptions=True)
        await asyncio.gather(*self._acks)

    def cancel(self) -> None:
        """Stop everything where it is."""
        for task in [*self._tasks, *self._acks, *filter(None, [self._gateway])]:
            task.cancel()

    async def _repeat(self, step: Callable[[], Awaitable[None]], *, pause_s: float) -> None:
        while not self._is_ending:
            await step()
            await asyncio.sleep(self._chance.uniform(0, 2 * pause_s))

    async def _surely(self, attempt: Callable[[], Awaitable[Call]]) -> Call:
        """Call until there is an answer."""
        while True:
            call = await attempt()
            if call.is_ok:
                return call
            await asyncio.sleep(0.01)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._channel.connected()

    # --- sources -----------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        chance = self._chance
        signals = [self._signal(self._household()) for _ in range(chance.choice((1, 2, 5, 20)))]
        if chance.random() < 0.4:
            household, member = self._household(), chance.choice(MEMBERS)
            signals += [self._signal(household, kind, member) for kind in ("consent", "check", "check")]
        if chance.random() < 0.5:
            signals += chance.sample(self._sent, min(len(self._sent), 1 + len(signals) // 5))
        if chance.random() < 0.2:
            signals.append(chance.choice(signals))
        self._sent = [*self._sent, *signals][-200:]
        for piece in self._client.pieces(signals).values():
            await self._surely(lambda piece=piece: self._client.ingest(piece))

    def _household(self) -> str:
        self._picked += 1
        front = 20 + self._picked // 12
        return f"{self._prefix}-{front - self._chance.randrange(20)}"

    def _name(self, what: str) -> str:
        self._numbers += 1
        return f"{what}-{self._prefix}-{self._numbers}"

    def _signal(self, household: str, kind: str = "", member: str = "") -> signal_pb2.Signal:
        chance, now_us = self._chance, time.time_ns() // 1_000
        kinds = ("consent", "check", "visit", "pay", "opt_out", "opt_in", "poor", "late", "strange")
        kind = kind or chance.choices(kinds, (20, 40, 10, 20, 2, 3, 1, 1, 1))[0]
        member = member or chance.choice(MEMBERS)
        named = {"member": member}
        match kind:
            case "consent":
                return signal(
                    self._name("e"), household, kind, now_us, fields={"marketing": chance.random() < 0.9}, **named
                )
            case "pay":
                fields = {"amount": float(chance.randrange(1_000)), "pack": chance.choice(("film", "kids"))}
                return signal(self._name("e"), household, kind, now_us, fields=fields, **named)
            case "poor":
                return signal(self._name("e"), household, "pay", now_us, **named)
            case "late":
                return signal(self._name("e"), household, "visit", now_us - 2 * DAY, **named)
        return signal(self._name("e"), household, kind, now_us, **named)

    # --- members -----------------------------------------------------------------------------------------------------

    async def _visit(self) -> None:
        """Ask once, and tell what became of it; after a decline, ask elsewhere."""
        chance = self._chance
        household, member, channel = self._household(), chance.choice((*MEMBERS, "")), chance.choice(("app", "web"))
        signals = []
        if member and chance.random() < 0.4:
            signals = [self._signal(household, chance.choice(("check", "visit")), member)]
        call = await self._ask(household, member, channel, signals)
        if call.offered_status != "live":
            return
        outcome = chance.choice(("decline", "decline", "accept", "impression", "click", ""))
        if not outcome:
            return
        request_id = self._name("r")

        async def report() -> Call:
            return await self._client.report(
                household, call.offered_action, outcome, member=member, channel=channel, request_id=request_id
            )

        # Others of the household ask just before it is told, so that it arrives while they are being answered.
        asking = [
            asyncio.create_task(self._ask(household, other, chance.choice(("app", "web")), []))
            for other in MEMBERS
            if other != member and chance.random() < 0.5
        ]
        await asyncio.sleep(chance.uniform(0, 0.005))
        await self._surely(report)
        await asyncio.gather(*asking)
        if outcome in ("decline", "accept"):
            await self._ask(household, chance.choice(MEMBERS), chance.choice(("app", "web")), [])

    async def _ask(self, household: str, member: str, channel: str, signals: list[signal_pb2.Signal]) -> Call:
        request_id = self._name("q")

        async def attempt() -> Call:
            return await self._client.decide(household, signals, member=member, channel=channel, request_id=request_id)

        call = await self._surely(attempt)
        if self._chance.random() < 0.1:
            call = await self._surely(attempt)
        return call

    # --- the gateway -------------------------------------------------------------------------------------------------

    async def _take_deliveries(self) -> None:
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for delivery in self._channel.deliveries(OUTBOUND):
                    self._take(delivery)
            await asyncio.sleep(0.01)

    def _take(self, delivery: delivery_pb2.SubscribeResponse) -> None:
        key = delivery.action.action_id
        noted = Delivery(
            received=self.history.ticket(),
            household=delivery.household,
            member=delivery.member,
            action_id=key,
            decision_id=delivery.decision_id,
            offer=delivery.action.offer,
            family=delivery.action.family,
            channel=delivery.action.treatment.channel,
            attempt=delivery.attempt,
        )
        is_new = self.ledger.receive(noted)
        lot = random.Random(key).random()
        if lot < 0.1 or (lot < 0.3 and is_new and not self._is_ending):
            return  # it will be handed over again, the first tenth until it expires
        task = asyncio.create_task(self._ack(delivery.household, key, delivery.channel, delivered=lot < 0.9))
        self._acks.add(task)
        task.add_done_callback(self._acks.discard)

    async def _ack(self, household: str, key: str, channel: str, *, delivered: bool) -> None:
        request_id = f"ack-{key}-{channel}"
        await self._surely(
            lambda: self._client.ack(household, key, channel=channel, delivered=delivered, request_id=request_id)
        )
