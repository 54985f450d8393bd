"""What `hearth kpis` takes over a log of many events: to roll it up once, and to ask.

    python -m tests.benches.kpis_bench [--events N] [--from-log] [--json] [--directory DIR]

With --from-log a log of N signals is written and rolled up; without, rollups of N signals are written as those of a log
would be, which a machine has time for at a hundred million. Then everything is asked that `hearth kpis` prints, over
parts, as the command does, in a process of its own; beside it stands a bare scan: Arrow reads the columns that are
needed, and adds up the amounts.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.exports.rollup_files import signals_of, write_rollup
from actors.exports.rollups import ROWS_MOST, Rollups
from actors.log.contract import Epoch, Offset, PartitionId, Record, RecordKind
from actors.log.location import InFiles, PartitionReader, partition_reader
from actors.log.segments import SegmentStore
from wire.batches import ipc_bytes

PARTITIONS = 8
DAY_US = 86_400_000_000
START_US = 1_790_000_000_000_000
DAYS = 75
PER_HOUSEHOLD = 100
"""Events of a household over all days."""

KINDS = {
    "network.data_session": 0.40,
    "app.session_started": 0.17,
    "network.streaming_session": 0.13,
    "network.gaming_session": 0.06,
    "wallet.payment": 0.09,
    "billing.topup": 0.05,
    "billing.bill_issued": 0.03,
    "partner.purchase": 0.02,
    "billing.product_activated": 0.02,
    "billing.product_deactivated": 0.005,
    "wallet.activated": 0.005,
    "billing.refund": 0.005,
    "wallet.refund": 0.005,
    "network.cell_changed": 0.01,
}
"""Shares of the types; the last is not measured."""

PRODUCTS = ("mobile", "extra_line", "broadband", "content", "smart_home", "gaming", "family_bundle")


def a_batch(draw: np.random.Generator, *, first: int, rows: int, partition: int, events: int) -> pa.RecordBatch:
    """Return signals of some of the households, as an edge sends them, by and by over all days."""
    kinds = np.array(list(KINDS))[draw.choice(len(KINDS), rows, p=np.array(list(KINDS.values())))]
    households = draw.integers(0, max(events // PER_HOUSEHOLD // PARTITIONS, 1), rows) * PARTITIONS + partition
    span_us = DAYS * DAY_US
    # By fractions: the product of a number and the span is beyond 64 bits from a million events on.
    gone = ((first + np.arange(rows)) / events * span_us).astype(np.int64)
    time_us = START_US + gone + draw.integers(-DAY_US // 24, 1, rows)
    has_amount = np.char.startswith(kinds, "billing.") | (kinds == "partner.purchase")
    product = np.array(PRODUCTS)[draw.integers(0, len(PRODUCTS), rows)]
    is_refund = kinds == "billing.refund"

    def texts(values: np.ndarray, is_there: np.ndarray) -> pa.Array:
        return whole(pa.array(values, mask=~is_there)).dictionary_encode()

    ids = np.char.add("e", (first + np.arange(rows)).astype(str))
    named = np.char.add("e", (first + draw.integers(0, rows, rows)).astype(str))
    return pa.record_batch(
        {
            "event_id": whole(pa.array(ids)).cast(pa.binary()),
            "household": whole(pa.array(np.char.add("H", households.astype(str)))).cast(pa.binary()),
            "member": whole(pa.array(np.char.add("M", draw.integers(0, 3, rows).astype(str)))).cast(pa.binary()),
            "type": whole(pa.array(kinds)).dictionary_encode(),
            "time": pa.array(time_us),
            "n:amount_minor": pa.array(draw.integers(90, 5_000, rows).astype(np.float64), mask=~has_amount),
            "n:minutes": pa.array(draw.random(rows) * 60, mask=has_amount),
            "s:product": texts(product, np.char.startswith(kinds, "billing.product")),
            "s:sale": texts(named, is_refund),
            "s:payment": texts(named, kinds == "wallet.refund"),
        }
    )


def whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column of texts in one piece: of a million Arrow makes several."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def write_log(directory: Path, *, events: int, rows: int = 2_000) -> None:
    """Write a log of so many signals, some thousand in a record."""
    draw, store = np.random.default_rng(1), SegmentStore(directory)
    logs = [store.open(PartitionId(partition)) for partition in range(PARTITIONS)]
    for number, first in enumerate(range(0, events, rows)):
        partition = number % PARTITIONS
        batch = a_batch(draw, first=first, rows=min(rows, events - first), partition=partition, events=events)
        record = Record(
            kind=RecordKind.SIGNALS,
            version=1,
            epoch=Epoch(1),
            stamp_us=int(pc.max(batch["time"]).as_py()),
            payload=ipc_bytes(batch),
        )
        logs[partition].append([record])
    for one in logs:
        one.close()


def write_rollups(folder: Path, *, events: int) -> None:
    """Write rollups of so many signals, as those of a log would be."""
    draw = np.random.default_rng(1)
    offsets = [0] * PARTITIONS
    rows = min(ROWS_MOST, max(events // PARTITIONS, 1))
    for number, first in enumerate(range(0, events, rows)):
        partition, count = number % PARTITIONS, min(rows, events - first)
        batch = a_batch(draw, first=first, rows=count, partition=partition, events=events)
        table = signals_of(batch, stamp_us=int(pc.max(batch["time"]).as_py()), offset=offsets[partition])
        end = offsets[partition] + 1
        (folder / f"p-{partition:04d}").mkdir(parents=True, exist_ok=True)
        write_rollup(
            folder / f"p-{partition:04d}", table, [], first=Offset(offsets[partition]), end=Offset(end), last="bench"
        )
        offsets[partition] = end


def ask(folder: Path) -> dict[str, Any]:
    """Ask all that `hearth kpis` prints."""
    from cluster.rolled import asked_of_rollups
    from insight.measures.adding_up import Sums
    from insight.measures.knowledge import months_of
    from insight.measures.kpis import WINDOW_US
    from insight.measures.use import uses_asked_since_us

    began, began_processor_s = time.perf_counter(), time.process_time()
    log = asked_of_rollups(Rollups(folder, _nothing_new(folder)).present())
    whole = None
    for one in log.over_parts(
        lambda part: _sums(Sums(time_us=log.end_us, zone="UTC", months=2, by="", window_us=WINDOW_US), part),
        time_us=log.end_us,
        known_us=None,
        uses_since_us=uses_asked_since_us(months_of(time_us=log.end_us, count=2, zone="UTC")),
    ):
        if whole is None:
            whole = one
        else:
            whole.merge(one)
    assert whole is not None
    rows = {row.name: row.numerator for row in whole.rows()}
    took_s = time.perf_counter() - began
    processor_s = time.process_time() - began_processor_s
    return {
        "seconds": took_s,
        "processor_seconds": processor_s,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "rows": rows,
    }


def _sums(sums: Any, part: Any) -> Any:
    sums.add(part)
    return sums


def _nothing_new(folder: Path) -> PartitionReader:
    partitions = tuple(PartitionId(int(one.name[2:])) for one in sorted(folder.glob("p-*")))
    return PartitionReader(partitions=lambda: partitions, read=lambda partition, start: iter(()))


def scan(folder: Path) -> float:
    """Return the seconds of a bare scan of the columns that are needed."""
    began = time.perf_counter()
    total = 0.0
    columns = ["time", "recorded_at", "household", "member", "type", "event_id", "identity", "amount_minor"]
    for file in sorted(folder.glob("p-*/*.signals.parquet")):
        table = pq.read_table(file, columns=columns, read_dictionary=["household", "member", "type"])
        total += pc.sum(table["amount_minor"]).as_py() or 0.0
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--from-log", action="store_true")
    parser.add_argument("--directory", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--ask", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ask is not None:
        print(json.dumps(ask(given.ask)))
        return
    directory = Path(tempfile.mkdtemp(prefix="kpis-bench-", dir=given.directory))
    try:
        found = measure(directory, events=given.events, from_log=given.from_log)
    finally:
        shutil.rmtree(directory)
    if given.json:
        print(json.dumps(found))
        return
    print(f"{found['events']:,} events, {found['bytes_each']:.1f} bytes each in rollups")
    print(f"  rolled up in   {found['roll_seconds']:8.1f} s{'' if given.from_log else ' (written as rows, no log)'}")
    busy = f"{found['processor_seconds']:.1f} s of processors, {found['peak_mb']:,.0f} MB at most"
    print(f"  asked in       {found['seconds']:8.1f} s, {busy}")
    print(
        f"  a bare scan in {found['scan_seconds']:8.1f} s: {found['seconds'] / found['scan_seconds']:.1f} times as long"
    )


def measure(directory: Path, *, events: int, from_log: bool) -> dict[str, Any]:
    """Return what it took."""
    folder = directory / "rollups"
    if from_log:
        write_log(directory / "log", events=events)
    began = time.perf_counter()
    if from_log:
        Rollups(folder, partition_reader(InFiles(directory / "log")), rows_least=1).extend()
    else:
        write_rollups(folder, events=events)
    roll_s = time.perf_counter() - began
    asked = [sys.executable, "-m", "tests.benches.kpis_bench", "--ask", str(folder)]
    told = json.loads(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)
    size = sum(one.stat().st_size for one in folder.rglob("*.parquet"))
    return {
        "events": events,
        "from_log": from_log,
        "bytes_each": size / events,
        "roll_seconds": roll_s,
        "seconds": told["seconds"],
        "processor_seconds": told["processor_seconds"],
        "peak_mb": told["peak_mb"],
        "scan_seconds": scan(folder),
        "rows": told["rows"],
    }


if __name__ == "__main__":
    main()
