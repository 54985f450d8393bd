"""A shard in this process, without Ray and without a server: real segment files, a clock that a test sets, and calls as
the edge makes them. Disk and scorer can be stopped, released and broken from outside.
"""

import asyncio
import errno
import functools
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from actors.log.contract import PartitionId, RecordKind, StoredRecord
from actors.log.files import Files
from actors.log.segments import SegmentSettings, SegmentStore
from actors.partition.caller import Caller
from actors.partition.lease import Lease
from actors.partition.lineup import Lineup
from actors.partition.owner import PartitionOwner
from actors.records.replay import Replay
from actors.rejects.settings import RejectSettings
from actors.shard.config import ShardConfig
from actors.shard.shard import Shard
from actors.snapshots.store import snapshot_store
from actors.snapshots.taking import SnapshotPolicy
from actors.state_thread import Urgency
from hearth.internal.v1 import shard_pb2
from hearth.v1 import admin_pb2, decision_pb2, delivery_pb2, household_pb2, signal_pb2
from household.digest import household_digests, state_digest
from household.events import NO_TIME_US
from household.plan import Plan
from household.scoring import Scored, Scorer, Way
from household.state import PartitionState
from playbooks.compiler import compile_playbook
from serving import identity
from serving.signal_batches import DELIVERED, TYPE_BY_OUTCOME, UNDELIVERED, batch_from_signals, report_batch
from serving.totals import merged_response
from wire.batches import ipc_bytes
from wire.failures import CallFailed
from wire.partitions import partition_of, split_by_partition

SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000

MONDAY = 1_736_157_600 * SECOND
"""Monday 2025-01-06, 10:00 UTC."""

TEST_TIMEOUT_S = 60.0
HELD_S = 2.0
"""A group that takes longer is held by its test."""

_numbers = itertools.count(1)

CORNER = """\
playbook:
  name: corner
  currency: EUR
  clock: {lateness: 1d, future: 5m, request_window: 1d}
fields: {amount: number, marketing: flag, pack: [film, kids]}
events:
  visit: {source: app}
  check: {source: app}
  pay: {source: wallet, fields: {amount: {required: true, min: 0, max: 1000000}, pack: optional}}
  consent: {source: app, fields: {marketing: required}}
  opt_out: {source: app}
  opt_in: {source: app}
features:
  member.checks_7d: {kind: newest_times, events: check, keep: 3, span: 7d}
  member.marketing: {kind: profile, events: consent, field: marketing, scored: false}
  member.out: {kind: product_held, events: opt_out, off_events: opt_in, scored: false}
  member.pack: {kind: most_used, events: pay, field: pack, half_life: 7d}
  household.payments: {kind: count, events: pay}
  household.paid_7d: {kind: window_sum, events: pay, field: amount, span: 7d, bucket: 6h}
  household.paid_half: {kind: decayed_count, events: pay, half_life: 1d}
channels:
  app: {inbound: true, consent: "!member.out"}
  web: {inbound: true, consent: "!member.out"}
  push: {outbound: true, consent: member.marketing && !member.out}
  sms: {outbound: true, cost: 0.04, quiet_hours: true, consent: member.marketing && !member.out}
contact_policy:
  caps: {member_day: {scope: member, channels: [push, sms], window: 1d, most: 1}}
  quiet_hours: {from: "21:00", to: "09:00"}
  decline: {offer: 90d, family: 7d}
families: [mobile, content, care]
offers:
  topup:
    family: mobile
    price: 9.99
    margin: 5
    prior: 0.3
    valid: 1h
    treatments: {app: Top up, web: Top up, push: Top up, sms: Top up}
  films: {family: content, price: 4.99, margin: 3, prior: 0.2, standing: true, valid: 2h, treatments: {app: Films}}
  series: {family: content, margin: 2, prior: 0.2, standing: true, valid: 2h, treatments: {app: Series, web: Series}}
  phone: {family: care, margin: 1, prior: 0.2, standing: true, valid: 2h, treatments: {web: Phone, app: Phone}}
journeys:
  low:
    trigger: {on: check, when: member.checks_7d >= 2, cooldown: 1h, scope: member}
    offers: topup
    outbound: [push, sms]
  contact: {contact: [visit], families: all}
"""


