"""Rows of a table, found by key and chained by owner: the kernels that find, put and remove them."""

import numpy as np
from numpy.typing import NDArray

from household.columns.fingerprint import _whole_word
from household.kernel import inlined, kernel
from household.tables.dues import set_due
from household.tables.slots import (
    COUNT,
    DUE,
    FIELD_COUNT,
    FIELDS,
    FIRST,
    FREE,
    HEAPED,
    KEY_COUNT,
    KEYED,
    KEYS,
    KEYS_MOST,
    LAST,
    NEVER_DUE,
    NEWEST,
    NEXT,
    OWNER,
    PLACE,
    PREVIOUS,
    SCRATCH,
    SEQUENCE,
    TEXT_COUNT,
    TEXT_WORDS,
    TEXTS,
    USED,
    RowMatrix,
    Slots,
)
from household.tables.texts import (
    Places,
    TextEntries,
    Words,
    find_text,
    has_room,
    intern_text,
    release_text,
    words_needed,
)

_MIX = np.uint64(0x9E3779B97F4A7C15)
_S29, _S32 = np.uint64(29), np.uint64(32)


@inlined
def _home(shape: NDArray[np.int64], rows: RowMatrix, slot: int, mask: int) -> int:
    mixed = np.uint64(rows[slot, OWNER]) * _MIX
    for i in range(shape[KEY_COUNT]):
        mixed = (mixed ^ (mixed >> _S29) ^ np.uint64(rows[slot, shape[KEYS + i]])) * _MIX
    return np.int64((mixed ^ (mixed >> _S32)) & np.uint64(mask))


@inlined
def _place_of(shape: NDArray[np.int64], rows: RowMatrix, index: Slots, slot: int) -> int:
    """Return where in the index the row is that has the key of the one in `slot`, or would be."""
    mask = index.shape[0] - 1
    at = _home(shape, rows, slot, mask)
    while index[at] != 0:
        other = index[at]
        same = rows[other, OWNER] == rows[slot, OWNER]
        for i in range(shape[KEY_COUNT]):
            same = same and rows[other, shape[KEYS + i]] == rows[slot, shape[KEYS + i]]
        if same:
            break
        at = (at + 1) & mask
    return at


@kernel
def _unindex(shape: NDArray[np.int64], rows: RowMatrix, index: Slots, slot: int) -> None:
    mask = index.shape[0] - 1
    at = _place_of(shape, rows, index, slot)
    gap = at
    while True:
        at = (at + 1) & mask
        other = np.int64(index[at])
        if other == 0:
            break
        if ((at - _home(shape, rows, other, mask)) & mask) >= ((at - gap) & mask):
            index[gap] = other
            gap = at
    index[gap] = 0


# --- finding ----------------------------------------------------------------------------------------------------------


@kernel
def find_row(
    shape: NDArray[np.int64],
    rows: RowMatrix,
    index: Slots,
    entries: TextEntries,
    words: Words,
    places: Places,
    message: bytes,
) -> int:
    """Return the slot of a key, or 0. The message: owner, then the key's values (of a text its length), then texts."""
    rows[SCRATCH, OWNER] = np.int64(_whole_word(message, 0))
    at = 8 + 8 * shape[KEY_COUNT]
    for i in range(shape[KEY_COUNT]):
        value = np.int64(_whole_word(message, 8 + 8 * i))
        if shape[KEYS + KEYS_MOST + i] == 1:
            start = at
            at += value
            value = find_text(entries, words, places, message, start, at)
            if value < 0:
                return 0
        rows[SCRATCH, shape[KEYS + i]] = value
    return np.int64(index[_place_of(shape, rows, index, SCRATCH)])


@kernel
def chain(rows: RowMatrix, head: int, found: NDArray[np.int64]) -> int:
    """Set found[:n] to the slots of an owner, in order; return n, or -1 where there is no room for all."""
    count, slot = 0, head
    while slot != 0:
        if count == found.shape[0]:
            return -1
        found[count] = slot
        count += 1
        slot = rows[slot, NEXT]
    return count


