"""What moving partitions costs those who ask: how long a partition is not served on its way, and how much less is
answered in time than while nothing moves.

    python -m tests.benches.moves_bench [--cycles 3] [--shards 4] [--rate 30] [--log kafka://…] [--json]

A real `hearth up` with one shard under the traffic of the chaos suites at a fixed rate: while nothing moves, then while
it is scaled to so many shards and back to one, as long as that takes; over and over, so that what else the machine does
falls on both alike. The pause is the coordinator's, from the word to let go to the word that it serves. Goodput is what
was answered within a second, moving against not moving; every call is tried once more if it fails. Exit code 1 if
goodput is below 90 % or the pause above a second at p95.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.actors.harness import CORNER
from tests.chaos.steady import Count, SteadyLoad, steady_load
from tests.end_to_end.hearth_process import command, running

PARTITIONS = 8
GOODPUT_MIN = 0.9
PAUSE_MS_MAX = 1_000.0
WARMING_S = 5.0
REST_S_MIN = 5.0


def _scaled(address: str, shards: int) -> dict[str, Any]:
    """Scale to so many shards; return how things stand once it is so."""
    ended = command("scale", "--shards", str(shards), "--json", "--target", address)
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    assert told["settled"], told
    return told


async def _measured(load: SteadyLoad, address: str, cycles: int, shards: int) -> dict[str, Any]:
    """Return what clients saw at rest and while partitions moved."""
    at_rest, moving, ratios, placement = Count(), Count(), [], {}
    await asyncio.sleep(WARMING_S)
    load.counted()
    cycle_s = REST_S_MIN
    for _ in range(cycles):
        # As long as a cycle takes: the first is not known before.
        await asyncio.sleep(cycle_s)
        resting = load.counted()
        began_s = time.monotonic()
        await asyncio.to_thread(_scaled, address, shards)
        placement = await asyncio.to_thread(_scaled, address, 1)
        cycle_s = max(REST_S_MIN, time.monotonic() - began_s)
        under_way = load.counted()
        ratios.append(round(under_way.goodput / resting.goodput, 3))
        at_rest.add(resting)
        moving.add(under_way)
    return {
        "at_rest": at_rest.told(),
        "moving": moving.told(),
        "moves": placement["moved"],
        "pause_p50_ms": placement["pause_p50_ms"],
        "pause_p95_ms": placement["pause_p95_ms"],
        "goodput": round(moving.goodput / at_rest.goodput, 3),
        "goodput_by_cycle": ratios,
    }


async def measured(address: str, given: argparse.Namespace) -> dict[str, Any]:
    """Put the traffic on a Hearth that runs, and scale it out and in."""
    async with steady_load(address, PARTITIONS, rate=given.rate) as load:
        return await _measured(load, address, given.cycles, given.shards)


def main() -> int:
    """Measure, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=3)
    parser.add_argument("--shards", type=int, default=4, help="to which it is scaled, from one")
    parser.add_argument("--rate", type=float, default=30.0, help="visits and batches a second, of about three calls")
    parser.add_argument("--log", default="", help="kafka://…; segment files if it is not given")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    os.environ["HEARTH_REBALANCE_AFTER_S"] = "0"
    os.environ["HEARTH_SNAPSHOT_INTERVAL_S"] = "10"
    with tempfile.TemporaryDirectory(prefix="hearth-moves-") as folder:
        playbook = Path(folder) / "corner.yaml"
        playbook.write_text(CORNER, encoding="utf-8")
        options = ["--playbook", str(playbook), "--shards", "1", "--partitions", str(PARTITIONS)]
        options += ["--log", given.log] if given.log else []
        with running(Path(folder) / "data", *options) as hearth:
            told = asyncio.run(measured(hearth.address, given))
    if given.json:
        print(json.dumps(told))
    else:
        for name in ("at_rest", "moving"):
            print(f"{name.replace('_', ' ')}: {told[name]}")
        print(
            f"{told['moves']} moves; not served meanwhile: p50 {told['pause_p50_ms']:.0f} ms, "
            f"p95 {told['pause_p95_ms']:.0f} ms; goodput {told['goodput']:.1%}, by cycle {told['goodput_by_cycle']}"
        )
    return 0 if told["goodput"] >= GOODPUT_MIN and told["pause_p95_ms"] <= PAUSE_MS_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
