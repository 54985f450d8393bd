"""Laws: looking twenty times finds nothing where there is nothing; intervals hold the truth of the town as often as
they say; the first word is right; an experiment whose arms cannot be compared is not launched.

`python -m tests.benches.experiments_bench` prints how often.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from insight.experiments.anytime import anytime_reach
from insight.experiments.effect import Measured, difference
from insight.experiments.planning import days_needed, households_needed, households_needed_anytime, share_variance
from insight.experiments.verdict import LaunchVerdict, Reading, Stakes, decide_arm, read
from insight.intervals import Estimate, reach_of
from tests.benches import experiments_bench as bench
from tests.insight.experiment_town import lived, treatment

RUNS = 400


@pytest.mark.chaos
def test_twenty_looks_find_nothing_where_there_is_nothing():
    runs = 120
    found = bench.a_a(runs=runs, households=1_000)

    assert found["conversion"] <= 0.065 * runs
    assert found["arpu"] <= 0.065 * runs
    assert found["sample ratio"] <= 0.02 * runs
    assert found["conversion, intervals of one look"] > 0.15 * runs, "and that looking is not free without them"


@pytest.mark.chaos
def test_an_interval_of_95_percent_holds_the_truth_in_95_of_100():
    held = bench.coverage(runs=RUNS, lifts=(bench.WORTHWHILE,))

    assert {name: count for name, count in held.items() if not 371 <= count <= 389} == {}


@pytest.mark.chaos
def test_the_first_word_of_twenty_looks_is_right():
    runs = 80
    right, _ = bench.verdicts(runs=runs)

    assert min(right["zero"], right["harmful"], right["worthwhile"]) >= 0.95 * runs, right
    assert right["launched: harmful"] <= 0.025 * runs


def one_reading(*, outcome: np.ndarray, is_control: np.ndarray, measure: str = "conversion") -> Reading:
    measured = Measured(outcome=outcome, is_control=is_control)
    found = read(measured, measure=measure, arm="treated", arms=1, stakes=Stakes())
    assert found is not None
    return found


def halves(treated: float, control: float, households: int = 4_000) -> tuple[np.ndarray, np.ndarray]:
    """Return outcomes of two arms with exactly these shares of ones."""
    half = households // 2
    ones = [np.arange(half) < round(share * half) for share in (treated, control)]
    return np.concatenate(ones).astype(np.float64), np.arange(households) >= half


@pytest.mark.parametrize(
    ("treated", "control", "unsound", "verdict", "why"),
    [
        (0.20, 0.10, "", LaunchVerdict.LAUNCH, "brings more than it costs: conversion +0.1 per household"),
        (0.10, 0.20, "", LaunchVerdict.DO_NOT, "it loses"),
        (0.11, 0.10, "", LaunchVerdict.NOT_YET, "it may bring something or nothing"),
        (0.001, 0.002, "", LaunchVerdict.NOT_YET, "do not tell enough of conversion"),
        (
            0.20,
            0.10,
            "3 in control were treated",
            LaunchVerdict.DO_NOT,
            "cannot be compared: 3 in control were treated",
        ),
    ],
)
def test_a_verdict_says_why(treated: float, control: float, unsound: str, verdict: LaunchVerdict, why: str):
    outcome, is_control = halves(treated, control)
    reading = one_reading(outcome=outcome, is_control=is_control)
    found = decide_arm(reading, arm="treated", guards=(), unsound=unsound, stakes=Stakes(worthwhile=0.02))

    assert found.verdict is verdict, found.why
    assert why in found.why


def spanning(low: float, high: float, *, once: tuple[float, float] | None = None, **more: Any) -> Reading:
    """Return a reading with this interval for all looks, and for one look that, or the same."""

    def interval(ends: tuple[float, float]) -> Estimate:
        return Estimate(value=sum(ends) / 2, low=ends[0], high=ends[1], standard_error=0.01)

    outcome, is_control = halves(0.20, 0.10)
    plain = one_reading(outcome=outcome, is_control=is_control)
    return replace(plain, anytime=interval((low, high)), effect=interval(once or (low, high)), **more)


@pytest.mark.parametrize(
    ("reading", "break_even", "verdict", "why"),
    [
        (spanning(0.0, 0.3), 0.0, LaunchVerdict.NOT_YET, "it may bring"),
        (spanning(0.001, 0.3), 0.0, LaunchVerdict.LAUNCH, "it brings more"),
        (spanning(-0.2, 0.0), 0.0, LaunchVerdict.DO_NOT, "it brings less than is worth having (0.05)"),
        (spanning(-0.2, -0.001), 0.0, LaunchVerdict.DO_NOT, "it loses"),
        (spanning(-0.2, 0.05), 0.0, LaunchVerdict.NOT_YET, "it may bring"),
        (spanning(-0.2, 0.049), 0.0, LaunchVerdict.DO_NOT, "it brings less than is worth having (0.05)"),
        (spanning(0.05, 0.3), 0.1, LaunchVerdict.NOT_YET, "it may bring"),
        (spanning(0.02, 0.13), 0.1, LaunchVerdict.DO_NOT, "it brings less than is worth having (0.15)"),
        # The verdict hangs on the interval that holds at all looks.
        (spanning(-0.01, 0.3, once=(0.05, 0.2)), 0.0, LaunchVerdict.NOT_YET, "it may bring"),
    ],
)
def test_a_verdict_is_by_the_ends_of_the_interval(
    reading: Reading, break_even: float, verdict: LaunchVerdict, why: str
):
    stakes = Stakes(break_even=break_even, worthwhile=0.05)
    found = decide_arm(reading, arm="treated", guards=(), unsound="", stakes=stakes)
    assert found.verdict is verdict
    assert found.why.startswith(why)


@pytest.mark.parametrize(
    ("guard", "is_harmed"),
    [
        (spanning(-0.3, -0.01), True),
        (spanning(-0.3, 0.0), False),
        (spanning(-0.3, 0.01, once=(-0.2, -0.1)), False),
        (spanning(-0.3, -0.01, is_enough=False), False),
    ],
)
def test_harm_is_what_is_sure_whenever_one_looks(guard: Reading, is_harmed: bool):
    found = decide_arm(spanning(0.01, 0.3), arm="treated", guards=(guard,), unsound="", stakes=Stakes())
    assert found.verdict is (LaunchVerdict.DO_NOT if is_harmed else LaunchVerdict.LAUNCH)


@pytest.mark.parametrize(
    ("treated", "control", "different", "is_enough"),
    [
        (100, 100, 10, True),
        (1_000, 99, 200, False),
        (99, 1_000, 200, False),
        # A twentieth of the smaller arm's hundred are five.
        (900, 100, 50, True),
        (900, 100, 49, False),
    ],
)
def test_enough_is_a_hundred_in_each_arm_and_five_that_differ(
    treated: int, control: int, different: int, is_enough: bool
):
    outcome = (np.arange(treated + control) % ((treated + control) // different) == 0).astype(np.float64)
    outcome[np.flatnonzero(outcome)[different:]] = 0.0
    assert outcome.sum() == different
    assert one_reading(outcome=outcome, is_control=np.arange(len(outcome)) >= treated).is_enough == is_enough


def test_worth_having_is_a_tenth_of_what_control_has_unless_said():
    outcome, is_control = halves(0.30, 0.20)
    reading = one_reading(outcome=outcome, is_control=is_control)
    found = decide_arm(reading, arm="treated", guards=(), unsound="", stakes=Stakes())
    assert found.worthwhile == pytest.approx(0.02)
    needed = households_needed_anytime(variance=reading.variance, effect=0.02)
    assert found.households_needed == needed


def test_what_is_too_little_to_be_worth_having_is_not_launched():
    outcome, is_control = halves(0.10, 0.10, households=40_000)
    reading = one_reading(outcome=outcome, is_control=is_control)
    little = decide_arm(reading, arm="treated", guards=(), unsound="", stakes=Stakes(worthwhile=0.02))
    sought = decide_arm(reading, arm="treated", guards=(), unsound="", stakes=Stakes(worthwhile=0.001))

    assert (little.verdict, sought.verdict) == (LaunchVerdict.DO_NOT, LaunchVerdict.NOT_YET)
    assert sought.households_needed is not None
    assert sought.households_needed > 40_000


def test_it_must_bring_what_it_costs():
    outcome, is_control = halves(0.20, 0.10)
    reading = one_reading(outcome=outcome, is_control=is_control)
    dear = decide_arm(reading, arm="treated", guards=(), unsound="", stakes=Stakes(break_even=0.2, worthwhile=0.01))

    assert dear.verdict is LaunchVerdict.DO_NOT
    assert "less than the 0.2 it costs" in dear.why


def test_what_harms_something_else_is_not_launched():
    good = one_reading(outcome=halves(0.20, 0.10)[0], is_control=halves(0.2, 0.1)[1])
    bad = one_reading(outcome=halves(0.80, 0.95)[0], is_control=halves(0.2, 0.1)[1], measure="retention")
    found = decide_arm(good, arm="treated", guards=(bad,), unsound="", stakes=Stakes(worthwhile=0.01))

    assert found.verdict is LaunchVerdict.DO_NOT
    assert "retention -0.15" in found.why


def test_several_arms_share_the_confidence():
    outcome, is_control = halves(0.12, 0.10)
    measured = Measured(outcome=outcome, is_control=is_control)
    one, three = (read(measured, measure="c", arm="a", arms=arms, stakes=Stakes()) for arms in (1, 3))

    assert one is not None
    assert three is not None
    assert (one.confidence, round(three.confidence, 6)) == (0.95, 0.983333)
    assert three.anytime.low < one.anytime.low
    assert three.effect.high > one.effect.high


def test_one_may_look_as_often_as_there_are_households_whatever_each_is_told_of():
    outcome, is_control = halves(0.20, 0.10)
    units = np.repeat(np.arange(len(outcome)), 3)
    thrice = Measured(outcome=outcome[units], is_control=is_control[units], units=units)
    once = one_reading(outcome=outcome, is_control=is_control)
    found = read(thrice, measure="conversion", arm="treated", arms=1, stakes=Stakes())
    assert found is not None
    assert (found.households, found.treated_households) == (4_000, 2_000)
    assert found.anytime.low == pytest.approx(once.anytime.low, rel=2e-3)
    wider = (once.anytime.high - once.anytime.low) / (once.effect.high - once.effect.low)
    assert wider == pytest.approx(anytime_reach(4_000, confidence=0.95) / reach_of(0.95), rel=0.01)


def test_nobody_in_an_arm_is_not_enough():
    empty = Measured(outcome=np.ones(200), is_control=np.ones(200, np.bool_))
    reading = read(empty, measure="conversion", arm="treated", arms=1, stakes=Stakes())

    assert reading is None
    found = decide_arm(reading, arm="treated", guards=(), unsound="", stakes=Stakes())
    assert found.verdict is LaunchVerdict.NOT_YET


def test_the_past_narrows_what_hangs_on_it_and_nothing_else():
    one = lived(treatment(0.15), seed=3, households=2_000, control_share=0.2)
    plain, adjusted = difference(one.arpu(2_000, with_past=False)), difference(one.arpu(2_000))
    draw = np.random.default_rng(1)
    unrelated = Measured(outcome=one.bought, is_control=one.is_control, before=draw.normal(size=(2_000, 1)))

    assert adjusted.is_adjusted
    assert adjusted.narrowed_to < 0.8
    assert adjusted.estimate().standard_error == pytest.approx(plain.estimate().standard_error * adjusted.narrowed_to)
    found = difference(unrelated)
    assert not found.is_adjusted
    assert found.value == difference(one.conversion(2_000)).value


def test_the_household_is_the_unit():
    one = lived(treatment(0.0), seed=5, households=1_500, control_share=0.5)
    members = one.arpu(1_500, with_past=False)
    alone = Measured(outcome=members.outcome, is_control=members.is_control)

    assert difference(members).value == difference(alone).value
    assert difference(members).estimate().standard_error > 1.1 * difference(alone).estimate().standard_error


@pytest.mark.parametrize(("units", "confidence"), [(500, 0.95), (10_000, 0.95), (200_000, 0.99)])
def test_at_the_edge_of_the_sequence_the_mixed_likelihood_ratio_is_one_over_alpha(units: int, confidence: float):
    # Ville's inequality: that ratio, an integral over effects, is a martingale with mean 1 while there is no effect.
    wrong, tuned_at = 1 - confidence, 10_000
    rho = math.sqrt((-2 * math.log(wrong) + math.log(-2 * math.log(wrong)) + 1) / tuned_at)
    total = anytime_reach(units, confidence=confidence, tuned_at=tuned_at) * math.sqrt(units)
    ratio, _ = integrate.quad(
        lambda effect: math.exp(effect * total - units * effect**2 / 2) * stats.norm.pdf(effect, scale=rho),
        -0.3,
        0.3,
        points=[total / (units + 1 / rho**2)],
        epsabs=0.0,
        limit=500,
    )

    assert ratio == pytest.approx(1 / wrong, rel=1e-6)


def test_planning_tells_how_many_and_how_long():
    variance = share_variance(0.1, treated_share=0.9)
    once, whenever = (
        households_needed(variance=variance, effect=0.02),
        households_needed_anytime(variance=variance, effect=0.02),
    )
    assert once == 19_623
    assert 1.8 * once < whenever < 2.3 * once
    assert days_needed(1_000, there=400, met_by_day={100: 10, 101: 20, 102: 30}) == 30.0
    assert days_needed(300, there=400, met_by_day={}) == days_needed(400, there=400, met_by_day={}) == 0.0
    # The least number at which it is enough.
    for households, is_enough in ((whenever, True), (whenever - 1, False)):
        reach = anytime_reach(households, confidence=0.95)
        assert (households_needed(variance=variance, effect=0.02, reach=reach) <= households) == is_enough
    # At the pace of the last 28 days: one a day, whatever was before.
    assert days_needed(10, there=0, met_by_day={0: 999, 1: 14, 28: 14}) == 10.0
    assert days_needed(1_000, there=400, met_by_day={}) is None


def test_planned_as_it_says_it_shows_in_four_of_five():
    effect, share = 0.05, 0.2
    count = households_needed_anytime(variance=share_variance(share + effect / 2, treated_share=0.5), effect=effect)
    shown = 0
    for seed in range(RUNS):
        draw = np.random.default_rng(seed)
        is_control = draw.random(count) < 0.5
        outcome = (draw.random(count) < share + effect * ~is_control).astype(np.float64)
        shown += one_reading(outcome=outcome, is_control=is_control).anytime.low > 0.0

    assert 0.76 * RUNS <= shown <= 0.84 * RUNS