@kernel
def matching(
    rows: RowMatrix,
    heads: Slots,
    owners: NDArray[np.int64],
    column: int,
    wanted: NDArray[np.int64],
    found: NDArray[np.int64],
) -> int:
    """Set found[:n] to the slots of those rows of owners[i] in whose column wanted[i] lies; return n, or -1 (no room).

    No pair may be there twice.
    """
    count = 0
    for i in range(owners.shape[0]):
        slot = np.int64(heads[owners[i]]) if owners[i] < heads.shape[0] else 0
        while slot != 0:
            if rows[slot, column] == wanted[i]:
                if count == found.shape[0]:
                    return -1
                found[count] = slot
                count += 1
            slot = rows[slot, NEXT]
    return count


@kernel
def chain_up_to(rows: RowMatrix, head: int, column: int, most: int, found: NDArray[np.int64]) -> tuple[int, int]:
    """Collect, from `head` on, slots with no more than `most` in a column. Returns (how many, where to go on or 0)."""
    count, slot = 0, head
    while slot != 0 and count < found.shape[0]:
        if rows[slot, column] <= most:
            found[count] = slot
            count += 1
        slot = rows[slot, NEXT]
    return count, slot


# --- changing ---------------------------------------------------------------------------------------------------------


@kernel
def _release_texts(
    shape: NDArray[np.int64], rows: RowMatrix, entries: TextEntries, words: Words, places: Places, slot: int
) -> None:
    for i in range(shape[TEXT_COUNT]):
        code = rows[slot, shape[TEXTS + i]]
        rows[0, TEXT_WORDS] -= (entries[code, 1] + 7) >> 3 if code > 0 else 0
        release_text(entries, words, places, code)


@kernel
def _remove(
    shape: NDArray[np.int64],
    rows: RowMatrix,
    index: Slots,
    heap: Slots,
    heads: Slots,
    entries: TextEntries,
    words: Words,
    places: Places,
    slot: int,
) -> None:
    if shape[KEYED] == 1:
        _unindex(shape, rows, index, slot)
    set_due(rows, heap, slot, NEVER_DUE)
    owner, following, before = rows[slot, OWNER], rows[slot, NEXT], rows[slot, PREVIOUS]
    if heads[owner] == slot:
        heads[owner] = following
        if following != 0:
            rows[following, PREVIOUS] = before
    else:
        rows[before, NEXT] = following
        if following != 0:
            rows[following, PREVIOUS] = before
        else:
            rows[heads[owner], PREVIOUS] = before
    _release_texts(shape, rows, entries, words, places, slot)
    rows[slot, SEQUENCE] = 0
    rows[slot, NEXT] = rows[0, FREE]
    rows[0, FREE] = slot
    rows[0, COUNT] -= 1


@kernel
def append_row(shape: NDArray[np.int64], rows: RowMatrix, index: Slots, heads: Slots) -> int:
    """Give the row that was put together a slot of its own, as its owner's last."""
    slot = rows[0, FREE]
    if slot != 0:
        rows[0, FREE] = rows[slot, NEXT]
    else:
        slot = rows[0, USED]
        rows[0, USED] = slot + 1
    rows[0, COUNT] += 1
    rows[0, LAST] += 1
    owner = rows[SCRATCH, OWNER]
    rows[slot, SEQUENCE], rows[slot, NEXT], rows[slot, PLACE], rows[slot, OWNER] = rows[0, LAST], 0, 0, owner
    rows[slot, DUE] = NEVER_DUE
    for column in range(FIELDS, FIELDS + shape[FIELD_COUNT]):
        rows[slot, column] = rows[SCRATCH, column]
    head = heads[owner]
    if head == 0:
        heads[owner] = slot
        rows[slot, PREVIOUS] = slot
    else:
        last = rows[head, PREVIOUS]
        rows[last, NEXT], rows[slot, PREVIOUS], rows[head, PREVIOUS] = slot, last, slot
    if shape[KEYED] == 1:
        index[_place_of(shape, rows, index, slot)] = slot
    return slot


