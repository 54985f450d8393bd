"""Capture: hands what operators publish on their own topics to Hearth, and commits how far only behind the acks.

    read → hold → decode → Ingest → keep what is unreadable → commit

One batch is under way at a time, so what a source partition holds arrives in its order. It is sent until it is
acknowledged, with the same event ids each time: at least once, and Hearth knows repeats, so once. A message that is no
signal is kept as a reject before its offset is committed. Nothing is dropped; where Hearth is slow or away, reading
pauses. Owns offsets and retries. Knows no Kafka client, no file and no format: these come as ports.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Protocol

import grpc

from hearth.v1 import admin_pb2, admin_pb2_grpc, signal_pb2, signal_pb2_grpc
from intake.errors import IntakeFailed

SourcePartition = tuple[str, int]
"""Topic and number of one of its partitions."""

UNREADABLE, TOO_LARGE, REFUSED = "UNREADABLE", "TOO_LARGE", "REFUSED"
"""Reasons of rejects: no signal can be made of it; too long for a request; Hearth calls it invalid as a whole."""

MESSAGE_OVERHEAD_BYTES = 256
"""What a message takes besides its value, about."""

REQUEST_BYTES_MAX = 3_500_000
"""Below gRPC's usual limit of 4 MiB; a longer request is halved."""

LONE_REQUEST_BYTES_MAX = 15 << 20
"""Of one message alone; Hearth takes 16 MiB."""

REJECT_ORIGINAL_BYTES_MAX = 1 << 20
REJECTS_PER_REQUEST = 256
DETAIL_LENGTH_MAX = 1_000

HALVED_AFTER = 3
"""Attempts that found Hearth out of resources, until a batch is halved: it may be the batch."""


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
        return f"kafka:{self.topic}/{self.partition}/{self.offset}"

    @property
    def held_bytes(self) -> int:
        """What it takes in memory, about."""
        return len(self.value or b"") + MESSAGE_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A message that is no signal."""

    message: Message
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What messages come to, those of one source partition in their order."""

    request: signal_pb2.IngestRequest | None
    """None where none is a signal."""
    signal_count: int
    unreadable: tuple[Unreadable, ...] = ()


class Decoder(Protocol):
    """Makes signals of messages, of each message the same whenever and beside whichever others it is decoded."""

    def decode(self, messages: Sequence[Message]) -> Decoded:
        """Return their signals; a missing event id is derived from topic, partition and offset."""
        ...


class CommitFailed(Exception):
    """Offsets could not be committed now; they may be again."""


class CaptureFailed(IntakeFailed):
    """The source or Hearth does what no retry mends; says what."""


class Source(Protocol):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureLimits:
    """How much at a time, and how patiently."""

    batch_messages: int = 1_000
    batch_bytes: int = 1_000_000
    """Of values; one longer message makes a batch of its own."""
    held_bytes_max: int = 32 << 20
    """Messages read and not yet acknowledged, about; beyond it reading pauses."""
    call_deadline_s: float = 60.0
    wait_first_s: float = 0.1
    wait_longest_s: float = 5.0
    """Between attempts; doubled from the first to here."""
    settle_s: float = 3.0
    """How long a batch under way may take to be acknowledged when its partitions go or the connector stops."""
    read_timeout_s: float = 0.05
    busy_timeout_s: float = 0.005
    """The same while a call is under way."""

    def __post_init__(self) -> None:
        assert 1 <= self.batch_messages <= 10_000, "Hearth takes 10,000 signals in a request"
        assert 0 < self.batch_bytes < REQUEST_BYTES_MAX
        assert self.held_bytes_max > self.batch_bytes, "a batch must fit in what may be held"
        assert 0 < self.wait_first_s <= self.wait_longest_s


