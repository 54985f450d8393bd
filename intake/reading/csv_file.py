"""CSV files, framed by ourselves and parsed by Arrow: a broken line costs itself only, whatever is wrong with it.

Arrow alone would stop at bytes that are no UTF-8, let an open quotation mark swallow what follows, and lose count.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from intake.errors import IntakeFailed
from intake.reading.rows import CHUNK_BYTES, NAMELESS, TEXT_SHOWN_MAX, Chunk, UnreadableRow

NEWLINE, CARRIAGE_RETURN, QUOTE = 10, 13, 34
RECORD_BYTES_MAX = 16 << 20
"""A longer record is taken for a file that is no CSV."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvShape:
    """How a CSV file is written."""

    delimiter: str = ","
    columns: tuple[str, ...] = ()
    """Names for a file without a header line."""
    multiline: bool = False
    """Whether a quoted value may hold line breaks; an open quotation mark then swallows all up to the next one."""


@dataclass(frozen=True, slots=True)
class CsvFile:
    """One CSV file."""

    path: Path
    shape: CsvShape

    @property
    def name(self) -> str:
        """File name without folder."""
        return self.path.name

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows; every cell is text, an empty one null."""
        with self.path.open("rb") as stream:
            start = len(BYTE_ORDER_MARK) if stream.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK else 0
            stream.seek(start)
            reading = _Reading(self)
            for block in _blocks(stream, self):
                chunk = reading.take(block)
                if chunk is not None:
                    yield chunk


class _Reading:
    """Where one pass through a file stands."""

    def __init__(self, file: CsvFile) -> None:
        self._file = file
        self._names: tuple[str, ...] = file.shape.columns
        self._line = 1
        self._row = 1
        self._bytes = 0

    def take(self, block: bytes) -> Chunk | None:
        """Return the rows of a block of whole records, or None for an empty one."""
        self._bytes += len(block)
        starts, ends, lines = _frame(block, multiline=self._file.shape.multiline, first_line=self._line)
        self._line += block.count(b"\n")
        if not self._names and len(starts):
            self._names = _header(self._file, block[starts[0] : ends[0]])
            starts, ends, lines = starts[1:], ends[1:], lines[1:]
        rows = np.arange(self._row, self._row + len(starts), dtype=np.int64)
        self._row += len(starts)
        return _parse(self._file, self._names, _Records(block, starts, ends, lines, rows), self._bytes)


@dataclass(frozen=True, slots=True)
class _Records:
    block: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    """Without the line end."""
    lines: NDArray[np.int64]
    rows: NDArray[np.int64]
    is_picked: bool = False
    """Whether records between the first and the last were left out."""

    def raw(self, index: int) -> bytes:
        return self.block[self.starts[index] : self.ends[index]]

    def text(self) -> bytes:
        """Return the records alone, one after the other."""
        whole = self.block[self.starts[0] : self.ends[-1]]
        # The usual block holds nothing but good records; joining them one by one would take most of the time.
        if not self.is_picked and whole.count(b"\n") == len(self.starts) - 1:
            return whole + b"\n"
        return b"\n".join(self.raw(index) for index in range(len(self.starts))) + b"\n"

    def pick(self, mask: NDArray[np.bool_]) -> "_Records":
        return _Records(self.block, self.starts[mask], self.ends[mask], self.lines[mask], self.rows[mask], True)


def _blocks(stream: io.BufferedReader, file: CsvFile) -> Iterator[bytes]:
    """Yield the file in blocks that end with a record."""
    rest = b""
    while piece := stream.read(CHUNK_BYTES):
        block = rest + piece
        cut = _last_record_end(block, multiline=file.shape.multiline)
        if cut == 0 and len(block) > RECORD_BYTES_MAX:
            raise IntakeFailed(
                f"{file.path} holds a record of more than {RECORD_BYTES_MAX >> 20} MiB, so it seems to be no CSV file; "
                "name its format with --format"
            )
        if cut:
            yield block[:cut]
        rest = block[cut:]
    if rest:
        yield rest


def _last_record_end(block: bytes, *, multiline: bool) -> int:
    if not multiline or QUOTE not in block:
        return block.rfind(b"\n") + 1
    content = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(content == NEWLINE)
    open_quote = np.cumsum(content == QUOTE)[ends] % 2 == 1
    whole = ends[~open_quote]
    return int(whole[-1]) + 1 if len(whole) else 0


def _frame(
    block: bytes, *, multiline: bool, first_line: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return start, end (line end excluded) and line number of each record that is not blank."""
    content = np.frombuffer(block, np.uint8)
    breaks = np.flatnonzero(content == NEWLINE)
    lines_after = np.arange(first_line + 1, first_line + 1 + len(breaks))
    if multiline and QUOTE in block:
        closed = np.cumsum(content == QUOTE)[breaks] % 2 == 0
        breaks, lines_after = breaks[closed], lines_after[closed]
    starts = np.concatenate(([0], breaks + 1)).astype(np.int64)
    ends = np.concatenate((breaks, [len(block)])).astype(np.int64)
    lines = np.concatenate(([first_line], lines_after)).astype(np.int64)
    has_return = (ends > starts) & (content[np.maximum(ends - 1, 0)] == CARRIAGE_RETURN)
    ends = ends - has_return
    filled = ends > starts
    return starts[filled], ends[filled], lines[filled]


