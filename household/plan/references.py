"""What the sections of a plan share: how one refers to another, whose cells something lives in, and event time."""

from enum import StrEnum
from typing import NewType

EventTimeUs = NewType("EventTimeUs", int)
"""Microseconds since 1970 UTC, on the event-time axis. Exact in a float64 until the year 2255."""

NONE = -1
"""An index that refers to nothing."""


class Scope(StrEnum):
    """Whose cells a feature or a cooldown lives in."""

    HOUSEHOLD = "household"
    MEMBER = "member"
