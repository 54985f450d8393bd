"""Signals that name an identifier, as they fold.

A signal's facts go to the row of the span of its identifier's time that it falls in. While a span may still turn out to
be two (someone else held the number from a time on, and that is learned late), its signals are kept beside; then what
was folded of them is folded anew. Signals that came so long ago that they would be late by now are in the span's base,
from which that begins.
"""

import struct
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from household.columns.combining import combine_rows
from household.columns.keys import NO_PARENT
from household.columns.program import STACK_DEPTH
from household.events import EventBatch, Keys, keys_of
from household.graph.graph import BASE, span_key
from household.graph.identifiers import is_subject
from household.graph.naming import ITSELF, given_values, name_spans, named_keys, self_key
from household.graph.refolding import fold_features, reset_row
from household.graph.timeline import ALWAYS_US
from household.plan import Scope
from household.state import NEVER_US, PartitionState
from household.tables.recent_signals import RecentSignal

_VALUE = struct.Struct("<qd")


def make_rows(state: PartitionState, names: Sequence[bytes]) -> NDArray[np.int32]:
    """Return the rows of households with these keys, made where there are none, with the one member of each."""
    if not names:
        return np.empty(0, np.int32)
    first = state.households.count
    keys, wanted = keys_of(list(names)), np.ones(len(names), np.uint8)
    rows = state.households.intern(keys.offsets, keys.letters, np.full(len(names), NO_PARENT, np.int32), wanted)
    texts = [name.decode() for name in names]
    selves = keys_of([self_key(text if is_subject(text) else "") for text in texts])
    state.members.intern(selves.offsets, selves.letters, rows, wanted)
    _rows_made(state, first)
    return rows


def _rows_made(state: PartitionState, first: int) -> None:
    """Lay down the rows of households from `first` on, and of their members."""
    state.ensure_rows()
    if state.graph and state.households.count > first:
        state.graph.rows_added(first)


# --- signals that name an identifier ----------------------------------------------------------------------------------


def as_named(batch: EventBatch) -> EventBatch:
    """Return the batch with identifiers in the place of households: by them its events are known."""
    identifiers = batch.identifiers
    if not identifiers.offsets.shape[0] or identifiers.offsets[0] == identifiers.offsets[-1]:
        return batch
    households, members = named_keys(batch)
    return replace(batch, households=households, members=members)


def in_spans(state: PartitionState, batch: EventBatch, anchors: NDArray[np.int32]) -> EventBatch:
    """Return a batch `as_named`, each identifier as the span that the event's time falls in.

    Args:
        state: of the partition.
        batch: its events.
        anchors: (n,) as `remember_signals` returns them.
    """
    cut = np.flatnonzero(state.graph.are_cut(anchors))
    if not cut.shape[0]:
        return batch
    named = batch.households.items(0, batch.count)
    is_other = False
    for row in cut.tolist():
        identifier = named[row].decode()
        start_us = state.graph.start_of(identifier, int(batch.times_us[row]))
        if start_us != ALWAYS_US:
            named[row], is_other = span_key(identifier, start_us).encode(), True
    return replace(batch, households=keys_of(named)) if is_other else batch


