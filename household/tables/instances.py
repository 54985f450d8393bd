"""Instances of journeys with states: where each one is, and where it was when what it heard could change no more."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from household.later import later
from household.tables.contract import (
    Bytes,
    Declaration,
    Digest,
    Due,
    MemberRow,
    Naming,
    Number,
    Owner,
    Plain,
    PlanName,
    Shape,
    TimeUs,
    named,
)

if TYPE_CHECKING:
    from household.state import PartitionState
    from household.tables.table import Table

MOVED_AT_ONCE = 256
"""A tick is some milliseconds, in which decisions wait; what is left is the next one's."""

NEVER_US = 2**62
"""Of a time that does not come."""


class Ending(StrEnum):
    """Why an instance ended. Snapshots hold their places: new ones stand behind the others."""

    LIVE = "LIVE"
    """It has not."""
    COMPLETED = "COMPLETED"
    GOAL = "GOAL"
    EXIT_RULE = "EXIT_RULE"
    TIMEOUT = "TIMEOUT"
    CONSENT = "CONSENT"
    POLICY = "POLICY"
    STALE = "STALE"
    MERGED = "MERGED"
    VERSION = "VERSION"
    """Another playbook came into force that has its state no more."""
    ERROR = "ERROR"
    STOPPED = "STOPPED"
    """By a person."""


@dataclass(slots=True)
class Instance:
    """One run of a household, or a member, through a journey. Replaced, never changed."""

    journey: PlanName
    member: MemberRow
    """Row of the member whose it is; NO_MEMBER for the household's."""
    number: Number
    """Of the event that it entered by, among all of the partition."""
    correlation: Number
    """Bits of the value (a float64) that events about it carry; 0 where there is one at a time."""
    version: PlanName
    """Of the playbook that it entered under."""
    entered_us: TimeUs
    entrant: MemberRow
    """Who brought it on, and is spoken to."""
    step: PlanName
    """The state that it is in, or was in last."""
    since_us: TimeUs
    due_us: TimeUs
    """When time moves it; once it has ended, when it is forgotten."""
    visits: Bytes
    """How often it was in each state that acts: `invite=1,remind=2`."""
    base_step: PlanName
    """As `step`, with what follows: as of `based_us`, behind which nothing changes any more; empty while that is before
    its entry."""
    base_since_us: TimeUs
    base_due_us: TimeUs
    base_visits: Bytes
    based_us: TimeUs
    ending: Ending = Ending.LIVE
    ended_us: TimeUs = later(0)


def _told(instance: Instance, naming: Naming) -> Plain:
    return named(instance, naming)


def _time_came(state: "PartitionState", table: "Table[Instance]", slots: NDArray[np.int64]) -> None:
    from household.journeys.effects import time_came  # it changes other tables, too

    time_came(state, table, slots)


INSTANCES = Declaration(
    name="instances",
    row=Instance,
    owner=Owner.HOUSEHOLD,
    key=("journey", "member", "number"),
    due=(Due(column="due_us"),),
    when_due=_time_came,
    at_once=MOVED_AT_ONCE,
    digest=Digest(section="instances", shape=Shape.SET, told=_told, is_always_there=False),
)
