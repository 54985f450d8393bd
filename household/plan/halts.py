"""Journeys that somebody has halted while the playbook is in force. No section of the playbook: a person's word."""

from dataclasses import dataclass
from enum import StrEnum


class Halt(StrEnum):
    """What a halted journey does."""

    PAUSED = "paused"
    """It enters nobody and says nothing; its instances hear what happens, and their timers stand still."""
    STOPPED = "stopped"
    """It enters nobody and says nothing; its instances have ended, and what was not said was taken back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltedJourney:
    """One of them, by name."""

    journey: str
    how: Halt
