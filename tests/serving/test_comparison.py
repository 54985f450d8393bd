"""Whether a model is better than what is in force.

Laws: only decisions that neither has seen are compared; a model that knows more is better, one that knows less or
nothing is not, one that contradicts is worse; what differs by chance is not better; too little says what is there and
what is needed; the same examples give the same numbers.
"""

import numpy as np
import pytest

from serving.models.comparison import EVER, LEAST, Contender, Verdict, compare
from serving.models.examples import Examples
from serving.models.measures import auc

HOUR = 3_600_000_000


def examples(count: int = 2_000, households: int = 400, seed: int = 1) -> Examples:
    """The first column is the true probability, the second a constant, the third its contrary."""
    draw = np.random.default_rng(seed)
    likely = draw.uniform(0.02, 0.6, count)
    rows = np.stack([likely, np.full(count, 0.31), 0.62 - likely], axis=1).astype(np.float32)
    return Examples(
        rows=rows,
        accepted=draw.random(count) < likely,
        propensity=np.ones(count),
        decided_us=np.arange(count) * HOUR,
        households=np.array([f"h{i}" for i in draw.integers(0, households, count)]),
        left_out={},
    )


def knows(column: int, *, version: str = "m", seen_to_us: int | None = EVER) -> Contender:
    return Contender(version=version, seen_to_us=seen_to_us, score=lambda rows: rows[:, column])


TRUTH, PRIORS, CONTRARY = 0, 1, 2


def test_who_knows_more_is_better_and_who_contradicts_is_worse():
    better = compare(examples(), candidate=knows(TRUTH), incumbent=knows(PRIORS, version="prior"))
    assert (better.verdict, better.rows, better.incumbent) == (Verdict.BETTER, 2_000, "prior")
    assert better.logloss_interval is not None
    assert better.logloss_difference is not None
    assert better.logloss_interval[0] < better.logloss_difference < better.logloss_interval[1] < 0
    assert better.auc_difference is not None
    assert better.auc_difference > 0.1
    assert "AUC 0.7" in better.why
    assert "against 0.500" in better.why

    worse = compare(examples(), candidate=knows(CONTRARY), incumbent=knows(PRIORS))
    assert worse.verdict is Verdict.WORSE
    assert compare(examples(), candidate=knows(PRIORS), incumbent=knows(TRUTH)).verdict is Verdict.WORSE


def test_the_same_again_is_not_better():
    same = compare(examples(), candidate=knows(TRUTH), incumbent=knows(TRUTH))
    assert (same.verdict, same.logloss_interval, same.auc_interval) == (Verdict.NOT_BETTER, (0.0, 0.0), (0.0, 0.0))


def test_what_differs_by_chance_is_hardly_ever_better():
    def noisy(seed: int) -> Contender:
        noise = np.random.default_rng(seed).normal(0, 0.05, 300).astype(np.float32)
        return Contender(version="m", seen_to_us=EVER, score=lambda rows: np.clip(0.31 + noise, 0.01, 0.99))

    verdicts = [
        compare(examples(300, 60, seed), candidate=noisy(2 * seed), incumbent=noisy(2 * seed + 1)).verdict
        for seed in range(1, 31)
    ]
    assert verdicts.count(Verdict.BETTER) <= 2


def test_a_better_log_loss_with_a_worse_order_is_not_better():
    some = examples()
    # Well calibrated on the whole and blind, against the right order at absurd levels.
    absurd = Contender(version="m", seen_to_us=EVER, score=lambda rows: np.asarray(0.9 + rows[:, 0] / 10, np.float32))
    found = compare(some, candidate=knows(PRIORS), incumbent=absurd)
    assert found.logloss_interval is not None
    assert found.logloss_interval[1] < 0
    assert found.verdict is Verdict.WORSE


def test_only_what_neither_has_seen_is_compared():
    some = examples()
    found = compare(
        some,
        candidate=knows(TRUTH, seen_to_us=1_199 * HOUR),
        incumbent=knows(PRIORS, seen_to_us=1_499 * HOUR),
    )
    assert (found.rows, found.seen_to_us) == (500, 1_499 * HOUR)
    assert found.positives == int(some.accepted[1_500:].sum())
    assert found.households == len(set(some.households[1_500:]))


def test_too_little_says_what_there_is_and_what_is_needed():
    late = compare(examples(), candidate=knows(TRUTH, seen_to_us=1_990 * HOUR), incumbent=knows(PRIORS))
    assert (late.verdict, late.rows, late.logloss_difference) == (Verdict.TOO_LITTLE, 9, None)
    assert "9 decisions of" in late.why
    assert f"{LEAST} accepted, {LEAST} not accepted and {LEAST} households are needed" in late.why
    few = compare(examples(households=LEAST - 1), candidate=knows(TRUTH), incumbent=knows(PRIORS))
    assert (few.verdict, few.households) == (Verdict.TOO_LITTLE, LEAST - 1)


@pytest.mark.parametrize("silent", ["ours", "theirs"])
def test_who_does_not_tell_what_it_has_seen_cannot_be_compared(silent: str):
    ours = knows(TRUTH, version="ours", seen_to_us=None if silent == "ours" else EVER)
    theirs = knows(PRIORS, version="theirs", seen_to_us=None if silent == "theirs" else EVER)
    found = compare(examples(), candidate=ours, incumbent=theirs)
    assert found.verdict is Verdict.TOO_LITTLE
    assert f"nothing tells what {silent} has learned from" in found.why


def test_the_same_examples_give_the_same_numbers():
    first, second = (compare(examples(), candidate=knows(TRUTH), incumbent=knows(PRIORS)) for _ in range(2))
    assert first == second
    assert first.candidate_auc == auc(examples().rows[:, TRUTH], examples().accepted)


def test_households_that_ask_often_widen_the_interval():
    """Each household is one draw, however many of its decisions there are."""
    some = examples(2_000, 2_000)
    alone = compare(some, candidate=knows(TRUTH), incumbent=knows(PRIORS))
    likely = some.rows[::20].repeat(20, axis=0)
    repeated = Examples(
        rows=likely,
        accepted=some.accepted[::20].repeat(20),
        propensity=some.propensity,
        decided_us=some.decided_us,
        households=np.array([f"h{i // 20}" for i in range(2_000)]),
        left_out={},
    )
    crowded = compare(repeated, candidate=knows(TRUTH), incumbent=knows(PRIORS))

    def width(found: object) -> float:
        low, high = found.logloss_interval  # type: ignore[attr-defined]
        return float(high - low)

    assert width(crowded) > 3 * width(alone)
