"""How single values of the log become cells that other tools read: ids as text, times as timestamps, flags as bool."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

TIME = pa.timestamp("us", tz="UTC")
"""Every time in an export."""

YEAR_1_US, YEAR_10000_US = -62_135_596_800_000_000, 253_402_300_800_000_000
"""What a calendar can show; the reader of a file with a time beyond would fail on the whole column."""


def key_text(key: bytes) -> str:
    """Return a key or an id as text; bytes that are no UTF-8 as \\xNN."""
    return key.decode(errors="backslashreplace")


def keys_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of keys as text, each as `key_text`."""
    try:
        return pc.cast(column, pa.string())
    except pa.ArrowInvalid:
        texts = [None if key is None else key_text(key) for key in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])


def times(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return microseconds since 1970 as timestamps; those outside the calendar, such as none, are null."""
    is_known = pc.and_(pc.greater_equal(column, YEAR_1_US), pc.less(column, YEAR_10000_US))
    return pc.if_else(is_known, column, None).cast(TIME)


def flags(numbers: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return 1 as true and 0 as false; anything else is no flag, and null."""
    return pc.if_else(pc.or_(pc.equal(numbers, 0.0), pc.equal(numbers, 1.0)), pc.equal(numbers, 1.0), None)


def labels(codes: NDArray[np.floating], names: Sequence[str]) -> pa.Array:
    """Return the name of each code; null for one that is unknown (NaN) or names nothing."""
    is_named = (codes >= 0) & (codes < len(names))
    indices = pa.array(np.where(is_named, codes, 0).astype(np.int32), mask=~is_named)
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string())).cast(pa.string())
