"""Sends rejected events again, and records what came of each.

An event goes under the id it had, or one derived from its position, so however often it is sent it counts once. The
events of one partition go one after the other, in their order; partitions go side by side.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import grpc
import pyarrow as pa

from actors.records.codec import PayloadUnreadable
from actors.rejects.entries import REPLAYED, KeptReject, RejectedEvent, event_of, replay_id
from cluster.client import code_of, explain_failure
from cluster.ingest import RETRIED, RETRY_WAITS_S
from cluster.output import Meter, say
from hearth.v1 import admin_pb2, admin_pb2_grpc, signal_pb2, signal_pb2_grpc

DEADLINE_S = 30.0

REFUSED = "REFUSED"
"""What came of an event that Hearth takes in no form: its request is invalid as a whole."""

FIXED_COLUMNS = ("event_id", "household", "member", "type", "time")
SOURCE_COLUMN = "source"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What came of one reject: a status by name, or REFUSED."""

    position: str
    outcome: str


class Replayer:
    """Sends rejects into a running Hearth."""

    def __init__(self, channel: grpc.Channel, *, target: str, is_stopping: Callable[[], bool] = lambda: False) -> None:
        self._signals = signal_pb2_grpc.SignalServiceStub(channel)
        self._admin = admin_pb2_grpc.AdminServiceStub(channel)
        self._target = target
        self._is_stopping = is_stopping
        self._can_record = True

    def run(self, rejects: list[KeptReject], show: Meter) -> Iterator[Replayed]:
        """Yield what came of each, as it is recorded. Ends early when it is to stop.

        Raises:
            CommandFailed: Hearth cannot be reached; what was yielded is done, and a repeat does no harm.
        """
        by_partition: dict[int, deque[KeptReject]] = {}
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

    def _send(self, wave: list[KeptReject]) -> list[Replayed]:
        requests = [(one, _request(one)) for one in wave]
        calls = [(one, request, self._begin(request) if request is not None else None) for one, request in requests]
        return [
            Replayed(position=one.reject.position, outcome=self._outcome(request, call) if request else REFUSED)
            for one, request, call in calls
        ]

    def _begin(self, request: signal_pb2.IngestRequest) -> "grpc.Future[signal_pb2.IngestResponse]":
        call: grpc.Future[signal_pb2.IngestResponse] = self._signals.Ingest.future(request, timeout=DEADLINE_S)
        return call

    def _outcome(self, request: signal_pb2.IngestRequest, call: "grpc.Future[signal_pb2.IngestResponse] | None") -> str:
        """Wait for an answer; send it again where that helps, which an event id makes safe."""
        assert call is not None, "a request without a call"
        for wait_s in (*RETRY_WAITS_S, None):
            try:
                return _status(call.result())
            except grpc.RpcError as failed:
                code = code_of(failed)
                if code is grpc.StatusCode.INVALID_ARGUMENT:
                    return REFUSED
                if wait_s is None or code not in RETRIED:
                    raise explain_failure(failed, doing="replaying", target=self._target) from failed
            time.sleep(wait_s)
            call = self._begin(request)
        raise AssertionError("the last attempt returns or raises")

    def _record(self, outcomes: list[Replayed]) -> None:
        """Leave a mark in the store; without one a repeat would only find a duplicate."""
        if not self._can_record:
            return
        marks = [admin_pb2.Reject(position=one.position, reason=REPLAYED + one.outcome) for one in outcomes]
        try:
            self._admin.Reject(admin_pb2.RejectRequest(rejects=marks), timeout=DEADLINE_S)
        except grpc.RpcError as failed:
            self._can_record = False
            why = explain_failure(failed, doing="recording what came of it", target=self._target)
            say(f"hearth: {why}; what is replayed from here on is not marked, and replaying it again does no harm")


def _status(response: signal_pb2.IngestResponse) -> str:
    counts = response.counts
    if counts.applied:
        return "APPLIED"
    if counts.duplicate:
        return "DUPLICATE"
    if counts.late:
        return "LATE"
    return str(response.rejections[0].reason) if response.rejections else REFUSED


def _request(one: KeptReject) -> signal_pb2.IngestRequest | None:
    """Return the request that sends an event again; None where no form can carry it."""
    try:
        event = event_of(one.reject)
    except PayloadUnreadable:
        return None
    event_id = replay_id(event, one.reject.position)
    names = [name for name, _ in event.fields]
    taken = {*FIXED_COLUMNS, SOURCE_COLUMN}
    if len({*names, *taken}) == len(names) + len(taken):
        return signal_pb2.IngestRequest(arrow_stream=_arrow(event, event_id, dict(event.fields)))
    # A field by the name of a column, which only the other form can say.
    return _as_signal(event, event_id)


def _arrow(event: RejectedEvent, event_id: bytes, fields: Mapping[str, float | str]) -> bytes:
    columns = {
        "event_id": pa.array([event_id], pa.binary()),
        "type": pa.array([event.type], pa.string()),
        "household": pa.array([event.household], pa.binary()),
        "member": pa.array([event.member], pa.binary()),
        "time": pa.array([event.time_us], pa.int64()),
    }
    if event.source:
        columns[SOURCE_COLUMN] = pa.array([event.source], pa.binary())
    for name, value in fields.items():
        columns[name] = pa.array([value], pa.string() if isinstance(value, str) else pa.float64())
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _as_signal(event: RejectedEvent, event_id: bytes) -> signal_pb2.IngestRequest | None:
    if len(dict(event.fields)) < len(event.fields):
        return None
    try:
        signal = signal_pb2.Signal(
            event_id=event_id.decode(),
            source=event.source.decode(),
            type=event.type,
            household=event.household.decode(),
            member=event.member.decode(),
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
