"""A table of a partition: rows in columns that kernels read, and the few verbs by which all that change them.

Rows are values, made when asked for; some are remembered as such, so that a household that is being talked to costs no
decoding. For the thread that owns the state, but for `len` and `holds`.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from operator import attrgetter
from typing import Any, Generic, Protocol

import numpy as np
from numpy.typing import NDArray

from household.plan import Plan
from household.tables.contract import POOLED, Declaration, Owner, Row, columns_of
from household.tables.copying import copy_column
from household.tables.due_rules import DueRules
from household.tables.dues import due_slots, first_due, settle_dues
from household.tables.rows import (
    chain,
    chain_up_to,
    find_row,
    load_rows,
    matching,
    put_row,
    refill_index,
    remove_due,
    remove_row,
    remove_rows,
)
from household.tables.slots import COUNT, DUE, FIELDS, FIRST, HEAPED, LAST, NEXT, OWNER, SEQUENCE, USED
from household.tables.texts import TextPool, words_needed
from household.tables.values import NamePool, RowValues, Wanted, kernel_shape

REMEMBERED = 2_048
"""Keys, and owners, of each table whose rows are remembered as values."""

LONG = 8
"""Rows of an owner beyond which a key is looked up rather than looked for, and putting one remembers none."""

READ_AT_ONCE = 64

MANY = 4_096
"""Rows whose memory is given back when all are forgotten."""

_NO_SLOTS = np.empty(0, np.int64)

_PARTITION = 0
"""The owner of a partition's rows."""


class Keeper(Protocol):
    """Wants to see rows as they are before they change."""

    def keep(self, slots: NDArray[np.int64]) -> None:
        """Be told of slots whose rows are about to change."""
        ...


