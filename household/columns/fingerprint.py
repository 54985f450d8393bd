"""128-bit fingerprints of event ids and keys, in a kernel: a Python call per event would cost more than the fold.

MurmurHash3 x64 128 (Austin Appleby, public domain). Partitioning uses xxh3 and is not done here.
"""

import numpy as np
from numpy.typing import NDArray

from household.kernel import inlined, kernel

_C1 = np.uint64(0x87C37B91114253D5)
_C2 = np.uint64(0x4CF5AD432745937F)
_M1 = np.uint64(0xFF51AFD7ED558CCD)
_M2 = np.uint64(0xC4CEB9FE1A85EC53)
_FIVE = np.uint64(5)
_N1 = np.uint64(0x52DCE729)
_N2 = np.uint64(0x38495AB5)
_S33 = np.uint64(33)
_S8, _S16, _S24, _S32 = np.uint64(8), np.uint64(16), np.uint64(24), np.uint64(32)
_S40, _S48, _S56 = np.uint64(40), np.uint64(48), np.uint64(56)


@inlined
def _rotate_left(word: int, bits: int) -> int:
    return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))


@inlined
def _final_mix(k: int) -> int:
    k ^= k >> _S33
    k *= _M1
    k ^= k >> _S33
    k *= _M2
    k ^= k >> _S33
    return k


@inlined
def _whole_word(data: NDArray[np.uint8], at: int) -> int:
    """Written out so that the compiler sees one load."""
    return (
        np.uint64(data[at])
        | np.uint64(data[at + 1]) << _S8
        | np.uint64(data[at + 2]) << _S16
        | np.uint64(data[at + 3]) << _S24
        | np.uint64(data[at + 4]) << _S32
        | np.uint64(data[at + 5]) << _S40
        | np.uint64(data[at + 6]) << _S48
        | np.uint64(data[at + 7]) << _S56
    )


@kernel
def _part_word(data: NDArray[np.uint8], at: int, length: int) -> int:
    word = np.uint64(0)
    for j in range(length):
        word |= np.uint64(data[at + j]) << (np.uint64(j) * _S8)
    return word


@kernel
def fingerprint(data: NDArray[np.uint8], start: int, end: int, seed: int) -> tuple[int, int]:
    """Return the 128-bit hash of data[start:end] as two uint64 words."""
    return fingerprint_behind(data, start, end, np.uint64(seed), np.uint64(seed))


@kernel
def fingerprint_behind(data: NDArray[np.uint8], start: int, end: int, low: int, high: int) -> tuple[int, int]:
    """Return the hash of what has the hash (low, high), followed by data[start:end] as a part of its own.

    Each part's length is in its hash, so no other parts that join to the same bytes have the same one.
    """
    h1 = low
    h2 = high
    at = start
    while end - at >= 16:
        k1 = _whole_word(data, at)
        k2 = _whole_word(data, at + 8)
        h1 ^= _rotate_left(k1 * _C1, 31) * _C2
        h1 = (_rotate_left(h1, 27) + h2) * _FIVE + _N1
        h2 ^= _rotate_left(k2 * _C2, 33) * _C1
        h2 = (_rotate_left(h2, 31) + h1) * _FIVE + _N2
        at += 16
    rest = end - at
    if rest > 8:
        h2 ^= _rotate_left(_part_word(data, at + 8, rest - 8) * _C2, 33) * _C1
    if rest > 0:
        h1 ^= _rotate_left(_part_word(data, at, min(rest, 8)) * _C1, 31) * _C2
    length = np.uint64(end - start)
    h1 ^= length
    h2 ^= length
    h1 += h2
    h2 += h1
    h1 = _final_mix(h1)
    h2 = _final_mix(h2)
    h1 += h2
    h2 += h1
    return h1, h2
