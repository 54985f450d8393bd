"""Weighing actions by rules: from when on each lets each pass, in one call for all of a household. Kernels."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from household.contact_rules.lines import (
    ASK_ADDRESS,
    ASK_CHANNEL,
    ASK_COST,
    ASK_TRAITS,
    ASK_VALUE,
    AT_ADDRESS,
    AT_CHANNEL,
    AT_COST,
    AT_DELIVERED,
    AT_HANDED,
    AT_KIND,
    AT_LINE,
    AT_MEMBER,
    AT_SEEN,
    AT_TIME,
    AT_TRAITS,
    AT_UNTIL,
    AT_VALUE,
    CALENDAR,
    CAPACITY,
    COST,
    COUNT,
    COUNTED_WHEN,
    DELIVERED,
    FAMILIES,
    HANDED,
    HOUSEHOLD,
    INBOUND,
    KIND,
    LINE,
    MEMBER,
    MOST,
    NEVER_US,
    RESERVES,
    SCOPE,
    SILENCE,
    SILENCE_US,
    WINDOW_US,
)
from household.kernel import inlined, kernel
from household.tables.slots import NEXT, RowMatrix

_NEVER = np.int64(NEVER_US)


class RuleLines(NamedTuple):
    """The rules of a plan as arrays, and which names of a partition they mean."""

    lines: NDArray[np.int64]
    """(lines, LINE_COLUMNS)"""
    governs_channel: NDArray[np.uint8]
    """(channels + 1, lines): whether a line speaks against what goes there; the last row is for no channel."""
    counts_channel: NDArray[np.uint8]
    governs_traits: NDArray[np.uint8]
    """(names, lines): the same by the code of an action's traits."""
    counts_traits: NDArray[np.uint8]
    family: NDArray[np.int64]
    """(names,) of an action's traits: a number per family, 0 for none."""


class Kept(NamedTuple):
    """What was kept of a household."""

    contacts: RowMatrix
    first_contacts: NDArray[np.int64]
    """(rows of the household,) slots; 0 for none."""
    contact_at: NDArray[np.int64]
    """(AT_COLUMNS,)"""
    encounters: RowMatrix
    first_encounters: NDArray[np.int64]
    encounter_at: NDArray[np.int64]


class Asked(NamedTuple):
    """Who is to be contacted, and when."""

    members: NDArray[np.int64]
    """(rows that are theirs,)"""
    line: int
    """0 where it is not known."""
    now_us: int
    made_only: int
    """1: only contacts that were made count, as at a hand-over. 0: what holds a place, too."""
    is_inbound: int
    """1: they have asked."""
    is_on: NDArray[np.uint8]
    """(lines,) whether what a line depends on holds."""
    since_us: NDArray[np.int64]
    """(lines,) what happened at or before does not count."""
    until_us: NDArray[np.int64]
    """(lines,) when a calendar window, or that of a capacity, ends."""
    used_up: NDArray[np.uint8]
    """(lines,) of capacities: whether there is nothing left in this window."""


@inlined
def _is_in_scope(
    scope: int,
    row: NDArray[np.int64],
    at: NDArray[np.int64],
    members: NDArray[np.int64],
    line: int,
    address: int,
    channel: int,
) -> bool:
    same = False
    for i in range(members.shape[0]):
        same = same or row[at[AT_MEMBER]] == members[i]
    if scope == HOUSEHOLD:
        return True
    if scope == MEMBER:
        return same
    if scope == LINE:
        other = row[at[AT_LINE]]
        return other == line if line != 0 else other == 0 and same
    other = row[at[AT_ADDRESS]]
    return other == address if address != 0 else other == 0 and same and row[at[AT_CHANNEL]] == channel


@inlined
def _put(items: NDArray[np.int64], count: int, leaves_us: int, weight: int, family: int, slot: int) -> int:
    """Insert an item so that what leaves first stands first; return how many there are."""
    at = count
    while at > 0 and items[at - 1, 0] > leaves_us:
        for column in range(4):
            items[at, column] = items[at - 1, column]
        at -= 1
    items[at, 0], items[at, 1], items[at, 2], items[at, 3] = leaves_us, weight, family, slot
    return count + 1