@kernel
def put_row(
    shape: NDArray[np.int64],
    rows: RowMatrix,
    index: Slots,
    heap: Slots,
    heads: Slots,
    entries: TextEntries,
    words: Words,
    places: Places,
    message: bytes,
    begin: int,
    slot: int,
) -> int:
    """Put a row into a slot, or with 0 in the place of the one with its key, or else behind its owner's others.

    The message, from `begin` on: due, owner, the fields' values (of a text its length), then the texts. Returns the
    slot; -1, with nothing changed, where there is no room.
    """
    first = begin + 16
    at = first + 8 * shape[FIELD_COUNT]
    word_count = 0
    for i in range(shape[TEXT_COUNT]):
        length = np.int64(_whole_word(message, first + 8 * (shape[TEXTS + i] - FIELDS)))
        word_count += words_needed(length)
    due_us, owner = np.int64(_whole_word(message, begin)), np.int64(_whole_word(message, begin + 8))
    room = rows[0, FREE] != 0 or rows[0, USED] < rows.shape[0]
    room = room and owner < heads.shape[0] and (shape[KEYED] == 0 or 2 * (rows[0, COUNT] + 1) <= index.shape[0])
    if not room or not has_room(entries, words, places, shape[TEXT_COUNT], word_count):
        return -1
    rows[SCRATCH, OWNER] = owner
    for i in range(shape[FIELD_COUNT]):
        rows[SCRATCH, FIELDS + i] = np.int64(_whole_word(message, first + 8 * i))
    for i in range(shape[TEXT_COUNT]):
        column = shape[TEXTS + i]
        start = at
        at += rows[SCRATCH, column]
        rows[0, TEXT_WORDS] += (at - start + 7) >> 3
        rows[SCRATCH, column] = intern_text(entries, words, places, message, start, at)
    if slot == 0 and shape[KEYED] == 1:
        slot = np.int64(index[_place_of(shape, rows, index, SCRATCH)])
    if slot > 0:
        _release_texts(shape, rows, entries, words, places, slot)
        for column in range(FIELDS, FIELDS + shape[FIELD_COUNT]):
            rows[slot, column] = rows[SCRATCH, column]
    else:
        slot = append_row(shape, rows, index, heads)
        if shape[NEWEST] > 0:
            count, one = 0, np.int64(heads[owner])
            while one != 0:
                count += 1
                one = rows[one, NEXT]
            if count > shape[NEWEST]:
                _remove(shape, rows, index, heap, heads, entries, words, places, np.int64(heads[owner]))
    set_due(rows, heap, slot, due_us)
    return slot


@kernel
def remove_rows(
    shape: NDArray[np.int64],
    rows: RowMatrix,
    index: Slots,
    heap: Slots,
    heads: Slots,
    entries: TextEntries,
    words: Words,
    places: Places,
    slots: NDArray[np.int64],
) -> None:
    """Forget the rows in these slots."""
    for i in range(slots.shape[0]):
        _remove(shape, rows, index, heap, heads, entries, words, places, slots[i])


@kernel
def remove_due(
    shape: NDArray[np.int64],
    rows: RowMatrix,
    index: Slots,
    heap: Slots,
    heads: Slots,
    entries: TextEntries,
    words: Words,
    places: Places,
    now_us: int,
) -> None:
    """Forget the rows that are due."""
    while rows[0, HEAPED] > 0 and rows[heap[0], DUE] <= now_us:
        _remove(shape, rows, index, heap, heads, entries, words, places, np.int64(heap[0]))


@kernel
def remove_row(
    shape: NDArray[np.int64],
    rows: RowMatrix,
    index: Slots,
    heap: Slots,
    heads: Slots,
    entries: TextEntries,
    words: Words,
    places: Places,
    slot: int,
) -> None:
    """Forget the row in a slot."""
    _remove(shape, rows, index, heap, heads, entries, words, places, slot)


@kernel
def load_rows(
    shape: NDArray[np.int64],
    rows: RowMatrix,
    index: Slots,
    heap: Slots,
    heads: Slots,
    values: NDArray[np.int64],
    dues_us: NDArray[np.int64],
    text_words: int,
) -> None:
    """Append rows (owner, then fields; texts as codes that have their references). There must be room for all."""
    for i in range(values.shape[0]):
        rows[SCRATCH, OWNER] = values[i, 0]
        for column in range(shape[FIELD_COUNT]):
            rows[SCRATCH, FIELDS + column] = values[i, 1 + column]
        slot = append_row(shape, rows, index, heads)
        set_due(rows, heap, slot, dues_us[i])
    rows[0, TEXT_WORDS] += text_words


@kernel
def refill_index(shape: NDArray[np.int64], rows: RowMatrix, index: Slots) -> None:
    """Put all rows into an empty index."""
    for slot in range(FIRST, rows[0, USED]):
        if rows[slot, SEQUENCE] > 0:
            index[_place_of(shape, rows, index, slot)] = slot
