"""Laws, on a real `hearth up` under load over its public port, on both logs, while its partitions move:
- scaled out and in, over and over, nothing acknowledged is lost, nothing doubled and nothing contradicted, as the
  judges see it at the end; a partition that moves is not served for a second at most, at p95;
- a shard that is killed at any step of a move, be it the one that lets go or the one that takes, costs a take-over:
  the partitions answer again, and what was asked for is done.

The tests of one log run in order and share one Hearth. What was measured is printed (-s).
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from actors.failpoints import Failpoint
from actors.log.contract import StoredRecord
from actors.log.kafka import kafka_store
from tests.actors.harness import CORNER
from tests.chaos.cluster_processes import Part, find, is_serving, until
from tests.chaos.oracles import judge
from tests.chaos.plain_replay import records_in
from tests.chaos.test_cluster import Traffic
from tests.end_to_end.hearth_process import Hearth, command, running
from tests.parts.kafka_broker import shared_broker

pytestmark = [pytest.mark.ray, pytest.mark.chaos, pytest.mark.timeout(3_000)]

CYCLES = int(os.environ.get("CHAOS_MOVE_CYCLES", "20"))
PARTITIONS = 8
MOST = int(os.environ.get("CHAOS_MOVE_SHARDS", "4"))
PAUSE_S_MAX = 1.0
SETTLES_S_MAX = 120.0
STEPS = (Failpoint.MOVE_PREPARED, Failpoint.MOVE_LET_GO, Failpoint.MOVE_PASSED_ON, Failpoint.EPOCH_OPENED)


@dataclass
class World:
    """A Hearth whose partitions move, its traffic, and where its log is."""

    hearth: Hearth
    traffic: Traffic
    folder: Path
    log_url: str
    """Empty for segment files."""

    def ask(self, *words: str) -> dict[str, Any]:
        ended = command(*words, "--json", "--target", self.hearth.address)
        assert ended.returncode == 0, ended.stderr
        told: dict[str, Any] = json.loads(ended.stdout)
        return told

    def dies_at(self, failpoint: Failpoint) -> Path:
        told = self.folder / "die-at"
        told.with_suffix(".new").write_text(failpoint)
        told.with_suffix(".new").replace(told)
        return told

    def settles(self, shards: int) -> None:
        pid = self.hearth.process.pid
        until(
            lambda: sum(map(is_serving, find(pid, Part.SHARD))) == shards,
            within_s=SETTLES_S_MAX,
            what=f"{shards} shards serve",
        )

    def records(self) -> dict[int, list[StoredRecord]]:
        if not self.log_url:
            return records_in(self.folder / "data" / "log")
        found: dict[int, list[StoredRecord]] = {partition: [] for partition in range(PARTITIONS)}
        for partition, stored in kafka_store(self.log_url).read_only():
            found[partition].append(stored)
        return found


@pytest.fixture(scope="module", params=["segments", "kafka"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp(f"moves-{request.param}")
    (folder / "corner.yaml").write_text(CORNER, encoding="utf-8")
    url = f"kafka://{shared_broker().bootstrap}/moves?replicas=1&min_insync=1" if request.param == "kafka" else ""
    options = ("--playbook", str(folder / "corner.yaml"), "--shards", "1", "--partitions", str(PARTITIONS))
    options += ("--log", url) if url else ()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAOS_DIE_AT", str(folder / "die-at"))
        patch.setenv("HEARTH_EDGE_COUNT", "1")
        patch.setenv("HEARTH_SPARE_SHARD_COUNT", "1")
        patch.setenv("HEARTH_REBALANCE_AFTER_S", "0")
        patch.setenv("HEARTH_LEASE_TERM_S", "2.5")
        # So that a shard follows from a snapshot, and not from the beginning of all.
        patch.setenv("HEARTH_SNAPSHOT_INTERVAL_S", "10")
        with running(folder / "data", *options, module="tests.chaos.dying_mover") as hearth:
            traffic = Traffic(hearth.address)
            try:
                yield World(hearth, traffic, folder, url)
            finally:
                traffic.close()


def show(line: str) -> None:
    print(f"\n    {line}", file=sys.stderr)


def test_scaled_out_and_in_over_and_over_every_partition_is_served_again_soon(world: World):
    pauses: list[float] = []
    known = world.traffic.remember()
    began_s = time.monotonic()
    moved = 0
    for _ in range(CYCLES):
        out = world.ask("scale", "--shards", str(MOST))
        assert out["settled"]
        held = [len(one["partitions"]) for one in out["shards"] if not one["spare"]]
        assert (len(held), sum(held), min(held) > 0) == (MOST, PARTITIONS, True)
        home = world.ask("scale", "--shards", "1")
        assert [len(one["partitions"]) for one in home["shards"] if not one["spare"]] == [PARTITIONS]
        pauses.append(home["pause_p95_ms"] / 1_000)
        moved = home["moved"]
        world.traffic.answers_again(known, set(range(PARTITIONS)))

    show(
        f"{CYCLES} times 1 → {MOST} → 1 in {time.monotonic() - began_s:.0f} s: {moved} moves; not served meanwhile: "
        f"p50 {home['pause_p50_ms']:.0f} ms, p95 {home['pause_p95_ms']:.0f} ms"
    )
    assert moved >= CYCLES * 2 * (MOST - 1)
    assert pauses[-1] <= PAUSE_S_MAX


@pytest.mark.parametrize("step", STEPS)
def test_a_shard_that_is_killed_at_a_step_costs_a_take_over(world: World, step: Failpoint):
    world.ask("scale", "--shards", "2")
    world.settles(3)
    known = world.traffic.remember()
    told = world.dies_at(step)
    began_s = time.monotonic()
    world.ask("drain", "shard-0")
    assert not told.exists(), "nobody came there"
    world.traffic.answers_again(known, set(range(PARTITIONS)))
    took_s = time.monotonic() - began_s
    filled = world.ask("drain", "shard-0", "--undo")

    show(f"killed at {step}: drained all the same, and all answer, after {took_s:.1f} s")
    assert filled["settled"]
    assert all(one["partitions"] for one in filled["shards"] if not one["spare"])


def test_nothing_is_lost_doubled_or_contradicted(world: World):
    """Runs last: Hearth is stopped, and its log holds everything."""
    traffic = world.traffic
    traffic.run(traffic.load.end())
    time.sleep(3.0)  # pending moments are decided at the next tick
    traffic.run(traffic.load.close())
    assert world.hearth.stop() == 0
    verdict = judge(world.records(), traffic.load.history, traffic.load.ledger)

    show(verdict.summary)
    verdict.assert_clean()
    assert verdict.acknowledged_events > 500
    assert verdict.decisions > 100
