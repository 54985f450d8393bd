"""Plain walks in kernels: what most events and timers make of most instances, at once for a whole batch.

The same rules as walk.py and lanes.py. What a lane needs beyond plain ways is left to those, with nothing changed.
"""

import numpy as np
from numpy.typing import NDArray

from household.journeys.plain_moves import (
    W_CORRELATION,
    W_DUE,
    W_ENDED,
    W_ENDING,
    W_ENTERED,
    W_NUMBER,
    W_SINCE,
    W_SLOT,
    W_STEP,
    go,
    is_act_concerned,
    let_time_pass,
    load,
    newest_heard,
    store,
)
from household.journeys.plain_ways import (
    AFTER,
    BASED,
    C_AFTER,
    C_AGAIN,
    C_ENTERS,
    C_FIRST,
    C_IS_PLAIN,
    C_MOST,
    C_NAME,
    C_OF_MEMBER,
    C_PARALLEL,
    C_WINDOW,
    COMPLETED,
    CORRELATION,
    ENDED,
    ENDING,
    ENTERED,
    ENTRANT,
    EXIT_RULE,
    GOAL,
    HEARD_ABOUT,
    HEARD_CORRELATION,
    HEARD_EVENT,
    HEARD_KEEP,
    HEARD_KEY,
    HEARD_MEMBER,
    HEARD_TIME,
    HEARD_VISIT,
    INSTANCE_COLUMNS,
    JOURNEY,
    L_COURSE,
    L_FIELD,
    L_KEY,
    L_LOOK_BACK,
    L_MUST_SAY,
    L_ROLE,
    L_STEP,
    L_TARGET,
    L_VERSION,
    LIVE,
    MEMBER,
    NEVER,
    NUMBER,
    OF_ENTRY,
    OF_GOAL,
    OF_WAIT,
    ONCE,
    S_VERSION,
    SINCE,
    VERSION,
    Ways,
)
from household.kernel import kernel
from household.tables.dues import set_due
from household.tables.rows import append_row
from household.tables.slots import FIELDS, NEXT, OWNER, SCRATCH, RowMatrix, Slots

_NO_CORRELATION = np.int64(0)
_NEGATIVE_ZERO = np.int64(-(2**63))
_UNSAID = np.int64(0x7FF8_0000_0000_0001)
"""Of an event that is not kept: it does not say which instance it is about. No number has these bits."""
_NOBODY = -1
_ANY = -1


@kernel
def _may_enter(
    ways: Ways,
    course: int,
    member: int,
    rows: RowMatrix,
    heads: Slots,
    owner: int,
    walk: NDArray[np.int64],
    correlation: int,
    at_us: int,
) -> bool:
    """Return whether an event lets somebody enter. `walk`: of the one that lived before it; its slot is 0 for none."""
    live, entered, slot = 0, 0, np.int64(heads[owner])
    while slot != 0:
        if rows[slot, JOURNEY] == ways.courses[course, C_NAME] and rows[slot, MEMBER] == member:
            is_walked = slot == walk[W_SLOT]
            ending = walk[W_ENDING] if is_walked else rows[slot, ENDING]
            ended_us = walk[W_ENDED] if is_walked else rows[slot, ENDED]
            live += ending == LIVE
            entered += rows[slot, ENTERED] > at_us - ways.courses[course, C_WINDOW]
            if rows[slot, CORRELATION] == correlation:
                if ending == LIVE or ways.courses[course, C_AGAIN] == ONCE:
                    return False
                if ways.courses[course, C_AGAIN] == AFTER and ended_us + ways.courses[course, C_AFTER] > at_us:
                    return False
        slot = rows[slot, NEXT]
    most = ways.courses[course, C_MOST]
    may_enter: bool = live < ways.courses[course, C_PARALLEL] and (most == 0 or entered < most)
    return may_enter


