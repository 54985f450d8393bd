"""Rejects: what could not be accepted is kept, with its reason, its bytes and its position, until somebody looks.

Each partition has a reject log beside its log, under the same contract. Its owner *notes* the rejected rows of each
signals record once that is folded, live as in a replay after a crash; a thread of the shard's own writes them down. So
an event in the log is kept exactly once whatever dies: what lies at or below the reject log's newest such position is
there already, what lies above is noted again. What never became a signal is *kept* when a connector says so, once per
position.

The log has the bytes of every signal; a reject log is an index of it, and losing one loses no signal. So nothing here
may stop a partition: a full disk is counted and tried again later, and nothing is done per event unless it is rejected.
"""

import logging
import threading
import time
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from actors.log.contract import (
    Epoch,
    LogError,
    LogStore,
    Offset,
    PartitionId,
    PartitionLog,
    Record,
    RecordKind,
    RecordTooLong,
)
from actors.records.codec import PayloadUnreadable
from actors.rejects.entries import (
    REJECT_LAYOUT,
    REPLAYED,
    Reject,
    decode_reject,
    encode_reject,
    log_position,
    place_of,
    reject_of_row,
)
from household.events import FIRST_REJECTION, Status
from household.plan import Plan

logger = logging.getLogger(__name__)

NOWHERE = (-1, -1)

