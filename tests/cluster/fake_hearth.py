"""A Hearth of a few lines behind the public services: remembers every signal, answers as it is told."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pyarrow as pa
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from hearth.v1 import decision_pb2, decision_pb2_grpc, household_pb2, household_pb2_grpc, signal_pb2, signal_pb2_grpc

FIXED = ("event_id", "type", "household", "member", "time")


@dataclass
class FakeHearth(
    signal_pb2_grpc.SignalServiceServicer,
    decision_pb2_grpc.DecisionServiceServicer,
    household_pb2_grpc.HouseholdServiceServicer,
    health_pb2_grpc.HealthServicer,
):
    """Applies what it does not know by event id; rejects unknown types and NaN."""

    address: str = ""
    signals: list[dict[str, Any]] = field(default_factory=list)
    """Every applied signal, in order of arrival; `time` in µs, absent fields left out."""
    batches: list[int] = field(default_factory=list)
    """Rows of each request that was answered."""
    known_types: frozenset[str] | None = None
    rows_max: int = 65_536
    busy_times: int = 0
    """So many requests fail with UNAVAILABLE first, after having been applied."""
    holds_after: int | None = None
    """After so many requests the next one waits for `gate`."""
    gate: threading.Event = field(default_factory=threading.Event)
    reached_gate: threading.Event = field(default_factory=threading.Event)
    decide_answer: decision_pb2.DecideResponse = field(default_factory=decision_pb2.DecideResponse)
    decide_refusal: str = ""
    asked: list[decision_pb2.DecideRequest] = field(default_factory=list)
    decisions: dict[tuple[str, str], household_pb2.DecisionRecord] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    """Households whose decisions are older than the log is kept."""
    instances: list[household_pb2.JourneyInstance] = field(default_factory=list)
    """Of every household."""
    is_ready: bool = True
    ids: set[str] = field(default_factory=set)

    def Ingest(self, request: signal_pb2.IngestRequest, context: Any) -> signal_pb2.IngestResponse:
        if self.holds_after is not None and len(self.batches) >= self.holds_after:
            self.reached_gate.set()
            self.gate.wait(20)
        rows = rows_of(request.arrow_stream) if request.arrow_stream else [row_of(one) for one in request.signals]
        if len(rows) > self.rows_max:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the message is too large")
        response = self._apply(rows)
        if self.busy_times:
            self.busy_times -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "draining")
        self.batches.append(len(rows))
        return response

    def _apply(self, rows: list[dict[str, Any]]) -> signal_pb2.IngestResponse:
        counts = signal_pb2.SignalCounts(received=len(rows))
        rejections = []
        for index, row in enumerate(rows):
            reason = self._reject_reason(row)
            if reason:
                counts.rejected += 1
                rejections.append(signal_pb2.Rejection(index=index, event_id=row["event_id"], reason=reason))
            elif row["event_id"] in self.ids:
                counts.duplicate += 1
            else:
                self.ids.add(row["event_id"])
                self.signals.append(row)
                counts.applied += 1
        return signal_pb2.IngestResponse(counts=counts, rejections=rejections[:100])

    def _reject_reason(self, row: dict[str, Any]) -> str:
        if self.known_types is not None and row["type"] not in self.known_types:
            return "UNKNOWN_TYPE"
        return "OUT_OF_RANGE" if any(value != value for value in row.values()) else ""

    def Decide(self, request: decision_pb2.DecideRequest, context: Any) -> decision_pb2.DecideResponse:
        self.asked.append(request)
        if self.decide_refusal:
            context.abort_with_status(rpc_status.to_status(_bad_request("channel", self.decide_refusal)))
        return self.decide_answer

    def Get(self, request: household_pb2.GetRequest, context: Any) -> household_pb2.GetResponse:
        is_known = any(household == request.household for household, _ in self.decisions)
        return household_pb2.GetResponse(known=is_known, instances=self.instances)

    def Explain(self, request: household_pb2.ExplainRequest, context: Any) -> household_pb2.ExplainResponse:
        record = self.decisions.get((request.household, request.decision_id))
        is_dropped = record is None and request.household in self.dropped
        return household_pb2.ExplainResponse(found=record is not None, decision=record, dropped=is_dropped)

    def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:
        serving = health_pb2.HealthCheckResponse.SERVING
        return health_pb2.HealthCheckResponse(status=serving if self.is_ready else 2)


def rows_of(stream: bytes) -> list[dict[str, Any]]:
    """Return the signals of a columnar batch as dictionaries; absent fields are left out."""
    table = pa.ipc.open_stream(stream).read_all()
    assert table.column_names[:5] == list(FIXED)
    return [{name: value for name, value in row.items() if value is not None} for row in table.to_pylist()]


def row_of(signal: signal_pb2.Signal) -> dict[str, Any]:
    """Return a signal as a dictionary; a field that is called like a part of a signal is there as `field:<name>`."""
    row: dict[str, Any] = {name: getattr(signal, name) for name in FIXED[:4]}
    row["time"] = signal.time.ToMicroseconds()
    for name, value in signal.fields.items():
        row[f"field:{name}" if name in FIXED else name] = getattr(value, value.WhichOneof("kind"))
    return row


@contextmanager
def serving(hearth: FakeHearth) -> Iterator[FakeHearth]:
    """Serve on a free port."""
    server = grpc.server(ThreadPoolExecutor(4))
    signal_pb2_grpc.add_SignalServiceServicer_to_server(hearth, server)
    decision_pb2_grpc.add_DecisionServiceServicer_to_server(hearth, server)
    household_pb2_grpc.add_HouseholdServiceServicer_to_server(hearth, server)
    health_pb2_grpc.add_HealthServicer_to_server(hearth, server)
    hearth.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield hearth
    finally:
        hearth.gate.set()
        server.stop(None).wait()


def _bad_request(name: str, description: str) -> status_pb2.Status:
    violation = error_details_pb2.BadRequest.FieldViolation(field=name, description=description)
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    return status_pb2.Status(code=code_pb2.INVALID_ARGUMENT, message="the request is wrong", details=[detail])
