"""A table as it was at one moment: taken while its rows go on changing, written down, and made a table again.

A row is copied, with its texts, by whoever comes first: the freezer in slot order, or a change just before it is made.
To begin copies nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from household.tables.contract import POOLED, ColumnKind, Declaration, TableColumn, columns_of
from household.tables.keeping import gather_lengths, gather_letters, keep_next, keep_rows
from household.tables.slots import FIELDS, FIRST, LAST, OWNER, SEQUENCE, TEXT_WORDS, USED
from household.tables.table import Table
from household.tables.values import NamePool, letters_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrozenTexts:
    """Texts of a column: the letters of all, end to end."""

    offsets: NDArray[np.int64]
    """(rows + 1,)."""
    letters: NDArray[np.uint8]

    def __getitem__(self, row: int) -> bytes:
        return self.letters[self.offsets[row] : self.offsets[row + 1]].tobytes()

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(rows,) in bytes."""
        return np.diff(self.offsets)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrozenTable:
    """The rows of a table, oldest first."""

    owners: NDArray[np.int64]
    """(rows,) household; of a partition's table 0."""
    columns: Mapping[str, NDArray[np.int64] | FrozenTexts]
    """By name: values as they lie; of an ENUM its place in its type, of a NAME its place below, of NAMES packed so."""
    names: tuple[str, ...]

    def __len__(self) -> int:
        return int(self.owners.shape[0])

    @property
    def frozen(self) -> "FrozenTable":
        """Itself, as TakenTable has it."""
        return self


class TableFreeze:
    """Takes a table as it is now. For the thread that owns it."""

    def __init__(self, table: Table[Any]) -> None:
        """Begin."""
        used = int(table.rows[0, USED])
        self._table = table
        self._newest = int(table.rows[0, LAST])
        self._is_kept = np.zeros(used, np.uint8)
        # The full size at once: the pages are only taken as rows are copied, and nothing is ever moved.
        self._kept = np.empty((used, table.width), np.int64)
        self._kept[0] = 0
        self._words = np.empty(int(table.rows[0, TEXT_WORDS]), np.uint64)
        self._next = FIRST
        table.keeper = self

    @property
    def is_done(self) -> bool:
        """Whether all rows have been copied."""
        return self._next >= len(self._is_kept)

    def keep(self, slots: NDArray[np.int64]) -> None:
        """Copy the rows in these slots before they change, unless that was done."""
        table, texts = self._table, self._table.texts
        keep_rows(
            table.shape,
            table.rows,
            texts.entries,
            texts.words,
            slots,
            self._newest,
            self._is_kept,
            self._kept,
            self._words,
        )

    def step(self, room: int) -> int:
        """Copy up to so many more rows; return how many could have been copied besides."""
        table, texts = self._table, self._table.texts
        left: int
        self._next, left = keep_next(
            table.shape,
            table.rows,
            texts.entries,
            texts.words,
            self._next,
            room,
            self._newest,
            self._is_kept,
            self._kept,
            self._words,
        )
        if self.is_done:
            self.detach()
        return left

    def detach(self) -> None:
        """Let go of the table."""
        if self._table.keeper is self:
            self._table.keeper = None

    def taken(self) -> "TakenTable":
        """Return what was taken, once all rows have been copied."""
        assert self.is_done
        names = self._table.names.names
        return TakenTable(
            columns_of_row=self._table.columns, kept=self._kept, words=self._words, names=names, name_count=len(names)
        )


