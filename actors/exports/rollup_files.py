"""The two files of a rollup: signals in buckets by whom they were told of, and every other record as it is."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
from numpy.typing import NDArray

from actors.exports.signals import SignalColumns, schema_message
from actors.log.contract import LOG_START, Epoch, Offset, PartitionId, Record, RecordKind, StoredRecord
from household.graph.identifiers import normalised
from household.plan import Plan
from wire.batches import ipc_bytes

FORMAT: Final = 1
BUCKETS: Final = 64
"""Parts of all households, one of which is in memory at a time."""

_META: Final = b"hearth.rollup"
_PLAIN: Final = ("event_id",)
"""Texts that hardly repeat: a dictionary of them would be given up."""

RECORD_SCHEMA = pa.schema(
    [
        ("offset", pa.int64()),
        ("kind", pa.int16()),
        ("version", pa.int16()),
        ("epoch", pa.int64()),
        ("stamp", pa.int64()),
        ("payload", pa.binary()),
    ]
)


def bucket_of(name: str, buckets: int = BUCKETS) -> int:
    """Return the bucket of who is called so: a household key, or an identifier as it is compared.

    >>> 0 <= bucket_of("H1") < BUCKETS
    True
    """
    return _hash(name) % buckets


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollup:
    """The files of one."""

    first: Offset
    end: Offset
    """Exclusive."""
    signals: Path
    records: Path
    last: str
    """Fingerprint of its last record: a log that holds another one there is another log."""
    buckets: tuple[int, ...]
    """Signals in each."""
    kinds: Mapping[str, int]
    """By event type: the buckets that have any, a bit each."""
    newest_us: int
    """The time of its newest signal."""
    ahead_us: int
    """So far, at most, was one ahead of when it was recorded."""
    columns: Mapping[str, bool]
    """Of its signals: whether one is of texts that repeat."""
    footers: list[Any] = field(default_factory=list)
    since: Offset = LOG_START
    """What stands before was dropped from the log, and counts no more."""

    def footer(self) -> Any:
        """Return what its file of signals says of itself."""
        if not self.footers:
            self.footers.append(pq.read_metadata(self.signals))
        return self.footers[0]

    @property
    def rows(self) -> int:
        """How many signals it holds."""
        return sum(self.buckets)

    def table(self, bucket: int, columns: Sequence[str]) -> pa.Table | None:
        """Return some columns of the signals of a bucket, those that it has; None where there are none."""
        if not self.buckets[bucket]:
            return None
        texts = [name for name in columns if self.columns.get(name)]
        there = ["offset", *(name for name in columns if name in self.columns and name != "offset")]
        group = sum(count > 0 for count in self.buckets[:bucket])
        # The footer tells of every column of every bucket: it is looked at once.
        with pq.ParquetFile(self.signals, metadata=self.footer(), read_dictionary=texts, memory_map=True) as file:
            is_asked = self.since > self.first or "offset" in columns
            found = file.read_row_group(group, columns=there if is_asked else there[1:], use_threads=False)
        return found.filter(pc.field("offset") >= self.since) if self.since > self.first else found


def signals_of(batch: pa.RecordBatch, *, stamp_us: int, offset: int) -> pa.Table:
    """Return a batch of signals as `write_rollup` takes them, as if it were a record of a log."""
    payload = ipc_bytes(batch)
    record = Record(kind=RecordKind.SIGNALS, version=1, epoch=Epoch(1), stamp_us=stamp_us, payload=payload)
    return signals_table(PartitionId(0), [StoredRecord(offset=Offset(offset), record=record)])


def write_rollup(
    folder: Path,
    signals: pa.Table,
    records: Sequence[StoredRecord],
    *,
    first: Offset,
    end: Offset,
    last: str,
    count: int = BUCKETS,
) -> Rollup:
    """Write the two files of a rollup, each whole or not at all, and return it.

    Args:
        signals: as exported, with `offset`, in log order.
        records: what else stands there.
        last: fingerprint of its last record.
        count: of buckets.
    """
    signals_file, records_file = files_of(folder, first, end)
    buckets = buckets_by_name(signals, count)
    counts = np.bincount(buckets, minlength=count)
    told = {
        "format": FORMAT,
        "first": first,
        "end": end,
        "last": last,
        "buckets": counts.tolist(),
        "kinds": _kinds(signals, buckets, count),
        "newest_us": newest_of(signals, 2**62),
        "ahead_us": _ahead_us(signals),
        "columns": texts_in(signals.schema),
    }
    signals = signals.take(pa.array(np.argsort(buckets, kind="stable")))
    ends = np.cumsum(counts).tolist()
    groups = (signals.slice(start, end - start) for start, end in zip([0, *ends], ends, strict=False))
    # First what is no signal: what is there is what has a file of signals.
    with whole(records_file) as unfinished:
        pq.write_table(_record_table(records), unfinished, compression="zstd")
    with whole(signals_file) as unfinished:
        write_signals(unfinished, signals.schema, told, groups)
    return rollup_told(told, signals_file, records_file)


def write_signals(file: Path, schema: pa.Schema, told: Mapping[str, Any], groups: Iterable[pa.Table]) -> None:
    """Write signals, a row group for each bucket that has any."""
    schema = schema.with_metadata({_META: json.dumps(told)})
    repeating = [one for one in schema.names if one not in (*_PLAIN, "offset", "identity")]
    with pq.ParquetWriter(file, schema, compression="lz4", use_dictionary=repeating) as writer:
        for group in groups:
            if group.num_rows:
                writer.write_table(group.cast(schema), row_group_size=group.num_rows)


def files_of(folder: Path, first: Offset, end: Offset) -> tuple[Path, Path]:
    """Return where the signals and the other records of a rollup are."""
    name = f"{first:020d}-{end:020d}"
    return folder / f"{name}.signals.parquet", folder / f"{name}.records.parquet"


def texts_in(schema: pa.Schema) -> dict[str, bool]:
    """Return of each column whether it is of texts that repeat."""
    return {one.name: bool(pa.types.is_string(one.type)) and one.name not in _PLAIN for one in schema}


def fingerprint(stored: StoredRecord) -> str:
    """Return what tells a record from any other at its offset."""
    record = stored.record
    head = f"{stored.offset},{record.kind},{record.epoch},{record.stamp_us},".encode()
    return xxhash.xxh3_128_hexdigest(head + record.payload)


def present_rollups(folder: Path, count: int) -> list[Rollup]:
    """Return the rollups that are there, as far as each goes on where the one before ends.

    Of several that begin alike the longest counts: it was made of the others, which are still there.
    """
    by_first: dict[Offset, Rollup] = {}
    paths = sorted(folder.glob("*.signals.parquet"))
    for path in paths:
        rollup = _read(path)
        if rollup is not None and len(rollup.buckets) == count:
            longest = by_first.setdefault(rollup.first, rollup)
            by_first[rollup.first] = rollup if rollup.end > longest.end else longest
    # The first may be one that cannot be read: then nothing is there, though others follow.
    place, found = _first_of(paths[0]) if paths else LOG_START, list[Rollup]()
    while place in by_first:
        found.append(by_first[place])
        place = found[-1].end
    return found


def _first_of(path: Path) -> Offset:
    digits = path.name.partition("-")[0]
    return Offset(int(digits)) if digits.isdigit() else LOG_START


def _read(path: Path) -> Rollup | None:
    """Return a rollup that is there, None where it is not whole or of another format."""
    records = path.with_name(path.name.replace(".signals.", ".records."))
    try:
        told: dict[str, Any] = json.loads((pq.read_schema(path).metadata or {}).get(_META, b"{}"))
    except (OSError, pa.ArrowInvalid, ValueError):
        return None
    if told.get("format") != FORMAT or not records.is_file():
        return None
    return rollup_told(told, path, records)


def rollup_told(told: Mapping[str, Any], signals: Path, records: Path) -> Rollup:
    """Return a rollup by what its file of signals says of it."""
    return Rollup(
        first=Offset(told["first"]),
        end=Offset(told["end"]),
        signals=signals,
        records=records,
        last=told["last"],
        buckets=tuple(told["buckets"]),
        kinds=told["kinds"],
        newest_us=told["newest_us"],
        ahead_us=told["ahead_us"],
        columns=told["columns"],
    )


def _kinds(signals: pa.Table, buckets: NDArray[np.int64], count: int) -> dict[str, int]:
    codes, names = _coded(signals.column("type"))
    there = np.unique(codes * count + buckets)
    found: Counter[str] = Counter()
    for number in there[there >= 0].tolist():
        found[names[number // count]] |= 1 << (number % count)
    return dict(found)


def _times(signals: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    time_us, recorded_us = (signals[name].cast(pa.int64()).fill_null(0).to_numpy() for name in ("time", "recorded_at"))
    return time_us, recorded_us


def newest_of(signals: pa.Table, future_us: int) -> int:
    """Return the newest time of signals that are ahead of when they were recorded by so much at most; 0 for none."""
    time_us, recorded_us = _times(signals)
    return int(time_us[time_us - recorded_us <= future_us].max(initial=0))


def _ahead_us(signals: pa.Table) -> int:
    time_us, recorded_us = _times(signals)
    return int((time_us - recorded_us).max(initial=-(2**62)))


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """Yield where to write a file that takes its name once it is whole."""
    unfinished = file.with_name(f"{file.name}.part")
    try:
        yield unfinished
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def with_identity(table: pa.Table) -> pa.Table:
    """Return signals with a number that those that are one event have in common, and hardly any others."""
    ids = table.column("event_id").to_pylist()
    numbers = np.fromiter((_hash(one or "") for one in ids), np.uint64, len(ids))
    for name, factor in (
        ("household", 0x9E3779B97F4A7C15),
        ("identifier", 0xC2B2AE3D27D4EB4F),
        ("source", 0x165667B19E3779F9),
    ):
        if name in table.column_names:
            numbers ^= _of_names(table.column(name)) * np.uint64(factor)
    return table.append_column("identity", pa.array(numbers.view(np.int64)))


def _of_names(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    codes, names = _coded(column)
    # No text is the same as an empty one.
    numbers = np.array([0, *(_hash(one) if one else 0 for one in names)], np.uint64)
    return numbers[codes + 1]


def buckets_by_name(table: pa.Table, count: int) -> NDArray[np.int64]:
    """(rows,) the bucket of whom each was told of."""
    codes, names = _coded(table.column("household"))
    found = np.array([-1, *(bucket_of(one, count) if one else -1 for one in names)], np.int64)[codes + 1]
    if "identifier" in table.column_names:
        codes, names = _coded(table.column("identifier"))
        theirs = np.array([0, *(bucket_of(normalised(one) or one, count) for one in names)], np.int64)[codes + 1]
        return np.where(found >= 0, found, theirs)
    return np.maximum(found, 0)


def _coded(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str]]:
    encoded = column.combine_chunks().dictionary_encode()
    codes = encoded.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return np.asarray(codes, np.int64), encoded.dictionary.to_pylist()


def _record_table(records: Sequence[StoredRecord]) -> pa.Table:
    columns = [
        [stored.offset for stored in records],
        [int(stored.record.kind) for stored in records],
        [stored.record.version for stored in records],
        [stored.record.epoch for stored in records],
        [stored.record.stamp_us for stored in records],
        [stored.record.payload for stored in records],
    ]
    return pa.table([pa.array(one, kind.type) for one, kind in zip(columns, RECORD_SCHEMA, strict=True)], RECORD_SCHEMA)


def stored_in(rollup: Rollup) -> Iterator[StoredRecord]:
    """Yield the records of a rollup that are no signals."""
    with pq.ParquetFile(rollup.records) as file:
        for batch in file.iter_batches(batch_size=8_192):
            for offset, kind, version, epoch, stamp_us, payload in zip(
                *(one.to_pylist() for one in batch.columns), strict=True
            ):
                if offset >= rollup.since:
                    record = Record(
                        kind=RecordKind(kind), version=version, epoch=Epoch(epoch), stamp_us=stamp_us, payload=payload
                    )
                    yield StoredRecord(offset=Offset(offset), record=record)


NO_PLANS: Sequence[Plan] = ()
"""Flags stay numbers: what a playbook calls a flag may change, and a rollup stays."""


def signals_table(partition: PartitionId, records: Sequence[StoredRecord]) -> pa.Table:
    """Return the signals of some records of a partition, in log order."""
    messages = dict.fromkeys(schema_message(stored.record.payload) for stored in records)
    table = SignalColumns.of(messages, NO_PLANS).table([(partition, stored) for stored in records])
    return with_identity(table.drop_columns(["partition"]))
