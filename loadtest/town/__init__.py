"""A simulated town: people, what they do hour by hour, and what they would like, hidden from Hearth."""

from loadtest.town.preferences import Answer, Reaction
from loadtest.town.signals import TownSignals, Wire
from loadtest.town.town import MONDAY_US, NO_CHANNEL, Town, UnknownMember
from loadtest.town.vocabulary import PlaybookMismatch

__all__ = [
    "MONDAY_US",
    "NO_CHANNEL",
    "Answer",
    "PlaybookMismatch",
    "Reaction",
    "Town",
    "TownSignals",
    "UnknownMember",
    "Wire",
]
