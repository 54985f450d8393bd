"""What may not go out yet.

Laws: an action whose channels are closed by night or by a cap is held until the first of them opens, if that is before
its send_before, and says when; one that waits for a consent goes as soon as that is given; what cannot go in time is
not sent, and the reason is told; what is held has no place under a cap. Quiet hours end at the first minute outside
them, on both days of a clock change; a cap opens when enough of its contacts have left its window.
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from household.deciding.contact_policy import is_quiet, opens_us, quiet_until_us
from household.deciding.hand_over import next_step
from household.delivery import DeliveryStep
from household.plan import NONE, ContactPolicy, Plan
from household.tables.contacts import Contact
from tests.household.shop import DAY, EAGER, HOUR, MINUTE, PLAN, PUSH, SMS, S, Shop, with_journey
from tests.household.side import outbox_of, side_of
from tests.household.test_decide import at

NIGHT = replace(PLAN.policy, quiet_from_minute=22 * 60, quiet_to_minute=9 * 60)


def patient(plan: Plan, action_window_us: int, *outbound: int) -> Plan:
    """Return the plan with a balance check that is worth an answer for so long, sent on these channels."""
    check = replace(plan.event_types[0], action_window_us=action_window_us)
    return with_journey(
        replace(plan, event_types=(check, *plan.event_types[1:])), "low_balance", outbound=outbound or (SMS,)
    )


def test_what_arises_at_night_is_held_until_the_morning():
    shop = Shop(patient(replace(EAGER, policy=NIGHT), 12 * HOUR), now_us=at(22, 52))
    shop.third_check()
    decision = shop.decide(NONE)

    assert (decision.send_channel, decision.send_not_before_us) == ("sms", at(9, 0, day=17))
    assert decision.reasons[:3] == ("BEST_VALUE", "HELD", "QUIET_HOURS")
    assert side_of(shop.state).contacts == [], "what is held has no place yet"
    action_id = decision.slate[0].action_id
    shop.pass_time(at(9, 0, day=17) - shop.now_us - 1)
    assert next_step(shop.state, action_id, ("sms",)) is None
    shop.pass_time(1)
    assert next_step(shop.state, action_id, ("sms",)).step is DeliveryStep.HANDED


@pytest.mark.parametrize(
    ("window_us", "is_held"), [(10 * HOUR + 8 * MINUTE, False), (10 * HOUR + 8 * MINUTE + 1, True)]
)
def test_it_is_held_only_while_it_is_worth_saying(window_us: int, is_held: bool):
    shop = Shop(patient(replace(EAGER, policy=NIGHT), window_us), now_us=at(22, 52))
    shop.third_check()
    decision = shop.decide(NONE)

    assert bool(outbox_of(shop.state)) is is_held
    assert "QUIET_HOURS" in decision.reasons
    assert ("HELD" in decision.reasons) is is_held
    assert decision.send_before_us == (shop.now_us + window_us if is_held else 0)


def test_a_cap_that_is_full_holds_the_next_until_its_oldest_contact_has_left():
    shop = Shop(patient(EAGER, 3 * DAY))
    shop.third_check()
    first = shop.decide(NONE)
    shop.report("delivered", first.slate[0].action_id)
    shop.now_us += HOUR
    shop.third_check()
    second = shop.decide(NONE)

    assert second.reasons[:3] == ("BEST_VALUE", "HELD", "CONTACT_CAP")
    assert second.send_not_before_us == shop.now_us - HOUR + DAY
    action_id = second.slate[0].action_id
    shop.pass_time(DAY - HOUR - 1)
    assert next_step(shop.state, action_id, ("sms",)) is None
    shop.pass_time(1)
    assert next_step(shop.state, action_id, ("sms",)).step is DeliveryStep.HANDED


def test_what_waits_for_a_consent_goes_as_soon_as_it_is_given():
    shop = Shop(patient(EAGER, 3 * HOUR, PUSH))
    shop.third_check()
    decision = shop.decide(NONE)
    assert decision.reasons[:3] == ("BEST_VALUE", "HELD", "NO_CONSENT")
    action_id = decision.slate[0].action_id
    assert next_step(shop.state, action_id, ("push",)) is None
    shop.signal("app.consent", is_on=1)

    assert next_step(shop.state, action_id, ("push",)).step is DeliveryStep.HANDED


def test_a_channel_that_is_open_goes_before_one_that_opens_later_and_that_before_one_without_consent():
    shop = Shop(patient(EAGER, 3 * HOUR, PUSH, SMS))
    shop.third_check()
    assert [(one.channel, one.against) for one in shop.draft(NONE).outlets] == [(SMS, ()), (PUSH, ("NO_CONSENT",))]
    decision = shop.decide(NONE)
    assert (decision.send_channel, decision.fallback_channels) == ("sms", ("push",))


def test_a_control_household_is_held_nowhere():
    shop = Shop(with_journey(patient(replace(EAGER, policy=NIGHT), 12 * HOUR), "low_balance", control_share=1.0))
    shop.now_us = at(22, 52)
    shop.third_check()
    decision = shop.decide(NONE)

    assert (decision.withheld, decision.send_channel, decision.send_not_before_us) == (True, "", 0)
    assert outbox_of(shop.state) == {}


# --- quiet hours ------------------------------------------------------------------------------------------------------


def in_berlin(start: int, end: int) -> Plan:
    policy = ContactPolicy(quiet_from_minute=start, quiet_to_minute=end, time_zone="Europe/Berlin")
    return replace(PLAN, policy=policy)


@given(
    start=st.integers(0, 1_439),
    end=st.integers(0, 1_439),
    # Around the nights of 30 March and 26 October 2025, when Berlin changes its clocks, and an ordinary one.
    night_us=st.sampled_from([at(0, 0, day=30, month=3), at(0, 0, day=26, month=10), at(0, 0)]),
    after=st.integers(-1_440, 1_440),
    microsecond=st.integers(0, MINUTE - 1),
)
def test_quiet_hours_end_at_the_first_minute_outside_them(
    start: int, end: int, night_us: int, after: int, microsecond: int
):
    plan = in_berlin(start, end)
    now_us = night_us + after * MINUTE + microsecond
    found = quiet_until_us(plan, now_us)

    first = now_us
    while is_quiet(plan, first):
        first = first - first % MINUTE + MINUTE
    assert found == first


@pytest.mark.parametrize(
    ("now_us", "until_us"),
    [
        (at(23, 0, day=29, month=3), at(7, 0, day=30, month=3)),  # the night is an hour shorter: 09:00 is 07:00 UTC
        (at(23, 0, day=25, month=10), at(8, 0, day=26, month=10)),
    ],
)
def test_the_morning_is_the_members_morning_on_both_days_of_a_clock_change(now_us: int, until_us: int):
    assert quiet_until_us(in_berlin(22 * 60, 9 * 60), now_us) == until_us


# --- caps -------------------------------------------------------------------------------------------------------------


@given(ages=st.lists(st.integers(0, 8 * 24), max_size=8), most=st.integers(0, 4))
def test_a_cap_opens_at_the_first_instant_at_which_it_has_room(ages: list[int], most: int):
    caps = tuple(replace(cap, most=most, name=cap.name) for cap in PLAN.policy.caps)
    shop = Shop(replace(PLAN, policy=replace(PLAN.policy, caps=caps)))
    shop.signal("app.visit")
    contacts = [
        Contact(time_us=shop.now_us - age * HOUR, member=0, channel=SMS, action_id=str(n)) for n, age in enumerate(ages)
    ]
    for contact in contacts:
        shop.state.contacts.put(contact, owner=0)
    found = opens_us(shop.state, SMS, 0, 0)

    def has_room(time_us: int) -> bool:
        return all(sum(one.time_us > time_us - cap.window_us for one in contacts) < cap.most for cap in caps)

    instants = [shop.now_us + hours * HOUR for hours in range(8 * 24)]
    assert found == next((time_us for time_us in instants if has_room(time_us)), None)
    if found is not None and found > shop.now_us:
        assert not has_room(found - S)
