"""The acknowledged sender: what it is given goes to Hearth until Hearth has said what became of each event.

    send → acknowledged
         → failed, and that may pass: the same request again, after a while that grows or as long as Hearth asks for
         → too large, or invalid as a whole: its halves, one after the other; what is wrong with one alone is told

A request holds the same event ids each time. So it does not matter what became of one whose answer was lost: at least
once, and Hearth knows repeats, so once. One request of a parcel is under way at a time, so what it holds arrives in its
order. Knows no file and no topic; one turn never waits, so whoever has other things to do takes turns, and whoever has
none calls `finished`.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Generic, Protocol, Self, TypeVar

import grpc

from hearth.v1 import signal_pb2
from intake.errors import IntakeFailed
from intake.failures import PASSING, advised_s, code_and_details, code_of, is_too_large, told_of

REQUEST_BYTES_MAX: Final = 3_500_000
"""Below gRPC's usual limit of 4 MiB; a longer request is halved."""

LONE_REQUEST_BYTES_MAX: Final = 15 << 20
"""Of one event alone where that is to be tried; Hearth takes 16 MiB."""

HALVED_AFTER: Final = 3
"""Attempts in a row that found Hearth out of resources, until a parcel is halved: it may be the parcel."""

ADVICE_S_MAX: Final = 30.0
"""Whoever asks for a longer wait is asked again after this."""

REFUSED: Final = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE)
"""What Hearth calls invalid as a whole, and would again."""

POLL_S: Final = 0.1
"""How often a wait looks whether it is to stop."""

STOP_GRACE_S: Final = 1.0
"""How long a request under way may still be acknowledged once it is to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How a sender goes about what fails."""

    deadline_s: float
    """Of one attempt."""
    waits_s: tuple[float, ...]
    """Before the second attempt, the third and so on; Hearth's own advice counts where it is longer."""
    is_endless: bool = False
    """Whether it goes on at the last wait, whatever fails; else what no wait mends and the last attempt are told."""
    finds_refused: bool = False
    """Whether a request that is invalid as a whole is halved until the events are found that make it so."""
    knows_too_large: bool = False
    """Whether out of resources without advice means too large for ever. An endless sender does not: what it gives up
    nobody sends again, and a shortage passes."""
    lone_request_bytes_max: int = REQUEST_BYTES_MAX
    """Of a request that cannot be halved."""

    def __post_init__(self) -> None:
        assert self.deadline_s > 0
        assert self.waits_s, "an answer that was lost is asked for once more"
        assert self.lone_request_bytes_max >= REQUEST_BYTES_MAX, "halves are no longer than the whole"


def doubling(first_s: float, longest_s: float) -> tuple[float, ...]:
    """Return waits, each twice the one before, up to the longest.

    >>> doubling(0.1, 0.5)
    (0.1, 0.2, 0.4, 0.5)
    """
    waits_s = [first_s]
    while waits_s[-1] < longest_s:
        waits_s.append(min(2 * waits_s[-1], longest_s))
    return tuple(waits_s)


class Backoff:
    """When one thing may be tried again."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._failed = 0
        self.not_before_s = 0.0

    def note_failed(self, failed: grpc.RpcError, *, now_s: float) -> bool:
        """Set when the next attempt may begin; return False if there is none."""
        waits_s = self._patience.waits_s
        if not self._patience.is_endless and (self._failed >= len(waits_s) or code_of(failed) not in PASSING):
            return False
        wait_s = waits_s[min(self._failed, len(waits_s) - 1)]
        self._failed += 1
        self.not_before_s = now_s + max(wait_s, min(advised_s(failed), ADVICE_S_MAX))
        return True

    def note_answered(self) -> None:
        """Begin anew: what comes next has failed at nothing yet."""
        self._failed, self.not_before_s = 0, 0.0


class Parcel(Protocol):
    """Some events that are sent in one request."""

    @property
    def request(self) -> signal_pb2.IngestRequest | None:
        """The same each time; None if none of them is a signal."""
        ...

    @property
    def signal_count(self) -> int:
        """Signals of the request: what Hearth is to account for."""
        ...

    @property
    def size(self) -> int:
        """Of what it may be halved into; 1 cannot be halved."""
        ...

    def halves(self) -> tuple[Self, Self]:
        """Return the first and the second half, together the whole."""
        ...


P = TypeVar("P", bound=Parcel)


class UndeliverableReason(Enum):
    """Why something cannot be delivered."""

    TOO_LONG = auto()
    """Its request is longer than we may send."""
    TOO_LARGE = auto()
    """Hearth takes no request of its size."""
    REFUSED = auto()
    """Hearth calls it invalid as a whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged(Generic[P]):
    """What became of a parcel, or of a part of one: each of its signals is in the answer's counts."""

    parcel: P
    response: signal_pb2.IngestResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Undeliverable(Generic[P]):
    """One event that Hearth takes in no request; it was not applied."""

    parcel: P
    why: UndeliverableReason
    byte_count: int
    """Of its request."""
    detail: str = ""
    """What Hearth said of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The sender did something else: began a request, halved a parcel, or will send it again."""

    trouble: str = ""
    """What Hearth said to an attempt that failed; empty where none did."""
    is_retry: bool = False
    """Whether the same is sent again."""


