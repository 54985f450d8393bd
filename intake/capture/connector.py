"""Capture: hands what operators publish on their own topics to Hearth, and commits how far only behind the acks.

    read → hold → decode → Ingest → keep what is unreadable → commit

One batch is under way at a time, so what a source partition holds arrives in its order. It is sent until it is
acknowledged, with the same event ids each time: at least once, and Hearth knows repeats, so once. A message that is no
signal is kept as a reject before its offset is committed. Nothing is dropped; where Hearth is slow or away, reading
pauses. Owns offsets and retries. Knows no Kafka client, no file and no format: these come as ports.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, assert_never

import grpc

from hearth.v1 import admin_pb2, admin_pb2_grpc, signal_pb2_grpc
from intake.capture.batch import Batch, CaptureTally, Messages
from intake.capture.ports import CommitFailed, Decoder, Message, SourcePartition, TopicReader, UnreadableMessage
from intake.failures import code_and_details
from intake.sender import (
    LONE_REQUEST_BYTES_MAX,
    REQUEST_BYTES_MAX,
    Acknowledged,
    Backoff,
    Moved,
    Patience,
    Sender,
    Undeliverable,
    UndeliverableReason,
    doubling,
)
from wire.batches import SIGNAL_COUNT_MAX
from wire.rejects import ORIGINAL_BYTES_MAX, OutsideReason

REJECTS_PER_REQUEST: Final = 256
DETAIL_LENGTH_MAX: Final = 1_000


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
        assert 1 <= self.batch_messages <= SIGNAL_COUNT_MAX, f"Hearth takes {SIGNAL_COUNT_MAX:,} signals in a request"
        assert 0 < self.batch_bytes < REQUEST_BYTES_MAX
        assert self.held_bytes_max > self.batch_bytes, "a batch must fit in what may be held"
        assert 0 < self.wait_first_s <= self.wait_longest_s


class Connector:
    """Moves messages from one source to Hearth until told to stop. For one thread."""

    def __init__(
        self,
        source: TopicReader,
        decoder: Decoder,
        channel: grpc.Channel,
        *,
        limits: CaptureLimits | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._decoder = decoder
        self._admin = admin_pb2_grpc.AdminServiceStub(channel)
        self._limits = limits = limits or CaptureLimits()
        self._now_s = now_s
        self._patience = Patience(
            deadline_s=limits.call_deadline_s,
            waits_s=doubling(limits.wait_first_s, limits.wait_longest_s),
            is_endless=True,
            finds_refused=True,
            lone_request_bytes_max=LONE_REQUEST_BYTES_MAX,
        )
        begin = signal_pb2_grpc.SignalServiceStub(channel).Ingest.future
        self._sender = Sender(begin=begin, patience=self._patience, now_s=now_s)
        self._held: deque[Message] = deque()
        self._held_bytes = 0
        """Of the batch under way too."""
        self._batch: Batch | None = None
        self._acked: dict[SourcePartition, int] = {}
        """Next offset, of the partitions that were ours since it was acked."""
        self._uncommitted: set[SourcePartition] = set()
        self._is_paused = False
        self._not_before_s = 0.0
        """When to commit again, where that failed."""
        self.tally = CaptureTally()
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
        is_busy = self._batch is not None and self._batch.is_under_way
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
        if not (batch and batch.is_under_way) and self._now_s() < self._not_before_s:
            return False
        if batch is None:
            if self._uncommitted:
                self._commit()
            if not self._held:
                return False
            self._batch = self._take()
            return True
        if not batch.sending.is_done:
            return self._send(batch)
        if batch.unreadable:
            return self._keep(batch)
        self._finish(batch)
        return True

    def _take(self) -> Batch:
        messages: list[Message] = []
        byte_count = 0
        while self._held and len(messages) < self._limits.batch_messages:
            byte_count += len(self._held[0].value or b"")
            if messages and byte_count > self._limits.batch_bytes:
                break
            messages.append(self._held.popleft())
        events = [message for message in messages if message.value is not None]
        sending = self._sender.sending(Messages(events, self._decoder))
        return Batch(messages=messages, sending=sending, backoff=Backoff(self._patience))

    def _send(self, batch: Batch) -> bool:
        match batch.sending.turn():
            case None:
                return False
            case Acknowledged(parcel=part, response=response):
                self._trouble = ""
                batch.tally.count(response)
                batch.unreadable += part.decoded.unreadable
            case Undeliverable() as found:
                batch.unreadable.append(_as_reject(found))
            case Moved(trouble=trouble, is_retry=is_retry):
                self._trouble = trouble or self._trouble
                self.tally.retries += is_retry
        return True

    def _keep(self, batch: Batch) -> bool:
        if batch.keeping is not None:
            return batch.keeping.done() and self._kept(batch, batch.keeping)
        if self._now_s() < batch.backoff.not_before_s:
            return False
        request = admin_pb2.RejectRequest()
        byte_count = 0
        for one in batch.unreadable[:REJECTS_PER_REQUEST]:
            original = (one.message.value or b"")[:ORIGINAL_BYTES_MAX]
            byte_count += len(original)
            if request.rejects and byte_count > REQUEST_BYTES_MAX - ORIGINAL_BYTES_MAX:
                break
            # What is told of it may quote it.
            detail = one.detail[:DETAIL_LENGTH_MAX].encode("utf-8", "backslashreplace").decode()
            request.rejects.add(position=one.message.position, reason=one.reason, detail=detail, original=original)
        batch.keeping_count = len(request.rejects)
        batch.keeping = self._admin.Reject.future(request, timeout=self._limits.call_deadline_s)
        return True

    def _kept(self, batch: Batch, call: "grpc.Future[admin_pb2.RejectResponse]") -> bool:
        batch.keeping = None
        try:
            call.result()
        except grpc.RpcError as failed:
            code, details = code_and_details(failed)
            self._trouble = f"{code.name}: {details}"
            self.tally.retries += 1
            batch.backoff.note_failed(failed, now_s=self._now_s())
            return True
        except grpc.FutureCancelledError:
            return True
        self._trouble = ""
        batch.backoff.note_answered()
        batch.tally.unreadable += batch.keeping_count
        del batch.unreadable[: batch.keeping_count]
        return True

    def _finish(self, batch: Batch) -> None:
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
            if self._batch.is_under_way:
                self._batch.wait(self._limits.busy_timeout_s)
                self._advance()
            elif not self._advance():
                return  # it waits for its next attempt

    def _revoked(self, partitions: frozenset[SourcePartition], is_lost: bool) -> None:
        """Commit what was acknowledged; forget the rest of these partitions, which another member reads again."""
        self.tally.rebalances += 1
        if not is_lost:
            self._settle()
            self._commit()
        batch = self._batch
        if batch is not None and any(message.source_partition in partitions for message in batch.messages):
            # What Hearth makes of the call is not known: whoever sends its messages again sends the same ids.
            batch.give_up()
            self._held.extendleft(reversed(batch.messages))
            self._batch = None
        self._held = deque(message for message in self._held if message.source_partition not in partitions)
        kept = [*self._held, *(self._batch.messages if self._batch else ())]
        self._held_bytes = sum(message.held_bytes for message in kept)
        for partition in partitions:
            self._acked.pop(partition, None)
            self._uncommitted.discard(partition)


def _as_reject(alone: Undeliverable[Messages]) -> UnreadableMessage:
    (message,) = alone.parcel.messages
    match alone.why:
        case UndeliverableReason.TOO_LONG:
            reason, detail = OutsideReason.TOO_LARGE, f"makes a request of {alone.byte_count:,} bytes"
        case UndeliverableReason.TOO_LARGE:
            reason, detail = OutsideReason.TOO_LARGE, alone.detail
        case UndeliverableReason.REFUSED:
            reason, detail = OutsideReason.REFUSED, alone.detail
        case _:
            assert_never(alone.why)
    return UnreadableMessage(message=message, reason=reason, detail=detail)