Place = tuple[int, int]
"""Offset and row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectSettings:
    """Limits of the reject logs of one shard."""

    kept_bytes_max: int = 256 << 20
    """Per partition: older entries go, a segment file at a time, so that poison cannot fill the disk."""
    waiting_bytes_max: int = 16 << 20
    """Records held for entries yet to be written; beyond it they are read from the log again."""
    waiting_rows_max: int = 1_000_000
    """Entries yet to be written; beyond it they are counted as missed, and are in the log only."""
    group_bytes: int = 1 << 20
    group_rows: int = 256
    """A group is closed once it is as long; encoding one holds the interpreter for some ten milliseconds in all."""
    gather_s: float = 0.05
    """Notes wait so long for others, so that poison in every batch does not cost a sync for each."""
    retry_s: float = 5.0
    """After a write that failed."""

    def __post_init__(self) -> None:
        assert self.kept_bytes_max > self.group_bytes > 0
        assert self.waiting_bytes_max > 0
        assert self.waiting_rows_max > 0
        assert self.group_rows > 0
        assert self.gather_s >= 0
        assert self.retry_s > 0


@dataclass(slots=True)
class RejectCounters:
    """Of one partition, since it was assigned. Plain numbers: may be read beside the thread."""

    kept: int = 0
    waiting: int = 0
    """Rows noted and yet to be written."""
    missed: int = 0
    """Not written for want of room; they are in the log only."""
    dropped: int = 0
    """The oldest, given up for newer ones."""
    failures: int = 0
    """Writes that failed and were or will be tried again."""

    def add(self, other: "RejectCounters") -> None:
        """Count what the other has counted."""
        self.kept += other.kept
        self.waiting += other.waiting
        self.missed += other.missed
        self.dropped += other.dropped
        self.failures += other.failures


@dataclass(frozen=True, slots=True)
class _Note:
    offset: int
    rows: NDArray[np.int64]
    reasons: NDArray[np.uint8]
    payload: bytes | None
    stamp_us: int
    plan: Plan | None

    @property
    def last(self) -> Place:
        return self.offset, int(self.rows[-1])


@dataclass(frozen=True, slots=True)
class _Asked:
    rejects: tuple[Reject, ...]
    kept: "Future[int]"


@dataclass(slots=True)
class _Held:
    """The reject log of a partition, open, and what it is known to hold."""

    log: PartitionLog
    newest: Place = NOWHERE
    """Of the events in the log, the newest that is kept."""
    known: dict[int, int] = field(default_factory=dict)
    """Hash of each position outside the log, and the offset of its entry."""
    offsets: "array[int]" = field(default_factory=lambda: array("q"))
    lengths: "array[int]" = field(default_factory=lambda: array("q"))
    kept_bytes: int = 0

    def took(self, offset: int, reject: Reject, *, length: int, is_mark: bool) -> None:
        self.offsets.append(offset)
        self.lengths.append(length)
        self.kept_bytes += length
        place = place_of(reject.position)
        if is_mark:
            return
        if place is None:
            self.known.setdefault(_hash(reject.position), offset)
        else:
            self.newest = max(self.newest, place[1:])

    def drop_beyond(self, bytes_max: int) -> int:
        """Give up the oldest; return how many entries went."""
        surplus, count = self.kept_bytes - bytes_max, 0
        while surplus > 0:
            surplus -= self.lengths[count]
            count += 1
        if count == 0 or count == len(self.offsets):
            return 0
        first = self.log.drop_before(Offset(self.offsets[count]))
        gone = bisect_left(self.offsets, first)
        self.kept_bytes -= sum(self.lengths[:gone])
        del self.offsets[:gone], self.lengths[:gone]
        if gone:
            self.known = {key: offset for key, offset in self.known.items() if offset >= first}
        return gone


class RejectsUnavailable(LogError):
    """A reject log cannot be written now; what was to be kept may be sent again."""

    def __init__(self, partition: PartitionId, why: str) -> None:
        super().__init__(partition, why)
        self.partition = partition
        self.why = why

    def __str__(self) -> str:
        return f"partition {self.partition}: rejects cannot be kept now: {self.why}"


class RejectStore:
    """The rejects of one partition, for as long as its owner owns it. Made by `RejectStores.open`."""

    def __init__(
        self,
        partition: PartitionId,
        logs: LogStore,
        settings: RejectSettings,
        changed: threading.Condition,
        read_signals: Callable[[Offset], bytes],
    ) -> None:
        self.partition = partition
        self.counters = RejectCounters()
        self.epoch = Epoch(0)
        """The owner's term, for the records."""
        self._logs = logs
        self._settings = settings
        self._changed = changed
        self._read_signals = read_signals
        self._notes: deque[_Note] = deque()
        self._asked: deque[_Asked] = deque()
        self._waiting_bytes = 0
        self._due_s = 0.0
        """When there is something to do, of the monotonic clock; it is to be opened at once."""
        self._held: _Held | None = None
        self._is_failing = False
        self._is_closing = False
        self._closed = threading.Event()

    def note(
        self,
        offset: int,
        payload: bytes,
        statuses: NDArray[np.uint8],
        *,
        stamp_us: int,
        plan: Plan | None = None,
        first_row: int = 0,
    ) -> None:
        """Remember the rejected rows of a signals record that was folded. From any thread; never blocks, never raises.

        Args:
            offset: of the record.
            payload: the record's.
            statuses: what became of its rows, or of a part of them in turn.
            stamp_us: the record's.
            plan: by which they were folded; without it no field is named.
            first_row: the row to which the first status belongs.
        """
        rows = np.flatnonzero(statuses >= FIRST_REJECTION)
        if not rows.size:
            return
        with self._changed:
            if self._closed.is_set():
                self.counters.missed += rows.size
                return
            held = self._held
            if held is not None and (offset, int(rows[-1]) + first_row) <= held.newest:
                return
            counters = self.counters
            if counters.waiting + rows.size > self._settings.waiting_rows_max:
                counters.missed += rows.size
                return
            # A long record that is noted in parts is counted for each: an upper bound will do.
            is_room = self._waiting_bytes + len(payload) <= self._settings.waiting_bytes_max
            kept = payload if is_room else None
            self._waiting_bytes += len(payload) if is_room else 0
            self._notes.append(_Note(offset, rows + first_row, statuses[rows], kept, stamp_us, plan))
            counters.waiting += rows.size
            if len(self._notes) == 1 and held is not None:
                self._due_s = max(self._due_s, time.monotonic() + self._settings.gather_s)
            self._changed.notify()

    def keep(self, rejects: Sequence[Reject]) -> "Future[int]":
        """Write rejects that are not events of the log, and marks of replays; how many were new, once durable.

        Fails with LogError when they could not be written; asking again is safe.
        """
        asked = _Asked(tuple(rejects), Future())
        with self._changed:
            is_to_wait = self._is_failing and time.monotonic() < self._due_s
            if self._is_closing or is_to_wait:
                why = "the partition is being given up" if self._is_closing else "the last write failed"
                asked.kept.set_exception(RejectsUnavailable(self.partition, why))
                return asked.kept
            self._asked.append(asked)
            self._due_s = 0.0
            self._changed.notify()
        return asked.kept

    def close(self) -> None:
        """Write what waits, if that can be done, and release the reject log. Blocks. Called again, it does nothing."""
        with self._changed:
            self._is_closing = True
            self._due_s = 0.0
            self._changed.notify()
        self._closed.wait()

    def settle(self, timeout_s: float) -> bool:
        """Wait until everything noted so far is written; False if it was not in time. Blocks.

        For whoever is about to snapshot past it: a replay then no longer notes it again.
        """
        with self._changed:
            self._due_s = 0.0 if not self._is_failing else self._due_s
            self._changed.notify()
            return self._changed.wait_for(lambda: not self._notes or self._closed.is_set(), timeout_s)

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, or given up."""
        return self._closed.is_set()

    # --- in the thread -----------------------------------------------------------------------------------------------

    def due_s(self) -> float | None:
        """When to work next; None for never. With the lock held."""
        if self._closed.is_set():
            return None
        if self._is_closing or self._held is None or self._notes or self._asked:
            return self._due_s
        return None

    def work(self) -> None:
        """Open the log if it is not, write what waits; whatever goes wrong is counted and tried again later."""
        is_closing = self._is_closing
        try:
            if self._held is None:
                self._held = self._open()
            self._write_notes(self._held)
            self._write_asked(self._held)
            self._drop_surplus(self._held)
            self._is_failing = False
        except (LogError, OSError, PayloadUnreadable) as failed:
            self._fail(failed)
        if is_closing:
            self._finish()

    def _open(self) -> _Held:
        held = _Held(self._logs.open(self.partition))
        try:
            for stored in held.log.read(held.log.first_offset):
                is_mark = stored.record.kind is RecordKind.REPLAYED
                payload = stored.record.payload
                held.took(stored.offset, decode_reject(payload), length=len(payload), is_mark=is_mark)
        except BaseException:
            held.log.close()
            raise
        return held

    def _write_notes(self, held: _Held) -> None:
        with self._changed:
            notes = tuple(self._notes)
        entries = (one for note in notes for one in self._entries(note, held.newest))
        for group in _groups(entries, self._settings):
            self._append(held, group, RecordKind.REJECT)
        with self._changed:
            for note in notes:
                self._notes.popleft()
                self._waiting_bytes -= len(note.payload or b"")
                self.counters.waiting -= note.rows.size
            self._changed.notify_all()

    def _entries(self, note: _Note, newest: Place) -> Iterator[Reject]:
        if note.last <= newest:
            return
        batch = self._batch(note)
        for row, reason in zip(note.rows.tolist(), note.reasons.tolist(), strict=True):
            if (note.offset, row) > newest:
                position = log_position(self.partition, note.offset, row)
                yield reject_of_row(position, batch, row, Status(reason), note.stamp_us, note.plan)

    def _batch(self, note: _Note) -> pa.RecordBatch | None:
        """Return the record's batch; None where the log no longer has it, or it cannot be read."""
        try:
            payload = note.payload if note.payload is not None else self._read_signals(Offset(note.offset))
            with pa.ipc.open_stream(pa.py_buffer(payload)) as stream:
                return stream.read_next_batch()
        except (pa.ArrowException, LogError, ValueError, StopIteration) as wrong:
            logger.warning("partition %d: the rejects of record %d: %s", self.partition, note.offset, wrong)
            return None

    def _write_asked(self, held: _Held) -> None:
        with self._changed:
            asked = tuple(self._asked)
        fresh: dict[str, Reject] = {}
        counts = []
        for one in asked:
            marks = [reject for reject in one.rejects if reject.reason.startswith(REPLAYED)]
            others = [reject for reject in one.rejects if not reject.reason.startswith(REPLAYED)]
            new = {reject.position: reject for reject in others if _hash(reject.position) not in held.known}
            new = {position: reject for position, reject in new.items() if position not in fresh}
            fresh |= new
            for group in _groups(marks, self._settings):
                self._append(held, group, RecordKind.REPLAYED)
            counts.append(len(marks) + len(new))
        for group in _groups(fresh.values(), self._settings):
            self._append(held, group, RecordKind.REJECT)
        with self._changed:
            for one, count in zip(asked, counts, strict=True):
                self._asked.popleft()
                one.kept.set_result(count)

    def _append(self, held: _Held, rejects: Sequence[Reject], kind: RecordKind) -> None:
        epoch = max(self.epoch, held.log.last_epoch)
        records = [
            Record(kind=kind, version=REJECT_LAYOUT, epoch=epoch, stamp_us=reject.at_us, payload=encode_reject(reject))
            for reject in rejects
        ]
        try:
            offset = held.log.append(records)
        except RecordTooLong as refused:
            self._append_apart(held, rejects, kind, refused)
            return
        for place, (reject, record) in enumerate(zip(rejects, records, strict=True)):
            is_mark = kind is RecordKind.REPLAYED
            held.took(offset + place, reject, length=len(record.payload), is_mark=is_mark)
        self.counters.kept += len(records) if kind is RecordKind.REJECT else 0

    def _append_apart(self, held: _Held, rejects: Sequence[Reject], kind: RecordKind, refused: RecordTooLong) -> None:
        """Append one by one; of what is too long even so, all but its bytes, which its record in the log has."""
        if len(rejects) > 1:
            for reject in rejects:
                self._append(held, [reject], kind)
            return
        (reject,) = rejects
        if not reject.original:
            raise refused
        detail = f"{reject.detail}; its {len(reject.original):,} bytes are in the log only".removeprefix("; ")
        self._append(held, [replace(reject, original=b"", detail=detail)], kind)

    def _drop_surplus(self, held: _Held) -> None:
        self.counters.dropped += held.drop_beyond(self._settings.kept_bytes_max)

    def _fail(self, failed: Exception) -> None:
        if not self._is_failing:
            logger.error("partition %d: rejects cannot be kept for now: %s", self.partition, failed)
        self._is_failing = True
        self.counters.failures += 1
        if self._held is not None:
            # The outcome of a failed append is unknown: what is there shows when it is opened again.
            self._held.log.close()
            self._held = None
        with self._changed:
            self._due_s = time.monotonic() + self._settings.retry_s
            while self._asked:
                self._asked.popleft().kept.set_exception(RejectsUnavailable(self.partition, str(failed)))

    def give_up(self) -> None:
        """Close after a defect; whatever waits, and what is noted from here on, is missed."""
        with self._changed:
            self._is_closing = True
            self.counters.missed += self.counters.waiting
        self._finish()

    def _finish(self) -> None:
        if self._held is not None:
            self._held.log.close()
            self._held = None
        with self._changed:
            while self._asked:
                self._asked.popleft().kept.set_exception(
                    RejectsUnavailable(self.partition, "the partition is being given up")
                )
            self._closed.set()
            self._changed.notify_all()


