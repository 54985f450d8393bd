"""Graph events, and signals that name an identifier, as they fold.

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
from household.events import LONGEST_KEY, LONGEST_SOURCE, NO_TIME_US, EventBatch, Keys, Status, keys_of
from household.graph.events import BETWEEN_SUBJECTS, GraphRow
from household.graph.graph import BASE, self_key, span_key
from household.graph.identifiers import is_subject
from household.graph.refolding import fold_features, reset_row
from household.graph.timeline import ALWAYS_US
from household.plan import Scope
from household.relocation.notes import event_bytes
from household.relocation.places import all_here
from household.state import NEVER_US, PartitionState
from household.tables.graph_events import GraphEvent
from household.tables.recent_signals import RecentSignal
from household.tables.relocations import WaitingEvent

_VALUE = struct.Struct("<qd")


# --- graph events -----------------------------------------------------------------------------------------------------


def graph_event_told(
    state: PartitionState, batch: EventBatch, told: GraphRow, *, stamp_us: int, latest_us: int
) -> Status:
    """Fold the graph event at a row of a batch; return what became of it. There is no time at which it would be late.

    Args:
        state: changed in place.
        batch: in which it came.
        told: what it says.
        stamp_us: the owner's clock when it wrote the record.
        latest_us: later times are no event times.
    """
    row = told.row
    event_id, household = batch.ids[row], batch.households[row]
    source = batch.sources[row] if batch.sources.offsets.shape[0] else b""
    time_us = int(batch.times_us[row])
    if not 0 < len(event_id) <= LONGEST_KEY or len(source) > LONGEST_SOURCE:
        return Status.BAD_ID
    if len(household) > LONGEST_KEY:
        return Status.BAD_KEY
    if time_us == NO_TIME_US:
        return Status.MISSING_TIME
    if not 0 <= time_us < latest_us:
        return Status.PAST_CALENDAR
    if time_us > stamp_us + state.plan.clock.future_us:
        return Status.FUTURE
    if told.saying is None:
        return Status.ACROSS_PARTITIONS if told.is_apart else Status.BAD_VALUE
    key = b"".join(struct.pack("<H", len(part)) + part for part in (household, source, event_id))
    if state.graph.known(key) or key in state.waiting:
        return Status.DUPLICATE
    if state.stream_clock:
        state.now_us = max(state.now_us, time_us)
    else:
        time_us = min(time_us, state.now_us)
    saying = told.saying
    event = GraphEvent(
        key=key,
        kind=saying.kind,
        time_us=time_us,
        learned_us=state.now_us,
        identifier=saying.identifier,
        subjects=BETWEEN_SUBJECTS.join(saying.subjects),
        household=saying.household,
        other=saying.other,
        cause=saying.cause or event_id.decode(errors="backslashreplace"),
        evidence=saying.evidence,
        probability_ppm=saying.probability_ppm,
    )
    if state.partition_count > 1 and not all_here(state, event):
        state.waiting.put(WaitingEvent(key, event_bytes(event)))
        return Status.WAITING
    take_in(state, event)
    return Status.APPLIED


def take_in(state: PartitionState, event: GraphEvent) -> None:
    """Let a graph event hold that is not known yet, about what lies here."""
    home = state.graph.membership.home
    subjects = event.subjects.split(BETWEEN_SUBJECTS) if event.subjects else []
    unheard_of = [one.encode() for one in subjects if one not in home]
    cut = state.graph.add(event)
    _make_rows(state, unheard_of)
    for identifier, before in sorted(cut.items()):
        _fold_anew(state, identifier, before)


def _make_rows(state: PartitionState, names: Sequence[bytes]) -> NDArray[np.int32]:
    """Return the rows of households with these keys, made where there are none, with the one member of each."""
    if not names:
        return np.empty(0, np.int32)
    first = state.households.count
    keys, wanted = keys_of(list(names)), np.ones(len(names), np.uint8)
    rows = state.households.intern(keys.offsets, keys.letters, np.full(len(names), NO_PARENT, np.int32), wanted)
    texts = [name.decode() for name in names]
    selves = keys_of([self_key(text if is_subject(text) else "") for text in texts])
    state.members.intern(selves.offsets, selves.letters, rows, wanted)
    state.ensure_rows()
    state.graph.rows_added(first)
    return rows


# --- signals that name an identifier ----------------------------------------------------------------------------------


def as_named(batch: EventBatch) -> EventBatch:
    """Return the batch with identifiers in the place of households: by them its events are known."""
    if not batch.identifiers.offsets.shape[0]:
        return batch
    offsets = batch.identifiers.offsets
    if batch.count == 0 or not (offsets[1:] > offsets[:-1]).any():
        return batch
    named = [batch.identifiers[row] or batch.households[row] for row in range(batch.count)]
    members = [
        self_key(batch.identifiers[row].decode()) if batch.identifiers[row] else batch.members[row]
        for row in range(batch.count)
    ]
    return _with_keys(batch, keys_of(named), keys_of(members))


def _with_keys(batch: EventBatch, households: Keys, members: Keys) -> EventBatch:
    return replace(batch, households=households, members=members)


def in_spans(state: PartitionState, batch: EventBatch, applied: NDArray[np.uint8]) -> EventBatch:
    """Return a batch `as_named`, each identifier as the span that the event's time falls in."""
    if not state.graph or not batch.identifiers.offsets.shape[0]:
        return batch
    named = [batch.households[row] for row in range(batch.count)]
    is_other = False
    for row in np.flatnonzero(applied).tolist():
        identifier = batch.identifiers[row].decode()
        if identifier and not is_subject(identifier):
            start_us = state.graph.start_of(identifier, int(batch.times_us[row]))
            if start_us != ALWAYS_US:
                named[row], is_other = span_key(identifier, start_us).encode(), True
    return _with_keys(batch, keys_of(named), batch.members) if is_other else batch