@inlined
def _collect(
    rules: RuleLines,
    kept: Kept,
    asked: Asked,
    ask: NDArray[np.int64],
    r: int,
    items: NDArray[np.int64],
) -> int:
    """Fill items (when it leaves, cost, family, slot of a contact or −slot of an encounter) with what counts against a
    line; return how many, or −1 where there is no room."""
    line = rules.lines[r]
    kind, window_us, when = line[KIND], line[WINDOW_US], line[COUNTED_WHEN]
    since_us, until_us, now_us = asked.since_us[r], asked.until_us[r], asked.now_us
    channel, address = ask[ASK_CHANNEL], ask[ASK_ADDRESS]
    count = 0
    head, heads, at = 0, kept.first_contacts, kept.contact_at
    slot = np.int64(0)
    while kind != SILENCE:
        while slot == 0 and head < heads.shape[0]:
            slot = heads[head]
            head += 1
        if slot == 0:
            break
        row = kept.contacts[slot]
        here, slot = slot, np.int64(row[NEXT])
        if rules.counts_traits[row[at[AT_TRAITS]], r] == 0 or rules.counts_channel[row[at[AT_CHANNEL]], r] == 0:
            continue
        if not _is_in_scope(line[SCOPE], row, at, asked.members, asked.line, address, channel):
            continue
        pending_until_us = row[at[AT_UNTIL]]
        if pending_until_us != 0 and row[at[AT_HANDED]] == 0:
            # It has no place, but may keep one for itself.
            if line[RESERVES] == 0 or pending_until_us <= now_us or row[at[AT_VALUE]] <= ask[ASK_VALUE]:
                continue
            leaves_us = pending_until_us
        else:
            if row[at[AT_HANDED]] == 0 and (asked.made_only == 1 or when != HANDED):
                continue
            time_us = row[at[AT_TIME]]
            if when != HANDED:
                time_us = row[at[AT_DELIVERED]] if when == DELIVERED else row[at[AT_SEEN]]
                if time_us == 0:
                    continue
            if time_us <= since_us:
                continue
            leaves_us = until_us if window_us == CALENDAR else time_us + window_us
        if count == items.shape[0]:
            return -1
        family = rules.family[row[at[AT_TRAITS]]]
        count = _put(items, count, leaves_us, row[at[AT_COST]], family, here)
    head, heads, at = 0, kept.first_encounters, kept.encounter_at
    slot = np.int64(0)
    wanted = 1 if kind == SILENCE else 0
    while kind == SILENCE or line[INBOUND] == 1:
        while slot == 0 and head < heads.shape[0]:
            slot = heads[head]
            head += 1
        if slot == 0:
            break
        row = kept.encounters[slot]
        here, slot = slot, np.int64(row[NEXT])
        if row[at[AT_KIND]] != wanted:
            continue
        if rules.counts_traits[row[at[AT_TRAITS]], r] == 0 or rules.counts_channel[row[at[AT_CHANNEL]], r] == 0:
            continue
        if not _is_in_scope(line[SCOPE], row, at, asked.members, asked.line, address, channel):
            continue
        time_us = row[at[AT_TIME]]
        if kind == SILENCE:
            leaves_us = time_us
        elif time_us <= since_us:
            continue
        else:
            leaves_us = until_us if window_us == CALENDAR else time_us + window_us
        if count == items.shape[0]:
            return -1
        count = _put(items, count, leaves_us, row[at[AT_COST]], rules.family[row[at[AT_TRAITS]]], -here)
    return count


@inlined
def _families(items: NDArray[np.int64], first: int, count: int, own: int) -> int:
    """Return how many distinct families there are among items first … count and one's own."""
    found = 1 if own != 0 else 0
    for i in range(first, count):
        is_new = items[i, 2] != 0 and items[i, 2] != own
        for j in range(first, i):
            is_new = is_new and items[j, 2] != items[i, 2]
        found += 1 if is_new else 0
    return found


@inlined
def _opens_us(
    rules: RuleLines, asked: Asked, ask: NDArray[np.int64], r: int, items: NDArray[np.int64], count: int
) -> int:
    """Return from when on a line lets an action pass, `now` where it does; what counts against it is in items."""
    line, now_us = rules.lines[r], np.int64(asked.now_us)
    kind, most = line[KIND], line[MOST]
    if kind == COUNT:
        if most < 0:
            return _NEVER
        return now_us if count <= most else items[count - most - 1, 0]
    if kind == COST:
        if ask[ASK_COST] > most:
            return _NEVER
        total = ask[ASK_COST]
        for i in range(count):
            total += items[i, 1]
        left = 0
        while total > most:
            total -= items[left, 1]
            left += 1
        return now_us if left == 0 else items[left - 1, 0]
    if kind == FAMILIES:
        own = rules.family[ask[ASK_TRAITS]]
        if most < 1 and own != 0:
            return _NEVER
        left = 0
        while _families(items, left, count, own) > most:
            left += 1
        return now_us if left == 0 else items[left - 1, 0]
    if kind == SILENCE:
        opens_us = now_us
        for i in range(count):
            within = 0
            for j in range(count):
                if items[i, 0] - line[WINDOW_US] < items[j, 0] <= items[i, 0]:
                    within += 1
            if within >= most:
                opens_us = max(opens_us, items[i, 0] + line[SILENCE_US])
        return opens_us
    return np.int64(asked.until_us[r]) if asked.used_up[r] == 1 else now_us


@inlined
def _speaks(rules: RuleLines, asked: Asked, ask: NDArray[np.int64], r: int) -> bool:
    return (
        asked.is_on[r] == 1
        and (asked.is_inbound == 0 or rules.lines[r, INBOUND] == 1)
        and rules.governs_traits[ask[ASK_TRAITS], r] == 1
        and rules.governs_channel[ask[ASK_CHANNEL], r] == 1
    )


@kernel
def weigh(
    rules: RuleLines,
    kept: Kept,
    asked: Asked,
    asks: NDArray[np.int64],
    items: NDArray[np.int64],
    opens_us: NDArray[np.int64],
) -> int:
    """Fill opens_us (asks, lines) with from when on each line lets each action pass, `now` where it does.

    Returns how many do not; −1 where items (n, 4) has too few rows for what counts.
    """
    against = 0
    for a in range(asks.shape[0]):
        for r in range(rules.lines.shape[0]):
            opens_us[a, r] = asked.now_us
            if not _speaks(rules, asked, asks[a], r):
                continue
            count = 0
            if rules.lines[r, KIND] != CAPACITY:
                count = _collect(rules, kept, asked, asks[a], r, items)
                if count < 0:
                    return -1
            opens_us[a, r] = _opens_us(rules, asked, asks[a], r, items, count)
            against += 1 if opens_us[a, r] != asked.now_us else 0
    return against


@kernel
def counted(
    rules: RuleLines, kept: Kept, asked: Asked, ask: NDArray[np.int64], r: int, items: NDArray[np.int64]
) -> int:
    """Fill items with what counts against an action by one line; return how many, or −1 as `weigh`."""
    return _collect(rules, kept, asked, ask, r, items)
