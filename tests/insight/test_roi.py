"""Laws: ROI is (incremental margin − reward cost − contact cost) ÷ (reward cost + contact cost), the increment from
control alone, by intention to treat; costs are those of the playbook's channels and offers and of rewards that were
taken up; what nobody has priced is told instead of a number; its interval holds the truth as often as it says.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from insight.experiments.effect import Measured
from insight.experiments.exposure import Exposures
from insight.experiments.households import Lives
from insight.experiments.report import ExperimentConfig, report
from insight.experiments.roi import arm_roi
from insight.experiments.spending import NOTHING, Spendings, Spent, spendings
from insight.measures.definitions import Definitions, read_definitions
from insight.measures.journeys import JourneyRecords
from insight.measures.knowledge import ask
from insight.measures.reading import read_facts
from tests.actors.harness import corner
from tests.insight.measures_log import START, exported
from tests.insight.measures_reference import DAY, Event
from tests.insight.test_experiment_report import AS_OF, FAMILIES, WINDOW, met_by

PLAN = corner(
    ("offers: topup\n", "offers: topup\n    control: 30%\n"), ("    margin: 5\n", "    margin: 5\n    cost: 0.30\n")
)
UNTOLD = Exposures(first_us={}, ghost_us={}, leaks=())


def measured(control: list[float], treated: list[float]) -> Measured:
    is_control = np.array([True] * len(control) + [False] * len(treated))
    return Measured(outcome=np.array([*control, *treated]), is_control=is_control)


def test_the_formula():
    # Treated bring 35 on average, control 10: 25 more. Contacts cost 4 each, one reward of 12 makes 6 each.
    found = arm_roi("treated", measured([10, 10], [30, 40]), np.array([0, 0, 4, 4]), np.array([0, 0, 0, 12]))
    assert (found.contact_minor, found.reward_minor, found.cost_minor) == (4.0, 6.0, 10.0)
    assert found.margin is not None
    assert found.roi is not None
    assert (found.margin.value, found.roi.value) == (25.0, (25 - 6 - 4) / 10)


def test_all_that_was_spent_and_brought_nothing_is_minus_one():
    found = arm_roi("treated", measured([10, 10], [10, 10]), np.array([0, 0, 4, 4]), np.zeros(4))
    assert found.roi is not None
    assert found.roi.value == -1.0


def test_without_costs_there_is_no_ratio():
    found = arm_roi("treated", measured([10, 10], [30, 40]), np.zeros(4), np.zeros(4))
    assert (found.roi, found.missing) == (None, "nothing was spent")
    assert found.margin is not None


def test_what_comes_back_of_each_unit_alike_is_known_exactly():
    # Of each unit that is spent three come back, whoever it is spent on; only how much is spent is by chance.
    cost = np.arange(1.0, 201.0)
    found = arm_roi("treated", measured([0.0] * 200, (3 * cost).tolist()), np.concatenate([np.zeros(200), cost]),
                    np.zeros(400)).roi  # fmt: skip
    assert found is not None
    assert found.value == pytest.approx(2.0)
    assert found.standard_error < 0.001


def test_its_interval_holds_the_truth_as_often_as_it_says():
    draw, held = np.random.default_rng(7), 0
    for _ in range(400):
        cost = np.where(draw.random(600) < 0.5, 0.0, 8.0)
        treated = draw.gamma(0.5, 40.0, 600) + 12.0
        found = arm_roi(
            "treated",
            measured(draw.gamma(0.5, 40.0, 300).tolist(), treated.tolist()),
            np.concatenate([np.zeros(300), cost]),
            np.zeros(900),
        ).roi
        assert found is not None
        held += found.low <= 2.0 <= found.high  # (12 - 4) / 4
    assert 368 <= held <= 392


def row(**named: Any) -> dict[str, Any]:
    action = {"action_id": "a1", "offer": "topup", "journey": "low"}
    bare = {
        "household": "h", "asked": False, "channel": "sms", "decided_at": START, "playbook_version": PLAN.version,
        "reasons": [], "action_id": "a1", "slate": [action],
    }  # fmt: skip
    return bare | named


def spent_of(*rows: dict[str, Any], handed: frozenset[str] = frozenset({"a1"}), **named: Any) -> Spendings:
    given = {"accepted_us": {}, "rewards_minor": {}} | named
    return spendings(rows, [PLAN], handed=handed, **given)


def test_contacts_cost_what_the_playbook_says_and_only_where_they_were_made():
    channel = next(one for one in PLAN.channels if one.name == "sms").cost_minor
    cost = 34
    assert cost - channel == PLAN.offers[PLAN.offer_by_name["topup"]].cost_minor == 30
    assert spent_of(row()).within("low", "h", START, START + 1) == (cost, 0)
    assert spent_of(row()).within("low", "h", START + 1, START + DAY) == (0, 0)
    assert spent_of(row(), handed=frozenset()).of == {}
    assert spent_of(row(asked=True), handed=frozenset()).within("low", "h", START, START + 1) == (cost, 0)
    assert spent_of(row(action_id=None)).of == {}


def test_a_reward_costs_once_it_is_taken_up_and_one_that_nobody_has_priced_is_named():
    taken = {"accepted_us": {"a1": START + 5}}
    assert spent_of(row(), rewards_minor={"topup": 300}, **taken).within("low", "h", START + 5, START + 6) == (0, 300)
    assert spent_of(row(), rewards_minor={"topup": 300}).within("low", "h", START, START + DAY)[1] == 0
    reward = corner(
        ("offers: topup\n", "offers: topup\n    control: 30%\n"),
        ("  topup:\n", "  topup:\n    contact_class: reward\n"),
    )
    rows = [row(playbook_version=reward.version)]
    found = spendings(rows, [reward], handed={"a1"}, accepted_us={"a1": START}, rewards_minor={})
    assert found.unpriced == {"topup"}


def definitions(**margin: str | None) -> Definitions:
    plain = read_definitions().model_dump()
    for source in plain["revenue"]:
        source["share"] = f"{source['share'] / 10_000}%"
        source["margin"] = margin.get(source["category"])
    for use in plain["uses"].values():
        use["half_life"] = f"{use['half_life'] // 3_600_000_000}h"
    return Definitions.model_validate(plain)


def test_a_margin_is_of_what_is_ours_and_a_refund_takes_it_back_to_the_unit():
    meant = definitions(connectivity="55%", partner="90%")

    def event(type_: str, amount: float, *, day: int, id_: str, **fields: object) -> Event:
        at = START + day * DAY
        return Event(id=id_, type=type_, household="h", time=at, learnt=at, fields={"amount_minor": amount, **fields})

    def margin(*log: Event) -> int:
        asked = ask(read_facts([exported(log)], meant, ()), meant, time_us=AS_OF)
        return Lives(asked).margin_minor("h", START, AS_OF)

    paid, bought = (
        event("billing.topup", 333.0, day=1, id_="paid"),
        event("partner.purchase", 2_000.0, day=1, id_="bought"),
    )
    assert (margin(paid), margin(bought)) == (183, 90)
    assert margin(paid, event("billing.refund", 333.0, day=2, id_="r", sale="paid")) == 0
    assert margin(bought, event("billing.refund", 1_000.0, day=2, id_="r", sale="bought")) == 45
    # Of a sale that nobody knows nobody knows what was left: all of it is gone.
    assert margin(paid, event("billing.refund", 100.0, day=2, id_="r", sale="unknown")) == 83


def roi_of(meant: Definitions, spent: Spendings, *, share_bp: dict[str, int] | None = None) -> Any:
    share_bp = share_bp or {"control": 5_000, "treated": 5_000}
    met = met_by(dict.fromkeys(share_bp, 200), share_bp=share_bp)
    log = [
        Event(
            id=f"{one.household}-p", type="billing.topup", household=one.household, time=START + DAY,
            learnt=START + DAY,
            fields={"amount_minor": 300.0 if one.arm == "treated" else 100.0},
        )
        for one in met
    ]  # fmt: skip
    # Once its time is over, what a household brings is no merit of the treatment.
    log += [replace(one, id=f"{one.id}-later", time=START + WINDOW, learnt=START + WINDOW) for one in log[:100]]
    asked = ask(read_facts([exported(log)], meant, ()), meant, time_us=AS_OF, journeys=JourneyRecords(met=tuple(met)))
    (one,) = report(asked, UNTOLD, FAMILIES, config=ExperimentConfig(window_us=WINDOW), spendings=spent)
    return one.roi[-1]


def test_an_experiment_tells_what_came_back():
    spent = {("low", f"treated-{number}"): [Spent(time_us=START + 1, contact_minor=20)] for number in range(200)}
    # Later than the window, and of control: neither counts.
    spent["low", "treated-1"].append(Spent(time_us=START + WINDOW, contact_minor=10_000))
    spent["low", "control-1"] = [Spent(time_us=START + 1, contact_minor=10_000)]
    found = roi_of(definitions(connectivity="50%", partner="50%"), Spendings(of=spent, unpriced=frozenset()))
    assert found.margin.value == pytest.approx(100.0)
    assert found.contact_minor == 20.0
    assert found.roi.value == pytest.approx((100 - 20) / 20)


def test_another_arm_is_neither_control_nor_this_one():
    spent = {("low", f"treated-{number}"): [Spent(time_us=START + 1, contact_minor=20)] for number in range(200)}
    whole = definitions(connectivity="50%", partner="50%")
    shares = {"control": 3_334, "another": 3_333, "treated": 3_333}
    found = roi_of(whole, Spendings(of=spent, unpriced=frozenset()), share_bp=shares)
    assert (found.arm, found.households, found.contact_minor) == ("treated", 200, 20.0)
    assert found.roi.value == pytest.approx((100 - 20) / 20)


def test_where_the_arms_cannot_be_compared_nothing_came_back():
    spent = {("low", f"treated-{number}"): [Spent(time_us=START + 1, contact_minor=20)] for number in range(200)}
    lost = {"control": 9_000, "treated": 1_000}
    found = roi_of(definitions(connectivity="50%", partner="50%"), Spendings(of=spent, unpriced=frozenset()),
                   share_bp=lost)  # fmt: skip
    assert (found.roi, found.missing) == (None, "the arms cannot be compared")


def test_what_nobody_has_priced_is_told_instead():
    assert roi_of(definitions(partner="50%"), NOTHING).missing == "nobody says what margin is made on connectivity"
    unpriced = Spendings(of={}, unpriced=frozenset({"badge"}))
    whole = definitions(connectivity="50%", partner="50%")
    assert roi_of(whole, unpriced).missing == "nobody says what rewards cost: badge"
    assert roi_of(whole, NOTHING).missing == "nothing was spent"
