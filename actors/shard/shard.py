"""A shard: some partitions, one state thread, one server for the edges. A plain class; cluster/ makes it a Ray actor.

It answers calls by handing each to the partition it belongs to (actors/partition/, actors/shard/delivery.py).
"""

import asyncio
import gc
import logging
import os
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

import grpc
import grpc.aio

from actors.clock import Clock, WallClock
from actors.conditions import PartitionLost
from actors.failpoints import Failpoint, reached
from actors.log.contract import Epoch, LogStore, Offset, PartitionId
from actors.partition import answers
from actors.partition.attempts import DecideCall
from actors.partition.caller import NOBODY_LEAVES, Caller
from actors.partition.decider import PartitionDecider
from actors.partition.lease import HeldForGood, Lease
from actors.partition.lineup import Lineup
from actors.partition.owner import PartitionOwner
from actors.partition.ports import OwnerPorts
from actors.partition.recovery import Recovered, open_partition
from actors.partition.requests import Requests
from actors.partition.telemetry import Gauges, Laps, ShardTelemetry
from actors.passing_over import passing_over
from actors.rejects.settings import RejectCounters
from actors.rejects.store import RejectStore
from actors.rejects.stores import RejectStores
from actors.shard import queries
from actors.shard.claims import Forward, ShardClaims
from actors.shard.config import ShardConfig
from actors.shard.delivery import Deliveries
from actors.shard.exchange import ExchangeServicer
from actors.shard.gauges import gauges
from actors.shard.ingesting import ingested
from actors.shard.plans_given import PlansGiven
from actors.shard.refusals import REFUSALS, check_asks_on, not_owned, refused
from actors.shard.rejecting import keep_rejects
from actors.shard.relocations import ShardRelocations
from actors.shard.reports import Reports, check_subscription
from actors.shard.succession import Succession
from actors.shard.warm import warm_kernels
from actors.snapshots.store import SnapshotStore
from actors.snapshots.taking import SnapshotStanding, SnapshotTaker
from actors.state_thread import StateThread
from hearth.internal.v1 import shard_pb2, shard_pb2_grpc
from hearth.v1 import admin_pb2, decision_pb2, delivery_pb2, household_pb2, signal_pb2
from household.contact_rules.share import CapacityShare
from wire import hop
from wire.failures import Failure, failed
from wire.frames import SHARD_OPTIONS

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(slots=True)
class _Owned:
    owner: PartitionOwner
    decider: PartitionDecider
    reports: Reports


