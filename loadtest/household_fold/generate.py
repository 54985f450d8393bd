"""The events of the household fold: seeded, and the same numbers on every machine.

Two million events of twelve types in sorted event time over thirty days; households are drawn from a Zipf law, so that
one of 200,000 has 13 % of all events. Only numpy's PCG64 stream and its documented draws decide the numbers.
"""

import argparse
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

EVENT_COUNT = 2_000_000
"""Events of the whole job; its answers are stated for the first N of these."""

HOUSEHOLD_COUNT = 200_000
ZIPF_EXPONENT = 1.1
SEED = 20_240_611
MS_PER_DAY = 86_400_000
DAY_COUNT = 30
START_MS = 1_717_200_000_000
"""2024-06-01 00:00 UTC."""

WEIGHT_BY_TYPE = {
    "balance_check": 10.0,
    "topup": 6.0,
    "call": 22.0,
    "sms": 18.0,
    "data_session": 24.0,
    "bill_paid": 3.0,
    "bill_late": 1.5,
    "complaint": 1.5,
    "plan_view": 4.0,
    "device_view": 3.0,
    "roaming": 4.0,
    "churn_signal": 3.0,
}
TYPES = tuple(WEIGHT_BY_TYPE)

ANSWERS = {
    100_000: (772, "0ba18ce029fc01eb"),
    200_000: (1_431, "6334fa9420d85638"),
    1_000_000: (7_474, "cba5011ce2326c0f"),
    2_000_000: (15_406, "f69372c08406d5d7"),
}
"""(moments fired, checksum) that every correct engine finds in the first N events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldEvents:
    """The events as columns, all of one length."""

    households: NDArray[np.uint64]
    members: NDArray[np.uint32]
    kinds: NDArray[np.uint8]
    """Index into TYPES."""
    times_ms: NDArray[np.int64]
    amounts: NDArray[np.float64]
    """Multiples of 0.25, so that sums are exact in any order."""
    ids: NDArray[np.uint8]
    """(events, 16) bytes."""

    def first(self, count: int) -> "FoldEvents":
        """Return the first `count` events."""
        assert 0 <= count <= len(self.kinds)
        return FoldEvents(
            households=self.households[:count],
            members=self.members[:count],
            kinds=self.kinds[:count],
            times_ms=self.times_ms[:count],
            amounts=self.amounts[:count],
            ids=self.ids[:count],
        )


def scattered(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return one well-spread 64-bit number for each: the output function of SplitMix64 (Steele, Lea, Flood 2014).

    >>> hex(int(scattered(np.array([0], np.uint64))[0]))
    '0xe220a8397b1dcdaf'
    """
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)  # arrays of uint64 wrap without a warning
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def zipf_ranks(uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the household rank, 0 the busiest, that each uniform number in [0, 1) stands for."""
    mass = np.cumsum(np.arange(1, HOUSEHOLD_COUNT + 1, dtype=np.float64) ** -ZIPF_EXPONENT)
    return np.searchsorted(mass / mass[-1], uniforms).astype(np.int64)


def fold_events(count: int = EVENT_COUNT) -> FoldEvents:
    """Return the first `count` events."""
    return _all_events().first(count)


@lru_cache(maxsize=1)
def _all_events() -> FoldEvents:
    """All are always drawn, in this order: another order is another job."""
    draw = np.random.default_rng(SEED)
    ranks = zipf_ranks(draw.random(EVENT_COUNT))
    within_household = draw.integers(0, 5, EVENT_COUNT)
    weights = np.array(list(WEIGHT_BY_TYPE.values()))
    kinds = draw.choice(len(TYPES), EVENT_COUNT, p=weights / weights.sum())
    times_ms = np.sort(draw.integers(0, DAY_COUNT * MS_PER_DAY, EVENT_COUNT)) + START_MS
    amounts = np.round(draw.exponential(12.0, EVENT_COUNT) * 4) / 4
    ids = draw.integers(0, 256, (EVENT_COUNT, 16), dtype=np.uint8)
    household_of_rank = scattered(np.arange(HOUSEHOLD_COUNT, dtype=np.uint64)) >> np.uint64(1)
    return FoldEvents(
        households=household_of_rank[ranks],
        members=(ranks * 8 + within_household).astype(np.uint32),
        kinds=kinds.astype(np.uint8),
        times_ms=times_ms,
        amounts=amounts,
        ids=ids,
    )


def _ids_as_arrow(ids: NDArray[np.uint8], kind: pa.DataType) -> pa.Array:
    fixed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(ids), [None, pa.py_buffer(np.ascontiguousarray(ids))]
    )
    return fixed.cast(kind)


def as_table(events: FoldEvents) -> pa.Table:
    """Return the events as the yardstick's own table: numbers for households, members and types."""
    return pa.table(
        {
            "household_id": events.households,
            "member_id": events.members,
            "event_type": events.kinds,
            "event_time_ms": events.times_ms,
            "amount": events.amounts,
            "event_id": _ids_as_arrow(events.ids, pa.binary(16)),
        }
    )


def as_signals(events: FoldEvents) -> pa.RecordBatch:
    """Return the events as Ingest takes them: ids of 16 bytes, decimal keys, type names, microseconds, one field."""
    return pa.record_batch(
        {
            "event_id": _ids_as_arrow(events.ids, pa.binary()),
            "type": pa.DictionaryArray.from_arrays(pa.array(events.kinds.astype(np.int8)), pa.array(TYPES)),
            "household": pa.array(events.households).cast(pa.string()),
            "member": pa.array(events.members).cast(pa.string()),
            "time": pa.array(events.times_ms * 1_000),
            "amount": pa.array(events.amounts),
        }
    )


def main() -> None:
    """Write the yardstick's table, or with --signals what Ingest and `hearth ingest` take, as Parquet."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("out", help="Parquet file to write")
    arguments.add_argument("--events", type=int, default=EVENT_COUNT, help="only the first N")
    arguments.add_argument("--signals", action="store_true", help="columns as Ingest names them")
    given = arguments.parse_args()
    events = fold_events(given.events)
    table = pa.Table.from_batches([as_signals(events)]) if given.signals else as_table(events)
    pq.write_table(table, given.out, compression="zstd")


if __name__ == "__main__":
    main()
