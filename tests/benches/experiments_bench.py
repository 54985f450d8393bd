"""How often experiments are judged rightly, on the town whose truth is known.

python -m tests.benches.experiments_bench [--runs N] [--json]

A/A: how often twenty looks find a difference where there is none. Coverage: how often intervals of 95 % hold the true
effect. Verdicts: how often the first word of twenty looks is right where treating brings nothing, harms, or is worth
it, on as many households as planning asks for.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter

import numpy as np

from insight.experiments.effect import Measured, difference
from insight.experiments.planning import households_needed_anytime
from insight.experiments.sample_ratio import Counted, sample_ratios
from insight.experiments.verdict import LaunchVerdict, Reading, Stakes, decide_arm, read
from insight.intervals import Estimate
from tests.insight.experiment_town import Lived, Treatment, lived, looks, treatment

ZERO, HARMFUL, WORTHWHILE = 0.0, -0.15, 0.15
"""Lifts."""
POWER = 0.98
HOUSEHOLDS = 2_000
CONTROL_SHARE = 0.3


def a_a(*, runs: int, households: int = HOUSEHOLDS) -> Counter[str]:
    """Return in how many of the runs anything was found at any of twenty looks, where there is nothing."""
    found: Counter[str] = Counter()
    for seed in range(runs):
        one = lived(treatment(ZERO), seed=seed, households=households, control_share=CONTROL_SHARE)
        conversions = [read_one("conversion", one, count) for count in looks(households)]
        arpus = [read_one("arpu", one, count) for count in looks(households)]
        found["conversion"] += any(is_found(reading.anytime) for reading in conversions)
        found["arpu"] += any(is_found(reading.anytime) for reading in arpus)
        found["sample ratio"] += any(is_ratio_off(one.is_control[:count]) for count in looks(households))
        found["conversion, intervals of one look"] += any(is_found(reading.effect) for reading in conversions)
    return found


def is_found(one: Estimate) -> bool:
    """Return whether an interval says that there is something."""
    return not one.low <= 0.0 <= one.high


def coverage(
    *, runs: int, lifts: tuple[float, ...] = (HARMFUL, WORTHWHILE), households: int = 2 * HOUSEHOLDS
) -> Counter[str]:
    """Return in how many of the runs each interval of 95 % held the true effect."""
    held: Counter[str] = Counter()
    for lift in lifts:
        done = treatment(lift)
        for seed in range(runs):
            one = lived(done, seed=seed, households=households, control_share=CONTROL_SHARE)
            for name, truth in (("conversion", done.conversion), ("arpu", done.revenue)):
                effect = read_one(name, one, households).effect
                held[f"{name}, lift {lift:+g}"] += effect.low <= truth <= effect.high
            plain = difference(one.arpu(households, with_past=False)).estimate()
            held[f"arpu without the past, lift {lift:+g}"] += plain.low <= done.revenue <= plain.high
    return held


def verdicts(*, runs: int) -> tuple[Counter[str], int]:
    """Return how often the first word was right, by effect, and on how many households at most."""
    worthwhile = treatment(WORTHWHILE).conversion
    pilot = lived(treatment(ZERO), seed=10_000, households=HOUSEHOLDS, control_share=CONTROL_SHARE)
    stakes = Stakes(worthwhile=worthwhile)
    households = households_needed_anytime(
        variance=difference(pilot.conversion(HOUSEHOLDS)).variance, effect=worthwhile, power=POWER
    )
    right: Counter[str] = Counter()
    wanted = {"zero": ZERO, "harmful": HARMFUL, "worthwhile": WORTHWHILE}
    for seed in range(runs):
        for name, lift in wanted.items():
            word = first_word(treatment(lift), seed=seed, households=households, stakes=stakes)
            right[name] += word is (LaunchVerdict.LAUNCH if lift == WORTHWHILE else LaunchVerdict.DO_NOT)
            right[f"launched: {name}"] += word is LaunchVerdict.LAUNCH
    return right, households


def first_word(done: Treatment, *, seed: int, households: int, stakes: Stakes) -> LaunchVerdict:
    """Return the first verdict of twenty looks that is not *not enough yet*."""
    one = lived(done, seed=seed, households=households, control_share=CONTROL_SHARE)
    word = LaunchVerdict.NOT_YET
    for count in looks(households):
        reading = read_one("conversion", one, count)
        word = decide_arm(reading, arm="treated", guards=(), unsound="", stakes=stakes).verdict
        if word is not LaunchVerdict.NOT_YET:
            break
    return word


def read_one(name: str, one: Lived, households: int) -> Reading:
    """Return what the treated are ahead of control by then."""
    measured: Measured = one.conversion(households) if name == "conversion" else one.arpu(households)
    found = read(measured, measure=name, arm="treated", arms=1, stakes=Stakes())
    assert found is not None
    return found


def is_ratio_off(is_control: np.ndarray) -> bool:
    """Return whether the arms are not what was drawn."""
    arms = {"control": (round(CONTROL_SHARE * 10_000), is_control.sum()), "treated": (7_000, (~is_control).sum())}
    counted = [
        Counted(experiment="town", version="1", arm=arm, share_bp=share, households=int(count))
        for arm, (share, count) in arms.items()
    ]
    return sample_ratios(counted)[0].is_off


def measure(*, runs: int) -> dict[str, object]:
    """Return all of it."""
    began_s = time.monotonic()
    right, households = verdicts(runs=runs)
    return {
        "runs": runs,
        "found in a/a": dict(a_a(runs=runs)),
        "held": dict(coverage(runs=runs)),
        "right": dict(right),
        "households per verdict": households,
        "seconds": round(time.monotonic() - began_s, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    told = measure(runs=options.runs)
    if options.json:
        print(json.dumps(told))
    else:
        for name, value in told.items():
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
