"""JSON files: one object per line, an array of them, or CloudEvents 1.0 (structured, batch). Nested keys get dots."""

import base64
import binascii
import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from intake.errors import IntakeFailed
from intake.reading.json_text import PLAIN, JsonObject, keys_in, parsed_with_doubled, text_of_cell
from intake.reading.rows import CHUNK_ROWS, NAMELESS, TEXT_SHOWN_MAX, Chunk, UnreadableRow

WHOLE_BYTES_MAX = 256 << 20
"""A JSON document that is not one object per line is read as a whole, up to this size."""

CHUNK_CELLS_MAX = 8 << 20
"""A chunk ends here, too: rows that all bring other keys make a column each."""

SHOWN_LENGTH_MAX = 200
NO_TEXT = "holds half a surrogate pair or a byte that is no UTF-8"

Flat = dict[str, Any]
"""Keys of one event, those of objects within it joined by dots."""

BYTE_ORDER_MARK = "\ufeff"

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
        """Yield all rows; every cell is text (`text_of_cell`), so that its meaning hangs on no other row."""
        held = _Held(self.name)
        for row, document in enumerate(_documents(self.path), start=1):
            try:
                held.take(row, document, event_of(document.content, is_cloudevents=self.is_cloudevents))
            except RowWrong as wrong:
                held.refuse(row, document, str(wrong))
            if held.is_full:
                yield held.chunk()
                held = _Held(self.name)
        if held.count:
            yield held.chunk()


class _Document(NamedTuple):
    """One row as it stands in the file."""

    line: int
    """0 where there are none."""
    content: Any
    """Text, in which bytes that are no UTF-8 are lone surrogates (PEP 383); or an object that is parsed already."""
    bytes_done: int

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else json.dumps(self.content)


@dataclass(slots=True)
class _Held:
    """The rows of a chunk to come."""

    file: str
    cells: dict[str, tuple[list[int], list[str | None]]] = field(default_factory=dict)
    """By key: which of the rows have it, and what."""
    rows: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    unreadable: list[UnreadableRow] = field(default_factory=list)
    bytes_done: int = 0

    @property
    def count(self) -> int:
        return len(self.rows) + len(self.unreadable)

    @property
    def is_full(self) -> bool:
        return self.count >= CHUNK_ROWS or len(self.rows) * len(self.cells) >= CHUNK_CELLS_MAX

    def take(self, row: int, document: _Document, event: Flat) -> None:
        place = len(self.rows)
        for name, cell in event.items():
            places, texts = self.cells.setdefault(name, ([], []))
            places.append(place)
            texts.append(text_of_cell(cell))
        self.rows.append(row)
        self.lines.append(document.line)
        self.texts.append(document.text[:TEXT_SHOWN_MAX])
        self.bytes_done = document.bytes_done

    def refuse(self, row: int, document: _Document, why: str) -> None:
        text = document.text[:TEXT_SHOWN_MAX]
        self.unreadable.append(UnreadableRow(file=self.file, row=row, line=document.line, why=why, text=text))
        self.bytes_done = document.bytes_done

    def chunk(self) -> Chunk:
        return Chunk(
            columns={name: self._column(*cells) for name, cells in self.cells.items() if name},
            rows=np.array(self.rows, np.int64),
            lines=np.array(self.lines, np.int64),
            unreadable=tuple(self.unreadable),
            bytes_done=self.bytes_done,
            texts=tuple(self.texts),
            passed_over=(NAMELESS,) if "" in self.cells else (),
        )

    def _column(self, places: list[int], texts: list[str | None]) -> pa.Array:
        cells = pa.array(texts, pa.string())
        if len(places) == len(self.rows):
            return cells
        # Rows that all bring other keys have few cells in each of many columns.
        indices = np.zeros(len(self.rows), np.int32)
        is_absent = np.ones(len(self.rows), np.bool_)
        indices[places] = np.arange(len(places), dtype=np.int32)
        is_absent[places] = False
        return cells.take(pa.array(indices, mask=is_absent))


def holds_cloudevents(path: Path) -> bool:
    """Tell whether the first object of the file that can be read names a CloudEvents version."""
    objects = (_object_if_any(document.content) for document in _documents(path))
    return next(("specversion" in one for one in objects if one is not None), False)


def _object_if_any(content: Any) -> dict[str, Any] | None:
    try:
        return _object(content)
    except RowWrong:
        return None


def _documents(path: Path) -> Iterator[_Document]:
    _check_encoding(path)
    if _is_one_document(path):
        whole = _whole(path)
        size = path.stat().st_size
        for entry in whole if isinstance(whole, list) else [whole]:
            # A text is an entry like any other, and not one that is still to be parsed.
            yield _Document(0, json.dumps(entry) if isinstance(entry, str) else entry, size)
        return
    done = 0
    with path.open("rb") as stream:
        for line, raw in enumerate(stream, start=1):
            done += len(raw)
            # Files that were put together have the mark of each file's beginning inside.
            text = raw.decode("utf-8", "surrogateescape").strip().removeprefix(BYTE_ORDER_MARK)
            if text:
                yield _Document(line, text, done)


def _check_encoding(path: Path) -> None:
    with path.open("rb") as stream:
        start = stream.read(2)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise IntakeFailed(f"{path} is not UTF-8 text but UTF-16; convert it first, e.g. with iconv -t utf-8")


