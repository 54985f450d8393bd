"""Outbound actions and their contacts in the fold: what a hand-over, an acknowledgement or an outcome makes of them.

A contact holds a place from its decision on and counts from its hand-over on, whatever becomes of the action, until a
gateway says that it was not delivered. A late acknowledgement or any outcome on its channel proves it.
"""

from dataclasses import dataclass, replace

from household.counting import contact_of, reached, use_capacity
from household.plan import NONE
from household.state import PartitionState
from household.tables.actions import LiveAction
from household.tables.contacts import forget_place
from household.tables.outbox import Outbound


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingReport:
    """What a gateway says of an action that may have been sent."""

    action: LiveAction
    channel: str
    """Name of the channel it speaks of; empty for none."""
    group: str
    """Of the gateway, where it acknowledges; empty for none."""
    time_us: int
    """When it happened, not later than now."""
    now_us: int


def hand_over(state: PartitionState, outbound: Outbound, channel: int) -> None:
    """Fold a hand-over on a channel: from the first on, the contact counts, as of then."""
    if channel == outbound.channel:
        if outbound.handed_us:
            return
        fallbacks = outbound.fallbacks
    elif channel in outbound.fallbacks:
        # The one whose turn it was is passed over, and may have another.
        fallbacks = tuple(one for one in (outbound.channel, *outbound.fallbacks) if one != channel)
    else:
        return
    action_id, now_us = outbound.action_id, state.now_us
    copies = state.plan.channels[channel].groups[1:]
    state.scarcity.spend_earmarks(action_id)
    state.outbox.put(replace(outbound, channel=channel, fallbacks=fallbacks, handed_us=now_us, copies=copies))
    action = state.actions.get(action_id)
    if action is not None:
        state.actions.put(replace(state.showing.shown(action), channel=channel, handed_us=now_us))
    forget_place(state.contacts, outbound.household, action_id)
    _count_contact(state, outbound.household, outbound.member, channel, action_id, now_us)


def keep_back(state: PartitionState, outbound: Outbound) -> None:
    """Fold that what was noted as handed over was not: its contact holds a place again."""
    action_id, channel = outbound.action_id, outbound.channel
    state.outbox.put(replace(outbound, handed_us=0, copies=()))
    action = state.actions.get(action_id)
    if action is not None:
        state.actions.put(replace(action, channel=NONE, handed_us=0))
    for one in state.contacts.of(outbound.household):
        if one.is_handed and (one.action_id, one.channel) == (action_id, channel):
            use_capacity(state, one, -1)
    state.contacts.rewrite(
        outbound.household,
        lambda one: replace(one, is_handed=False) if one.action_id == action_id and one.channel == channel else one,
    )


def forget_kept_back(state: PartitionState, action_id: str, channel: int) -> None:
    """Fold the same of an action that is on its way there no more: its contact is none."""
    action = state.actions.get(action_id)
    if action is None:
        return
    _forget_contact(state, action.household, action_id, channel)
    if action.channel == channel:
        state.actions.put(replace(action, channel=NONE, handed_us=0))


def acknowledged(state: PartitionState, report: SendingReport, *, is_delivered: bool) -> bool:
    """Fold an acknowledgement; return whether it changed anything."""
    action_id, household = report.action.action_id, report.action.household
    outbound = state.outbox.get(action_id)
    channel = _acknowledged_channel(state, outbound, report)
    if _is_of_a_copy(state, channel, report.group):
        # It settles nothing, however late it comes, and wherever the action has gone meanwhile.
        return outbound is not None and channel == outbound.channel and _copy_taken(state, outbound, report.group)
    is_open = outbound is not None and not outbound.is_delivered
    if is_delivered:
        is_new = channel != NONE and _count_contact(
            state, household, report.action.member, channel, action_id, _contact_time_us(report, channel)
        )
        reached(state, household, action_id, channel, time_us=report.time_us, is_seen=False)
        if outbound is not None and is_open:
            # Reached on whatever channel: nothing is to be sent on another any more.
            _leave_outbox(state, replace(outbound, is_delivered=True))
            state.counters.delivered += 1
            forget_place(state.contacts, household, action_id)
        return is_new or is_open
    is_given_back = _forget_contact(state, household, action_id, channel)
    if outbound is None or not is_open or channel != outbound.channel:
        return is_given_back
    if outbound.fallbacks:
        _try_next(state, outbound, report.now_us)
    else:
        state.outbox.remove(action_id)
    return True


