"""What decisions do to a household and what becomes of them: pending moments, slates, contacts, outbox, outcomes.

Called by apply only, in log order. All of it is side tables: nothing here touches features.
"""

from dataclasses import replace
from typing import assert_never

from household.contacts import (
    SendingReport,
    acknowledged,
    bounced_late,
    forget_kept_back,
    give_place_back,
    hand_over,
    is_before_decision,
    keep_back,
    prove_contact,
)
from household.deciding.standing import slate_owner
from household.decision import Decision, Moment
from household.delivery import DeliveryNote, DeliveryStep
from household.plan import NONE, Plan
from household.state import (
    NEVER_US,
    Contact,
    HouseholdLedger,
    KnownRequest,
    LiveAction,
    Outbound,
    PartitionState,
    Slate,
)

SETTLED_MOMENTS_KEPT = 64
"""Moment ids remembered per household; a decision is void only against moments this recent."""


TIDY_EVERY_US = 3_600_000_000
"""Without it, what nobody sends for would never be forgotten: a request id is remembered at most so much too long."""


def moment_arose(state: PartitionState, household: int, moment: Moment) -> None:
    """A trigger became true: its moment is pending until a decision that names it folds."""
    state.ledger(household).pending.append(moment)
    state.counters.moments += 1


def decision_made(state: PartitionState, decision: Decision, offset: int) -> bool:
    """Fold a decision; return False if it is void because another has settled all its moments already."""
    household, member = state.find(decision.household, decision.member)
    counters = state.counters
    if household < 0:
        _remember_request(state, decision, offset)
        counters.decisions += 1
        counters.nothing += 1
        return True
    ledger = state.ledger(household)
    if decision.moments and all(moment.moment_id in ledger.settled for moment in decision.moments):
        counters.voided += 1
        return False
    _settle_moments(ledger, decision, state.now_us)
    _remember_request(state, decision, offset)
    ledger.decisions.append((decision.decision_id, offset))
    counters.decisions += 1
    for withdrawal in decision.withdrawals:
        _withdraw_action(state, ledger, withdrawal.action_id, withdrawal.reason)
    if decision.stands:
        counters.served += 1
    elif not decision.slate:
        counters.nothing += 1
    elif decision.withheld:
        counters.withheld += 1
    else:
        _put_slate(state, ledger, decision, household, member)
    return True


def _settle_moments(ledger: HouseholdLedger, decision: Decision, now_us: int) -> None:
    settled = dict.fromkeys(moment.moment_id for moment in decision.moments)
    ledger.pending = [moment for moment in ledger.pending if moment.moment_id not in settled]
    for moment_id in settled:
        ledger.settled[moment_id] = now_us
    while len(ledger.settled) > SETTLED_MOMENTS_KEPT:
        del ledger.settled[next(iter(ledger.settled))]


def _remember_request(state: PartitionState, decision: Decision, offset: int) -> None:
    if state.tidied_us == NEVER_US:
        state.tidied_us = state.now_us
    if decision.request_id:
        # By the household, too: on two households it is two requests, in whatever partitions they live.
        household = decision.household if state.fold_version >= 2 else b""
        found = KnownRequest(decision.decision_id, offset, state.now_us, decision.request_hash)
        state.requests[household, decision.request_id] = found


def report_remembered(
    state: PartitionState, household: int, request_id: bytes, request_hash: bytes, *, now_us: int
) -> None:
    """Remember a Report or an Ack that was applied, so that another under its id shows; from fold version 2 on."""
    if state.fold_version < 2 or not request_hash:
        return
    if state.tidied_us == NEVER_US:
        state.tidied_us = now_us
    key = (state.households.key(household), request_id.decode(errors="backslashreplace"))
    state.requests[key] = KnownRequest("", -1, now_us, request_hash)


def _put_slate(state: PartitionState, ledger: HouseholdLedger, decision: Decision, household: int, member: int) -> None:
    owner = slate_owner(state, decision.slate, member)
    for replaced_owner in dict.fromkeys((owner, member)):
        # A new slate of the household's takes the place of what was the asking member's own, too.
        replaced = ledger.slates.pop(replaced_owner, None)
        if replaced is not None:
            _end_slate(state, ledger, replaced, now_us=state.now_us)
    ledger.slates[owner] = Slate(
        decision=decision, valid_until_us=max(action.valid_until_us for action in decision.slate)
    )
    for action in decision.slate:
        state.actions[action.action_id] = LiveAction(
            action_id=action.action_id,
            decision_id=decision.decision_id,
            household=household,
            member=member,
            offer=action.offer,
            family=_family(state.plan, action.offer),
            valid_until_us=action.valid_until_us,
            status="live",
            decided_us=decision.decided_us if state.fold_version >= 2 else 0,
        )
    if decision.send_channel:
        _put_outbound(state, ledger, decision, household, member)


