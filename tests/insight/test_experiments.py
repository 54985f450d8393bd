"""Laws of experiments: drawn by salt, two groups that are treated alike differ no more than chance lets them; arms
that lose households show; what treating brought is found, and its interval holds.
"""

import numpy as np
import pytest

from household.experiments.drawing import salted_arm
from household.plan import Arm, Experiment, Layer
from insight.experiments.effect import intention_to_treat
from insight.experiments.sample_ratio import Counted, chi_square_tail, sample_ratios

HOUSEHOLDS = [b"household-%d" % number for number in range(5_000)]
SEEDS = range(200)


def drawn(salt: str, control_bp: int) -> np.ndarray:
    arms = (Arm(name="control", share_bp=control_bp), Arm(name="treated", share_bp=10_000 - control_bp))
    experiment = Experiment(name="aa", layer=Layer.UNIVERSAL, salt=salt, arms=arms)
    return np.array([salted_arm(experiment, key).name == "control" for key in HOUSEHOLDS])


def test_an_a_a_test_finds_a_difference_no_more_often_than_chance():
    # What households bring is skewed and hangs together with their names: nothing that salts may see.
    chance = np.random.default_rng(7)
    outcome = chance.exponential(1.0, len(HOUSEHOLDS)) + np.arange(len(HOUSEHOLDS)) / 5_000
    controls = [drawn(f"seed-{seed}", 3_000) for seed in SEEDS]
    estimates = [intention_to_treat(outcome, is_control) for is_control in controls]

    assert sum(not one.low <= 0.0 <= one.high for one in estimates) <= 0.07 * len(SEEDS)
    ratios = [
        sample_ratios(
            [
                Counted(experiment="aa", version="1", arm="control", share_bp=3_000, households=int(one.sum())),
                Counted(experiment="aa", version="1", arm="treated", share_bp=7_000, households=int((~one).sum())),
            ]
        )[0]
        for one in controls
    ]
    assert sum(one.p_value < 0.05 for one in ratios) <= 0.07 * len(SEEDS)
    assert not any(one.is_off for one in ratios)
    # A draw that leans is found by the same tests: control by the order of the names.
    leaning = np.arange(len(HOUSEHOLDS)) < 1_500
    found = intention_to_treat(outcome, leaning)
    assert found.low > 0.0


def test_what_treating_brought_is_found():
    is_control = drawn("effect", 5_000)
    noise = np.random.default_rng(8).normal(0.0, 1.0, len(HOUSEHOLDS))
    found = intention_to_treat(noise + np.where(is_control, 0.0, 0.5), is_control)

    assert found.low < 0.5 < found.high
    assert found.low > 0.0
    with pytest.raises(ValueError, match="everybody is in one arm"):
        intention_to_treat(noise, np.ones(len(HOUSEHOLDS), np.bool_))


def counted(version: str, **households: tuple[int, int]) -> list[Counted]:
    return [
        Counted(experiment="e", version=version, arm=arm, share_bp=share_bp, households=count)
        for arm, (share_bp, count) in households.items()
    ]


def test_arms_that_lose_households_show():
    (fair,) = sample_ratios(counted("1", control=(1_000, 1_020), treated=(9_000, 8_980)))
    (lost,) = sample_ratios(counted("1", control=(1_000, 1_000), treated=(9_000, 8_000)))
    (gone,) = sample_ratios(counted("1", treated=(9_000, 200)))
    (little,) = sample_ratios(counted("1", treated=(9_000, 3)))

    (barred,) = sample_ratios(counted("1", control=(0, 1), treated=(10_000, 900)))
    (none,) = sample_ratios(counted("1", control=(0, 0), treated=(10_000, 900)))

    assert [one.is_off for one in (fair, lost, gone, little)] == [False, True, True, False]
    assert (barred.p_value, none.p_value) == (0.0, 1.0)
    (few,) = sample_ratios(counted("1", control=(0, 0), a=(5_000, 460), b=(5_000, 540)))
    assert few.p_value == chi_square_tail(6.4, 1), "an arm that nobody was to be in leaves two"
    assert fair.expected == {"control": 1_000.0, "treated": 9_000.0}
    assert fair.p_value == pytest.approx(0.505, abs=0.001)


def test_each_playbooks_shares_are_those_its_households_are_compared_with():
    grown = [
        *counted("1", control=(1_000, 100), treated=(9_000, 900)),
        *counted("2", control=(5_000, 500), treated=(5_000, 500)),
    ]
    (one,) = sample_ratios(grown)

    assert (one.counts, one.p_value) == ({"control": 600, "treated": 1_400}, 1.0)
    assert sample_ratios([]) == ()
    assert sample_ratios(counted("1", control=(10_000, 7)))[0].p_value == 1.0


@pytest.mark.parametrize(("freedom", "distance"), [(1, 6.635), (2, 9.210), (3, 11.345), (4, 13.277), (7, 18.475)])
def test_the_tail_is_that_of_the_tables(freedom: int, distance: float):
    assert chi_square_tail(distance, freedom) == pytest.approx(0.01, abs=1e-5)
