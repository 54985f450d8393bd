"""Laws: differences are those of tea-tasting and statsmodels on the same data, sample ratios those of scipy. Both
libraries run in an environment of their own, which `tests/parts/install_statistics.sh` makes.
"""

import functools
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from insight.experiments.effect import Measured, difference
from insight.experiments.planning import households_needed, mean_variance
from insight.experiments.sample_ratio import Counted, sample_ratios

INSTALL_WITHIN_S = 280
RUN_WITHIN_S = 120
PARTS = Path(__file__).resolve().parents[1] / "parts"


@functools.cache
def their_python() -> str:
    try:
        ended = subprocess.run(
            ["bash", PARTS / "install_statistics.sh"], capture_output=True, text=True, timeout=INSTALL_WITHIN_S
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"tea-tasting and statsmodels are missing: installing them took more than {INSTALL_WITHIN_S} s")
    if ended.returncode != 0:
        pytest.skip(f"tea-tasting and statsmodels are missing: {ended.stderr.strip()[-300:]}")
    return ended.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    """Return members of some thousand households, of which a fifth are in control."""
    draw = np.random.default_rng(11)
    units = np.repeat(np.arange(3_000), draw.integers(1, 5, 3_000))
    treated = draw.random(3_000)[units] < 0.8
    level = draw.lognormal(0.0, 0.7, 3_000)[units]
    before = level * draw.gamma(4.0, 0.25, len(units))
    # Treating does more for who pays more, so the slopes of the arms differ.
    outcome = level * draw.gamma(4.0, 0.25, len(units)) * (1 + 0.3 * treated) + 0.1 * treated
    per = draw.integers(1, 4, len(units)).astype(np.float64)
    return {"outcome": outcome * per, "treated": treated, "before": before, "per": per, "units": units}


@pytest.fixture(scope="module")
def theirs(arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    python, file = their_python(), tmp_path_factory.mktemp("statistics") / "arrays.npz"
    np.savez(file, **arrays)  # type: ignore[arg-type]
    ended = subprocess.run(
        [python, PARTS / "other_statistics.py", file], capture_output=True, text=True, timeout=RUN_WITHIN_S
    )
    assert ended.returncode == 0, ended.stderr
    told: dict[str, list[float]] = json.loads(ended.stdout)
    return told


def ours(arrays: dict[str, np.ndarray], **more: np.ndarray) -> tuple[float, float]:
    found = difference(Measured(outcome=arrays["outcome"], is_control=~arrays["treated"], **more))
    return found.value, found.estimate().standard_error


def test_means_and_ratios_differ_as_tea_tasting_says(
    arrays: dict[str, np.ndarray], theirs: dict[str, list[float]]
) -> None:
    for name, more in (("mean", {}), ("ratio", {"per": arrays["per"]})):
        value, error = ours(arrays, **more)
        assert value == pytest.approx(theirs[name][0], rel=1e-9)
        # They divide by rows less one, we by what an arm has less one.
        assert error == pytest.approx(theirs[name][1], rel=1e-3)
    plain = difference(Measured(outcome=arrays["outcome"], is_control=~arrays["treated"]))
    relative = plain.relative()
    assert relative is not None
    assert relative.value == pytest.approx(theirs["relative"][0], rel=1e-9)


def test_households_resemble_themselves_as_statsmodels_says(
    arrays: dict[str, np.ndarray], theirs: dict[str, list[float]]
) -> None:
    value, error = ours(arrays, units=arrays["units"])
    assert value == pytest.approx(theirs["clustered"][0], rel=1e-9)
    assert error == pytest.approx(theirs["clustered"][1], rel=1e-3)


def test_the_past_is_taken_off_as_by_lins_regression(
    arrays: dict[str, np.ndarray], theirs: dict[str, list[float]]
) -> None:
    value, error = ours(arrays, before=arrays["before"][:, None])
    assert value == pytest.approx(theirs["lin"][0], rel=1e-9)
    # A regression takes what was known before as given; we do not, so ours is no narrower.
    assert theirs["lin"][1] * 0.999 <= error <= theirs["lin"][1] * 1.05
    # One slope for both arms, as tea-tasting has it, comes out near it.
    assert value == pytest.approx(theirs["cuped"][0], abs=theirs["cuped"][1])


def test_as_many_are_needed_as_statsmodels_says(theirs: dict[str, list[float]]) -> None:
    needed = households_needed(variance=mean_variance(1.0, treated_share=0.75), effect=0.1)
    assert needed == pytest.approx(theirs["treated_needed"] * 4 / 3, rel=1e-3)  # type: ignore[operator]


@pytest.mark.parametrize("counts", [(480, 520), (100, 900), (333, 667)])
def test_sample_ratios_are_those_of_scipy(counts: tuple[int, int]) -> None:
    shares = (4_000, 6_000)
    (found,) = sample_ratios(
        Counted(experiment="e", version="1", arm=arm, share_bp=share, households=count)
        for arm, share, count in zip(("control", "treated"), shares, counts, strict=True)
    )
    wanted = stats.chisquare(counts, [sum(counts) * share / 10_000 for share in shares]).pvalue
    assert found.p_value == pytest.approx(wanted, rel=1e-9)
