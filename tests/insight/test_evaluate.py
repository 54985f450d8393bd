"""Laws: what a policy would have brought by hand; data that cannot answer are refused with the reason and for whom."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from insight.evaluation.decisions import LoggedDecisions, read_decisions
from insight.evaluation.evaluate import Evaluation, EvaluationConfig, PolicyRefusalReason, evaluate
from insight.evaluation.policies import Policy, read_policy
from insight.intervals import estimate


def decisions_of(
    action: list[str], propensity: list[float | None], reward: list[float], **more: object
) -> LoggedDecisions:
    columns = {"decision_id": [f"d{one}" for one in range(len(action))], "action": action}
    columns |= {"propensity": propensity, "reward": reward, **more}
    return read_decisions(pa.table(columns), file="decisions.parquet")


def always(decisions: LoggedDecisions, **shares: float) -> Policy:
    table = pa.table({"action": list(shares), "probability": list(shares.values())})
    return read_policy(table, decisions, file="policy.csv")


def coin(count: int) -> LoggedDecisions:
    """Decisions between two actions by a fair coin; one brings 1, the other 0."""
    actions = ["yes", "no"] * (count // 2)
    return decisions_of(actions, [0.5] * count, [float(one == "yes") for one in actions])


def values(found: Evaluation) -> list[float]:
    assert found.refusal is None, found.refusal
    return [round(one.value, 9) for one in (found.logged, found.ips, found.snips) if one is not None]


def refused(found: Evaluation) -> tuple[PolicyRefusalReason, str]:
    assert found.refusal is not None
    assert (found.dr, found.ips, found.snips, found.logged, found.difference) == (None,) * 5
    return found.refusal.reason, found.refusal.why


def test_the_values_by_hand():
    found = evaluate(coin(400), always(coin(400), yes=0.75, no=0.25))

    assert values(found) == [0.5, 0.75, 0.75]
    assert found.overlap is not None
    assert found.overlap.effective_sample == pytest.approx(400 / 1.25)
    assert found.overlap.largest_weight == 1.5


def test_the_policy_that_was_in_force_brings_what_was_brought_and_no_more():
    found = evaluate(coin(400), always(coin(400), yes=0.5, no=0.5))

    assert values(found) == [0.5, 0.5, 0.5]
    assert found.difference is not None
    assert found.difference.low < 0.0 < found.difference.high


@pytest.mark.parametrize(("count", "is_refused"), [(198, True), (200, False)])
def test_an_effective_sample_below_100_is_refused_and_one_of_100_is_not(count: int, is_refused: bool):
    found = evaluate(coin(count), always(coin(count), yes=1.0))

    assert (found.refusal is not None) == is_refused
    assert found.overlap is not None
    assert found.overlap.effective_sample == count / 2
    if is_refused:
        reason, why = refused(found)
        assert reason is PolicyRefusalReason.EFFECTIVE_SAMPLE
        assert "99.0" in why
        assert "100 are needed" in why


def test_a_propensity_of_0_is_refused_and_says_whose():
    decisions = decisions_of(["a", "b"] * 200, [0.5] * 399 + [0.0], [1.0] * 400)
    reason, why = refused(evaluate(decisions, always(decisions, a=1.0)))

    assert reason is PolicyRefusalReason.PROPENSITY_ZERO
    assert "1 of 400 decisions" in why
    assert "d399" in why


def test_a_propensity_that_is_not_known_is_refused():
    decisions = decisions_of(["a", "b"] * 200, [0.5] * 399 + [None], [1.0] * 400)

    assert refused(evaluate(decisions, always(decisions, a=1.0)))[0] is PolicyRefusalReason.PROPENSITY_UNKNOWN


def test_what_was_never_chosen_is_refused():
    reason, why = refused(evaluate(coin(400), always(coin(400), yes=0.9, perhaps=0.1)))

    assert reason is PolicyRefusalReason.NEVER_CHOSEN
    assert "'perhaps' in 400" in why
    assert "was never chosen at all" in why


def known(count: int) -> LoggedDecisions:
    """Decisions of which all choices are known; in every tenth nothing but a could have been chosen."""
    only = np.arange(count) % 10 == 0
    actions = ["a" if one else "ab"[row // 2 % 2] for row, one in enumerate(only)]
    return decisions_of(
        actions,
        [1.0 if one else 0.5 for one in only],
        [float(row % 3 == 0) for row in range(count)],
        actions=[["a", "b"]] * count,
        propensities=[[1.0, 0.0] if one else [0.5, 0.5] for one in only],
    )


def test_what_could_not_have_been_chosen_is_refused_and_says_for_whom():
    decisions = known(1_000)
    reason, why = refused(evaluate(decisions, always(decisions, a=0.5, b=0.5)))

    assert reason is PolicyRefusalReason.NEVER_CHOSEN
    assert "in 100 of 1,000 decisions" in why
    assert "propensity 0" in why
    assert "d0, d10, d20, …" in why
    assert "other 900 alone" in why


def test_where_it_is_asked_for_the_decisions_that_can_tell_speak_alone():
    decisions = known(1_000)
    found = evaluate(decisions, always(decisions, a=0.5, b=0.5), config=EvaluationConfig(only_supported=True))

    assert found.refusal is None
    assert (found.decisions, found.left_out) == (900, {"not supported": 100})
    kept = np.arange(1_000) % 10 != 0
    assert values(found)[0] == round(float(decisions.reward[kept].mean()), 9)


def test_decisions_of_few_households_are_refused():
    count = 400
    decisions = decisions_of(
        ["a", "b"] * 200, [0.5] * count, [1.0] * count, household=[f"h{one % 29}" for one in range(count)]
    )
    reason, why = refused(evaluate(decisions, always(decisions, a=1.0)))

    assert reason is PolicyRefusalReason.HOUSEHOLDS
    assert "29 households" in why


def test_no_decisions_are_refused():
    decisions = coin(4).only(np.zeros(4, np.bool_), "gone")

    assert refused(evaluate(decisions, always(coin(4), yes=1.0)))[0] is PolicyRefusalReason.NO_DECISIONS


def test_a_household_that_is_written_down_five_times_counts_once():
    draw = np.random.default_rng(1)
    actions, rewards = ["a" if one else "b" for one in draw.random(600) < 0.5], (draw.random(600) < 0.3).astype(float)
    once = decisions_of(actions, [0.5] * 600, rewards.tolist(), household=[f"h{one}" for one in range(600)])
    often = decisions_of(
        actions * 5, [0.5] * 3_000, rewards.tolist() * 5, household=[f"h{one}" for one in range(600)] * 5
    )
    made = [evaluate(one, always(one, a=0.9, b=0.1)) for one in (once, often)]
    apart = evaluate(replace(often, units=np.arange(3_000)), always(often, a=0.9, b=0.1))

    for name in ("ips", "snips"):
        first, second = getattr(made[0], name), getattr(made[1], name)
        assert (first.low, first.high) == pytest.approx((second.low, second.high))
        assert getattr(apart, name).high < first.high


def test_a_slate_is_matched_whole():
    slates = [["a", "b"], ["b", "a"]] * 300
    table = pa.table(
        {
            "decision_id": list(range(600)),
            "action": slates,
            "propensity": [0.5] * 600,
            "reward": [float(one == ["a", "b"]) for one in slates],
        }
    )
    decisions = read_decisions(table, file="slates")
    policy = read_policy(pa.table({"action": [["a", "b"], ["b", "a"]], "probability": [0.2, 0.8]}), decisions, file="p")

    assert values(evaluate(decisions, policy)) == [0.5, 0.2, 0.2]


def test_without_skewness_the_interval_is_the_plain_one_and_with_it_it_leans():
    rows = np.array([0.0, 1.0] * 50)
    plain = estimate(0.5, rows - 0.5, np.arange(100))
    assert plain.high - 0.5 == pytest.approx(0.5 - plain.low) == pytest.approx(1.959964 * plain.standard_error)

    rare = np.array([0.0] * 95 + [1.0] * 5)
    leaning = estimate(0.05, rare - 0.05, np.arange(100))
    assert leaning.high - 0.05 > 1.2 * (0.05 - leaning.low)
