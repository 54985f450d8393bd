"""The rows of a component, from one state into another: columns, windows, and rows of tables under their new numbers.

Both states are under one plan. What is a partition's own stays: counters, budgets and capacities that were used there,
units that it granted, the window of known ids.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from household.columns.keys import NO_PARENT
from household.columns.windows import give_back
from household.events import keys_of
from household.graph.views import copied_rows, window_cells
from household.plan import Scope
from household.relocation.positions import carried
from household.state import NO_MEMBER, PartitionState
from household.tables.contract import ColumnKind, Owner
from household.tables.decisions import DECISIONS
from household.tables.graph_events import GRAPH_EVENTS
from household.tables.requests import REQUESTS
from household.tables.slots import SEQUENCE
from household.tables.table import Table

_NO_SLOTS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Numbers:
    """What rows of one state are called in another."""

    households: dict[int, int]
    members: dict[int, int]


def copy_rows(source: PartitionState, target: PartitionState, households: NDArray[np.int64]) -> list[int]:
    """Put rows of households, with their members and all that tables have of them, into another state.

    Returns their rows there.

    Graph events are told to the target before (`tell_events`). What the target has under these keys is overwritten.

    Args:
        source: left as it is.
        target: changed in place; no freeze of it misses what was there.
        households: rows of the source, in their order.
    """
    assert source.plan.version == target.plan.version
    numbers = _made_rows(source, target, households)
    for scope, rows in ((Scope.HOUSEHOLD, numbers.households), (Scope.MEMBER, numbers.members)):
        _copy_cells(source, target, scope, rows)
    for table in source.tables:
        into = target.tables.of(table.declaration)
        for slot in _slots_along(source, table, households).tolist():
            owner = table.owner(slot)
            owner = numbers.households[owner] if table.declaration.owner is Owner.HOUSEHOLD else owner
            row = _renumbered(table, table.row(slot), numbers)
            if table.declaration in (DECISIONS, REQUESTS):
                row = replace(row, offset=carried(row.offset, source.partition, target.partition))
            into.put(row, owner=owner)
    target.inventory.look_anew()
    if target.graph:
        target.graph.rows_came(numbers.households.values())
    return list(numbers.households.values())


def tell_events(source: PartitionState, target: PartitionState, keys: Iterable[bytes]) -> None:
    """Tell a state graph events of another, whose rows are about to be copied: they are cut by spans already."""
    events = source.tables.of(GRAPH_EVENTS)
    for key in keys:
        if not target.graph.known(key):
            target.graph.add(events[key])


def drop_rows(state: PartitionState, households: NDArray[np.int64]) -> None:
    """Put rows of households and their members back to where they began, with nothing in any table.

    The keys keep their rows: what is unknown and what is blank read alike.
    """
    members = _members_of(state, households)
    _let_be_seen(state, households, members)
    # What goes along with actions is found by them.
    slots = [(table, _slots_along(state, table, households)) for table in state.tables]
    for table, found in slots:
        table.forget(found)
    for scope, rows in ((Scope.HOUSEHOLD, households), (Scope.MEMBER, members)):
        bases, initial, windows = _laid_out(state, scope)
        for window in windows.tolist():  # which are given back as long as their cells hold them
            give_back(state.cells.slab, state.cells.flat[bases[rows] + window])
        state.cells.flat[bases[rows][:, None] + np.arange(initial.shape[0])] = initial
    state.inventory.look_anew()


def _made_rows(source: PartitionState, target: PartitionState, households: NDArray[np.int64]) -> _Numbers:
    """Give the target's numbers to rows, and lay those down that are new there."""
    keys = keys_of([source.households.key(row) for row in households.tolist()])
    count = households.shape[0]
    wanted, nobody = np.ones(count, np.uint8), np.full(count, NO_PARENT, np.int32)
    rows = target.households.intern(keys.offsets, keys.letters, nobody, wanted)
    place_of = dict(zip(households.tolist(), rows.tolist(), strict=True))
    members = _members_of(source, households)
    names = keys_of([source.members.key(row) for row in members.tolist()])
    parents = np.array([place_of[int(source.members.arrays.parents[row])] for row in members.tolist()], np.int32)
    member_rows = target.members.intern(names.offsets, names.letters, parents, np.ones(members.shape[0], np.uint8))
    target.ensure_rows()
    _let_be_seen(target, rows.astype(np.int64), member_rows.astype(np.int64))
    return _Numbers(households=place_of, members=dict(zip(members.tolist(), member_rows.tolist(), strict=True)))


