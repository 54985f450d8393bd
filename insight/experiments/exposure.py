"""Who was exposed to what an experiment is about, who would have been, and who was and ought not to have been.

An *exposure* is an action that was given to who asked or was to be sent; a *ghost* stands in the decision of a
household in control, where it would have been exposed. An exposure of a household in control is a *leak*: with one,
control is no control. What a gateway reports of an action that was never given counts as well.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from household.deciding.reasons import contact_of
from household.experiments.coverage import Coverage, bringing
from household.plan import Plan
from household.plan.experiments import CONTROL


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a gateway told of an action."""

    household: str
    action_id: str
    time_us: int
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """That a household in control was exposed."""

    experiment: str
    household: str
    time_us: int
    where: str
    """The decision, or the report of a gateway, that says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposures:
    """By experiment and household."""

    first_us: Mapping[tuple[str, str], int]
    """When a household that is treated was first exposed."""
    ghost_us: Mapping[tuple[str, str], int]
    """When one in control first would have been."""
    leaks: tuple[Leak, ...]
    """The first of each household."""


class About:
    """Which experiments an action is about, by the playbook it was decided under."""

    def __init__(self, plans: Iterable[Plan]) -> None:
        self._plans = {str(plan.version): plan for plan in plans}
        self._coverage = {version: Coverage(plan) for version, plan in self._plans.items()}
        self.of = cache(self._of)

    def _of(self, version: str, offer: str, journey: str, contacts: tuple[str, ...]) -> frozenset[str]:
        plan = self._plans.get(version)
        if plan is None or offer not in plan.offer_by_name:
            return frozenset()
        index = plan.offer_by_name[offer]
        journeys = (journey,) if journey else bringing(plan, contacts, index)
        return frozenset(one.name for one in self._coverage[version].of(index, journeys))


def exposures(
    decisions: Sequence[Mapping[str, Any]],
    plans: Iterable[Plan],
    arms: Mapping[tuple[str, str], tuple[str, int]],
    reports: Iterable[Report] = (),
) -> Exposures:
    """Return who was exposed, or would have been, from its arm on.

    Args:
        decisions: rows of the export, each with decision_id, household, decided_at, playbook_version, reasons,
            action_id, slate and ghosts.
        plans: the playbooks they were made under.
        arms: of (experiment, household): the arm and when it was met.
        reports: of gateways, in the order of their times.
    """
    about, first, ghost = About(plans), dict[tuple[str, str], int](), dict[tuple[str, str], int]()
    leaks: dict[tuple[str, str], Leak] = {}
    meant: dict[str, frozenset[str]] = {}

    def expose(experiments: Iterable[str], household: str, time_us: int, where: str) -> None:
        for name in experiments:
            arm, met_us = arms.get((name, household), ("", 0))
            if not arm or time_us < met_us:
                continue
            if arm == CONTROL:
                leak = Leak(experiment=name, household=household, time_us=time_us, where=where)
                leaks.setdefault((name, household), leak)
            else:
                first.setdefault((name, household), time_us)

    for one in sorted(decisions, key=lambda row: int(row["decided_at"])):
        contacts = tuple(name for name in map(contact_of, one["reasons"]) if name)
        for action in one["slate"]:
            found = about.of(one["playbook_version"], action["offer"], action["journey"] or "", contacts)
            meant[action["action_id"]] = found
            if action["action_id"] == one["action_id"]:
                expose(found, one["household"], one["decided_at"], f"decision {one['decision_id']}")
        for told in one["ghosts"]:
            for name in told["experiments"]:
                ghost.setdefault((name, one["household"]), told["time"])
    for report in reports:
        where = f"report {report.event_id} of action {report.action_id}"
        expose(meant.get(report.action_id, ()), report.household, report.time_us, where)
    return Exposures(first_us=first, ghost_us=ghost, leaks=tuple(leaks.values()))
