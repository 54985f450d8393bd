"""The plan: a playbook compiled to immutable, typed, hashed data that apply and decide run on.

One file per section of a playbook, named as in `playbooks/`. Everything a rule refers to is an index into a tuple of
the plan; names are kept for people, records and migrations. The compiler in `playbooks/` makes plans; this package owns
their shape, their canonical bytes and their hash.
"""

from household.plan.budgets import Budget, BudgetUnit
from household.plan.conditions import Program
from household.plan.contact_rules import (
    EXEMPT_CLASSES,
    ContactClass,
    ContactRule,
    CountedWhen,
    Effect,
    Limit,
    RuleScope,
    Selector,
    Span,
)
from household.plan.experiments import Arm, Draw, Experiment, Layer
from household.plan.features import Feature, FeatureKind, Window
from household.plan.flow import (
    END,
    Act,
    Again,
    BranchWay,
    EarlierStates,
    Flow,
    JourneyListener,
    JourneyStep,
    JourneyWait,
    ListensFor,
    Mark,
    Slot,
    StateMove,
    StepKind,
    Timer,
    WhenBlocked,
    WhenChanged,
    WhenMerged,
)
from household.plan.halts import Halt, HaltedJourney
from household.plan.inventory import Item
from household.plan.journeys import Journey, Trigger
from household.plan.models import TermModels, ValueTerm
from household.plan.offers import Offer, SegmentPrice, Treatment
from household.plan.plan import PLAN_LAYOUT, Plan, PlanOfOtherLayout, PlanUnreadable, PlanVersion, plan_from_bytes
from household.plan.policy import (
    Arbitration,
    Channel,
    ContactCap,
    ContactPolicy,
    EventTimeRules,
    GraphRules,
    LinkingRule,
)
from household.plan.products import Product
from household.plan.references import NONE, EventTimeUs, Scope
from household.plan.segments import Segment
from household.plan.vocabulary import EventField, EventType, Field, FieldKind

__all__ = [
    "END",
    "EXEMPT_CLASSES",
    "NONE",
    "PLAN_LAYOUT",
    "Act",
    "Again",
    "Arbitration",
    "Arm",
    "BranchWay",
    "Budget",
    "BudgetUnit",
    "Channel",
    "ContactCap",
    "ContactClass",
    "ContactPolicy",
    "ContactRule",
    "CountedWhen",
    "Draw",
    "EarlierStates",
    "Effect",
    "EventField",
    "EventTimeRules",
    "EventTimeUs",
    "EventType",
    "Experiment",
    "Feature",
    "FeatureKind",
    "Field",
    "FieldKind",
    "Flow",
    "GraphRules",
    "Halt",
    "HaltedJourney",
    "Item",
    "Journey",
    "JourneyListener",
    "JourneyStep",
    "JourneyWait",
    "Layer",
    "Limit",
    "LinkingRule",
    "ListensFor",
    "Mark",
    "Offer",
    "Plan",
    "PlanOfOtherLayout",
    "PlanUnreadable",
    "PlanVersion",
    "Product",
    "Program",
    "RuleScope",
    "Scope",
    "Segment",
    "SegmentPrice",
    "Selector",
    "Slot",
    "Span",
    "StateMove",
    "StepKind",
    "TermModels",
    "Timer",
    "Treatment",
    "Trigger",
    "ValueTerm",
    "WhenBlocked",
    "WhenChanged",
    "WhenMerged",
    "Window",
    "plan_from_bytes",
]
