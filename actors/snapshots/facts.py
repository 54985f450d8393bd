"""What is known of a snapshot: its facts, what its fold knew besides the state, and why one cannot be used."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from actors.log.contract import Epoch, Offset, PartitionId
from actors.records.replay import Replay


class SnapshotFailed(Exception):
    """A snapshot could not be written; those that were there before still are. The arguments survive pickling."""

    def __init__(self, partition: PartitionId, path: str, reason: str) -> None:
        super().__init__(partition, path, reason)
        self.partition = partition
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"partition {self.partition}: no snapshot at {self.path}: {self.reason}"


class Unfit(Enum):
    """For whom a snapshot is of no use."""

    FOR_ANYBODY = auto()
    FOR_THIS_VERSION = auto()
    """Another version of this software wrote it, and can use it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFault:
    """A snapshot that could not be used, and why."""

    name: str
    file: str
    what: str
    unfit: Unfit = Unfit.FOR_ANYBODY

    def __str__(self) -> str:
        return f"snapshot {self.name}: {self.file}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFacts:
    """What a Replay knows besides its state, taken at the moment of the freeze."""

    epoch: int
    stream_clock: bool
    fold_count: int
    void_plans: int
    void_epochs: int

    @classmethod
    def of(cls, replay: Replay) -> "ReplayFacts":
        """Take them from a replay, in the thread that folds it."""
        return cls(
            epoch=replay.epoch,
            stream_clock=replay.stream_clock,
            fold_count=replay.fold_count,
            void_plans=replay.void_plans,
            void_epochs=replay.void_epochs,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFacts:
    """What is known of a snapshot without loading it."""

    partition: PartitionId
    name: str
    position: Offset
    """Offset of the first record that is not in it."""
    epoch: Epoch
    fault: SnapshotFault | None = None
    """Why it cannot be used, as far as it shows without reading it all; None if nothing is known against it."""
    plan_version: str = ""
    size_bytes: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    """Households, members, known ids and so on."""
    state_hash: str = ""
    """Digest of the state if the writer had it made; empty otherwise."""

    @property
    def problem(self) -> str:
        """Why it cannot be used, for people; empty if nothing is known against it."""
        return f"{self.fault.file}: {self.fault.what}" if self.fault is not None else ""

    @property
    def households(self) -> int:
        """How many it holds; 0 if it cannot be read."""
        return self.counts.get("households", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What became of loading: the newest good snapshot, if any, and what is wrong with newer ones."""

    replay: Replay | None
    """Ready to fold the record at `position`; None if there is no good snapshot."""
    position: Offset
    """LOG_START if there is none."""
    facts: SnapshotFacts | None
    faults: tuple[SnapshotFault, ...]


class SnapshotUnusable(Exception):
    """A file of a snapshot that stands in the way of using it, and what is wrong with it."""

    def __init__(self, file: str, what: str, unfit: Unfit = Unfit.FOR_ANYBODY) -> None:
        super().__init__(file, what, unfit)
        self.file = file
        self.what = what
        self.unfit = unfit

    def of(self, name: str) -> SnapshotFault:
        """Return it as the fault of a snapshot."""
        return SnapshotFault(name=name, file=self.file, what=self.what, unfit=self.unfit)
