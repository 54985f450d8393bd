"""Whether what models learn from is what was served: so many decisions in a life of late signals, mergers, playbooks,
snapshots and restarts (tests/actors/parity_world.py), each folded from the log once more, and each row of the training
sets looked up among those that were scored.

python -m tests.benches.parity_bench [--decisions N] [--partitions P]
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from actors.exports.log_export import export_plans, export_table
from actors.exports.point_in_time import Parity, parity_of
from actors.log.contract import PartitionId
from actors.log.location import InFiles, partition_reader
from actors.log.reading import read_only_logs
from actors.snapshots.store import snapshot_store
from household.plan import Plan
from household.scoring import feature_schema
from serving.models.dataset import DatasetConfig, DatasetCounts, DecisionOutcomes, dataset_tables
from tests.actors.parity_world import TERMS, Life, live


def rows_scored(log: Path, plan: Plan, life: Life) -> tuple[int, int]:
    """Return how many rows the training set of a plan's schema has, and how many of them are rows that were scored."""
    read, config, rows, scored = partial(read_only_logs, log), DatasetConfig(), 0, 0
    outcomes = DecisionOutcomes(config)
    for table in export_table(read, "signals"):
        outcomes.add(table)
    names = feature_schema(plan).names
    for table in dataset_tables(
        export_table(read, "decisions"),
        outcomes,
        plan,
        plans=list(export_plans(read).values()),
        newest_us=life.end_us,
        config=config,
        counts=DatasetCounts(),
    ):
        matrix = np.column_stack([table[name].to_numpy() for name in names])
        rows += len(matrix)
        scored += sum(row.tobytes() in life.scored for row in matrix)
    return rows, scored


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--partitions", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        log, snapshots, began_s = Path(name) / "log", Path(name) / "snapshots", time.monotonic()
        asks = -(-options.decisions // len(TERMS))
        life = asyncio.run(
            live(
                log,
                snapshots=snapshots,
                asks_per_term=asks,
                partitions=range(options.partitions),
                together=96,
                households=max(options.decisions // 20, 200),
            )
        )
        lived_s = time.monotonic()
        print(f"lived: {life.asked:,} asked in {lived_s - began_s:.0f} s", flush=True)
        rows = [rows_scored(log, plan, life) for plan in (life.plans[0], life.plans[-1])]
        print(
            f"rows of training sets that were scored so: equal {sum(one for _, one in rows):,} of "
            f"{sum(all_of for all_of, _ in rows):,}",
            flush=True,
        )
        found, reader = Parity(), partition_reader(InFiles(log))
        for partition in range(options.partitions):
            found.add(parity_of(reader, snapshot_store(str(snapshots)), PartitionId(partition)))
        print(f"features folded from the log: equal {found.equal:,} of {found.decisions:,}")
        if found.first_difference:
            print(f"first difference: {found.first_difference}")
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"compared in {time.monotonic() - lived_s:.0f} s, peak memory {peak_mb:,.0f} MB with the life before")


if __name__ == "__main__":
    main()