@dataclass(slots=True)
class Tally:
    """What has become of the messages so far: read = sent + kept as rejects + tombstones."""

    read: int = 0
    """Accounted for, offsets about to be committed."""
    sent: int = 0
    """Acknowledged: applied + duplicate + late + rejected."""
    applied: int = 0
    duplicate: int = 0
    late: int = 0
    rejected: int = 0
    unreadable: int = 0
    """Kept as rejects, those that were kept before included."""
    tombstones: int = 0
    retries: int = 0
    failed_commits: int = 0
    rebalances: int = 0

    @property
    def balances(self) -> bool:
        """Whether every message is accounted for."""
        is_all_read = self.read == self.sent + self.unreadable + self.tombstones
        return is_all_read and self.sent == self.applied + self.duplicate + self.late + self.rejected

    def add(self, other: "Tally") -> None:
        """Add another's counts."""
        for name, count in other.as_dict().items():
            setattr(self, name, getattr(self, name) + count)

    def as_dict(self) -> dict[str, int]:
        """Return it for JSON."""
        return asdict(self)


@dataclass(slots=True)
class _Batch:
    """Messages under way, in parts that are sent one after another."""

    messages: list[Message]
    parts: deque[list[Message]]
    decoded: Decoded | None = None
    """Of the first part."""
    unreadable: list[Unreadable] = field(default_factory=list)
    """Of the parts that are done, not yet kept."""
    call: "grpc.Future[signal_pb2.IngestResponse] | grpc.Future[admin_pb2.RejectResponse] | None" = None
    keeping: int = 0
    """How many of them the call under way is about."""
    tally: Tally = field(default_factory=Tally)
    """Counted once the batch is finished: one that is given up is read, and counted, again."""
    exhausted: int = 0
    """Attempts in a row that found Hearth out of resources."""


