"""Laws: on the town, whose truth is known, intervals of 95 % cover it as often as they say: in 371 to 389 of 400 runs
(where 97.5 % of all sets of 400 runs lie whose coverage is 95 %). Wrong propensities break that, and are refused.

The counts are printed (-s). `python -m tests.benches.evaluation_bench` does the same with the trees, which take longer.
"""

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from insight.evaluation.decisions import probability_of
from insight.evaluation.estimators import ips
from insight.evaluation.evaluate import EvaluationConfig, PolicyRefusalReason, evaluate
from insight.intervals import estimate
from tests.insight.town import OFFERS, known_town, lived, misremembered

RUNS, COVERED = 400, range(371, 390)
HOUSEHOLDS = 700
FAR_WRONG = 3_000
"""Households with which wrong propensities show."""


class Plane:
    """An outcome model that is quick to fit: least squares, one plane for each action."""

    def fit_predict(
        self,
        context: NDArray[np.float32],
        action: NDArray[np.intp],
        reward: NDArray[np.float64],
        *,
        wanted_context: NDArray[np.float32],
        wanted_action: NDArray[np.intp],
    ) -> NDArray[np.float64]:
        expected = np.full(len(wanted_action), reward.mean())
        columns = np.column_stack([np.ones(len(context)), context]).astype(np.float64)
        wanted = np.column_stack([np.ones(len(wanted_context)), wanted_context]).astype(np.float64)
        for one in range(int(action.max()) + 1):
            rows, asked = columns[action == one], wanted_action == one
            weights = np.linalg.solve(rows.T @ rows + 10 * np.eye(rows.shape[1]), rows.T @ reward[action == one])
            expected[asked] = wanted[asked] @ weights
        return expected


@pytest.fixture(scope="module")
def covered() -> Counter[str]:
    """How often each interval held the truth."""
    town, counts = known_town(), Counter[str]()
    logged_truth = float((town.logged * town.accepts).sum(axis=1).mean())
    truths = dict.fromkeys(("dr", "ips", "snips"), town.truth)
    truths |= {"logged": logged_truth, "difference": town.truth - logged_truth}
    for seed in range(RUNS):
        decisions, policy = lived(town, seed=seed, households=HOUSEHOLDS)
        found = evaluate(decisions, policy, model=Plane())
        assert found.refusal is None, found.refusal
        for name, truth in truths.items():
            one = getattr(found, name)
            counts[name] += one.low <= truth <= one.high
    print(f"of {RUNS} intervals of 95 % held the truth: {dict(counts)}")
    return counts


@pytest.mark.parametrize("name", ["dr", "ips", "snips", "difference", "logged"])
def test_an_interval_of_95_percent_holds_the_truth_in_95_of_100(covered: Counter[str], name: str):
    assert covered[name] in COVERED, covered


def test_with_wrong_propensities_they_do_not():
    town, held = known_town(), 0
    for seed in range(RUNS // 4):
        decisions, policy = lived(town, seed=seed, households=HOUSEHOLDS)
        done = probability_of(policy.choices, decisions.action, action_count=OFFERS)
        made = ips(decisions.reward, done / misremembered(decisions).propensity)
        found = estimate(made.value, made.influence, decisions.units)
        held += found.low <= town.truth <= found.high

    assert held < 10, "an interval that holds the truth whatever the propensities tells nothing"


def test_wrong_propensities_are_refused():
    decisions, policy = lived(known_town(), seed=1, households=FAR_WRONG)
    assert evaluate(decisions, policy).refusal is None
    refused = evaluate(misremembered(decisions), policy).refusal

    assert refused is not None
    assert refused.reason is PolicyRefusalReason.WEIGHTS_OFF
    assert "and not 1" in refused.why


def test_clipping_is_told_and_breaks_what_the_interval_holds():
    town, held = known_town(), 0
    config = EvaluationConfig(weight_max=1.0)
    for seed in range(RUNS // 8):
        decisions, policy = lived(town, seed=seed, households=HOUSEHOLDS)
        found = evaluate(decisions, policy, config=config, model=Plane())
        assert found.overlap is not None
        assert found.overlap.clipped > 0
        assert found.overlap.clipped_weight > 0.1
        assert found.ips is not None
        held += found.ips.low <= town.truth <= found.ips.high

    assert held < 25