Step = Acknowledged[P] | Undeliverable[P] | Moved


class Stopped(Exception):
    """Asked to stop; the request under way was given up, so what became of it is not known."""


@dataclass(slots=True)
class Counts:
    """What became of the signals that were acknowledged: sent = applied + duplicate + late + rejected."""

    sent: int = 0
    """Acknowledged by Hearth."""
    applied: int = 0
    duplicate: int = 0
    late: int = 0
    rejected: int = 0

    def count(self, answer: signal_pb2.IngestResponse) -> None:
        """Add what an answer says."""
        self.sent += answer.counts.received
        self.applied += answer.counts.applied
        self.duplicate += answer.counts.duplicate
        self.late += answer.counts.late
        self.rejected += answer.counts.rejected

    @property
    def accounts(self) -> bool:
        """Whether every signal that was sent is accounted for."""
        return self.sent == self.applied + self.duplicate + self.late + self.rejected


class Begin(Protocol):
    """Begins a request; that of `SignalServiceStub.Ingest.future`."""

    def __call__(
        self, request: signal_pb2.IngestRequest, /, *, timeout: float
    ) -> "grpc.Future[signal_pb2.IngestResponse]":
        """Return at once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Sends parcels to one Hearth."""

    begin: Begin
    patience: Patience
    target: str = "Hearth"
    """How messages call it."""
    doing: str = "sending signals"
    """What fails, if it does."""
    now_s: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep

    def sending(self, parcel: P) -> "ParcelUnderWay[P]":
        """Return a parcel on its way; nothing is sent before its first turn."""
        return ParcelUnderWay(self, parcel)

    def finished(
        self, sending: "ParcelUnderWay[P]", *, is_stopping: Callable[[], bool] = lambda: False
    ) -> Iterator[Acknowledged[P] | Undeliverable[P]]:
        """Yield what became of a parcel, part by part, waiting for it.

        Raises:
            IntakeFailed: Hearth takes it not at all, cannot be reached, or does not account for what it got.
            Stopped: `is_stopping` said so, and STOP_GRACE_S were not enough for the request under way.
        """
        stopping_s = 0.0
        while not sending.is_done:
            match sending.turn():
                case Acknowledged() | Undeliverable() as became:
                    yield became
                case None:
                    if stopping_s >= STOP_GRACE_S:
                        sending.give_up()
                        raise Stopped
                    self._wait(sending)
                    stopping_s = stopping_s + POLL_S if is_stopping() else 0.0
                case Moved():
                    pass

    def _wait(self, sending: "ParcelUnderWay[P]") -> None:
        if sending.is_under_way:
            sending.wait(POLL_S)
        else:
            self.pause(min(POLL_S, max(sending.not_before_s - self.now_s(), 0.0)))


