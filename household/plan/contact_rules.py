"""Rules of the contact policy: scope, selector, limit, window, effect. All rules of all scopes must hold."""

from dataclasses import dataclass, field
from enum import StrEnum

from household.plan.references import NONE


class ContactClass(StrEnum):
    """What a contact is for, in the eyes of who gets it."""

    SERVICE = "service"
    OFFER = "offer"
    REWARD = "reward"
    SURVEY = "survey"
    LEGAL = "legal"
    """Required by law: no rule, no quiet hours, no consent and no objection keeps it back. It counts."""
    SECURITY = "security"
    """Protects who gets it: no rule and no quiet hours keep it back. It counts."""


EXEMPT_CLASSES = frozenset({ContactClass.LEGAL, ContactClass.SECURITY})
"""Counted by rules, and blocked by none."""


class RuleScope(StrEnum):
    """Whose contacts count together."""

    ADDRESS = "address"
    LINE = "line"
    MEMBER = "member"
    HOUSEHOLD = "household"


class Limit(StrEnum):
    """What a rule limits."""

    COUNT = "count"
    """At most `most` contacts."""
    COST = "cost"
    """Contacts that cost at most `most` minor units together."""
    GAP = "gap"
    """At least the window between two contacts."""
    FAMILIES = "families"
    """Contacts of at most `most` distinct families."""
    NEVER_WITH = "never_with"
    """Never one of `what` and one of `other` in one window."""
    NOT_AFTER = "not_after"
    """None of `what` within the window after one of `other`."""
    CAPACITY = "capacity"
    """At most `most` contacts of all households."""
    SILENCE = "silence"
    """After `most` refusals within the window, nothing for `silence_us`."""


class Span(StrEnum):
    """How a window lies in time."""

    SLIDING = "sliding"
    """(t − window, t] in event time: a contact at exactly t − window no longer counts."""
    MINUTE = "minute"
    """A minute of the clock; of capacities only."""
    DAY = "day"
    """The local calendar day of the member who is to be contacted; of a capacity, the operator's."""
    WEEK = "week"
    """From Monday."""
    MONTH = "month"


class CountedWhen(StrEnum):
    """From when on a contact counts. One that failed, was withdrawn or expired gives its place back."""

    HANDED = "handed"
    DELIVERED = "delivered"
    SEEN = "seen"


class Effect(StrEnum):
    """What becomes of an action that a rule speaks against."""

    BLOCK = "block"
    """It is not sent."""
    HOLD = "hold"
    """It waits until the rule lets it pass, at most until its send_before."""
    NEXT_CHANNEL = "next_channel"
    """It goes the next way that its journey lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which contacts: those that are among the named of each list that names any."""

    channels: tuple[int, ...] = ()
    classes: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    journeys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    """Any of them, as it was at sending."""
    purposes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactRule:
    """One rule. Fields not used by its limit stay at their defaults."""

    name: str
    scope: RuleScope
    limit: Limit
    what: Selector = field(default_factory=Selector)
    """The contacts that it speaks against, and counts where the limit names no others."""
    other: Selector = field(default_factory=Selector)
    """Of NEVER_WITH and NOT_AFTER."""
    most: int = 0
    span: Span = Span.SLIDING
    window_us: int = 0
    """Of a sliding window."""
    silence_us: int = 0
    counted_when: CountedWhen = CountedWhen.HANDED
    effect: Effect = Effect.HOLD
    inbound: bool = False
    """Whether answers to members who ask count, and are spoken against, too."""
    reserves: bool = False
    """Whether a pending action of higher value holds a place until its send_before."""
    condition: int = NONE
    """Program that must be true of the member for the rule to speak against anything; NONE is always."""
    pack: str = ""
    """Of the policy pack that it belongs to; empty for none."""
