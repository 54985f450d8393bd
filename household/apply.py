"""apply: how records become state. The one place where a partition's state changes.

`apply_signals` folds a batch of events, one after another whatever the batch: admission (household/admission.py),
rows for new keys, features, then triggers as of that event. `apply_decision`, `apply_tick` and `apply_epoch` fold the
other records. Nothing here reads a clock, a disk or chance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from household import ledger
from household.admission import admit
from household.claiming import fold_note
from household.columns.features import Cells, update_features
from household.columns.keys import NO_PARENT
from household.columns.layout import ListenerReads, Rules
from household.columns.program import STACK_DEPTH
from household.columns.windows import CLASSES, grown_slab
from household.decision import Decision, Moment
from household.delivery import DeliveryNote
from household.events import LATEST_US, EventBatch, Status
from household.graph.events import GraphRow
from household.graph.folding import as_named, in_spans, remember_signals
from household.graph.telling import Telling
from household.inventory_notes import InventoryNote
from household.journeys import effects, hearing, joining
from household.kernel import kernel
from household.open_actions import moment_arose
from household.relocation.folding import fold_relocations
from household.relocation.notes import RelocationNote
from household.relocation.places import marked
from household.state import FOLD_VERSION, PartitionState
from household.triggers import LyingTogether, bring_together, look, tell_others

_APPLIED = int(Status.APPLIED)
_STATUS_NAMES = tuple(status.name for status in Status)
_NO_CODES = np.empty(0, np.uint64)
_ANY_MAY_HAVE_SOME = np.empty(0, np.int32)
_NOBODY = np.empty(0, np.int32)
_ALONE = LyingTogether(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What folding a batch gave."""

    statuses: NDArray[np.uint8]
    """(n,) a Status per event."""
    moments: tuple[tuple[int, Moment], ...]
    """(household row, moment) in the order they arose; pending in the state from now on."""
    effects: tuple[bool, ...]
    """Per outcome row of the batch: whether it was applied and changed anything."""


@kernel
def _fold(
    rules: Rules,
    cells: Cells,
    statuses: NDArray[np.uint8],
    types: NDArray[np.int32],
    times_us: NDArray[np.int64],
    values: NDArray[np.float64],
    household_rows: NDArray[np.int32],
    member_rows: NDArray[np.int32],
    first: int,
    fired: NDArray[np.int64],
    inside: NDArray[np.int32],
    touched: NDArray[np.int32],
    run: int,
    together: LyingTogether,
    read: ListenerReads,
    stack: NDArray[np.float64],
) -> tuple[int, int]:
    """Fold events from `first`; stop where the slab or `fired` needs room, and before instances have to have moved.

    Returns (next event, moments so far).

    fired: as of `look`.
    inside: (households with rows,) not 0 for those that have instances; empty where any may have some.
    touched: (households,) in which run of events instances heard something; empty where households may lie together:
        then each such event is the last.
    together: the rows of households, and of persons, whose facts lie in several.
    read: what those read that listen.
    """
    moments = 0
    for i in range(first, types.shape[0]):
        if statuses[i] != _APPLIED:
            continue
        kind = types[i]
        listening = rules.trigger_start[kind + 1] - rules.trigger_start[kind]
        household, member, t = household_rows[i], member_rows[i], float(times_us[i])
        home, person, entries = np.int64(0), np.int64(0), rules.entries_per_event[kind]
        if listening > 0 and together.homes.shape[0] > 0 and together.homes[household] > 0:
            home = together.homes[household]
            person = together.persons[member] if member >= 0 else person
            entries += read.entries[kind] * (together.rows[home] + (together.rows[person] if person > 0 else 0))
        if cells.slab.free[CLASSES] + entries >= cells.slab.bucket.shape[0]:
            return i, moments
        if moments + listening > fired.shape[0]:
            return i, moments
        if touched.shape[0] > 0 and touched[household] == run:
            # What instances made of the one before has to be known, and what that knows is as of then.
            return i, moments
        update_features(rules, cells, kind, household, member, values, i, t, stack)
        is_within = inside.shape[0] == 0 or (household < inside.shape[0] and inside[household] != 0)
        seen_household, seen_member = np.int64(household), np.int64(member)
        if home > 0:
            bring_together(rules, read, cells, kind, household, member, home, person, together)
            seen_household = together.household
            seen_member = together.member if person > 0 else seen_member
        moments, is_heard = look(
            rules,
            cells,
            kind,
            household,
            member,
            seen_household,
            seen_member,
            values,
            i,
            t,
            is_within,
            fired,
            moments,
            stack,
        )
        if home > 0:
            tell_others(rules, read, cells, kind, household, member, home, person, together)
        if is_heard:
            if touched.shape[0] == 0:
                return i + 1, moments
            touched[household] = run
    return types.shape[0], moments