def prove_contact(state: PartitionState, report: SendingReport) -> None:
    """An outcome on the channel that an action was sent on: whoever answers was reached."""
    action = report.action
    if report.channel:
        channel = state.plan.channel_by_name.get(report.channel, NONE)
        if channel != NONE and channel != action.channel:
            known = state.plan.channels[channel]
            # Where members ask as well, she may have seen it without our sending it.
            channel = channel if known.outbound and not known.inbound else NONE
    else:
        channel = action.channel
    if channel != NONE:
        time_us = _contact_time_us(report, channel)
        _count_contact(state, action.household, action.member, channel, action.action_id, time_us)
        reached(state, action.household, action.action_id, channel, time_us=report.time_us, is_seen=True)


def bounced_late(state: PartitionState, household: int, action_id: str, channel: str, group: str) -> bool:
    """Give the contact of an action back that is itself forgotten by now; return whether there was one."""
    index = state.plan.channel_by_name.get(channel, NONE) if channel else None
    for row in state.rows_together(household):
        made = [one.channel for one in state.contacts.of(row) if one.action_id == action_id]
        if made and not any(_is_of_a_copy(state, one, group) for one in (made if index is None else (index,))):
            return _forget_contact(state, row, action_id, index)
    return False


def is_before_decision(state: PartitionState, action: LiveAction, time_us: int) -> bool:
    """Return whether a report tells of a time before its action was decided, by more than clocks may differ.

    Where events are the clock, whoever is behind the newest of them is late and not early.
    """
    return bool(not state.stream_clock and time_us < action.decided_us - state.plan.clock.future_us)


def _try_next(state: PartitionState, outbound: Outbound, now_us: int) -> None:
    """Let an action that could not be delivered go its journey's next way; what speaks against it there shows then."""
    action_id, channel = outbound.action_id, outbound.fallbacks[0]
    state.outbox.put(
        replace(
            outbound,
            channel=channel,
            fallbacks=outbound.fallbacks[1:],
            not_before_us=0,
            handed_us=0,
            copies=(),
            is_fallback=True,
        )
    )
    contact = contact_of(state, outbound.household, outbound.member, channel, action_id, time_us=now_us)
    state.contacts.put(contact, owner=outbound.household)


def _leave_outbox(state: PartitionState, outbound: Outbound) -> None:
    """Take a delivered action out, unless groups are still to have their copies."""
    if outbound.copies:
        state.outbox.put(outbound)
    else:
        state.outbox.remove(outbound.action_id)


def _is_of_a_copy(state: PartitionState, channel: int, group: str) -> bool:
    """Return whether a group has but copies of what another settles on a channel."""
    return channel != NONE and group in state.plan.channels[channel].groups[1:]


def _copy_taken(state: PartitionState, outbound: Outbound, group: str) -> bool:
    if group not in outbound.copies:
        return False
    rest = replace(outbound, copies=tuple(one for one in outbound.copies if one != group))
    if rest.is_delivered:
        _leave_outbox(state, rest)
    else:
        state.outbox.put(rest)
    return True


def _acknowledged_channel(state: PartitionState, outbound: Outbound | None, report: SendingReport) -> int:
    """Return the channel that an acknowledgement is about; NONE for one on which nothing was ever handed over."""
    if report.channel:
        return state.plan.channel_by_name.get(report.channel, NONE)
    if outbound is not None and (outbound.handed_us or not outbound.is_fallback):
        return outbound.channel
    # It speaks of the channel before: on this one nobody has it yet.
    return report.action.channel


def _contact_time_us(report: SendingReport, channel: int) -> int:
    """When a contact came about: at its hand-over, where that is known."""
    action = report.action
    return action.handed_us if action.handed_us and action.channel == channel else report.time_us


def _count_contact(
    state: PartitionState, household: int, member: int, channel: int, action_id: str, time_us: int
) -> bool:
    """Let a contact count; return whether it did not before."""
    known = [one for one in state.contacts.of(household) if one.action_id == action_id and one.channel == channel]
    if any(one.is_handed for one in known):
        return False
    if known:
        _forget_contact(state, household, action_id, channel)
    made = contact_of(state, household, member, channel, action_id, time_us=time_us, is_handed=True)
    state.contacts.put(made, owner=household)
    use_capacity(state, made, 1)
    return True


def _forget_contact(state: PartitionState, household: int, action_id: str, channel: int | None) -> bool:
    """Give back the contact of an action on a channel, or with None on any; return whether there was one."""
    if state.rules is not None and state.rules.capacities:
        for one in state.contacts.of(household):
            if one.is_handed and one.action_id == action_id and channel in (None, one.channel):
                use_capacity(state, one, -1)
    return state.contacts.rewrite(
        household,
        lambda one: one if one.action_id != action_id or (channel is not None and one.channel != channel) else None,
    )