class Shard:
    """Owns partitions and answers for them."""

    def __init__(
        self,
        config: ShardConfig,
        logs: LogStore,
        *,
        clock: Clock | None = None,
        lease: Lease | None = None,
        snapshots: SnapshotStore | None = None,
        rejects: LogStore | None = None,
        telemetry: ShardTelemetry | None = None,
        forward: Forward | None = None,
    ) -> None:
        self._config = config
        self._telemetry = telemetry
        if telemetry is not None:
            telemetry.gauges = self._gauges
        self._logs = logs
        self._snapshots = snapshots
        self._clock = clock or WallClock()
        self._owned: dict[int, _Owned] = {}
        self._plans = PlansGiven()
        self._hand_offs: dict[int, asyncio.Lock] = {}
        """By partition: held while it is being assigned or released."""
        self._state_thread = StateThread(f"{config.name}-state")
        self._deliveries = Deliveries(
            lambda: [owned.owner for owned in self._owned.values()],
            self._state_thread,
            redeliver_after_s=config.redeliver_after_s,
            look_every_s=config.tick_interval_s,
        )
        self._appenders = ThreadPoolExecutor(32, thread_name_prefix=f"{config.name}-append")
        self._decoders = ThreadPoolExecutor(1, thread_name_prefix=f"{config.name}-decode")
        self._writers = ThreadPoolExecutor(2, thread_name_prefix=f"{config.name}-snapshot")
        self._ports = OwnerPorts(
            clock=self._clock,
            lease=lease or HeldForGood(),
            state_thread=self._state_thread,
            appenders=self._appenders,
            decoders=self._decoders,
            telemetry=telemetry,
            snapshots=snapshots,
            on_outbox_change=self._deliveries.look,
            on_waiting_change=self._deliveries.look_anew,
            on_claims=lambda: self.claims.look(),
            on_relocations=lambda: self.relocations.look(),
            read_elsewhere=lambda partition, offset: self.relocations.read(partition, offset),
        )
        self.claims = ShardClaims(self._state_thread, self.call, forward, partition_count=config.partition_count)
        self.relocations = ShardRelocations(self._state_thread, self.call, forward)
        self._taker = self._snapshot_taker(snapshots)
        self._succession = Succession(
            logs,
            snapshots,
            partition_count=config.partition_count,
            state_thread=self._state_thread,
            readers=self._appenders,
        )
        self._rejects = RejectStores(rejects, config.rejects, name=f"{config.name}-rejects") if rejects else None
        self._lineup = Lineup()
        self._exchange = ExchangeServicer(self)
        self._server: grpc.aio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def _snapshot_taker(self, store: SnapshotStore | None) -> SnapshotTaker | None:
        if store is None:
            return None
        return SnapshotTaker(
            store,
            self._config.snapshots,
            lambda: [owned.owner for owned in self._owned.values()],
            state_thread=self._state_thread,
            writers=self._writers,
            monotonic_s=time.monotonic,
        )

    async def start(self) -> str:
        """Compile the kernels, open the server; return its address."""
        # Two threads of one process share the interpreter: the default of 5 ms would be a decision's whole deadline.
        sys.setswitchinterval(0.0005)
        await asyncio.to_thread(warm_kernels)
        self._server = hop.shard_server(SHARD_OPTIONS, self._config.installation)
        shard_pb2_grpc.add_ShardServiceServicer_to_server(self._exchange, self._server)
        with passing_over(FileNotFoundError, because="no shard was here before"):
            os.unlink(self._config.address.removeprefix("unix:"))
        port = hop.listen(self._server, self._config.address, self._config.installation)
        is_unix = self._config.address.startswith("unix:")
        if port == 0 and not is_unix:
            raise OSError(f"cannot listen on {self._config.address}")
        await self._server.start()
        self._tasks.append(asyncio.create_task(self._tick()))
        if self._taker is not None:
            self._tasks.append(asyncio.create_task(self._taker.run()))
        gc.freeze()
        return self._config.address if is_unix else f"{self._config.address.rpartition(':')[0]}:{port}"

    async def assign(
        self,
        partition: int,
        *,
        plan_bytes: bytes,
        epoch: int,
        ends_at: int | None = None,
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> int:
        """Take a partition over: fold its log, open a term of at least `epoch`, and serve. Return the term's epoch.

        Called again for a partition it already owns, it changes nothing.

        Args:
            partition: which.
            plan_bytes: the plan to decide by.
            epoch: at least that.
            ends_at: where its log ends, as the owner before said who handed it over; what was prepared then counts.
            check: raises if it is another's by now; asked before anything is opened, and while nothing is handed over.
        """
        async with self._hand_off(partition):
            if partition in self._owned and not self._owned[partition].owner.is_lost:
                return self._owned[partition].owner.epoch
            if check is not None:
                await check()
            return await self._assign(partition, plan_bytes, epoch, ends_at)

    async def prepare(self, partition: int) -> int:
        """Come close behind the owner of a partition that is to be handed over; return how many records that took."""
        return await self._succession.prepare(partition)

    async def forget(self, partition: int) -> None:
        """Follow a partition no more: it is not handed over."""
        await self._succession.forget(partition)

    async def hand_over(self, partition: int, pass_on: Callable[[int], Awaitable[Result]]) -> tuple[int, Result]:
        """Let go of a partition for another shard; return where its log ends, and what `pass_on` returned.

        What waits is refused and nothing of it is written; a group that is being written is seen through.

        Args:
            partition: which.
            pass_on: makes another its owner, given the epoch of the term that has ended. Nobody opens it meanwhile.

        Raises:
            PartitionLost: it is not owned here, or is not any more and the last group's outcome is unknown.
            What `pass_on` raises: it is not owned any more.
        """
        async with self._hand_off(partition):
            owned = self._owned.get(partition)
            if owned is None or owned.owner.is_lost:
                raise PartitionLost
            await owned.owner.begin_hand_over()
            del self._owned[partition]
            owned.decider.stop()
            self.claims.end(partition)
            self.relocations.end(partition)
            end = await owned.owner.let_go()
            reached(Failpoint.MOVE_LET_GO)
            return end, await pass_on(owned.owner.epoch)

    async def ready_plan(self, plan_bytes: bytes) -> str:
        """Read and lay out a plan that is to come into force, beside all that goes on; return its version."""
        return (await asyncio.to_thread(self._plans.ready, plan_bytes)).version

    async def use_plan(self, partition: int, plan_bytes: bytes, number: int) -> bool:
        """Put a plan into force on a partition between two groups; return whether that changed anything.

        `number` is of the change: one that is older than what this shard was told of last is passed over. Raises
        PartitionLost (it is not owned here, or not any more) and NotCurrent; whoever asks asks again.
        """
        owned = self._owned.get(partition)
        if owned is None or owned.owner.is_lost:
            raise PartitionLost
        plan = await asyncio.to_thread(self._plans.ready, plan_bytes)
        if self._plans.is_outdated(number):
            return False
        before = owned.owner.state.plan
        changed = await owned.owner.put_into_force(plan)
        if changed:
            self._deliveries.shares.recode(owned.owner, before)
        return changed

    def _hand_off(self, partition: int) -> asyncio.Lock:
        return self._hand_offs.setdefault(partition, asyncio.Lock())

    async def _assign(self, partition: int, plan_bytes: bytes, epoch: int, ends_at: int | None) -> int:
        await self._release(partition)
        began_s = time.monotonic()
        successor = self._succession.take(partition)
        if successor is not None and ends_at is not None:
            recovered = await successor.recovered(Offset(ends_at))
        else:
            if successor is not None:
                await successor.close()
                successor = None
            recovered = await asyncio.to_thread(open_partition, self._logs, self._snapshots, PartitionId(partition))
            recovered.replay.take_share(CapacityShare(partition, max(self._config.partition_count, partition + 1)))
        loaded_s = time.monotonic()
        rejects = self._reject_store(PartitionId(partition), recovered)
        if successor is not None and rejects is not None:
            successor.hand_on_rejects(rejects)
        owner = PartitionOwner(PartitionId(partition), recovered, self._ports, rejects=rejects)
        try:
            await owner.open(
                plan=await asyncio.to_thread(self._plans.read, plan_bytes),
                owner=self._config.name,
                stream_clock=self._config.stream_clock,
                epoch=Epoch(epoch),
                partition_count=self._config.partition_count,
            )
        except BaseException:
            await owner.close()
            raise
        decider = PartitionDecider(owner, self._state_thread, lambda: self._lineup, requests := Requests())
        self._owned[partition] = _Owned(owner, decider, Reports(owner, requests, self._state_thread))
        self.claims.begin(owner)
        self.relocations.begin(owner)
        self._deliveries.look()
        logger.info(
            "partition %d is open in epoch %d: loaded up to offset %d in %.3f s, %d records with %d events in %.3f s",
            partition,
            owner.epoch,
            recovered.position,
            loaded_s - began_s,
            owner.records_folded,
            owner.events_folded,
            time.monotonic() - loaded_s,
        )
        return owner.epoch

    def _reject_store(self, partition: PartitionId, recovered: Recovered) -> RejectStore | None:
        if self._rejects is None:
            return None
        return self._rejects.open(partition, lambda offset: next(iter(recovered.log.read(offset))).record.payload)

    async def release(self, partition: int) -> None:
        """Finish what waits for a partition and give it up; nothing if it is not owned."""
        async with self._hand_off(partition):
            await self._release(partition)

    async def _release(self, partition: int) -> None:
        owned = self._owned.pop(partition, None)
        if owned is not None:
            owned.decider.stop()
            self.claims.end(partition)
            self.relocations.end(partition)
            await owned.owner.close()

    async def instances(self) -> dict[tuple[str, str], int]:
        """Return how many instances of journeys live in its partitions: (journey, state) → count."""
        return await queries.living_instances([one.owner for one in self._owned.values()], self._state_thread)

    async def use_lineup(self, make: Callable[[], Awaitable[Lineup]]) -> None:
        """Score by other model versions from the next decision on."""
        self._lineup = await make()

    async def drain(self) -> None:
        """Refuse new calls, finish those under way, release every partition."""
        for task in self._tasks:
            task.cancel()
        self._deliveries.end()
        if self._server is not None:
            await self._server.stop(grace=5.0)
        await self._exchange.settled()
        await self._deliveries.shares.settled()
        for partition in list(self._owned):
            await self.release(partition)
        await self._deliveries.shares.settled()
        await self._succession.end()
        if self._rejects is not None:
            await asyncio.to_thread(self._rejects.stop)
        self._state_thread.stop()
        for pool in (self._appenders, self._decoders, self._writers):
            pool.shutdown()

    def report(self) -> dict[int, dict[str, int | str | bool]]:
        """Return per partition: epoch, records, counters, waiting bytes, whether it is lost."""
        return {
            partition: queries.partition_report(owned.owner, self._standing(owned.owner), self._config.installation)
            | (owned.decider.scored() | self.claims.report(partition))
            for partition, owned in self._owned.items()
        }

    def _gauges(self) -> Gauges:
        # In another thread: the copy is one step of the interpreter, and all that is read is a number by itself.
        owners = [owned.owner for owned in tuple(self._owned.values()) if not owned.owner.is_lost]
        return gauges(
            owners,
            [self._standing(owner) for owner in owners],
            taker=self._taker,
            rejects=self._rejects.totals() if self._rejects is not None else RejectCounters(),
            is_lease_held=self._ports.lease.is_held(),
            is_clock_confirmed=self._clock.is_confirmed(),
        )

    def _standing(self, owner: PartitionOwner) -> SnapshotStanding:
        if self._taker is None:
            return SnapshotStanding(tail_events=owner.events_folded)
        return self._taker.standing(owner)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._config.tick_interval_s)
            self._deliveries.shares.settle()
            await self._succession.forget_abandoned()
            for owned in self._owned.values():
                owned.owner.wake()
                owned.owner.heat.look(asyncio.get_running_loop().time())
            self.claims.look_at_stock()

    async def call(self, method: int, partition: int, payload: bytes, caller: Caller | None, traceparent: str) -> bytes:
        """Answer one call of an edge; without a caller, of somebody who stays."""
        caller = caller or NOBODY_LEAVES
        if method == shard_pb2.METHOD_CONFIRM_CLOCK:
            self._clock.confirm()
            return b""
        if self._telemetry is None:
            return await self._call(method, partition, payload, caller, None)
        with self._telemetry.observed(method, partition, traceparent) as laps:
            return await self._call(method, partition, payload, caller, laps)

    async def _call(self, method: int, partition: int, payload: bytes, caller: Caller, laps: Laps | None) -> bytes:
        owned = self._owned.get(partition)
        if owned is None:
            raise not_owned(partition, self._config.name)
        try:
            if owned.owner.is_lost:
                raise PartitionLost
            owned.owner.check_current()
            caller.check()
            answer = await self._answer(owned, method, payload, caller, laps)
            # Append, sync, fold, check the lease, then answer: another may have taken over meanwhile.
            owned.owner.check_current()
            return answer
        except REFUSALS as wrong:
            raise refused(wrong, partition) from wrong

    async def _answer(self, owned: _Owned, method: int, payload: bytes, caller: Caller, laps: Laps | None) -> bytes:
        match method:
            case shard_pb2.METHOD_INGEST:
                return await ingested(owned.owner, self._state_thread, payload, caller)
            case shard_pb2.METHOD_DECIDE:
                return (await self._decide(owned, payload, caller, laps)).SerializeToString()
            case shard_pb2.METHOD_REPORT | shard_pb2.METHOD_ACK:
                told = shard_pb2.ReportCall.FromString(payload)
                if method == shard_pb2.METHOD_ACK:
                    return (await owned.reports.ack(told, caller)).SerializeToString()
                return (await owned.reports.report(told, caller)).SerializeToString()
            case shard_pb2.METHOD_GET:
                get = household_pb2.GetRequest.FromString(payload)
                return (await queries.get(owned.owner, self._state_thread, get)).SerializeToString()
            case shard_pb2.METHOD_EXPLAIN:
                explain = household_pb2.ExplainRequest.FromString(payload)
                return (await queries.explain(owned.owner, self._state_thread, explain)).SerializeToString()
            case shard_pb2.METHOD_DECISIONS:
                newest = household_pb2.DecisionsRequest.FromString(payload)
                return (await queries.decisions(owned.owner, self._state_thread, newest)).SerializeToString()
            case shard_pb2.METHOD_GRAPH:
                question = shard_pb2.GraphQuestion.FromString(payload)
                return (await queries.graph(owned.owner, self._state_thread, question)).SerializeToString()
            case shard_pb2.METHOD_SNAPSHOT:
                return (await self._snapshot(owned)).SerializeToString()
            case shard_pb2.METHOD_INVENTORY:
                return await self.claims.answer(owned.owner.partition, payload)
            case shard_pb2.METHOD_RELOCATE | shard_pb2.METHOD_RECORD:
                return await self.relocations.answer(method, owned.owner.partition, payload)
            case shard_pb2.METHOD_DESCRIBE:
                signal_pb2.DescribeRequest.FromString(payload)
                return answers.description(owned.owner.state.plan).SerializeToString()
            case shard_pb2.METHOD_REJECT:
                return (await keep_rejects(owned.owner, payload, self._clock.now_us())).SerializeToString()
            case _:
                raise failed(Failure.UNKNOWN_METHOD, f"method {method} is not known here")

    async def _snapshot(self, owned: _Owned) -> admin_pb2.PartitionSnapshot:
        if self._taker is None:
            raise failed(Failure.NO_SNAPSHOTS, "this shard takes no snapshots")
        facts = await self._taker.take(owned.owner)
        return admin_pb2.PartitionSnapshot(
            partition=facts.partition,
            position=facts.position,
            epoch=facts.epoch,
            households=facts.households,
            bytes=facts.size_bytes,
        )

    async def _decide(
        self, owned: _Owned, payload: bytes, caller: Caller, laps: Laps | None
    ) -> decision_pb2.DecideResponse:
        call = shard_pb2.DecideCall.FromString(payload)
        check_asks_on(owned.owner.state.plan, call.request.channel)
        return await owned.decider.decide(
            DecideCall(
                household=call.request.household.encode(),
                identifier=call.request.identifier,
                member=call.request.member.encode(),
                channel=call.request.channel,
                request_id=call.request.request_id,
                request_hash=call.request_hash,
                signal_batch=call.signal_batch,
                caller=caller,
                laps=laps,
            )
        )

    async def deliveries(
        self, channels: Sequence[str], group: str = ""
    ) -> AsyncGenerator[delivery_pb2.SubscribeResponse, None]:
        """Yield outbound actions of all partitions of this shard, each as it becomes due.

        Args:
            channels: names of those that the gateway serves.
            group: whose share it takes part in.

        Raises:
            CallFailed: INVALID_ARGUMENT; the playbook has no such channel, or lists groups for it and not this one.
        """
        for owned in self._owned.values():
            check_subscription(owned.owner.state.plan, channels, group)
        subscription = self._deliveries.subscribe(channels, group)
        try:
            async with aclosing(subscription.stream()) as deliveries:
                async for delivery in deliveries:
                    yield delivery
        finally:
            subscription.close()
