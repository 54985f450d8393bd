"""What decisions do to a household and what becomes of them: pending moments, slates, contacts, outbox, outcomes.

Called by apply only, in log order. All of it is tables: nothing here touches features.
"""

from collections.abc import Sequence
from typing import assert_never

from household import counting
from household.contacts import (
    SendingReport,
    acknowledged,
    bounced_late,
    forget_kept_back,
    hand_over,
    is_before_decision,
    keep_back,
    prove_contact,
)
from household.deciding.standing import slate_owner
from household.decision import Decision, Moment
from household.delivery import DeliveryNote, DeliveryStep
from household.journeys import effects
from household.open_actions import set_status, withdraw_action, withdraw_outbound
from household.plan import NONE, Plan
from household.state import NEVER_US, PartitionState
from household.tables.actions import ActionStatus, LiveAction
from household.tables.claims import CLAIMS, ClaimState
from household.tables.decisions import KnownDecision
from household.tables.holds import HOLDS
from household.tables.moments import SettledMoment
from household.tables.outbox import Outbound
from household.tables.pauses import Pause
from household.tables.requests import KnownRequest
from household.tables.slates import Slate, slate_of_decision
from household.tables.table import Table

TIDY_EVERY_US = 3_600_000_000
"""Without it, what nobody sends for would never be forgotten: a request id is remembered at most so much too long."""


def decision_made(state: PartitionState, decision: Decision, payload: bytes, offset: int) -> bool:
    """Fold a decision of a record; return False if it is void because another has settled all its moments already."""
    household, member = state.find(decision.household, decision.member)
    counters = state.counters
    if household < 0:
        _remember_request(state, decision, offset)
        counters.decisions += 1
        counters.nothing += 1
        return True
    if decision.moments:
        rows = state.rows_together(household)
        settled = [any((row, one.moment_id) in state.settled for row in rows) for one in decision.moments]
        if all(settled):
            counters.voided += 1
            return False
        _settle_moments(state, household, decision.moments, settled)
    _remember_request(state, decision, offset)
    state.decisions.put(KnownDecision(decision.decision_id, offset), owner=household)
    counters.decisions += 1
    _record_arms(state, household, decision)
    for withdrawal in decision.withdrawals:
        withdraw_action(state, household, withdrawal.action_id, withdrawal.reason)
    if decision.stands:
        counters.served += 1
    elif not decision.slate:
        counters.nothing += 1
    elif decision.withheld:
        counters.withheld += 1
    else:
        _put_slate(state, decision, payload, household, member)
    for one in decision.scarce:
        if one.used:
            earmarked_by = "" if decision.answered else decision.slate[0].action_id
            state.scarcity.use(state, one.budget, one.used, share=one.share, earmarked_by=earmarked_by)
    if decision.answered:
        if decision.stands:
            _show_action(state, decision.answered)
        if state.plan.inventory and (action := state.actions.get(decision.answered)) is not None:
            state.inventory.claim(action)
        channel = state.plan.channel_by_name.get(decision.channel, NONE)
        counting.answered(state, household, member, channel, decision.answered)
    if state.courses is not None:
        effects.decided(state, household, decision)
    return True


def _record_arms(state: PartitionState, household: int, decision: Decision) -> None:
    """Keep the arms that a decision met; what was met before stays as it was, whatever a playbook says by now."""
    if not decision.arms:
        return
    recorded = state.together(state.arms, household)
    known = {one.experiment for one in recorded} if recorded else ()
    for arm in decision.arms:
        if arm.experiment not in known:
            state.arms.put(arm, owner=household)


def _settle_moments(
    state: PartitionState, household: int, moments: Sequence[Moment], is_settled: Sequence[bool]
) -> None:
    settled = dict.fromkeys(moment.moment_id for moment in moments)
    for row in state.rows_together(household):
        state.pending.rewrite(row, lambda moment: None if moment.moment_id in settled else moment)
    # Those that were settled before keep their places, and are not the younger for it.
    before = [moment.moment_id for moment, was in zip(moments, is_settled, strict=True) if was]
    for moment_id in dict.fromkeys((*before, *settled)):
        state.settled.put(SettledMoment(moment_id, state.now_us), owner=household)


def _remember_request(state: PartitionState, decision: Decision, offset: int) -> None:
    if state.tidied_us == NEVER_US:
        state.tidied_us = state.now_us
    if decision.request_id:
        # By the household, too: on two households it is two requests, in whatever partitions they live.
        household = decision.household if state.fold_version >= 2 else b""
        state.requests.put(
            KnownRequest(
                household, decision.request_id, decision.decision_id, offset, state.now_us, decision.request_hash
            )
        )


def report_remembered(
    state: PartitionState, household: int, request_id: bytes, request_hash: bytes, *, now_us: int
) -> None:
    """Remember a Report or an Ack that was applied, so that another under its id shows; from fold version 2 on."""
    if state.fold_version < 2 or not request_hash:
        return
    if state.tidied_us == NEVER_US:
        state.tidied_us = now_us
    name = request_id.decode(errors="backslashreplace")
    state.requests.put(KnownRequest(state.households.key(household), name, "", -1, now_us, request_hash))


