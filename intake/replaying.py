"""Sends rejected events again, and records what came of each.

An event goes under the id it had, or one derived from its position, so however often it is sent it counts once. The
events of one partition go one after the other, in their order; partitions go side by side.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, assert_never

import grpc
import pyarrow as pa

from hearth.v1 import admin_pb2, admin_pb2_grpc, signal_pb2, signal_pb2_grpc
from intake.failures import told_of
from intake.files import RETRY_WAITS_S
from intake.progress import Meter
from intake.request import OUR_COLUMNS
from intake.sender import LONE_REQUEST_BYTES_MAX, Acknowledged, ParcelUnderWay, Patience, Sender, Undeliverable
from wire.batches import IDENTIFIER_COLUMN, SOURCE_COLUMN, ipc_bytes
from wire.rejects import REPLAYED, OutsideReason

DEADLINE_S = 30.0


class EventToReplay(Protocol):
    """What a rejected event said, as it is kept."""

    @property
    def source(self) -> bytes: ...
    @property
    def household(self) -> bytes: ...
    @property
    def member(self) -> bytes: ...
    @property
    def identifier(self) -> bytes:
        """Empty for none."""
        ...

    @property
    def type(self) -> str: ...
    @property
    def time_us(self) -> int | None:
        """None for no time at all."""
        ...

    @property
    def fields(self) -> tuple[tuple[str, float | str], ...]:
        """By name; of a name that was given as a number and as a text, both."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ToReplay:
    """A reject that is to be sent again."""

    position: str
    """Its identity."""
    partition: int
    event_id: bytes
    """Its own, or one derived from its position: the same each time."""
    event: EventToReplay | None
    """None where what is kept of it cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What came of one reject: a status by name, or that Hearth takes it in no form."""

    position: str
    outcome: str


@dataclass(frozen=True, slots=True)
class _Lone:
    """One event in a request of its own; without one where no form can carry it."""

    request: signal_pb2.IngestRequest | None

    @property
    def signal_count(self) -> int:
        return int(self.request is not None)

    @property
    def size(self) -> int:
        return 1

    def halves(self) -> "tuple[_Lone, _Lone]":
        raise AssertionError("one event has no halves")


class Replayer:
    """Sends rejects into a running Hearth."""

    def __init__(
        self,
        channel: grpc.Channel,
        *,
        target: str,
        tell: Callable[[str], None],
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Args:
            channel: to Hearth.
            target: how messages call it.
            tell: is told lines for people.
            is_stopping: whether to end early.
        """
        begin = signal_pb2_grpc.SignalServiceStub(channel).Ingest.future
        patience = Patience(
            deadline_s=DEADLINE_S,
            waits_s=RETRY_WAITS_S,
            finds_refused=True,
            lone_request_bytes_max=LONE_REQUEST_BYTES_MAX,
        )
        self._sender = Sender(begin=begin, patience=patience, target=target, doing="replaying")
        self._admin = admin_pb2_grpc.AdminServiceStub(channel)
        self._target = target
        self._tell = tell
        self._is_stopping = is_stopping
        self._can_record = True

    def run(self, rejects: list[ToReplay], show: Meter) -> Iterator[Replayed]:
        """Yield what came of each, as it is recorded. Ends early when it is to stop.

        Raises:
            IntakeFailed: Hearth cannot be reached; what was yielded is done, and a repeat does no harm.
        """
        by_partition: dict[int, deque[ToReplay]] = {}
        for reject in rejects:
            by_partition.setdefault(reject.partition, deque()).append(reject)
        done = 0
        while by_partition and not self._is_stopping():
            wave = [waiting.popleft() for waiting in by_partition.values()]
            by_partition = {partition: waiting for partition, waiting in by_partition.items() if waiting}
            outcomes = self._send(wave)
            self._record(outcomes)
            yield from outcomes
            done += len(wave)
            show(done, len(rejects))

    def _send(self, wave: list[ToReplay]) -> list[Replayed]:
        sendings = [self._sender.sending(_Lone(_request(one))) for one in wave]
        for sending in sendings:
            sending.begin()
        return [
            Replayed(position=one.position, outcome=self._outcome(sending))
            for one, sending in zip(wave, sendings, strict=True)
        ]

    def _outcome(self, sending: ParcelUnderWay[_Lone]) -> str:
        """Wait for an answer. A wave is finished even if it is to stop: what is sent is to be marked."""
        (became,) = self._sender.finished(sending)
        match became:
            case Acknowledged():
                return _status(became.response)
            case Undeliverable():
                return OutsideReason.REFUSED
            case _:
                assert_never(became)

    def _record(self, outcomes: list[Replayed]) -> None:
        """Leave a mark in the store; without one a repeat would only find a duplicate."""
        if not self._can_record:
            return
        marks = [admin_pb2.Reject(position=one.position, reason=REPLAYED + one.outcome) for one in outcomes]
        try:
            self._admin.Reject(admin_pb2.RejectRequest(rejects=marks), timeout=DEADLINE_S)
        except grpc.RpcError as failed:
            self._can_record = False
            why = told_of(failed, doing="recording what came of it", target=self._target)
            self._tell(
                f"hearth: {why}; what is replayed from here on is not marked, and replaying it again does no harm"
            )


def _status(response: signal_pb2.IngestResponse) -> str:
    counts = response.counts
    if counts.applied:
        return "APPLIED"
    if counts.duplicate:
        return "DUPLICATE"
    if counts.late:
        return "LATE"
    return str(response.rejections[0].reason) if response.rejections else OutsideReason.REFUSED


def _request(one: ToReplay) -> signal_pb2.IngestRequest | None:
    """Return the request that sends an event again; None where no form can carry it."""
    event = one.event
    if event is None:
        return None
    names = [name for name, _ in event.fields]
    taken = {*OUR_COLUMNS, SOURCE_COLUMN, IDENTIFIER_COLUMN}
    if len({*names, *taken}) == len(names) + len(taken):
        return signal_pb2.IngestRequest(arrow_stream=_arrow(event, one.event_id, dict(event.fields)))
    # A field by the name of a column, which only the other form can say.
    return _as_signal(event, one.event_id)


def _arrow(event: EventToReplay, event_id: bytes, fields: Mapping[str, float | str]) -> bytes:
    columns = {
        "event_id": pa.array([event_id], pa.binary()),
        "type": pa.array([event.type], pa.string()),
        "household": pa.array([event.household], pa.binary()),
        "member": pa.array([event.member], pa.binary()),
        "time": pa.array([event.time_us], pa.int64()),
    }
    if event.source:
        columns[SOURCE_COLUMN] = pa.array([event.source], pa.binary())
    if event.identifier:
        columns[IDENTIFIER_COLUMN] = pa.array([event.identifier], pa.binary())
    for name, value in fields.items():
        columns[name] = pa.array([value], pa.string() if isinstance(value, str) else pa.float64())
    return ipc_bytes(pa.table(columns))


def _as_signal(event: EventToReplay, event_id: bytes) -> signal_pb2.IngestRequest | None:
    if len(dict(event.fields)) < len(event.fields):
        return None
    try:
        signal = signal_pb2.Signal(
            event_id=event_id.decode(),
            source=event.source.decode(),
            type=event.type,
            household=event.household.decode(),
            member=event.member.decode(),
            identifier=event.identifier.decode(),
        )
        if event.time_us is not None:
            signal.time.FromMicroseconds(event.time_us)
    except ValueError:
        return None
    for name, value in event.fields:
        if isinstance(value, str):
            signal.fields[name].text = value
        else:
            signal.fields[name].number = value
    return signal_pb2.IngestRequest(signals=[signal])