@dataclass(kw_only=True, eq=False)
class TakenTable:
    """The rows of a table as they were copied: put in order when first asked for, in whatever thread."""

    columns_of_row: tuple[TableColumn, ...]
    kept: NDArray[np.int64]
    words: NDArray[np.uint64]
    names: list[str]
    """Shared with the table, which only ever adds to it."""
    name_count: int

    @cached_property
    def frozen(self) -> FrozenTable:
        """The rows, oldest first."""
        kept = self.kept
        slots = FIRST + np.flatnonzero(kept[FIRST:, SEQUENCE])
        order = np.asarray(slots[np.argsort(kept[slots, SEQUENCE])], np.int64)
        letters = self.words.view(np.uint8)
        columns: dict[str, NDArray[np.int64] | FrozenTexts] = {}
        for place, column in enumerate(self.columns_of_row):
            if column.kind in POOLED:
                offsets = np.empty(order.shape[0] + 1, np.int64)
                gather_lengths(kept, order, FIELDS + place, offsets)
                found = np.empty(int(offsets[-1]), np.uint8)
                gather_letters(kept, letters, order, FIELDS + place, offsets, found)
                columns[column.name] = FrozenTexts(offsets=offsets, letters=found)
            else:
                columns[column.name] = kept[order, FIELDS + place]
        return FrozenTable(owners=kept[order, OWNER], columns=columns, names=tuple(self.names[: self.name_count]))


def fill(table: Table[Any], frozen: FrozenTable) -> None:
    """Give an empty table of its own the rows that were frozen."""
    if not len(frozen):
        return
    code_of = np.array([table.names.code(name) for name in _used_names(frozen, table.columns)], np.int64)
    fields = np.empty((len(frozen), len(table.columns)), np.int64)
    text_words = 0
    for place, column in enumerate(table.columns):
        values = frozen.columns[column.name]
        if isinstance(values, FrozenTexts):
            texts = _renamed(values, code_of) if column.kind is ColumnKind.NAMES else values
            fields[:, place] = table.texts.intern_all(texts.offsets, texts.letters)
            text_words += int(((texts.lengths + 7) >> 3).sum())
        else:
            fields[:, place] = code_of[values] if column.kind is ColumnKind.NAME else values
    table.load(frozen.owners, fields, text_words)


def _used_names(frozen: FrozenTable, columns: tuple[TableColumn, ...]) -> tuple[str, ...]:
    """Return all names, with those that no row has made empty: they are not to be learnt."""
    used = {0}
    for column in columns:
        values = frozen.columns[column.name]
        if column.kind is ColumnKind.NAME:
            assert not isinstance(values, FrozenTexts)
            used.update(np.unique(values).tolist())
        elif column.kind is ColumnKind.NAMES:
            assert isinstance(values, FrozenTexts)
            used.update(np.unique(values.letters.view("<i4")).tolist())
    return tuple(name if code in used else "" for code, name in enumerate(frozen.names))


def _renamed(texts: FrozenTexts, code_of: NDArray[np.int64]) -> FrozenTexts:
    codes = code_of[texts.letters.view("<i4")].astype("<i4")
    return FrozenTexts(offsets=texts.offsets, letters=codes.view(np.uint8))


def frozen_rows(declaration: Declaration[Any], owned: list[tuple[int, Any]]) -> FrozenTable:
    """Return rows, each with its owner, as a frozen table: for what was written otherwise, and for tests."""
    names = NamePool()
    columns: dict[str, NDArray[np.int64] | FrozenTexts] = {}
    for column in columns_of(declaration.row):
        values = [getattr(row, column.name) for _, row in owned]
        if column.kind in POOLED:
            texts = list(map(letters_of(column, names), values))
            offsets = np.zeros(len(texts) + 1, np.int64)
            np.cumsum([len(text) for text in texts], out=offsets[1:])
            columns[column.name] = FrozenTexts(offsets=offsets, letters=np.frombuffer(b"".join(texts), np.uint8).copy())
        elif column.kind is ColumnKind.NAME:
            columns[column.name] = np.array(list(map(names.code, values)), np.int64)
        elif column.kind is ColumnKind.ENUM:
            columns[column.name] = np.array([column.values.index(one) for one in values], np.int64)
        else:
            columns[column.name] = np.array(values, np.int64)
    owners = np.array([owner for owner, _ in owned], np.int64)
    return FrozenTable(owners=owners, columns=columns, names=tuple(names.names))
