"""Texts and ids of a partition's tables: each stored once, counted by the rows that refer to it, gone with the last.

A text lies in 64-bit words, filled up with zeros, in a run of one of some sizes; a run that is given back is used again
for a text of its size. Nothing is ever moved but when an array grows.
"""

from threading import Lock

import numpy as np
from numpy.typing import NDArray

from household.columns.fingerprint import _part_word, _whole_word, fingerprint
from household.kernel import inlined, kernel

TextEntries = NDArray[np.int64]
"""(room, 4) of each text: first word, bytes, references, hash. Row 0: texts, entries ever used, first free entry, 0."""
Words = NDArray[np.uint64]
"""The texts' words. The first HEADER_WORDS: per size the first free run, then how many words were ever used."""
Places = NDArray[np.int32]
"""(power of two,) code or 0; open addressing, linear probing."""

NOTHING = 0
"""Code of the empty text."""

_START, _LENGTH, _REFERENCES, _HASH = 0, 1, 2, 3
_COUNT, _USED, _FREE = 0, 1, 2

HEADER_WORDS = 64
_WORDS_USED = HEADER_WORDS - 1
_SIZES = HEADER_WORDS - 1


@inlined
def _size_class(word_count: int) -> int:
    """Sizes are 2, 3, 4, 6, 8, 12 … words: at most a third of a run is lost."""
    cls = 0
    while (2 + (cls & 1)) << (cls >> 1) < word_count:
        cls += 1
    return cls


@kernel
def words_needed(length: int) -> int:
    """Return how many words a text of so many bytes may take."""
    cls = _size_class((length + 7) >> 3)
    return (2 + (cls & 1)) << (cls >> 1)


@kernel
def find_text(entries: TextEntries, words: Words, places: Places, data: bytes, start: int, end: int) -> int:
    """Return the code of data[start:end]: 0 for the empty text, -1 where it is unknown."""
    length = end - start
    if length == 0:
        return 0
    low, _ = fingerprint(data, start, end, np.uint64(0))
    mask = places.shape[0] - 1
    at = np.int64(low & np.uint64(mask))
    while True:
        code = np.int64(places[at])
        if code == 0:
            return -1
        if entries[code, _HASH] == np.int64(low) and entries[code, _LENGTH] == length:
            first = entries[code, _START]
            whole = length >> 3
            same = True
            for i in range(whole):
                if words[first + i] != _whole_word(data, start + 8 * i):
                    same = False
                    break
            rest = length & 7
            if same and rest > 0:
                same = words[first + whole] == _part_word(data, start + 8 * whole, rest)
            if same:
                return code
        at = (at + 1) & mask


@kernel
def intern_text(entries: TextEntries, words: Words, places: Places, data: bytes, start: int, end: int) -> int:
    """Return the code of data[start:end], with one reference more. There must be room."""
    length = end - start
    if length == 0:
        return 0
    code = find_text(entries, words, places, data, start, end)
    if code > 0:
        entries[code, _REFERENCES] += 1
        return code
    cls = _size_class((length + 7) >> 3)
    first = np.int64(words[cls])
    if first != 0:
        words[cls] = words[first]
    else:
        first = np.int64(words[_WORDS_USED])
        words[_WORDS_USED] = np.uint64(first + ((2 + (cls & 1)) << (cls >> 1)))
    whole = length >> 3
    for i in range(whole):
        words[first + i] = _whole_word(data, start + 8 * i)
    rest = length & 7
    if rest > 0:
        words[first + whole] = _part_word(data, start + 8 * whole, rest)
    code = entries[0, _FREE]
    if code != 0:
        entries[0, _FREE] = entries[code, _START]
    else:
        code = entries[0, _USED]
        entries[0, _USED] = code + 1
    entries[0, _COUNT] += 1
    low, _ = fingerprint(data, start, end, np.uint64(0))
    entries[code, _START], entries[code, _LENGTH], entries[code, _REFERENCES] = first, length, 1
    entries[code, _HASH] = np.int64(low)
    mask = places.shape[0] - 1
    at = np.int64(low & np.uint64(mask))
    while places[at] != 0:
        at = (at + 1) & mask
    places[at] = code
    return code


