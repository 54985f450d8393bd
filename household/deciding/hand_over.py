"""Whether the turn of an outbound action has come: everything asked at its decision is asked again at its hand-over."""

from collections.abc import Collection

from household.deciding.contact_policy import contacts_of, counted_contacts, has_consent, is_quiet
from household.deciding.standing import is_live, why_not
from household.delivery import DeliveryNote, DeliveryStep
from household.plan import NONE
from household.state import PartitionState
from household.tables.outbox import Outbound


def next_step(state: PartitionState, action_id: str, listened: Collection[str]) -> DeliveryNote | None:
    """Return what is to be noted of an outbound action now: that it is handed over, or taken back; None if it waits.

    Args:
        state: as of now; read only.
        action_id: of an action in the outbox, or of none any more.
        listened: names of the channels on which some gateway listens.
    """
    outbound = state.outbox.get(action_id)
    if outbound is None or outbound.channel == NONE or outbound.is_delivered:
        return None
    if not outbound.not_before_us <= state.now_us < outbound.send_before_us or not is_live(state, action_id):
        return None
    if reason := why_not(state, action_id):
        channel_name = state.plan.channels[outbound.channel].name
        return DeliveryNote(action_id=action_id, step=DeliveryStep.WITHDRAWN, channel=channel_name, reason=reason)
    for channel in _channels(outbound):
        name = state.plan.channels[channel].name
        if name in listened and _is_open(state, outbound, channel):
            return DeliveryNote(action_id=action_id, step=DeliveryStep.HANDED, channel=name)
    return None


def kept_back(state: PartitionState, action_id: str, channel: int) -> DeliveryNote | None:
    """Return what is to be noted of an action whose hand-over is recorded and was not made; None if none counts.

    Args:
        state: as of now; read only.
        action_id: of an action, wherever it stands.
        channel: index of the one on which it was to go.
    """
    outbound = state.outbox.get(action_id)
    if outbound is not None and outbound.channel == channel:
        is_noted = bool(outbound.handed_us) and not outbound.is_delivered
    else:
        # It has left the outbox, or is on its way elsewhere: what is recorded is the contact.
        household = household_of(state, action_id)
        contacts = state.contacts.of(household) if household is not None else ()
        is_noted = any(one.is_handed and (one.action_id, one.channel) == (action_id, channel) for one in contacts)
    if not is_noted:
        return None
    return DeliveryNote(action_id=action_id, step=DeliveryStep.KEPT_BACK, channel=state.plan.channels[channel].name)


def household_of(state: PartitionState, action_id: str) -> int | None:
    """Return the row of an action's household; None if the action is unknown, or forgotten."""
    found = state.outbox.get(action_id) or state.actions.get(action_id)
    return None if found is None else found.household


def _channels(outbound: Outbound) -> tuple[int, ...]:
    """Return where it may go now. Once a channel has failed, one that is closed is passed over for the next."""
    is_on_its_way = outbound.handed_us or not outbound.is_fallback
    return (outbound.channel,) if is_on_its_way else (outbound.channel, *outbound.fallbacks)


def _is_open(state: PartitionState, outbound: Outbound, channel: int) -> bool:
    plan = state.plan
    return (
        not (plan.channels[channel].quiet_hours and is_quiet(plan, state.now_us))
        and (bool(outbound.handed_us) or _has_room(state, outbound, channel))
        and has_consent(state, channel, outbound.household, outbound.member)
    )


def _has_room(state: PartitionState, outbound: Outbound, channel: int) -> bool:
    """Return whether every cap has room for one more contact.

    Only contacts that were made count here: of two that hold a place, the first whose turn comes takes it. One whose
    action is on its way no more and that was not given back was delivered in a term of fold version 1.
    """
    made = [
        one
        for one in contacts_of(state, outbound.household, outbound.member)
        if one.is_handed or one.action_id not in state.outbox
    ]
    for cap in state.plan.policy.caps:
        if channel not in cap.channels:
            continue
        if len(counted_contacts(made, cap, outbound.member, state.now_us)) >= cap.most:
            return False
    return True