def _put_slate(state: PartitionState, decision: Decision, payload: bytes, household: int, member: int) -> None:
    owner = slate_owner(state, decision.slate, member)
    for replaced_owner in dict.fromkeys((owner, *state.same_members(household, member))):
        # A new slate of the household's takes the place of what was the asking member's own, too.
        for row in state.rows_together(household):
            replaced = state.slates.get(row, replaced_owner)
            if replaced is not None:
                state.slates.remove(row, replaced_owner)
                _end_slate(state, row, replaced, now_us=state.now_us)
    state.slates.put(slate_of_decision(decision, payload, owner), owner=household)
    for action in decision.slate:
        live = LiveAction(
            action_id=action.action_id,
            decision_id=decision.decision_id,
            household=household,
            member=member,
            offer=action.offer,
            family=_family(state.plan, action.offer),
            valid_until_us=action.valid_until_us,
            status=ActionStatus.LIVE,
            decided_us=decision.decided_us if state.fold_version >= 2 else 0,
            journey=action.journey if state.plan.policy.remembered_us else "",
            is_shown=action.action_id == decision.answered and state.showing.count(action.offer),
        )
        state.actions.put(live)
    if decision.send_channel:
        _put_outbound(state, decision, household, member)


def _show_action(state: PartitionState, action_id: str) -> None:
    """Count an action of a slate that stands as shown, unless it was before."""
    action = state.actions.get(action_id)
    if action is not None and (shown := state.showing.shown(action)) is not action:
        state.actions.put(shown)


