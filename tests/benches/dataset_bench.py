"""What a training set costs to write: rows a second and the most memory that `hearth models dataset` holds, by size.

A log of so many decisions is made first, of records of a life that was lived (tests/actors/parity_world.py), over and
over, in as many partitions as a data directory has: what the command holds depends on how many records there are, not
on what they say. Only decisions that become rows are taken, and what was reported of them.

python -m tests.benches.dataset_bench [--rows N ...]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from actors.exports.decisions import chosen
from actors.log.contract import PartitionId, Record, RecordKind
from actors.log.reading import read_only_logs
from actors.log.segments import SegmentStore
from actors.records import codec
from cluster.data_dir import LAYOUT_NAME, LAYOUT_VERSION
from serving.models.reported import ACCEPT
from tests.actors.parity_world import live

LIVED = 600
"""Decisions asked for in each term of the life."""
PARTITIONS = 8
PER_GROUP = 1_000


def lived(folder: Path) -> list[Record]:
    """Return records of the last term of a life in one partition, its plan first, all of one epoch."""
    asyncio.run(live(folder / "log", snapshots=folder / "snapshots", asks_per_term=LIVED))
    records = [stored.record for _, stored in read_only_logs(folder / "log")]
    plan_at = max(at for at, one in enumerate(records) if one.kind is RecordKind.PLAN)
    return [replace(one, epoch=records[-1].epoch) for one in records[plan_at:] if _is_told_of(one)]


def _is_told_of(record: Record) -> bool:
    match record.kind:
        case RecordKind.DECISION:
            return chosen(codec.decode_decision(record.payload).decision) is not None
        case RecordKind.SIGNALS:
            return ACCEPT.encode() in record.payload
        case kind:
            return kind is RecordKind.PLAN


def fill(log: Path, records: list[Record], decisions: int) -> None:
    """Write a log of so many decisions: the plan once in each partition, all else over and over."""
    plan, *others = records
    per_life = sum(one.kind is RecordKind.DECISION for one in others)
    store = SegmentStore(log)
    for partition in range(PARTITIONS):
        own = store.open(PartitionId(partition))
        own.append([plan])
        for _ in range(-(-decisions // (per_life * PARTITIONS))):
            for first in range(0, len(others), PER_GROUP):
                own.append(others[first : first + PER_GROUP])
        own.close()


def measure(folder: Path, records: list[Record], decisions: int) -> dict[str, object]:
    """Return what the command takes for a log of so many decisions; its process is the only child that is measured."""
    began_s = time.monotonic()
    (folder / LAYOUT_NAME).write_text(json.dumps({"layout": LAYOUT_VERSION, "partition_count": PARTITIONS}))
    fill(folder / "log", records, decisions)
    filled_s, out = time.monotonic(), folder / "set"
    command = [sys.executable, "-m", "cluster.cli", "models", "dataset", "--data-dir", str(folder), "--json"]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    took_s, told = time.monotonic() - filled_s, json.loads(done.stdout)
    return {
        "decisions": told["rows"] + sum(told["left_out"].values()),
        "rows": told["rows"],
        "seconds": round(took_s, 1),
        "rows_per_s": round(told["rows"] / took_s),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        "log_mb": _mb(folder / "log"),
        "set_mb": _mb(out),
        "made_in_s": round(filled_s - began_s, 1),
    }


def _mb(folder: Path) -> int:
    return round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        records = lived(Path(name))
    for rows in sorted(options.rows):
        with tempfile.TemporaryDirectory() as name:
            print(json.dumps(measure(Path(name), records, rows)), flush=True)


if __name__ == "__main__":
    main()
