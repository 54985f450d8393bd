"""How fast the embedded log appends durably, beside bare write + fdatasync of the same bytes in the same run.

    python -m tests.benches.log_bench [--json] [--directory DIR] [--seconds S]

Both sides take turns in short rounds, so that a slow moment of the disk hits both; the figures are medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from actors.log.contract import Epoch, Offset, PartitionId, Record, RecordKind
from actors.log.frame import Checksum, encode_group
from actors.log.segments import SegmentStore

BATCH_COUNTS = (1, 100, 1_000)
PAYLOAD_BYTES = 200
ROUND_COUNT = 20


def groups_per_second(append: Callable[[], object], *, duration_s: float) -> float:
    count = 0
    begin = time.perf_counter()
    while (elapsed_s := time.perf_counter() - begin) < duration_s:
        append()
        count += 1
    return count / elapsed_s


def bare_append(path: Path, content: bytes) -> Callable[[], object]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)

    def append() -> None:
        os.write(descriptor, content)
        os.fdatasync(descriptor)

    return append


def measure(directory: Path, batch_count: int, *, duration_s: float) -> dict[str, float]:
    """Return records per second of log and bare file, their ratio, and the microseconds of framing one record."""
    records = [
        Record(kind=RecordKind.SIGNALS, version=1, epoch=Epoch(1), stamp_us=index, payload=os.urandom(PAYLOAD_BYTES))
        for index in range(batch_count)
    ]
    framed, _ = encode_group(records, offset=Offset(0), previous=Checksum(0))
    log = SegmentStore(directory / "log").open(PartitionId(batch_count))
    bare = bare_append(directory / f"bare-{batch_count}", framed)
    logged_rates, bare_rates = [], []
    for _ in range(ROUND_COUNT):
        logged_rates.append(groups_per_second(lambda: log.append(records), duration_s=duration_s / ROUND_COUNT))
        bare_rates.append(groups_per_second(bare, duration_s=duration_s / ROUND_COUNT))

    def encode() -> object:
        return encode_group(records, offset=Offset(0), previous=Checksum(0))

    framing = groups_per_second(encode, duration_s=0.3)
    begin = time.perf_counter()
    read_count = sum(1 for _ in log.read(Offset(0)))
    read_s = time.perf_counter() - begin
    log.close()
    logged, plain = statistics.median(logged_rates) * batch_count, statistics.median(bare_rates) * batch_count
    return {
        "batch": batch_count,
        "log_records_per_s": round(logged),
        "bare_records_per_s": round(plain),
        "ratio": round(logged / plain, 3),
        "framing_us_per_record": round(1e6 / (framing * batch_count), 3),
        "read_records_per_s": round(read_count / read_s),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--directory", type=Path, help="on the disk to measure; by default a temporary one")
    parser.add_argument("--seconds", type=float, default=3.0, help="per side and batch size")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        results = [measure(Path(directory), count, duration_s=arguments.seconds) for count in BATCH_COUNTS]
    if arguments.json:
        print(json.dumps({"payload_bytes": PAYLOAD_BYTES, "appends": results}))
        return
    for row in results:
        print("  ".join(f"{name} {value:,}" for name, value in row.items()))


if __name__ == "__main__":
    main()
