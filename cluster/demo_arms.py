"""The demo's last chapter: the moment against one choice a month against control, on a town of its own.

It is lived on Hearth's own fold and decisions, in processes of its own and without log or network: so it takes seconds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from cluster.children import child
from cluster.errors import CommandFailed
from cluster.run_dir import DEMO_PREFIX, run_dir
from insight.experiments.arms import ARMS, Advantage, experiment, fates_of, told

ARMS_MODULE: Final = "loadtest.arms"
HOUSEHOLDS, DAYS, DAYS_BEFORE, PILOT = 600, 21, 14, 300
"""As many as the demo has time for: too few to be sure of anything but that it runs."""


def lived_arms(playbook: Path | None) -> dict[str, Any]:
    """Let a town live under all arms, and return what an experiment on it says, and what is true of it.

    Args:
        playbook: that is in force; None for the one that ships.
    """
    with run_dir(DEMO_PREFIX) as folder:
        file = folder / "arms.npz"
        _live(file, playbook)
        with np.load(file) as columns:
            known = fates_of(columns, days=DAYS)
            means = {arm: _means(columns, row) for row, arm in enumerate(ARMS)}
    birth_ids = [b"H%06d" % one for one in range(known.households)]
    found = experiment(known, birth_ids, salt="demo")
    plain = [_plain(one) for one in found]
    return {"households": known.households, "days": DAYS, "arms": means, "advantages": plain, "told": found}


def _live(file: Path, playbook: Path | None) -> None:
    arguments = ["--households", str(HOUSEHOLDS), "--days", str(DAYS), "--days-before", str(DAYS_BEFORE)]
    arguments += ["--pilot", str(PILOT), "--quarter", str(-(-HOUSEHOLDS // 2)), "--processes", "2", "--out", str(file)]
    if playbook is not None:
        arguments += ["--playbook", str(playbook)]
    with child(ARMS_MODULE, arguments) as living:
        for _ in living.lines():
            pass
        code = living.process.wait()
    if code != 0:
        raise CommandFailed(f"the town under three arms ended with exit code {code}; what it said is above")


def arms_lines(found: Mapping[str, Any]) -> list[str]:
    """Return it for people."""
    who = f"{found['households']:,} other households, {found['days']} days, each in one of three arms"
    lines = [f"what the moment is worth: {who}; batch chooses once a month, and its choice stands"]
    for arm, means in found["arms"].items():
        lines.append(
            f"  {arm:<8} {means['conversion']:>6.1%} took up a product, ARPU {means['arpu']:.2f}, "
            f"margin {means['margin']:.2f}, {means['contacts']:.1f} contacts"
        )
    wanted = [one for one in found["told"] if one.measure in ("conversion", "margin")]
    lines += [f"  {told(one)}" for one in wanted]
    sure = [one for one in wanted if not one.effect.low <= 0.0 <= one.effect.high]
    if len(sure) < len(wanted):
        lines.append(
            f"  {len(wanted) - len(sure)} of {len(wanted)} intervals hold 0: so few households tell little. "
            "20,000 and 90 days: docs/town.md"
        )
    return lines


def _means(columns: Mapping[str, Any], row: int) -> dict[str, float]:
    month = 30.0 / DAYS / 100.0
    return {
        "conversion": float(np.mean(columns["conversion"][row])),
        "arpu": float(np.mean(columns["revenue_minor"][row])) * month,
        "margin": float(np.mean(columns["margin_minor"][row])) * month,
        "left": float(np.mean(columns["left"][row])),
        "contacts": float(np.mean(columns["sent"][row] + columns["shown"][row])),
    }


def _plain(one: Advantage) -> dict[str, Any]:
    effect = {"value": one.effect.value, "low": one.effect.low, "high": one.effect.high}
    return {"measure": one.measure, "arm": one.arm, "over": one.over, **effect, "truth": one.truth.value}
