"""Rows as messages to the kernels that put them, many at once."""

import numpy as np
from numpy.typing import NDArray

from household.kernel import kernel
from household.tables.rows import put_row
from household.tables.slots import RowMatrix, Slots
from household.tables.texts import Places, TextEntries, Words


@kernel
def lay_out(
    heads: NDArray[np.uint8],
    letters: NDArray[np.uint8],
    ends: NDArray[np.int64],
    message: NDArray[np.uint8],
    begins: NDArray[np.int64],
) -> None:
    """Set `message` to each row's head and its texts, one row after another, and `begins` to where each begins.

    heads: (rows, bytes) due, owner and fields. letters: the texts of all rows; those of row i end at ends[i].
    """
    at, start = 0, 0
    for i in range(heads.shape[0]):
        begins[i] = at
        for j in range(heads.shape[1]):
            message[at + j] = heads[i, j]
        at += heads.shape[1]
        for j in range(start, ends[i]):
            message[at + j - start] = letters[j]
        at += ends[i] - start
        start = ends[i]


@kernel
def put_rows(
    shape: NDArray[np.int64],
    rows: RowMatrix,
    index: Slots,
    heap: Slots,
    heads: Slots,
    entries: TextEntries,
    words: Words,
    places: Places,
    messages: bytes,
    begins: NDArray[np.int64],
    done: int,
) -> int:
    """Put the rows that stand in messages where each begins, from the `done`-th on; return how many are done by now.

    Fewer than there are: there is no room for the next.
    """
    count: int = begins.shape[0]
    for i in range(done, count):
        if put_row(shape, rows, index, heap, heads, entries, words, places, messages, begins[i], 0) < 0:
            return i
    return count
