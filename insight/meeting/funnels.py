"""Journey funnels: how far the households came that entered a journey, beside those that were left alone.

A household counts once for each journey, from its first entry on, in the arm it was recorded in first. Of control it is
known who would have been reached (its ghosts) and what it did by itself; nothing was shown to it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final

from household.deciding.reasons import contact_of
from household.experiments.coverage import bringing
from household.plan import Plan
from household.plan.experiments import CONTROL
from insight.experiments.households import Lives
from insight.measures.coded import NONE
from insight.measures.facts import REPORTS
from insight.measures.journeys import CONVERTING, is_control
from insight.measures.knowledge import Knowledge

TREATED: Final = "treated"
STAGES: Final = ("entered", "reached", "seen", "accepted", "took up")
"""Reached: an action of it was given to who asked, or handed to a gateway; of control: it would have been. Seen: a
gateway told of anything that was done with it. Took up: a product family that the journey offers, since the entry."""

UNKNOWN_OF_CONTROL: Final = frozenset({"seen", "accepted"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FunnelArm:
    """How far the households of one arm came."""

    arm: str
    counts: Mapping[str, int]
    """Households by stage; of control without what nobody can know."""

    def share(self, stage: str) -> float | None:
        """Return which part of those that entered came so far; None where nobody knows."""
        entered = self.counts["entered"]
        return self.counts[stage] / entered if entered and stage in self.counts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """One journey."""

    journey: str
    arms: tuple[FunnelArm, ...]
    """Those that were treated first, control last."""

    @property
    def has_control(self) -> bool:
        """Whether there is anybody to compare with."""
        return any(is_control(one.arm) for one in self.arms)


@dataclass(slots=True)
class _Seen:
    """What decisions say of one journey, by household key."""

    entered_us: dict[str, int] = field(default_factory=dict)
    withheld: set[str] = field(default_factory=set)
    reached: set[str] = field(default_factory=set)
    ghosts: set[str] = field(default_factory=set)

    def enter(self, household: str, time_us: int) -> None:
        self.entered_us[household] = min(self.entered_us.get(household, time_us), time_us)


def funnels(
    asked: Knowledge, decisions: Iterable[Mapping[str, Any]], plans: Iterable[Plan], handed: Set[str]
) -> list[Funnel]:
    """Return the funnel of each journey that somebody entered, by name.

    Args:
        decisions: rows of the export, made before `asked.time_us`: household, asked, decided_at, playbook_version,
            reasons, withheld, action_id, slate, ghosts.
        plans: the playbooks they were made under.
        handed: the actions that were handed to gateways.
    """
    seen: dict[str, _Seen] = defaultdict(_Seen)
    _entries(asked, seen)
    acted = _acted(seen, decisions, {str(plan.version): plan for plan in plans}, handed)
    looked, accepted = _answered(asked, acted)
    lives = Lives(asked)
    return [
        _funnel(asked, name, one, lives, looked[name], accepted[name])
        for name, one in sorted(seen.items())
        if one.entered_us
    ]


def _entries(asked: Knowledge, seen: dict[str, _Seen]) -> None:
    known_us = asked.time_us if asked.known_us is None else asked.known_us
    for entry in asked.journeys.entries:
        if entry.time_us < asked.time_us and entry.learnt_us <= known_us:
            seen[entry.journey].enter(entry.household, entry.time_us)
            if entry.is_withheld:
                seen[entry.journey].withheld.add(entry.household)
    for met in asked.journeys.met:
        if met.experiment in asked.journeys.families and met.time_us < asked.time_us and met.time_us <= known_us:
            seen[met.experiment].enter(met.household, met.time_us)


def _acted(
    seen: dict[str, _Seen], decisions: Iterable[Mapping[str, Any]], plans: Mapping[str, Plan], handed: Set[str]
) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Note who was reached, and who would have been; return the household and the journeys of each action."""
    acted: dict[str, tuple[str, tuple[str, ...]]] = {}
    for one in decisions:
        household, plan = one["household"], plans.get(one["playbook_version"])
        contacts = tuple(name for name in map(contact_of, one["reasons"]) if name)
        for name in contacts:
            seen[name].enter(household, one["decided_at"])
            if one["withheld"]:
                seen[name].withheld.add(household)
        for action in one["slate"]:
            journeys = _journeys(action, contacts, plan)
            acted[action["action_id"]] = household, journeys
            is_given = action["action_id"] == one["action_id"] and one["asked"]
            if not one["withheld"] and (is_given or action["action_id"] in handed):
                for name in journeys:
                    seen[name].reached.add(household)
        for ghost in one["ghosts"]:
            for name in _journeys(ghost, contacts, plan):
                seen[name].ghosts.add(household)
    return acted


def _journeys(action: Mapping[str, Any], contacts: Sequence[str], plan: Plan | None) -> tuple[str, ...]:
    if action["journey"]:
        return (action["journey"],)
    if plan is None or action["offer"] not in plan.offer_by_name:
        return ()
    return bringing(plan, contacts, plan.offer_by_name[action["offer"]])


def _answered(
    asked: Knowledge, acted: Mapping[str, tuple[str, tuple[str, ...]]]
) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Return by journey the households of whom a gateway told anything, and those that accepted."""
    looked: dict[str, set[str]] = defaultdict(set)
    accepted: dict[str, set[str]] = defaultdict(set)
    facts, actions = asked.facts, asked.facts.texts["action_id"]
    is_accept = facts.is_of(CONVERTING)
    for row in (facts.is_of(REPORTS) & (actions.codes != NONE)).nonzero()[0].tolist():
        household, journeys = acted.get(actions.names[int(actions.codes[row])], ("", ()))
        for name in journeys:
            looked[name].add(household)
            if is_accept[row]:
                accepted[name].add(household)
    return looked, accepted


def _funnel(asked: Knowledge, name: str, seen: _Seen, lives: Lives, looked: Set[str], accepted: Set[str]) -> Funnel:
    met = asked.journeys.arms(name, time_us=asked.time_us, known_us=asked.known_us)
    arm_of = {household: one.arm for household, one in met.items()}
    by_arm: dict[str, set[str]] = defaultdict(set)
    for household in seen.entered_us:
        by_arm[arm_of.get(household) or (CONTROL if household in seen.withheld else TREATED)].add(household)
    families = asked.journeys.families.get(name, frozenset())
    took = {one for one, at in seen.entered_us.items() if lives.took(one, families, at, asked.time_us)}
    arms = []
    for arm in sorted(by_arm, key=lambda one: (is_control(one), one)):
        own = by_arm[arm]
        reached = seen.ghosts if is_control(arm) else seen.reached
        stages = {
            "entered": own,
            "reached": own & reached,
            "seen": own & looked,
            "accepted": own & accepted,
            "took up": own & took,
        }
        unknown = UNKNOWN_OF_CONTROL if is_control(arm) else frozenset[str]()
        arms.append(FunnelArm(arm=arm, counts={stage: len(of) for stage, of in stages.items() if stage not in unknown}))
    return Funnel(journey=name, arms=tuple(arms))
