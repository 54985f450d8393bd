"""J1, wallet activation, as the shipped playbook has it: INVITED → ACTIVE_WALLET → FIRST_TX → HABIT → EXPANDED.

Golden path · boundaries ± 1 · duplicates and disorder · the control group walks and is never treated · the goal before
the next step · no consent · a restart on the way · another playbook on the way.
"""

import itertools
from dataclasses import replace

import pytest

from household.digest import state_digest
from household.freeze import Freeze, thaw
from household.local_time import instant_of, local_day
from household.migration import migrated
from household.plan import Plan
from household.tables.instances import Instance
from tests.household.journey_world import Story
from tests.household.oracle import Event
from tests.household.shop import DAY, HOUR, MINUTE, NOON_US, S
from tests.stories.telco import telco

J1 = "j1_wallet_activation"
ZONE = "Europe/Berlin"


def uncontrolled(plan: Plan) -> Plan:
    """Return the plan without control groups: whom they have is another test's."""
    journeys = tuple(replace(one, control_share=0.0) for one in plan.journeys)
    return replace(plan, journeys=journeys, experiments=())


def all_in_control(plan: Plan) -> Plan:
    journeys = tuple(replace(one, control_share=1.0 if one.name == J1 else 0.0) for one in plan.journeys)
    return replace(plan, journeys=journeys, experiments=())


class Anna(Story):
    """A prepaid member who uses the app and tops up."""

    def __init__(self, plan: Plan | None = None) -> None:
        super().__init__(uncontrolled(telco()) if plan is None else plan)

    def lives(self, *, topups: int = 4, sessions: int = 8, self_care: int = 1, consents: bool = True) -> None:
        """What she did in the last days; her last top-up is now."""
        self.happens("billing.profile_updated", line_type="prepaid")
        if consents:
            self.happens("app.consent_changed", marketing=True)
        for _ in range(sessions):
            self.happens("app.session_started", after_us=10 * MINUTE)
        for _ in range(self_care):
            self.happens("app.self_care", after_us=10 * MINUTE)
        for _ in range(topups):
            self.happens("billing.topup", after_us=10 * MINUTE, amount_minor=1_000)

    @property
    def j1(self) -> list[Instance]:
        return [one for one in self.instances if one.journey == J1]

    @property
    def at(self) -> str:
        """Where her newest instance is."""
        if not self.j1:
            return ""
        one = self.j1[-1]
        return one.step if one.ending == "LIVE" else f"{one.step}:{one.ending}"

    def next_monday(self, weeks: int = 1) -> int:
        today = local_day(ZONE, self.now_us)
        return instant_of(ZONE, today - (today - 1) % 7 + 7 * weeks, 0)

    def wait_until(self, time_us: int) -> None:
        self.pass_time(time_us - self.now_us)

    def pays(self) -> None:
        self.happens("wallet.payment", amount_minor=500, merchant_category="groceries")


def invited(plan: Plan | None = None) -> Anna:
    anna = Anna(plan)
    anna.lives()
    assert anna.at == "invite"
    return anna


def with_wallet() -> Anna:
    anna = invited()
    assert anna.says() == ["wallet_start"]
    assert anna.at == "invited"
    anna.happens("wallet.activated", after_us=2 * DAY)
    assert anna.at == "active_wallet"
    return anna


def test_the_golden_path_from_invitation_to_habit_and_expansion():
    anna = with_wallet()
    anna.pays()
    assert anna.at == "first_week"
    for week, where in ((1, "second_week"), (2, "third_week")):
        anna.wait_until(anna.next_monday())
        assert anna.at == where, week
        anna.pass_time(2 * DAY + 12 * HOUR)
        for _ in range(5):
            anna.happens("wallet.payment", after_us=MINUTE, amount_minor=1_500, merchant_category="fuel")
    assert anna.at == "habit"
    assert anna.says() == ["wallet_card"]
    assert anna.at == "expanding"
    anna.happens("billing.product_activated", after_us=DAY, product="wallet_card")
    assert anna.at == "expanding:GOAL"


@pytest.mark.parametrize(
    ("did", "enters"),
    [
        ({}, True),
        ({"topups": 3}, False),
        ({"topups": 5}, True),
        ({"sessions": 7}, False),
        ({"sessions": 9}, True),
        ({"self_care": 0}, False),
        ({"self_care": 2}, True),
    ],
)
def test_she_enters_at_the_fourth_topup_the_eighth_session_and_the_first_self_care(did: dict[str, int], enters: bool):
    anna = Anna()
    anna.lives(**did)
    assert bool(anna.j1) == enters


@pytest.mark.parametrize("paid_in", list(itertools.product((0, 1), repeat=3)))
def test_a_habit_is_payments_in_three_different_weeks_of_four(paid_in: tuple[int, ...]):
    anna = with_wallet()
    anna.pays()
    for pays in paid_in:
        anna.wait_until(anna.next_monday())
        if pays:
            anna.pass_time(DAY)
            anna.pays()
            anna.pays()  # twice in a week is once
    anna.wait_until(anna.next_monday())
    reached = anna.at in ("habit", "expanding")
    assert reached == (sum(paid_in) >= 2), anna.at
    assert reached or anna.at == "no_habit:COMPLETED"


@pytest.mark.parametrize(("before_us", "where"), [(1, "paid_in_two"), (0, "third_paid")])
def test_a_payment_at_the_very_end_of_a_week_is_the_next_weeks(before_us: int, where: str):
    anna = with_wallet()
    anna.pays()
    anna.now_us = anna.next_monday(2) - before_us
    anna.pays()
    assert anna.at == where