class ParcelUnderWay(Generic[P]):
    """One parcel on its way, in parts once it was halved. For one thread."""

    def __init__(self, sender: Sender, parcel: P) -> None:
        self._sender = sender
        self._parts: deque[P] = deque([parcel])
        self._call: grpc.Future[signal_pb2.IngestResponse] | None = None
        self._backoff = Backoff(sender.patience)
        self._untold: deque[Step[P]] = deque()
        """What `begin` came to and no turn has said yet."""
        self._exhausted = 0
        """Attempts in a row that found Hearth out of resources."""

    @property
    def is_done(self) -> bool:
        """Whether all of it is acknowledged or was told to be undeliverable."""
        return not self._parts and not self._untold

    @property
    def is_under_way(self) -> bool:
        """Whether a request is."""
        return self._call is not None

    @property
    def not_before_s(self) -> float:
        """When the next attempt may begin."""
        return self._backoff.not_before_s

    def begin(self) -> None:
        """Send what comes first, so that it travels while its caller does something else."""
        while self._parts and not self.is_under_way:
            self._untold.append(self._send(self._parts[0]))

    def turn(self) -> Step[P] | None:
        """Do the next thing and say what it was; None while an answer or a time is to be waited for.

        Raises:
            IntakeFailed: Hearth takes it not at all, cannot be reached, or does not account for what it got.
        """
        assert not self.is_done, "all of it is delivered"
        if self._untold:
            return self._untold.popleft()
        if self._call is not None:
            return self._answered(self._call) if self._call.done() else None
        if self._sender.now_s() < self._backoff.not_before_s:
            return None
        return self._send(self._parts[0])

    def wait(self, timeout_s: float) -> None:
        """Wait for the answer to the request under way, but no longer than this."""
        assert self._call is not None, "no request is under way"
        try:
            self._call.result(timeout=timeout_s)
        except (grpc.RpcError, grpc.FutureTimeoutError, grpc.FutureCancelledError):
            return  # told by the next turn

    def give_up(self) -> None:
        """Let go of the request under way; whoever sends its events again sends the same ids."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _send(self, part: P) -> Step[P]:
        request = part.request
        if request is None:
            self._parts.popleft()
            return Acknowledged(parcel=part, response=signal_pb2.IngestResponse())
        byte_count = request.ByteSize()
        limit = REQUEST_BYTES_MAX if part.size > 1 else self._sender.patience.lone_request_bytes_max
        if byte_count > limit:
            return self._halved(part, UndeliverableReason.TOO_LONG)
        self._call = self._sender.begin(request, timeout=self._sender.patience.deadline_s)
        return Moved()

    def _answered(self, call: "grpc.Future[signal_pb2.IngestResponse]") -> Step[P]:
        self._call = None
        part = self._parts[0]
        try:
            response = call.result()
        except grpc.RpcError as failed:
            return self._failed(part, failed)
        except grpc.FutureCancelledError:
            return Moved()  # its channel was closed: the next attempt says why
        self._account(part, response)
        self._backoff.note_answered()
        self._exhausted = 0
        self._parts.popleft()
        return Acknowledged(parcel=part, response=response)

    def _account(self, part: P, response: signal_pb2.IngestResponse) -> None:
        counts = response.counts
        accounted = counts.applied + counts.duplicate + counts.late + counts.rejected
        if counts.received != part.signal_count or accounted != counts.received:
            raise IntakeFailed(
                f"{self._sender.target} does not account for its signals: {part.signal_count:,} sent, "
                f"{counts.received:,} received, {accounted:,} accounted for; this is a defect of Hearth"
            )

    def _failed(self, part: P, failed: grpc.RpcError) -> Step[P]:
        patience = self._sender.patience
        code, details = code_and_details(failed)
        trouble = f"{code.name}: {details}"
        self._exhausted = self._exhausted + 1 if code is grpc.StatusCode.RESOURCE_EXHAUSTED else 0
        if patience.finds_refused and code in REFUSED:
            return self._halved(part, UndeliverableReason.REFUSED, detail=details, trouble=trouble)
        if patience.knows_too_large and is_too_large(failed):
            return self._halved(part, UndeliverableReason.TOO_LARGE, detail=details, trouble=trouble)
        if not self._backoff.note_failed(failed, now_s=self._sender.now_s()):
            raise IntakeFailed(told_of(failed, doing=self._sender.doing, target=self._sender.target)) from failed
        if patience.is_endless and self._exhausted >= HALVED_AFTER and part.size > 1:
            self._halved(part, UndeliverableReason.TOO_LARGE)
        return Moved(trouble=trouble, is_retry=True)

    def _halved(self, part: P, why: UndeliverableReason, *, detail: str = "", trouble: str = "") -> Step[P]:
        """Put its halves in the place of a part; what is wrong with one event alone is told of it."""
        self._parts.popleft()
        self._exhausted = 0
        if part.size > 1:
            self._parts.extendleft(reversed(part.halves()))
            return Moved(trouble=trouble)
        assert part.request is not None
        return Undeliverable(parcel=part, why=why, byte_count=part.request.ByteSize(), detail=detail)
