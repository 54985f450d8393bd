"""Laws of experiments: drawn by salt, two groups that are treated alike differ no more than chance lets them; arms
that lose households show; what treating brought is found, and its interval holds.
"""

import math

import numpy as np
import pytest

from household.experiments.drawing import salted_arm
from household.plan import Arm, Experiment, Layer
from insight.experiments.effect import Measured, difference, intention_to_treat
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


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_the_standard_error_is_that_of_two_means():
    control, treated = np.array([1.0, 2.0]), np.array([4.0, 5.0, 9.0])
    outcome, is_control = np.concatenate([control, treated]), np.arange(5) < 2
    found = difference(Measured(outcome=outcome, is_control=is_control))
    of_means = sum(arm.var(ddof=1) / len(arm) for arm in (control, treated))
    assert (found.value, found.treated, found.control) == (4.5, 6.0, 1.5)
    # All households together cost another degree of freedom, which makes it no narrower.
    assert found.estimate().standard_error == pytest.approx(math.sqrt(of_means * 5 / 4))
    assert found.variance == pytest.approx(of_means * 5 / 4 * 5)


def test_the_part_of_controls_mean_is_as_sure_as_both_means():
    draw = np.random.default_rng(5)
    control, treated = draw.gamma(4.0, 0.25, 4_000), draw.gamma(4.0, 0.75, 6_000)
    is_control = np.arange(10_000) < 4_000
    found = difference(Measured(outcome=np.concatenate([control, treated]), is_control=is_control)).relative()
    assert found is not None
    means = control.mean(), treated.mean()
    wanted = treated.var() / 6_000 / means[0] ** 2 + control.var() / 4_000 * means[1] ** 2 / means[0] ** 4
    assert found.value == pytest.approx(means[1] / means[0] - 1)
    assert found.standard_error == pytest.approx(math.sqrt(wanted), rel=1e-3)


def test_a_household_that_is_told_of_twice_is_one():
    draw = np.random.default_rng(6)
    outcome, is_control = draw.normal(0.0, 1.0, 500), draw.random(500) < 0.4
    once = difference(Measured(outcome=outcome, is_control=is_control))
    units = np.repeat(np.arange(500), 2)
    twice = difference(Measured(outcome=outcome[units], is_control=is_control[units], units=units))
    assert (twice.unit_count, twice.value) == (500, pytest.approx(once.value))
    assert twice.variance == pytest.approx(once.variance, rel=5e-3)


def test_an_interval_leans_to_where_the_tail_is():
    few, is_control = np.array([0.0] * 90 + [10.0] * 10), np.arange(200) >= 100
    up, down = (
        difference(Measured(outcome=np.concatenate([sign * few, few * 0.0]), is_control=is_control)).estimate()
        for sign in (1.0, -1.0)
    )
    assert up.high - up.value > up.value - up.low
    assert (down.low, down.value, down.high) == (pytest.approx(-up.high), -up.value, pytest.approx(-up.low))


def paired(slope: float, *, treated_slope: float | None = None, ahead: float = 0.0) -> Measured:
    """Return eight households whose outcome is 3 more where they are treated, and hangs on their past."""
    past, chance = np.array([-1.0, 1.0, -1.0, 1.0]), np.array([1.0, 1.0, -1.0, -1.0])
    control = slope * past + chance
    treated = (slope if treated_slope is None else treated_slope) * (past + ahead) + chance + 3.0
    return Measured(
        outcome=np.concatenate([control, treated]),
        is_control=np.arange(8) < 4,
        before=np.concatenate([past, past + ahead])[:, None],
    )


def test_what_the_treated_were_ahead_by_is_taken_off():
    found = difference(paired(4.0, ahead=2.0))
    assert (found.treated - found.control, found.value) == (pytest.approx(11.0), pytest.approx(3.0))
    # What chance leaves in each arm of four, which the mean and a slope leave two degrees of.
    assert found.estimate().standard_error == pytest.approx(math.sqrt(2 * 4 / (4 * 2) * 8 / 7))


def test_where_slopes_differ_the_effect_is_that_of_who_was_met():
    # At the past of all, 1 on average: 3 + 6 of the treated and 4 of control; and who they are is by chance as well.
    found = difference(paired(4.0, treated_slope=6.0, ahead=2.0))
    assert found.value == pytest.approx(3.0 + 6.0 - 4.0)
    influence = np.sum(found.influence**2) / 8
    past = np.array([-1.0, 1.0, -1.0, 1.0, 1.0, 3.0, 1.0, 3.0]) - 1.0
    chance = np.array([-1.0, -1.0, 1.0, 1.0, 1.0, 1.0, -1.0, -1.0]) * 8 / math.sqrt(4 * 2)
    assert influence == pytest.approx(np.mean((chance + past * (6.0 - 4.0)) ** 2))


@pytest.mark.parametrize(("slope", "is_adjusted"), [(1.0, True), (0.75, True), (0.72, False), (0.0, False)])
def test_the_past_is_taken_off_where_that_narrows_by_a_hundredth(slope: float, is_adjusted: bool):
    found = difference(paired(slope, ahead=0.5))
    # Four that are left of 4 + 4 · slope², over two degrees of freedom instead of three.
    assert found.narrowed_to == pytest.approx(math.sqrt(1.5 / (slope**2 + 1)))
    assert found.is_adjusted == is_adjusted
    assert found.value == pytest.approx(3.0 if is_adjusted else 3.0 + slope * 0.5)


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