def apply_signals(state: PartitionState, batch: EventBatch, *, stamp_us: int) -> Applied:
    """Fold a batch of events into the state, as if one by one.

    Args:
        state: changed in place.
        batch: events in log order.
        stamp_us: the owner's clock when it wrote the record.
    """
    if state.fold_version >= 3 and (batch.graph or batch.identifiers.offsets.shape[0]):
        return _apply_with_graph(state, batch, stamp_us)
    return _apply_reports(state, batch, stamp_us)


def _apply_reports(state: PartitionState, batch: EventBatch, stamp_us: int) -> Applied:
    """Fold a batch; where journeys hear of what was said, each report by itself: what it changes is theirs to know."""
    if state.courses is None or not batch.outcomes:
        return _apply_plain(state, batch, stamp_us)
    ends = [report.row + 1 for report in batch.outcomes]
    starts = [0, *ends]
    parts = [
        _apply_plain(state, batch.part(start, stop), stamp_us)
        for start, stop in zip(starts, [*ends, batch.count], strict=True)
        if start < stop
    ]
    return _joined(parts)


def _apply_with_graph(state: PartitionState, batch: EventBatch, stamp_us: int) -> Applied:
    """Fold the graph events of a batch in their places between its signals."""
    advance_now(state, stamp_us)
    parts: list[Applied] = []
    start = 0
    for run in _runs(state, batch.graph):
        if run[0].row > start:
            parts.append(_apply_reports(state, as_named(batch.part(start, run[0].row)), stamp_us))
        apart = joining.before(state, run[0].said(state.fold_version))
        telling = Telling(state)
        statuses = np.array(telling.tell(batch, run, stamp_us=stamp_us, latest_us=LATEST_US), np.uint8)
        telling.finish()
        _count(state, statuses)
        parts.append(Applied(statuses=statuses, moments=tuple(joining.after(state, apart)), effects=()))
        start = run[-1].row + 1
    if start < batch.count or not parts:
        parts.append(_apply_reports(state, as_named(batch.part(start, batch.count)), stamp_us))
    return _joined(parts)


def _runs(state: PartitionState, told: Sequence[GraphRow]) -> Iterator[Sequence[GraphRow]]:
    """Yield graph events that may be told together: neighbours, and each alone where instances may hear of it."""
    start = 0
    for place in range(1, len(told) + 1):
        is_end = place == len(told) or told[place].row != told[place - 1].row + 1
        if is_end or (state.courses is not None and len(state.instances)):
            yield told[start:place]
            start = place


def _joined(parts: Sequence[Applied]) -> Applied:
    return Applied(
        statuses=np.concatenate([part.statuses for part in parts]),
        moments=tuple(moment for part in parts for moment in part.moments),
        effects=tuple(effect for part in parts for effect in part.effects),
    )


def _apply_plain(state: PartitionState, batch: EventBatch, stamp_us: int) -> Applied:
    advance_now(state, stamp_us)
    before_us = state.now_us
    if state.partition_count > 1:
        batch = replace(batch, is_bad=marked(state, batch))
    codes = np.empty(batch.count if state.fold_version >= 2 else 0, np.uint64)
    statuses = admit(state, batch, stamp_us, codes)
    known_members = state.members.count
    if batch.identifiers.offsets.shape[0] and state.fold_version >= 3:
        anchors = remember_signals(state, batch, statuses == _APPLIED)
        batch, codes = in_spans(state, batch, anchors), _NO_CODES
    known_rows = state.households.count
    household_rows, member_rows = _rows(state, batch, statuses, codes)
    state.ensure_rows()
    if state.graph and state.households.count > known_rows:
        state.graph.rows_added(known_rows)
    if state.graph and state.members.count > known_members:
        state.graph.together.members_came(state, known_members)
    if state.freeze is not None:
        state.freeze.keep(household_rows, member_rows)
    moments = tuple(_fold_all(state, batch, statuses, household_rows, member_rows))
    _count(state, statuses)
    changed = tuple(_outcomes(state, batch, statuses, household_rows, before_us))
    return Applied(statuses=statuses, moments=moments, effects=changed)


