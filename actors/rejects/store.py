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
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.log.contract import (
    Epoch,
    LogError,
    LogStore,
    Offset,
    PartitionId,
    RecordKind,
)
from actors.records.payload import PayloadUnreadable
from actors.rejects.entries import Reject, reject_of_row
from actors.rejects.reject_log import RejectLog, RowPlace, groups_of, hash_of
from actors.rejects.settings import RejectCounters, RejectSettings, RejectsUnavailable
from household.events import Status, are_rejections
from household.plan import Plan
from wire.positions import log_position
from wire.rejects import is_mark

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Note:
    offset: int
    rows: NDArray[np.int64]
    reasons: NDArray[np.uint8]
    payload: bytes | None
    stamp_us: int
    plan: Plan | None

    @property
    def last(self) -> RowPlace:
        return self.offset, int(self.rows[-1])


@dataclass(frozen=True, slots=True)
class _Asked:
    rejects: tuple[Reject, ...]
    kept: "Future[int]"


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
        self._held: RejectLog | None = None
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
        rows = np.flatnonzero(are_rejections(statuses))
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
                self._held = RejectLog.read(self._logs.open(self.partition), self.counters)
            self._write_notes(self._held)
            self._write_asked(self._held)
            self.counters.dropped += self._held.drop_beyond(self._settings.kept_bytes_max)
            self._is_failing = False
        except (LogError, OSError, PayloadUnreadable) as failed:
            self._fail(failed)
        if is_closing:
            self._finish()

    def _write_notes(self, held: RejectLog) -> None:
        with self._changed:
            notes = tuple(self._notes)
        entries = (one for note in notes for one in self._entries(note, held.newest))
        for group in groups_of(entries, self._settings):
            held.append(group, RecordKind.REJECT, self.epoch)
        with self._changed:
            for note in notes:
                self._notes.popleft()
                self._waiting_bytes -= len(note.payload or b"")
                self.counters.waiting -= note.rows.size
            self._changed.notify_all()

    def _entries(self, note: _Note, newest: RowPlace) -> Iterator[Reject]:
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

    def _write_asked(self, held: RejectLog) -> None:
        with self._changed:
            asked = tuple(self._asked)
        fresh: dict[str, Reject] = {}
        counts = []
        for one in asked:
            marks = [reject for reject in one.rejects if is_mark(reject.reason)]
            others = [reject for reject in one.rejects if not is_mark(reject.reason)]
            new = {reject.position: reject for reject in others if hash_of(reject.position) not in held.known}
            new = {position: reject for position, reject in new.items() if position not in fresh}
            fresh |= new
            for group in groups_of(marks, self._settings):
                held.append(group, RecordKind.REPLAYED, self.epoch)
            counts.append(len(marks) + len(new))
        for group in groups_of(fresh.values(), self._settings):
            held.append(group, RecordKind.REJECT, self.epoch)
        with self._changed:
            for one, count in zip(asked, counts, strict=True):
                self._asked.popleft()
                one.kept.set_result(count)

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
            self._due_s = 0.0 if self._is_closing else time.monotonic() + self._settings.retry_s
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
