"""What every file reader yields: chunks of raw columns with the position of each row, and the rows nobody can read."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

CHUNK_BYTES = 4 << 20
"""About how much of a file is held at a time."""

CHUNK_ROWS = 16_384
"""Rows of a chunk for formats that are read by rows."""

TEXT_SHOWN_MAX = 65_536
"""A longer unreadable row is cut here in the rejects file; its position tells where the whole is."""


NAMELESS = "a column without a name"
"""How one is told of, wherever it stands: an index that pandas wrote, or a comma at the end of the header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableRow:
    """A row that cannot become a signal, and all that is needed to mend it."""

    file: str
    row: int
    """From 1, without the header; broken rows are counted too."""
    line: int
    """From 1; 0 for formats without lines."""
    why: str
    text: str
    """The row as it stands in the file, or as it was read; bytes that are no UTF-8 are lone surrogates (PEP 383)."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else f"{self.file} row {self.row}"
        return f"{place}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Consecutive rows of one file, in its order, broken ones left out."""

    columns: dict[str, pa.Array]
    """All of one length; an empty CSV cell and an absent JSON key are null."""
    rows: NDArray[np.int64]
    """(rows,) row numbers from 1, ascending; broken rows leave gaps."""
    lines: NDArray[np.int64]
    """(rows,) line numbers from 1; zeros for formats without lines."""
    unreadable: tuple[UnreadableRow, ...]
    bytes_done: int
    """How much of the file has been read, this chunk included."""
    texts: tuple[str, ...] = ()
    """The rows as they stand in the file, where they are to be had."""
    passed_over: tuple[str, ...] = ()
    """Columns that were left out, and why, for people."""
    doubled: frozenset[str] = frozenset()
    """Names that several columns have; `columns` has the first of each."""
    wrong_cells: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """Column → index of the row → why its cell, which is null in `columns`, has no value that can be read."""

    def text_of(self, index: int) -> str:
        """Return a row for the rejects file: as it stands in the file, or else as JSON."""
        if self.texts:
            return self.texts[index]
        cells = {name: value_of(column, index) for name, column in self.columns.items()}
        return json.dumps(cells, default=str, ensure_ascii=False)[:TEXT_SHOWN_MAX]


def original_of(row: UnreadableRow) -> bytes:
    """Return the bytes of a row that could not be read, as they came."""
    try:
        return row.text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return row.text.encode(errors="backslashreplace")


def value_of(column: pa.Array, index: int) -> Any:
    """Return a cell for people; Python has no instants beyond the year 9999, which a file may hold."""
    cell = column[index]
    try:
        return cell.as_py()
    except (OverflowError, ValueError, pa.ArrowException):
        return _written(cell)


def _written(cell: pa.Scalar) -> str:
    try:
        return repr(cell)
    except pa.ArrowException:
        # A time zone that nobody knows stops even that.
        return f"{cell.type} {cell.cast(pa.int64()).as_py()}"


class FileReader(Protocol):
    """Reads one file, as often as asked, each time the same rows under the same numbers."""

    @property
    def name(self) -> str:
        """File name without folder: what ids are derived from."""
        ...

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows in the file's order.

        Raises:
            IntakeFailed: the file as a whole cannot be read.
        """
        ...
