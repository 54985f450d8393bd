"""Sends files into a running Hearth, one acknowledged batch after the other, and accounts for every row.

read = sent + unreadable, and sent = applied + duplicate + late + rejected. The next batch goes when one is acked,
so rows of one household arrive in order; while one travels, the next is read.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Self

import grpc
import pyarrow as pa

from hearth.v1 import admin_pb2, admin_pb2_grpc, signal_pb2, signal_pb2_grpc
from intake.errors import IntakeFailed
from intake.failures import code_of, is_too_large, told_of
from intake.progress import Meter
from intake.reading.examine import Source, mapper_for
from intake.reading.merge import merge, rebatch, signals_of
from intake.reading.rejects_file import RejectsFile
from intake.reading.rows import Unreadable, original_of
from intake.reading.signals import FILE_COLUMN, ROW_COLUMN, FieldTypes
from intake.request import request_of

BATCH_ROWS = 8_192
"""Wire limit: 65,536. This many fold in a few milliseconds."""

BATCH_BYTES_MAX = 3_500_000
"""Below gRPC's usual limit of 4 MiB; a longer batch is halved."""

BATCH_DEADLINE_S = 60.0

POLL_S = 0.1
"""How often a wait looks whether it is to stop."""

STOP_GRACE_S = 1.0
"""How long the batch under way may still be acknowledged once it is to stop."""

KEPT_ROWS = 256
"""Unreadable rows that are told to Hearth in one request."""

KEPT_BYTES_MAX = 1 << 20
"""Of a row that Hearth keeps as a reject."""

