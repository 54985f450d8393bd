"""What an instance has said, said once more: the same action, under the same id, on the journey's next channel."""

from household.counting import contact_of, reserve_place
from household.deciding.contact_policy import opens_us
from household.deciding.standing import is_live, slate_of
from household.plan import NONE
from household.state import PartitionState
from household.tables.actions import LiveAction
from household.tables.acts import ActOfInstance
from household.tables.outbox import Outbound


def put_on_its_way(state: PartitionState, row: int, act: ActOfInstance, until_us: int) -> str:
    """Put what an act before has said on its way once more; return its id, or nothing where that cannot be.

    All that was asked at its decision is asked again at its hand-over. It is held until caps and quiet hours are over;
    what is not held has a place from now on, as any contact that was decided.

    Args:
        state: changed in place.
        row: of the household beneath which the instance lies.
        act: that repeats another.
        until_us: it goes out before then.
    """
    assert state.courses is not None
    course = state.courses.by_name[act.journey]
    said = course.steps[course.step_by_name[act.step]].act
    assert said is not None
    before = course.steps[said.repeats].name
    own = [
        one for one in state.acts.of(row) if (one.journey, one.number, one.step) == (act.journey, act.number, before)
    ]
    action_id = next((one.action_id for one in reversed(own) if one.action_id), "")
    action = state.actions.get(action_id)
    if action is None or not is_live(state, action_id):
        return ""
    channel = _next_channel(state, act.journey, action)
    open_us = opens_us(state, channel, action.household, action.member) if channel != NONE else None
    if open_us is None:
        return ""
    is_held = open_us > state.now_us
    outbound = Outbound(
        action_id=action_id,
        decision_id=action.decision_id,
        household=action.household,
        member=action.member,
        channel=channel,
        send_before_us=min(until_us, action.valid_until_us),
        not_before_us=open_us if is_held else 0,
        is_fallback=True,
    )
    state.outbox.put(outbound)
    contact = contact_of(state, action.household, action.member, channel, action_id, time_us=state.now_us)
    if is_held:
        value_minor = _value_minor(state, action)
        reserve_place(state, action.household, contact, until_us=outbound.send_before_us, value_minor=value_minor)
    else:
        state.contacts.put(contact, owner=action.household)
    return action_id


def _value_minor(state: PartitionState, action: LiveAction) -> float | None:
    """Return what an action was worth at its decision; None where its slate is gone."""
    found = slate_of(state, action)
    candidates = found[1].decision.candidates if found is not None else ()
    return next((one.value_minor for one in candidates if one.offer == action.offer), None)


def _next_channel(state: PartitionState, journey: str, action: LiveAction) -> int:
    """Return the channel that a journey lists behind the one on which an action went out last; NONE for none."""
    index = state.plan.journey_by_name.get(journey, NONE)
    offer = state.plan.offer_by_name.get(action.offer, NONE)
    if index == NONE or offer == NONE:
        return NONE
    listed = state.plan.journeys[index].outbound
    carried = {treatment.channel for treatment in state.plan.offers[offer].treatments}
    first = listed.index(action.channel) + 1 if action.channel in listed else 0
    return next((channel for channel in listed[first:] if channel in carried), NONE)