class RejectStores:
    """The reject logs of a shard's partitions, and the thread that writes them."""

    def __init__(self, logs: LogStore, settings: RejectSettings | None = None, *, name: str = "rejects") -> None:
        self._logs = logs
        self._settings = settings or RejectSettings()
        self._changed = threading.Condition()
        self._stores: list[RejectStore] = []
        self._closed = RejectCounters()
        """Of the stores that are closed."""
        self._is_stopping = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def open(self, partition: PartitionId, read_signals: Callable[[Offset], bytes]) -> RejectStore:
        """Return the store of a partition for its owner; it is opened and read beside, and may be noted to at once.

        Args:
            partition: whose.
            read_signals: the payload of the signals record at an offset of the partition's log; LogError if it is gone.
        """
        store = RejectStore(partition, self._logs, self._settings, self._changed, read_signals)
        with self._changed:
            self._stores.append(store)
            self._changed.notify()
        return store

    def totals(self) -> RejectCounters:
        """Return what was counted since the start, over all partitions that were ever here. From any thread."""
        totals = RejectCounters()
        with self._changed:
            totals.add(self._closed)
            for store in self._stores:
                totals.add(store.counters)
        return totals

    def stop(self) -> None:
        """Close every store, then end the thread. Blocks."""
        with self._changed:
            stores = tuple(self._stores)
        for store in stores:
            store.close()
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            store = self._next()
            if store is None:
                return
            try:
                store.work()
            except Exception:
                # A loop of the shard: a defect here costs the rejects of one partition, never the partition.
                logger.exception("partition %d: a defect in keeping rejects", store.partition)
                store.give_up()

    def _next(self) -> RejectStore | None:
        """Wait for the store that is due first; None at the end."""
        with self._changed:
            while not self._is_stopping:
                for store in [one for one in self._stores if one.is_closed]:
                    self._closed.add(store.counters)
                    self._stores.remove(store)
                due = [(at_s, store) for store in self._stores if (at_s := store.due_s()) is not None]
                now_s = time.monotonic()
                if due and (first := min(due, key=lambda pair: pair[0]))[0] <= now_s:
                    return first[1]
                self._changed.wait(min(at_s for at_s, _ in due) - now_s if due else None)
        return None


def _groups(rejects: Iterable[Reject], settings: RejectSettings) -> Iterator[list[Reject]]:
    group: list[Reject] = []
    size = 0
    for reject in rejects:
        group.append(reject)
        size += len(reject.original)
        if len(group) >= settings.group_rows or size >= settings.group_bytes:
            yield group
            group, size = [], 0
    if group:
        yield group


def _hash(position: str) -> int:
    return xxhash.xxh3_64_intdigest(position.encode())
