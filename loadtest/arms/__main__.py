"""`python -m loadtest.arms`: what becomes of a town under control, batch and moment, and the means of each.

`python -m tests.benches.town_arms_bench` says with which certainty an experiment would have found what it brought.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from loadtest.arms.assumptions import Assumptions
from loadtest.arms.outcomes import ArmName, ArmOutcomes
from loadtest.arms.quarter import Stay
from loadtest.arms.town_run import QUARTER_HOUSEHOLDS, live_towns
from loadtest.shipped import SHIPPED_PLAYBOOK

COLUMNS = ("conversion", "revenue_minor", "margin_minor", "left", "sent", "shown", "accepted")


def means(found: ArmOutcomes) -> dict[str, dict[str, float]]:
    """Return the means of each arm, per household over the whole span."""
    return {
        arm: {name: round(float(np.mean(getattr(found, name)[row])), 6) for name in COLUMNS}
        for row, arm in enumerate(ArmName)
    }


def main() -> None:
    """Live, and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--households", type=int, default=2_000)
    arguments.add_argument("--days", type=int, default=30)
    arguments.add_argument("--days-before", type=int, default=28, help="in which nothing is said")
    arguments.add_argument("--pilot", type=int, default=1_000, help="other households, of whom both arms have learned")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--processes", type=int, default=2)
    arguments.add_argument("--quarter", type=int, default=QUARTER_HOUSEHOLDS, help="households of each part")
    arguments.add_argument("--playbook", type=Path, default=SHIPPED_PLAYBOOK)
    arguments.add_argument("--out", type=Path, help="NumPy archive of what became of each household")
    given = arguments.parse_args()
    stay = Stay(seed=given.seed, households=given.households, days=given.days, days_before=given.days_before)
    (found,) = live_towns(
        [(stay, Assumptions())],
        pilot_households=given.pilot,
        playbook=given.playbook,
        processes=given.processes,
        quarter=given.quarter,
    )
    if given.out is not None:
        found.save(given.out)
    print(json.dumps(means(found)))


if __name__ == "__main__":
    main()