def _outcomes(
    state: PartitionState,
    batch: EventBatch,
    statuses: NDArray[np.uint8],
    household_rows: NDArray[np.int32],
    before_us: int,
) -> Iterator[bool]:
    """Fold the reports of a batch, each with `now` as it was at its event, so that batches do not show."""
    if not batch.outcomes:
        return
    now_us = np.full(batch.count, before_us, np.int64)
    if state.stream_clock:
        now_us = np.maximum.accumulate(np.where(statuses == _APPLIED, np.maximum(batch.times_us, now_us), now_us))
    for report in batch.outcomes:
        row = report.row
        if statuses[row] == _APPLIED:
            household, seen_us = int(household_rows[row]), int(now_us[row])
            ledger.report_remembered(state, household, batch.ids[row], report.request_hash, now_us=seen_us)
        is_applied = bool(statuses[row] == _APPLIED)
        yield is_applied and ledger.outcome_reported(
            state,
            int(household_rows[row]),
            report.action_id,
            report.outcome,
            time_us=int(batch.times_us[row]),
            now_us=int(now_us[row]),
            channel=report.channel,
            group=report.group,
        )
        if is_applied and state.courses is not None:
            time_us = min(int(batch.times_us[row]), int(now_us[row]))
            effects.reported(state, int(household_rows[row]), report.action_id, report.outcome, time_us)


