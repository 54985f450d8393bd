"""Limits of the reject logs of one shard, what is counted of them, and what it means that one cannot be written."""

from dataclasses import dataclass

from actors.log.contract import (
    LogError,
    PartitionId,
)


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


class RejectsUnavailable(LogError):
    """A reject log cannot be written now; what was to be kept may be sent again."""

    def __init__(self, partition: PartitionId, why: str) -> None:
        super().__init__(partition, why)
        self.partition = partition
        self.why = why

    def __str__(self) -> str:
        return f"partition {self.partition}: rejects cannot be kept now: {self.why}"
