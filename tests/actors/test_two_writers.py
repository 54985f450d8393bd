"""What an owner does on a log that cannot be locked, such as Kafka's, where another writes beside it.

Laws:
    of two that open a term of one number, the later one in the log gives way, and its next term is a newer one;
    what an outdated owner wrote in between is folded in log order, once, live as in a replay;
    a newer term ends one's own before anything else is answered; who has lost its lease opens none;
    where the look for others fails, the term goes on: nothing is answered by it.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from actors.conditions import NotCurrent
from actors.log.contract import (
    LOG_START,
    Epoch,
    LogUnavailable,
    Offset,
    PartitionId,
    Record,
    RecordKind,
    StaleEpoch,
    StoredRecord,
)
from actors.records import codec
from actors.records.replay import Replay
from household.digest import state_digest
from household.state import FOLD_VERSION
from serving.signal_batches import batch_from_signals
from tests.actors.harness import MONDAY, Hearth, SettableClock, SettableLease, in_loop, outcome, reason_of, signal
from wire.batches import ipc_bytes
from wire.failures import CallFailed


class SharedLog:
    """A log of one partition that anybody may write to."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.before_next: list[Record] = []
        """What another writes just before the next group."""
        self.is_away = False
        self.looks = 0

    def open(self, partition: PartitionId, *, acknowledged_end: Offset = LOG_START) -> "SharedLogView":
        return SharedLogView(partition, self)

    def partitions(self) -> tuple[PartitionId, ...]:
        return (PartitionId(0),)

    def replayed(self) -> str:
        replay = Replay()
        for offset, record in enumerate(self.records):
            replay.fold(StoredRecord(offset=Offset(offset), record=record))
        return state_digest(replay.now)


class SharedLogView:
    """It, as one of them has seen it."""

    def __init__(self, partition: PartitionId, shared: SharedLog) -> None:
        self._partition = partition
        self._shared = shared
        self.first_offset = LOG_START
        self.end_offset = Offset(0)
        self.last_epoch = Epoch(0)
        self.refresh()

    def append(self, records: Sequence[Record]) -> Offset:
        for record in records:
            if record.epoch < self.last_epoch or (record.kind is RecordKind.EPOCH and record.epoch == self.last_epoch):
                raise StaleEpoch(self._partition, record.epoch, self.last_epoch)
        self._shared.records += self._shared.before_next
        self._shared.before_next = []
        first = Offset(len(self._shared.records))
        self._shared.records += records
        return self._seen(first)

    def read(self, start: Offset) -> Iterator[StoredRecord]:
        end = self.end_offset
        return (StoredRecord(offset=Offset(n), record=self._shared.records[n]) for n in range(start, end))

    def refresh(self) -> Offset:
        self._shared.looks += 1
        if self._shared.is_away:
            raise LogUnavailable(self._partition, "shared", "it is away")
        self._seen(Offset(0))
        return self.end_offset

    def _seen(self, offset: Offset) -> Offset:
        self.end_offset = Offset(len(self._shared.records))
        self.last_epoch = max([Epoch(0), *(record.epoch for record in self._shared.records)])
        return offset

    repetitions = 0

    def written_before(self, time_us: int) -> Offset:
        return self.first_offset

    def drop_before(self, offset: Offset) -> Offset:
        return self.first_offset

    def close(self) -> None: ...


@asynccontextmanager
async def on_shared_log(directory: Path) -> AsyncIterator[tuple[Hearth, SharedLog]]:
    hearth, shared = Hearth(directory, clock=SettableClock()), SharedLog()
    hearth.shard._logs = shared
    try:
        yield hearth, shared
    finally:
        await hearth.shard.drain()


def opened_by_another(epoch: int) -> Record:
    opening = codec.encode_epoch(codec.EpochOpening(owner="other", stream_clock=False, fold_version=FOLD_VERSION))
    return of_another(RecordKind.EPOCH, codec.EPOCH_LAYOUT, opening, epoch)


def pay(number: int):
    return signal(f"p{number}", "h", "pay", MONDAY + number, member="m", fields={"amount": 1.0})


def paid_to_another(number: int, epoch: int) -> Record:
    payload = ipc_bytes(batch_from_signals([pay(number)]))
    return of_another(RecordKind.SIGNALS, codec.SIGNALS_LAYOUT, payload, epoch)


def of_another(kind: RecordKind, version: int, payload: bytes, epoch: int) -> Record:
    return Record(kind=kind, version=version, epoch=Epoch(epoch), stamp_us=MONDAY, payload=payload)


@in_loop
async def test_of_two_that_open_a_term_of_one_number_the_later_gives_way(tmp_path: Path):
    async with on_shared_log(tmp_path) as (hearth, shared):
        shared.before_next = [opened_by_another(1)]
        with pytest.raises(StaleEpoch):
            await hearth.assign(0, epoch=1)
        assert hearth.shard.report() == {}
        assert await hearth.assign(0, epoch=1) == 2
        await hearth.ingest(pay(1))
        assert await hearth.digest() == shared.replayed()


@in_loop
async def test_who_has_lost_its_lease_opens_no_term(tmp_path: Path):
    async with on_shared_log(tmp_path) as (hearth, shared):
        await hearth.assign(0, epoch=3)
        lease = SettableLease()
        late = Hearth(tmp_path, clock=SettableClock(), name="shard-1", lease=lease)
        late.shard._logs = shared
        lease.held = False
        with pytest.raises(NotCurrent):
            await late.assign(0, epoch=2)
        await late.shard.drain()
        await hearth.tick()
        await hearth.ingest(pay(1))
        assert hearth.counter("epoch") == 3


@in_loop
async def test_what_an_outdated_owner_wrote_in_between_is_folded_in_log_order_and_once(tmp_path: Path):
    async with on_shared_log(tmp_path) as (hearth, shared):
        await hearth.assign(0, epoch=3)
        shared.before_next = [paid_to_another(1, epoch=2), paid_to_another(2, epoch=2)]
        answer = await hearth.ingest(pay(2), pay(3))
        assert (answer.counts.applied, answer.counts.duplicate) == (1, 1)
        shared.records.append(paid_to_another(4, epoch=2))
        await hearth.tick()
        await hearth.until(lambda: hearth.counter("applied") == 4)
        assert await hearth.digest() == shared.replayed()


@in_loop
async def test_a_newer_term_ends_ones_own_and_nothing_is_acknowledged_under_it(tmp_path: Path):
    async with on_shared_log(tmp_path) as (hearth, shared):
        await hearth.assign(0, epoch=3)
        shared.before_next = [opened_by_another(4)]
        failure = await outcome(hearth.ingest(pay(1)))
        assert isinstance(failure, CallFailed)
        assert reason_of(failure) == "PARTITION_UNAVAILABLE"
        assert hearth.shard.report()[0]["is_lost"]
        assert await hearth.assign(0, epoch=5) == 5
        assert (await hearth.ingest(pay(1))).counts.duplicate == 1
        assert await hearth.digest() == shared.replayed()


@in_loop
async def test_a_look_for_others_that_fails_ends_no_term(tmp_path: Path):
    async with on_shared_log(tmp_path) as (hearth, shared):
        await hearth.assign(0)
        shared.is_away, looks = True, shared.looks
        await hearth.tick()
        await hearth.until(lambda: shared.looks > looks)
        await hearth.tick()
        assert not hearth.shard.report()[0]["is_lost"]
        assert (await hearth.ingest(pay(1))).counts.applied == 1
        shared.records.append(opened_by_another(9))
        shared.is_away = False
        await hearth.tick()
        await hearth.until(lambda: bool(hearth.shard.report()[0]["is_lost"]))