def _put_outbound(
    state: PartitionState, ledger: HouseholdLedger, decision: Decision, household: int, member: int
) -> None:
    channel = state.plan.channel_by_name.get(decision.send_channel, NONE)
    if channel == NONE:
        return
    action_id = decision.slate[0].action_id
    state.outbox[action_id] = Outbound(
        action_id=action_id,
        decision_id=decision.decision_id,
        household=household,
        member=member,
        channel=channel,
        send_before_us=decision.send_before_us,
        not_before_us=decision.send_not_before_us,
        fallbacks=tuple(
            state.plan.channel_by_name[name]
            for name in decision.fallback_channels
            if name in state.plan.channel_by_name
        ),
    )
    if not decision.send_not_before_us:
        # What is held has no place yet: it looks for one when its time comes.
        ledger.contacts.append(Contact(time_us=state.now_us, member=member, channel=channel, action_id=action_id))


def _family(plan: Plan, offer: str) -> str:
    index = plan.offer_by_name.get(offer, NONE)
    return "" if index == NONE else plan.offers[index].family


def _end_slate(state: PartitionState, ledger: HouseholdLedger, slate: Slate, *, now_us: int) -> None:
    """Take back what is still live of a slate: it is shown and sent nowhere any more."""
    for action in slate.decision.slate:
        live = state.actions.get(action.action_id)
        if live is not None and live.status == "live":
            _set_status(state, live, "withdrawn", now_us)
        _withdraw_outbound(state, ledger, action.action_id)


def _set_status(state: PartitionState, action: LiveAction, status: str, settled_us: int, *, why: str = "") -> None:
    state.actions[action.action_id] = replace(action, status=status, settled_us=settled_us, why=why)


def _withdraw_outbound(state: PartitionState, ledger: HouseholdLedger, action_id: str) -> None:
    outbound = state.outbox.get(action_id)
    if outbound is None or outbound.is_delivered:
        return
    del state.outbox[action_id]
    state.counters.withdrawn += 1
    give_place_back(ledger, action_id)


def delivery_noted(state: PartitionState, note: DeliveryNote) -> None:
    """Fold a step of an outbound action on its way."""
    channel = state.plan.channel_by_name.get(note.channel, NONE)
    outbound = state.outbox.get(note.action_id)
    if outbound is None or (note.step is DeliveryStep.KEPT_BACK and channel != outbound.channel):
        if note.step is DeliveryStep.KEPT_BACK:
            forget_kept_back(state, note.action_id, channel)
        return
    ledger = state.ledger(outbound.household)
    match note.step:
        case DeliveryStep.HANDED:
            if channel != NONE:
                hand_over(state, ledger, outbound, channel)
        case DeliveryStep.KEPT_BACK:
            if outbound.handed_us:
                keep_back(state, ledger, outbound)
        case DeliveryStep.WITHDRAWN:
            _withdraw_action(state, ledger, note.action_id, note.reason)
        case _:
            assert_never(note.step)


def _withdraw_action(state: PartitionState, ledger: HouseholdLedger, action_id: str, reason: str) -> None:
    """Take back an action that no longer holds, wherever it stands."""
    action = state.actions.get(action_id)
    if action is not None and action.status == "live":
        _set_status(state, action, "withdrawn", state.now_us, why=reason)
    _withdraw_outbound(state, ledger, action_id)


def outcome_reported(
    state: PartitionState,
    household: int,
    action_id: str,
    outcome: str,
    *,
    time_us: int,
    now_us: int,
    channel: str = "",
    group: str = "",
) -> bool:
    """Fold what a gateway reported; return whether it changed anything.

    Args:
        state: changed in place.
        household: row of the household that the report names.
        action_id: the action it is about.
        outcome: one of ACTION_OUTCOMES.
        time_us: when it happened.
        now_us: `now` once this event was folded; that of the state may be later, by events of the same batch.
        channel: on which it happened, as the report names it; empty for none.
        group: of the gateway that acknowledges; empty for none.
    """
    action = state.actions.get(action_id)
    if action is None or action.household != household:
        is_forgotten = action is None and state.fold_version >= 2
        return is_forgotten and outcome == "undelivered" and bounced_late(state, household, action_id, channel, group)
    if is_before_decision(state, action, time_us):
        return False
    ledger = state.ledger(household)
    if state.fold_version >= 2:
        report = SendingReport(action=action, channel=channel, group=group, time_us=min(time_us, now_us), now_us=now_us)
        if outcome in ("delivered", "undelivered"):
            return acknowledged(state, ledger, report, is_delivered=outcome == "delivered")
        prove_contact(state, ledger, report)
    match outcome:
        case "delivered":
            delivered = state.outbox.pop(action_id, None) is not None
            state.counters.delivered += int(delivered)
            return delivered
        case "undelivered":
            if state.outbox.pop(action_id, None) is None:
                return False
            ledger.contacts = [one for one in ledger.contacts if one.action_id != action_id]
            return True
        case "convert" if state.fold_version >= 2 and action.status == "live":
            # She has it, with or without a word on accepting it before: it is as settled as it can be.
            if _settle(state, ledger, action, "accepted", time_us=time_us, now_us=now_us):
                _accepted(state, ledger, action, now_us=now_us)
            return True
        case "accept":
            if not _settle(state, ledger, action, "accepted", time_us=time_us, now_us=now_us):
                return False
            _accepted(state, ledger, action, now_us=now_us)
            return True
        case "decline":
            if not _settle(state, ledger, action, "declined", time_us=time_us, now_us=now_us):
                return False
            policy = state.plan.policy
            _extend(ledger.declined_offers, action.offer, time_us + policy.decline_offer_us)
            _extend(ledger.declined_families, action.family, time_us + policy.decline_family_us)
            _withdraw_offers(state, ledger, offers={action.offer}, family=action.family, now_us=now_us)
            return True
    # An impression, a click or a conversion is a fact about a known action; it changes no state beyond features.
    return True


