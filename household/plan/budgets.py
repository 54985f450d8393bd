"""The section `budgets`: what is scarce over all households, and is given to what brings most."""

from dataclasses import dataclass
from enum import StrEnum

from household.plan.contact_rules import Selector, Span


class BudgetUnit(StrEnum):
    """What a budget counts."""

    ACTIONS = "actions"
    """Each action one."""
    MONEY = "money"
    """What making the offer and the contact cost, in minor units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """So much in each window. Names are those of reasons and records."""

    name: str
    of: Selector
    """The actions that use it."""
    unit: BudgetUnit
    amount: int
    """Actions, or minor units, in each window."""
    span: Span
    """A calendar window in the operator's time zone."""
    step: float
    """Used ahead of time, this share of the amount raises the price from nothing to what the best use is worth."""