def remember_signals(state: PartitionState, batch: EventBatch, applied: NDArray[np.uint8]) -> None:
    """Keep the signals of a batch that name an identifier beside, for as long as its spans may change there."""
    if not batch.identifiers.offsets.shape[0]:
        return
    found = [(row, batch.identifiers[row]) for row in np.flatnonzero(applied).tolist()]
    named = [(row, one) for row, one in found if one and not is_subject(one.decode())]
    if not named:
        return
    recent = state.recent_signals
    if state.tidied_us == NEVER_US:
        state.tidied_us = state.now_us
    rows = dict(zip(unique := list(dict.fromkeys(one for _, one in named)), _make_rows(state, unique), strict=True))
    for row, identifier in named:
        values = batch.values[:, row]
        given = np.flatnonzero(~np.isnan(values)).tolist()
        packed = b"".join(_VALUE.pack(field, values[field]) for field in given)
        recent.put(RecentSignal(int(batch.times_us[row]), int(batch.types[row]), packed), owner=int(rows[identifier]))


def _fold_anew(state: PartitionState, identifier: str, before: Sequence[int]) -> None:
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
            _combine(state, int(_make_rows(state, [main])[0]), other)
    recent = state.recent_signals.of(anchor)
    if recent:
        _fold_signals(state, recent, [span_key(identifier, timeline.start_of(one.time_us)) for one in recent])


def _move_base(state: PartitionState, identifier: str, gone_us: int, into_us: int) -> None:
    """Put what can change hands no more of a span that is none any more into the one that has its time."""
    base = state.households.find((span_key(identifier, gone_us) + BASE).encode())
    if base >= 0:
        _combine(state, int(_make_rows(state, [(span_key(identifier, into_us) + BASE).encode()])[0]), base)
        _reset(state, base)


def _fold_signals(state: PartitionState, recent: Sequence[RecentSignal], keys: Sequence[str]) -> None:
    """Fold signals into the features of the rows with these keys."""
    unique = list(dict.fromkeys(keys))
    rows = dict(zip(unique, _make_rows(state, [one.encode() for one in unique]).tolist(), strict=True))
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
                base = int(_make_rows(state, [(span_key(identifier, start_us) + BASE).encode()])[0])
                _let_be_seen(state, [base])
                _reset(state, base)
                _combine(state, base, main)
    recent.forget(recent.slots_in_order())
