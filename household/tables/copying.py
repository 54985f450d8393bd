"""What stands in one column of a table put into another, too: the kernels."""

import numpy as np
from numpy.typing import NDArray

from household.kernel import kernel
from household.tables.slots import TEXT_WORDS, RowMatrix
from household.tables.texts import Places, TextEntries, Words, release_text


@kernel
def copy_text(
    rows: RowMatrix, entries: TextEntries, words: Words, places: Places, slot: int, source: int, target: int
) -> None:
    """Put the text in one column of a row into another, too, with a reference more."""
    code, before = rows[slot, source], rows[slot, target]
    if code == before:
        return
    rows[slot, target] = code
    if code > 0:
        entries[code, 2] += 1
        rows[0, TEXT_WORDS] += (entries[code, 1] + 7) >> 3
    rows[0, TEXT_WORDS] -= (entries[before, 1] + 7) >> 3 if before > 0 else 0
    release_text(entries, words, places, before)


@kernel
def copy_column(
    rows: RowMatrix,
    entries: TextEntries,
    words: Words,
    places: Places,
    slots: NDArray[np.int64],
    source: int,
    target: int,
    is_text: bool,
) -> None:
    """Put what stands in one column of the rows in these slots into another, too; of texts with its reference."""
    for i in range(slots.shape[0]):
        if is_text:
            copy_text(rows, entries, words, places, slots[i], source, target)
        rows[slots[i], target] = rows[slots[i], source]
