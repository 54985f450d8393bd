"""Whether the turn of an outbound action has come: everything asked at its decision is asked again at its hand-over."""

from collections import Counter
from collections.abc import Collection

from household.contact_rules.compiled import Said
from household.contact_rules.lines import NEVER_US
from household.counting import milli
from household.deciding.contact_policy import contacts_of, counted_contacts, has_consent, is_quiet_for
from household.deciding.reasons import by_rule
from household.deciding.rules import Broken, Weighing, asks_of, capacity_left, contact_cost_minor
from household.deciding.standing import is_live, journey_of_action, truths, why_not
from household.delivery import DeliveryNote, DeliveryStep
from household.plan import EXEMPT_CLASSES, NONE, ContactClass, Effect, Halt
from household.state import PartitionState
from household.tables.claims import ClaimState
from household.tables.outbox import Outbound
from household.traits import UNKNOWN, Traits, traits_of


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
    if state.plan.halted:
        journey = journey_of_action(state, outbound.household, action_id)
        if state.plan.halt_by_journey.get(journey) is Halt.PAUSED:
            return None
    if reason := why_not(state, action_id):
        channel_name = state.plan.channels[outbound.channel].name
        return DeliveryNote(action_id=action_id, step=DeliveryStep.WITHDRAWN, channel=channel_name, reason=reason)
    traits = _traits(state, outbound)
    rules = _RulesOf(state, outbound, traits)
    for channel in _channels(outbound, rules):
        name = state.plan.channels[channel].name
        if not _is_open(state, outbound, channel, traits):
            continue
        if blocking := rules.blocking(channel):
            return DeliveryNote(action_id=action_id, step=DeliveryStep.WITHDRAWN, channel=name, reason=blocking)
        if name in listened and not rules.broken(channel):
            step = _step_with_item(state, outbound)
            return None if step is None else DeliveryNote(action_id=action_id, step=step, channel=name)
    return None


def _step_with_item(state: PartitionState, outbound: Outbound) -> DeliveryStep | None:
    """Return what is next for an action that may go out: what uses a unit of an item goes once that is held."""
    action = state.actions.get(outbound.action_id) if state.plan.inventory and not outbound.handed_us else None
    if action is None or state.inventory.item_of(state.plan.offer_by_name.get(action.offer, NONE)) is None:
        return DeliveryStep.HANDED
    claim = state.inventory.claim_of(action.action_id)
    if claim is None:
        return DeliveryStep.CLAIMED
    return None if claim.state is ClaimState.HOLDING else DeliveryStep.HANDED


def _traits(state: PartitionState, outbound: Outbound) -> Traits:
    """Return what an action is, as the playbook in force has it; unknown where it plays no part."""
    action = state.actions.get(outbound.action_id)
    if not state.plan.is_ruled or action is None:
        return UNKNOWN
    return traits_of(state.plan, action.offer, action.journey)


class _RulesOf:
    """What the rules of the contact policy say of an outbound action on each of its channels."""

    def __init__(self, state: PartitionState, outbound: Outbound, traits: Traits) -> None:
        self._state, self._by_channel = state, dict[int, tuple[Broken, ...]]()
        # Once it is handed over, it is handed over again on the same terms.
        if state.rules is None or outbound.handed_us:
            return
        channels = (outbound.channel, *outbound.fallbacks)
        action = state.actions[outbound.action_id]
        offer = state.plan.offer_by_name.get(action.offer, NONE)
        own = [one for one in state.contacts.of(outbound.household) if one.action_id == outbound.action_id]
        value_milli = max((one.value_milli for one in own), default=0)
        asked = [
            Said(
                traits=traits.text,
                channel=channel,
                cost_minor=contact_cost_minor(state.plan, offer, channel),
                value_milli=value_milli or self._value_milli(outbound, action.offer),
            )
            for channel in channels
        ]
        asks = asks_of(state.rules, asked)
        weighing = Weighing(state, outbound.household, outbound.member, asks, made_only=True)
        self._by_channel = {channel: weighing.broken(place) for place, channel in enumerate(channels)}

    def _value_milli(self, outbound: Outbound, offer: str) -> int:
        """Return what an action was worth at its decision; 0 where that is not known any more."""
        state = self._state
        if state.rules is None or not state.rules.has_reserving:
            return NEVER_US
        for slate in state.slates.of(outbound.household):
            if slate.decision_id == outbound.decision_id:
                values = [one.value_minor for one in slate.decision.candidates if one.offer == offer]
                return milli(next((value for value in values if value is not None), 0.0))
        return 0

    def broken(self, channel: int) -> tuple[Broken, ...]:
        """Return those that speak against it on a channel."""
        return self._by_channel.get(channel, ())

    def blocking(self, channel: int) -> str:
        """Return the reason that one keeps it from going out at all; empty if none does."""
        assert self._state.rules is not None or not self._by_channel
        for one in self.broken(channel):
            if one.effect is Effect.BLOCK and self._state.rules is not None:
                return by_rule(self._state.rules.rules[one.rule].name)
        return ""

    def goes_on(self, channel: int) -> bool:
        """Return whether it is to go another way than this."""
        return any(one.effect is Effect.NEXT_CHANNEL for one in self.broken(channel))


class CapacityTaken:
    """What the hand-overs of one record take of capacities that all households share: none sees the others' yet."""

    def __init__(self, state: PartitionState) -> None:
        """Take the state that each of them is looked at in."""
        self._state = state
        self._taken = Counter[int]()

    def has_room(self, note: DeliveryNote) -> bool:
        """Return whether the hand-overs before it leave room for one more; it is taken then."""
        state, outbound = self._state, self._state.outbox.get(note.action_id)
        rules = state.rules
        if rules is None or outbound is None or outbound.handed_us or note.step is not DeliveryStep.HANDED:
            return True
        traits, channel = _traits(state, outbound), state.plan.channel_by_name[note.channel]
        counting = [index for index in rules.capacities if rules.counts(index, traits, channel)]
        # What no rule speaks against passes, and counts all the same.
        if traits.contact_class not in EXEMPT_CLASSES:
            for index in counting:
                if self._taken[index] >= capacity_left(state, index) and self._speaks(index, outbound):
                    return False
        self._taken.update(counting)
        return True

    def _speaks(self, index: int, outbound: Outbound) -> bool:
        assert self._state.rules is not None
        condition = self._state.rules.rules[index].condition
        holds = truths(self._state, [condition] if condition != NONE else [], outbound.household, outbound.member)
        return holds.get(condition, True)


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


def _channels(outbound: Outbound, rules: _RulesOf) -> tuple[int, ...]:
    """Return where it may go now. Once a channel has failed, one that is closed is passed over for the next.

    One that a rule passes over leads to the next, and that may do so again.
    """
    if outbound.handed_us:
        return (outbound.channel,)
    channels = (outbound.channel, *outbound.fallbacks)
    if outbound.is_fallback:
        return channels
    passed_over = next((place for place, one in enumerate(channels) if not rules.goes_on(one)), len(channels) - 1)
    return channels[: passed_over + 1]


def _is_open(state: PartitionState, outbound: Outbound, channel: int, traits: Traits) -> bool:
    """Return whether no quiet hours, cap or missing consent is in the way; in that of what is exempt few are."""
    is_exempt = traits.contact_class in EXEMPT_CLASSES
    household, member = outbound.household, outbound.member
    return (
        (is_exempt or not is_quiet_for(state, channel, household, member))
        and (is_exempt or bool(outbound.handed_us) or _has_room(state, outbound, channel))
        and (traits.contact_class == ContactClass.LEGAL or has_consent(state, channel, household, member))
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