def _put_outbound(state: PartitionState, decision: Decision, household: int, member: int) -> None:
    channel = state.plan.channel_by_name.get(decision.send_channel, NONE)
    if channel == NONE:
        return
    action_id = decision.slate[0].action_id
    state.outbox.put(
        Outbound(
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
    )
    contact = counting.contact_of(state, household, member, channel, action_id, time_us=state.now_us)
    if not decision.send_not_before_us:
        state.contacts.put(contact, owner=household)
    else:
        # What is held has no place yet: it looks for one when its time comes.
        first = decision.slate[0].offer
        value_minor = next((one.value_minor for one in decision.candidates if one.offer == first), None)
        counting.reserve_place(state, household, contact, until_us=decision.send_before_us, value_minor=value_minor)


def _family(plan: Plan, offer: str) -> str:
    index = plan.offer_by_name.get(offer, NONE)
    return "" if index == NONE else plan.offers[index].family


def _end_slate(state: PartitionState, household: int, slate: Slate, *, now_us: int) -> None:
    """Take back what is still live of a slate: it is shown and sent nowhere any more."""
    for action in slate.decision.slate:
        live = state.actions.get(action.action_id)
        if live is not None and live.status is ActionStatus.LIVE:
            set_status(state, live, ActionStatus.WITHDRAWN, now_us)
        withdraw_outbound(state, household, action.action_id)


def delivery_noted(state: PartitionState, note: DeliveryNote) -> None:
    """Fold a step of an outbound action on its way."""
    channel = state.plan.channel_by_name.get(note.channel, NONE)
    outbound = state.outbox.get(note.action_id)
    if outbound is None or (note.step is DeliveryStep.KEPT_BACK and channel != outbound.channel):
        if note.step is DeliveryStep.KEPT_BACK:
            forget_kept_back(state, note.action_id, channel)
        return
    match note.step:
        case DeliveryStep.HANDED:
            if channel != NONE:
                hand_over(state, outbound, channel)
                if state.courses is not None:
                    effects.handed(state, outbound.household, note.action_id)
        case DeliveryStep.KEPT_BACK:
            if outbound.handed_us:
                keep_back(state, outbound)
        case DeliveryStep.WITHDRAWN:
            withdraw_action(state, outbound.household, note.action_id, note.reason)
            if state.courses is not None:
                effects.taken_back(state, outbound.household, note.action_id, note.reason)
        case DeliveryStep.CLAIMED:
            if (action := state.actions.get(note.action_id)) is not None:
                state.inventory.claim(action)
        case _:
            assert_never(note.step)


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
    if action is None or (action.household != household and household not in state.rows_together(action.household)):
        is_forgotten = action is None and state.fold_version >= 2
        return is_forgotten and outcome == "undelivered" and bounced_late(state, household, action_id, channel, group)
    household = action.household
    if is_before_decision(state, action, time_us):
        return False
    if state.fold_version >= 2:
        report = SendingReport(action=action, channel=channel, group=group, time_us=min(time_us, now_us), now_us=now_us)
        if outcome in ("delivered", "undelivered"):
            return acknowledged(state, report, is_delivered=outcome == "delivered")
        prove_contact(state, report)
    match outcome:
        case "delivered":
            delivered = state.outbox.remove(action_id)
            state.counters.delivered += int(delivered)
            return delivered
        case "undelivered":
            if not state.outbox.remove(action_id):
                return False
            state.contacts.rewrite(household, lambda one: None if one.action_id == action_id else one)
            return True
        case "convert" if state.fold_version >= 2 and action.status is ActionStatus.LIVE:
            # She has it, with or without a word on accepting it before: it is as settled as it can be.
            if _settle(state, action, ActionStatus.ACCEPTED, time_us=time_us, now_us=now_us):
                _accepted(state, action, now_us=now_us)
            return True
        case "accept":
            if not _settle(state, action, ActionStatus.ACCEPTED, time_us=time_us, now_us=now_us):
                return False
            _accepted(state, action, now_us=now_us)
            return True
        case "decline":
            if not _settle(state, action, ActionStatus.DECLINED, time_us=time_us, now_us=now_us):
                return _given_back(state, action, now_us=now_us)
            counting.refused(state, action, channel, time_us=min(time_us, now_us))
            policy = state.plan.policy
            _extend(state.declined_offers, household, action.offer, time_us + policy.decline_offer_us)
            _extend(state.declined_families, household, action.family, time_us + policy.decline_family_us)
            _withdraw_offers(state, household, offers={action.offer}, family=action.family, now_us=now_us)
            return True
        case "impression" | "click" | "convert":
            # A fact about a known action; it changes no state beyond features.
            return True
        case _:
            raise AssertionError(f"{outcome} is no outcome of an action")


def _accepted(state: PartitionState, action: LiveAction, *, now_us: int) -> None:
    """Take back what does not go with an accepted action, and do not offer the same at once once more."""
    offers = {action.offer, *_excluded(state.plan, action.offer)}
    _withdraw_offers(state, action.household, offers=offers, family="", now_us=now_us)
    if state.fold_version >= 2:
        _extend(state.accepted_offers, action.household, action.offer, action.valid_until_us)


def _given_back(state: PartitionState, action: LiveAction, *, now_us: int) -> bool:
    """Give back the unit of an item that an accepted action has, or is about to get; return whether there is one."""
    claim = state.inventory.claim_of(action.action_id) if action.status is ActionStatus.ACCEPTED else None
    if claim is None or claim.state is ClaimState.RELEASING:
        return False
    set_status(state, action, ActionStatus.DECLINED, now_us)
    state.accepted_offers.remove(action.household, action.offer)
    return True


def _extend(pauses: Table[Pause], household: int, name: str, until_us: int) -> None:
    """Of two reports the later one says how long, in whatever order they came."""
    known = pauses.get(household, name)
    pauses.put(Pause(name, until_us if known is None else max(until_us, known.until_us)), owner=household)


def _settle(state: PartitionState, action: LiveAction, status: ActionStatus, *, time_us: int, now_us: int) -> bool:
    """Close an action with its outcome, and with it its slate on every channel."""
    if action.status is not ActionStatus.LIVE or time_us >= action.valid_until_us:
        return False
    set_status(state, action, status, now_us)
    household = action.household
    withdraw_outbound(state, household, action.action_id)
    for slate in state.slates.of(household):
        if slate.decision_id == action.decision_id:
            _end_slate(state, household, slate, now_us=now_us)
            state.slates.remove(household, slate.member)
    return True


def _excluded(plan: Plan, offer: str) -> set[str]:
    index = plan.offer_by_name.get(offer, NONE)
    return set() if index == NONE else {plan.offers[other].name for other in plan.offers[index].excludes}


def _withdraw_offers(state: PartitionState, household: int, *, offers: set[str], family: str, now_us: int) -> None:
    """Take back, for every member of the household, live actions of these offers, and of a family unless empty."""
    for slate in state.together(state.slates, household):
        for entry in slate.decision.slate:
            action = state.actions.get(entry.action_id)
            if action is None or action.status is not ActionStatus.LIVE:
                continue
            if action.offer in offers or (family and action.family == family):
                set_status(state, action, ActionStatus.WITHDRAWN, now_us)
                withdraw_outbound(state, action.household, action.action_id)


def time_passed(state: PartitionState) -> None:
    """Let what is due by `now` be over: unsent actions, slates, remembered requests, old contacts and pauses."""
    state.tidied_us = state.now_us
    for table in state.tables:
        if table.declaration.when_due is None:
            table.forget_due(state.now_us)
        elif (slots := table.due(state.now_us)).shape[0]:
            table.declaration.when_due(state, table, slots)


def next_due_us(state: PartitionState) -> int | None:
    """Return when the next tick is due: what is first of the outbox, journeys' timers and the next tidying; or None."""
    is_kept = len(state.requests) or len(state.actions) or len(state.recent_signals) or len(state.heard)
    due = [state.tidied_us + TIDY_EVERY_US] if is_kept else []
    for table in (state.outbox, state.instances, state.tables.of(CLAIMS), state.tables.of(HOLDS)):
        if (due_us := table.next_due_us()) is not None:
            due.append(due_us)
    left_us = state.heard.next_due_us()
    if left_us is not None and left_us <= state.tidied_us:
        due.append(left_us)  # more than the last tick did at once
    return min(due, default=None)