def _rows(
    state: PartitionState, batch: EventBatch, statuses: NDArray[np.uint8], codes: NDArray[np.uint64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    applied = (statuses == _APPLIED).astype(np.uint8)
    nobody = np.full(statuses.shape[0], NO_PARENT, np.int32)
    households = state.households.intern(batch.households.offsets, batch.households.letters, nobody, applied, codes)
    named = applied & (batch.members.offsets[1:] > batch.members.offsets[:-1])
    members = state.members.intern(
        batch.members.offsets, batch.members.letters, households, named.astype(np.uint8, copy=False)
    )
    return households, members


def _fold_all(
    state: PartitionState,
    batch: EventBatch,
    statuses: NDArray[np.uint8],
    household_rows: NDArray[np.int32],
    member_rows: NDArray[np.int32],
) -> list[tuple[int, Moment]]:
    stack = np.empty(STACK_DEPTH)
    fired = np.empty((1_024 + state.layout.rules.triggers.shape[0], 3), np.int64)
    moments: list[tuple[int, Moment]] = []
    done = 0
    first_count = state.counters.received + 1
    together = _lying_together(state, household_rows, member_rows)
    while True:
        before = done
        courses = state.courses
        inside = state.instances.heads if courses is None or not state.graph else _ANY_MAY_HAVE_SOME
        touched, run = (_NOBODY, 0) if courses is None or state.graph else courses.next_run(state.household_rows)
        done, count = _fold(
            state.layout.rules,
            state.cells,
            statuses,
            batch.types,
            batch.times_us,
            batch.values,
            household_rows,
            member_rows,
            done,
            fired,
            inside,
            touched,
            run,
            together,
            state.layout.listener_reads,
            stack,
        )
        is_heard = fired[:count, 1] >= len(state.plan.journeys)
        for event, trigger, instance in fired[:count][~is_heard].tolist():
            row = int(household_rows[event])
            moments.append((row, _moment(state, batch, event, trigger, instance, int(member_rows[event]))))
            moment_arose(state, *moments[-1])
        if is_heard.any():
            rows = hearing.FoldedRows(
                batch=batch, household_rows=household_rows, member_rows=member_rows, first_count=first_count
            )
            moments += hearing.heard(state, fired[:count][is_heard], rows)
        if done == statuses.shape[0]:
            return moments
        if done == before or count == 0:
            state.cells = state.cells._replace(slab=grown_slab(state.cells.slab))


def _lying_together(
    state: PartitionState, household_rows: NDArray[np.int32], member_rows: NDArray[np.int32]
) -> LyingTogether:
    """Return which rows of a batch lie together with others; in older terms a condition read the event's own alone."""
    if not state.graph or state.fold_version < 5:
        return _ALONE
    laid = state.graph.together
    if not laid.lay_out(state, household_rows, member_rows):
        return _ALONE
    if state.freeze is not None:
        others = laid.rows_with(household_rows, member_rows)
        state.freeze.keep(np.ascontiguousarray(others[:, 0]), np.ascontiguousarray(others[:, 1]))
    return LyingTogether(laid.homes, laid.persons, laid.rows, *state.spare_rows())


def _moment(state: PartitionState, batch: EventBatch, event: int, journey: int, instance: int, member: int) -> Moment:
    name = state.plan.journeys[journey].name
    event_id = batch.ids[event]
    household = batch.households[event].decode(errors="backslashreplace")
    return Moment(
        moment_id=f"{household}/{name}/{instance}/{event_id.hex()}",
        journey=name,
        member=member,
        event_id=event_id,
        event_type=state.plan.event_types[int(batch.types[event])].name,
        time_us=int(batch.times_us[event]),
    )


def _count(state: PartitionState, statuses: NDArray[np.uint8]) -> None:
    counters = state.counters
    counters.received += statuses.shape[0]
    for status, count in enumerate(np.bincount(statuses).tolist()):
        if count:
            counters.by_status[_STATUS_NAMES[status]] += count


def advance_now(state: PartitionState, stamp_us: int) -> None:
    """Move `now` up to the owner's stamp, where the owner's stamp is the clock."""
    if not state.stream_clock:
        state.now_us = max(state.now_us, stamp_us)


def apply_decision(
    state: PartitionState, decision: Decision, payload: bytes, *, epoch: int, offset: int, stamp_us: int
) -> bool:
    """Fold a decision; return False if it is void: written by an older epoch, or all its moments are settled.

    Args:
        payload: the decision as its record holds it.
    """
    if epoch < state.epoch:
        state.counters.voided += 1
        return False
    advance_now(state, stamp_us)
    return ledger.decision_made(state, decision, payload, offset)


def apply_tick(state: PartitionState, *, epoch: int, stamp_us: int) -> bool:
    """Fold the passing of time: what is due expires. Return False if it is void."""
    if epoch < state.epoch:
        state.counters.voided += 1
        return False
    advance_now(state, stamp_us)
    ledger.time_passed(state)
    return True


def apply_delivery(state: PartitionState, notes: Sequence[DeliveryNote], *, epoch: int, stamp_us: int) -> bool:
    """Fold what became of outbound actions on their way to gateways. Return False if it is void."""
    if epoch < state.epoch:
        state.counters.voided += 1
        return False
    advance_now(state, stamp_us)
    for note in notes:
        ledger.delivery_noted(state, note)
    return True


def apply_inventory(state: PartitionState, note: InventoryNote, *, epoch: int, stamp_us: int) -> bool:
    """Fold what was asked of the home of scarce items, or answered by one. Return False if it is void."""
    if epoch < state.epoch:
        state.counters.voided += 1
        return False
    advance_now(state, stamp_us)
    fold_note(state, note)
    return True


def apply_relocations(state: PartitionState, note: RelocationNote, *, epoch: int, stamp_us: int) -> bool:
    """Fold what became of components that change their partition. Return False if it is void."""
    if epoch < state.epoch:
        state.counters.voided += 1
        return False
    advance_now(state, stamp_us)
    fold_relocations(state, note, stamp_us=stamp_us)
    return True


def apply_epoch(
    state: PartitionState,
    *,
    epoch: int,
    fold_version: int = FOLD_VERSION,
    partition: int = 0,
    partition_count: int = 1,
) -> None:
    """Open an owner's term, folded by a version of its own: from here on, what older epochs write is void."""
    assert epoch > state.epoch, f"offered epoch {epoch}, already at {state.epoch}"
    if state.fold_version < 2 <= fold_version and state.dedupe.count:
        state.alone_until_us = state.dedupe.newest_us()
    if state.fold_version < 4 <= fold_version and state.dedupe.count:
        state.uncoded_until_us = state.dedupe.newest_us()
    # Never back: what is known by the newer rules is not to be found by the older ones.
    state.epoch, state.fold_version = epoch, max(fold_version, state.fold_version)
    if fold_version >= 4:
        state.partition, state.partition_count = partition, partition_count
