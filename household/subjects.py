"""Whose a contact is: the line and the address it reaches, and the time zone of who gets it.

The one place that resolves the scopes of the contact policy.
"""

import math
from typing import NamedTuple

from household.plan import NONE, Plan
from household.state import NO_MEMBER, PartitionState

UNKNOWN = 0
"""Of a line or an address that nothing tells: a member's own."""


class Subject(NamedTuple):
    """What a contact reaches, as numbers that are the same where it is the same."""

    line: int = UNKNOWN
    address: int = UNKNOWN


NOBODY = Subject()


def subject_of(state: PartitionState, household: int, member: int, channel: int) -> Subject:
    """Return the line and the address that a contact on a channel (an index, or NONE) reaches a member by."""
    plan = state.plan
    by_line = plan.policy.line
    by_address = NONE if channel == NONE else plan.channels[channel].address
    if by_line == NONE and by_address == NONE:
        return NOBODY
    readings = state.readings(household, member, state.now_us)
    return Subject(
        line=UNKNOWN if by_line == NONE else _number(float(readings[by_line])),
        address=UNKNOWN if by_address == NONE else _number(float(readings[by_address])),
    )


def _number(reading: float) -> int:
    return UNKNOWN if math.isnan(reading) else int(reading) + 1


def zone_of(state: PartitionState, household: int, member: int) -> str:
    """Return the name of a member's time zone; the operator's where theirs is not known."""
    plan = state.plan
    feature = plan.policy.member_time_zone
    if feature == NONE or member == NO_MEMBER:
        return plan.policy.time_zone
    return zone_of_reading(plan, float(state.readings(household, member, state.now_us)[feature]))


def zone_of_reading(plan: Plan, reading: float) -> str:
    """Return the name of the time zone that the feature of time zones reads, the operator's for an unknown one."""
    values = plan.features[plan.policy.member_time_zone].values
    is_known = not math.isnan(reading) and 0 <= reading < len(values)
    return values[int(reading)] if is_known else plan.policy.time_zone
