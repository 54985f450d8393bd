"""What treating cost: contacts and what is made for them, by the playbook, and rewards that were taken up."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from household.deciding.reasons import contact_of
from household.plan import ContactClass, Plan
from household.traits import class_of
from insight.experiments.exposure import About


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one action cost that an experiment is about."""

    time_us: int
    """When it was decided, or accepted."""
    contact_minor: int = 0
    """Of the channel, and of making the offer."""
    reward_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spendings:
    """All of it."""

    of: Mapping[tuple[str, str], Sequence[Spent]]
    """By experiment and household."""
    unpriced: frozenset[str]
    """Rewards that were taken up, and of which nobody says what they cost."""

    def within(self, experiment: str, household: str, start_us: int, end_us: int) -> tuple[int, int]:
        """Return what contacts and what rewards cost in [start, end)."""
        own = [one for one in self.of.get((experiment, household), ()) if start_us <= one.time_us < end_us]
        return sum(one.contact_minor for one in own), sum(one.reward_minor for one in own)


NOTHING = Spendings(of={}, unpriced=frozenset())


def spendings(
    decisions: Iterable[Mapping[str, Any]],
    plans: Iterable[Plan],
    *,
    handed: Set[str],
    accepted_us: Mapping[str, int],
    rewards_minor: Mapping[str, int],
) -> Spendings:
    """Return what was spent on the households of each experiment.

    Args:
        decisions: rows of the export: household, asked, channel, decided_at, playbook_version, reasons, action_id,
            slate.
        plans: the playbooks they were made under: what a channel costs, and making an offer.
        handed: the actions that were handed to gateways.
        accepted_us: by action: when it was accepted.
        rewards_minor: by offer: what it costs once it is accepted.
    """
    by_version, about = {str(plan.version): plan for plan in plans}, About(plans)
    found: dict[tuple[str, str], list[Spent]] = defaultdict(list)
    unpriced: set[str] = set()
    for one in decisions:
        plan = by_version.get(one["playbook_version"])
        contacts = tuple(name for name in map(contact_of, one["reasons"]) if name)
        for action in one["slate"]:
            name, journey = action["offer"], action["journey"] or ""
            if plan is None or name not in plan.offer_by_name:
                continue
            spent = []
            is_chosen = action["action_id"] == one["action_id"]
            if is_chosen and (one["asked"] or action["action_id"] in handed):
                cost = _of_channel(plan, one["channel"]) + plan.offers[plan.offer_by_name[name]].cost_minor
                spent.append(Spent(time_us=one["decided_at"], contact_minor=cost))
            at_us = accepted_us.get(action["action_id"])
            if at_us is not None:
                if name in rewards_minor:
                    spent.append(Spent(time_us=at_us, reward_minor=rewards_minor[name]))
                elif class_of(plan, plan.offer_by_name[name], journey) == ContactClass.REWARD:
                    unpriced.add(name)
            for experiment in about.of(one["playbook_version"], name, journey, contacts) if spent else ():
                found[experiment, one["household"]] += spent
    return Spendings(of=found, unpriced=frozenset(unpriced))


def _of_channel(plan: Plan, name: str | None) -> int:
    return next((channel.cost_minor for channel in plan.channels if channel.name == name), 0)
