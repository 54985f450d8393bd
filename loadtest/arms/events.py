"""Signals of the town as batches of events for a core in this process: no wire between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from household.events import EventBatch, Keys, OutcomeRow, keys_of
from household.plan import Plan
from loadtest.town.signals import ID_LENGTH, TownSignals, id_letters

HOUSEHOLD_DIGITS = 6


def household_key(household: int) -> bytes:
    """Return the key of a household, by index.

    >>> household_key(123)
    b'H000123'
    """
    return b"H%0*d" % (HOUSEHOLD_DIGITS, household)


def member_key(number: int) -> bytes:
    """Return the key of a member by number within its household, 0 for M1; empty for the household as a whole."""
    return b"M%d" % (number + 1) if number >= 0 else b""


def events_of(signals: TownSignals, plan: Plan) -> EventBatch:
    """Return the rows as events, in their order."""
    count = signals.count
    powers = 10 ** np.arange(HOUSEHOLD_DIGITS - 1, -1, -1, dtype=np.int64)
    households = np.full((count, HOUSEHOLD_DIGITS + 1), ord("H"), np.uint8)
    households[:, 1:] = signals.households[:, None] // powers % 10 + ord("0")
    named = signals.members >= 0
    members = np.full((int(named.sum()), 2), ord("M"), np.uint8)
    members[:, 1] = signals.members[named] + ord("1")
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum(2 * named, out=offsets[1:])
    values = np.full((len(plan.fields), count), np.nan)
    for field, column in signals.values.items():
        values[field] = column
    return EventBatch(
        ids=_fixed(id_letters(signals.ids), ID_LENGTH),
        households=_fixed(households, HOUSEHOLD_DIGITS + 1),
        members=Keys(offsets=offsets, letters=members.ravel() if len(members) else np.zeros(1, np.uint8)),
        types=signals.kinds.astype(np.int32),
        times_us=signals.times_us.astype(np.int64),
        values=values,
        is_bad=np.zeros(count, np.uint8),
        plan_version=plan.version,
    )


def _fixed(letters: NDArray[np.uint8], width: int) -> Keys:
    offsets = np.arange(0, (len(letters) + 1) * width, width, dtype=np.int64)
    return Keys(offsets=offsets, letters=letters.ravel() if len(letters) else np.zeros(1, np.uint8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Aftermath:
    """One event that follows from what was said to a member: a gateway's report, or what came of it."""

    household: int
    """Index."""
    member: int
    """Number within the household; -1 for the household as a whole."""
    event: str
    time_us: int
    action_id: str = ""
    """Of a report."""
    channel: str = ""
    values: tuple[tuple[str, float], ...] = ()


def events_said(said: Sequence[Aftermath], plan: Plan, first_number: int) -> EventBatch:
    """Return what followed as events; numbered from `first_number` on, which no other batch may use."""
    values = np.full((len(plan.fields), len(said)), np.nan)
    for row, one in enumerate(said):
        for name, value in one.values:
            values[plan.field_by_name[name], row] = value
    return EventBatch(
        ids=keys_of([b"said-%d" % (first_number + row) for row in range(len(said))]),
        households=keys_of([household_key(one.household) for one in said]),
        members=keys_of([member_key(one.member) for one in said]),
        types=np.array([plan.event_type_by_name[one.event] for one in said], np.int32),
        times_us=np.array([one.time_us for one in said], np.int64),
        values=values,
        is_bad=np.zeros(len(said), np.uint8),
        plan_version=plan.version,
        outcomes=tuple(
            OutcomeRow(row=row, outcome=one.event.removeprefix("hearth."), action_id=one.action_id, channel=one.channel)
            for row, one in enumerate(said)
            if one.action_id
        ),
    )