def _header(file: CsvFile, raw: bytes) -> tuple[str, ...]:
    try:
        names = next(csv.reader([raw.decode()], delimiter=file.shape.delimiter, strict=True))
    except UnicodeDecodeError:
        raise IntakeFailed(f"{file.path} is not UTF-8 text; convert it first, e.g. with iconv -t utf-8") from None
    except (csv.Error, StopIteration) as wrong:
        if CARRIAGE_RETURN in raw:
            raise IntakeFailed(
                f"{file.path}:1: carriage returns stand inside the header; if its lines end with nothing else, convert "
                "the file first, e.g. with tr '\\r' '\\n'"
            ) from None
        raise IntakeFailed(f"{file.path}:1: the header cannot be read: {wrong}") from wrong
    return tuple(name.strip() for name in names)


def _parse(file: CsvFile, names: tuple[str, ...], records: _Records, bytes_done: int) -> Chunk | None:
    if not len(records.starts):
        return None
    records, broken = _set_aside(file, records)
    table, refused = _parse_with_arrow(len(names), records, file.shape)
    if len(table) + len(refused) != len(records.starts):
        # Arrow and we disagree on where records end: believe neither and go line by line.
        table, refused = _parse_one_by_one(len(names), records, file.shape)
    if refused:
        broken += [_unreadable(file, records, index, why) for index, why in refused]
        kept = np.ones(len(records.starts), np.bool_)
        kept[[index for index, _ in refused]] = False
        records = records.pick(kept)
    return Chunk(
        columns={name: _emptied(table.column(at)) for at, name in _first_of_each(names)},
        rows=records.rows,
        lines=records.lines,
        unreadable=tuple(sorted(broken, key=lambda one: one.row)),
        bytes_done=bytes_done,
        passed_over=(NAMELESS,) if "" in names else (),
        doubled=frozenset(name for name in names if name and names.count(name) > 1),
    )


def _first_of_each(names: tuple[str, ...]) -> list[tuple[int, str]]:
    return [(at, name) for at, name in enumerate(names) if name and names.index(name) == at]


def _emptied(column: pa.ChunkedArray) -> pa.Array:
    cells = column.combine_chunks()
    return pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)


