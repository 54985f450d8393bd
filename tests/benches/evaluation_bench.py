"""How often intervals of 95 % hold the truth, on the town whose truth is known, with the trees of the command itself.

python -m tests.benches.evaluation_bench [--runs N] [--households H] [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter

from insight.evaluation.evaluate import evaluate
from insight.uplift.evaluate import UpliftVerdict, evaluate_uplift
from tests.insight.town import known_town, lived, treated_town


def measure(*, runs: int, households: int) -> dict[str, object]:
    """Return how many of the runs each interval held the truth in, and how often each verdict was right."""
    town, held, right, began_s = known_town(), Counter[str](), Counter[str](), time.monotonic()
    for seed in range(runs):
        decisions, policy = lived(town, seed=seed, households=households)
        found = evaluate(decisions, policy)
        for name in ("dr", "ips", "snips"):
            one = getattr(found, name)
            held[name] += one is not None and one.low <= town.truth <= one.high
        for has_effect, verdict in ((True, UpliftVerdict.TARGETS), (False, UpliftVerdict.NOTHING_TO_TARGET)):
            trial, _ = treated_town(town, seed=seed, households=5 * households, share=0.5, has_effect=has_effect)
            right["effect" if has_effect else "no effect"] += evaluate_uplift(trial).verdict is verdict
    return {
        "runs": runs,
        "households": households,
        "held": {name: int(count) for name, count in held.items()},
        "right": {name: int(count) for name, count in right.items()},
        "seconds": round(time.monotonic() - began_s, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--households", type=int, default=700)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    told = measure(runs=options.runs, households=options.households)
    if options.json:
        print(json.dumps(told))
    else:
        for name, value in told.items():
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