def _accepted(state: PartitionState, ledger: HouseholdLedger, action: LiveAction, *, now_us: int) -> None:
    """Take back what does not go with an accepted action, and do not offer the same at once once more."""
    offers = {action.offer, *_excluded(state.plan, action.offer)}
    _withdraw_offers(state, ledger, offers=offers, family="", now_us=now_us)
    if state.fold_version >= 2:
        _extend(ledger.accepted_offers, action.offer, action.valid_until_us)


def _extend(until_by_name: dict[str, int], name: str, until_us: int) -> None:
    """Of two reports the later one says how long, in whatever order they came."""
    until_by_name[name] = max(until_us, until_by_name.get(name, until_us))


def _settle(
    state: PartitionState, ledger: HouseholdLedger, action: LiveAction, status: str, *, time_us: int, now_us: int
) -> bool:
    """Close an action with its outcome, and with it its slate on every channel."""
    if action.status != "live" or time_us >= action.valid_until_us:
        return False
    _set_status(state, action, status, now_us)
    _withdraw_outbound(state, ledger, action.action_id)
    for member, slate in list(ledger.slates.items()):
        if slate.decision.decision_id == action.decision_id:
            _end_slate(state, ledger, slate, now_us=now_us)
            del ledger.slates[member]
    return True


def _excluded(plan: Plan, offer: str) -> set[str]:
    index = plan.offer_by_name.get(offer, NONE)
    return set() if index == NONE else {plan.offers[other].name for other in plan.offers[index].excludes}


def _withdraw_offers(
    state: PartitionState, ledger: HouseholdLedger, *, offers: set[str], family: str, now_us: int
) -> None:
    """Take back, for every member of the household, live actions of these offers, and of a family unless empty."""
    for slate in ledger.slates.values():
        for entry in slate.decision.slate:
            action = state.actions.get(entry.action_id)
            if action is None or action.status != "live":
                continue
            if action.offer in offers or (family and action.family == family):
                _set_status(state, action, "withdrawn", now_us)
                _withdraw_outbound(state, ledger, action.action_id)


def time_passed(state: PartitionState) -> None:
    """Expire what `now` has passed: unsent actions, slates, remembered requests, old contacts and vetoes."""
    now_us = state.tidied_us = state.now_us
    for action_id in [item.action_id for item in state.outbox.values() if item.send_before_us <= now_us]:
        outbound = state.outbox.pop(action_id)
        state.counters.expired += int(not outbound.is_delivered)
        give_place_back(state.ledger(outbound.household), action_id)
    forget_before_us = now_us - state.plan.clock.request_window_us
    for key in [key for key, found in state.requests.items() if found.seen_us < forget_before_us]:
        del state.requests[key]
    for action in list(state.actions.values()):
        if action.status == "live" and action.valid_until_us <= now_us:
            _set_status(state, action, "expired", now_us)
        elif action.status != "live" and action.settled_us < forget_before_us:
            del state.actions[action.action_id]
    for row in list(state.ledgers):
        _tidy(state, row)


def _tidy(state: PartitionState, row: int) -> None:
    """Forget what is over; a ledger in which nothing is, is left alone: a snapshot may share it."""
    ledger, now_us = state.ledgers[row], state.now_us
    longest_us = max((cap.window_us for cap in state.plan.policy.caps), default=0)
    contacts = [contact for contact in ledger.contacts if contact.time_us > now_us - longest_us]
    offers = {name: until for name, until in ledger.declined_offers.items() if until > now_us}
    families = {name: until for name, until in ledger.declined_families.items() if until > now_us}
    accepted = {name: until for name, until in ledger.accepted_offers.items() if until > now_us}
    slates = {member: slate for member, slate in ledger.slates.items() if slate.valid_until_us > now_us}
    before = len(ledger.contacts) + len(ledger.declined_offers) + len(ledger.declined_families) + len(ledger.slates)
    before += len(ledger.accepted_offers)
    if len(contacts) + len(offers) + len(families) + len(slates) + len(accepted) < before:
        ledger = state.ledger(row)
        ledger.accepted_offers = accepted
        ledger.contacts, ledger.slates = contacts, slates
        ledger.declined_offers, ledger.declined_families = offers, families


def next_due_us(state: PartitionState) -> int | None:
    """Return when the next tick is due: the earliest send_before of the outbox, or the next tidying; None for never."""
    due = [item.send_before_us for item in state.outbox.values()]
    if state.requests or state.actions:
        due.append(state.tidied_us + TIDY_EVERY_US)
    return min(due, default=None)
