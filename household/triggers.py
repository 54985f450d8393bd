"""What listens for an event, looked at as of that event: triggers that fire, journeys that are entered or that wait.

A condition reads all that is known of the household, and of the member. Where that lies in several rows
(household/graph/graph.py) what its features hold together is put into spare ones first; and when a trigger last fired,
or whether it was true, is known to each of them.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from household.columns.dispatch import combine_cells
from household.columns.features import Cells, run_program
from household.columns.layout import (
    ENTERS_EACH_TIME,
    ENTERS_ONCE_TRUE,
    FIRES,
    LISTENS_WITHIN,
    ListenerReads,
    Rules,
)
from household.columns.windows import window_combined, window_freed
from household.kernel import inlined, kernel


class LyingTogether(NamedTuple):
    """Which rows lie together, for the fold: the places in `rows` of how many those are, followed by them."""

    homes: NDArray[np.int64]
    """(households and more,) 0 or less for a row that is all there is of its household; empty where all are."""
    persons: NDArray[np.int64]
    """(members and more,) likewise."""
    rows: NDArray[np.int64]
    household: int
    """A spare row, for what a household holds together."""
    member: int
    """Likewise a member's."""


@inlined
def look(
    rules: Rules,
    cells: Cells,
    kind: int,
    household: int,
    member: int,
    seen_household: int,
    seen_member: int,
    values: NDArray[np.float64],
    event: int,
    t: float,
    is_within: bool,
    fired: NDArray[np.int64],
    moments: int,
    stack: NDArray[np.float64],
) -> Any:
    """Look at all that listens for an event; return (moments so far, whether a journey heard it).

    seen_household, seen_member: rows that conditions read.
    fired: (room, 3) event, row of `rules.triggers`, instance of each moment, and of all that journeys listen for.
    """
    is_heard = False
    for at in range(rules.trigger_start[kind], rules.trigger_start[kind + 1]):
        trigger = rules.trigger_list[at]
        cell, how = rules.triggers[trigger, 1], rules.triggers[trigger, 3]
        of_member = rules.triggers[trigger, 0] == 1
        if of_member and member < 0:
            continue
        cell += cells.member_bases[member] if of_member else cells.household_bases[household]
        if how == FIRES:
            if not np.isnan(cells.flat[cell]) and t - cells.flat[cell] < rules.cooldowns[trigger]:
                continue
        elif how == LISTENS_WITHIN and not is_within:
            continue
        program = rules.triggers[trigger, 2]
        is_true = program < 0
        if not is_true:
            is_true = run_program(rules, cells, program, seen_household, seen_member, values, event, t, stack) == 1.0
        if how == ENTERS_ONCE_TRUE:
            was = cells.flat[cell]
            cells.flat[cell] = 1.0 if is_true else 0.0
            is_true = is_true and was != 1.0
        if not is_true:
            continue
        fired[moments, 0], fired[moments, 1] = event, trigger
        if how <= ENTERS_EACH_TIME:
            if how == FIRES:
                cells.flat[cell] = t
            else:
                is_heard = True
            cells.flat[cell + 1] += 1.0
            fired[moments, 2] = np.int64(cells.flat[cell + 1])
        else:
            is_heard = is_heard or is_within
        moments += 1
    return moments, is_heard


@inlined
def _put(rules: Rules, read: ListenerReads, cells: Cells, kind: int, is_member: int, base: int, other: int) -> None:
    """Put what conditions on an event read of one row into another."""
    flat = cells.flat
    for at in range(read.feature_start[kind], read.feature_start[kind + 1]):
        feature = read.features[at]
        if rules.reads[feature, 1] == is_member:
            code, cell, keep = rules.reads[feature, 0], rules.reads[feature, 2], rules.reads[feature, 3]
            combine_cells(code, flat, base + cell, other + cell, keep, rules.read_terms, feature)
    for at in range(read.window_start[kind], read.window_start[kind + 1]):
        cell = read.windows[at, 1]
        if read.windows[at, 0] == is_member and flat[other + cell] != 0.0:
            handle = window_combined(cells.slab, flat[base + cell], flat[other + cell], read.windows[at, 2])
            flat[base + cell] = handle


@kernel
def bring_together(
    rules: Rules,
    read: ListenerReads,
    cells: Cells,
    kind: int,
    household: int,
    member: int,
    home: int,
    person: int,
    together: LyingTogether,
) -> None:
    """Let the spare rows hold what conditions on an event read of a household and a person, given by their places.

    The event's own rows learn when triggers last fired. The slab has room for `read.entries[kind]` for each row.
    """
    flat, rows = cells.flat, together.rows
    for is_member in range(2):
        place, bases, own, spare = home, cells.household_bases, household, together.household
        initial = read.household_initial
        if is_member == 1:
            place, bases, own, spare = person, cells.member_bases, member, together.member
            initial = read.member_initial
        if place <= 0:
            continue
        for j in range(initial.shape[0]):
            flat[bases[spare] + j] = initial[j]
        for k in range(place + 1, place + 1 + rows[place]):
            _put(rules, read, cells, kind, is_member, bases[spare], bases[rows[k]])
        for at in range(rules.trigger_start[kind], rules.trigger_start[kind + 1]):
            trigger = rules.trigger_list[at]
            if rules.triggers[trigger, 0] == is_member and rules.triggers[trigger, 3] <= ENTERS_ONCE_TRUE:
                cell = rules.triggers[trigger, 1]
                newest = flat[bases[own] + cell]
                for k in range(place + 1, place + 1 + rows[place]):
                    one = flat[bases[rows[k]] + cell]
                    if np.isnan(newest) or one > newest:
                        newest = one
                flat[bases[own] + cell] = newest


@kernel
def tell_others(
    rules: Rules,
    read: ListenerReads,
    cells: Cells,
    kind: int,
    household: int,
    member: int,
    home: int,
    person: int,
    together: LyingTogether,
) -> None:
    """Tell the other rows of a household and a person when triggers last fired; free the windows of the spare ones.

    Those of which none of these was ever looked at are not told: a batch makes its rows before their first event.
    """
    flat, rows = cells.flat, together.rows
    for is_member in range(2):
        place, bases, own, spare = home, cells.household_bases, household, together.household
        if is_member == 1:
            place, bases, own, spare = person, cells.member_bases, member, together.member
        if place <= 0:
            continue
        for at in range(read.window_start[kind], read.window_start[kind + 1]):
            if read.windows[at, 0] == is_member:
                window_freed(cells.slab, flat[bases[spare] + read.windows[at, 1]])
        for at in range(rules.trigger_start[kind], rules.trigger_start[kind + 1]):
            trigger = rules.trigger_list[at]
            if rules.triggers[trigger, 0] == is_member and rules.triggers[trigger, 3] <= ENTERS_ONCE_TRUE:
                cell = rules.triggers[trigger, 1]
                for k in range(place + 1, place + 1 + rows[place]):
                    if not np.isnan(flat[bases[rows[k]] + cell]):
                        flat[bases[rows[k]] + cell] = flat[bases[own] + cell]
