"""The log contract: one ordered, durable log per partition, the same promises from segment files and from Kafka.

Owns what a record is, what a caller may rely on and what can go wrong. Knows neither files nor brokers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NewType, Protocol

PartitionId = NewType("PartitionId", int)
"""0 ≤ id < partition_count; the unit that moves between shards."""

Epoch = NewType("Epoch", int)
"""Ownership term of a partition; grows by at least one each time it changes hands. 0 = before the first term."""

Offset = NewType("Offset", int)
"""Position of a record in its partition's log: grows along the log, consecutive within one group.

The embedded log counts records from 0 without gaps. Take offsets from `append`, `read` and `end_offset` and compare
them; do not compute other offsets from them, since on Kafka an outdated owner may have written in between.
"""

LOG_START = Offset(0)
"""Where a log begins that never dropped anything."""


class RecordKind(IntEnum):
    """What a record holds. The numbers are on disk: never reuse or renumber one.

    REJECT and REPLAYED occur in reject logs only (actors/rejects/store.py), and nothing else does there.
    """

    SIGNALS = 1
    DECISION = 2
    TICK = 3
    PLAN = 4
    EPOCH = 5
    REJECT = 6
    REPLAYED = 7
    DELIVERY = 8
    INVENTORY = 9
    RELOCATION = 10


STATE_KINDS = frozenset(set(RecordKind) - {RecordKind.REJECT, RecordKind.REPLAYED})
"""What occurs in the log that state is a fold of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One entry of a log, as its owner wrote it. The log does not look inside the payload."""

    kind: RecordKind
    version: int
    """Layout version of the payload for this kind, 0..65,535."""
    epoch: Epoch
    """The writer's term."""
    stamp_us: int
    """The owner's `now` when it wrote the record, microseconds; replay takes its time from here, never from a clock."""
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    """A record and where it stands."""

    offset: Offset
    record: Record


class PartitionLog(Protocol):
    """The log of one partition, opened by its owner.

    Guarantees:
        * When `append` returns, the whole group is durable, in order, after everything appended before.
        * A group is all or nothing: one whose `append` did not return is later found whole or not at all.
        * `read` gives exactly what was appended, or raises; never different content, never a silent gap.

    Order of calls: `open`; then `append` by one thread at a time, one group in flight. `read` and the properties may be
    used beside it from any thread. `close` last, not while an append runs. All calls block: call them from a thread
    pool. Groups of several partitions are synced in parallel by calling each partition's `append` from its own thread
    (a sync releases the GIL); there is no separate sync call.

    Traps: after `AppendFailed` the outcome is unknown and the object is dead, whatever the cause was. Drop what was
    folded in memory, close, open again, take a new epoch and read to the end: the group may be there or not.
    """

    @property
    def first_offset(self) -> Offset:
        """Offset of the oldest record still kept; equals `end_offset` when the log is empty."""
        ...

    @property
    def end_offset(self) -> Offset:
        """Where the next record will stand. Only durable records lie before it."""
        ...

    @property
    def last_epoch(self) -> Epoch:
        """Highest epoch of any record that was ever in this log; 0 in an empty one."""
        ...

    @property
    def repetitions(self) -> int:
        """Groups that lie in the log twice and were read once, as far as this object has read."""
        ...

    def append(self, records: Sequence[Record]) -> Offset:
        """Write one non-empty group and make it durable; return the offset of its first record.

        Called twice with the same records it writes them twice: duplicates are the fold's business.

        Raises:
            StaleEpoch: a record is of an older term than the log has seen, or opens a term already open. Nothing was
                written; the log stays usable. Only what this object has seen counts: another writer's newer epoch on
                Kafka shows on reading, and the fold voids what was written under the older one.
            RecordTooLong: nothing was written; the log stays usable.
            AppendFailed: the outcome is unknown. Every later call raises it again.
        """
        ...

    def read(self, start: Offset) -> Iterator[StoredRecord]:
        """Yield the records from `start` to the end as it is at the time of this call, verifying each before it.

        Raises, here or while iterating:
            OffsetOutOfRange: `start` lies before `first_offset` or beyond `end_offset`.
            DamagedLog: stored bytes are not what was written. What was yielded before it is good.
            UnknownFormat: intact, but written by a newer version.
            LogUnavailable: the storage could not be read.
        """
        ...

    def refresh(self) -> Offset:
        """Look at the storage again; return where the log ends now.

        Beyond what this object has appended only where an outdated owner went on writing, which Kafka cannot prevent:
        its records count as any others in log order, and what it decided is void. `append` may likewise return an
        offset beyond the end it had; what lies between is to be read and folded first.

        Raises:
            DamagedLog, LogUnavailable.
        """
        ...

    def written_before(self, time_us: int) -> Offset:
        """Return an offset before which everything was written before that time; the last that is cheap to tell.

        By the clock of who wrote it: the owner of the embedded log, the broker of Kafka's.

        Raises:
            DamagedLog, UnknownFormat, LogUnavailable.
        """
        ...

    def drop_before(self, offset: Offset) -> Offset:
        """Give up whole old pieces of the log that end at or before `offset`; return the new `first_offset`.

        Keeps everything from `offset` on, and usually more. For the one thread that appends. Asked again with the same
        offset it changes nothing more.

        Raises:
            LogUnavailable: something may be gone already; asking again is safe.
        """
        ...

    def begin_piece(self) -> None:
        """Begin a new piece, so that whoever opens the log next has little to look through; where there are pieces.

        For the one thread that appends.

        Raises:
            AppendFailed: it could not be begun, and the object is dead; everything that was written stands.
        """
        ...

    def close(self) -> None:
        """Release the partition, so that another process can open it. Calling it again does nothing."""
        ...