def remember_signals(state: PartitionState, batch: EventBatch, applied: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Keep the signals of a batch that name an identifier beside, for as long as its spans may change there.

    Args:
        state: changed in place.
        batch: events `as_named`.
        applied: (n,) which are folded.

    Returns:
        (n,) the row of the identifier that each of those names; -1 for all others.
    """
    wanted = name_spans(batch, applied)
    rows = np.flatnonzero(wanted)
    if not rows.shape[0]:
        return np.full(batch.count, -1, np.int32)
    if state.tidied_us == NEVER_US:
        state.tidied_us = state.now_us
    anchors = _rows_of(state, batch.identifiers, wanted)
    letters, ends = given_values(batch, rows)
    fields = np.column_stack([batch.times_us[rows], batch.types[rows], np.diff(ends, prepend=0)])
    state.recent_signals.put_columns(anchors[rows].astype(np.int64), fields, letters, ends)
    return anchors


def _rows_of(state: PartitionState, identifiers: Keys, wanted: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the rows (n,) of the identifiers that are wanted, made where there are none; -1 for the others."""
    first, nobody = state.households.count, np.full(wanted.shape[0], NO_PARENT, np.int32)
    rows = state.households.intern(identifiers.offsets, identifiers.letters, nobody, wanted)
    offsets = np.append(0, np.cumsum(wanted, dtype=np.int64))
    state.members.intern(offsets, np.full(wanted.shape[0], ITSELF[0], np.uint8), rows, wanted)
    _rows_made(state, first)
    return rows


def fold_anew(state: PartitionState, identifier: str, before: Sequence[int]) -> None:
    """Lay out an identifier's facts by its spans as they are now; `before`: where they started."""
    key = identifier.encode()
    anchor = state.households.find(key)
    timeline = state.graph.timeline(identifier)
    assert timeline is not None
    starts = sorted({*before, *timeline.starts_us})
    mains = [span_key(identifier, one).encode() for one in starts]
    bases = [main + BASE.encode() for main in mains]
    gone = [one for one in before if timeline.start_of(one) != one]
    known = [state.households.find(one) for one in (*mains, *bases)]
    _let_be_seen(state, known)
    for start_us in gone:
        _move_base(state, identifier, start_us, timeline.start_of(start_us))
    for main, base in zip(mains, bases, strict=True):
        row, other = state.households.find(main), state.households.find(base)
        if row >= 0:
            _reset(state, row)
        if other >= 0:
            _combine(state, int(make_rows(state, [main])[0]), other)
    recent = state.recent_signals.of(anchor)
    if recent:
        _fold_signals(state, recent, [span_key(identifier, timeline.start_of(one.time_us)) for one in recent])


def _move_base(state: PartitionState, identifier: str, gone_us: int, into_us: int) -> None:
    """Put what can change hands no more of a span that is none any more into the one that has its time."""
    base = state.households.find((span_key(identifier, gone_us) + BASE).encode())
    if base >= 0:
        _combine(state, int(make_rows(state, [(span_key(identifier, into_us) + BASE).encode()])[0]), base)
        _reset(state, base)


def _fold_signals(state: PartitionState, recent: Sequence[RecentSignal], keys: Sequence[str]) -> None:
    """Fold signals into the features of the rows with these keys."""
    unique = list(dict.fromkeys(keys))
    rows = dict(zip(unique, make_rows(state, [one.encode() for one in unique]).tolist(), strict=True))
    household_rows = np.array([rows[key] for key in keys], np.int32)
    _let_be_seen(state, list(rows.values()))
    values = np.full((max(len(state.plan.fields), 1), len(recent)), np.nan)
    for place, one in enumerate(recent):
        for field, value in _VALUE.iter_unpack(one.values):
            values[field, place] = value
    fold_features(
        state,
        np.array([one.type_index for one in recent], np.int32),
        np.array([one.time_us for one in recent], np.int64),
        values,
        household_rows,
        np.array([_self_of(state, int(row)) for row in household_rows], np.int32),
        np.empty(STACK_DEPTH),
    )


def _self_of(state: PartitionState, row: int) -> int:
    return state.members.find(self_key(""), row)


def _let_be_seen(state: PartitionState, rows: Sequence[int]) -> None:
    """Let a freeze copy rows of identifiers, and their members, before they change."""
    if state.freeze is not None:
        households = [row for row in rows if row >= 0]
        members = [_self_of(state, row) for row in households]
        state.freeze.keep(np.array(households, np.int32), np.array(members, np.int32))


def _reset(state: PartitionState, row: int) -> None:
    reset_row(state, Scope.HOUSEHOLD, row)
    member = _self_of(state, row)
    if member >= 0:
        reset_row(state, Scope.MEMBER, member)


def _combine(state: PartitionState, ours: int, theirs: int) -> None:
    """Put the features of one row of an identifier, and of its member, into another's."""
    bases = state.cells.household_bases
    state.cells = combine_rows(
        state.plan, state.layout, state.cells, Scope.HOUSEHOLD, int(bases[ours]), int(bases[theirs])
    )
    bases = state.cells.member_bases
    our_member, their_member = _self_of(state, ours), _self_of(state, theirs)
    state.cells = combine_rows(
        state.plan, state.layout, state.cells, Scope.MEMBER, int(bases[our_member]), int(bases[their_member])
    )


# --- what can change hands no more ------------------------------------------------------------------------------------


def settle_signals(state: PartitionState, slots: NDArray[np.int64]) -> None:
    """Put signals that would be late by now into the bases of their spans, and forget them."""
    recent = state.recent_signals
    rows = [recent.row(slot) for slot in slots.tolist()]
    keys = []
    for slot, one in zip(slots.tolist(), rows, strict=True):
        identifier = state.households.key(recent.owner(slot)).decode()
        keys.append(span_key(identifier, state.graph.start_of(identifier, one.time_us)) + BASE)
    _fold_signals(state, rows, keys)
    recent.forget(slots)


def settle_all(state: PartitionState) -> None:
    """Let every span's base be all of it: under another plan signals cannot be folded again."""
    recent = state.recent_signals
    for owner in recent.owners():
        identifier = state.households.key(owner).decode()
        timeline = state.graph.timeline(identifier)
        for start_us in timeline.starts_us if timeline is not None else (ALWAYS_US,):
            main = state.households.find(span_key(identifier, start_us).encode())
            if main >= 0:
                base = int(make_rows(state, [(span_key(identifier, start_us) + BASE).encode()])[0])
                _let_be_seen(state, [base])
                _reset(state, base)
                _combine(state, base, main)
    recent.forget(recent.slots_in_order())
