"""Why a decision is as it is: the words that records, gateways and people read."""

from enum import StrEnum


class Reason(StrEnum):
    """A reason, or a veto: what speaks against a candidate, a channel or an action that was decided before.

    Logs hold them as texts: none is ever renamed.
    """

    # Of a decision
    UNKNOWN_HOUSEHOLD = "UNKNOWN_HOUSEHOLD"
    STALE_SIGNAL = "STALE_SIGNAL"
    """A moment is older than its event's action window. Of a candidate that it brings up, too."""
    SLATE_STANDS = "SLATE_STANDS"
    BEST_VALUE = "BEST_VALUE"
    CONTROL_GROUP = "CONTROL_GROUP"
    """Of a candidate and of an action that was decided before, too."""
    NO_CANDIDATES = "NO_CANDIDATES"
    ALL_VETOED = "ALL_VETOED"
    NOTHING_BETTER = "NOTHING_BETTER"
    """Nothing that may be said is worth more than saying nothing."""
    CHANNEL_CANNOT_CARRY = "CHANNEL_CANNOT_CARRY"
    GROSS = "GROSS"
    """Of what was weighed, something has no known uplift: it counts as if nothing of it would have come anyway."""
    HELD = "HELD"
    """It goes out unasked, later: what is in the way follows."""

    # Vetoes of a candidate
    NO_CONSENT = "NO_CONSENT"
    """Of a channel, too."""
    NOT_ELIGIBLE = "NOT_ELIGIBLE"
    ACCEPTED_OFFER = "ACCEPTED_OFFER"
    DECLINED_OFFER = "DECLINED_OFFER"
    DECLINED_FAMILY = "DECLINED_FAMILY"
    EXCLUDED_BY = "EXCLUDED_BY"

    # Vetoes of a channel
    CONTACT_CAP = "CONTACT_CAP"
    QUIET_HOURS = "QUIET_HOURS"

    OBJECTION = "OBJECTION"
    """The member objected: nothing goes out but what is legally required. Of a candidate, and of an action, too."""

    FRAUD = "FRAUD"
    """Fraud is suspected: no offers and no rewards until it is cleared. Of a candidate, and of an action, too."""

    # Why an action no longer holds, beside some of the above
    OFFER_GONE = "OFFER_GONE"
    PRICE_CHANGED = "PRICE_CHANGED"
    JOURNEY_OVER = "JOURNEY_OVER"
    """Its journey has reached its goal, was left, has gone another way, or was stopped."""
    IDENTIFIER_GONE = "IDENTIFIER_GONE"
    """It was decided for whoever held an identifier, which means somebody else by now."""


def by_moment(journey: str) -> str:
    """Return the reason that a journey's moment brought up what was weighed."""
    return f"MOMENT:{journey}"


def by_contact(journey: str) -> str:
    """Return the reason that a contact started a journey."""
    return f"CONTACT:{journey}"


def by_rule(rule: str) -> str:
    """Return the reason that a rule of the contact policy speaks against something."""
    return f"RULE:{rule}"


def by_budget(budget: str) -> str:
    """Return the reason that nothing is left of a budget."""
    return f"BUDGET:{budget}"


def by_item(item: str) -> str:
    """Return the reason that no unit of an item is free."""
    return f"INVENTORY:{item}"


def by_hold_over(item: str) -> str:
    """Return the reason that the time is over for which a unit of an item was held."""
    return f"HOLD_OVER:{item}"


def by_degraded(term: str) -> str:
    """Return the reason that a model of a term of values beside acceptance is in force and could not be used."""
    return f"DEGRADED:{term}"


def contact_of(reason: str) -> str:
    """Return the journey that a contact started, of a reason that `by_contact` made; empty for any other."""
    kind, _, journey = reason.partition(":")
    return journey if kind == "CONTACT" else ""


def withdrawn_for(reason: str) -> str:
    """Return the reason that an action of an earlier slate is taken back, and why."""
    return f"WITHDRAWN:{reason}"
