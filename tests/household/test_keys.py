"""Keys to rows.

Laws: a table equals a dict that numbers keys in order of first appearance; what is not wanted gets no row; the same key
under two parents is two rows; growth (of slots, rows, letters) keeps every row; a key that is not there is not found.
"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from household.columns.keys import NO_PARENT, KeyTable
from household.events import keys_of

keys = st.binary(min_size=1, max_size=4)
wishes = st.lists(st.tuples(keys, st.integers(-1, 2), st.booleans()), max_size=50)


def intern(table: KeyTable, wanted: list[tuple[bytes, int, bool]]) -> list[int]:
    column = keys_of([key for key, _, _ in wanted])
    parents = np.array([parent for _, parent, _ in wanted], np.int32)
    mask = np.array([is_wanted for _, _, is_wanted in wanted], np.uint8)
    return [int(row) for row in table.intern(column.offsets, column.letters, parents, mask)]


@given(batches=st.lists(wishes, max_size=4))
def test_a_table_equals_a_dict_that_numbers_by_first_appearance(batches):
    table, rows = KeyTable(), dict[tuple[bytes, int], int]()
    for batch in batches:
        expected = [rows.setdefault((key, parent), len(rows)) if wanted else -1 for key, parent, wanted in batch]
        assert intern(table, batch) == expected

    assert table.count == len(rows)
    for (key, parent), row in rows.items():
        assert table.find(key, parent) == row
        assert table.key(row) == key
    for parent in range(-1, 3):
        assert table.children(parent) == [row for (_, under), row in rows.items() if under == parent]
        assert table.find(b"longer than any", parent) == -1


def test_growth_keeps_every_row():
    table = KeyTable()
    wanted = [(b"household-%d" % number, NO_PARENT, True) for number in range(5_000)]
    before = table.arrays

    assert intern(table, wanted) == list(range(5_000))
    assert intern(table, wanted[::-1]) == list(range(5_000))[::-1]
    assert table.arrays.slots.size > before.slots.size
    assert table.arrays.hashes.size > before.hashes.size
    assert table.arrays.letters.size > before.letters.size
    assert all(table.key(row) == key for row, (key, _, _) in enumerate(wanted))


def test_letters_grow_by_themselves_when_keys_are_long():
    table = KeyTable()
    wanted = [(bytes([number]) * 128, NO_PARENT, True) for number in range(20)]

    assert intern(table, wanted) == list(range(20))
    assert table.arrays.letters.size >= 20 * 128
    assert table.arrays.hashes.size == 32, "rows did not have to grow"


def test_the_same_key_under_two_parents_is_two_rows():
    table = KeyTable()

    assert intern(table, [(b"anna", 0, True), (b"anna", 1, True), (b"anna", 0, True)]) == [0, 1, 0]
    assert table.find(b"anna", 2) == -1


def test_a_key_is_told_from_one_that_continues_it():
    table = KeyTable()

    assert intern(table, [(b"ab", NO_PARENT, True), (b"abc", NO_PARENT, True), (b"a", NO_PARENT, True)]) == [0, 1, 2]
    assert table.find(b"", NO_PARENT) == -1


def test_a_part_of_a_batch_reads_its_own_keys():
    column = keys_of([b"one", b"two", b"three", b"four"]).part(1, 3)
    table = KeyTable()
    parents, wanted = np.full(2, NO_PARENT, np.int32), np.ones(2, np.uint8)

    assert table.intern(column.offsets, column.letters, parents, wanted).tolist() == [0, 1]
    assert [table.key(0), table.key(1), column[0], column[1]] == [b"two", b"three", b"two", b"three"]
