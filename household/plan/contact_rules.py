"""What a contact is for."""

from enum import StrEnum


class ContactClass(StrEnum):
    """What a contact is for, in the eyes of who gets it."""

    SERVICE = "service"
    OFFER = "offer"
    REWARD = "reward"
    SURVEY = "survey"
    LEGAL = "legal"
    """Required by law: nothing keeps it back. It counts."""
    SECURITY = "security"
    """Protects who gets it. It counts."""


EXEMPT_CLASSES = frozenset({ContactClass.LEGAL, ContactClass.SECURITY})
"""Counted by rules, and blocked by none."""
