"""A playbook as all its rehearsals have it, each version made once: what a version's hash is of takes time."""

from dataclasses import replace
from functools import lru_cache

from household.plan import Plan

VERSIONS_KEPT = 128


class RehearsedPlaybook:
    """A plan that is known by its version."""

    def __init__(self, plan: Plan) -> None:
        """Take the plan as it was compiled."""
        self.plan = plan

    def __hash__(self) -> int:
        return hash(self.plan.version)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RehearsedPlaybook) and other.plan.version == self.plan.version


@lru_cache(maxsize=VERSIONS_KEPT)
def rehearsed(playbook: RehearsedPlaybook, number: int) -> Plan:
    """Return the so-many-th version of a playbook, as all its rehearsals have it: what its hash is of takes time."""
    plan = playbook.plan
    # A test tells what is best; a decision that tries something else now and then would tell nothing.
    arbitration = replace(plan.arbitration, exploration=0.0)
    return replace(plan, name=plan.name if number == 1 else f"{plan.name}~{number}", arbitration=arbitration)
