"""Admission: which events of a batch are folded, and why the others are not: late, known already, or rejected.

An event is known by household, source and id (in terms of fold version 1 by its id alone) for as long as it would not
be late anyway.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from household.columns.dedupe import FREE, DedupeArrays, dedupe_slot
from household.columns.fingerprint import fingerprint, fingerprint_behind
from household.columns.layout import Rules
from household.events import LATEST_US, LONGEST_KEY, LONGEST_SOURCE, NO_TIME_US, EventBatch, Status
from household.kernel import inlined, kernel
from household.state import PartitionState

_APPLIED, _DUPLICATE, _LATE = int(Status.APPLIED), int(Status.DUPLICATE), int(Status.LATE)
_UNKNOWN_TYPE, _MISSING_FIELD = int(Status.UNKNOWN_TYPE), int(Status.MISSING_FIELD)
_OUT_OF_RANGE, _BAD_VALUE, _FUTURE = int(Status.OUT_OF_RANGE), int(Status.BAD_VALUE), int(Status.FUTURE)
_BAD_ID, _BAD_KEY, _PAST_CALENDAR = int(Status.BAD_ID), int(Status.BAD_KEY), int(Status.PAST_CALENDAR)
_MISSING_TIME = int(Status.MISSING_TIME)
_MOVED = int(Status.MOVED)

_WHOSE = np.uint64(0xFFFFFFFF00000000)
_WHICH = np.uint64(0x00000000FFFFFFFF)


class _Admission(NamedTuple):
    stream_clock: bool
    stamp_us: int
    lateness_us: int
    future_us: int
    missing_time: int
    """Status of a signal without time, by the version of the term's fold."""
    by_household: bool
    """Ids are known by household and source; otherwise by themselves."""
    alone_until_us: int
    is_coded: bool
    """Ids tell whose they are."""
    uncoded_until_us: int


@inlined
def _rejection(
    rules: Rules,
    kind: int,
    t: int,
    latest_us: int,
    missing_time: int,
    is_bad: int,
    id_length: int,
    source_length: int,
    household_length: int,
    member_length: int,
    values: NDArray[np.float64],
    i: int,
) -> int:
    """Return why an event is not acceptable, or _APPLIED."""
    if id_length == 0 or id_length > LONGEST_KEY or source_length > LONGEST_SOURCE:
        return _BAD_ID
    if household_length == 0 or household_length > LONGEST_KEY or member_length > LONGEST_KEY:
        return _BAD_KEY
    if kind < 0:
        return _UNKNOWN_TYPE
    if t == NO_TIME_US:
        return missing_time
    if t < 0 or t >= LATEST_US:
        return _PAST_CALENDAR
    if t > latest_us:
        return _FUTURE
    if is_bad != 0:
        return _MOVED if is_bad >= 2 else _BAD_VALUE
    for use in range(rules.field_start[kind], rules.field_start[kind + 1]):
        value = values[rules.fields[use, 0], i]
        if np.isnan(value):
            if rules.fields[use, 1] == 1:
                return _MISSING_FIELD
        elif value < rules.field_range[use, 0] or value > rules.field_range[use, 1]:
            return _OUT_OF_RANGE
    return _APPLIED


