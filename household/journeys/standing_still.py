"""Timers of a journey that is paused: they lie as what is left of them, beyond all times, until it goes on."""

from household.plan import Halt
from household.state import PartitionState
from household.tables.instances import NEVER_US

STANDING_US = 2**61
"""Above this a due time of a live instance is what is left of it once its journey goes on."""


def is_paused(state: PartitionState, journey: str) -> bool:
    """Return whether a journey's timers stand still."""
    return state.plan.halt_by_journey.get(journey) is Halt.PAUSED


def standing_us(due_us: int, now_us: int) -> int:
    """Return a due time as it lies while timers stand still: what is left of it, so late that it never comes.

    One that lies so already, or never comes, is returned as it is.

    >>> standing_us(5, 3) - STANDING_US, standing_us(STANDING_US + 2, 9) - STANDING_US
    (2, 2)
    """
    return due_us if due_us >= STANDING_US else STANDING_US + max(0, due_us - now_us)


def going_us(due_us: int, now_us: int) -> int:
    """Return the due time of one that stood still, when it goes on."""
    return due_us if not STANDING_US <= due_us < NEVER_US else now_us + due_us - STANDING_US