RETRY_WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Waits before a batch that failed is sent again; a repeat changes nothing, so an unknown outcome is safe."""

RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)


@dataclass(slots=True)
class Tally:
    """What has become of the rows so far."""

    read: int = 0
    unreadable: int = 0
    sent: int = 0
    """Acknowledged by Hearth."""
    applied: int = 0
    duplicate: int = 0
    late: int = 0
    rejected: int = 0
    rejected_by_reason: dict[str, int] = field(default_factory=dict)
    """Of those rejections that Hearth described: the first 100 of each batch."""
    rejected_by_field: dict[str, int] = field(default_factory=dict)
    """Of those, by the field or part of a signal that is wrong."""
    unknown_fields: dict[str, int] = field(default_factory=dict)
    """Fields that the playbook does not know, and how many signals had each: most often a typo."""

    @property
    def balances(self) -> bool:
        """Whether every row is accounted for."""
        is_all_sent = self.read == self.sent + self.unreadable
        return is_all_sent and self.sent == self.applied + self.duplicate + self.late + self.rejected

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Part:
    """A batch on its way."""

    table: pa.Table
    request: signal_pb2.IngestRequest
    byte_count: int

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        request = request_of(table)
        return cls(table, request, request.ByteSize())


class Stopped(Exception):
    """Asked to stop; what the tally counts is in, and the batch under way was given up."""


class _TooLarge(Exception):
    """Hearth takes no message of this size."""


class Sender:
    """Sends the signals of files that were examined; `tally` tells at any time how far it came."""

    def __init__(
        self,
        channel: grpc.Channel,
        *,
        target: str,
        sources: list[Source],
        fields: FieldTypes,
        rejects: RejectsFile,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._stub = signal_pb2_grpc.SignalServiceStub(channel)
        self._admin: admin_pb2_grpc.AdminServiceStub | None = admin_pb2_grpc.AdminServiceStub(channel)
        self._unreadable: list[admin_pb2.Reject] = []
        self._target = target
        self._sources = sources
        self._fields = fields
        self._rejects = rejects
        self._is_stopping = is_stopping
        self.tally = Tally()

    def run(self, show: Meter) -> Tally:
        """Send everything.

        Raises:
            IntakeFailed: Hearth refused a batch or could not be reached; what `tally` counts is safe in its log.
            Stopped: `is_stopping` said so.
        """
        streams = [
            signals_of(source, mapper_for(source, file_index=index, fields=self._fields), self._note_unreadable)
            for index, source in enumerate(self._sources)
        ]
        total = sum(source.row_count for source in self._sources)
        waiting: tuple[_Part, grpc.Future[signal_pb2.IngestResponse]] | None = None
        for part in self._parts(rebatch(merge(streams), rows=BATCH_ROWS)):
            if self._is_stopping() and waiting is not None:
                self._finish(*waiting)
                raise Stopped
            if waiting is not None:
                self._finish(*waiting)
                show(self.tally.sent + self.tally.unreadable, total)
            waiting = (part, self._begin(part))
        if waiting is not None:
            self._finish(*waiting)
        self._keep_unreadable()
        self.tally.read = self.tally.sent + self.tally.unreadable
        if self.tally.read != total:
            raise IntakeFailed(
                f"{total:,} rows were found first, {self.tally.read:,} now; did a file change meanwhile? run it again"
            )
        show(total, total)
        return self.tally

    def _parts(self, batches: Iterator[pa.Table]) -> Iterator[_Part]:
        for batch in batches:
            yield from self._fit(batch)

    def _fit(self, batch: pa.Table) -> Iterator[_Part]:
        part = _Part.of(batch)
        if part.byte_count <= BATCH_BYTES_MAX:
            yield part
        elif batch.num_rows > 1:
            half = batch.num_rows // 2
            yield from self._fit(batch.slice(0, half))
            yield from self._fit(batch.slice(half))
        else:
            self._give_up(
                batch, f"the row makes a message of {part.byte_count:,} bytes, at most {BATCH_BYTES_MAX:,} can be sent"
            )

    def _give_up(self, row_alone: pa.Table, why: str) -> None:
        file, row = self._position(row_alone, 0)
        self._note_unreadable(Unreadable(file=file, row=row, line=0, why=why, text=""))

    def _begin(self, part: _Part) -> "grpc.Future[signal_pb2.IngestResponse]":
        call: grpc.Future[signal_pb2.IngestResponse] = self._stub.Ingest.future(part.request, timeout=BATCH_DEADLINE_S)
        return call

    def _finish(self, part: _Part, call: "grpc.Future[signal_pb2.IngestResponse]") -> None:
        try:
            self._count(part, self._answer(part, call))
        except _TooLarge:
            if part.table.num_rows == 1:
                self._give_up(part.table, f"Hearth takes no message as long as this row's {part.byte_count:,} bytes")
                return
            half = part.table.num_rows // 2
            for piece in (part.table.slice(0, half), part.table.slice(half)):
                smaller = _Part.of(piece)
                self._finish(smaller, self._begin(smaller))

    def _answer(self, part: _Part, call: "grpc.Future[signal_pb2.IngestResponse]") -> signal_pb2.IngestResponse:
        """Wait for a batch to be acknowledged; send it again where that helps."""
        for wait_s in (*RETRY_WAITS_S, None):
            try:
                return self._wait(call)
            except grpc.RpcError as failed:
                if is_too_large(failed):
                    raise _TooLarge from failed
                if wait_s is None or code_of(failed) not in RETRIED:
                    raise IntakeFailed(told_of(failed, doing="sending signals", target=self._target)) from failed
            time.sleep(wait_s)
            call = self._begin(part)
        raise AssertionError("the last attempt returns or raises")

    def _wait(self, call: "grpc.Future[signal_pb2.IngestResponse]") -> signal_pb2.IngestResponse:
        """Return the answer; once asked to stop, give the call STOP_GRACE_S and then up."""
        waited_s = 0.0
        while waited_s < STOP_GRACE_S:
            try:
                return call.result(timeout=POLL_S)
            except grpc.FutureTimeoutError:
                waited_s = waited_s + POLL_S if self._is_stopping() else 0.0
        call.cancel()
        raise Stopped

    def _count(self, part: _Part, response: signal_pb2.IngestResponse) -> None:
        counts, tally = response.counts, self.tally
        accounted = counts.applied + counts.duplicate + counts.late + counts.rejected
        if counts.received != part.table.num_rows or accounted != counts.received:
            raise IntakeFailed(
                f"{self._target} does not account for its signals: {part.table.num_rows:,} sent, "
                f"{counts.received:,} received, {accounted:,} accounted for; this is a defect of Hearth"
            )
        tally.sent += counts.received
        tally.applied += counts.applied
        tally.duplicate += counts.duplicate
        tally.late += counts.late
        tally.rejected += counts.rejected
        for unknown in response.unknown_fields:
            tally.unknown_fields[unknown.name] = tally.unknown_fields.get(unknown.name, 0) + unknown.signals
        for rejection in response.rejections:
            tally.rejected_by_reason[rejection.reason] = tally.rejected_by_reason.get(rejection.reason, 0) + 1
            if rejection.field:
                tally.rejected_by_field[rejection.field] = tally.rejected_by_field.get(rejection.field, 0) + 1
            file, row = self._position(part.table, rejection.index)
            self._rejects.note_rejected(
                file=file,
                row=row,
                event_id=rejection.event_id,
                reason=rejection.reason,
                field=rejection.field,
                detail=rejection.detail,
            )

    def _position(self, table: pa.Table, index: int) -> tuple[str, int]:
        file_index: int = table.column(FILE_COLUMN)[index].as_py()
        return self._sources[file_index].reader.name, table.column(ROW_COLUMN)[index].as_py()

    def _note_unreadable(self, row: Unreadable) -> None:
        self.tally.unreadable += 1
        self._rejects.note_unreadable(row)
        self._unreadable.append(
            admin_pb2.Reject(
                position=_clean(f"file:{row.file}/{row.row}"),
                reason="UNREADABLE",
                detail=_clean(row.why),
                original=original_of(row)[:KEPT_BYTES_MAX],
            )
        )
        if len(self._unreadable) >= KEPT_ROWS or len(row.text) > KEPT_BYTES_MAX // KEPT_ROWS:
            self._keep_unreadable()

    def _keep_unreadable(self) -> None:
        """Have Hearth keep them as rejects, where it can; the rejects file beside the input has them in any case."""
        rejects, self._unreadable = self._unreadable, []
        if self._admin is None or not rejects:
            return
        try:
            self._admin.Reject(admin_pb2.RejectRequest(rejects=rejects), timeout=BATCH_DEADLINE_S)
        except grpc.RpcError:
            # A Hearth on another machine, or one whose disk is full, takes none; asking on would only delay the file.
            self._admin = None


def _clean(text: str) -> str:
    """Return a text that a message can carry."""
    return text.encode(errors="backslashreplace").decode()
