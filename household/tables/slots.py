"""How a table lies in memory.

A row is a slot of a matrix of int64: some columns of the table's own, then the fields. Slot 0 holds what is known of
the table as a whole, slot 1 is where a row is put together. A slot that was given back is used again. A row's order is
its sequence number, which grows with each insertion and stays when a row is replaced.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

RowMatrix = NDArray[np.int64]
"""(slots, own columns + fields)."""
Slots = NDArray[np.int32]
"""Index: (power of two,) slot or 0. Heads: by owner, its first slot or 0. Heap: slots, the first due first."""

SEQUENCE: Final = 0
"""0 for a free slot."""
NEXT: Final = 1
PREVIOUS: Final = 2
"""The first of an owner has its last here."""
PLACE: Final = 3
"""In the heap, from 1; 0 for one that is never due."""
DUE: Final = 4
OWNER: Final = 5
FIELDS: Final = 6

COUNT: Final = 0
USED: Final = 1
FREE: Final = 2
LAST: Final = 3
HEAPED: Final = 4
TEXT_WORDS: Final = 5
"""Of slot 0: rows, slots ever used, first free slot, newest sequence, rows in the heap, words of texts referred to."""

SCRATCH: Final = 1
FIRST: Final = 2

NEVER_DUE = np.int64(2**63 - 1)

NEWEST: Final = 0
FIELD_COUNT: Final = 1
KEYED: Final = 2
KEY_COUNT: Final = 3
KEYS: Final = 4
"""Columns of the key, at most four; of each, four on, whether it is a text's."""
KEYS_MOST: Final = 4
TEXT_COUNT: Final = 12
TEXTS: Final = 13
"""What a kernel knows of a declaration, and then the columns of its texts."""
