"""What rules of the contact policy count, as the fold keeps it: contacts with all that is known of them, answers,
refusals, and how much of a capacity is used. Without rules nothing is kept but the contact itself."""

from dataclasses import replace

from household.contact_rules.windows import window_of
from household.plan import NONE, Limit
from household.state import PartitionState
from household.subjects import subject_of
from household.tables.actions import LiveAction
from household.tables.capacities import CapacityUse
from household.tables.contacts import Contact
from household.tables.encounters import Encounter, EncounterKind
from household.traits import traits_of, traits_of_text


def contact_of(
    state: PartitionState,
    household: int,
    member: int,
    channel: int,
    action_id: str,
    *,
    time_us: int,
    is_handed: bool = False,
) -> Contact:
    """Return a contact of an action on a channel, as of now."""
    contact = Contact(time_us=time_us, member=member, channel=channel, action_id=action_id, is_handed=is_handed)
    if not state.plan.policy.remembered_us:
        return contact
    traits, cost_minor = _known_of(state, state.actions.get(action_id), channel)
    subject = subject_of(state, household, member, channel)
    return replace(contact, traits=traits, line=subject.line, address=subject.address, cost_minor=cost_minor)


def _known_of(state: PartitionState, action: LiveAction | None, channel: int) -> tuple[str, int]:
    """Return the traits of an action and what a contact of it costs, under the plan in force."""
    plan = state.plan
    cost_minor = 0 if channel == NONE else plan.channels[channel].cost_minor
    if action is None:
        return "", cost_minor
    offer = plan.offer_by_name.get(action.offer, NONE)
    traits = traits_of(plan, action.offer, action.journey).text
    return traits, cost_minor + (0 if offer == NONE else plan.offers[offer].cost_minor)


def reserve_place(
    state: PartitionState, household: int, contact: Contact, *, until_us: int, value_minor: float | None
) -> None:
    """Let an action that is held keep a place from what is worth less, where a rule has it so."""
    if state.rules is not None and state.rules.has_reserving and value_minor is not None:
        pending = replace(contact, until_us=until_us, value_milli=milli(value_minor))
        state.contacts.put(pending, owner=household)


def milli(value_minor: float) -> int:
    """Return a value in thousandths of a minor unit."""
    return round(value_minor * 1_000)


def answered(state: PartitionState, household: int, member: int, channel: int, action_id: str) -> None:
    """Fold that who asked on a channel was answered with an action: once for each action and channel."""
    if state.rules is None or not state.rules.counts_inbound or has_answered(state, household, channel, action_id):
        return
    _meet(state, household, member, channel, action_id, EncounterKind.ANSWERED, state.now_us)


def has_answered(state: PartitionState, household: int, channel: int, action_id: str) -> bool:
    """Return whether an action was the answer on a channel before."""
    return any(
        one.kind is EncounterKind.ANSWERED and one.action_id == action_id and one.channel == channel
        for one in state.together(state.encounters, household)
    )


def refused(state: PartitionState, action: LiveAction, channel: str, *, time_us: int) -> None:
    """Fold that an action was refused, on a channel by name or where that is not told."""
    if state.rules is not None and state.rules.counts_refusals:
        index = state.plan.channel_by_name.get(channel, NONE) if channel else action.channel
        _meet(state, action.household, action.member, index, action.action_id, EncounterKind.REFUSED, time_us)


def _meet(
    state: PartitionState,
    household: int,
    member: int,
    channel: int,
    action_id: str,
    kind: EncounterKind,
    time_us: int,
) -> None:
    traits, cost_minor = _known_of(state, state.actions.get(action_id), channel)
    subject = subject_of(state, household, member, channel)
    made = Encounter(
        time_us=time_us,
        kind=kind,
        member=member,
        channel=channel,
        action_id=action_id,
        traits=traits,
        line=subject.line,
        address=subject.address,
        cost_minor=cost_minor,
    )
    state.encounters.put(made, owner=household)


def reached(
    state: PartitionState, household: int, action_id: str, channel: int, *, time_us: int, is_seen: bool
) -> None:
    """Fold when a contact was delivered or seen: the earliest time that was told, in whatever order."""
    if state.rules is None or not state.rules.counts_later:
        return

    def told(one: Contact) -> Contact:
        if (one.action_id, one.channel) != (action_id, channel):
            return one
        delivered_us = min(one.delivered_us or time_us, time_us)
        seen_us = min(one.seen_us or time_us, time_us) if is_seen else one.seen_us
        return (
            one
            if (delivered_us, seen_us) == (one.delivered_us, one.seen_us)
            else replace(one, delivered_us=delivered_us, seen_us=seen_us)
        )

    state.contacts.rewrite(household, told)


def use_capacity(state: PartitionState, contact: Contact, by: int) -> None:
    """Let a contact that was made use capacity, or with −1 give it back."""
    rules = state.rules
    for index in rules.capacities if rules is not None else ():
        assert rules is not None
        rule = rules.rules[index]
        assert rule.limit is Limit.CAPACITY
        if rules.counts(index, traits_of_text(contact.traits), contact.channel):
            from_us, until_us = window_of(rule.span, state.plan.policy.time_zone, contact.time_us)
            if until_us > state.now_us:
                known = state.capacities.get(rule.name, from_us)
                count = max((known.count if known is not None else 0) + by, 0)
                state.capacities.put(CapacityUse(rule.name, from_us, until_us, count))
