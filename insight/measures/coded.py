"""Columns of facts in memory: texts by number, and ids of events, of which nearly each is its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

NONE: Final = -1

Codes = NDArray[np.int64]
WhichRows = NDArray[np.intp] | NDArray[np.bool_]
"""Which of some rows: their places in order, or of each whether it is one."""


def places_of(rows: WhichRows) -> NDArray[np.intp]:
    """Return which rows those are, by their places."""
    return np.flatnonzero(rows) if rows.dtype == np.bool_ else np.asarray(rows, np.intp)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coded:
    """Texts by number."""

    codes: Codes
    """(n,) index of each text; NONE for none."""
    names: tuple[str, ...]

    @classmethod
    def nothing(cls, count: int) -> "Coded":
        """Return a column in which no row has a text. It takes no memory, however many rows there are."""
        return cls(codes=np.broadcast_to(np.int64(NONE), count), names=())

    def code(self, name: str) -> int:
        """Return the number of a text, NONE where it does not occur."""
        return self.names.index(name) if name in self.names else NONE

    def take(self, rows: WhichRows) -> "Coded":
        """Return some of them."""
        if not self.names:
            return Coded.nothing(int(np.count_nonzero(rows)) if rows.dtype == np.bool_ else len(rows))
        return Coded(codes=self.codes[rows], names=self.names)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ids:
    """Ids of events, as texts: they get numbers only where some are compared, and are moved only when asked for."""

    kept: pa.Array
    """Texts, null for none."""
    places: NDArray[np.intp]
    """(n,) where each is among those that are kept."""

    @classmethod
    def of(cls, texts: pa.Array) -> "Ids":
        """Return ids in the order of some texts."""
        return cls(kept=texts, places=np.arange(len(texts), dtype=np.intp))

    @property
    def texts(self) -> pa.Array:
        """(n,) null for none."""
        return self.kept.take(pa.array(self.places))

    def text(self, row: int) -> str:
        """Return one of them, empty for none."""
        return self.kept[int(self.places[row])].as_py() or ""

    def at(self, rows: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """Return some of them, those that have none left out."""
        places = self.places[np.asarray(rows, np.intp)]
        return [one for one in self.kept.take(pa.array(places)).to_pylist() if one]

    def take(self, rows: WhichRows) -> "Ids":
        """Return some of them, in their order."""
        return Ids(kept=self.kept, places=self.places[rows])


def coded(column: pa.ChunkedArray) -> Coded:
    """Return the texts of a column by number."""
    if not column.num_chunks or column.null_count == len(column):
        return Coded.nothing(len(column))
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    encoded = in_one_piece(column.unify_dictionaries() if column.num_chunks > 1 else column)
    indices = encoded.indices if not encoded.null_count else encoded.indices.fill_null(NONE)
    codes = np.asarray(indices.to_numpy(zero_copy_only=False), np.int64)
    return Coded(codes=codes, names=tuple(encoded.dictionary.to_pylist()))


def in_one_piece(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    found = column.combine_chunks()
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found
