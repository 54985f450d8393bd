"""The town under three arms: what it may not read, what must add up, and where nothing may be found."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from household.plan import Plan
from insight.experiments.arms import KnownFates, advantage, drawn
from loadtest.arms.assumptions import Assumptions, Need
from loadtest.arms.core import Core, Spoken
from loadtest.arms.events import household_key, member_key
from loadtest.arms.fates import Fates, World
from loadtest.arms.needs import NEVER_US, draw_needs, meets
from loadtest.arms.outcomes import ArmName, ArmOutcomes, joined, load
from loadtest.arms.plans import CAMPAIGN, batch_plan, moment_plan
from loadtest.arms.quarter import Stay, live_quarter
from loadtest.arms.town_run import quarters
from loadtest.town import MONDAY_US, Town
from loadtest.town.rhythm import US_PER_DAY, US_PER_HOUR

STAY = Stay(seed=5, households=60, days=6, days_before=7)
CONTROL, BATCH, MOMENT = range(3)
COLUMNS = [one.name for one in fields(ArmOutcomes)]


@pytest.fixture(scope="module")
def lived(plan: Plan) -> ArmOutcomes:
    return live_quarter(STAY, plan, Assumptions())


@pytest.fixture(scope="module")
def world(plan: Plan) -> World:
    return world_of(plan, Assumptions())


def world_of(plan: Plan, assumed: Assumptions) -> World:
    town = Town(seed=5, households=40, start_us=MONDAY_US, days=20, plan=plan)
    return World(
        seed=5,
        plan=plan,
        people=town.people,
        preferences=town.preferences,
        needs=draw_needs(town.people, assumed, seed=5, start_us=MONDAY_US, days=20),
        assumed=assumed,
        holds=np.zeros((40, len(plan.families)), np.bool_),
        patience=np.full(40, 1e9),
        start_us=MONDAY_US,
        utc_offset_us=town.utc_offset_us,
    )


def spoken(plan: Plan, offer: str, *, action_id: str, decision: object = None) -> Spoken:
    return Spoken(
        household=household_key(3),
        member=member_key(0),
        action_id=action_id,
        offer=plan.offer_by_name[offer],
        price_minor=plan.offers[plan.offer_by_name[offer]].price_minor,
        channel=plan.channel_by_name["app"],
        is_outbound=False,
        decision=decision,  # type: ignore[arg-type]
    )


# --- what an arm is ---------------------------------------------------------------------------------------------------


def test_the_same_span_gives_the_same_outcomes(plan: Plan, lived: ArmOutcomes) -> None:
    again = live_quarter(STAY, plan, Assumptions())
    assert all(np.array_equal(getattr(again, name), getattr(lived, name)) for name in COLUMNS)
    assert lived.shown[MOMENT].sum() > 0
    assert lived.sent[BATCH].sum() > 0


def test_nothing_is_said_to_control(lived: ArmOutcomes) -> None:
    assert not lived.sent[CONTROL].any()
    assert not lived.shown[CONTROL].any()
    assert not lived.accepted[CONTROL].any()


def test_where_nobody_accepts_and_nobody_tires_the_arms_differ_in_what_contacts_cost_alone(plan: Plan) -> None:
    assumed = Assumptions(base=-60.0, tolerance=1e9)
    found = live_quarter(STAY, plan, assumed)
    assert found.shown[MOMENT].sum() > 0
    for name in ("conversion", "revenue_minor", "left"):
        of_arms = getattr(found, name)
        assert np.array_equal(of_arms[BATCH], of_arms[CONTROL])
        assert np.array_equal(of_arms[MOMENT], of_arms[CONTROL])
    cost = found.margin_minor[CONTROL] - found.margin_minor
    assert (cost >= 0).all()
    assert cost[MOMENT].sum() > 0


def test_the_arms_are_treated_with_the_same_actions_and_the_town_has_the_only_control(plan: Plan) -> None:
    batch, moment = batch_plan(plan, every_us=30 * US_PER_DAY), moment_plan(plan)
    assert (
        [one.name for one in batch.offers] == [one.name for one in moment.offers] == [one.name for one in plan.offers]
    )
    assert not batch.all_experiments
    assert not moment.all_experiments
    assert [journey.name for journey in batch.journeys] == ["campaign"]
    assert batch.event_types[batch.journeys[0].trigger.events[0]].name == CAMPAIGN  # type: ignore[union-attr]
    assert batch.policy == moment.policy == plan.policy
    Core(batch)
    Core(moment)


# --- what members answer ----------------------------------------------------------------------------------------------


def test_who_asks_and_by_which_decision_changes_no_answer(plan: Plan, world: World) -> None:
    """The decision knows its arm and its journey; nothing of it may be read, so anything can stand in its place."""
    answers = []
    for action_id, decision in (("a", None), ("b", object())):
        lives = Fates(world)
        for hour in range(0, 200, 5):
            now_us = MONDAY_US + hour * US_PER_HOUR
            lives.reached(spoken(plan, "content_start", action_id=action_id, decision=decision), now_us)
        answers.append((lives.accepted.copy(), lives.revenue_minor.copy(), [one.event for one in lives.said]))
    assert np.array_equal(answers[0][0], answers[1][0])
    assert np.array_equal(answers[0][1], answers[1][1])
    assert answers[0][2] == answers[1][2]


def test_a_need_that_is_met_by_an_offer_makes_it_likelier_and_fades_by_half(plan: Plan, world: World) -> None:
    needs, at = world.needs, int(np.flatnonzero(world.needs.kind == Need.WATCH)[0])
    member, born_us, half_us = int(needs.member[at]), int(needs.born_us[at]), int(needs.half_us[at])
    offer = plan.offer_by_name["content_start"]
    lives = Fates(replace(world, assumed=replace(world.assumed, strength=3.0)))
    flat = Fates(replace(world, assumed=replace(world.assumed, strength=0.0)))

    def gain(time_us: int) -> float:
        chances = [one.p_accept(member, offer, 699, "app", time_us)[0] for one in (lives, flat)]
        return float(np.diff(np.log(np.array(chances) / (1 - np.array(chances))))[0] * -1)

    assert gain(born_us) == pytest.approx(3.0)
    lone = [one for one in range(needs.count) if needs.member[one] == member and needs.kind[one] == Need.WATCH]
    if len(lone) == 1:
        assert gain(born_us + half_us) == pytest.approx(1.5)
        assert gain(born_us - 1) == pytest.approx(0.0)
    lives.met[lone] = True
    assert gain(born_us + half_us) == pytest.approx(0.0)


def test_contacts_tire_and_what_is_asked_for_tires_less(plan: Plan, world: World) -> None:
    lives, now_us = Fates(world), MONDAY_US + 10 * US_PER_HOUR
    offer, member = plan.offer_by_name["fibre_start"], int(world.people.first_member[3])
    before, _ = lives.p_accept(member, offer, 2_999, "app", now_us)
    lives.weariness.add(member, world.assumed.tolerance + 2.0, now_us)
    tired, _ = lives.p_accept(member, offer, 2_999, "app", now_us)
    rested, _ = lives.p_accept(member, offer, 2_999, "app", now_us + 60 * US_PER_DAY)
    assert tired < before
    assert rested > tired


# --- what happens unasked ---------------------------------------------------------------------------------------------


def test_needs_end_once_and_how_often_does_not_hang_on_how_long_they_last(plan: Plan) -> None:
    town = Town(seed=5, households=2_000, start_us=MONDAY_US, days=1, plan=plan)
    shares = []
    for half_life in (0.1, 10.0):
        assumed = Assumptions(half_life=half_life, alone=0.3, elsewhere=0.3)
        needs = draw_needs(town.people, assumed, seed=5, start_us=MONDAY_US, days=60)
        alone, elsewhere = needs.alone_us < NEVER_US, needs.elsewhere_us < NEVER_US
        assert not (alone & elsewhere).any()
        assert (needs.alone_us[alone] >= needs.born_us[alone]).all()
        shares.append((alone.mean(), elsewhere.mean()))
    expected = (1 - np.exp(-0.6)) / 2
    assert np.allclose(shares, expected, atol=0.01)


def test_every_need_but_help_is_met_by_something_that_is_sold(plan: Plan) -> None:
    for kind in Need:
        found = [one for one in plan.offers if meets(kind, one)]
        assert found, kind
        assert kind is Need.HELP or any(one.kind == "offer" for one in found), kind


# --- what an experiment says of it ------------------------------------------------------------------------------------


def test_an_experiment_estimates_the_truth_that_its_households_have() -> None:
    draw = np.random.default_rng(3)
    before = draw.normal(100.0, 20.0, 3_000)
    outcome = np.stack([before, before + 1.0, before + 3.0]) + draw.normal(0.0, 1.0, (3, 3_000))
    told = KnownFates(arms=tuple(ArmName), outcomes={"ARPU": outcome}, before=before[:, None])
    assigned = drawn("salt", [household_key(one) for one in range(3_000)], 3)
    assert np.bincount(assigned).min() > 900
    found = advantage(told, assigned, measure="ARPU", arm=ArmName.MOMENT, over=ArmName.BATCH)
    assert found.truth.value == pytest.approx(2.0, abs=0.1)
    assert found.is_adjusted
    assert found.holds
    assert found.effect.high - found.effect.low < 0.5, "the past is taken off"


def test_outcomes_come_back_from_their_file_and_quarters_make_a_town(lived: ArmOutcomes, tmp_path: Path) -> None:
    lived.save(tmp_path / "town.npz")
    again = load(tmp_path / "town.npz")
    assert all(np.array_equal(getattr(again, name), getattr(lived, name)) for name in COLUMNS)
    assert joined([lived, again]).households == 2 * lived.households
    parts = quarters(Stay(seed=2, households=130, days=1), of=50)
    assert [one.households for one in parts] == [50, 50, 30]
    assert len({one.seed for one in parts}) == 3
