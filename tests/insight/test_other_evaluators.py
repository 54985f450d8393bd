"""Laws: IPS, SNIPS, DR and the standard slate estimator are obp's, Qini coefficient, AUUC and uplift at k are
scikit-uplift's, on the same data to 1e-9. Both run in an environment of their own,
which `tests/parts/install_evaluators.sh` makes. How far apart they are is printed (-s).
"""

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from insight.evaluation.estimators import doubly_robust, ips, snips
from insight.uplift.evaluate import UpliftConfig, evaluate_uplift
from insight.uplift.trial import Trial

INSTALL_WITHIN_S = 280
RUN_WITHIN_S = 120
PARTS = Path(__file__).resolve().parents[1] / "parts"


@functools.cache
def their_python() -> str:
    try:
        ended = subprocess.run(
            ["bash", PARTS / "install_evaluators.sh"], capture_output=True, text=True, timeout=INSTALL_WITHIN_S
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"obp and scikit-uplift are missing: installing them took more than {INSTALL_WITHIN_S} s")
    if ended.returncode != 0:
        pytest.skip(f"obp and scikit-uplift are missing: {ended.stderr.strip()[-300:]}")
    return ended.stdout.strip().splitlines()[-1]


def theirs(folder: Path, **arrays: np.ndarray) -> dict[str, object]:
    """Return what they make of some arrays."""
    np.savez(folder / "arrays.npz", **arrays)
    ended = subprocess.run(
        [their_python(), PARTS / "other_evaluators.py", folder / "arrays.npz"],
        capture_output=True,
        text=True,
        timeout=RUN_WITHIN_S,
    )
    assert ended.returncode == 0, ended.stderr
    told: dict[str, object] = json.loads(ended.stdout)
    return told


def agree(whose: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    apart = {name: float(np.abs(np.subtract(value, theirs[name])).max()) for name, value in ours.items()}
    print(f"apart from {whose}: " + ", ".join(f"{name} {one:.1e}" for name, one in apart.items()))
    assert {name: one for name, one in apart.items() if not one <= 1e-9} == {}


def test_policies_are_valued_as_obp_does(tmp_path: Path):
    draw = np.random.default_rng(7)
    count, actions = 5_000, 4
    logged, policy = draw.dirichlet([1.0] * actions, count) * 0.9 + 0.025, draw.dirichlet([2.0] * actions, count)
    action = (draw.random((count, 1)) >= np.cumsum(logged, axis=1)).sum(axis=1).clip(0, actions - 1)
    rows, expected = np.arange(count), draw.random((count, actions))
    propensity, reward = logged[rows, action], draw.gamma(2.0, 3.0, count)
    found = theirs(tmp_path, reward=reward, action=action, pscore=propensity, policy=policy, expected=expected)

    weights = policy[rows, action] / propensity
    robust = doubly_robust(
        reward, weights, expected_done=expected[rows, action], expected_policy=(policy * expected).sum(axis=1)
    )
    weighed = ips(reward, weights).value
    ours = {"ips": weighed, "snips": snips(reward, weights).value, "dr": robust.value, "slate": weighed}
    agree("obp", ours, found)


@pytest.mark.parametrize("has_ties", [False, True])
def test_uplift_is_measured_as_scikit_uplift_does(tmp_path: Path, has_ties: bool):
    draw = np.random.default_rng(9)
    count = 4_001
    score, treated = draw.normal(0, 0.1, count), draw.random(count) < 0.35
    if has_ties:
        score = np.round(score, 2)
    outcome = (draw.random(count) < 0.3 + np.clip(score, -0.2, 0.2) * treated).astype(np.float64)
    found = theirs(tmp_path, outcome=outcome, score=score, treated=treated.astype(np.float64))

    trial = Trial(
        is_treated=treated,
        outcome=outcome,
        score=score,
        propensity=np.full(count, treated.mean()),
        is_propensity_known=False,
        units=np.arange(count),
    )
    # They take the whole rows of a share: 400 of 4,001 for a tenth.
    shares = tuple(int(count * share) / count for share in (0.1, 0.3, 0.5))
    ours = evaluate_uplift(trial, config=UpliftConfig(shares=shares))
    assert ours.qini is not None
    assert ours.auuc is not None
    agree("scikit-uplift", {"qini": ours.qini.value, "auuc": ours.auuc.value}, found)
    # Where a share cuts through rows of one score, theirs hangs on the order of the rows.
    if not has_ties:
        agree("scikit-uplift", {"at": [one.uplift.value for one in ours.at]}, found)