@pytest.mark.parametrize(("early_us", "where"), [(1, "active_wallet"), (0, "remind"), (-1, "remind")])
def test_the_wallet_comes_before_the_reminder_or_it_is_reminded(early_us: int, where: str):
    anna = invited()
    anna.says()
    anna.now_us = anna.j1[0].due_us - early_us
    anna.happens("wallet.activated")
    assert anna.at == where


def test_duplicates_and_disorder_give_the_same_path():
    anna, other = with_wallet(), with_wallet()
    for one in (anna, other):
        one.pays()
        one.wait_until(one.next_monday() + DAY)
    early = anna.event("wallet.payment", ago_us=4 * HOUR, amount_minor=500, merchant_category="fuel")
    later = anna.event("wallet.payment", ago_us=HOUR, amount_minor=500, merchant_category="fuel")
    anna.fold(early, later)
    other.fold(later)
    other.fold(early)
    again = other.signal_again(early)
    assert again == "DUPLICATE"
    assert [(one.step, one.since_us) for one in anna.j1] == [(one.step, one.since_us) for one in other.j1]
    assert anna.at == "paid_in_two"


def test_in_whatever_order_a_night_is_learned_of_it_leads_where_it_led():
    """All orders of five events within a day, over the end of a week: as if each had been told as it happened."""

    def on_sunday() -> Anna:
        anna = invited()
        anna.says()
        anna.wait_until(anna.next_monday() - 14 * HOUR)  # Sunday, ten in the morning
        return anna

    def night(anna: Anna) -> list[Event]:
        paid = {"amount_minor": 500, "merchant_category": "fuel"}
        hours = (("wallet.activated", 0, {}), ("wallet.payment", 2, paid), ("wallet.payment", 13, paid))
        hours += (("wallet.payment", 15, paid), ("wallet.payment", 20, paid))
        return [anna.event(name, ago_us=-hour * HOUR, **more) for name, hour, more in hours]

    live = on_sunday()
    for event in night(live):
        live.wait_until(event.time_us)
        live.fold(event)
    live.wait_until(live.next_monday(0) + 10 * HOUR)
    wanted = [(one.step, one.since_us) for one in live.j1]
    assert live.at == "paid_in_two"

    for order in itertools.permutations(range(5)):
        anna = on_sunday()
        events = night(anna)
        anna.wait_until(live.now_us)
        for place in order:
            anna.fold(events[place])
        assert [(one.step, one.since_us) for one in anna.j1] == wanted, order


def test_the_control_group_walks_the_same_states_and_is_never_treated():
    anna = invited(all_in_control(telco()))
    assert anna.says() == []
    assert anna.at == "invited"
    anna.happens("wallet.activated", after_us=DAY)
    assert anna.at == "active_wallet"
    assert len(anna.state.outbox) == len(anna.state.contacts) == 0


def test_the_goal_comes_before_the_next_step_and_takes_back_what_is_on_its_way():
    anna = invited()
    decision = anna.decide_all()
    assert decision is not None
    assert len(anna.state.outbox) == 1
    anna.happens("billing.product_activated", product="wallet_card")
    assert anna.at == "invite:GOAL"
    assert anna.send_all() == []
    assert anna.action(decision).why == "JOURNEY_OVER"


def test_without_consent_nothing_is_sent_and_she_goes_on():
    anna = Anna()
    anna.lives(consents=False)
    assert (anna.says(), anna.at) == ([], "invite")  # held: she may still say yes
    anna.pass_time(26 * HOUR)
    assert (anna.send_all(), anna.at) == ([], "invited")
    assert [one for one in anna.state.contacts if one.is_handed] == []


def test_who_opts_out_leaves_at_once():
    anna = with_wallet()
    anna.happens("app.opted_out")
    assert anna.at == "active_wallet:EXIT_RULE"


def test_a_restart_on_the_way_changes_nothing():
    anna, other = with_wallet(), with_wallet()
    freeze = Freeze(other.state)
    while not freeze.step():
        pass
    frozen = freeze.end()
    assert frozen is not None
    other.state = thaw(frozen)
    assert state_digest(other.state) == state_digest(anna.state)
    for one in (anna, other):
        one.pays()
        one.wait_until(one.next_monday(2) + S)
    assert anna.at == other.at == "third_week_of_one"
    assert state_digest(other.state) == state_digest(anna.state)


def test_another_playbook_on_the_way_keeps_her_where_she_is_or_lets_her_go():
    anna = with_wallet()
    same = replace(anna.state.plan, name="telco-next")
    anna.state = migrated(anna.state, same)
    anna.pass_time(S)  # what is dated at the very instant of the change is settled with what came before it
    anna.pays()
    assert anna.at == "first_week"
    without = replace(same, journeys=tuple(one for one in same.journeys if one.name != J1))
    anna.state = migrated(anna.state, without)
    assert anna.at == "first_week:VERSION"


def test_she_comes_back_ninety_days_after_she_left_and_not_before():
    anna = invited()
    anna.says()
    anna.happens("app.opted_out")
    anna.happens("app.opted_in")
    for days, count in ((80, 1), (40, 2)):
        anna.pass_time(days * DAY)
        anna.lives()
        assert len({one.number for one in anna.j1}) == count, days
    assert anna.now_us > NOON_US