@functools.cache
def corner(*changes: tuple[str, str]) -> Plan:
    """Return the plan of these tests, with some texts of its playbook replaced."""
    text = CORNER
    for old, new in changes:
        assert old in text, f"{old!r} is not in the playbook"
        text = text.replace(old, new)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corner.yaml"
        path.write_text(text, encoding="utf-8")
        return compile_playbook(path)


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in a loop of its own; a test that hangs fails."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        async def limited() -> None:
            async with asyncio.timeout(TEST_TIMEOUT_S):
                await test(*arguments, **named)

        asyncio.run(limited())

    return run


class SettableLease:
    """Held until a test says otherwise."""

    def __init__(self) -> None:
        self.held = True

    def is_held(self) -> bool:
        return self.held


class SettableClock:
    """Shows what it was set to."""

    def __init__(self, now_us: int = MONDAY) -> None:
        self.at_us = now_us
        self.confirmed = True

    def now_us(self) -> int:
        return self.at_us

    def is_confirmed(self) -> bool:
        return self.confirmed

    def confirm(self) -> None:
        self.confirmed = True

    def pass_us(self, elapsed_us: int) -> None:
        self.at_us += elapsed_us


class DiskFiles(Files):
    """A disk that counts its syncs, and that a test can hold or break. Nothing is really synced: nobody cuts power."""

    def __init__(self) -> None:
        self.sync_count = 0
        self._broken = False
        self._free = threading.Event()
        self._free.set()
        self._reached: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def hold(self) -> None:
        """Let the next syncs wait until they are released."""
        self._loop, self._reached = asyncio.get_running_loop(), asyncio.Event()
        self._free.clear()

    async def held(self) -> None:
        """Wait until a sync waits."""
        assert self._reached is not None
        await self._reached.wait()

    def release(self) -> None:
        self._free.set()

    def break_syncs(self) -> None:
        self._broken = True

    def mend(self) -> None:
        self._broken = False

    def fdatasync(self, descriptor: int) -> None:
        if not self._free.is_set() and self._loop is not None and self._reached is not None:
            self._loop.call_soon_threadsafe(self._reached.set)
            self._free.wait()
        self.sync_count += 1
        if self._broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def fsync(self, descriptor: int) -> None: ...


class ScriptedScorer:
    """Scores every row alike, when it is let; remembers what it was asked."""

    def __init__(self, score: float = 0.5, *, way: Way = Way.SERVE) -> None:
        self.score_of_all = score
        self.way = way
        self.batches: list[int] = []
        self.deadlines: list[float | None] = []
        self.failure: Exception | None = None
        self.asked = asyncio.Event()
        self.free = asyncio.Event()
        self.free.set()

    def hold(self) -> None:
        self.asked.clear()
        self.free.clear()

    async def score(self, rows: NDArray[np.float32], *, deadline_s: float | None = None) -> Scored:
        self.deadlines.append(deadline_s)
        self.batches.append(len(rows))
        self.asked.set()
        await self.free.wait()
        if self.failure is not None:
            raise self.failure
        scores = np.full(len(rows), self.score_of_all, np.float32)
        return Scored(scores=scores, model_version="scripted", degraded=False, way=self.way)


def signal(
    event_id: str,
    household: str,
    kind: str,
    time_us: int,
    *,
    member: str = "",
    fields: Mapping[str, float | str | bool] | None = None,
) -> signal_pb2.Signal:
    """Return a signal as a source sends it."""
    made = signal_pb2.Signal(event_id=event_id, household=household, member=member, type=kind, time=timestamp(time_us))
    for name, value in (fields or {}).items():
        match value:
            case bool():
                made.fields[name].flag = value
            case str():
                made.fields[name].text = value
            case _:
                made.fields[name].number = value
    return made


