"""A batch of messages on its way into Hearth, and the count of what became of messages."""

from contextlib import suppress
from dataclasses import asdict, dataclass, field

import grpc

from hearth.v1 import admin_pb2, signal_pb2
from intake.capture.ports import Decoded, Decoder, Message, UnreadableMessage
from intake.sender import Backoff, Counts, ParcelUnderWay


@dataclass(slots=True)
class CaptureTally(Counts):
    """What has become of the messages so far: read = sent + kept as rejects + tombstones."""

    read: int = 0
    """Accounted for, offsets about to be committed."""
    unreadable: int = 0
    """Kept as rejects, those that were kept before included."""
    tombstones: int = 0
    retries: int = 0
    failed_commits: int = 0
    rebalances: int = 0

    @property
    def balances(self) -> bool:
        """Whether every message is accounted for."""
        return self.read == self.sent + self.unreadable + self.tombstones and self.accounts

    def add(self, other: "CaptureTally") -> None:
        """Add another's counts."""
        for name, count in other.as_dict().items():
            setattr(self, name, getattr(self, name) + count)

    def as_dict(self) -> dict[str, int]:
        """Return it for JSON."""
        return {"read": self.read} | asdict(self)


class Messages:
    """Messages that are sent in one request."""

    def __init__(self, messages: list[Message], decoder: Decoder) -> None:
        self.messages = messages
        self._decoder = decoder
        self._decoded: Decoded | None = None

    @property
    def decoded(self) -> Decoded:
        """What they come to."""
        if self._decoded is None:
            self._decoded = self._decoder.decode(self.messages)
        return self._decoded

    @property
    def request(self) -> signal_pb2.IngestRequest | None:
        """The same each time; None if none of them is a signal."""
        return self.decoded.request

    @property
    def signal_count(self) -> int:
        """Signals of the request."""
        return self.decoded.signal_count

    @property
    def size(self) -> int:
        """Messages."""
        return len(self.messages)

    def halves(self) -> "tuple[Messages, Messages]":
        """Return the first and the second half."""
        half = len(self.messages) // 2
        return Messages(self.messages[:half], self._decoder), Messages(self.messages[half:], self._decoder)


@dataclass(slots=True)
class Batch:
    """Messages under way: first their signals, then those that are to be kept as rejects."""

    messages: list[Message]
    sending: ParcelUnderWay[Messages]
    backoff: Backoff
    """Of keeping."""
    unreadable: list[UnreadableMessage] = field(default_factory=list)
    """Of the parts that are done, not yet kept."""
    keeping: "grpc.Future[admin_pb2.RejectResponse] | None" = None
    keeping_count: int = 0
    """How many of them the call under way is about."""
    tally: CaptureTally = field(default_factory=CaptureTally)
    """Counted once the batch is finished: one that is given up is read, and counted, again."""

    @property
    def is_under_way(self) -> bool:
        """Whether a call is."""
        return self.keeping is not None or self.sending.is_under_way

    def wait(self, timeout_s: float) -> None:
        """Wait for that call to be answered, but no longer than this."""
        if self.keeping is None:
            self.sending.wait(timeout_s)
            return
        with suppress(grpc.RpcError, grpc.FutureTimeoutError, grpc.FutureCancelledError):
            self.keeping.result(timeout=timeout_s)

    def give_up(self) -> None:
        """Let go of that call."""
        self.sending.give_up()
        if self.keeping is not None:
            self.keeping.cancel()
