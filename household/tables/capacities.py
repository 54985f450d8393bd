"""How much of the capacity of each rule of that kind is used, per minute of the clock or day of the operator."""

from dataclasses import dataclass

from household.tables.contract import Declaration, Due, Number, Owner, Plain, PlanName, TimeUs


@dataclass(slots=True)
class CapacityUse:
    """Contacts of one rule in one window of it. Replaced, never changed."""

    rule: PlanName
    from_us: TimeUs
    until_us: TimeUs
    count: Number


def _told(rows: list[CapacityUse]) -> Plain:
    # Nothing at all where there is none: it came later.
    return {"capacities": sorted([one.rule, one.from_us, one.count] for one in rows)} if rows else {}


CAPACITIES = Declaration(
    name="capacities",
    row=CapacityUse,
    owner=Owner.PARTITION,
    key=("rule", "from_us"),
    due=(Due(column="until_us"),),
    partition_digest=_told,
)
