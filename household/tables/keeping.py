"""Copying rows of a table while it goes on changing, and laying down what was copied: kernels."""

import numpy as np
from numpy.typing import NDArray

from household.kernel import inlined, kernel
from household.tables.slots import FIELD_COUNT, FIELDS, SEQUENCE, TEXT_COUNT, TEXTS, USED, RowMatrix
from household.tables.texts import TextEntries, Words


@inlined
def _keep(
    shape: NDArray[np.int64],
    rows: RowMatrix,
    entries: TextEntries,
    words: Words,
    slot: int,
    newest: int,
    kept: RowMatrix,
    kept_words: Words,
) -> None:
    if rows[slot, SEQUENCE] == 0 or rows[slot, SEQUENCE] > newest:
        kept[slot, SEQUENCE] = 0
        return
    for column in range(FIELDS + shape[FIELD_COUNT]):
        kept[slot, column] = rows[slot, column]
    for i in range(shape[TEXT_COUNT]):
        column = shape[TEXTS + i]
        code = rows[slot, column]
        if code > 0:
            start, length = entries[code, 0], entries[code, 1]
            to = kept[0, USED]
            for j in range((length + 7) >> 3):
                kept_words[to + j] = words[start + j]
            kept[0, USED] = to + ((length + 7) >> 3)
            kept[slot, column] = (to << 24) | length


@kernel
def keep_rows(
    shape: NDArray[np.int64],
    rows: RowMatrix,
    entries: TextEntries,
    words: Words,
    slots: NDArray[np.int64],
    newest: int,
    is_kept: NDArray[np.uint8],
    kept: RowMatrix,
    kept_words: Words,
) -> None:
    """Copy rows, with their texts, into `kept`, unless that was done; one younger than `newest` is no part of it.

    Slot 0 of `kept`: how many words are used, how many slots there are.
    """
    for i in range(slots.shape[0]):
        slot = slots[i]
        if slot < is_kept.shape[0] and is_kept[slot] == 0:
            is_kept[slot] = 1
            _keep(shape, rows, entries, words, slot, newest, kept, kept_words)


@kernel
def keep_next(
    shape: NDArray[np.int64],
    rows: RowMatrix,
    entries: TextEntries,
    words: Words,
    first: int,
    room: int,
    newest: int,
    is_kept: NDArray[np.uint8],
    kept: RowMatrix,
    kept_words: Words,
) -> tuple[int, int]:
    """Copy up to `room` rows from slot `first` on; those younger than sequence `newest` are no part of it.

    Returns (next slot, room left).
    """
    slot = first
    while slot < is_kept.shape[0] and room > 0:
        if is_kept[slot] == 0:
            is_kept[slot] = 1
            room -= 1
            _keep(shape, rows, entries, words, slot, newest, kept, kept_words)
        slot += 1
    return slot, room


@kernel
def gather_lengths(kept: RowMatrix, order: NDArray[np.int64], column: int, offsets: NDArray[np.int64]) -> None:
    """Set offsets (n + 1,) of the texts of a frozen column, end to end."""
    offsets[0] = 0
    for i in range(order.shape[0]):
        offsets[i + 1] = offsets[i] + (kept[order[i], column] & 0xFFFFFF)


@kernel
def gather_letters(
    kept: RowMatrix,
    letters: NDArray[np.uint8],
    order: NDArray[np.int64],
    column: int,
    offsets: NDArray[np.int64],
    found: NDArray[np.uint8],
) -> None:
    """Set the letters of the texts of a frozen column, end to end."""
    for i in range(order.shape[0]):
        start = (kept[order[i], column] >> 24) * 8
        for j in range(offsets[i + 1] - offsets[i]):
            found[offsets[i] + j] = letters[start + j]