@kernel
def release_text(entries: TextEntries, words: Words, places: Places, code: int) -> None:
    """Take one reference back; the last takes the text with it."""
    if code == 0:
        return
    entries[code, _REFERENCES] -= 1
    if entries[code, _REFERENCES] > 0:
        return
    mask = places.shape[0] - 1
    at = np.int64(np.uint64(entries[code, _HASH]) & np.uint64(mask))
    while places[at] != code:
        at = (at + 1) & mask
    # What follows moves up where it may: a gap would end a search too early.
    gap = at
    while True:
        at = (at + 1) & mask
        other = np.int64(places[at])
        if other == 0:
            break
        home = np.int64(np.uint64(entries[other, _HASH]) & np.uint64(mask))
        if ((at - home) & mask) >= ((at - gap) & mask):
            places[gap] = other
            gap = at
    places[gap] = 0
    cls = _size_class((entries[code, _LENGTH] + 7) >> 3)
    first = entries[code, _START]
    words[first] = words[cls]
    words[cls] = np.uint64(first)
    entries[code, _START] = entries[0, _FREE]
    entries[code, _LENGTH] = 0
    entries[0, _FREE] = code
    entries[0, _COUNT] -= 1


@kernel
def _intern_all(
    entries: TextEntries,
    words: Words,
    places: Places,
    data: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    first: int,
    codes: NDArray[np.int64],
) -> int:
    """Set codes[first:]; stop where there is no room. Returns the next to do."""
    for i in range(first, codes.shape[0]):
        length = offsets[i + 1] - offsets[i]
        if not has_room(entries, words, places, 1, words_needed(length)):
            return i
        codes[i] = intern_text(entries, words, places, data, offsets[i], offsets[i + 1])
    return codes.shape[0]


@inlined
def has_room(entries: TextEntries, words: Words, places: Places, texts: int, word_count: int) -> bool:
    """Return whether so many texts of so many words together surely find room."""
    return (
        entries.shape[0] - 1 - entries[0, _COUNT] >= texts
        and np.int64(words[_WORDS_USED]) + word_count <= words.shape[0]
        and 2 * (entries[0, _COUNT] + texts) <= places.shape[0]
    )


@kernel
def _refill(entries: TextEntries, places: Places) -> None:
    mask = places.shape[0] - 1
    for code in range(1, entries[0, _USED]):
        if entries[code, _LENGTH] > 0:
            at = np.int64(np.uint64(entries[code, _HASH]) & np.uint64(mask))
            while places[at] != 0:
                at = (at + 1) & mask
            places[at] = code


class TextPool:
    """The texts of all tables of one partition."""

    __slots__ = ("entries", "lock", "places", "words")

    def __init__(self) -> None:
        self.lock = Lock()
        """Held by whoever changes texts or rows, or looks for a key: a key may be looked for from another thread."""
        self.entries: TextEntries = np.zeros((64, 4), np.int64)
        self.entries[0, _USED] = 1
        self.words: Words = np.zeros(1_024, np.uint64)
        self.words[_WORDS_USED] = HEADER_WORDS
        self.places: Places = np.zeros(128, np.int32)

    def __len__(self) -> int:
        return int(self.entries[0, _COUNT])

    @property
    def size_bytes(self) -> int:
        """Memory of all of it."""
        return self.entries.nbytes + self.words.nbytes + self.places.nbytes

    def find(self, text: bytes) -> int:
        """Return the code of a text; -1 where no row refers to it."""
        return int(find_text(self.entries, self.words, self.places, text, 0, len(text)))

    def text(self, code: int) -> bytes:
        """Return the text of a code."""
        first, length, _, _ = self.entries[code].tolist()
        return self.words[first : first + ((length + 7) >> 3)].tobytes()[:length] if code else b""

    def intern_all(self, offsets: NDArray[np.int64], letters: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the codes (n,) of texts that end to end are `letters`, each with one reference more."""
        codes = np.empty(offsets.shape[0] - 1, np.int64)
        done = 0
        while True:
            done = _intern_all(self.entries, self.words, self.places, letters, offsets, done, codes)
            if done == codes.shape[0]:
                return codes
            self.make_room(1, words_needed(int(offsets[done + 1] - offsets[done])))

    def make_room(self, texts: int, word_count: int) -> None:
        """Grow so that so many texts of so many words together find room; twice as much each time."""
        count, used = int(self.entries[0, _COUNT]), int(self.words[_WORDS_USED])
        if self.entries.shape[0] - 1 - count < texts:
            bigger = np.zeros((2 * self.entries.shape[0] + texts, 4), np.int64)
            bigger[: self.entries.shape[0]] = self.entries
            self.entries = bigger
        if used + word_count > self.words.shape[0]:
            # Twice as long: what is not used yet takes no memory, and to copy is what growing costs.
            words = np.empty(2 * self.words.shape[0] + word_count, np.uint64)
            words[:used] = self.words[:used]
            self.words = words
        if 2 * (count + texts) > self.places.shape[0]:
            length = self.places.shape[0]
            while length < 4 * (count + texts):
                length *= 2
            self.places = np.zeros(length, np.int32)
            _refill(self.entries, self.places)