def _is_one_document(path: Path) -> bool:
    """Tell an array, or one object over several lines, from one object per line."""
    with path.open("rb") as stream:
        filled = (stripped for raw in stream if (stripped := raw.removeprefix(codecs.BOM_UTF8).strip()))
        first = next(filled, b"")
        if first == b"{":
            return True
        # A line that is an array of its own is a broken line among others, unless it is all there is.
        return first.startswith(b"[") and (next(filled, None) is None or not _is_json(first))


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _whole(path: Path) -> Any:
    if path.stat().st_size > WHOLE_BYTES_MAX:
        raise IntakeFailed(
            f"{path} is one JSON document of more than {WHOLE_BYTES_MAX >> 20} MiB; write one object per line (.jsonl)"
        )
    raw = path.read_bytes()
    try:
        # A byte that is no text costs the entry in which it stands, which is found there.
        return parsed_with_doubled(raw.decode(json.detect_encoding(raw), "surrogateescape"))
    except (ValueError, RecursionError) as wrong:
        many = "; it seems to hold several: write one object per line, e.g. with jq -c ."
        told = many if str(wrong).startswith("Extra data") else ""
        raise IntakeFailed(f"{path} is not valid JSON: {wrong}{told}") from wrong


def _object(content: Any) -> dict[str, Any]:
    try:
        parsed = PLAIN.decode(content) if isinstance(content, str) else content
    except (ValueError, RecursionError) as wrong:
        raise RowWrong(f"not valid JSON: {wrong}") from wrong
    if not isinstance(parsed, dict):
        raise RowWrong(f"a JSON object belongs here, not {type(parsed).__name__}")
    return parsed


def event_of(content: Any, *, is_cloudevents: bool) -> Flat:
    """Return the flat keys of one event, given as JSON text or parsed already.

    Raises:
        RowWrong: it is none, or holds what is no text: half a surrogate pair, or a byte that is no UTF-8.
    """
    written = _object(content)
    parsed = _unwrap(written) if is_cloudevents else written
    is_surely_text = isinstance(content, str) and "\\u" not in content and _is_text(content) and not is_cloudevents
    flat: Flat = {}
    try:
        key_count = _flatten(parsed, "", flat, is_surely_text=is_surely_text)
        # Looking for doubled keys costs as much as all else; where there are as many as the text has, there are none.
        # Those of decoded data stand nowhere in the text.
        if parsed is not written or not isinstance(content, str):
            _check_doubled(parsed)
        if isinstance(content, str) and (parsed is not written or keys_in(content) != key_count):
            _check_doubled(parsed_with_doubled(content))
    except RecursionError:
        raise RowWrong("objects stand too deep within one another") from None
    return flat


def _check_doubled(parsed: Any) -> None:
    match parsed:
        case dict():
            if isinstance(parsed, JsonObject) and parsed.doubled is not None:
                raise RowWrong(f"the key {_shown(parsed.doubled)} occurs twice")
            for value in parsed.values():
                _check_doubled(value)
        case list():
            for value in parsed:
                _check_doubled(value)
        case _:
            pass


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
    content = JsonObject({name: value for name, value in event.items() if name != "data_base64"})
    content.doubled = event.doubled if isinstance(event, JsonObject) else None
    try:
        raw = base64.b64decode(event["data_base64"], validate=True)
    except (binascii.Error, TypeError, ValueError) as wrong:
        raise RowWrong(f"data_base64 cannot be decoded: {wrong}") from wrong
    if "json" not in str(event.get("datacontenttype", "application/json")).lower():
        # No object, so it has no fields; whoever reads the file is told that there was something.
        content["data"] = event["data_base64"]
        return content
    try:
        content["data"] = parsed_with_doubled(raw.decode())
    except (ValueError, RecursionError) as wrong:
        raise RowWrong(f"data_base64 is not valid JSON: {wrong}") from wrong
    return content


def _flatten(parsed: dict[str, Any], prefix: str, flat: Flat, *, is_surely_text: bool) -> int:
    """Put the values under their whole keys; return how many keys there were, those of objects included."""
    count = len(parsed)
    if isinstance(parsed, JsonObject) and parsed.doubled is not None:
        raise RowWrong(f"the key {_shown(prefix + parsed.doubled)} occurs twice")
    for name, value in parsed.items():
        key = prefix + name
        if not is_surely_text and not _is_text(key):
            raise RowWrong(f"the key {_shown(key)} {NO_TEXT}")
        if isinstance(value, dict):
            count += _flatten(value, f"{key}.", flat, is_surely_text=is_surely_text)
        elif value is not None:
            if key in flat:
                raise RowWrong(f"the key {_shown(key)} occurs twice, once with the dot in its name")
            if not is_surely_text and not _is_text(value):
                raise RowWrong(f"{_shown(key)} is {_shown(value)}, which {NO_TEXT}")
            flat[key] = value
    return count


def _is_text(value: Any) -> bool:
    """Tell whether all the text in a value is text; what is neither text nor bytes nor a list holds none."""
    match value:
        case str() if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                return False
        case bytes():
            try:
                value.decode()
            except UnicodeDecodeError:
                return False
        case list():
            return all(_is_text(one) for one in value)
        case dict():
            return all(_is_text(one) for pair in value.items() for one in pair)
        case _:
            pass
    return True


def _shown(value: Any) -> str:
    """Return a value for a message, what is no text in it escaped."""
    return ascii(value)[:SHOWN_LENGTH_MAX]
