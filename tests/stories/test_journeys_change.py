"""Another playbook while somebody is on the way, for each journey of the playbook we ship.

Laws: where she is has the same name in the next version, she goes on with the time that she had, whatever time the next
version gives; where it is gone, her instance ends with VERSION, and what was not said is taken back. A slate stands
while what is on it has the same name and price, and is shown on no channel any more where it has not.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from household.migration import migrated
from household.plan import JourneyStep, Offer, Plan
from household.tables.instances import Ending
from playbooks.compiler import TELCO
from playbooks.rehearsing.playing import Playing, played_until
from playbooks.rehearsing.reading import read_rehearsals
from playbooks.rehearsing.script import Rehearsal
from playbooks.rehearsing.world import Doing, Happening
from tests.stories.telco import J2, telco
from written.problems import Problems

ON_THE_WAY = [
    ("j1_wallet_activation", "goal_before_the_next_step", "invite"),
    ("j1_wallet_activation", "golden_path", "active_wallet"),
    ("j3_spend", "golden_path", "pending"),
    ("j4_convergence", "golden_path", "pushed"),
    ("j4_convergence", "accepted_while_the_text_waits", "by_text"),
    ("j5_gaming", "golden_path", "offered"),
    ("j6_silent_churn", "golden_path", "offered"),
]


def rehearsal(journey: str, name: str = "golden_path") -> Rehearsal:
    problems = Problems()
    tests = read_rehearsals(TELCO / "tests" / f"{journey}.yaml", telco(), problems)
    assert not problems, problems.in_reading_order()
    return next(one for one in tests if one.name == name)


def with_steps(plan: Plan, journey: str, changed: Callable[[JourneyStep], JourneyStep]) -> Plan:
    """Return the next version of a plan, in which each state of a journey is another."""
    index = plan.journey_by_name[journey]
    flow = plan.journeys[index].flow
    assert flow is not None
    journeys = list(plan.journeys)
    journeys[index] = replace(journeys[index], flow=replace(flow, steps=tuple(map(changed, flow.steps))))
    return replace(plan, name="next", journeys=tuple(journeys))


def hurried(step: JourneyStep) -> JourneyStep:
    """Return a state in which everything takes half as long."""
    if step.timer is not None:
        step = replace(step, timer=replace(step.timer, after_us=step.timer.after_us // 2))
    if step.act is not None:
        step = replace(step, act=replace(step.act, within_us=step.act.within_us // 2))
    return step


@pytest.mark.parametrize(("journey", "story", "where"), ON_THE_WAY)
def test_she_goes_on_where_she_is_with_the_time_that_she_had_or_is_let_go(journey: str, story: str, where: str):
    world = played_until(rehearsal(journey, story), telco(), state=where)
    (before,) = world.instances(journey)
    on_its_way = [one.action_id for one in world.state.outbox]
    world.state = migrated(world.state, with_steps(world.plan, journey, hurried))
    (kept,) = world.instances(journey)
    assert (kept.step, kept.due_us, kept.ending) == (where, before.due_us, Ending.LIVE)
    assert [one.action_id for one in world.state.outbox] == on_its_way

    def renamed(step: JourneyStep) -> JourneyStep:
        return replace(step, name="elsewhere") if step.name == where else step

    world.state = migrated(world.state, with_steps(world.plan, journey, renamed))
    (gone,) = world.instances(journey)
    assert gone.ending is Ending.VERSION
    assert len(world.state.outbox) == 0, "what was not handed over goes nowhere"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (lambda offer: replace(offer, price_minor=offer.price_minor + 100), "PRICE_CHANGED"),
        (lambda offer: replace(offer, name="fibre_elsewhere"), "OFFER_GONE"),
    ],
)
def test_what_the_next_version_does_not_have_is_shown_on_no_channel(changed: Callable[[Offer], Offer], why: str):
    playing = Playing(rehearsal(J2), telco(), None)
    steps, world = playing.steps(), playing.world
    next(steps)
    before = answer(world.happenings)
    offers = [changed(one) if one.name == before.offer else one for one in world.plan.offers]
    world.plan = replace(world.plan, name="next", offers=tuple(offers))
    world.state = migrated(world.state, world.plan)
    world.ask(world.plan.channel_by_name["web"], world.first_member)
    after = answer(world.happenings)
    assert after.action_id not in ("", before.action_id)
    old = world.state.actions[before.action_id]
    assert (str(old.status), old.why) == ("withdrawn", why)


def answer(happenings: list[Happening]) -> Happening:
    """Return the newest answer."""
    return [one for one in happenings if one.doing is Doing.ANSWERED][-1]
