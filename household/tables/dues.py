"""When rows are due, as kernels see it: a heap of slots, the first due first, of one time the older row."""

import numpy as np
from numpy.typing import NDArray

from household.kernel import inlined, kernel
from household.tables.slots import DUE, FIELDS, HEAPED, NEVER_DUE, PLACE, SEQUENCE, RowMatrix, Slots


@inlined
def _settle(rows: RowMatrix, heap: Slots, place: int, slot: int) -> None:
    heap[place - 1] = slot
    rows[slot, PLACE] = place


@inlined
def _is_before(rows: RowMatrix, slot: int, other: int) -> bool:
    due, others = rows[slot, DUE], rows[other, DUE]
    return due < others or (due == others and rows[slot, SEQUENCE] < rows[other, SEQUENCE])


@kernel
def _sift(rows: RowMatrix, heap: Slots, slot: int) -> None:
    """Move a row up or down to where its time belongs."""
    place = rows[slot, PLACE]
    while place > 1 and _is_before(rows, slot, heap[place // 2 - 1]):
        _settle(rows, heap, place, heap[place // 2 - 1])
        place //= 2
    while 2 * place <= rows[0, HEAPED]:
        child = 2 * place
        if child < rows[0, HEAPED] and _is_before(rows, heap[child], heap[child - 1]):
            child += 1
        if _is_before(rows, slot, heap[child - 1]):
            break
        _settle(rows, heap, place, heap[child - 1])
        place = child
    _settle(rows, heap, place, slot)


@kernel
def set_due(rows: RowMatrix, heap: Slots, slot: int, due_us: int) -> None:
    """Say when a row is due, or NEVER_DUE."""
    if due_us == NEVER_DUE:
        place = rows[slot, PLACE]
        rows[slot, DUE] = due_us
        if place > 0:
            last = heap[rows[0, HEAPED] - 1]
            rows[0, HEAPED] -= 1
            rows[slot, PLACE] = 0
            if last != slot:
                rows[last, PLACE] = place
                _sift(rows, heap, last)
        return
    if rows[slot, PLACE] == 0:
        rows[0, HEAPED] += 1
        rows[slot, PLACE] = rows[0, HEAPED]
        heap[rows[0, HEAPED] - 1] = slot
    elif rows[slot, DUE] == due_us:
        return
    rows[slot, DUE] = due_us
    _sift(rows, heap, slot)


@kernel
def due_slots(rows: RowMatrix, heap: Slots, now_us: int, found: NDArray[np.int64]) -> int:
    """Set found[:n] to the slots that are due; return n, or -1 where there is no room for all.

    Looks at what is due, and once at what comes next behind it: never at the rest.
    """
    if rows[0, HEAPED] == 0 or rows[heap[0], DUE] > now_us:
        return 0
    found[0] = 1
    count, at = 1, 0
    while at < count:
        for child in range(2 * found[at], 2 * found[at] + 2):
            if child <= rows[0, HEAPED] and rows[heap[child - 1], DUE] <= now_us:
                if count == found.shape[0]:
                    return -1
                found[count] = child
                count += 1
        at += 1
    for i in range(count):
        found[i] = heap[found[i] - 1]
    return count


@kernel
def first_due(
    rows: RowMatrix, heap: Slots, now_us: int, found: NDArray[np.int64], open_places: NDArray[np.int64]
) -> int:
    """Set found[:n] to the slots that are due, the first due first, as many as there is room for; return n.

    open_places: room for one more than `found` has.
    """
    if rows[0, HEAPED] == 0 or rows[heap[0], DUE] > now_us:
        return 0
    open_places[0] = 1
    waiting, count = 1, 0
    while waiting > 0 and count < found.shape[0]:
        first = 0
        for i in range(1, waiting):
            if _is_before(rows, heap[open_places[i] - 1], heap[open_places[first] - 1]):
                first = i
        place = open_places[first]
        waiting -= 1
        open_places[first] = open_places[waiting]
        found[count] = heap[place - 1]
        count += 1
        for child in range(2 * place, 2 * place + 2):
            if child <= rows[0, HEAPED] and rows[heap[child - 1], DUE] <= now_us:
                open_places[waiting] = child
                waiting += 1
    return count


@kernel
def settle_dues(rules: NDArray[np.int64], rows: RowMatrix, heap: Slots, slots: NDArray[np.int64]) -> None:
    """Say of the rows in these slots when they are due, by the rules of DueRules and their columns."""
    for i in range(slots.shape[0]):
        slot, due_us = slots[i], NEVER_DUE
        for rule in range(rules.shape[0]):
            if rules[rule, 2] < 0 or rows[slot, FIELDS + rules[rule, 2]] == rules[rule, 3]:
                due_us = rows[slot, FIELDS + rules[rule, 0]] + rules[rule, 1]
                break
        set_due(rows, heap, slot, due_us)
