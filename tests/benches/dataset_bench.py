"""What a training set costs to write: rows a second and the most memory that `hearth models dataset` holds, by size.

A log of so many decisions is made first, of records of a life that was lived (tests/actors/parity_world.py), over and
over with other ids of decisions and actions, in as many partitions as are asked for: with one, all reports are of one
partition. Only decisions that become rows are taken, and what was reported of them.

python -m tests.benches.dataset_bench [--rows N ...] [--partitions 8]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
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
ID = re.compile(rb"[0-9a-f]{20}")
"""Of a decision; those of its actions begin with it."""
ID_BITS = 80
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


def fill(log: Path, records: list[Record], decisions: int, partitions: int) -> None:
    """Write a log of so many decisions: the plan once in each partition, all else over and over, by other ids."""
    plan, *others = records
    per_life = sum(one.kind is RecordKind.DECISION for one in others)
    parts = [_parts(one.payload) for one in others]
    store, life = SegmentStore(log), 0
    for partition in range(partitions):
        own = store.open(PartitionId(partition))
        own.append([plan])
        for _ in range(-(-decisions // (per_life * partitions))):
            life += 1
            lived_again = [replace(one, payload=_joined(each, life)) for one, each in zip(others, parts, strict=True)]
            for first in range(0, len(others), PER_GROUP):
                own.append(lived_again[first : first + PER_GROUP])
        own.close()


def _parts(payload: bytes) -> list[bytes]:
    """Return what is no id and what is, in turns."""
    parts, end = [], 0
    for found in ID.finditer(payload):
        parts += [payload[end : found.start()], found.group()]
        end = found.end()
    return [*parts, payload[end:]]


def _joined(parts: list[bytes], life: int) -> bytes:
    """Return a payload with the ids that it has in one of many lives."""
    told = list(parts)
    for place in range(1, len(told), 2):
        other = (int(told[place], 16) + life * 0x9E3779B97F4A7C15F39D) % 2**ID_BITS
        told[place] = b"%020x" % other
    return b"".join(told)


def measure(folder: Path, records: list[Record], decisions: int, partitions: int) -> dict[str, object]:
    """Return what the command takes for a log of so many decisions; its process is the only child that is measured."""
    began_s = time.monotonic()
    (folder / LAYOUT_NAME).write_text(json.dumps({"layout": LAYOUT_VERSION, "partition_count": partitions}))
    fill(folder / "log", records, decisions, partitions)
    filled_s, out = time.monotonic(), folder / "set"
    command = [sys.executable, "-m", "cluster.cli", "models", "dataset", "--data-dir", str(folder), "--json"]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    took_s, told = time.monotonic() - filled_s, json.loads(done.stdout)
    return {
        "partitions": partitions,
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
    parser.add_argument("--partitions", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        records = lived(Path(name))
    for rows in sorted(options.rows):
        with tempfile.TemporaryDirectory() as name:
            print(json.dumps(measure(Path(name), records, rows, options.partitions)), flush=True)


if __name__ == "__main__":
    main()
