"""How a partition comes back: the newest good snapshot, then the tail of its log.

What follows (the owner's own epoch record, then pending moments) is the owner's business. Nothing here changes the log.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actors.log.contract import (
    LOG_START,
    LogError,
    LogStore,
    Offset,
    PartitionId,
    PartitionLog,
    RecordKind,
    StoredRecord,
)
from actors.records.payload import PayloadUnreadable
from actors.records.replay import Replay
from actors.records.signals import TOGETHER_BYTES, TOGETHER_RECORDS, decode_signals, decode_together
from actors.snapshots.store import SnapshotStore
from actors.state_thread import StateThread, Urgency
from household.events import EventBatch

OnFolded = Callable[[StoredRecord, NDArray[np.uint8], int], None]
"""Told of each part of a signals record that was folded: the record, what became of the rows, the first row."""

logger = logging.getLogger(__name__)

SLICE_NS = 2_000_000
"""How long the fold of a tail keeps the state thread from the other partitions' decisions, about."""

SLICE_ROWS = 1_024
"""Events folded in one go: about a millisecond."""

CHUNK_RECORDS = 512
CHUNK_BYTES = 4 << 20
"""Records read ahead while those before them are folded."""


class NotRecoverable(LogError):
    """The log no longer holds what would have to be folded, and no snapshot covers it."""

    def __init__(self, partition: PartitionId, begins_at: Offset, faults: tuple[str, ...]) -> None:
        super().__init__(partition, begins_at, faults)
        self.partition = partition
        self.begins_at = begins_at
        self.faults = faults

    def __str__(self) -> str:
        tried = "; ".join(self.faults) or "there is none"
        return (
            f"partition {self.partition}: the log begins at offset {self.begins_at} and no snapshot covers what came "
            f"before ({tried}); restore a backup, or see `hearth repair`"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """What had been folded at a position of the log."""

    records: int
    events: int

    @classmethod
    def of(cls, replay: Replay) -> Since:
        """Take it from a replay as it is now."""
        return cls(records=replay.fold_count, events=replay.state.counters.received if replay.state is not None else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """A partition's log, open, and its state as far as a snapshot goes."""

    log: PartitionLog
    replay: Replay
    position: Offset
    """Where the log is to be folded from."""
    faults: tuple[str, ...] = ()
    """Snapshots that were no good, and why."""
    since: Since | None = None
    """What its snapshot held, where more than that is folded already."""


def open_partition(logs: LogStore, snapshots: SnapshotStore | None, partition: PartitionId) -> Recovered:
    """Load the newest good snapshot and open the log behind it. Blocks: not for the event loop.

    Raises:
        LogError: the log is damaged, ends before the snapshot, is held by another, or cannot be had.
        NotRecoverable: the log begins too late.
    """
    replay, position, faults = newest_snapshot(snapshots, partition)
    log = logs.open(partition, acknowledged_end=position)
    try:
        if replay is None:
            position = log.first_offset
            if position > LOG_START:
                raise NotRecoverable(partition, position, faults)
        elif log.first_offset > position:
            raise NotRecoverable(partition, log.first_offset, faults)
    except BaseException:
        log.close()
        raise
    return Recovered(log=log, replay=replay or Replay(), position=position, faults=faults)


def newest_snapshot(
    snapshots: SnapshotStore | None, partition: PartitionId
) -> tuple[Replay | None, Offset, tuple[str, ...]]:
    """Return what the newest good snapshot holds and up to where, and what is wrong with newer ones. Blocks."""
    loaded = snapshots.load(partition) if snapshots is not None else None
    faults = tuple(str(fault) for fault in loaded.faults) if loaded is not None else ()
    for fault in faults:
        logger.error("partition %d: a snapshot is not used: %s", partition, fault)
    if loaded is None or loaded.replay is None:
        return None, LOG_START, faults
    if loaded.replay.state is not None:
        loaded.replay.state.graph.begin()
    return loaded.replay, loaded.position, faults


async def fold_between(
    log: PartitionLog,
    replay: Replay,
    start: Offset,
    end: Offset,
    *,
    state_thread: StateThread,
    readers: Executor,
    on_folded: OnFolded | None = None,
) -> int:
    """Fold the log's records in [start, end) in slices, reading ahead; return how many. Raises as `fold_records`."""
    records = itertools.takewhile(lambda stored: stored.offset < end, log.read(start))
    return await fold_records(records, replay, state_thread=state_thread, readers=readers, on_folded=on_folded)


async def fold_records(
    records: Iterator[StoredRecord],
    replay: Replay,
    *,
    state_thread: StateThread,
    readers: Executor,
    on_folded: OnFolded | None = None,
) -> int:
    """Fold records in slices, reading ahead; return how many.

    Raises:
        LogError, PayloadUnreadable, PlanUnreadable: the state is good up to where it stopped, and of no use.
    """
    loop = asyncio.get_running_loop()
    count = 0
    reading = loop.run_in_executor(readers, _chunk, records)
    while chunk := await reading:
        reading = loop.run_in_executor(readers, _chunk, records)
        count += len(chunk)
        steps = _Steps(replay, chunk, on_folded)
        try:
            while await state_thread.run(Urgency.INGEST, steps.take):
                pass
        except BaseException:
            # Nobody may read from the log any more once it is given up.
            await asyncio.wait([reading])
            raise
    return count


def _chunk(records: Iterator[StoredRecord]) -> list[StoredRecord]:
    chunk: list[StoredRecord] = []
    size = 0
    for stored in records:
        chunk.append(stored)
        size += len(stored.record.payload)
        if len(chunk) >= CHUNK_RECORDS or size >= CHUNK_BYTES:
            break
    return chunk


class _Steps:
    """Some records, folded as far as a slice of time allows."""

    def __init__(self, replay: Replay, chunk: list[StoredRecord], on_folded: OnFolded | None) -> None:
        self._replay = replay
        self._on_folded = on_folded
        self._records = deque(chunk)
        self._decoded: dict[Offset, EventBatch] = {}
        """Batches that were decoded together with one before them."""
        self._parts: deque[tuple[EventBatch, StoredRecord, int]] = deque()
        """What is left of a long batch, its record, and its first row."""

    def take(self) -> bool:
        """Fold for about a slice; return whether anything is left. In the state thread."""
        until = time.monotonic_ns() + SLICE_NS
        while self._records or self._parts:
            if self._parts:
                self._fold_part(*self._parts.popleft())
            else:
                self._fold(self._records.popleft())
            if time.monotonic_ns() >= until:
                break
        return bool(self._records or self._parts)

    def _fold_part(self, part: EventBatch, stored: StoredRecord, first_row: int) -> None:
        applied = self._replay.fold_signals(part, stored.record.stamp_us)
        if self._on_folded is not None:
            self._on_folded(stored, applied.statuses, first_row)

    def _fold(self, stored: StoredRecord) -> None:
        record = stored.record
        if record.kind is not RecordKind.SIGNALS:
            self._replay.fold(stored)
            return
        batch = self._batch_of(stored)
        if batch.count <= SLICE_ROWS:
            self._fold_part(batch, stored, 0)
        else:
            for start in range(0, batch.count, SLICE_ROWS):
                self._parts.append((batch.part(start, min(start + SLICE_ROWS, batch.count)), stored, start))
        self._replay.fold_count += 1

    def _batch_of(self, stored: StoredRecord) -> EventBatch:
        plan = self._replay.now.plan
        batch = self._decoded.pop(stored.offset, None)
        if batch is not None and batch.plan_version == plan.version:
            return batch
        together = self._with_those_behind(stored)
        try:
            batches = decode_together([one.record.payload for one in together], plan)
        except PayloadUnreadable:
            # Perhaps a later one, whose turn it is not yet: what comes before it counts.
            return decode_signals(stored.record.payload, plan)
        self._decoded = {one.offset: each for one, each in zip(together[1:], batches[1:], strict=True)}
        return batches[0]

    def _with_those_behind(self, stored: StoredRecord) -> list[StoredRecord]:
        together, size = [stored], len(stored.record.payload)
        for one in self._records:
            if one.record.kind is RecordKind.SIGNALS:
                size += len(one.record.payload)
                if len(together) == TOGETHER_RECORDS or size > TOGETHER_BYTES:
                    break
                together.append(one)
        return together
