"""Whether anybody in a control group is treated, whichever way it would go out: as many decisions as one likes.

    python -m tests.benches.control_bench [--decisions 1000000] [--first 0]

Households are asked about on two inbound channels, spoken to unasked, and handed over to again; in between everything
starts again from a snapshot, the control groups grow under a new version, and every other household is merged with the
next. The judge draws by itself (tests/household/control_world.py). Prints JSON; exit code 1 where it found anything.
How often an A/A test is significant: `tests.benches.experiments_bench`.
"""

import argparse
import json
import sys
import time
from collections import Counter

from tests.household.control_world import WAYS, World

HOUSEHOLDS = 400
"""In one partition."""


def run(decisions: int, first: int) -> dict[str, object]:
    """Return what was found over so many decisions at least."""
    began_s, number, done = time.process_time(), first, 0
    ways, told = Counter[str](), Counter[str]()
    findings: list[str] = []
    while done < decisions:
        counts = World(number).live(HOUSEHOLDS)
        number, done = number + HOUSEHOLDS, done + counts.decisions
        ways.update(counts.ways)
        told.update(withheld=counts.withheld, ghosts=counts.ghosts)
        findings += counts.findings
    assert all(ways[way] for way in WAYS), "nothing went out on some way"
    return {
        "decisions": done,
        "households": number - first,
        **ways,
        **told,
        "findings": len(findings),
        "first": findings[:5],
        "cpu_s": round(time.process_time() - began_s, 1),
    }


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first household")
    given = parser.parse_args()
    found = run(given.decisions, given.first)
    print(json.dumps(found, indent=2))
    return 1 if found["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