class LogFollower(Protocol):
    """The log of a partition as somebody reads it who does not own it yet, while its owner goes on writing.

    All calls block, and are made by one thread at a time.
    """

    @property
    def position(self) -> Offset:
        """End of what was read, once a `read_on` has ended."""
        ...

    def read_on(self) -> Iterator[StoredRecord]:
        """Yield what has come since, whole groups only, verifying each record; `position` moves with what is taken.

        Raises, here or while iterating:
            OffsetOutOfRange: it was given up before it was read.
            DamagedLog, UnknownFormat, LogUnavailable.
        """
        ...

    def take_over(self) -> PartitionLog:
        """Open the log for its next owner, the one before having let go of it, and be closed.

        Raises:
            As LogStore.open: a log that ends before what was read has lost it.
        """
        ...

    def close(self) -> None:
        """Let go. Calling it again does nothing."""
        ...


class LogStore(Protocol):
    """The logs of one Hearth."""

    def open(self, partition: PartitionId, *, acknowledged_end: Offset = LOG_START) -> PartitionLog:
        """Open the log of a partition for its owner, creating it when it never existed.

        What it then shows is durable, records of an owner that died between write and sync included. A group that was
        never acknowledged and is only partly there is cut.

        Args:
            partition: whose log.
            acknowledged_end: an end that kept evidence, such as a snapshot, proves this log once had. A log that ends
                before it lost acknowledged records, which alone it may be unable to tell from a torn last group.

        Raises:
            DamagedLog: broken in a way no crash explains, or shorter than `acknowledged_end`. Nothing was changed.
            LogLocked: another process, or this one, has it open.
            UnknownFormat: written by a newer version. Nothing was changed.
            LogUnavailable: the storage could not be read or written.
        """
        ...

    def follow(self, partition: PartitionId, start: Offset) -> LogFollower:
        """Read a partition's log from an offset on beside its owner, whom nothing of it hinders.

        Raises:
            OffsetOutOfRange: the log begins behind it.
            DamagedLog, UnknownFormat, LogUnavailable.
        """
        ...

    def partitions(self) -> tuple[PartitionId, ...]:
        """Partitions that have a log, in ascending order."""
        ...


class LogError(Exception):
    """Something about a log went wrong. The arguments are positional so that the error survives pickling."""


class AppendFailed(LogError):
    """A group may or may not be in the log; the log object is unusable from here on."""

    def __init__(self, partition: PartitionId, path: str, reason: str) -> None:
        super().__init__(partition, path, reason)
        self.partition = partition
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"partition {self.partition}: append to {self.path} has an unknown outcome: {self.reason}"


class DamagedLog(LogError):
    """Stored bytes are not what was written, and no crash of a writer explains it."""

    def __init__(self, partition: PartitionId, path: str, position: int, what: str) -> None:
        super().__init__(partition, path, position, what)
        self.partition = partition
        self.path = path
        self.position = position
        self.what = what

    def __str__(self) -> str:
        return f"partition {self.partition}: {self.path} is damaged at byte {self.position}: {self.what}"


class UnknownFormat(LogError):
    """Intact, but of a format or kind this version does not know."""

    def __init__(self, partition: PartitionId, path: str, what: str) -> None:
        super().__init__(partition, path, what)
        self.partition = partition
        self.path = path
        self.what = what

    def __str__(self) -> str:
        return f"partition {self.partition}: {self.path}: {self.what}; run the version of Hearth that wrote it"


class LogUnavailable(LogError):
    """The storage refused; nothing is known about what it holds."""

    def __init__(self, partition: PartitionId, path: str, reason: str) -> None:
        super().__init__(partition, path, reason)
        self.partition = partition
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"partition {self.partition}: {self.path} cannot be used: {self.reason}"


class LogLocked(LogError):
    """Someone else has this partition's log open."""

    def __init__(self, partition: PartitionId, path: str, holder: str) -> None:
        super().__init__(partition, path, holder)
        self.partition = partition
        self.path = path
        self.holder = holder
        """Process id of the holder, or "unknown"."""

    def __str__(self) -> str:
        return (
            f"partition {self.partition}: {self.path} is held by process {self.holder}; "
            "stop that process, or use another data directory"
        )


class StaleEpoch(LogError):
    """A newer term exists, so the writer is no longer the owner."""

    def __init__(self, partition: PartitionId, offered: Epoch, current: Epoch) -> None:
        super().__init__(partition, offered, current)
        self.partition = partition
        self.offered = offered
        self.current = current

    def __str__(self) -> str:
        return f"partition {self.partition}: offered epoch {self.offered}, already at {self.current}"


class OffsetOutOfRange(LogError):
    """A read begins where this log has nothing, and has no end."""

    def __init__(self, partition: PartitionId, asked: Offset, first: Offset, end: Offset) -> None:
        super().__init__(partition, asked, first, end)
        self.partition = partition
        self.asked = asked
        self.first = first
        self.end = end

    def __str__(self) -> str:
        return f"partition {self.partition}: asked for offset {self.asked}, the log holds [{self.first}, {self.end})"


class RecordTooLong(LogError):
    """A payload exceeds what a record may hold."""

    def __init__(self, partition: PartitionId, length: int, limit: int) -> None:
        super().__init__(partition, length, limit)
        self.partition = partition
        self.length = length
        self.limit = limit

    def __str__(self) -> str:
        return f"partition {self.partition}: payload of {self.length} bytes, a record holds at most {self.limit}"
