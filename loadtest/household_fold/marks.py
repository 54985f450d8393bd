"""The checksum of the household fold: a sum of one mark per moment, so that order and sharding do not matter."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

HOUSEHOLD_FACTOR = np.uint64(0x9E3779B97F4A7C15)
TIME_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
TRIGGER_FACTOR = np.uint64(0x94D049BB133111EB)
MEMBER_FACTOR = np.uint64(0xD6E8FEB86659FD93)


_ESCAPED = re.compile(rb"\\x([89a-f][0-9a-f])")


class UnknownJourney(Exception):
    """A moment of a journey that is not among the triggers of the job."""


def marks(
    households: NDArray[np.uint64],
    members: NDArray[np.uint64],
    triggers: NDArray[np.uint64],
    times_ms: NDArray[np.uint64],
    ids_low: NDArray[np.uint64],
) -> NDArray[np.uint64]:
    """Return one mark per moment; all arguments are (moments,) arrays.

    mark = x ^ (x >> 29) with x = household·a + time·b + (trigger + 1)·c + member·d + id, modulo 2^64.
    """
    x: NDArray[np.uint64] = households * HOUSEHOLD_FACTOR + times_ms * TIME_FACTOR
    x = x + (triggers + np.uint64(1)) * TRIGGER_FACTOR + members * MEMBER_FACTOR + ids_low
    return x ^ (x >> np.uint64(29))


def _numbers(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    """Return decimal keys as numbers."""
    return np.asarray(column.cast(pa.string()).cast(pa.uint64()).to_numpy(), dtype=np.uint64)


def _low_bytes(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    """Return the first 8 bytes of each id as a little-endian number; what is no UTF-8 stands as \\xNN in a text."""
    ids: list[bytes] = column.cast(pa.binary()).to_pylist()
    if pa.types.is_string(column.type):
        ids = [_ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), one) for one in ids]
    return np.frombuffer(b"".join(one[:8].ljust(8, b"\0") for one in ids), dtype="<u8").astype(np.uint64)


def checksum(moments: pa.Table, journeys: Sequence[str]) -> tuple[int, str]:
    """Return how many moments fired and the checksum over them as 16 hex digits.

    Args:
        moments: exported moments: household and member (decimal strings), journey, event_id (text or binary), time.
        journeys: names of the job's triggers, in their order.

    Raises:
        UnknownJourney: the table names a journey that is not among these.
    """
    if moments.num_rows == 0:
        return 0, f"{0:016x}"
    index = pc.index_in(moments["journey"].cast(pa.string()), value_set=pa.array(list(journeys), pa.string()))
    if index.null_count:
        strange = sorted(set(moments["journey"].to_pylist()) - set(journeys))
        raise UnknownJourney(f"journeys {strange} are not among {list(journeys)}")
    all_marks = marks(
        _numbers(moments["household"]),
        _numbers(moments["member"]),
        index.to_numpy().astype(np.uint64),
        moments["time"].cast(pa.int64()).to_numpy().astype(np.uint64) // np.uint64(1_000),
        _low_bytes(moments["event_id"]),
    )
    return moments.num_rows, f"{int(all_marks.sum(dtype=np.uint64)):016x}"


def main() -> None:
    """Print fired and checksum of a file of exported moments."""
    arguments = argparse.ArgumentParser(description="Print how many moments fired and their checksum.")
    arguments.add_argument("moments", type=Path, help="Parquet file of `hearth log export --kind moments`")
    arguments.add_argument("journeys", nargs="+", help="the job's triggers, in order")
    given = arguments.parse_args()
    fired, sum_of_marks = checksum(pq.read_table(given.moments), given.journeys)
    print(f"fired={fired} checksum={sum_of_marks}")


if __name__ == "__main__":
    main()