class Connector:
    """Moves messages from one source to Hearth until told to stop. For one thread."""

    def __init__(
        self,
        source: Source,
        decoder: Decoder,
        channel: grpc.Channel,
        *,
        limits: CaptureLimits | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._decoder = decoder
        self._signals = signal_pb2_grpc.SignalServiceStub(channel)
        self._admin = admin_pb2_grpc.AdminServiceStub(channel)
        self._limits = limits or CaptureLimits()
        self._now_s = now_s
        self._held: deque[Message] = deque()
        self._held_bytes = 0
        """Of the batch under way too."""
        self._batch: _Batch | None = None
        self._acked: dict[SourcePartition, int] = {}
        """Next offset, of the partitions that were ours since it was acked."""
        self._uncommitted: set[SourcePartition] = set()
        self._is_paused = False
        self._wait_s = self._limits.wait_first_s
        self._not_before_s = 0.0
        self.tally = Tally()
        self._trouble = ""
        source.begin(self._revoked)

    # --- the loop ----------------------------------------------------------------------------------------------------

    def run(self, is_stopping: Callable[[], bool], show: Callable[["Connector"], None]) -> None:
        """Work until `is_stopping`, then let the batch under way be acknowledged, commit, and leave the group.

        Raises:
            CaptureFailed: going on cannot help; what was acknowledged is committed as far as that was possible.
        """
        try:
            while not is_stopping():
                self.turn()
                show(self)
        finally:
            self.stop()

    def turn(self) -> None:
        """Read what there is, and bring the batch under way as far as it goes without waiting."""
        limits = self._limits
        self._pause_or_resume()
        is_busy = self._batch is not None and self._batch.call is not None
        timeout_s = limits.busy_timeout_s if is_busy else limits.read_timeout_s
        # Also when paused: whoever does not ask is expelled from the group.
        for message in self._source.read(most=limits.batch_messages, timeout_s=timeout_s):
            self._held.append(message)
            self._held_bytes += message.held_bytes
        while self._advance():
            pass

    def stop(self) -> None:
        """Settle what is under way, commit, leave the group."""
        try:
            self._settle()
            self._commit()
        finally:
            self._source.close()

    @property
    def waiting(self) -> int:
        """Messages read and not yet accounted for."""
        return len(self._held) + (len(self._batch.messages) if self._batch else 0)

    @property
    def held_bytes(self) -> int:
        """What these take, about."""
        return self._held_bytes

    @property
    def is_paused(self) -> bool:
        """Whether reading waits for Hearth."""
        return self._is_paused

    @property
    def trouble(self) -> str:
        """Why the newest attempt failed, at Hearth or at the source; empty once one succeeded."""
        return self._trouble or self._source.trouble

    @property
    def lag(self) -> int | None:
        """How many messages of our partitions are not accounted for yet; None if not known."""
        return self._source.lag(self._acked)

    @property
    def gone_count(self) -> int:
        """Messages that their topic had deleted before we read them."""
        return self._source.gone_count

    def _pause_or_resume(self) -> None:
        limit = self._limits.held_bytes_max
        if not self._is_paused and self._held_bytes >= limit:
            self._source.pause()
            self._is_paused = True
        elif self._is_paused and self._held_bytes <= limit // 2:
            self._source.resume()
            self._is_paused = False

    # --- one batch ---------------------------------------------------------------------------------------------------

    def _advance(self) -> bool:
        """Do the next thing, unless it is to wait; return whether something was done."""
        batch = self._batch
        if batch is not None and batch.call is not None:
            return batch.call.done() and self._answered(batch)
        if self._now_s() < self._not_before_s:
            return False
        if batch is None:
            if self._uncommitted:
                self._commit()
            if not self._held:
                return False
            self._batch = self._take()
        elif batch.parts:
            self._send(batch)
        elif batch.unreadable:
            self._keep(batch)
        else:
            self._finish(batch)
        return True

    def _take(self) -> _Batch:
        messages: list[Message] = []
        byte_count = 0
        while self._held and len(messages) < self._limits.batch_messages:
            byte_count += len(self._held[0].value or b"")
            if messages and byte_count > self._limits.batch_bytes:
                break
            messages.append(self._held.popleft())
        return _Batch(messages=messages, parts=deque([_events(messages)]))

    def _send(self, batch: _Batch) -> None:
        part = batch.parts[0]
        if batch.decoded is None:
            batch.decoded = self._decoder.decode(part)
        request = batch.decoded.request
        if request is None:
            self._part_done(batch)
        elif request.ByteSize() > (REQUEST_BYTES_MAX if len(part) > 1 else LONE_REQUEST_BYTES_MAX):
            self._divide(batch, TOO_LARGE, f"makes a request of {request.ByteSize():,} bytes")
        else:
            batch.call = self._signals.Ingest.future(request, timeout=self._limits.call_deadline_s)

    def _keep(self, batch: _Batch) -> None:
        request = admin_pb2.RejectRequest()
        byte_count = 0
        for one in batch.unreadable[:REJECTS_PER_REQUEST]:
            original = (one.message.value or b"")[:REJECT_ORIGINAL_BYTES_MAX]
            byte_count += len(original)
            if request.rejects and byte_count > REQUEST_BYTES_MAX - REJECT_ORIGINAL_BYTES_MAX:
                break
            # What is told of it may quote it.
            detail = one.detail[:DETAIL_LENGTH_MAX].encode("utf-8", "backslashreplace").decode()
            request.rejects.add(position=one.message.position, reason=one.reason, detail=detail, original=original)
        batch.keeping = len(request.rejects)
        batch.call = self._admin.Reject.future(request, timeout=self._limits.call_deadline_s)

    def _answered(self, batch: _Batch) -> bool:
        call, batch.call = batch.call, None
        assert call is not None
        try:
            answer = call.result()
        except grpc.RpcError as failed:
            self._failed(batch, failed)
            return True
        except grpc.FutureCancelledError:
            return True
        self._wait_s, self._trouble, batch.exhausted = self._limits.wait_first_s, "", 0
        if isinstance(answer, signal_pb2.IngestResponse):
            self._count(batch, answer.counts)
            self._part_done(batch)
        else:
            batch.tally.unreadable += batch.keeping
            del batch.unreadable[: batch.keeping]
        return True

    def _failed(self, batch: _Batch, failed: grpc.RpcError) -> None:
        code, details = _code_and_details(failed)
        self._trouble = f"{code.name}: {details}"
        is_ingest = bool(batch.parts)
        batch.exhausted = batch.exhausted + 1 if code is grpc.StatusCode.RESOURCE_EXHAUSTED else 0
        if is_ingest and code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE):
            self._divide(batch, REFUSED, details)
            return
        if is_ingest and batch.exhausted >= HALVED_AFTER and len(batch.parts[0]) > 1:
            self._divide(batch, TOO_LARGE, details)
        self.tally.retries += 1
        self._not_before_s = self._now_s() + self._wait_s
        self._wait_s = min(2 * self._wait_s, self._limits.wait_longest_s)

    def _divide(self, batch: _Batch, reason: str, detail: str) -> None:
        """Send the halves of a part one after the other; what is wrong with a single message makes it a reject."""
        part = batch.parts.popleft()
        batch.decoded, batch.exhausted = None, 0
        if len(part) > 1:
            half = len(part) // 2
            batch.parts.extendleft((part[half:], part[:half]))
        else:
            batch.unreadable.append(Unreadable(message=part[0], reason=reason, detail=detail))

    def _part_done(self, batch: _Batch) -> None:
        assert batch.decoded is not None
        batch.unreadable += batch.decoded.unreadable
        batch.parts.popleft()
        batch.decoded = None

    def _count(self, batch: _Batch, counts: signal_pb2.SignalCounts) -> None:
        assert batch.decoded is not None
        sent, tally = batch.decoded.signal_count, batch.tally
        if counts.received != sent or sent != counts.applied + counts.duplicate + counts.late + counts.rejected:
            raise CaptureFailed(f"Hearth does not account for its signals: {sent:,} sent, {counts.received:,} received")
        tally.sent += sent
        tally.applied += counts.applied
        tally.duplicate += counts.duplicate
        tally.late += counts.late
        tally.rejected += counts.rejected

    def _finish(self, batch: _Batch) -> None:
        """All of a batch is in Hearth's hands: it may be committed."""
        self._batch = None
        batch.tally.read = len(batch.messages)
        batch.tally.tombstones = sum(message.value is None for message in batch.messages)
        self.tally.add(batch.tally)
        for message in batch.messages:
            self._held_bytes -= message.held_bytes
            self._acked[message.source_partition] = message.offset + 1
            self._uncommitted.add(message.source_partition)
        self._commit()

    def _commit(self) -> None:
        if not self._uncommitted:
            return
        try:
            self._source.commit({one: self._acked[one] for one in self._uncommitted})
        except CommitFailed as failed:
            # Nothing is lost: whoever reads on from an older offset sends what Hearth knows already.
            self._trouble = f"commit: {failed}"
            self.tally.failed_commits += 1
            self._not_before_s = self._now_s() + self._limits.wait_first_s
        else:
            self._uncommitted.clear()
            self._trouble = ""

    # --- rebalances --------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Give the batch under way time to be acknowledged, and commit it then."""
        until_s = self._now_s() + self._limits.settle_s
        while self._batch is not None and self._now_s() < until_s:
            call = self._batch.call
            if call is None and not self._advance():
                return  # it waits for its next attempt
            if call is not None:
                _wait(call, self._limits.busy_timeout_s)
                self._advance()

    def _revoked(self, partitions: frozenset[SourcePartition], is_lost: bool) -> None:
        """Commit what was acknowledged; forget the rest of these partitions, which another member reads again."""
        self.tally.rebalances += 1
        if not is_lost:
            self._settle()
            self._commit()
        batch = self._batch
        if batch is not None and any(message.source_partition in partitions for message in batch.messages):
            # What Hearth makes of the call is not known: whoever sends its messages again sends the same ids.
            if batch.call is not None:
                batch.call.cancel()
            self._held.extendleft(reversed(batch.messages))
            self._batch = None
        self._held = deque(message for message in self._held if message.source_partition not in partitions)
        kept = [*self._held, *(self._batch.messages if self._batch else ())]
        self._held_bytes = sum(message.held_bytes for message in kept)
        for partition in partitions:
            self._acked.pop(partition, None)
            self._uncommitted.discard(partition)


def _events(messages: Iterable[Message]) -> list[Message]:
    return [message for message in messages if message.value is not None]


def _wait(
    call: "grpc.Future[signal_pb2.IngestResponse] | grpc.Future[admin_pb2.RejectResponse]", timeout_s: float
) -> None:
    with suppress(grpc.RpcError, grpc.FutureTimeoutError, grpc.FutureCancelledError):
        call.result(timeout=timeout_s)


def _code_and_details(failed: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    # grpc's errors are calls as well; their types do not say so.
    error: object = failed
    if isinstance(error, grpc.Call):
        return error.code(), error.details() or ""
    return grpc.StatusCode.UNKNOWN, str(failed)
