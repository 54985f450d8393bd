"""Keys to rows: which row of the columns holds a household or a member. Rows are given in order of first appearance."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from household.columns.fingerprint import fingerprint
from household.kernel import inlined, kernel

NO_PARENT = -1

_NO_CODES = np.empty(0, np.uint64)


class KeyArrays(NamedTuple):
    """What the kernels see of a KeyTable."""

    slots: NDArray[np.int32]
    """(power of two,) row + 1, or 0 where free; open addressing, linear probing."""
    hashes: NDArray[np.uint64]
    parents: NDArray[np.int32]
    ends: NDArray[np.int64]
    """ends[r] is where key r ends in `letters`; it starts where key r − 1 ends."""
    letters: NDArray[np.uint8]


@inlined
def _find_slot(table: KeyArrays, code: int, parent: int, data: NDArray[np.uint8], start: int, end: int) -> int:
    mask = table.slots.shape[0] - 1
    at = np.int64(code & np.uint64(mask))
    while True:
        row = table.slots[at] - 1
        if row < 0:
            return at
        if table.hashes[row] == code and table.parents[row] == parent:
            first = table.ends[row - 1] if row > 0 else 0
            if table.ends[row] - first == end - start:
                same = True
                for j in range(end - start):
                    if table.letters[first + j] != data[start + j]:
                        same = False
                        break
                if same:
                    return at
        at = (at + 1) & mask


@kernel
def _intern(
    table: KeyArrays,
    count: int,
    offsets: NDArray[np.int64],
    data: NDArray[np.uint8],
    parents: NDArray[np.int32],
    wanted: NDArray[np.uint8],
    codes: NDArray[np.uint64],
    first: int,
    rows: NDArray[np.int32],
) -> tuple[int, int]:
    """Set rows[i] for each wanted key from `first` on; stop before the table is full. Returns (next i, new count)."""
    for i in range(first, wanted.shape[0]):
        if wanted[i] == 0:
            rows[i] = -1
            continue
        start, end = offsets[i], offsets[i + 1]
        if codes.shape[0] > 0:
            code = codes[i]
        else:
            code, _ = fingerprint(data, start, end, np.uint64(parents[i] + 1))
        slot = _find_slot(table, code, parents[i], data, start, end)
        row = table.slots[slot] - 1
        if row < 0:
            used = table.ends[count - 1] if count > 0 else 0
            room = table.letters.shape[0] - used >= end - start and count < table.hashes.shape[0]
            if not room or 2 * (count + 1) > table.slots.shape[0]:
                return i, count
            row = count
            table.slots[slot] = row + 1
            table.hashes[row] = code
            table.parents[row] = parents[i]
            for j in range(end - start):
                table.letters[used + j] = data[start + j]
            table.ends[row] = used + end - start
            count += 1
        rows[i] = row
    return wanted.shape[0], count


@kernel
def _find(
    slots: NDArray[np.int32],
    hashes: NDArray[np.uint64],
    parents: NDArray[np.int32],
    ends: NDArray[np.int64],
    letters: NDArray[np.uint8],
    key: bytes,
    parent: int,
) -> int:
    # Each by itself: to see of what types a tuple's arrays are takes several times as long as to find a key.
    table = KeyArrays(slots, hashes, parents, ends, letters)
    code, _ = fingerprint(key, 0, len(key), np.uint64(parent + 1))
    return table.slots[_find_slot(table, code, parent, key, 0, len(key))] - 1


@kernel
def _find_all(
    table: KeyArrays, offsets: NDArray[np.int64], data: NDArray[np.uint8], parent: int, rows: NDArray[np.int32]
) -> None:
    for i in range(rows.shape[0]):
        start, end = offsets[i], offsets[i + 1]
        code, _ = fingerprint(data, start, end, np.uint64(parent + 1))
        rows[i] = table.slots[_find_slot(table, code, parent, data, start, end)] - 1


@kernel
def _refill(slots: NDArray[np.int32], hashes: NDArray[np.uint64], count: int) -> None:
    mask = slots.shape[0] - 1
    for row in range(count):
        at = np.int64(hashes[row] & np.uint64(mask))
        while slots[at] != 0:
            at = (at + 1) & mask
        slots[at] = row + 1


def _grown(array: NDArray[np.generic], length: int) -> NDArray[np.generic]:
    bigger = np.zeros(length, array.dtype)
    bigger[: array.shape[0]] = array
    return bigger


def _empty_arrays() -> KeyArrays:
    return KeyArrays(
        slots=np.zeros(64, np.int32),
        hashes=np.zeros(32, np.uint64),
        parents=np.zeros(32, np.int32),
        ends=np.zeros(32, np.int64),
        letters=np.zeros(1_024, np.uint8),
    )


@dataclass(slots=True)
class KeyTable:
    """Keys under a parent row (members under their household) or under none (households)."""

    arrays: KeyArrays = field(default_factory=_empty_arrays)
    count: int = 0

    def intern(
        self,
        offsets: NDArray[np.int64],
        data: NDArray[np.uint8],
        parents: NDArray[np.int32],
        wanted: NDArray[np.uint8],
        codes: NDArray[np.uint64] = _NO_CODES,
    ) -> NDArray[np.int32]:
        """Return the row of each wanted key, giving new rows to new keys; -1 where not wanted.

        Args:
            offsets: (n + 1,) where each key starts in `data`.
            data: the keys' bytes.
            parents: (n,) parent row of each key, or NO_PARENT.
            wanted: (n,) 1 for keys to intern, 0 for keys to skip.
            codes: (n,) first word of each wanted key's fingerprint, seeded with its parent + 1; empty to have it made.
        """
        rows = np.empty(wanted.shape[0], np.int32)
        done = 0
        while True:
            done, self.count = _intern(self.arrays, self.count, offsets, data, parents, wanted, codes, done, rows)
            if done == wanted.shape[0]:
                return rows
            self._grow(int(offsets[done + 1] - offsets[done]))

    def find(self, key: bytes, parent: int = NO_PARENT) -> int:
        """Return the row of a key, or -1."""
        return int(_find(*self.arrays, key, parent))

    def find_all(self, offsets: NDArray[np.int64], data: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Return the row of each key (n,) that has no parent; -1 for one that is not known."""
        rows = np.empty(offsets.shape[0] - 1, np.int32)
        _find_all(self.arrays, offsets, data, NO_PARENT, rows)
        return rows

    def key(self, row: int) -> bytes:
        """Return the key of a row."""
        assert 0 <= row < self.count
        first = int(self.arrays.ends[row - 1]) if row else 0
        return self.arrays.letters[first : int(self.arrays.ends[row])].tobytes()

    def children(self, parent: int) -> list[int]:
        """Return the rows under a parent, oldest first."""
        return [int(row) for row in np.flatnonzero(self.arrays.parents[: self.count] == parent)]

    def _grow(self, letters_needed: int) -> None:
        old = self.arrays
        rows = old.hashes.shape[0]
        if 2 * (self.count + 1) > old.slots.shape[0] or self.count >= rows:
            rows *= 2
        used = int(old.ends[self.count - 1]) if self.count else 0
        letters = old.letters.shape[0]
        while letters - used < letters_needed:
            letters *= 2
        slots = old.slots
        if slots.shape[0] < 2 * rows:
            slots = np.zeros(2 * rows, np.int32)
            _refill(slots, old.hashes, self.count)
        self.arrays = KeyArrays(
            slots=slots,
            hashes=_grown(old.hashes, rows),  # type: ignore[arg-type]
            parents=_grown(old.parents, rows),  # type: ignore[arg-type]
            ends=_grown(old.ends, rows),  # type: ignore[arg-type]
            letters=_grown(old.letters, letters),  # type: ignore[arg-type]
        )


def key_table_of(
    *, hashes: NDArray[np.uint64], parents: NDArray[np.int32], ends: NDArray[np.int64], letters: NDArray[np.uint8]
) -> KeyTable:
    """Return a table of its own that gives these keys these rows: (rows,) each, and all letters in row order."""
    count = int(hashes.shape[0])
    assert parents.shape == ends.shape == hashes.shape
    rows = 32
    while rows < count + 1:
        rows *= 2
    length = 1_024
    while length < letters.shape[0]:
        length *= 2
    slots = np.zeros(2 * rows, np.int32)
    arrays = KeyArrays(
        slots=slots,
        hashes=_grown(hashes, rows),  # type: ignore[arg-type]
        parents=_grown(parents, rows),  # type: ignore[arg-type]
        ends=_grown(ends, rows),  # type: ignore[arg-type]
        letters=_grown(letters, length),  # type: ignore[arg-type]
    )
    _refill(slots, arrays.hashes, count)
    return KeyTable(arrays=arrays, count=count)
