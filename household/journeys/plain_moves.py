"""One plain walk in kernels: to a state and on, as time passes, from its row and back. As in walk.py and lanes.py."""

import numpy as np
from numpy.typing import NDArray

from household.journeys.plain_ways import (
    ACT_JOURNEY,
    ACT_NUMBER,
    ACT_STATUS,
    AT_END,
    C_COUNT,
    C_FIRST,
    C_KEPT,
    C_OF_MEMBER,
    COMPLETED,
    CORRELATION,
    DECIDED,
    DUE_US,
    ENDED,
    ENDING,
    ENDS,
    ENTERED,
    EXIT_RULE,
    GOAL,
    HEARD_EVENT,
    HEARD_KEY,
    HEARD_MEMBER,
    HEARD_TIME,
    IS_SLOT,
    LIVE,
    NEVER,
    NUMBER,
    PENDING,
    S_AFTER,
    S_FROM,
    S_KIND,
    S_MISSED,
    S_NAME,
    S_TARGET,
    S_TO,
    SAID,
    SINCE,
    STEP,
    TIMEOUT,
    WAITS,
    Ways,
)
from household.kernel import kernel
from household.tables.dues import set_due
from household.tables.slots import NEXT, RowMatrix, Slots

MOVES_AT_ONCE_MAX = 64
"""As in walk.py."""

W_STEP, W_SINCE, W_DUE, W_ENTERED, W_ENDING, W_ENDED, W_CORRELATION, W_NUMBER, W_SLOT = range(9)
"""Of a walk (WALK,); its slot is 0 for one that has just entered."""
WALK = 9


@kernel
def go(ways: Ways, walk: NDArray[np.int64], target: int, at_us: int, ending: int) -> bool:
    """Go to a state, and on as long as that takes no time; return whether all of it is plain."""
    for _ in range(MOVES_AT_ONCE_MAX):
        if target == AT_END:
            walk[W_ENDING], walk[W_ENDED], walk[W_DUE] = ending, at_us, NEVER
            return True
        kind = ways.steps[target, S_KIND]
        walk[W_STEP], walk[W_SINCE], walk[W_DUE] = target, at_us, NEVER
        if kind == ENDS:
            walk[W_ENDING], walk[W_ENDED] = COMPLETED, at_us
            return True
        if kind == WAITS:
            walk[W_DUE] = at_us + ways.steps[target, S_AFTER]
            return True
        if kind != IS_SLOT:
            return False
        begin_us = walk[W_ENTERED] + ways.steps[target, S_FROM]
        if at_us < begin_us:
            walk[W_DUE] = begin_us
            return True
        if at_us <= walk[W_ENTERED] + ways.steps[target, S_TO]:
            target, ending = ways.steps[target, S_TARGET], COMPLETED
        else:
            target, ending = ways.steps[target, S_MISSED], TIMEOUT
    return False


@kernel
def let_time_pass(ways: Ways, walk: NDArray[np.int64], until_us: int) -> bool:
    """Move a walk by all times that are over by an instant; return whether all of it is plain."""
    while walk[W_ENDING] == LIVE and walk[W_DUE] <= until_us:
        kind = ways.steps[walk[W_STEP], S_KIND]
        if kind != WAITS and kind != IS_SLOT:
            return False
        ending = TIMEOUT if kind == WAITS else COMPLETED
        if not go(ways, walk, ways.steps[walk[W_STEP], S_TARGET], walk[W_DUE], ending):
            return False
    return True


@kernel
def load(ways: Ways, course: int, rows: RowMatrix, slot: int, walk: NDArray[np.int64]) -> bool:
    """Set a walk to where the instance in a slot is; return whether the journey has that state."""
    first = ways.courses[course, C_FIRST]
    step = -1
    for at in range(first, first + ways.courses[course, C_COUNT]):
        if ways.steps[at, S_NAME] == rows[slot, STEP]:
            step = at
    walk[W_STEP], walk[W_SINCE], walk[W_DUE] = step, rows[slot, SINCE], rows[slot, DUE_US]
    walk[W_ENTERED], walk[W_ENDING], walk[W_ENDED] = rows[slot, ENTERED], rows[slot, ENDING], rows[slot, ENDED]
    walk[W_CORRELATION], walk[W_NUMBER], walk[W_SLOT] = rows[slot, CORRELATION], rows[slot, NUMBER], slot
    return step >= 0


@kernel
def store(ways: Ways, course: int, walk: NDArray[np.int64], rows: RowMatrix, heap: Slots) -> None:
    """Keep where the walk of an instance in a slot has come to."""
    slot = walk[W_SLOT]
    due_us = walk[W_DUE]
    if walk[W_ENDING] != LIVE:
        kept_us = ways.courses[course, C_KEPT]
        due_us = NEVER if kept_us >= NEVER else walk[W_ENDED] + kept_us
    rows[slot, STEP], rows[slot, SINCE], rows[slot, DUE_US] = ways.steps[walk[W_STEP], S_NAME], walk[W_SINCE], due_us
    rows[slot, ENDING], rows[slot, ENDED] = walk[W_ENDING], walk[W_ENDED]
    set_due(rows, heap, slot, due_us)


@kernel
def is_act_concerned(acts: RowMatrix, act_heads: Slots, owner: int, journey: int, number: int, ending: int) -> bool:
    """Return whether something that an instance was to say, or has said, has to be taken back."""
    slot = np.int64(act_heads[owner]) if owner < act_heads.shape[0] else 0
    while slot != 0:
        if acts[slot, ACT_JOURNEY] == journey and acts[slot, ACT_NUMBER] == number:
            status = acts[slot, ACT_STATUS]
            if status in (PENDING, DECIDED):
                return True
            if status == SAID and ending in (GOAL, EXIT_RULE):
                return True
        slot = acts[slot, NEXT]
    return False


@kernel
def newest_heard(
    ways: Ways, course: int, member: int, heard: RowMatrix, heads: Slots, owner: int, but_event: int
) -> int:
    """Return the time of the newest thing that a lane has heard, but for that of one event; a very old one for none."""
    newest_us, slot = -NEVER, np.int64(heads[owner]) if owner < heads.shape[0] else 0
    while slot != 0:
        key = heard[slot, HEARD_KEY]
        if key < ways.course_by_name.shape[0] and ways.course_by_name[key] == course:
            is_own = ways.courses[course, C_OF_MEMBER] == 0 or heard[slot, HEARD_MEMBER] == member
            if is_own and heard[slot, HEARD_EVENT] != but_event:
                newest_us = max(newest_us, heard[slot, HEARD_TIME])
        slot = heard[slot, NEXT]
    return newest_us
