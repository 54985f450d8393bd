"""A table of a partition as whoever asks sees it: rows in columns that kernels read.

Rows are values, made when asked for; some are remembered as such, so that a household that is being talked to costs no
decoding. For the thread that owns the state, but for `len` and `holds`.
"""

from collections.abc import Callable, Container, Iterator
from operator import attrgetter
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from household.plan import Plan
from household.tables.contract import Declaration, Owner, Row, columns_of
from household.tables.due_rules import DueRules
from household.tables.rows import chain, chain_up_to, find_row, matching
from household.tables.slots import COUNT, DUE, FIELDS, FIRST, HEAPED, OWNER, SEQUENCE, USED
from household.tables.texts import TextPool
from household.tables.values import NamePool, RowValues, Wanted, kernel_shape

REMEMBERED = 2_048
"""Keys, and owners, of each table whose rows are remembered as values."""

LONG = 8
"""Rows of an owner beyond which a key is looked up rather than looked for, and putting one remembers none."""

READ_AT_ONCE = 64

NO_SLOTS = np.empty(0, np.int64)

PARTITION = 0
"""The owner of a partition's rows."""


class ReadTable(Generic[Row]):
    """The rows of one declaration, to be read."""

    def __init__(self, declaration: Declaration[Row], *, texts: TextPool, names: NamePool, plan: Plan) -> None:
        """Make an empty one, under a plan."""
        self.declaration = declaration
        self.columns = columns_of(declaration.row)
        self.texts = texts
        self.names = names
        self._by_name = {column.name: place for place, column in enumerate(self.columns)}
        self._is_partitions = declaration.owner is Owner.PARTITION
        self.shape = kernel_shape(declaration)
        self.width = FIELDS + len(self.columns)
        self.rows = np.zeros((16, self.width), np.int64)
        self.rows[0, USED] = FIRST
        self.index = np.zeros(32 if declaration.key else 0, np.int32)
        self.heap = np.zeros(16, np.int32)
        self.heads = np.zeros(1 if self._is_partitions else 16, np.int32)
        self._values = RowValues(declaration, texts, names)
        self._key = _getter(declaration.key)
        self._remembered: dict[Any, Any] = {}
        """Of a partition's: row by key. Of a household's: its rows by owner."""
        self._due_rules = DueRules(declaration, self.columns, plan)

    # --- reading ------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.rows.item(0, COUNT)

    def __iter__(self) -> Iterator[Row]:
        """Yield all rows, oldest first. For digests, tools and tests: it is a walk."""
        for slot in self.slots_in_order().tolist():
            yield self.row(slot)

    def row(self, slot: int) -> Row:
        """Return the row in a slot."""
        return self._values.row(self.rows[slot].tolist()[FIELDS:])

    def owner(self, slot: int) -> int:
        """Return whose row is in a slot: a household's row; of a partition's table 0."""
        return int(self.rows[slot, OWNER])

    def get(self, *key: Any) -> Row | None:
        """Return the row under a key (of a household's table: household, key …); None if there is none."""
        if self._is_partitions:
            found: Row | None = self._remembered.get(key[0] if len(key) == 1 else key)
            if found is None and (slot := self._slot(PARTITION, key)):
                found = self.row(slot)
                self._remember(key[0] if len(key) == 1 else key, found)
            return found
        owner, *rest = key
        if owner >= self.heads.shape[0] or not self.heads[owner]:
            return None
        rows = self._remembered.get(owner)
        if rows is not None and len(rows) <= LONG:
            wanted = rest[0] if len(rest) == 1 else tuple(rest)
            for one in rows:
                if self._key(one) == wanted:
                    found = one
                    return found
            return None
        slot = self._slot(owner, tuple(rest))
        return self.row(slot) if slot else None

    def __getitem__(self, key: Any) -> Row:
        """Return the row under a key of a partition's table; KeyError if there is none."""
        found = self.get(*key) if isinstance(key, tuple) else self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def holds(self, *key: Any) -> bool:
        """Return whether there is a row under a key of a partition's table. From any thread."""
        return bool(self._slot(PARTITION, key))

    def __contains__(self, key: Any) -> bool:
        key = key if isinstance(key, tuple) else (key,)
        return self.get(*key) is not None

    def of(self, owner: int) -> tuple[Row, ...]:
        """Return a household's rows, oldest first; none for one that is not known."""
        if not 0 <= owner < self.heads.shape[0] or not self.heads[owner]:
            return ()
        rows: tuple[Row, ...] | None = self._remembered.get(owner)
        if rows is None:
            rows = tuple(map(self.row, self._chain(owner).tolist()))
            self._remember(owner, rows)
        return rows

    def of_names(self, owner: int, column: str, wanted: Container[str]) -> tuple[Row, ...]:
        """Return a household's rows in whose column is a name that is wanted, oldest first. No others are made."""
        if not 0 <= owner < self.heads.shape[0] or not self.heads[owner]:
            return ()
        place, names, row = FIELDS + self._by_name[column], self.names.names, self._values.row
        lying = self.rows[self._chain(owner)].tolist()
        return tuple(row(one[FIELDS:]) for one in lying if names[one[place]] in wanted)

    def has_name(self, owner: int, column: str, wanted: Container[str]) -> bool:
        """Return whether any of a household's rows has a name that is wanted in a column; none is made."""
        if not 0 <= owner < self.heads.shape[0] or not self.heads[owner]:
            return False
        names, lying = self.names.names, self.rows[self._chain(owner), FIELDS + self._by_name[column]]
        return any(names[code] in wanted for code in lying.tolist())

    def owners(self) -> list[int]:
        """Return the households that have rows."""
        found: list[int] = np.flatnonzero(self.heads).tolist()
        return found

    def up_to(self, column: str, most: int, *wanted: str, where: Wanted | None = None) -> Iterator[list[Any]]:
        """Yield some columns of a partition's rows with no more than that in a column, oldest first.

        No row may change meanwhile. A row as a whole costs several times as much: who wants few gets those.
        """
        assert self._is_partitions
        found, slot = np.empty(READ_AT_ONCE, np.int64), int(self.heads[PARTITION])
        places = [FIELDS + self._by_name[name] for name in wanted]
        values = self._values.of_columns(wanted)
        while slot:
            count, slot = chain_up_to(self.rows, slot, FIELDS + self._by_name[column], most, found)
            slots = found[:count] if where is None else found[:count][where(found[:count])]
            for lying in self.rows[slots[:, None], places].tolist():
                yield [one if value is None else value(one) for value, one in zip(values, lying, strict=True)]

    def next_due_us(self) -> int | None:
        """Return when the first row is due; None for never. Looks at one number."""
        return int(self.rows[self.heap[0], DUE]) if self.rows[0, HEAPED] else None

    def slots_in_order(self) -> NDArray[np.int64]:
        """Return all slots in use, oldest row first."""
        used = self.rows[FIRST : int(self.rows[0, USED]), SEQUENCE]
        slots = np.flatnonzero(used)
        return np.asarray(FIRST + slots[np.argsort(used[slots])], np.int64)

    def values(self, column: str, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what stands in a column in these slots, as it lies (of texts their codes)."""
        return np.asarray(self.rows[slots, FIELDS + self._by_name[column]])

    def slots_with(self, owners: NDArray[np.int64], column: str, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the slots of those rows of owners (n,) in whose column each time lies what is wanted (n,).

        Texts lie alike in all tables of a partition: as their codes. No pair may be there twice.
        """
        found = np.empty(READ_AT_ONCE, np.int64)
        place = FIELDS + self._by_name[column]
        while (count := matching(self.rows, self.heads, owners, place, wanted, found)) < 0:
            found = np.empty(4 * found.shape[0], np.int64)
        return found[:count]

    def slots_of(self, owner: int) -> NDArray[np.int64]:
        """Return the slots of a household's rows, oldest first; none of one that is not known."""
        return self._chain(owner).copy() if 0 <= owner < self.heads.shape[0] else NO_SLOTS

    def place(self, column: str) -> int:
        """Return which of the columns has a name."""
        return self._by_name[column]

    @property
    def size_bytes(self) -> int:
        """Memory of the rows, their index, chains and times; without their texts."""
        return self.rows.nbytes + self.index.nbytes + self.heap.nbytes + self.heads.nbytes

    # --- within -------------------------------------------------------------------------------------------------------

    def _slot(self, owner: int, key: tuple[Any, ...]) -> int:
        if owner >= self.heads.shape[0]:
            return 0
        message = self._values.key_message(owner, key)
        texts = self.texts
        with texts.lock:
            return int(find_row(self.shape, self.rows, self.index, texts.entries, texts.words, texts.places, message))

    def _chain(self, owner: int) -> NDArray[np.int64]:
        found = np.empty(READ_AT_ONCE, np.int64)
        while (count := chain(self.rows, int(self.heads[owner]), found)) < 0:
            found = np.empty(4 * found.shape[0], np.int64)
        return found[:count]

    def _remember(self, key: Any, value: Any) -> None:
        if len(self._remembered) >= REMEMBERED:
            self._remembered.clear()
        self._remembered[key] = value


def _getter(names: Any) -> Callable[[Any], Any]:
    """Return what reads fields: one as it is, several (or with none an empty) tuple."""
    names = tuple(names)
    return attrgetter(*names) if names else lambda _: ()
