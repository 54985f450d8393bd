"""Sends files into a running Hearth, one acknowledged batch after the other, and accounts for every row.

read = sent + unreadable, and sent = applied + duplicate + late + rejected. The next batch goes when one is acked,
so rows of one household arrive in order; while one travels, the next is read.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import assert_never

import grpc
import pyarrow as pa

from hearth.v1 import admin_pb2, admin_pb2_grpc, signal_pb2, signal_pb2_grpc
from intake.errors import IntakeFailed
from intake.progress import Meter
from intake.reading.examine import SourceFile, mapper_for
from intake.reading.merge import merge, rebatch, signals_of
from intake.reading.rejects_file import RejectsFile
from intake.reading.rows import UnreadableRow, original_of
from intake.reading.signals import FILE_COLUMN, ROW_COLUMN, FieldTypes
from intake.request import request_of
from intake.sender import (
    REQUEST_BYTES_MAX,
    Acknowledged,
    Counts,
    ParcelUnderWay,
    Patience,
    Sender,
    Stopped,
    Undeliverable,
    UndeliverableReason,
)
from wire.positions import file_position
from wire.rejects import ORIGINAL_BYTES_MAX, OutsideReason

BATCH_ROWS = 8_192
"""Wire limit: 65,536. This many fold in a few milliseconds."""

BATCH_DEADLINE_S = 60.0

KEPT_ROWS = 256
"""Unreadable rows that are told to Hearth in one request."""

RETRY_WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Waits before a batch that failed is sent again; a repeat changes nothing, so an unknown outcome is safe."""


@dataclass(slots=True)
class FileTally(Counts):
    """What has become of the rows so far."""

    read: int = 0
    unreadable: int = 0
    rejected_by_reason: dict[str, int] = field(default_factory=dict)
    """Of those rejections that Hearth described: the first 100 of each batch."""
    rejected_by_field: dict[str, int] = field(default_factory=dict)
    """Of those, by the field or part of a signal that is wrong."""
    unknown_fields: dict[str, int] = field(default_factory=dict)
    """Fields that the playbook does not know, and how many signals had each: most often a typo."""

    @property
    def balances(self) -> bool:
        """Whether every row is accounted for."""
        return self.read == self.sent + self.unreadable and self.accounts

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return {"read": self.read, "unreadable": self.unreadable} | asdict(self)


class Rows:
    """Rows of signals that are sent in one request."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.request = request_of(table)

    @property
    def signal_count(self) -> int:
        """One per row."""
        return int(self.table.num_rows)

    @property
    def size(self) -> int:
        """Rows."""
        return int(self.table.num_rows)

    def halves(self) -> "tuple[Rows, Rows]":
        """Return the first and the second half."""
        half = self.table.num_rows // 2
        return Rows(self.table.slice(0, half)), Rows(self.table.slice(half))


class FileSender:
    """Sends the signals of files that were examined; `tally` tells at any time how far it came."""

    def __init__(
        self,
        channel: grpc.Channel,
        *,
        target: str,
        sources: list[SourceFile],
        fields: FieldTypes,
        rejects: RejectsFile,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        patience = Patience(deadline_s=BATCH_DEADLINE_S, waits_s=RETRY_WAITS_S, knows_too_large=True)
        begin = signal_pb2_grpc.SignalServiceStub(channel).Ingest.future
        self._sender = Sender(begin=begin, patience=patience, target=target)
        self._admin: admin_pb2_grpc.AdminServiceStub | None = admin_pb2_grpc.AdminServiceStub(channel)
        self._unreadable: list[admin_pb2.Reject] = []
        self._sources = sources
        self._fields = fields
        self._rejects = rejects
        self._is_stopping = is_stopping
        self.tally = FileTally()

    def run(self, show: Meter) -> FileTally:
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
        waiting: ParcelUnderWay[Rows] | None = None
        for table in rebatch(merge(streams), rows=BATCH_ROWS):
            batch = Rows(table)
            if waiting is not None:
                self._finish(waiting)
                if self._is_stopping():
                    raise Stopped
                show(self.tally.sent + self.tally.unreadable, total)
            waiting = self._sender.sending(batch)
            waiting.begin()
        if waiting is not None:
            self._finish(waiting)
        self._keep_unreadable()
        self.tally.read = self.tally.sent + self.tally.unreadable
        if self.tally.read != total:
            raise IntakeFailed(
                f"{total:,} rows were found first, {self.tally.read:,} now; did a file change meanwhile? run it again"
            )
        show(total, total)
        return self.tally

    def _finish(self, sending: ParcelUnderWay[Rows]) -> None:
        for became in self._sender.finished(sending, is_stopping=self._is_stopping):
            match became:
                case Acknowledged():
                    self._count(became.parcel, became.response)
                case Undeliverable():
                    file, row = self._position(became.parcel, 0)
                    self._note_unreadable(UnreadableRow(file=file, row=row, line=0, why=_told(became), text=""))
                case _:
                    assert_never(became)

    def _count(self, rows: Rows, response: signal_pb2.IngestResponse) -> None:
        tally = self.tally
        tally.count(response)
        for unknown in response.unknown_fields:
            tally.unknown_fields[unknown.name] = tally.unknown_fields.get(unknown.name, 0) + unknown.signals
        for rejection in response.rejections:
            tally.rejected_by_reason[rejection.reason] = tally.rejected_by_reason.get(rejection.reason, 0) + 1
            if rejection.field:
                tally.rejected_by_field[rejection.field] = tally.rejected_by_field.get(rejection.field, 0) + 1
            file, row = self._position(rows, rejection.index)
            self._rejects.note_rejected(
                file=file,
                row=row,
                event_id=rejection.event_id,
                reason=rejection.reason,
                field=rejection.field,
                detail=rejection.detail,
            )

    def _position(self, rows: Rows, index: int) -> tuple[str, int]:
        file_index: int = rows.table.column(FILE_COLUMN)[index].as_py()
        return self._sources[file_index].reader.name, rows.table.column(ROW_COLUMN)[index].as_py()

    def _note_unreadable(self, row: UnreadableRow) -> None:
        self.tally.unreadable += 1
        self._rejects.note_unreadable(row)
        self._unreadable.append(
            admin_pb2.Reject(
                position=_clean(file_position(row.file, row.row)),
                reason=OutsideReason.UNREADABLE,
                detail=_clean(row.why),
                original=original_of(row)[:ORIGINAL_BYTES_MAX],
            )
        )
        if len(self._unreadable) >= KEPT_ROWS or len(row.text) > ORIGINAL_BYTES_MAX // KEPT_ROWS:
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


def _told(row_alone: Undeliverable[Rows]) -> str:
    match row_alone.why:
        case UndeliverableReason.TOO_LONG:
            return (
                f"the row makes a message of {row_alone.byte_count:,} bytes, at most {REQUEST_BYTES_MAX:,} can be sent"
            )
        case UndeliverableReason.TOO_LARGE:
            return f"Hearth takes no message as long as this row's {row_alone.byte_count:,} bytes"
        case UndeliverableReason.REFUSED:
            return f"Hearth refuses it: {row_alone.detail}"
        case _:
            assert_never(row_alone.why)


def _clean(text: str) -> str:
    """Return a text that a message can carry."""
    return text.encode(errors="backslashreplace").decode()
