"""What the moment is worth in the town: 90 days under control, batch and moment, and where the advantage vanishes.

python -m tests.benches.town_arms_bench --households 20000 --days 90     arms, advantages with intervals, the sweep
python -m tests.benches.town_arms_bench --keep FILE …                    and keep what became of each household
python -m tests.benches.town_arms_bench --experiments 400 --of FILE      how often intervals of 95 % hold the truth

Every household lives under every arm, so the truth is known; the experiment sees each under the arm it is drawn into,
and says what it would have said: intention to treat, the past taken off, intervals of 95 % for one look. Households are
lived in two processes, by seed alone. What is assumed, and why, is told in docs/town.md.
"""

import argparse
import resource
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from insight.experiments.arms import MEASURES, PAIRS, KnownFates, advantage, experiment, fates_of, told
from loadtest.arms.assumptions import Assumptions
from loadtest.arms.events import household_key
from loadtest.arms.outcomes import ArmName, ArmOutcomes, load
from loadtest.arms.quarter import Stay
from loadtest.arms.town_run import live_towns

SWEPT: dict[str, tuple[float, ...]] = {
    "half_life": (0.1, 0.3, 3.0, 10.0, 100.0),
    "strength": (0.0, 6.0),
    "shows": (0.0, 1.0),
    "need_rate": (3.0,),
    "weary": (2.0,),
    "alone": (1.0,),
    "ask_share": (0.0, 0.5),
    "batch_days": (7.0, 1.0),
}
"""Each assumption by itself, at values around the one that is assumed."""

DRAWN = 4_000
"""Households of one of the experiments by which intervals are judged."""


def fates(found: ArmOutcomes, days: int) -> KnownFates:
    """Return what became of all in the measures that are judged."""
    return fates_of({one.name: getattr(found, one.name) for one in fields(ArmOutcomes)}, days=days)


def arm_lines(found: ArmOutcomes, days: int) -> list[str]:
    """Return a table of means by arm."""
    month = 30.0 / days
    lines = [
        "money: EUR per household and 30 days; sent, shown, accepted: per household in all",
        f"{'arm':<9}{'conversion':>11}{'ARPU':>9}{'margin':>9}{'left':>8}{'sent':>7}{'shown':>7}{'accepted':>10}",
    ]
    for row, arm in enumerate(ArmName):
        lines.append(
            f"{arm:<9}{found.conversion[row].mean():>11.2%}{found.revenue_minor[row].mean() * month / 100:>9.2f}"
            f"{found.margin_minor[row].mean() * month / 100:>9.2f}{found.left[row].mean():>8.2%}"
            f"{found.sent[row].mean():>7.2f}{found.shown[row].mean():>7.2f}{found.accepted[row].mean():>10.3f}"
        )
    return lines


def sweep(stay: Stay, *, pilot: int, processes: int, quarter: int) -> list[str]:
    """Return the sweep's table: what the moment is ahead of batch, by households' own differences."""
    usual = Assumptions()
    rows = [("as assumed", usual)] + [
        (f"{name} = {value:g}", replace(usual, **{name: value})) for name, values in SWEPT.items() for value in values
    ]
    lived = live_towns(
        [(stay, assumed) for _, assumed in rows], pilot_households=pilot, processes=processes, quarter=quarter
    )
    lines = [f"{'':<20}{'conversion, points':<28}{'margin, EUR/30 d':<28}{'retention, points':<28}said: batch, moment"]
    nobody = np.zeros(stay.households, np.intp)
    nobody[1::3], nobody[2::3] = 1, 2
    for (name, _), found in zip(rows, lived, strict=True):
        known = fates(found, stay.days)
        cells = []
        for measure, unit in (("conversion", 0.01), ("margin", 1.0), ("retention", 0.01)):
            one = advantage(known, nobody, measure=measure, arm=ArmName.MOMENT, over=ArmName.BATCH).truth
            sign = " " if one.low <= 0 <= one.high else "*"
            cells.append(f"{one.value / unit:+.2f} ({one.low / unit:+.2f} to {one.high / unit:+.2f}){sign}")
        said = (found.sent + found.shown).mean(axis=1)
        lines.append(f"{name:<20}" + "".join(f"{cell:<28}" for cell in cells) + f"{said[1]:.1f}, {said[2]:.1f}")
    return [*lines, "* the interval of 95 % of the difference does not hold 0"]


def coverage(known: KnownFates, *, experiments: int) -> Counter[str]:
    """Return in how many experiments, on households drawn with replacement, intervals of 95 % held the truth."""
    held: Counter[str] = Counter()
    for seed in range(experiments):
        draw = np.random.default_rng([seed, 21])
        chosen = draw.integers(0, known.households, DRAWN)
        assigned = draw.integers(0, len(ArmName), DRAWN)
        for measure in MEASURES:
            for arm, over in PAIRS:
                one = advantage(known, assigned, measure=measure, arm=arm, over=over, chosen=chosen)
                held[f"{measure}, {arm} over {over}"] += one.holds
    return held


def show(lines: Sequence[str]) -> None:
    """Print, now."""
    print("\n".join(lines), flush=True)


def main() -> None:
    """Live, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--households", type=int, default=20_000)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--pilot", type=int, default=3_000, help="other households, of whom both arms have learned")
    parser.add_argument("--sweep-households", type=int, default=600, help="0 for no sweep")
    parser.add_argument("--sweep-days", type=int, default=30)
    parser.add_argument("--keep", type=Path, help="NumPy archive to write")
    parser.add_argument("--of", type=Path, help="archive that --keep wrote, in place of living")
    parser.add_argument("--experiments", type=int, default=0, help="judge intervals by so many")
    given = parser.parse_args()
    began_s = time.monotonic()
    if given.of is not None:
        found = load(given.of)
    else:
        stay = Stay(seed=given.seed, households=given.households, days=given.days)
        (found,) = live_towns([(stay, Assumptions())], pilot_households=given.pilot, processes=given.processes)
    if given.keep is not None:
        found.save(given.keep)
    known = fates(found, given.days)
    ids = [household_key(one) for one in range(known.households)]
    show([f"{found.households:,} households, {given.days} days, seed {given.seed}", *arm_lines(found, given.days), ""])
    show([told(one) for one in experiment(known, ids, salt=f"town arms {given.seed}")])
    show(
        [
            "points of a hundred, EUR per household and 30 days; by intention to treat, intervals of 95 %",
            _spent(began_s),
        ]
    )
    if given.experiments:
        held = coverage(known, experiments=given.experiments)
        show(["", f"intervals of 95 % that hold the truth, of {given.experiments} (of 400: 371 to 389)"])
        show([f"{name:<36}{count}" for name, count in held.items()])
    if given.sweep_households and given.of is None:
        small = Stay(seed=given.seed + 1, households=given.sweep_households, days=given.sweep_days)
        quarter = -(-given.sweep_households // given.processes)
        show(["", f"moment over batch, one assumption changed: {small.households:,} households, {small.days} days"])
        show(sweep(small, pilot=given.sweep_households, processes=given.processes, quarter=quarter))
    show([_spent(began_s)])


def _spent(began_s: float) -> str:
    """Return time by the clock, and that of processors: what else runs on the machine makes the one longer."""
    own, started = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    processor_s = own.ru_utime + own.ru_stime + started.ru_utime + started.ru_stime
    peak = (own.ru_maxrss + started.ru_maxrss) / 2**20
    took = f"{time.monotonic() - began_s:.0f} s by the clock, {processor_s:.0f} s of processors"
    return f"{took}; this process and the largest it started took {peak:.2f} GiB at their peaks"


if __name__ == "__main__":
    main()
