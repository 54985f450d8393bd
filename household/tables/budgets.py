"""How much of each budget is used in its window, what a unit of it is priced at, what is earmarked in the outbox."""

from dataclasses import dataclass

from household.tables.contract import Declaration, Due, Number, Owner, Plain, PlanName, Text, TimeUs


@dataclass(slots=True)
class BudgetUse:
    """One budget as of its newest use. Replaced, never changed."""

    budget: PlanName
    from_us: TimeUs
    """Of the window of that use."""
    until_us: TimeUs
    share: Number
    """Of this partition, in that window."""
    used: Number
    price: Number
    """Right after that use: of a unit, in 2⁻²⁰ minor units."""
    priced_us: TimeUs
    """`now` of that use."""


@dataclass(slots=True)
class Earmark:
    """What an outbound action uses that was not handed over yet: it gives it back if it never is."""

    action_id: Text
    budget: PlanName
    amount: Number
    from_us: TimeUs
    """Of the window it was taken from."""
    until_us: TimeUs
    """Then there is nothing to give it back to."""


def _told_uses(rows: list[BudgetUse]) -> Plain:
    # Nothing at all where there is none: it came later.
    told = sorted(
        [one.budget, one.from_us, one.until_us, one.share, one.used, one.price, one.priced_us] for one in rows
    )
    return {"budgets": told} if rows else {}


def _told_earmarks(rows: list[Earmark]) -> Plain:
    told = sorted([one.action_id, one.budget, one.amount, one.from_us] for one in rows)
    return {"earmarks": told} if rows else {}


BUDGETS = Declaration(
    name="budgets", row=BudgetUse, owner=Owner.PARTITION, key=("budget",), partition_digest=_told_uses
)

EARMARKS = Declaration(
    name="earmarks",
    row=Earmark,
    owner=Owner.PARTITION,
    key=("action_id", "budget"),
    along="action_id",
    due=(Due(column="until_us"),),
    partition_digest=_told_earmarks,
)
