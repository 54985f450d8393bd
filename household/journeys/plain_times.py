"""Plain walks in kernels as time passes, and what was heard so long ago that it is settled."""

import numpy as np
from numpy.typing import NDArray

from household.journeys.plain_moves import (
    W_ENDING,
    W_NUMBER,
    is_act_concerned,
    let_time_pass,
    load,
    newest_heard,
    store,
)
from household.journeys.plain_ways import (
    BASE_DUE,
    BASE_SINCE,
    BASE_STEP,
    BASE_VISITS,
    BASED,
    C_IS_PLAIN,
    C_NAME,
    C_OF_MEMBER,
    DUE_US,
    ENDED,
    ENDING,
    HEARD_KEY,
    HEARD_MEMBER,
    JOURNEY,
    LIVE,
    MEMBER,
    NEVER,
    SINCE,
    STEP,
    VISITS,
    Ways,
)
from household.kernel import kernel
from household.tables.copying import copy_text
from household.tables.slots import NEXT, OWNER, RowMatrix, Slots
from household.tables.texts import Places, TextEntries, Words

_NOBODY = -1


@kernel
def pass_time(
    ways: Ways,
    slots: NDArray[np.int64],
    now_us: int,
    tidied_us: int,
    course_by_code: NDArray[np.int32],
    heard: RowMatrix,
    heard_heads: Slots,
    rows: RowMatrix,
    heap: Slots,
    acts: RowMatrix,
    act_heads: Slots,
    walk: NDArray[np.int64],
    left: NDArray[np.int64],
    over: NDArray[np.int64],
) -> tuple[int, int]:
    """Move the instances in these slots whose time has come and for which that is plain.

    left, over: (n,) set to the slots of those that are left, and of those that have been over long enough.
    Returns how many of each.
    """
    left_count, over_count = 0, 0
    for i in range(slots.shape[0]):
        slot = slots[i]
        if rows[slot, ENDING] != LIVE:
            over[over_count] = slot
            over_count += 1
            continue
        owner, name = rows[slot, OWNER], rows[slot, JOURNEY]
        course = np.int64(course_by_code[name]) if name < course_by_code.shape[0] else -1
        is_plain = course >= 0 and ways.courses[course, C_IS_PLAIN] != 0 and load(ways, course, rows, slot, walk)
        if is_plain:
            newest_us = newest_heard(ways, course, rows[slot, MEMBER], heard, heard_heads, owner, -1)
            is_plain = let_time_pass(ways, walk, max(tidied_us, newest_us))
        if is_plain:
            is_plain = not is_act_concerned(acts, act_heads, owner, name, walk[W_NUMBER], walk[W_ENDING])
        if not is_plain:
            left[left_count] = slot
            left_count += 1
            continue
        store(ways, course, walk, rows, heap)
        if walk[W_ENDING] != LIVE and rows[slot, DUE_US] <= now_us:
            over[over_count] = slot
            over_count += 1
    return left_count, over_count


@kernel
def settle(
    ways: Ways,
    slots: NDArray[np.int64],
    horizon_us: int,
    tidied_us: int,
    heard: RowMatrix,
    heard_heads: Slots,
    rows: RowMatrix,
    heads: Slots,
    entries: TextEntries,
    words: Words,
    places: Places,
    left: NDArray[np.int64],
) -> int:
    """Let instances be walked from where they are for which what was heard in these slots has been taken in for good.

    left: (n,) set to the slots of what lanes heard in which that is not plain. Returns how many.
    """
    left_count = 0
    for i in range(slots.shape[0]):
        key, owner = heard[slots[i], HEARD_KEY], heard[slots[i], OWNER]
        course = np.int64(ways.course_by_name[key]) if key < ways.course_by_name.shape[0] else -1
        if course < 0:
            continue
        name = ways.courses[course, C_NAME]
        lane = heard[slots[i], HEARD_MEMBER] if ways.courses[course, C_OF_MEMBER] != 0 else _NOBODY
        until_us = max(tidied_us, newest_heard(ways, course, lane, heard, heard_heads, owner, -1))
        is_plain = ways.courses[course, C_IS_PLAIN] != 0
        slot = np.int64(heads[owner]) if owner < heads.shape[0] else 0
        while slot != 0:
            if rows[slot, JOURNEY] == name and rows[slot, MEMBER] == lane:
                is_due = rows[slot, ENDING] == LIVE and rows[slot, DUE_US] <= until_us
                is_plain = is_plain and not is_due and max(rows[slot, SINCE], rows[slot, ENDED]) < horizon_us
            slot = rows[slot, NEXT]
        if not is_plain:
            left[left_count] = slots[i]
            left_count += 1
            continue
        slot = np.int64(heads[owner]) if owner < heads.shape[0] else 0
        while slot != 0:
            if rows[slot, JOURNEY] == name and rows[slot, MEMBER] == lane and rows[slot, BASED] < horizon_us:
                rows[slot, BASE_STEP], rows[slot, BASE_SINCE] = rows[slot, STEP], rows[slot, SINCE]
                rows[slot, BASE_DUE] = rows[slot, DUE_US] if rows[slot, ENDING] == LIVE else NEVER
                copy_text(rows, entries, words, places, slot, VISITS, BASE_VISITS)
                rows[slot, BASED] = horizon_us
            slot = rows[slot, NEXT]
    return left_count
