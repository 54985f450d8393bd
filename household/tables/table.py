"""A table of a partition: rows in columns that kernels read, and the few verbs by which all that change them.

For the thread that owns the state. How it is read: household/tables/reading.py.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from household.plan import Plan
from household.tables.contract import POOLED, Declaration, Row
from household.tables.copying import copy_column
from household.tables.due_rules import DueRules
from household.tables.dues import due_slots, first_due, settle_dues
from household.tables.messages import lay_out, put_rows
from household.tables.reading import LONG, NO_SLOTS, PARTITION, READ_AT_ONCE, REMEMBERED, ReadTable
from household.tables.rows import load_rows, put_row, refill_index, remove_due, remove_row, remove_rows
from household.tables.slots import DUE, FIELDS, FIRST, HEAPED, LAST, NEXT, SEQUENCE, TEXT_COUNT, USED
from household.tables.texts import TextPool, words_needed
from household.tables.values import NamePool

MANY = 4_096
"""Rows whose memory is given back when all are forgotten."""


class Keeper(Protocol):
    """Wants to see rows as they are before they change."""

    def keep(self, slots: NDArray[np.int64]) -> None:
        """Be told of slots whose rows are about to change."""
        ...


class Table(ReadTable[Row]):
    """The rows of one declaration."""

    def __init__(self, declaration: Declaration[Row], *, texts: TextPool, names: NamePool, plan: Plan) -> None:
        """Make an empty one, under a plan."""
        super().__init__(declaration, texts=texts, names=names, plan=plan)
        self.keeper: Keeper | None = None
        """Of what is being frozen, if anything."""

    # --- changing -----------------------------------------------------------------------------------------------------

    def put(self, row: Row, *, owner: int = PARTITION) -> None:
        """Keep a row: in the place of the one under its key, or else behind its owner's others."""
        if self.keeper is not None:
            self._show_before(row, owner)
        self._write(row, owner, 0)
        remembered = self._remembered
        if not self.declaration.is_read_soon:
            if remembered:
                remembered.pop(self._key(row) if self._is_partitions else owner, None)
            return
        if self._is_partitions:
            if len(remembered) >= REMEMBERED:
                remembered.clear()
            remembered[self._key(row)] = row
            return
        rows = remembered.get(owner)
        if rows is None:
            if self.rows.item(self.heads.item(owner), NEXT):
                return
            self._remember(owner, (row,))
        elif len(rows) > LONG:
            del remembered[owner]
        else:
            remembered[owner] = self._with(rows, row)

    def _with(self, rows: tuple[Row, ...], row: Row) -> tuple[Row, ...]:
        """Return an owner's rows with one more: in the place of the one under its key, or behind the others."""
        if self.declaration.key:
            key = self._key(row)
            for place, one in enumerate(rows):
                if self._key(one) == key:
                    return (*rows[:place], row, *rows[place + 1 :])
        newest = self.declaration.newest
        return (*rows, row)[-newest:] if newest else (*rows, row)

    def put_new(self, rows: Sequence[Row]) -> None:
        """Keep rows of a partition's table, in their order, under keys of which none is there: as `put` would."""
        after_us = self._due_rules.after_us
        messages = [self._values.message(one, PARTITION, after_us) for one in rows]
        lengths = np.array([len(one) for one in messages], np.int64)
        self._put_messages(b"".join(messages), np.cumsum(lengths) - lengths, np.zeros(len(rows), np.int64))

    def put_columns(
        self, owners: NDArray[np.int64], fields: NDArray[np.int64], letters: NDArray[np.uint8], ends: NDArray[np.int64]
    ) -> None:
        """Keep rows of a household's table without key, behind those of their owners.

        Args:
            owners: (rows,) household of each.
            fields: (rows, columns) values as they lie; of a text its bytes.
            letters: the texts of all rows, one after another.
            ends: (rows,) where those of each row end.
        """
        assert not self.declaration.key
        heads = np.column_stack([self._due_rules.at(fields), owners, fields]).astype(np.int64).view(np.uint8)
        message = np.empty(heads.size + letters.shape[0], np.uint8)
        begins = np.empty(owners.shape[0], np.int64)
        lay_out(heads, letters, ends, message, begins)
        self._put_messages(message.tobytes(), begins, owners)

    def _put_messages(self, messages: bytes, begins: NDArray[np.int64], owners: NDArray[np.int64]) -> None:
        """Keep rows that take the place of none: where in messages each begins, and whose it is."""
        assert not self.declaration.newest
        count, texts, done = begins.shape[0], int(self.shape[TEXT_COUNT]), 0
        with self.texts.lock:
            self._make_room(count, int(owners.max(initial=0)), count * texts, _words_most(count * texts, len(messages)))
            while (done := put_rows(*self._arrays(), messages, begins, done)) < count:
                self._make_room(1, 0, texts, words_needed(len(messages)))
        self.forget_remembered_of(set(owners.tolist()))

    def remove(self, *key: Any) -> bool:
        """Forget the row under a key (as of `get`); return whether there was one."""
        owner, rest = (PARTITION, key) if self._is_partitions else (key[0], key[1:])
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
            return NO_SLOTS
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

    def _write(self, row: Row, owner: int, slot: int) -> None:
        message, texts = self._values.message(row, owner, self._due_rules.after_us), self.texts
        with texts.lock:
            while (
                put_row(
                    self.shape, self.rows, self.index, self.heap, self.heads, texts.entries, texts.words, texts.places,
                    message, 0, slot,
                )
                < 0
            ):  # fmt: skip
                count = int(self.shape[TEXT_COUNT])
                self._make_room(1, owner, count, _words_most(count, len(message)))

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


def _words_most(texts: int, letters: int) -> int:
    """Return how many words texts of so many letters together may take: two each at least, and half as many again."""
    return 2 * texts + letters // 5