@kernel
def _move(
    ways: Ways,
    course: int,
    owner: int,
    member: int,
    fired: NDArray[np.int64],
    correlations: NDArray[np.int64],
    start: int,
    stop: int,
    first_listener: int,
    at_us: int,
    number: int,
    tidied_us: int,
    heard: RowMatrix,
    heard_heads: Slots,
    shape: NDArray[np.int64],
    rows: RowMatrix,
    index: Slots,
    heap: Slots,
    heads: Slots,
    acts: RowMatrix,
    act_heads: Slots,
    walk: NDArray[np.int64],
    entrant: NDArray[np.int64],
) -> bool:
    """Let a lane take in an event, whose rows have been kept; return whether that was plain."""
    walk[W_SLOT], walk[W_ENDING] = 0, COMPLETED
    slot = np.int64(heads[owner]) if owner < heads.shape[0] else 0
    while slot != 0:
        if rows[slot, JOURNEY] == ways.courses[course, C_NAME] and rows[slot, MEMBER] == member:
            if max(rows[slot, SINCE], rows[slot, ENDED]) >= at_us or rows[slot, BASED] > at_us:
                return False
            is_live = rows[slot, ENDING] == LIVE
            if is_live and (walk[W_SLOT] != 0 or not load(ways, course, rows, slot, walk)):
                return False
        slot = rows[slot, NEXT]
    if (
        ways.courses[course, C_IS_PLAIN] == 0
        or newest_heard(ways, course, member, heard, heard_heads, owner, number) >= at_us
    ):
        return False
    if walk[W_SLOT] != 0 and not let_time_pass(ways, walk, at_us):
        return False
    is_used, is_entering = False, False
    for place in range(start, stop):
        listener = fired[place, 1] - first_listener
        if ways.listeners[listener, L_COURSE] != course or correlations[place] == _UNSAID:
            continue
        role = ways.listeners[listener, L_ROLE]
        if role == OF_ENTRY:
            if is_entering or not _may_enter(
                ways, course, member, rows, heads, owner, walk, correlations[place], at_us
            ):
                continue
            is_entering = True
            entrant[W_STEP], entrant[W_SINCE], entrant[W_ENTERED] = ways.courses[course, C_FIRST], at_us, at_us
            entrant[W_ENDING], entrant[W_ENDED], entrant[W_SLOT] = LIVE, 0, 0
            entrant[W_CORRELATION], entrant[W_NUMBER] = correlations[place], number
            if not go(ways, entrant, ways.courses[course, C_FIRST], at_us, COMPLETED):
                return False
        elif walk[W_SLOT] == 0 or walk[W_ENDING] != LIVE:
            continue
        elif role == OF_WAIT:
            is_about = ways.listeners[listener, L_STEP] == walk[W_STEP] and correlations[place] == walk[W_CORRELATION]
            if is_about and not is_used:
                is_used = True
                if not go(ways, walk, ways.listeners[listener, L_TARGET], at_us, COMPLETED):
                    return False
        elif ways.listeners[listener, L_VERSION] == ways.steps[walk[W_STEP], S_VERSION] and (
            correlations[place] == _NO_CORRELATION or correlations[place] == walk[W_CORRELATION]
        ):
            walk[W_ENDING] = GOAL if role == OF_GOAL else EXIT_RULE
            walk[W_ENDED], walk[W_DUE] = at_us, NEVER
    until_us = max(tidied_us, at_us)
    if walk[W_SLOT] != 0:
        if not let_time_pass(ways, walk, until_us):
            return False
        ending = walk[W_ENDING]
        is_moved = ending != LIVE or walk[W_SINCE] != rows[walk[W_SLOT], SINCE]
        if is_moved and is_act_concerned(acts, act_heads, owner, ways.courses[course, C_NAME], walk[W_NUMBER], ending):
            return False
    if is_entering and not let_time_pass(ways, entrant, until_us):
        return False
    if walk[W_SLOT] != 0:
        store(ways, course, walk, rows, heap)
    if is_entering:
        for column in range(FIELDS, FIELDS + INSTANCE_COLUMNS):
            rows[SCRATCH, column] = 0
        rows[SCRATCH, OWNER], rows[SCRATCH, JOURNEY], rows[SCRATCH, MEMBER] = (
            owner,
            ways.courses[course, C_NAME],
            member,
        )
        rows[SCRATCH, NUMBER], rows[SCRATCH, CORRELATION] = number, entrant[W_CORRELATION]
        rows[SCRATCH, VERSION], rows[SCRATCH, ENTERED], rows[SCRATCH, ENTRANT] = ways.version[0], at_us, fired[start, 2]
        entrant[W_SLOT] = append_row(shape, rows, index, heads)
        store(ways, course, entrant, rows, heap)
    return True


