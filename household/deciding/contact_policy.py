"""What speaks against reaching a member on a channel, and until when: consent, caps, quiet hours."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from household.deciding.reasons import Reason
from household.local_time import local_datetime
from household.plan import NONE, ContactCap, Plan, Scope
from household.quiet_hours import QuietHours, quiet_hours
from household.state import PartitionState
from household.subjects import zone_of
from household.tables.contacts import Contact

MINUTES_PER_DAY = 1_440


def local_minute_of_week(plan: Plan, now_us: int) -> int:
    """Return the minute since Monday 00:00 in the operator's time zone, 0 … 10,079."""
    return _local_minute_of_week(plan.policy.time_zone, now_us // 1_000_000) if now_us >= 0 else 0


@lru_cache(maxsize=256)
def _local_minute_of_week(zone: str, now_s: int) -> int:
    local = local_datetime(zone, now_s * 1_000_000)
    return local.weekday() * MINUTES_PER_DAY + local.hour * 60 + local.minute


def is_quiet(plan: Plan, now_us: int, zone: str = "") -> bool:
    """Return whether now lies in the quiet hours of a time zone, or of the operator's."""
    return quiet_hours_of(plan, zone).holds(now_us)


def quiet_until_us(plan: Plan, now_us: int, zone: str = "") -> int:
    """Return the first instant from now on that lies outside the quiet hours; now, if that does."""
    return quiet_hours_of(plan, zone).until_us(now_us)


def quiet_hours_of(plan: Plan, zone: str = "") -> QuietHours:
    """Return the quiet hours of a plan in a time zone, or in the operator's."""
    policy = plan.policy
    return quiet_hours(zone or policy.time_zone, policy.quiet_from_minute, policy.quiet_to_minute)


def has_consent(state: PartitionState, channel: int, household: int, member: int) -> bool:
    """Return whether a channel's consent condition is true; an error or unknown is no."""
    program = state.plan.channels[channel].consent
    if program == NONE:
        return True
    programs = np.array([program])
    if state.conditions(programs, household, member, state.now_us)[0] != 1.0:
        return False
    # What was one household's word is not that of all who were merged: each that has one has to say yes.
    return all(
        state.conditions_alone(programs, row, member, state.now_us)[0] == 1.0
        for row in state.graph.merged_rows(household)
    )


def contacts_of(state: PartitionState, household: int, member: int) -> tuple[Contact, ...]:
    """Return the contacts of a household, each once wherever it lies, those of the same member under this row."""
    if len(state.rows_together(household)) == 1:
        return state.contacts.of(household)
    same = state.graph.member_rows(household, member)
    return tuple(
        replace(one, member=member) if one.member in same else one for one in state.together(state.contacts, household)
    )


def channel_vetoes(
    state: PartitionState, channel: int, household: int, member: int, *, besides: str = ""
) -> tuple[Reason, ...]:
    """Return what speaks against sending to this member on this channel now; `besides`: an action not to be counted."""
    against = []
    if not has_consent(state, channel, household, member):
        against.append(Reason.NO_CONSENT)
    if _caps_open_us(state, channel, household, member, besides, state.now_us) != state.now_us:
        against.append(Reason.CONTACT_CAP)
    if is_quiet_for(state, channel, household, member):
        against.append(Reason.QUIET_HOURS)
    return tuple(against)


def is_quiet_for(state: PartitionState, channel: int, household: int, member: int) -> bool:
    """Return whether a channel keeps quiet hours and a member has theirs now."""
    plan = state.plan
    return plan.channels[channel].quiet_hours and is_quiet(plan, state.now_us, zone_of(state, household, member))


def has_objected(state: PartitionState, household: int, member: int) -> bool:
    """Return whether nothing may go out to a member but what is legally required."""
    program = state.plan.policy.objection
    if program == NONE:
        return False
    return bool(state.conditions(np.array([program]), household, member, state.now_us)[0] == 1.0)


def opens_us(state: PartitionState, channel: int, household: int, member: int, *, besides: str = "") -> int | None:
    """Return the first instant from now on at which no cap and no quiet hour speaks against sending, as things stand.

    None if there is none. Consent is another matter: only an event gives it.
    """
    plan, now_us, zone = state.plan, int(state.now_us), zone_of(state, household, member)
    # Quiet hours may begin again just when a cap opens, but hardly more often than there are caps.
    for _ in range(2 + 2 * len(plan.policy.caps)):
        open_us = _caps_open_us(state, channel, household, member, besides, now_us)
        if open_us is None:
            return None
        quiet_us = quiet_until_us(plan, open_us, zone) if plan.channels[channel].quiet_hours else open_us
        if quiet_us == now_us:
            return now_us
        now_us = quiet_us
    return now_us


def _caps_open_us(
    state: PartitionState, channel: int, household: int, member: int, besides: str, now_us: int
) -> int | None:
    """Return from when on every cap has room for one more contact, `now_us` if they have; None for never."""
    contacts = contacts_of(state, household, member)
    open_us: int = now_us
    for cap in state.plan.policy.caps:
        if channel not in cap.channels:
            continue
        if cap.most == 0:
            return None
        counted = sorted(
            one.time_us for one in counted_contacts(contacts, cap, member, now_us) if one.action_id != besides
        )
        if len(counted) >= cap.most:
            # The window is half-open: a contact exactly its length ago no longer counts.
            open_us = max(open_us, counted[len(counted) - cap.most] + cap.window_us)
    return open_us


def counted_contacts(contacts: Sequence[Contact], cap: ContactCap, member: int, now_us: int) -> list[Contact]:
    """Return the contacts that count against a cap, for a member."""
    after_us = now_us - cap.window_us
    return [
        one
        for one in contacts
        if one.time_us > after_us
        and one.channel in cap.channels
        and not one.is_pending
        and (cap.scope is Scope.HOUSEHOLD or one.member == member)
    ]
