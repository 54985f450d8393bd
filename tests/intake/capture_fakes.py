"""Both ends of a connector: topics in memory, and a Hearth that fails when it is told to and remembers the order."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from hearth.v1 import admin_pb2, admin_pb2_grpc, signal_pb2, signal_pb2_grpc
from intake.capture.ports import CaptureFailed, CommitFailed, Message, SourcePartition
from tests.cluster.fake_hearth import FakeHearth, rows_of

BEFORE, AFTER, FINE = "before", "after", "fine"
"""When a request fails with UNAVAILABLE: before its signals are applied, after that, or not at all."""


@dataclass
class CaptureHearth(FakeHearth, admin_pb2_grpc.AdminServiceServicer):
    """Applies each event once, keeps each reject once; what is to go wrong stands in `faults`, one per request."""

    faults: list[str | grpc.StatusCode] = field(default_factory=list)
    """For the next requests: BEFORE, AFTER, FINE or a status."""
    chance: random.Random | None = None
    """Once `faults` is empty: a third of the requests fail, before or after."""
    refuses: Callable[[dict[str, Any]], bool] = lambda row: False
    """Signals with which a whole request is invalid."""
    rejects: dict[str, admin_pb2.Reject] = field(default_factory=dict)
    reject_requests: int = 0
    ingest_requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def Ingest(self, request: signal_pb2.IngestRequest, context: Any) -> signal_pb2.IngestResponse:
        if self.holds_after is not None and self.ingest_requests >= self.holds_after:
            self.reached_gate.set()
            self.gate.wait(20)
        rows = rows_of(request.arrow_stream) if request.arrow_stream else [_row(one) for one in request.signals]
        with self.lock:
            self.ingest_requests += 1
            fault = self._fault(context, BEFORE)
            if any(self.refuses(row) for row in rows):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a signal is out of order")
            response = self._apply(rows)
            self._abort_if(fault == AFTER, context)
            self.batches.append(len(rows))
            return response

    def Reject(self, request: admin_pb2.RejectRequest, context: Any) -> admin_pb2.RejectResponse:
        with self.lock:
            self.reject_requests += 1
            fault = self._fault(context, BEFORE)
            fresh = [one for one in request.rejects if one.position not in self.rejects]
            self.rejects.update({one.position: one for one in fresh})
            self._abort_if(fault == AFTER, context)
            return admin_pb2.RejectResponse(kept=len(fresh))

    def _fault(self, context: Any, when: str) -> str:
        fault: str | grpc.StatusCode = FINE
        if self.faults:
            fault = self.faults.pop(0)
        elif self.chance is not None:
            fault = self.chance.choice((FINE, FINE, FINE, FINE, BEFORE, AFTER))
        if isinstance(fault, grpc.StatusCode):
            context.abort(fault, "as told")
        self._abort_if(fault == when, context)
        return fault

    def _abort_if(self, is_so: bool, context: Any) -> None:
        if is_so:
            context.abort(grpc.StatusCode.UNAVAILABLE, "as told")


def _row(signal: signal_pb2.Signal) -> dict[str, Any]:
    values = {name: getattr(value, value.WhichOneof("kind")) for name, value in signal.fields.items()}
    return {
        "event_id": signal.event_id,
        "type": signal.type,
        "household": signal.household,
        "member": signal.member,
        "time": signal.time.ToMicroseconds(),
        **values,
    }


@contextmanager
def serving_capture(hearth: CaptureHearth) -> Iterator[CaptureHearth]:
    """Serve signals and rejects on a free port."""
    server = grpc.server(ThreadPoolExecutor(4))
    signal_pb2_grpc.add_SignalServiceServicer_to_server(hearth, server)
    admin_pb2_grpc.add_AdminServiceServicer_to_server(hearth, server)
    hearth.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield hearth
    finally:
        hearth.gate.set()
        server.stop(None).wait()


@dataclass
class MemorySource:
    """Topics in memory, read by one member; `committed` outlives it."""

    messages: dict[SourcePartition, list[Message]]
    committed: dict[SourcePartition, int] = field(default_factory=dict)
    commits: list[dict[SourcePartition, int]] = field(default_factory=list)
    failing_commits: int = 0
    most: int = 1_000
    """Messages of one read."""
    is_paused: bool = False
    pauses: int = 0
    is_closed: bool = False
    gone_count: int = 0
    trouble: str = ""
    fails: bool = False
    _next: dict[SourcePartition, int] = field(default_factory=dict)
    _revoked: Callable[[frozenset[SourcePartition], bool], None] = lambda partitions, is_lost: None
    _leaving: list[tuple[frozenset[SourcePartition], bool]] = field(default_factory=list)

    def begin(self, revoked: Callable[[frozenset[SourcePartition], bool], None]) -> None:
        self._revoked = revoked
        self.assign(*self.messages)

    def assign(self, *partitions: SourcePartition) -> None:
        """Give partitions to the member, from where they were committed."""
        self._next.update({one: self.committed.get(one, 0) for one in partitions})

    def take_away(self, *partitions: SourcePartition, is_lost: bool = False) -> None:
        """Revoke partitions within the next read."""
        self._leaving.append((frozenset(partitions), is_lost))

    def read(self, *, most: int, timeout_s: float) -> list[Message]:
        if self.fails:
            raise CaptureFailed("fenced")
        while self._leaving:
            partitions, is_lost = self._leaving.pop()
            self._revoked(partitions, is_lost)
            for one in partitions:
                del self._next[one]
        if self.is_paused:
            time.sleep(min(timeout_s, 0.001))
            return []
        found: list[Message] = []
        for one, offset in self._next.items():
            new = self.messages[one][offset : offset + min(most, self.most) - len(found)]
            self._next[one] = offset + len(new)
            found += new
        if not found:
            time.sleep(min(timeout_s, 0.001))  # as a source waits for what may come
        return found

    def commit(self, next_offsets: dict[SourcePartition, int]) -> None:
        if self.failing_commits:
            self.failing_commits -= 1
            raise CommitFailed("as told")
        assert next_offsets.keys() <= self._next.keys(), "only of one's own partitions"
        self.commits.append(dict(next_offsets))
        self.committed.update(next_offsets)

    def pause(self) -> None:
        self.is_paused, self.pauses = True, self.pauses + 1

    def resume(self) -> None:
        self.is_paused = False

    def lag(self, next_offsets: dict[SourcePartition, int]) -> int | None:
        return sum(len(self.messages[one]) - next_offsets.get(one, self.committed.get(one, 0)) for one in self._next)

    def close(self) -> None:
        self.is_closed = True