@kernel
def hear(
    ways: Ways,
    fired: NDArray[np.int64],
    first_listener: int,
    types: NDArray[np.int32],
    times_us: NDArray[np.int64],
    values: NDArray[np.float64],
    bits: NDArray[np.int64],
    household_rows: NDArray[np.int32],
    member_rows: NDArray[np.int32],
    first_number: int,
    step: int,
    tidied_us: int,
    lateness_us: int,
    heard_shape: NDArray[np.int64],
    heard: RowMatrix,
    heard_index: Slots,
    heard_heap: Slots,
    heard_heads: Slots,
    shape: NDArray[np.int64],
    rows: RowMatrix,
    index: Slots,
    heap: Slots,
    heads: Slots,
    acts: RowMatrix,
    act_heads: Slots,
    correlations: NDArray[np.int64],
    walk: NDArray[np.int64],
    entrant: NDArray[np.int64],
    left: NDArray[np.int64],
) -> int:
    """Keep what journeys heard of events, and let the instances move for which that is plain; return how many are left.

    fired: (n, 3) row of the batch, row of `Rules.triggers`; the third is room. No event is a report.
    correlations: (n,) room. walk, entrant: (WALK,) room.
    left: (n, 2) set to (row of the batch, course) of the lanes that are to be walked in Python.
    """
    left_count, start, count = 0, 0, fired.shape[0]
    while start < count:
        i = fired[start, 0]
        stop, owner, member, at_us, number = (
            start,
            household_rows[i],
            member_rows[i],
            times_us[i],
            first_number + i * step,
        )
        is_entry = False
        while stop < count and fired[stop, 0] == i:
            listener = fired[stop, 1] - first_listener
            fired[stop, 2] = member
            correlations[stop] = _NO_CORRELATION
            field = ways.listeners[listener, L_FIELD]
            if field >= 0:
                if ways.carried[types[i], field] != 0 and not np.isnan(values[field, i]):
                    # Zero as -0.0, whose bits are not those of nothing.
                    correlations[stop] = bits[field, i] if values[field, i] != 0.0 else _NEGATIVE_ZERO
                if correlations[stop] == _NO_CORRELATION and ways.listeners[listener, L_MUST_SAY] != 0:
                    correlations[stop] = _UNSAID  # it does not say which instance it is about
            if (
                ways.listeners[listener, L_ROLE] == OF_ENTRY
                and ways.courses[ways.listeners[listener, L_COURSE], C_ENTERS] == 0
            ):
                correlations[stop] = _UNSAID
            if correlations[stop] != _UNSAID:
                is_entry = is_entry or ways.listeners[listener, L_ROLE] == OF_ENTRY
                heard[SCRATCH, OWNER], heard[SCRATCH, HEARD_KEY] = owner, ways.listeners[listener, L_KEY]
                heard[SCRATCH, HEARD_TIME], heard[SCRATCH, HEARD_MEMBER] = at_us, member
                heard[SCRATCH, HEARD_CORRELATION], heard[SCRATCH, HEARD_ABOUT] = correlations[stop], _ANY
                heard[SCRATCH, HEARD_VISIT], heard[SCRATCH, HEARD_EVENT] = 0, number
                keep_until_us = at_us + lateness_us + ways.listeners[listener, L_LOOK_BACK] + 1
                heard[SCRATCH, HEARD_KEEP] = keep_until_us
                slot = append_row(heard_shape, heard, heard_index, heard_heads)
                set_due(heard, heard_heap, slot, keep_until_us)
            stop += 1
        if is_entry or (owner < heads.shape[0] and heads[owner] != 0):
            for place in range(start, stop):
                course = ways.listeners[fired[place, 1] - first_listener, L_COURSE]
                is_first = correlations[place] != _UNSAID
                for before in range(start, place):
                    if (
                        correlations[before] != _UNSAID
                        and ways.listeners[fired[before, 1] - first_listener, L_COURSE] == course
                    ):
                        is_first = False
                lane = member if ways.courses[course, C_OF_MEMBER] != 0 else _NOBODY
                if not is_first or (ways.courses[course, C_OF_MEMBER] != 0 and member < 0):
                    continue
                if not _move(
                    ways,
                    course,
                    owner,
                    lane,
                    fired,
                    correlations,
                    start,
                    stop,
                    first_listener,
                    at_us,
                    number,
                    tidied_us,
                    heard,
                    heard_heads,
                    shape,
                    rows,
                    index,
                    heap,
                    heads,
                    acts,
                    act_heads,
                    walk,
                    entrant,
                ):
                    left[left_count, 0], left[left_count, 1] = i, course
                    left_count += 1
        start = stop
    return left_count