def timestamp(time_us: int) -> Timestamp:
    value = Timestamp()
    value.FromMicroseconds(time_us)
    return value


class Hearth:
    """One shard with some partitions, and the edge's side of its calls."""

    def __init__(
        self,
        directory: Path,
        *,
        clock: SettableClock,
        files: Files | None = None,
        plan: Plan | None = None,
        partitions: Sequence[int] = (0,),
        partition_count: int = 1,
        stream_clock: bool = False,
        redeliver_after_s: float = 600.0,
        look_every_s: float = 600.0,
        name: str = "shard-0",
        segments: SegmentSettings | None = None,
        rejects: SegmentStore | None = None,
        reject_settings: RejectSettings | None = None,
        snapshots: Path | None = None,
        snapshot_policy: SnapshotPolicy | None = None,
        lease: Lease | None = None,
    ) -> None:
        self.directory = directory
        self.clock = clock
        self.files = files or DiskFiles()
        self.plan = plan or corner()
        self.partitions = tuple(partitions)
        config = ShardConfig(
            name=name,
            address="unix:",
            stream_clock=stream_clock,
            partition_count=partition_count,
            redeliver_after_s=redeliver_after_s,
            tick_interval_s=look_every_s,
            rejects=reject_settings or RejectSettings(),
            snapshots=snapshot_policy or SnapshotPolicy(),
        )
        store = snapshot_store(str(snapshots)) if snapshots is not None else None
        logs = SegmentStore(directory, settings=segments, files=self.files)
        self.shard = Shard(config, logs, clock=clock, lease=lease, snapshots=store, rejects=rejects)

    async def snapshot(self, partition: int = 0) -> admin_pb2.PartitionSnapshot:
        answer = await self.call(shard_pb2.METHOD_SNAPSHOT, partition, b"")
        return admin_pb2.PartitionSnapshot.FromString(answer)

    async def assign(self, partition: int, *, plan: Plan | None = None, epoch: int = 1) -> int:
        plan = plan or self.plan
        return await self.shard.assign(partition, plan_bytes=plan.canonical_bytes, epoch=epoch)

    async def use(self, scorer: Scorer | None) -> None:
        await self.use_lineup(Lineup(champion=scorer))

    async def use_lineup(self, lineup: Lineup) -> None:
        async def make() -> Lineup:
            return lineup

        await self.shard.use_lineup(make)

    def partition_of(self, household: str) -> int:
        return self.partitions[partition_of(household.encode(), len(self.partitions))]

    def request_id(self) -> str:
        return f"request-{next(_numbers)}"

    async def call(self, method: int, partition: int, payload: bytes, *, timeout_s: float | None = None) -> bytes:
        return await self.shard.call(method, partition, payload, Caller(timeout_s), "")

    async def ingest(self, *signals: signal_pb2.Signal) -> signal_pb2.IngestResponse:
        pieces = split_by_partition(batch_from_signals(signals), len(self.partitions))

        async def one(piece: int, payload: bytes) -> signal_pb2.IngestResponse:
            answer = await self.call(shard_pb2.METHOD_INGEST, self.partitions[piece], payload)
            return signal_pb2.IngestResponse.FromString(answer)

        answers = await asyncio.gather(*(one(piece, payload) for piece, (_, payload) in pieces.items()))
        return merged_response(zip((rows for rows, _ in pieces.values()), answers, strict=True))

    async def decide(
        self,
        household: str,
        *signals: signal_pb2.Signal,
        member: str = "",
        channel: str = "app",
        request_id: str = "",
        timeout_s: float | None = None,
    ) -> decision_pb2.DecideResponse:
        request = decision_pb2.DecideRequest(
            request_id=request_id or self.request_id(), household=household, member=member, channel=channel
        )
        asked = decision_pb2.DecideRequest(signals=signals)
        asked.MergeFrom(request)
        call = shard_pb2.DecideCall(request=request, request_hash=identity.decide_hash(asked))
        if signals:
            call.signal_batch = ipc_bytes(batch_from_signals(signals))
        payload, partition = call.SerializeToString(), self.partition_of(household)
        answer = await self.call(shard_pb2.METHOD_DECIDE, partition, payload, timeout_s=timeout_s)
        return decision_pb2.DecideResponse.FromString(answer)

    async def report(
        self,
        household: str,
        action_id: str,
        outcome: decision_pb2.Outcome.ValueType,
        *,
        member: str = "",
        channel: str = "app",
        request_id: str = "",
        time_us: int = NO_TIME_US,
    ) -> decision_pb2.ReportResponse:
        kind = TYPE_BY_OUTCOME[outcome]
        answer = await self._outcome(
            shard_pb2.METHOD_REPORT,
            household,
            member,
            kind,
            action_id,
            channel,
            request_id or self.request_id(),
            time_us=time_us,
        )
        return decision_pb2.ReportResponse.FromString(answer)

    async def accept(self, household: str, action_id: str, **named: Any) -> decision_pb2.ReportResponse:
        return await self.report(household, action_id, decision_pb2.OUTCOME_ACCEPT, **named)

    async def decline(self, household: str, action_id: str, **named: Any) -> decision_pb2.ReportResponse:
        return await self.report(household, action_id, decision_pb2.OUTCOME_DECLINE, **named)

    async def ack(
        self,
        household: str,
        action_id: str,
        *,
        delivered: bool = True,
        request_id: str = "",
        channel: str = "",
        group: str = "",
    ) -> delivery_pb2.AckResponse:
        kind = DELIVERED if delivered else UNDELIVERED
        answer = await self._outcome(
            shard_pb2.METHOD_ACK, household, "", kind, action_id, channel, request_id or self.request_id(), group=group
        )
        return delivery_pb2.AckResponse.FromString(answer)

    async def _outcome(
        self,
        method: int,
        household: str,
        member: str,
        kind: str,
        action_id: str,
        channel: str,
        request_id: str,
        *,
        group: str = "",
        time_us: int = NO_TIME_US,
    ) -> bytes:
        told = decision_pb2.ReportRequest(household=household, member=member, channel=channel, action_id=action_id)
        request_hash = identity.report_hash(told) + kind.encode() + group.encode()
        batch = report_batch(
            request_id=request_id,
            household=household,
            member=member,
            event_type=kind,
            action_id=action_id,
            channel=channel,
            time_us=time_us,
            group=group,
            request_hash=request_hash,
        )
        call = shard_pb2.ReportCall(
            signal_batch=batch,
            household=household,
            action_id=action_id,
            channel=channel or None,
            group=group,
            request_id=request_id,
            request_hash=request_hash,
        )
        return await self.call(method, self.partition_of(household), call.SerializeToString())

    async def get(self, household: str) -> household_pb2.GetResponse:
        request = household_pb2.GetRequest(household=household)
        answer = await self.call(shard_pb2.METHOD_GET, self.partition_of(household), request.SerializeToString())
        return household_pb2.GetResponse.FromString(answer)

    async def explain(self, household: str, decision_id: str = "") -> household_pb2.DecisionRecord:
        request = household_pb2.ExplainRequest(household=household, decision_id=decision_id)
        answer = await self.call(shard_pb2.METHOD_EXPLAIN, self.partition_of(household), request.SerializeToString())
        return household_pb2.ExplainResponse.FromString(answer).decision

    async def decisions(self, household: str) -> list[household_pb2.DecisionRecord]:
        request = household_pb2.DecisionsRequest(household=household, limit=100)
        answer = await self.call(shard_pb2.METHOD_DECISIONS, self.partition_of(household), request.SerializeToString())
        return list(household_pb2.DecisionsResponse.FromString(answer).decisions)

    @asynccontextmanager
    async def subscribed(
        self, *channels: str, group: str = ""
    ) -> AsyncIterator[AsyncGenerator[delivery_pb2.SubscribeResponse, None]]:
        """Subscribe; iterate over the deliveries or take the next with `anext`."""
        async with aclosing(self.shard.deliveries(channels, group)) as deliveries:
            yield deliveries

    def counter(self, name: str, partition: int = 0) -> int:
        value = self.shard.report()[partition][name]
        assert isinstance(value, int)
        return value

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Return as soon as something is so; every turn lets the shard take one."""
        while not is_so():
            await self.turn()

    async def turn(self) -> None:
        """Let everything that is ready go one step, the state thread included."""
        await self.shard._state_thread.run(Urgency.INGEST, lambda: None)
        await asyncio.sleep(0)

    async def tick(self, partition: int = 0) -> None:
        """Let the owner look whether a tick is due, and see it through, unless the disk is held."""
        owner = self.owner(partition)
        owner.wake()
        # What is done between groups is done after the one that the look may have brought about.
        seen_through = asyncio.ensure_future(owner.between_groups(_nothing_to_do))
        await asyncio.wait({seen_through}, timeout=HELD_S)
        if not seen_through.done():
            seen_through.cancel()
        await asyncio.gather(seen_through, return_exceptions=True)
        for _ in range(8):
            await self.turn()

    def owner(self, partition: int = 0) -> PartitionOwner:
        return self.shard._owned[partition].owner

    async def in_state(self, read: Callable[[PartitionState], Any], partition: int = 0) -> Any:
        owner = self.owner(partition)
        return await self.shard._state_thread.run(Urgency.INGEST, lambda: read(owner.state))

    async def digest(self, partition: int = 0) -> str:
        return await self.in_state(state_digest, partition)

    async def standing(self, partition: int = 0) -> "Standing":
        """Return how a partition stands, and at which end of its log: what it writes afterwards is left out.

        Owners write of themselves, too: what they hear from others of what is free, and of what moves.
        """
        owner = self.owner(partition)

        async def between() -> Standing:
            return Standing(await self.digest(partition), owner._folding.position)

        found: Standing = await owner.between_groups(between)
        return found

    async def household_digests(self, partition: int = 0) -> dict[bytes, str]:
        return await self.in_state(household_digests, partition)

    def disk_copy(self, to: Path) -> Path:
        """Return a copy of what is on disk now: what a crash would leave."""
        shutil.copytree(self.directory, to)
        return to


async def _nothing_to_do() -> None: ...


@asynccontextmanager
async def running(directory: Path, clock: SettableClock | None = None, **named: Any) -> AsyncIterator[Hearth]:
    """Run a shard with its partitions assigned, until the end of the block."""
    hearth = Hearth(directory, clock=clock or SettableClock(), **named)
    try:
        for partition in hearth.partitions:
            await hearth.assign(partition)
        yield hearth
    finally:
        if isinstance(hearth.files, DiskFiles):
            hearth.files.release()
        await hearth.shard.drain()


def records(directory: Path, partition: int = 0) -> list[StoredRecord]:
    """Return what a partition's log on disk holds."""
    log = SegmentStore(directory, files=DiskFiles()).open(PartitionId(partition))
    try:
        return list(log.read(log.first_offset))
    finally:
        log.close()


def kinds(directory: Path, partition: int = 0) -> list[RecordKind]:
    return [stored.record.kind for stored in records(directory, partition)]


def replayed(directory: Path, partition: int = 0, end: int | None = None) -> PartitionState:
    """Return the state that a partition's log on disk folds to, up to an end if one is given."""
    replay = Replay()
    for stored in records(directory, partition):
        if end is None or stored.offset < end:
            replay.fold(stored)
    return replay.now


class Standing(NamedTuple):
    """How a partition stands at an end of its log."""

    digest: str
    end: int

    @classmethod
    def replayed(cls, directory: Path, partition: int, end: int) -> "Standing":
        """Return how a partition stands by its log on disk."""
        return cls(state_digest(replayed(directory, partition, end)), end)


def reason_of(failure: CallFailed) -> str:
    """Return the machine-readable reason of a failed call."""
    return failure.reason


async def outcome(call: Awaitable[Any]) -> Any:
    """Return what a call answered, or the CallFailed it ended with."""
    try:
        return await call
    except CallFailed as failure:
        return failure