@kernel
def _admit(
    rules: Rules,
    window: DedupeArrays,
    known: int,
    now_us: int,
    rule: _Admission,
    id_offsets: NDArray[np.int64],
    id_letters: NDArray[np.uint8],
    source_offsets: NDArray[np.int64],
    source_letters: NDArray[np.uint8],
    household_offsets: NDArray[np.int64],
    household_letters: NDArray[np.uint8],
    member_offsets: NDArray[np.int64],
    types: NDArray[np.int32],
    times_us: NDArray[np.int64],
    values: NDArray[np.float64],
    is_bad: NDArray[np.uint8],
    first: int,
    statuses: NDArray[np.uint8],
    codes: NDArray[np.uint64],
) -> tuple[int, int, int]:
    """Set statuses[first:]; stop where the window needs room. Returns (next event, known ids, now).

    Ids known by household: sets the household's fingerprint (its first word) in `codes` of what is applied, too.
    """
    has_sources = source_offsets.shape[0] > 0
    for i in range(first, types.shape[0]):
        source_length = source_offsets[i + 1] - source_offsets[i] if has_sources else 0
        if times_us[i] == NO_TIME_US and types[i] >= 0 and rules.is_report[types[i]] == 1:
            times_us[i] = now_us
        t = times_us[i]
        status = _rejection(
            rules,
            types[i],
            t,
            rule.stamp_us + rule.future_us,
            rule.missing_time,
            is_bad[i],
            id_offsets[i + 1] - id_offsets[i],
            source_length,
            household_offsets[i + 1] - household_offsets[i],
            member_offsets[i + 1] - member_offsets[i],
            values,
            i,
        )
        if status == _APPLIED and t > now_us and not rule.stream_clock:
            # A source whose clock is a little ahead: it happened now, or the next decision would not see it.
            t = times_us[i] = now_us
        if status == _APPLIED:
            if 2 * (known + 1) > window.times.shape[0]:
                return i, known, now_us
            start, end = id_offsets[i], id_offsets[i + 1]
            if rule.by_household:
                low, high = fingerprint(household_letters, household_offsets[i], household_offsets[i + 1], np.uint64(0))
                codes[i] = low
                if source_length > 0:
                    low, high = fingerprint_behind(source_letters, source_offsets[i], source_offsets[i + 1], low, high)
                low, high = fingerprint_behind(id_letters, start, end, low, high)
                uncoded = high
                if rule.is_coded:
                    high = (high & _WHICH) | (codes[i] & _WHOSE)
            else:
                low, high = fingerprint(id_letters, start, end, np.uint64(0))
                uncoded = high
            slot = dedupe_slot(window, low, high)
            is_known = window.times[slot] != FREE
            if not is_known and rule.by_household and rule.alone_until_us >= now_us - rule.lateness_us:
                alone_low, alone_high = fingerprint(id_letters, start, end, np.uint64(0))
                is_known = window.times[dedupe_slot(window, alone_low, alone_high)] != FREE
            if not is_known and rule.is_coded and rule.uncoded_until_us >= now_us - rule.lateness_us:
                is_known = window.times[dedupe_slot(window, low, uncoded)] != FREE
            if is_known:
                status = _DUPLICATE
            elif t < now_us - rule.lateness_us:
                status = _LATE
            else:
                window.low[slot], window.high[slot], window.times[slot] = low, high, t
                if window.fresh.shape[0] > 0:
                    window.fresh[slot] = 1
                known += 1
                if rule.stream_clock and t > now_us:
                    now_us = t
        statuses[i] = status
    return types.shape[0], known, now_us


def admit(state: PartitionState, batch: EventBatch, stamp_us: int, codes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return (n,) a Status per event; `now` and the known ids move on. `codes`: as `_admit` sets them."""
    clock = state.plan.clock
    missing_time = _MISSING_TIME if state.fold_version >= 2 else _PAST_CALENDAR
    rule = _Admission(
        state.stream_clock,
        stamp_us,
        clock.lateness_us,
        clock.future_us,
        missing_time,
        state.fold_version >= 2,
        state.alone_until_us,
        state.fold_version >= 4,
        state.uncoded_until_us,
    )
    statuses = np.empty(batch.count, np.uint8)
    done = 0
    while True:
        done, state.dedupe.count, state.now_us = _admit(
            state.layout.rules,
            state.dedupe.arrays,
            state.dedupe.count,
            state.now_us,
            rule,
            batch.ids.offsets,
            batch.ids.letters,
            batch.sources.offsets,
            batch.sources.letters,
            batch.households.offsets,
            batch.households.letters,
            batch.members.offsets,
            batch.types,
            batch.times_us,
            batch.values,
            batch.is_bad,
            done,
            statuses,
            codes,
        )
        if done == statuses.shape[0]:
            return statuses
        state.dedupe.make_room(state.now_us - clock.lateness_us)
