"""The rejects file: every row that did not become part of Hearth, with place, reason and content, so none is lost."""

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from intake.reading.rows import UnreadableRow, original_of

SHOWN_MAX = 10
"""Rows that are also told on the screen; all are in the file."""

SUFFIX = ".rejects.jsonl"


class RejectsFile:
    """Collects the rows of one run, `<FILE>.rejects.jsonl` for each file; where that cannot be written, on stderr.

    A rejects file is begun anew by the first row of a run; a run without any leaves an older one alone.
    """

    def __init__(self, paths: list[Path], *, tell: Callable[[str], None]) -> None:
        """`tell`: is told lines for people."""
        self._tell = tell
        self._path_by_name = {path.name: path for path in paths}
        self._stream_by_name: dict[str, TextIO | None] = {}
        self._shown = 0
        self.unreadable_by_name = dict.fromkeys(self._path_by_name, 0)
        self.files: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self._stream_by_name.values():
            if stream is not None:
                stream.close()

    def note_unreadable(self, row: UnreadableRow) -> None:
        """Keep a row that could not be sent."""
        self.unreadable_by_name[row.file] += 1
        self._show(str(row))
        text = original_of(row).decode(errors="backslashreplace")
        self._write(row.file, {"file": row.file, "row": row.row, "line": row.line, "why": row.why, "text": text})

    def note_rejected(
        self, *, file: str, row: int, event_id: str, reason: str, field: str = "", detail: str = ""
    ) -> None:
        """Keep a row that Hearth rejected; `field` and `detail` as Hearth tells them, if it does."""
        why = f"rejected by Hearth: {reason}" + (f": {detail}" if detail else "")
        self._show(f"{file} row {row}: {why} (event {event_id})")
        named = {"field": field} if field else {}
        self._write(file, {"file": file, "row": row, "event_id": event_id, **named, "why": why})

    def _show(self, line: str) -> None:
        self._shown += 1
        if self._shown <= SHOWN_MAX:
            self._tell(line)
        elif self._shown == SHOWN_MAX + 1:
            self._tell("… more of these in the rejects file")

    def _write(self, name: str, entry: dict[str, str | int]) -> None:
        if name not in self._stream_by_name:
            self._stream_by_name[name] = self._open(name)
        text = json.dumps(entry, ensure_ascii=False)
        stream = self._stream_by_name[name]
        if stream is None:
            self._tell(text)
        else:
            stream.write(text + "\n")

    def _open(self, name: str) -> TextIO | None:
        path = self._path_by_name[name]
        rejects = path.with_name(path.name + SUFFIX)
        try:
            stream = rejects.open("w", encoding="utf-8", errors="backslashreplace")
        except OSError as failed:
            self._tell(f"{rejects} cannot be written ({failed.strerror}); the rejected rows follow here")
            return None
        self.files.append(str(rejects))
        return stream
