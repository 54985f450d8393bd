"""What a connector asks of others: messages of a source, and the signals that a decoder makes of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from hearth.v1 import signal_pb2
from intake.errors import IntakeFailed
from wire.positions import kafka_position
from wire.rejects import OutsideReason

SourcePartition = tuple[str, int]
"""Topic and number of one of its partitions."""

MESSAGE_OVERHEAD_BYTES: Final = 256
"""What a message takes besides its value, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a source partition."""

    topic: str
    partition: int
    offset: int
    value: bytes | None
    """None for a tombstone, which says that a key is gone and is no event."""

    @property
    def source_partition(self) -> SourcePartition:
        """Where it stands."""
        return self.topic, self.partition

    @property
    def position(self) -> str:
        """Its identity as a reject."""
        return kafka_position(self.topic, self.partition, self.offset)

    @property
    def held_bytes(self) -> int:
        """What it takes in memory, about."""
        return len(self.value or b"") + MESSAGE_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableMessage:
    """A message that is no signal."""

    message: Message
    reason: OutsideReason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What messages come to, those of one source partition in their order."""

    request: signal_pb2.IngestRequest | None
    """None where none is a signal."""
    signal_count: int
    unreadable: tuple[UnreadableMessage, ...] = ()


class Decoder(Protocol):
    """Makes signals of messages, of each message the same whenever and beside whichever others it is decoded."""

    def decode(self, messages: Sequence[Message]) -> Decoded:
        """Return their signals; a missing event id is derived from topic, partition and offset."""
        ...


class CommitFailed(Exception):
    """Offsets could not be committed now; they may be again."""


class CaptureFailed(IntakeFailed):
    """The source or Hearth does what no retry mends; says what."""


class TopicReader(Protocol):
    """Reads topics as one member of a group. Rebalances happen within `read` and `close`."""

    def begin(self, revoked: Callable[[frozenset[SourcePartition], bool], None]) -> None:
        """Join; `revoked` is to be called before partitions go, with True if they have gone already."""
        ...

    def read(self, *, most: int, timeout_s: float) -> list[Message]:
        """Return what there is within the timeout, in order per source partition.

        Raises:
            CaptureFailed: this member can never read again.
        """
        ...

    def commit(self, next_offsets: dict[SourcePartition, int]) -> None:
        """Make durable from where the group goes on reading.

        Raises:
            CommitFailed: not now.
        """
        ...

    def pause(self) -> None:
        """Read nothing until resumed, newly assigned partitions included; stay a member."""
        ...

    def resume(self) -> None:
        """Read again."""
        ...

    def lag(self, next_offsets: dict[SourcePartition, int]) -> int | None:
        """Return how many messages lie behind these offsets, or those the group began from; None if not known yet."""
        ...

    @property
    def gone_count(self) -> int:
        """Messages that their topic had deleted before this group read them, as far as that can be seen."""
        ...

    @property
    def trouble(self) -> str:
        """What went wrong since something was read, if it may pass."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...
