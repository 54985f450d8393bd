"""JSON files: one object per line, an array of them, or CloudEvents 1.0 (structured, batch). Nested keys get dots."""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.errors import CommandFailed
from cluster.reading.rows import CHUNK_ROWS, TEXT_SHOWN_MAX, Chunk, Unreadable

WHOLE_BYTES_MAX = 256 << 20
"""A JSON document that is not one object per line is read as a whole, up to this size."""

CLOUDEVENTS_VERSION = "1.0"
CLOUDEVENTS_REQUIRED = ("id", "source", "type")


class RowWrong(Exception):
    """Why this row is no event."""


@dataclass(frozen=True, slots=True)
class JsonFile:
    """One file of JSON objects."""

    path: Path
    is_cloudevents: bool

    @property
    def name(self) -> str:
        """File name without folder."""
        return self.path.name

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows; a value that is no number, text or truth value stays JSON text."""
        held: list[dict[str, Any]] = []
        rows: list[int] = []
        lines: list[int] = []
        unreadable: list[Unreadable] = []
        done = 0
        for row, (line, text, done) in enumerate(_documents(self.path), start=1):
            try:
                held.append(event_of(text, is_cloudevents=self.is_cloudevents))
                rows.append(row)
                lines.append(line)
            except RowWrong as wrong:
                shown = text if isinstance(text, str) else json.dumps(text)
                unreadable.append(
                    Unreadable(file=self.name, row=row, line=line, why=str(wrong), text=shown[:TEXT_SHOWN_MAX])
                )
            if len(held) + len(unreadable) >= CHUNK_ROWS:
                yield _chunk(held, rows, lines, unreadable, done)
                held, rows, lines, unreadable = [], [], [], []
        if held or unreadable:
            yield _chunk(held, rows, lines, unreadable, done)


def holds_cloudevents(path: Path) -> bool:
    """Tell whether the first object of the file that can be read names a CloudEvents version."""
    for _, text, _ in _documents(path):
        try:
            return "specversion" in _object(text)
        except RowWrong:
            continue
    return False


def _documents(path: Path) -> Iterator[tuple[int, Any, int]]:
    """Yield line (0 where there are none), text or parsed object, and bytes read so far, of each row."""
    if _is_one_document(path):
        whole = _whole(path)
        size = path.stat().st_size
        for entry in whole if isinstance(whole, list) else [whole]:
            yield 0, entry, size
        return
    done = 0
    with path.open("rb") as stream:
        for line, raw in enumerate(stream, start=1):
            done += len(raw)
            text = raw.decode("utf-8-sig" if line == 1 else "utf-8", "backslashreplace").strip()
            if text:
                yield line, text, done


def _is_one_document(path: Path) -> bool:
    """Tell an array, or one object over several lines, from one object per line."""
    with path.open("rb") as stream:
        for raw in stream:
            first = raw.removeprefix(b"\xef\xbb\xbf").strip()
            if first:
                break
        else:
            return False
    return first.startswith(b"[") or first == b"{"


def _whole(path: Path) -> Any:
    if path.stat().st_size > WHOLE_BYTES_MAX:
        raise CommandFailed(
            f"{path} is one JSON document of more than {WHOLE_BYTES_MAX >> 20} MiB; write one object per line (.jsonl)"
        )
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as wrong:
        raise CommandFailed(f"{path} is not valid JSON: {wrong}") from wrong


def _object(text: Any) -> dict[str, Any]:
    try:
        parsed = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError) as wrong:
        raise RowWrong(f"not valid JSON: {wrong}") from wrong
    if not isinstance(parsed, dict):
        raise RowWrong(f"a JSON object belongs here, not {type(parsed).__name__}")
    return parsed


def event_of(text: Any, *, is_cloudevents: bool) -> dict[str, Any]:
    """Return the flat keys of one event, given as JSON text or parsed already.

    Raises:
        RowWrong: it is none.
    """
    parsed = _object(text)
    if is_cloudevents:
        parsed = _unwrap(parsed)
    flat: dict[str, Any] = {}
    _flatten(parsed, "", flat)
    return flat


def _unwrap(event: dict[str, Any]) -> dict[str, Any]:
    """Check a CloudEvent; return its attributes, and its data under the key `data`."""
    version = event.get("specversion")
    if version != CLOUDEVENTS_VERSION:
        raise RowWrong(f"specversion is {version!r}; CloudEvents {CLOUDEVENTS_VERSION} is read")
    for attribute in CLOUDEVENTS_REQUIRED:
        value = event.get(attribute)
        if not isinstance(value, str) or not value:
            raise RowWrong(f"the CloudEvents attribute {attribute} is missing or empty")
    if "data_base64" not in event:
        return event
    if "data" in event:
        raise RowWrong("both data and data_base64 are given; CloudEvents allow one of them")
    content = {name: value for name, value in event.items() if name != "data_base64"}
    try:
        raw = base64.b64decode(event["data_base64"], validate=True)
    except (binascii.Error, TypeError, ValueError) as wrong:
        raise RowWrong(f"data_base64 cannot be decoded: {wrong}") from wrong
    if "json" in str(event.get("datacontenttype", "application/json")):
        try:
            content["data"] = json.loads(raw)
        except ValueError as wrong:
            raise RowWrong(f"data_base64 is not valid JSON: {wrong}") from wrong
    return content


def _flatten(parsed: dict[str, Any], prefix: str, flat: dict[str, Any]) -> None:
    for name, value in parsed.items():
        if isinstance(value, dict):
            _flatten(value, f"{prefix}{name}.", flat)
        elif value is not None:
            flat[prefix + name] = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _chunk(
    held: list[dict[str, Any]], rows: list[int], lines: list[int], unreadable: list[Unreadable], done: int
) -> Chunk:
    names = dict.fromkeys(name for event in held for name in event)
    return Chunk(
        columns={name: _column([event.get(name) for event in held]) for name in names},
        rows=np.array(rows, np.int64),
        lines=np.array(lines, np.int64),
        unreadable=tuple(unreadable),
        bytes_done=done,
    )


def _column(cells: list[Any]) -> pa.Array:
    kinds = {type(cell) for cell in cells if cell is not None}
    try:
        if kinds == {bool}:
            return pa.array(cells, pa.bool_())
        if kinds == {int}:
            return pa.array(cells, pa.int64())
        if kinds <= {int, float} and kinds:
            return pa.array(cells, pa.float64())
    except (OverflowError, pa.ArrowInvalid):
        pass
    texts = [cell if cell is None or isinstance(cell, str) else json.dumps(cell) for cell in cells]
    return pa.array([None if text is None else text.encode("utf-8", "replace").decode() for text in texts], pa.string())
