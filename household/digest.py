"""What a partition's fold knows, as hashes: equal exactly when two folds know the same, however either stores it.

Rows, slab runs, dict orders and batch boundaries do not show. What does:
docs/decisions/0004-replay-and-digest.md.
"""

import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from household.columns.dedupe import FREE
from household.events import Status, keys_of
from household.later import spoken
from household.plan import NONE, Plan, Scope, Window
from household.plan.definitions import window_definition
from household.state import NEVER_US, NO_MEMBER, PartitionState
from household.tables.contract import Owner, Plain, Shape

DIGEST_LAYOUT = 1
"""Grows when the same content gives another digest; says nothing about the fold."""

DIGEST_BYTES = 16


def household_digests(state: PartitionState) -> dict[bytes, str]:
    """Return, per household key, 32 hex digits of all that is known of the household and its members."""
    return {key: _hash([content]) for key, content in _contents(state).items()}


def state_digest(state: PartitionState) -> str:
    """Return 32 hex digits of the whole partition: its households, and what belongs to none of them."""
    households = household_digests(state)
    lines = [_packed(key, households[key].encode()) for key in sorted(households)]
    return _hash([*lines, _text(_partition_wide(state)), _known_ids(state)])


def _hash(parts: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(_packed(part))
    return digest.hexdigest()


def _packed(*parts: bytes) -> bytes:
    """Join parts so that no other parts join to the same bytes."""
    return b"".join(struct.pack("<q", len(part)) + part for part in parts)


def _text(plain: object) -> bytes:
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def _key_text(key: bytes) -> str:
    return key.decode("latin-1")  # one character per byte: different keys stay different


# --- households ------------------------------------------------------------------------------------------------------


def _contents(state: PartitionState) -> dict[bytes, bytes]:
    """Return each household's content as bytes."""
    household_cells = _cells(state, Scope.HOUSEHOLD)
    member_cells = _cells(state, Scope.MEMBER)
    members: dict[int, list[bytes]] = {}
    parents = state.members.arrays.parents
    for row in range(state.members.count):
        members.setdefault(int(parents[row]), []).append(_packed(state.members.key(row), member_cells[row]))
    side = _side_tables(state)
    silent = _silent_rows(state, household_cells, member_cells, side) if state.graph or len(state.places) else set()
    return {
        state.households.key(row): _packed(
            household_cells[row], *sorted(members.get(row, ())), b"ledger", _text(side.get(row, {}))
        )
        for row in range(state.households.count)
        if row not in silent
    }


def _silent_rows(
    state: PartitionState, household_cells: list[bytes], member_cells: list[bytes], side: dict[int, Plain]
) -> set[int]:
    """Return rows that were made for the graph and hold nothing: that there was a use for one shows nowhere."""
    members: dict[int, list[int]] = {}
    for row, parent in enumerate(state.members.arrays.parents[: state.members.count].tolist()):
        members.setdefault(parent, []).append(row)
    blank = PartitionState(plan=state.plan, stream_clock=False)
    name = keys_of([b"blank"])
    blank.households.intern(name.offsets, name.letters, np.full(1, NONE, np.int32), np.ones(1, np.uint8))
    blank.members.intern(name.offsets, name.letters, np.zeros(1, np.int32), np.ones(1, np.uint8))
    blank.ensure_rows()
    (nothing,), (of_nobody,) = _cells(blank, Scope.HOUSEHOLD), _cells(blank, Scope.MEMBER)
    return {
        row
        for row in range(state.households.count)
        if household_cells[row] == nothing
        and row not in side
        and all(member_cells[member] == of_nobody for member in members.get(row, ()))
        # One that is known no more lies elsewhere.
        and (len(state.places) > 0 or state.graph.is_of_graph(state.households.key(row)))
    }


def _cells(state: PartitionState, scope: Scope) -> list[bytes]:
    """Return the cells of each row of a scope by name; a window as its entries, oldest bucket first."""
    columns = [column for column in state.layout.columns if column.scope is scope]
    windows = {
        cell: _window_name(state.plan, window)
        for cell, window in zip(state.layout.window_cells, state.plan.windows, strict=True)
        if window.scope is scope
    }
    if scope is Scope.HOUSEHOLD:
        bases = state.cells.household_bases[: state.household_rows]
    else:
        bases = state.cells.member_bases[: state.member_rows]
    named = sorted((column.name, cell) for cell, column in enumerate(columns) if cell not in windows)
    values = state.cells.flat[bases[:, None] + np.array([cell for _, cell in named], np.int64)]
    values = np.where(np.isnan(values), np.nan, values).astype("<f8")  # one NaN is as good as another
    header = _text([name for name, _ in named])
    entries = _window_entries(state, bases, {name: cell for cell, name in windows.items()})
    return [_packed(header, values[row].tobytes(), entries[row]) for row in range(bases.shape[0])]


def _window_entries(state: PartitionState, bases: NDArray[np.int64], cell_by_name: dict[str, int]) -> list[bytes]:
    """Return per row its windows that are not empty: name, then bucket, count and sum of each entry."""
    parts: list[list[bytes]] = [[] for _ in range(bases.shape[0])]
    slab = state.cells.slab
    for name in sorted(cell_by_name):
        handles = state.cells.flat[bases + cell_by_name[name]].astype(np.int64)
        for row in np.flatnonzero(handles).tolist():
            start, length = int(handles[row]) >> 16, int(handles[row]) & 2047
            run = slice(start, start + length)
            parts[row] += [
                name.encode(),
                slab.bucket[run].astype("<i4").tobytes(),
                slab.number[run].astype("<i4").tobytes(),
                slab.total[run].astype("<f8").tobytes(),
            ]
    return [_packed(*part) for part in parts]


def _window_name(plan: Plan, window: Window) -> str:
    """Name a window by its definition: its number is its plan's own."""
    held = window_definition(plan, window)
    field = "" if held.field is None else held.field.name
    return json.dumps([held.scope, held.events, held.where or "", field, held.bucket_us, held.bucket_count])


# --- side tables -----------------------------------------------------------------------------------------------------


class _Naming:
    def __init__(self, state: PartitionState) -> None:
        self._state = state

    def member(self, row: int) -> str | None:
        return None if row == NO_MEMBER else _key_text(self._state.members.key(row))

    def channel(self, index: int) -> str | None:
        return None if index == NONE else self._state.plan.channels[index].name


def _side_tables(state: PartitionState) -> dict[int, Plain]:
    """Return what the tables hold of each household, by its row; nothing where none holds anything."""
    side: dict[int, Plain] = {}
    of_household = [table for table in state.tables if table.declaration.owner is Owner.HOUSEHOLD]
    always = {
        one.digest.section: _Section(one.digest.shape)
        for one in (table.declaration for table in of_household)
        if one.digest is not None and one.digest.is_always_there
    }
    naming = _Naming(state)
    sections: dict[int, dict[str, _Section]] = {}
    for table in state.tables:
        digest = table.declaration.digest
        if digest is None:
            continue
        for slot in table.slots_in_order().tolist():
            row = table.row(slot)
            if digest.household is None:
                household = table.owner(slot)
                begun = sections.setdefault(household, {})
                for name, section in always.items():
                    begun.setdefault(name, _Section(section.shape))
            else:
                household = digest.household(row)
                begun = sections.setdefault(household, {})
            begun.setdefault(digest.section, _Section(digest.shape)).told.append(digest.told(row, naming))
    for household, begun in sections.items():
        side[household] = {name: section.plain() for name, section in begun.items()}
    return side


@dataclass(slots=True)
class _Section:
    shape: Shape
    told: list[Any] = field(default_factory=list)

    def plain(self) -> object:
        match self.shape:
            case Shape.LIST:
                return self.told
            case Shape.SET:
                return sorted(self.told, key=_text)
            case Shape.MAP:
                return dict(self.told)
            case _:
                assert_never(self.shape)


# --- what belongs to no household ------------------------------------------------------------------------------------


def _partition_wide(state: PartitionState) -> Plain:
    tables: Plain = {}
    for table in state.tables:
        if table.declaration.partition_digest is not None:
            tables |= table.declaration.partition_digest(list(table))
    return (
        tables
        | _since_version_2(state)
        | {
            "plan": state.plan.version,
            "stream_clock": state.stream_clock,
            "now_us": int(state.now_us),
            "epoch": int(state.epoch),
            "counters": spoken(state.counters) | {"by_status": _by_status(state)},
        }
    )


def _since_version_2(state: PartitionState) -> Plain:
    """Return what no term of fold version 1 has; nothing of what says nothing."""
    plain: Plain = {}
    if state.fold_version != 1:
        plain["fold_version"] = state.fold_version
    if state.uncoded_until_us != NEVER_US:
        plain["uncoded_until_us"] = int(state.uncoded_until_us)
    if state.alone_until_us != NEVER_US:
        plain["alone_until_us"] = int(state.alone_until_us)
    return plain


def _by_status(state: PartitionState) -> dict[str, int]:
    """A status that came later is left out while no event had it."""
    counts = state.counters.by_status
    return {name: count for name, count in counts.items() if count or Status[name] <= Status.PAST_CALENDAR}


def _known_ids(state: PartitionState) -> bytes:
    """Return the dedupe window as a set: (fingerprint, time) of each known id, in order."""
    arrays = state.dedupe.arrays
    used = arrays.times != FREE
    low, high, times = arrays.low[used], arrays.high[used], arrays.times[used]
    order = np.lexsort((times, high, low))
    return b"".join(
        [low[order].astype("<u8").tobytes(), high[order].astype("<u8").tobytes(), times[order].astype("<i8").tobytes()]
    )
