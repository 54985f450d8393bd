"""How long an export of the signals in a log takes, beside a bare pyarrow write of the same table in the same run.

    python -m tests.benches.export_bench [--json] [--directory DIR] [--signals N] [--rows R [R ...]]

For each R the log holds records of R signals, over 8 partitions: what one call of a source becomes. The export reads
them from the disk; the bare write has the whole table in memory. Peak memory is that of the export alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.exports.log_export import export_table
from actors.log.contract import Epoch, PartitionId, Record, RecordKind
from actors.log.reading import read_only_logs
from actors.log.segments import SegmentStore
from actors.records import codec
from cluster.exporting import write_parquet
from loadtest.shipped import SHIPPED_PLAYBOOK
from playbooks.compiler import compile_playbook
from wire.batches import ipc_bytes

PARTITIONS = 8
START_US = 1_780_000_000_000_000
TYPES = ("app.balance_check", "network.streaming_session", "billing.topup", "wallet.payment")
GROUP_BYTES = 1 << 20


def a_batch(draw: np.random.Generator, first: int, rows: int) -> pa.RecordBatch:
    """Return signals as an edge sends them: text, numbers and flags, about half of the fields given."""

    def numbers(values: np.ndarray) -> pa.Array:
        return pa.array(values.astype(np.float64), mask=draw.random(rows) < 0.5)

    def keys(values: list[str]) -> pa.Array:
        return pa.array([one.encode() for one in values], pa.binary())

    return pa.record_batch(
        {
            "event_id": keys([f"source-{number:012}" for number in range(first, first + rows)]),
            "household": keys([f"H{number:06}" for number in draw.integers(0, 50_000, rows)]),
            "member": keys(["M1"] * rows),
            "type": pa.array(draw.choice(TYPES, rows)).dictionary_encode(),
            "time": pa.array(START_US + draw.integers(0, 10**12, rows)),
            "n:minutes": numbers(draw.random(rows) * 60),
            "n:amount_minor": numbers(draw.integers(0, 10_000, rows)),
            "n:evening": numbers(draw.integers(0, 2, rows)),
            "s:streaming_pack": pa.array(draw.choice(["series_plus", "sports_live"], rows)).dictionary_encode(),
            "s:merchant_category": pa.array([f"shop {n}" for n in draw.integers(0, 999, rows)]).dictionary_encode(),
        }
    )


def _alone(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a piece of a batch with dictionaries of its own, as if it had come by itself."""
    return pa.record_batch(
        [
            column.dictionary_decode().dictionary_encode() if pa.types.is_dictionary(column.type) else column
            for column in batch.columns
        ],
        batch.schema.names,
    )


def fill(directory: Path, *, signals: int, rows: int) -> None:
    """Write a log of so many signals."""
    draw, store = np.random.default_rng(1), SegmentStore(directory)
    logs = [store.open(PartitionId(partition)) for partition in range(PARTITIONS)]
    plan = codec.encode_plan(compile_playbook(SHIPPED_PLAYBOOK))
    for log in logs:
        log.append([Record(kind=RecordKind.PLAN, version=1, epoch=Epoch(1), stamp_us=START_US, payload=plan)])
    # Records of single signals are cut from larger batches: making them one by one would take longer than the export.
    together = max(rows, 10_000 // rows * rows)
    for number, first in enumerate(range(0, signals, together)):
        batch = a_batch(draw, first, min(together, signals - first))
        payloads = [ipc_bytes(_alone(batch.slice(start, rows))) for start in range(0, batch.num_rows, rows)]
        made = [
            Record(kind=RecordKind.SIGNALS, version=1, epoch=Epoch(1), stamp_us=START_US + first, payload=payload)
            for payload in payloads
        ]
        per_group = max(1, GROUP_BYTES // len(payloads[0]))
        for start in range(0, len(made), per_group):
            logs[number % PARTITIONS].append(made[start : start + per_group])
    for log in logs:
        log.close()


def export(directory: Path, file: Path) -> dict[str, float]:
    """Export the log in `directory`; return rows, seconds, and the peak memory of this process in MB."""
    began = time.perf_counter()
    rows = write_parquet(export_table(partial(read_only_logs, directory), "signals"), file, lambda *_: None)
    elapsed_s = time.perf_counter() - began
    return {
        "rows": rows,
        "export_s": round(elapsed_s, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024),
    }


def measure(folder: Path, *, signals: int, rows: int) -> dict[str, float]:
    """Return what one size of records costs, and how it compares."""
    fill(folder / "log", signals=signals, rows=rows)
    exported = folder / "signals.parquet"
    # A process of its own: peak memory is to be that of the export, not of the making.
    arguments = ["--export", str(folder / "log"), "--out", str(exported)]
    asked = subprocess.run(
        [sys.executable, "-m", "tests.benches.export_bench", *arguments], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(asked.stdout)
    table = pq.read_table(exported)
    began = time.perf_counter()
    pq.write_table(table, folder / "bare.parquet", compression="zstd")
    bare_s = time.perf_counter() - began
    ratio = round(found["export_s"] / bare_s, 2)
    return {"rows_per_record": rows} | found | {"bare_write_s": round(bare_s, 2), "ratio": ratio}


def main() -> None:
    """Print one line per size of records."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--directory", type=Path, help="where to write; a temporary folder by default")
    arguments.add_argument("--signals", type=int, default=1_000_000)
    arguments.add_argument("--rows", type=int, nargs="+", default=[1_000, 100, 10])
    arguments.add_argument("--export", type=Path, help=argparse.SUPPRESS)
    arguments.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.export is not None:
        print(json.dumps(export(given.export, given.out)))
        return
    for rows in given.rows:
        with tempfile.TemporaryDirectory(dir=given.directory) as folder:
            found = measure(Path(folder), signals=given.signals, rows=rows)
        print(json.dumps(found) if given.json else "  ".join(f"{name}={value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
