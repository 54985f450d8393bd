"""Taking a table under another plan."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from household.plan import NONE, EventTimeUs, Plan
from household.tables.contract import ColumnKind
from household.tables.slots import FIELDS
from household.tables.table import Table
from household.tables.texts import NOTHING


class SlotsOf:
    """The rows in some slots of a table, as a declaration's `carried` changes them."""

    def __init__(self, table: Table[Any], slots: NDArray[np.int64], now_us: int) -> None:
        """Take all rows that are to be carried."""
        self._table, self._slots = table, slots
        self.now_us = now_us

    def column(self, name: str) -> NDArray[np.int64]:
        """Return a copy of a column (rows,)."""
        return self._table.values(name, self._slots)

    def put(self, name: str, values: NDArray[np.int64]) -> None:
        """Replace a column that holds no texts."""
        self._table.rows[self._slots, FIELDS + self._table.place(name)] = values


def carry(table: Table[Any], plan: Plan, channel_codes: dict[int, int], now_us: EventTimeUs) -> None:
    """Put all rows of a table under another plan's channels and times. What is being frozen of it is given up before.

    Args:
        table: changed in place.
        plan: the one that comes into force.
        channel_codes: what each channel's index, and NONE, is called there.
        now_us: the partition's.
    """
    assert table.keeper is None, "a freeze goes on"
    slots = table.slots_in_order()
    if slots.shape[0]:
        table.forget_remembered()
        # The last one is for NONE, which is -1.
        codes = np.array([channel_codes[code] for code in range(len(channel_codes) - 1)] + [NONE], np.int64)
        changed = SlotsOf(table, slots, now_us)
        for column in table.columns:
            if column.kind is ColumnKind.CHANNEL:
                changed.put(column.name, codes[changed.column(column.name)])
            elif column.kind is ColumnKind.CHANNELS:
                _carry_lists(table, slots, column.name, channel_codes)
        if table.declaration.carried is not None:
            table.declaration.carried(changed)
    table.under(plan)


def _carry_lists(table: Table[Any], slots: NDArray[np.int64], name: str, channel_codes: dict[int, int]) -> None:
    for slot in slots[table.values(name, slots) != NOTHING].tolist():
        row = table.row(slot)
        before = getattr(row, name)
        codes = tuple(channel_codes[one] for one in before if channel_codes[one] != NONE)
        if codes != before:
            values = {column.name: getattr(row, column.name) for column in table.columns}
            table.replace(slot, table.declaration.row(**values | {name: codes}))