def _members_of(state: PartitionState, households: NDArray[np.int64]) -> NDArray[np.int64]:
    parents = state.members.arrays.parents[: state.members.count]
    return np.asarray(np.flatnonzero(np.isin(parents, households)), np.int64)


def _let_be_seen(state: PartitionState, households: NDArray[np.int64], members: NDArray[np.int64]) -> None:
    if state.freeze is not None:
        state.freeze.keep(households.astype(np.int32), members.astype(np.int32))


def _laid_out(state: PartitionState, scope: Scope) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return where rows of a scope begin, what they are at first, and which of their cells hold windows."""
    windows = window_cells(state.plan, state.layout.window_cells, scope)
    if scope is Scope.MEMBER:
        return state.cells.member_bases, state.layout.member_initial, windows
    return state.cells.household_bases, state.layout.household_initial, windows


def _copy_cells(source: PartitionState, target: PartitionState, scope: Scope, rows: dict[int, int]) -> None:
    theirs, ours = np.array([*rows], np.int64), np.array([*rows.values()], np.int64)
    bases, initial, windows = _laid_out(source, scope)
    into, _, _ = _laid_out(target, scope)
    cells = np.empty((theirs.shape[0], initial.shape[0]))
    for window in windows.tolist():
        give_back(target.cells.slab, target.cells.flat[into[ours] + window])
        target.cells.flat[into[ours] + window] = 0.0
    slab = copied_rows(source.cells, bases[theirs], windows, cells, target.cells.slab)
    target.cells = target.cells._replace(slab=slab)
    target.cells.flat[into[ours][:, None] + np.arange(initial.shape[0])] = cells


def _slots_along(state: PartitionState, table: Table[Any], households: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the slots of a table whose rows go along with households, oldest row first."""
    declaration = table.declaration
    if not len(table):
        return _NO_SLOTS
    if declaration.owner is Owner.HOUSEHOLD:
        return _slots_of(table, households)
    if not declaration.along:
        return _NO_SLOTS
    slots = table.slots_in_order()
    lying = table.values(declaration.along, slots)
    kind = table.columns[table.place(declaration.along)].kind
    if kind is ColumnKind.HOUSEHOLD:
        wanted = households
    elif kind is ColumnKind.BYTES:
        wanted = np.array([*_codes(table, (state.households.key(row) for row in households.tolist()))], np.int64)
    else:
        actions = _slots_along(state, state.actions, households)
        wanted = state.actions.values("action_id", actions)  # texts lie alike in all tables
    return np.asarray(slots[np.isin(lying, wanted)])


def _slots_of(table: Table[Any], households: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the slots of all rows of households, oldest row first."""
    owners = households[households < table.heads.shape[0]]
    chains = [table.slots_of(owner) for owner in owners[table.heads[owners] != 0].tolist()]
    slots = np.concatenate(chains) if chains else _NO_SLOTS
    return np.asarray(slots[np.argsort(table.rows[slots, SEQUENCE])], np.int64)


def _codes(table: Table[Any], texts: Iterator[bytes]) -> Iterator[int]:
    for text in texts:
        if text and (code := table.texts.find(text)) >= 0:
            yield code


def _renumbered(table: Table[Any], row: Any, numbers: _Numbers) -> Any:
    """Return a row as the other state has it."""
    values = {column.name: getattr(row, column.name) for column in table.columns}
    for column in table.columns:
        value = values[column.name]
        match column.kind:
            case ColumnKind.HOUSEHOLD:
                values[column.name] = numbers.households[value]
            case ColumnKind.MEMBER:
                values[column.name] = _member(value, numbers)
            case ColumnKind.MEMBERS:
                values[column.name] = tuple(_member(one, numbers) for one in value)
            case _:
                pass
    return table.declaration.row(**values)


def _member(row: int, numbers: _Numbers) -> int:
    return NO_MEMBER if row == NO_MEMBER else numbers.members[row]
