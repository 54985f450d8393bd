"""The whole plan, its version, its canonical bytes and how they are read back."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NewType

from household.later import later
from household.plan.budgets import Budget
from household.plan.canonical import from_plain, to_plain
from household.plan.conditions import Program
from household.plan.contact_rules import EXEMPT_CLASSES
from household.plan.experiments import ALL_BP, CONTROL, TREATED, Arm, Draw, Experiment, Layer
from household.plan.features import Feature, Window
from household.plan.flow import JourneyListener, listeners_of
from household.plan.halts import Halt, HaltedJourney
from household.plan.inventory import Item
from household.plan.journeys import Journey
from household.plan.models import TermModels
from household.plan.offers import Offer
from household.plan.policy import Arbitration, Channel, ContactPolicy, EventTimeRules, GraphRules
from household.plan.products import Product
from household.plan.segments import Segment
from household.plan.vocabulary import EventType, Field

PlanVersion = NewType("PlanVersion", str)
"""First 16 hex digits of the SHA-256 of the plan's canonical bytes."""

PLAN_LAYOUT = 1
"""Version of the plan's shape; a reader refuses any other."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole playbook, compiled."""

    name: str
    currency: str = "EUR"
    fields: tuple[Field, ...] = ()
    event_types: tuple[EventType, ...] = ()
    programs: tuple[Program, ...] = ()
    windows: tuple[Window, ...] = ()
    features: tuple[Feature, ...] = ()
    segments: tuple[Segment, ...] = ()
    channels: tuple[Channel, ...] = ()
    families: tuple[str, ...] = ()
    offers: tuple[Offer, ...] = ()
    journeys: tuple[Journey, ...] = ()
    policy: ContactPolicy = field(default_factory=ContactPolicy)
    arbitration: Arbitration = field(default_factory=Arbitration)
    clock: EventTimeRules = field(default_factory=EventTimeRules)
    graph: GraphRules = later(GraphRules())
    layout: int = PLAN_LAYOUT
    experiments: tuple[Experiment, ...] = later(())
    budgets: tuple[Budget, ...] = later(())
    products: tuple[Product, ...] = later(())
    models: TermModels = later(TermModels())
    inventory: tuple[Item, ...] = later(())
    halted: tuple[HaltedJourney, ...] = later(())
    """Journeys that a person has paused or stopped, in order of their names."""
    earlier_programs: int = later(0)
    """How many of its programs, the last ones, only states of earlier versions use (household/plan/earlier.py)."""

    @cached_property
    def canonical_bytes(self) -> bytes:
        """The same bytes for the same plan, on every machine; what the hash is of and what the log carries."""
        return json.dumps(to_plain(Plan, self), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @cached_property
    def version(self) -> PlanVersion:
        """Identity of this plan: any change of any value changes it."""
        return PlanVersion(hashlib.sha256(self.canonical_bytes).hexdigest()[:16])

    @cached_property
    def event_type_by_name(self) -> dict[str, int]:
        """Index of each event type."""
        return {event.name: index for index, event in enumerate(self.event_types)}

    @cached_property
    def field_by_name(self) -> dict[str, int]:
        """Index of each field."""
        return {one.name: index for index, one in enumerate(self.fields)}

    @cached_property
    def channel_by_name(self) -> dict[str, int]:
        """Index of each channel."""
        return {channel.name: index for index, channel in enumerate(self.channels)}

    @cached_property
    def offer_by_name(self) -> dict[str, int]:
        """Index of each offer."""
        return {offer.name: index for index, offer in enumerate(self.offers)}

    @cached_property
    def item_by_name(self) -> dict[str, int]:
        """Index of each item."""
        return {item.name: index for index, item in enumerate(self.inventory)}

    @cached_property
    def journey_by_name(self) -> dict[str, int]:
        """Index of each journey."""
        return {journey.name: index for index, journey in enumerate(self.journeys)}

    @cached_property
    def halt_by_journey(self) -> dict[str, Halt]:
        """How each of those journeys is halted that are."""
        return {one.journey: one.how for one in self.halted}

    @cached_property
    def listeners(self) -> tuple[JourneyListener, ...]:
        """What journeys with states listen for, in the order in which an event is looked at."""
        return tuple(
            one
            for index, journey in enumerate(self.journeys)
            if journey.flow is not None and journey.trigger is not None
            for one in listeners_of(index, journey.name, journey.flow, journey.trigger.events, journey.trigger.program)
        )

    @cached_property
    def acting(self) -> dict[tuple[str, str], Journey]:
        """By journey and state that acts: the journey with what is weighed there."""
        return {
            (journey.name, step.name): replace(journey, offers=step.act.offers)
            for journey in self.journeys
            if journey.flow is not None
            for step in journey.flow.steps
            if step.act is not None
        }

    @cached_property
    def is_ruled(self) -> bool:
        """Whether it plays a part what an action is: there are rules, or classes that are exempt of them."""
        classes = {one.contact_class for part in (self.offers, self.journeys) for one in part}
        return bool(self.policy.rules) or not EXEMPT_CLASSES.isdisjoint(classes)

    @cached_property
    def all_experiments(self) -> tuple[Experiment, ...]:
        """The experiments that are declared, then the control groups that journeys have of their own."""
        of_journeys = (
            Experiment(
                name=journey.name,
                layer=Layer.JOURNEY,
                salt=self.arbitration.salt,
                arms=(Arm(name=CONTROL, share_bp=share_bp), Arm(name=TREATED, share_bp=ALL_BP - share_bp)),
                journeys=(index,),
                draw=Draw.OF_JOURNEY,
            )
            for index, journey in enumerate(self.journeys)
            for share_bp in (round(journey.control_share * ALL_BP),)
            if journey.control_share > 0.0
        )
        return (*self.experiments, *of_journeys)

    @cached_property
    def started_by_contact(self) -> tuple[Journey, ...]:
        """The journeys that a contact itself starts, without those that are halted."""
        return tuple(one for one in self.journeys if one.trigger is None and one.name not in self.halt_by_journey)

    @cached_property
    def contact_types(self) -> frozenset[int]:
        """Event types that count as a contact for some journey."""
        return frozenset(event for journey in self.journeys for event in journey.contact_events)

    @cached_property
    def scored_features(self) -> tuple[int, ...]:
        """Indices of the features that models see, in the order of a score row."""
        return tuple(index for index, feature in enumerate(self.features) if feature.scored)


class PlanUnreadable(Exception):
    """The bytes are not a plan of this layout; names what is wrong."""


class PlanOfOtherLayout(PlanUnreadable):
    """A plan, and one that another version of this software reads."""


def plan_from_bytes(canonical: bytes) -> Plan:
    """Return the plan whose `canonical_bytes` these are.

    Raises:
        PlanUnreadable: not JSON, another layout, or a value of the wrong kind.
    """
    try:
        plain = json.loads(canonical)
        if plain.get("layout") != PLAN_LAYOUT:
            raise PlanOfOtherLayout(f"plan layout {plain.get('layout')}, this software reads {PLAN_LAYOUT}")
        plan = from_plain(Plan, plain)
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise PlanUnreadable(f"not a plan: {wrong}") from wrong
    assert isinstance(plan, Plan)
    return plan