def _set_aside(file: CsvFile, records: _Records) -> tuple[_Records, list[UnreadableRow]]:
    """Split off the records whose bytes alone are broken."""
    why: dict[int, str] = {}
    block = records.block
    content = np.frombuffer(block, np.uint8)
    counts = np.concatenate(([0], np.cumsum(content == QUOTE))) if QUOTE in block else None
    if counts is not None:
        quotes = counts[records.ends] - counts[records.starts]
        why |= dict.fromkeys(np.flatnonzero(quotes % 2 == 1).tolist(), "a quotation mark is not closed on its line")
        why |= dict.fromkeys(
            _misquoted(records, np.flatnonzero((quotes > 0) & (quotes % 2 == 0)), file.shape.delimiter),
            "a quotation mark stands neither around a whole value nor doubled within one",
        )
    returns = np.flatnonzero(content == CARRIAGE_RETURN)
    if len(returns):
        record = np.searchsorted(records.starts, returns, side="right") - 1
        inside = (record >= 0) & (returns < records.ends[np.maximum(record, 0)])
        if file.shape.multiline and counts is not None:
            # Within quotes it is content; elsewhere it would end a line that nobody counts.
            inside &= (counts[returns] - counts[records.starts[np.maximum(record, 0)]]) % 2 == 0
        why |= dict.fromkeys(record[inside].tolist(), "a carriage return stands inside the line")
    if not _is_utf8(block):
        for index in range(len(records.starts)):
            if not _is_utf8(records.raw(index)):
                why[index] = "the line is not UTF-8"
    if not why:
        return records, []
    kept = np.ones(len(records.starts), np.bool_)
    kept[list(why)] = False
    return records.pick(kept), [_unreadable(file, records, index, reason) for index, reason in why.items()]


def _misquoted(records: _Records, candidates: NDArray[np.int64], delimiter: str) -> list[int]:
    """Return which of the records Arrow and Python may read differently, and Arrow as far as beyond their ends.

    A quotation mark that does not begin its value is part of it.
    """
    if not len(candidates):
        return []
    between = f"\\x{ord(delimiter):02x}"
    value = rf'(?:"(?:[^"]|"")*"|[^"{between}\r\n][^{between}\r\n]*|)'
    cells = pa.array([records.raw(index) for index in candidates.tolist()], pa.binary())
    is_sound = pc.match_substring_regex(cells, f"^{value}(?:{between}{value})*$")
    return [int(index) for index in candidates[~is_sound.to_numpy(zero_copy_only=False)]]


def _parse_with_arrow(column_count: int, records: _Records, shape: CsvShape) -> tuple[pa.Table, list[tuple[int, str]]]:
    # By number: a header may call two columns alike, or one nothing at all.
    names = [str(at) for at in range(column_count)]
    refused: list[tuple[int, str]] = []

    def note(row: Any) -> str:
        refused.append((row.number - 1, f"{row.actual_columns} values where {row.expected_columns} belong"))
        return "skip"

    if not len(records.starts):
        return pa.table({name: pa.array([], pa.string()) for name in names}), []
    text = records.text()
    if text.startswith(BYTE_ORDER_MARK):
        # Arrow would take it for the beginning of a file, wherever in ours the block lies.
        return _parse_one_by_one(column_count, records, shape)
    try:
        table = pa.csv.read_csv(
            pa.py_buffer(text),
            read_options=pa.csv.ReadOptions(use_threads=False, column_names=names, block_size=len(text) + 1),
            parse_options=pa.csv.ParseOptions(
                delimiter=shape.delimiter,
                newlines_in_values=shape.multiline,
                ignore_empty_lines=False,
                invalid_row_handler=note,
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, check_utf8=False
            ),
        )
    except pa.ArrowInvalid:
        return _parse_one_by_one(column_count, records, shape)
    return table, refused


def _parse_one_by_one(column_count: int, records: _Records, shape: CsvShape) -> tuple[pa.Table, list[tuple[int, str]]]:
    cells: list[Sequence[str]] = []
    refused: list[tuple[int, str]] = []
    for index in range(len(records.starts)):
        try:
            values = next(
                csv.reader(io.StringIO(records.raw(index).decode(), newline=""), delimiter=shape.delimiter, strict=True)
            )
        except csv.Error as wrong:
            refused.append((index, str(wrong)))
            continue
        if len(values) != column_count:
            refused.append((index, f"{len(values)} values where {column_count} belong"))
            continue
        cells.append(values)
    columns = zip(*cells, strict=True) if cells else ([] for _ in range(column_count))
    return pa.table({str(at): pa.array(list(column), pa.string()) for at, column in enumerate(columns)}), refused


def _unreadable(file: CsvFile, records: _Records, index: int, why: str) -> UnreadableRow:
    text = records.raw(index).decode("utf-8", "surrogateescape")[:TEXT_SHOWN_MAX]
    return UnreadableRow(
        file=file.name, row=int(records.rows[index]), line=int(records.lines[index]), why=why, text=text
    )


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
