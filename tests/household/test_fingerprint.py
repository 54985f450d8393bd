"""Fingerprints are MurmurHash3 x64 128: published vectors, and SMHasher's verification over all lengths to 255."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from household.columns.fingerprint import fingerprint


def hashed(text: bytes, seed: int = 0) -> tuple[int, int]:
    low, high = fingerprint(np.frombuffer(text + b"\0", np.uint8).copy(), 0, len(text), np.uint64(seed))
    return int(low), int(high)


@pytest.mark.parametrize(
    ("seed", "text", "low", "high"),
    [
        (0, b"", 0x0000000000000000, 0x0000000000000000),
        (0, b"hello", 0xCBD8A7B341BD9B02, 0x5B1E906A48AE1D19),
        (0, b"hello, world", 0x342FAC623A5EBC8E, 0x4CDCBC079642414D),
        (0, b"19 Jan 2038 at 3:14:07 AM", 0xB89E5988B737AFFC, 0x664FC2950231B2CB),
        (0, b"The quick brown fox jumps over the lazy dog.", 0xCD99481F9EE902C9, 0x695DA1A38987B6E7),
        (0, b"The quick brown fox jumps over the lazy dog", 0xE34BBC7BBC071B6C, 0x7A433CA9C49A9347),
        (1, b"", 0x4610ABE56EFF5CB5, 0x51622DAA78F83583),
        (1, b"hello", 0xA78DDFF5ADAE8D10, 0x128900EF20900135),
        (42, b"hello", 0xC4B8B3C960AF6F08, 0x2334B875B0EFBC7A),
    ],
)
def test_the_published_vectors(seed, text, low, high):
    assert hashed(text, seed) == (low, high)


def test_smhashers_verification_value_over_all_lengths():
    digests = b""
    for length in range(256):
        low, high = hashed(bytes(range(length)), 256 - length)
        digests += low.to_bytes(8, "little") + high.to_bytes(8, "little")
    low, _ = hashed(digests)

    assert low & 0xFFFFFFFF == 0x6384BA69


@given(before=st.binary(max_size=20), text=st.binary(max_size=40), after=st.binary(max_size=20))
def test_only_the_named_bytes_count(before, text, after):
    letters = np.frombuffer(before + text + after + b"\0", np.uint8).copy()

    low, high = fingerprint(letters, len(before), len(before) + len(text), np.uint64(0))

    assert (int(low), int(high)) == hashed(text)
