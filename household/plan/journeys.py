"""The section `journeys`: which moment leads to which offers."""

from dataclasses import dataclass

from household.later import later
from household.plan.flow import Flow
from household.plan.references import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """When a journey's moment arises: a condition, evaluated after each event of the given types, as of that event."""

    events: tuple[int, ...]
    program: int
    cooldown_us: int = 0
    """A trigger fires again only when at least this has passed since it last fired in its scope."""
    scope: Scope = Scope.HOUSEHOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """From a moment to an outcome."""

    name: str
    title: str = ""
    trigger: Trigger | None = None
    """None for a journey that a contact starts."""
    contact_events: tuple[int, ...] = ()
    """Event types that count as a contact, for a journey without trigger. A Decide without signals is one as well."""
    offers: tuple[int, ...] = ()
    control_share: float = 0.0
    """Share of households, by salted hash, whose decision is recorded as withheld and never shown."""
    outbound: tuple[int, ...] = ()
    """Channels on which it may speak unasked, best first."""
    contact_class: str = later("")
    """A ContactClass: that of its offers that have none of their own; empty for that of their kinds."""
    purpose: str = later("")
    tags: tuple[str, ...] = later(())
    """Of all its offers, beside their own."""
    flow: Flow | None = later(None)
    """Its states. Its trigger is then when an instance enters; its offers those of all acts together."""
