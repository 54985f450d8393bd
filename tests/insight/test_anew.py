"""Laws of valuing another playbook's choices: the same playbook brings what was brought; a known truth is held by the
interval; doing nothing is worth nothing for certain; what was never chosen is refused, and it is said for whom; too
little is refused.
"""

from dataclasses import replace

import numpy as np
import pytest

from insight.evaluation.anew import ChosenAnew, value_anew
from insight.evaluation.evaluate import EvaluationConfig, PolicyRefusalReason

EXPLORATION = 0.4
ASKED = ("accepted", "earned")
ACCEPTS = {"films": (0.1, 0.7), "phone": (0.5, 0.2)}
"""By offer: P(accept) of those that pay seldom, and of those that pay often."""


def shares(best: str) -> tuple[tuple[str, float], ...]:
    each = EXPLORATION / len(ACCEPTS)
    return tuple((name, 1 - EXPLORATION + each if name == best else each) for name in ACCEPTS)


def lived(seed: int = 1, count: int = 4_000) -> list[ChosenAnew]:
    """Return decisions of a playbook that thinks films best for everybody."""
    draw, rows = np.random.default_rng(seed), []
    for number in range(count):
        often = int(draw.random() < 0.5)
        logged = shares("films")
        action = "films" if draw.random() < logged[0][1] else "phone"
        accepted = float(draw.random() < ACCEPTS[action][often])
        rows.append(
            ChosenAnew(
                decision_id=f"d{number}",
                household=f"h{number // 2}".encode(),
                action=action,
                propensity=dict(logged)[action],
                logged=logged,
                wanted=logged,
                context=np.array([often, draw.random()], np.float32),
                rewards={"accepted": accepted, "earned": 300 * accepted - 4},
            )
        )
    return rows


def fitted(rows: list[ChosenAnew]) -> list[ChosenAnew]:
    """Return them with a playbook that tells who likes what."""
    return [replace(one, wanted=shares("films" if one.context[0] else "phone")) for one in rows]


def truth() -> float:
    bests = ("phone", "films")
    each = [sum(p * ACCEPTS[name][often] for name, p in shares(best)) for often, best in enumerate(bests)]
    return float(np.mean(each))


def test_the_same_playbook_brings_what_was_brought():
    rows = lived()
    found = value_anew(rows, asked=ASKED, left_out={"withheld": 3}, config=EvaluationConfig())
    assert found.refusal is None
    assert found.overlap is not None
    assert found.overlap.largest_weight == 1.0
    assert found.logged is not None
    assert found.difference is not None
    assert found.dr is not None
    brought = np.mean([one.rewards["accepted"] for one in rows])
    assert found.logged["accepted"].value == pytest.approx(brought, abs=1e-12)
    for name in ASKED:
        one = found.difference[name]
        assert one.low < 0 < one.high
        assert one.standard_error < 0.5 * found.logged[name].standard_error, "most of the chance is in both"
    assert (found.decisions, found.households, found.says_nothing) == (4_000, 2_000, 0)
    assert found.left_out == {"withheld": 3}
    assert found.never_chosen == ()


def test_the_truth_lies_within_the_interval():
    found = value_anew(fitted(lived()), asked=ASKED, left_out={}, config=EvaluationConfig(confidence=0.999))
    assert found.dr is not None
    assert found.difference is not None
    one = found.dr["accepted"]
    assert one.low < truth() < one.high
    assert one.high - one.low < 0.2
    assert found.difference["accepted"].low > 0
    earned = found.dr["earned"]
    assert earned.value == pytest.approx(300 * one.value - 4, rel=0.02)


def test_to_do_nothing_is_worth_nothing_whatever_the_propensities_were():
    rows = fitted(lived())
    speaking = [replace(one, wanted=one.wanted if one.context[0] else ()) for one in rows]
    found = value_anew(speaking, asked=ASKED, left_out={}, config=EvaluationConfig())
    assert found.refusal is None
    assert found.says_nothing == sum(not one.context[0] for one in rows)
    assert found.dr is not None
    only = value_anew([one for one in speaking if one.wanted], asked=ASKED, left_out={}, config=EvaluationConfig())
    assert only.dr is not None
    share = 1 - found.says_nothing / len(rows)
    assert found.dr["accepted"].value == pytest.approx(share * only.dr["accepted"].value, rel=1e-9)
    silent = value_anew([replace(one, wanted=()) for one in rows], asked=ASKED, left_out={}, config=EvaluationConfig())
    assert silent.dr is not None
    assert (silent.dr["earned"].value, silent.dr["earned"].high) == (0.0, 0.0)


def test_what_was_never_chosen_is_refused_and_it_is_said_for_whom():
    rows = fitted(lived())
    wanted = [replace(one, wanted=(("tablet", 1.0),)) if number % 100 == 0 else one for number, one in enumerate(rows)]
    found = value_anew(wanted, asked=ASKED, left_out={}, config=EvaluationConfig())
    assert found.refusal is not None
    assert found.refusal.reason is PolicyRefusalReason.NEVER_CHOSEN
    assert found.dr is None
    (never,) = found.never_chosen
    assert (never.action, never.decisions, never.households) == ("tablet", 40, 40)
    assert never.some[0] == b"h0"
    rest = value_anew(wanted, asked=ASKED, left_out={}, config=EvaluationConfig(only_supported=True))
    assert rest.refusal is None
    kept = [one for one in wanted if one.wanted[0][0] != "tablet"]
    alone = value_anew(kept, asked=ASKED, left_out={}, config=EvaluationConfig())
    assert rest.dr is not None
    assert alone.dr is not None
    assert rest.dr["accepted"].value == pytest.approx(alone.dr["accepted"].value, abs=0.02)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (fitted(lived(count=120)), PolicyRefusalReason.EFFECTIVE_SAMPLE),
        ([replace(one, propensity=0.0) for one in lived(count=200)], PolicyRefusalReason.PROPENSITY_ZERO),
        ([replace(one, propensity=float("nan")) for one in lived(count=200)], PolicyRefusalReason.PROPENSITY_UNKNOWN),
    ],
)
def test_too_little_is_refused(rows: list[ChosenAnew], reason: PolicyRefusalReason):
    found = value_anew(rows, asked=ASKED, left_out={}, config=EvaluationConfig())
    assert found.refusal is not None
    assert found.refusal.reason is reason
    assert found.dr is None


def test_of_no_decisions_nothing_is_said():
    found = value_anew([], asked=ASKED, left_out={"slate stood": 2}, config=EvaluationConfig())
    assert (found.decisions, found.dr) == (0, None)