class Table(Generic[Row]):
    """The rows of one declaration."""

    def __init__(self, declaration: Declaration[Row], *, texts: TextPool, names: NamePool, plan: Plan) -> None:
        """Make an empty one, under a plan."""
        self.declaration = declaration
        self.columns = columns_of(declaration.row)
        self.texts = texts
        self.names = names
        self.keeper: Keeper | None = None
        """Of what is being frozen, if anything."""
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
        self.under(plan)

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
            if found is None and (slot := self._slot(_PARTITION, key)):
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
        return bool(self._slot(_PARTITION, key))

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
        found, slot = np.empty(READ_AT_ONCE, np.int64), int(self.heads[_PARTITION])
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
        return self._chain(owner).copy() if 0 <= owner < self.heads.shape[0] else _NO_SLOTS

    def place(self, column: str) -> int:
        """Return which of the columns has a name."""
        return self._by_name[column]

    @property
    def size_bytes(self) -> int:
        """Memory of the rows, their index, chains and times; without their texts."""
        return self.rows.nbytes + self.index.nbytes + self.heap.nbytes + self.heads.nbytes

    # --- changing -----------------------------------------------------------------------------------------------------

    def put(self, row: Row, *, owner: int = _PARTITION) -> None:
        """Keep a row: in the place of the one under its key, or else behind its owner's others."""
        if self.keeper is not None:
            self._show_before(row, owner)
        self._write(row, owner, 0)
        if self._is_partitions:
            self._remember(self._key(row), row)
            return
        rows = self._remembered.get(owner)
        if rows is None:
            if self.rows[self.heads[owner], NEXT]:
                return
            rows = ()
        elif len(rows) > LONG:
            del self._remembered[owner]
            return
        elif self.declaration.key:
            key = self._key(row)
            for place, one in enumerate(rows):
                if self._key(one) == key:
                    self._remembered[owner] = (*rows[:place], row, *rows[place + 1 :])
                    return
        newest = self.declaration.newest
        self._remember(owner, (*rows, row)[-newest:] if newest else (*rows, row))

    def remove(self, *key: Any) -> bool:
        """Forget the row under a key (as of `get`); return whether there was one."""
        owner, rest = (_PARTITION, key) if self._is_partitions else (key[0], key[1:])
        slot = self._slot(owner, rest)
        if slot:
            self._remove(slot)
            if self._is_partitions:
                self._remembered.pop(key[0] if len(key) == 1 else key, None)
            elif (rows := self._remembered.get(owner)) is not None:
                wanted = rest[0] if len(rest) == 1 else rest
                self._remembered[owner] = tuple(one for one in rows if self._key(one) != wanted)
        return bool(slot)

    def rewrite(self, owner: int, change: Callable[[Row], Row | None]) -> bool:
        """Put in the place of each of a household's rows what `change` returns, and nothing for None.

        What is to stay is returned as it came. Returns whether anything changed.
        """
        rows = self.of(owner)
        changed = [change(one) for one in rows]
        if all(one is other for one, other in zip(rows, changed, strict=True)):
            return False
        for slot, one, other in zip(self._chain(owner).tolist(), rows, changed, strict=True):
            if other is None:
                self._remove(slot)
            elif other is not one:
                if self.keeper is not None:
                    self.keeper.keep(np.array([slot]))
                self._write(other, owner, slot)
        self._remembered[owner] = tuple(one for one in changed if one is not None)
        return True

    def due(self, now_us: int) -> NDArray[np.int64]:
        """Return the slots of the rows that are due, oldest first; of a table that has so many at once, the first due.

        Costs what is due, not what there is.
        """
        if not self._is_any_due(now_us):
            return _NO_SLOTS
        if most := self.declaration.at_once:
            found = np.empty(most, np.int64)
            return found[: first_due(self.rows, self.heap, now_us, found, np.empty(most + 2, np.int64))]
        found = np.empty(READ_AT_ONCE, np.int64)
        while (count := due_slots(self.rows, self.heap, now_us, found)) < 0:
            found = np.empty(4 * found.shape[0], np.int64)
        found = found[:count]
        return found[np.argsort(self.rows[found, SEQUENCE])] if count > 1 else found

    def _is_any_due(self, now_us: int) -> bool:
        return bool(self.rows.item(0, HEAPED)) and self.rows.item(self.heap.item(0), DUE) <= now_us

    def forget_due(self, now_us: int) -> None:
        """Forget the rows that are due."""
        if self.keeper is not None:
            self.forget(self.due(now_us))
        elif self._is_any_due(now_us):
            with self.texts.lock:
                remove_due(*self._arrays(), now_us)
            self._remembered.clear()

    def forget(self, slots: NDArray[np.int64]) -> None:
        """Forget the rows in these slots."""
        if slots.shape[0]:
            if self.keeper is not None:
                self.keeper.keep(slots)
            with self.texts.lock:
                remove_rows(*self._arrays(), slots)
                if not len(self) and self.keeper is None and self.rows.shape[0] > MANY:
                    self._give_back()
            self._remembered.clear()

    def set(self, slots: NDArray[np.int64], **values: int | NDArray[np.int64]) -> None:
        """Put other values into columns, that hold no texts, of the rows in these slots; when they are due follows."""
        if slots.shape[0]:
            if self.keeper is not None:
                self.keeper.keep(slots)
            for name, value in values.items():
                assert self.columns[self._by_name[name]].kind not in POOLED
                self.rows[slots, FIELDS + self._by_name[name]] = value
            settle_dues(self._due_rules.lying, self.rows, self.heap, slots)
            self._remembered.clear()

    def copy(self, slots: NDArray[np.int64], *, source: str, target: str) -> None:
        """Put what stands in a column of the rows in these slots into another of its kind, by which none is due."""
        if slots.shape[0]:
            if self.keeper is not None:
                self.keeper.keep(slots)
            column, other = (self.columns[self._by_name[name]] for name in (source, target))
            assert column.kind is other.kind, f"{source} and {target} do not lie alike"
            texts = self.texts
            with texts.lock:
                copy_column(
                    self.rows,
                    texts.entries,
                    texts.words,
                    texts.places,
                    slots,
                    FIELDS + self._by_name[source],
                    FIELDS + self._by_name[target],
                    column.kind in POOLED,
                )
            self._remembered.clear()

    def under(self, plan: Plan) -> None:
        """Take over the times of a plan: when rows are due may be other times by now."""
        self._due_rules = DueRules(self.declaration, self.columns, plan)
        if self._due_rules and len(self):
            settle_dues(self._due_rules.lying, self.rows, self.heap, self.slots_in_order())

    def replace(self, slot: int, row: Row) -> None:
        """Put a row, of the same key, in the place of the one in a slot."""
        if self.keeper is not None:
            self.keeper.keep(np.array([slot]))
        self._write(row, self.owner(slot), slot)
        self._remembered.clear()

    def forget_remembered(self) -> None:
        """Read all rows anew from now on: columns are about to be changed as such."""
        self._remembered.clear()

    def forget_remembered_of(self, owners: Iterable[int]) -> None:
        """Read the rows of these households anew from now on."""
        for owner in owners:
            self._remembered.pop(owner, None)

    def make_room(self, row_count: int, owner: int) -> None:
        """Make room for so many rows more without texts, and for those of households up to this one."""
        self._make_room(row_count, owner, 0, 0)

    # --- as a whole ---------------------------------------------------------------------------------------------------

    def append(self, owners: NDArray[np.int64], fields: NDArray[np.int64]) -> None:
        """Keep rows of a household's table without key and texts, behind those of their owners.

        Args:
            owners: (rows,) household of each.
            fields: (rows, columns) values as they lie.
        """
        assert not self.declaration.key
        count = owners.shape[0]
        self._make_room(count, int(owners.max(initial=0)), 0, 0)
        values = np.column_stack([owners, fields]).astype(np.int64)
        load_rows(self.shape, self.rows, self.index, self.heap, self.heads, values, self._due_rules.at(fields), 0)
        for owner in set(owners.tolist()):
            self._remembered.pop(owner, None)

    def load(self, owners: NDArray[np.int64], fields: NDArray[np.int64], text_words: int) -> None:
        """Fill an empty table with rows, oldest first.

        Args:
            owners: (rows,) household of each; of a partition's table 0.
            fields: (rows, columns) values as they lie; the texts' codes have their references already.
            text_words: of all those texts.
        """
        assert not len(self)
        count = owners.shape[0]
        self._make_room(count, int(owners.max(initial=0)), 0, 0)
        dues = self._due_rules.at(fields)
        values = np.column_stack([owners, fields]).astype(np.int64)
        load_rows(self.shape, self.rows, self.index, self.heap, self.heads, values, dues, text_words)

    def _give_back(self) -> None:
        """Give back the memory of what has been forgotten, all of it: of a crowd that has left."""
        newest = self.rows[0, LAST]
        self.rows, self.heap = np.zeros((16, self.width), np.int64), np.zeros(16, np.int32)
        self.rows[0, USED], self.rows[0, LAST] = FIRST, newest
        self.index = np.zeros(32 if self.declaration.key else 0, np.int32)

    # --- within -------------------------------------------------------------------------------------------------------

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        texts = self.texts
        return (
            self.shape,
            self.rows,
            self.index,
            self.heap,
            self.heads,
            texts.entries,
            texts.words,
            texts.places,
        )

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

    def _write(self, row: Row, owner: int, slot: int) -> None:
        message, letters = self._values.message(row, owner, self._due_rules)
        with self.texts.lock:
            while put_row(*self._arrays(), message, slot) < 0:
                self._make_room(1, owner, len(letters), sum(words_needed(len(one)) for one in letters))

    def _remove(self, slot: int) -> None:
        if self.keeper is not None:
            self.keeper.keep(np.array([slot]))
        with self.texts.lock:
            remove_row(*self._arrays(), slot)

    def _show_before(self, row: Row, owner: int) -> None:
        """Let the keeper see what a row is about to take the place of."""
        assert self.keeper is not None
        if self.declaration.key:
            key = self._key(row)
            if slot := self._slot(owner, key if len(self.declaration.key) > 1 else (key,)):
                self.keeper.keep(np.array([slot]))
        if self.declaration.newest and owner < self.heads.shape[0] and self.heads[owner]:
            self.keeper.keep(self.heads[owner : owner + 1].astype(np.int64))

    def _remember(self, key: Any, value: Any) -> None:
        if len(self._remembered) >= REMEMBERED:
            self._remembered.clear()
        self._remembered[key] = value

    def _make_room(self, row_count: int, owner: int, texts: int, word_count: int) -> None:
        needed = int(self.rows[0, USED]) + row_count
        if needed > self.rows.shape[0]:
            room = max(needed, self.rows.shape[0] + self.rows.shape[0] // 2)
            rows = np.zeros((room, self.width), np.int64)
            rows[: self.rows.shape[0]] = self.rows
            heap = np.zeros(room, np.int32)
            heap[: self.heap.shape[0]] = self.heap
            self.rows, self.heap = rows, heap
        if owner >= self.heads.shape[0]:
            heads = np.zeros(owner + 1 + owner // 2, np.int32)
            heads[: self.heads.shape[0]] = self.heads
            self.heads = heads
        if self.declaration.key and 2 * (len(self) + row_count) > self.index.shape[0]:
            length = self.index.shape[0]
            while length < 2 * (len(self) + row_count):
                length *= 2
            self.index = np.zeros(length, np.int32)
            refill_index(self.shape, self.rows, self.index)
        self.texts.make_room(texts, word_count)


def _getter(names: Any) -> Callable[[Any], Any]:
    """Return what reads fields: one as it is, several (or with none an empty) tuple."""
    names = tuple(names)
    return attrgetter(*names) if names else lambda _: ()
