"""What it takes to train from a set on disk: seconds and the most memory held, by rows, for 60 columns.

python -m tests.benches.training_bench [--rows N ...] [--rounds R] [--threads T] [--device cpu|cuda]
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from household.plan import Plan
from household.scoring import CONTEXT_COLUMNS, OFFER_COLUMNS, feature_schema
from playbooks.compiler import compile_playbook
from serving.models.examples import TrainingConfig
from serving.models.training_at_size import Device, TrainingRun, train_from
from serving.models.training_sets import TrainingSet

COLUMNS = 60
CHUNK_ROWS = 131_072


@functools.cache
def wide() -> Plan:
    """Return a plan whose models see 60 columns."""
    counts = COLUMNS - len(OFFER_COLUMNS) - len(CONTEXT_COLUMNS)
    features = "\n".join(f"  household.f{one:02}: {{kind: count, events: visit}}" for one in range(counts))
    text = f"""\
playbook: {{name: wide, currency: EUR, clock: {{lateness: 1d, future: 5m}}}}
events: {{visit: {{source: app}}}}
features:
{features}
channels: {{app: {{inbound: true}}}}
families: [mobile]
offers:
  topup: {{family: mobile, price: 9.99, margin: 5, prior: 0.3, valid: 1d, treatments: {{app: Top up}}}}
journeys:
  contact: {{contact: [visit], offers: topup}}
"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wide.yaml"
        path.write_text(text, encoding="utf-8")
        return compile_playbook(path)


def write(file: Path, rows: int, *, seed: int = 1) -> None:
    """Write a training set of counts, some of which tell something, chunk by chunk."""
    names, draw, writer = feature_schema(wide()).names, np.random.default_rng(seed), None
    for first in range(0, rows, CHUNK_ROWS):
        count = min(CHUNK_ROWS, rows - first)
        values = draw.poisson(4, (len(names), count)).astype(np.float32)
        values[names.index("prior_acceptance")] = 0.3
        odds = 0.4 * (values[0] - values[1]) + 0.2 * values[2] * (values[3] > 4) - 2
        decided = pa.array(1_700_000_000_000_000 + (first + np.arange(count)) * 1_000, pa.timestamp("us", "UTC"))
        about = {"decided_at": decided, "label": pa.array(draw.random(count) < 1 / (1 + np.exp(-odds)))}
        table = pa.table(about | dict(zip(names, values, strict=True)))
        writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd")
        writer.write_table(table)
    assert writer is not None, "no rows"
    writer.close()


def train(file: Path, *, rounds: int, threads: int, device: Device) -> dict[str, object]:
    """Train, in this process, and tell what it took."""
    config = TrainingConfig(rounds_max=rounds, stopping_rounds=rounds, thread_count=threads)
    began_s, stages = time.monotonic(), dict[str, float]()

    def show(done: int, total: int | None, note: str) -> None:
        del done, total
        stages[note.split(",")[0]] = time.monotonic() - began_s

    draft = train_from(
        TrainingSet(file, feature_schema(wide())),
        wide(),
        seed=1,
        config=config,
        run=TrainingRun(device=device, show=show),
    )
    facts = draft.training
    return {
        "rows": facts.rows,
        "columns": len(draft.columns),
        "trees": facts.trees,
        "auc": round(facts.auc, 4),
        "seconds": round(time.monotonic() - began_s, 1),
        "until": {name: round(one, 1) for name, one in stages.items()},
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "on_disk_mb": round(file.stat().st_size / 1e6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", type=Device, default=Device.CPU)
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train is not None:
        told = train(options.train, rounds=options.rounds, threads=options.threads, device=options.device)
        print(json.dumps(told), flush=True)
        return
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            file, began_s = Path(folder) / "set.parquet", time.monotonic()
            write(file, rows)
            print(f"{rows:,} rows written in {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
            # A process of its own: its peak is that of the training alone.
            command = [sys.executable, "-m", "tests.benches.training_bench", "--train", str(file)]
            command += ["--rounds", str(options.rounds), "--threads", str(options.threads)]
            subprocess.run([*command, "--device", options.device.value], check=True)


if __name__ == "__main__":
    main()
