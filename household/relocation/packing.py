"""Components' rows as bytes, and back: what travels between partitions, and stands in their logs.

Cells lie as the plan in force lays them out, so bytes are read under the plan that they name and no other.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from household.columns.keys import NO_PARENT
from household.columns.windows import CLASSES, Slab, new_slab
from household.events import keys_of
from household.plan import EventTimeUs, Plan
from household.relocation.ids import KnownIds
from household.state import PartitionState
from household.tables.contract import ColumnKind
from household.tables.table import Table

LAYOUT = 1


class ComponentUnreadable(Exception):
    """Not a component's bytes, or of another plan."""


class Unpacked(NamedTuple):
    """What bytes hold."""

    state: PartitionState
    """That knows the components and nothing else, but no ids."""
    names: dict[str, str]
    ids: KnownIds


def packed(state: PartitionState, *, names: Mapping[str, str], ids: KnownIds) -> bytes:
    """Return the rows of a state that holds components and nothing else, with their names and ids."""
    households, members, slab = state.households, state.members, state.cells.slab
    used = int(slab.free[CLASSES])
    tables = {table.declaration.name: _packed_table(table) for table in state.tables if len(table)}
    return bytes(
        msgpack.packb(
            {
                "layout": LAYOUT,
                "plan": state.plan.version,
                "partition": state.partition,
                "now_us": int(state.now_us),
                "names": [[_key(name), _key(root)] for name, root in sorted(names.items())],
                "ids": [one.astype(f"<{one.dtype.kind}8").tobytes() for one in ids],
                "households": [households.key(row) for row in range(households.count)],
                "members": [[int(members.arrays.parents[row]), members.key(row)] for row in range(members.count)],
                "household_cells": _cells(
                    state.cells.flat, state.cells.household_bases[: households.count], state.layout.household_initial
                ),
                "member_cells": _cells(
                    state.cells.flat, state.cells.member_bases[: members.count], state.layout.member_initial
                ),
                "slab": [slab.bucket[:used].tobytes(), slab.number[:used].tobytes(), slab.total[:used].tobytes()],
                "tables": tables,
            }
        )
    )


def plan_of(data: bytes) -> str:
    """Return the version of the plan under which a component's bytes are to be read; raises ComponentUnreadable."""
    return str(_opened(data)["plan"])


def unpacked(data: bytes, plan: Plan, *, stream_clock: bool) -> Unpacked:
    """Return what bytes hold.

    Raises:
        ComponentUnreadable
    """
    told = _opened(data)
    if told["plan"] != plan.version:
        raise ComponentUnreadable(f"component under plan {told['plan']}, {plan.version} is in force")
    state = PartitionState(
        plan=plan, stream_clock=stream_clock, partition=told["partition"], now_us=EventTimeUs(told["now_us"])
    )
    _intern(state.households, told["households"], [NO_PARENT] * len(told["households"]))
    _intern(state.members, [key for _, key in told["members"]], [parent for parent, _ in told["members"]])
    state.ensure_rows()
    layout, cells = state.layout, state.cells
    _lay(cells.flat, cells.household_bases, state.households.count, layout.household_initial, told["household_cells"])
    _lay(cells.flat, cells.member_bases, state.members.count, layout.member_initial, told["member_cells"])
    state.cells = cells._replace(slab=_slab(*told["slab"]))
    for table in state.tables:
        _fill(table, told["tables"].get(table.declaration.name))
    low, high, times = told["ids"]
    ids = KnownIds(np.frombuffer(low, "<u8"), np.frombuffer(high, "<u8"), np.frombuffer(times, "<i8"))
    return Unpacked(state, {_text(name): _text(root) for name, root in told["names"]}, ids)


def under_plan(data: bytes, old: Plan, new: Plan, *, now_us: EventTimeUs) -> bytes:
    """Return a component's bytes as they are under another plan, which comes into force at a time."""
    from household.migration import migrated  # which puts what is on its way under the plan, too

    told = unpacked(data, old, stream_clock=False)
    told.state.now_us = now_us
    return packed(migrated(told.state, new), names=told.names, ids=told.ids)


def _key(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _text(key: bytes) -> str:
    return key.decode(errors="surrogateescape")


def _opened(data: bytes) -> dict[str, Any]:
    try:
        told = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException) as wrong:
        raise ComponentUnreadable(f"component: {wrong}") from wrong
    if not isinstance(told, dict) or told.get("layout") != LAYOUT:
        raise ComponentUnreadable("component: of no layout that is known")
    return told


def _cells(flat: NDArray[np.float64], bases: NDArray[np.int64], initial: NDArray[np.float64]) -> bytes:
    return bytes(flat[bases[:, None] + np.arange(initial.shape[0])].astype("<f8").tobytes())


def _lay(
    flat: NDArray[np.float64], bases: NDArray[np.int64], count: int, initial: NDArray[np.float64], cells: bytes
) -> None:
    width = initial.shape[0]
    flat[bases[:count, None] + np.arange(width)] = np.frombuffer(cells, "<f8").reshape(count, width)


def _intern(table: Any, keys: list[bytes], parents: list[int]) -> None:
    found = keys_of(keys)
    rows = table.intern(found.offsets, found.letters, np.array(parents, np.int32), np.ones(len(keys), np.uint8))
    assert rows.tolist() == list(range(len(keys))), "a key occurs twice"


def _slab(bucket: bytes, number: bytes, total: bytes) -> Slab:
    used = len(bucket) // 4
    slab = new_slab(max(used, 1))
    slab.bucket[:used] = np.frombuffer(bucket, "<i4")
    slab.number[:used] = np.frombuffer(number, "<i4")
    slab.total[:used] = np.frombuffer(total, "<f8")
    slab.free[CLASSES] = used
    return slab


def _packed_table(table: Table[Any]) -> list[Any]:
    """Return columns by name, and of each row, oldest first, its owner and values."""
    names = [column.name for column in table.columns]
    rows = []
    for slot in table.slots_in_order().tolist():
        row = table.row(slot)
        rows.append([table.owner(slot), *(getattr(row, name) for name in names)])
    return [names, rows]


def _fill(table: Table[Any], told: list[Any] | None) -> None:
    if told is None:
        return
    columns = {column.name: column for column in table.columns}
    names, rows = told
    for owner, *values in rows:
        given = {}
        for name, value in zip(names, values, strict=True):
            if (column := columns.get(name)) is None:
                continue
            if column.kind is ColumnKind.ENUM:
                value = type(column.values[0])(value)
            given[name] = tuple(value) if isinstance(value, list) else value
        table.put(table.declaration.row(**given), owner=owner)
