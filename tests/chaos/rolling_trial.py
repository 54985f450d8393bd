"""One rolling restart after another on a real `hearth up` under load over its public port, for so many calls.

    python -m tests.chaos.rolling_trial [--calls 100000] [--rate 50] [--json]

Each call is tried once more if it fails, as docs/gateway.md has it. Prints how many failed all the same, how long the
answers took at rest and meanwhile, whether every process was replaced each time, and what the three judges say of the
log. As a control, every edge is killed in the end: then calls do fail. Exit code 1 if one failed before, or a judge
says no. tests/chaos/test_rolling.py runs a small one.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.actors.harness import CORNER
from tests.chaos.cluster_processes import Part, find, kill, until
from tests.chaos.oracles import Verdict, judge
from tests.chaos.plain_replay import records_in
from tests.chaos.steady import Count, SteadyLoad, steady_load
from tests.end_to_end.hearth_process import Hearth, command, running

PARTITIONS = 8
SHARDS, SPARES, EDGES = 2, 1, 2
REPLACED = {Part.SHARD: SHARDS + SPARES, Part.EDGE: EDGES, Part.COORDINATOR: 1}
"""What a rolling restart replaces, and how many of each there are."""
REST_S = 5.0
GONE_WITHIN_S = 30.0
"""An edge that was replaced finishes what it has."""
CONTROL_WITHIN_S = 60.0
ANSWERS_WITHIN_S = 120.0
RESTARTED_WITHIN_S = 600.0
"""A busy machine starts a process in a minute; what took how long is told."""


@dataclass(slots=True)
class Told:
    """What a trial saw."""

    at_rest: Count = field(default_factory=Count)
    restarting: Count = field(default_factory=Count)
    restarts_s: list[float] = field(default_factory=list)
    stayed: list[str] = field(default_factory=list)
    """Processes that outlived a restart, by what they are."""
    control: Count = field(default_factory=Count)
    """While every edge was away."""
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def calls(self) -> int:
        """How many were made before the control."""
        return self.at_rest.calls + self.restarting.calls

    def facts(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "calls": self.calls,
            "failed": self.at_rest.failed + self.restarting.failed,
            "at_rest": self.at_rest.told(),
            "restarting": self.restarting.told(),
            "restarts_s": [round(one, 1) for one in self.restarts_s],
            "stayed": self.stayed,
            "control_failed": self.control.failed,
            "judges": self.verdict.summary,
        }

    @property
    def summary(self) -> str:
        """For people."""
        now = self.restarting
        return (
            f"{len(self.restarts_s)} rolling restarts, each {min(self.restarts_s):.0f} to {max(self.restarts_s):.0f} s "
            f"and every process another one; {self.calls:,} calls, {now.calls:,} of them meanwhile: "
            f"{now.retried} tried again, {now.failed + self.at_rest.failed} failed; took {now.took.percentiles()} ms, "
            f"at rest {self.at_rest.took.percentiles()} ms; with every edge killed {self.control.failed} failed"
        )


@contextmanager
def _hearth(folder: Path) -> Iterator[Hearth]:
    (folder / "corner.yaml").write_text(CORNER, encoding="utf-8")
    settings = {
        "HEARTH_EDGE_COUNT": str(EDGES),
        "HEARTH_SPARE_SHARD_COUNT": str(SPARES),
        "HEARTH_SNAPSHOT_INTERVAL_S": "10",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        options = ("--playbook", str(folder / "corner.yaml"), "--shards", str(SHARDS), "--partitions", str(PARTITIONS))
        with running(folder / "data", *options) as hearth:
            yield hearth
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _standing(hearth: Hearth) -> dict[Part, set[int]]:
    return {part: {one.pid for one in find(hearth.process.pid, part)} for part in REPLACED}


def _all_are_there(hearth: Hearth) -> bool:
    return {part: len(pids) for part, pids in _standing(hearth).items()} == REPLACED


def _restarted(hearth: Hearth, told: Told) -> None:
    """Have everything replaced once; note how long it took and what stayed."""
    until(lambda: _all_are_there(hearth), within_s=GONE_WITHIN_S, what="all processes are there, and no more")
    before, began_s = _standing(hearth), time.monotonic()
    ended = command("restart", "--rolling", "--json", "--target", hearth.address, timeout_s=RESTARTED_WITHIN_S)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["settled"], ended.stdout
    told.restarts_s.append(time.monotonic() - began_s)
    until(lambda: _all_are_there(hearth), within_s=GONE_WITHIN_S, what="what was replaced is gone")
    after = _standing(hearth)
    told.stayed += [part.name for part in REPLACED if before[part] & after[part]]


async def trial(folder: Path, *, calls: int, rate: float) -> Told:
    """Restart over and over until so many calls were made, at so many visits and batches a second."""
    told = Told()
    with _hearth(folder) as hearth:
        async with steady_load(hearth.address, PARTITIONS, rate=rate) as load:
            await asyncio.sleep(REST_S)
            load.counted()  # what is asked first waits for connections, and for what is compiled at first use
            while told.calls < calls:
                await asyncio.sleep(REST_S)
                told.at_rest.add(load.counted())
                await asyncio.to_thread(_restarted, hearth, told)
                told.restarting.add(load.counted())
                tries = dict((told.at_rest.reasons + told.restarting.reasons).most_common())
                said = f"restarted in {told.restarts_s[-1]:.0f} s, {told.calls:,} calls; tried again for {tries}"
                print(said, file=sys.stderr, flush=True)
            await asyncio.to_thread(_control, hearth, load)
            told.control = load.counted()
            await asyncio.wait_for(load.end(), ANSWERS_WITHIN_S)
            await asyncio.sleep(3.0)  # pending moments are decided at the next tick
            await load.close()
        assert await asyncio.to_thread(hearth.stop) == 0
    told.verdict = await asyncio.to_thread(judge, records_in(folder / "data" / "log"), load.history, load.ledger)
    return told


def _control(hearth: Hearth, load: SteadyLoad) -> None:
    """Kill every edge at once, until a call has failed for good."""
    kill(find(hearth.process.pid, Part.EDGE))
    until(lambda: load.count.failed > 0, within_s=CONTROL_WITHIN_S, what="a call fails with every edge killed")


def main() -> int:
    """Run one, and print what it saw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=50.0, help="visits and batches a second, of about three calls")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hearth-rolling-") as folder:
        told = asyncio.run(trial(Path(folder), calls=given.calls, rate=given.rate))
    print(json.dumps(told.facts()) if given.json else f"{told.summary}\n{told.verdict.summary}")
    for one in told.verdict.violations[:20]:
        print(one, file=sys.stderr)
    is_well = not (told.at_rest.failed or told.restarting.failed or told.stayed or told.verdict.violations)
    return 0 if is_well and told.control.failed else 1


if __name__ == "__main__":
    sys.exit(main())
