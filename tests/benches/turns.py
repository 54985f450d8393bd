"""Two trees of this repository taking turns at what a restart costs, so that a noisy machine is as noisy for both.

    python -m tests.benches.turns OTHER_TREE [--rounds N] [--records N]

Each tree runs its own `tests.benches.replay_bench.measure` with its own `.venv`, one after the other, in turns that
change places. Prints for each figure the least of both in microseconds, and the median of the rounds' ratios, this
tree's by the other's. Trees whose playbooks differ measure those, too: give both the same.
"""

import argparse
import json
import statistics
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]

ASKED = """
import json, sys
from tests.benches.replay_bench import measure
for line in sys.stdin:
    print(json.dumps(measure(int(line), 3)), flush=True)
"""


class Tree:
    """One of them, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [folder / ".venv" / "bin" / "python", "-c", ASKED],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def measure(self, records: int) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{records}\n")
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args} ended with {self._process.wait()}")
        found: dict[str, float] = json.loads(line)
        return {name: value for name, value in found.items() if name.endswith("_us")}

    def end(self) -> None:
        self._process.communicate()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--records", type=int, default=500)
    given = parser.parse_args()
    trees = [Tree(given.other.resolve()), Tree(HERE)]
    for one in trees:
        one.measure(given.records)  # compiles, and is not counted
    rounds = []
    for number in range(given.rounds):
        order = trees if number % 2 else trees[::-1]
        told = {one: one.measure(given.records) for one in order}
        rounds.append([told[one] for one in trees])
    for name in rounds[0][0]:
        other, own = ([one[place][name] for one in rounds] for place in (0, 1))
        ratio = statistics.median(mine / theirs for theirs, mine in zip(other, own, strict=True))
        print(f"{name:20} least {min(other):7.1f} and {min(own):7.1f} us, ratio {ratio:.3f}", flush=True)
    for one in trees:
        one.end()


if __name__ == "__main__":
    main()
