"""What the rules of the contact policy say of actions: which speak against which, and from when on none does."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from household.contact_rules.compiled import WORTH_ANYTHING, CompiledRules, Said
from household.contact_rules.kernels import Asked, Kept, counted, weigh
from household.contact_rules.lines import ASK_ADDRESS, ASK_CHANNEL, ASK_COLUMNS, NEVER_US
from household.contact_rules.windows import window_of
from household.decision import RuleNote
from household.plan import NONE, Effect, Plan
from household.state import PartitionState
from household.subjects import UNKNOWN, subject_of, zone_of
from household.tables.table import Table
from household.traits import traits_of

ITEMS_AT_ONCE = 64

NOTED_CONTACTS = 20
"""Of the contacts that count, so many are named; more are hardly read."""

_KEPT_MOST = 4_096

NOTHING_KEPT = np.zeros((1, 1), np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A rule that speaks against an action."""

    rule: int
    """Index in the policy's rules."""
    effect: Effect
    opens_us: int
    """The first instant at which it would pass, as things stand; NEVER_US for none."""


def said(
    rules: CompiledRules, plan: Plan, offer: int, journey: str, channel: int, *, value_milli: int = WORTH_ANYTHING
) -> Said:
    """Return an offer, by index, of a journey on a channel as the rules of its plan see it."""
    known = rules.said.get((offer, journey, channel))
    if known is None:
        if len(rules.said) >= _KEPT_MOST:
            rules.said.clear()
        known = rules.said[offer, journey, channel] = Said(
            traits=traits_of(plan, plan.offers[offer].name, journey).text,
            channel=channel,
            cost_minor=contact_cost_minor(plan, offer, channel),
        )
    return known if value_milli == WORTH_ANYTHING else replace(known, value_milli=value_milli)


def contact_cost_minor(plan: Plan, offer: int, channel: int) -> int:
    """Return what one contact costs: the channel's cost, and that of making the offer."""
    of_offer = 0 if offer == NONE else plan.offers[offer].cost_minor
    return of_offer + (0 if channel == NONE else plan.channels[channel].cost_minor)


class Asks(NamedTuple):
    """Actions on their channels, as the kernels see them: the same for everybody but for what they reach."""

    rows: NDArray[np.int64]
    """(actions, ASK_COLUMNS), with no address."""
    channels: tuple[int, ...]
    """Each once."""


def asks_of(rules: CompiledRules, actions: Sequence[Said]) -> Asks:
    """Return actions as the kernels see them."""
    rows = np.zeros((len(actions), ASK_COLUMNS), np.int64)
    for at, one in enumerate(actions):
        rows[at] = rules.code(one.traits), one.channel, UNKNOWN, one.cost_minor, one.value_milli
    return Asks(rows, tuple(dict.fromkeys(one.channel for one in actions)))


class Weighing:
    """What all rules say of some actions for one member, as of the state's now."""

    def __init__(
        self,
        state: PartitionState,
        household: int,
        member: int,
        asks: Asks,
        *,
        made_only: bool = False,
        is_inbound: bool = False,
    ) -> None:
        """Weigh all of them at once.

        Args:
            state: read only; its plan has rules.
            household: row.
            member: row of who is to be contacted, or NO_MEMBER.
            asks: actions, each on a channel.
            made_only: only contacts that were made count, as at a hand-over.
            is_inbound: they answer who has asked.
        """
        assert state.rules is not None, "asked of a playbook without rules"
        self._state, self._rules = state, state.rules
        self._asks, line = _reaching(state, household, member, asks)
        self._kept = _kept(state, household)
        zone = zone_of(state, household, member)
        self._asked = _asked(state, household, member, line, zone, made_only=made_only, is_inbound=is_inbound)
        count = self._asks.shape[0]
        self._opens_us = np.empty((count, self._rules.count), np.int64)
        items = np.empty((ITEMS_AT_ONCE, 4), np.int64)
        lines = self._rules.arrays()
        while (spoken := weigh(lines, self._kept, self._asked, self._asks, items, self._opens_us)) < 0:
            items = np.empty((4 * items.shape[0], 4), np.int64)
        self._items = items
        self.is_any_broken = spoken > 0
        """Whether any rule speaks against any of the actions."""
        self.is_broken: list[bool] = [False] * count
        """(actions,) whether any rule speaks against each."""
        if self.is_any_broken:
            self.is_broken = (self._opens_us != self._asked.now_us).any(axis=1).tolist()

    def broken(self, action: int) -> tuple[Broken, ...]:
        """Return the rules that speak against one of the actions, as they are written."""
        if not self.is_broken[action]:
            return ()
        opens_us = self._opens_us[action]
        found: dict[int, int] = {}
        for line in np.flatnonzero(opens_us != self._asked.now_us).tolist():
            rule = int(self._rules.rule_of_line[line])
            found[rule] = max(found.get(rule, 0), int(opens_us[line]))
        return tuple(
            Broken(rule=rule, effect=self._rules.rules[rule].effect, opens_us=min(at_us, NEVER_US))
            for rule, at_us in found.items()
        )

    def note(self, action: int, broken: Broken, *, offer: str) -> RuleNote:
        """Return what is told of a rule that speaks against one of the actions."""
        plan, rule = self._state.plan, self._rules.rules[broken.rule]
        contacts: dict[str, None] = {}
        for line in np.flatnonzero(self._rules.rule_of_line == broken.rule).tolist():
            if self._opens_us[action, line] != self._asked.now_us:
                contacts.update(dict.fromkeys(self.counted_by(action, line)))
        channel = int(self._asks[action, 1])
        return RuleNote(
            rule=rule.name,
            effect=rule.effect.value,
            offer=offer,
            channel="" if channel == NONE else plan.channels[channel].name,
            contacts=tuple(contacts)[:NOTED_CONTACTS],
            passes_us=0 if broken.opens_us >= NEVER_US else broken.opens_us,
        )

    def counted_by(self, action: int, line: int) -> list[str]:
        """Return the ids of the actions whose contacts count against one by a line, what leaves first first."""
        state, items = self._state, self._items
        if self._rules.rules[int(self._rules.rule_of_line[line])].limit == "capacity":
            return []  # contacts of other households
        count = counted(self._rules.arrays(), self._kept, self._asked, self._asks[action], line, items)
        slots = items[:count, 3].tolist()
        return [
            state.contacts.row(slot).action_id if slot > 0 else state.encounters.row(-slot).action_id for slot in slots
        ]


def _reaching(state: PartitionState, household: int, member: int, asks: Asks) -> tuple[NDArray[np.int64], int]:
    """Return (actions, ASK_COLUMNS) with the address that each reaches, and the line that all of them do."""
    rows, line = asks.rows, UNKNOWN
    for place, channel in enumerate(asks.channels):
        subject = subject_of(state, household, member, channel)
        if not place:
            line = subject.line
        if subject.address != UNKNOWN:
            if rows is asks.rows:
                rows = rows.copy()
            rows[rows[:, ASK_CHANNEL] == channel, ASK_ADDRESS] = subject.address
    return rows, line


def _kept(state: PartitionState, household: int) -> Kept:
    contacts, encounters, rows = state.contacts, state.encounters, state.rows_together(household)
    return Kept(
        contacts.rows,
        _firsts(contacts, rows),
        state.contact_places,
        encounters.rows,
        _firsts(encounters, rows),
        state.encounter_places,
    )


def _firsts(table: Table[Any], rows: Sequence[int]) -> NDArray[np.int64]:
    """Return the first slots of a household's rows."""
    heads = table.heads
    return np.array([heads[row] if 0 <= row < heads.shape[0] else 0 for row in rows], np.int64)


def _asked(
    state: PartitionState,
    household: int,
    member: int,
    line: int,
    zone: str,
    *,
    made_only: bool,
    is_inbound: bool,
) -> Asked:
    rules, now_us = state.rules, int(state.now_us)
    assert rules is not None
    since_us = now_us - rules.sliding_us
    used_up, until_us = np.zeros(rules.count, np.uint8), np.zeros(rules.count, np.int64)
    is_on = _is_on(state, rules, household, member)
    if rules.calendar:
        windows = rules.windows(zone, now_us)
        since_us[rules.by_calendar], until_us[rules.by_calendar] = windows.since_us, windows.until_us
    for place, index in rules.by_capacity:
        used_up[place], until_us[place] = _capacity(state, index)
    rows = sorted({member, *state.graph.member_rows(household, member)}) if state.graph else [member]
    members = np.array(rows, np.int64)
    return Asked(members, line, now_us, int(made_only), int(is_inbound), is_on, since_us, until_us, used_up)


def _is_on(state: PartitionState, rules: CompiledRules, household: int, member: int) -> NDArray[np.uint8]:
    if not rules.programs.shape[0]:
        return rules.all_on
    holds = np.ones(rules.programs.shape[0] + 1, np.uint8)
    holds[:NONE] = state.conditions(rules.programs, household, member, state.now_us) == 1.0
    return holds[rules.condition_at]


def _capacity(state: PartitionState, index: int) -> tuple[bool, int]:
    """Return whether nothing is left of this partition's share of a capacity, and when it will have one again."""
    assert state.rules is not None
    rule, zone = state.rules.rules[index], state.plan.policy.time_zone
    _, until_us = window_of(rule.span, zone, int(state.now_us))
    if capacity_left(state, index) > 0:
        return False, until_us
    if rule.most < 1:
        return True, NEVER_US
    while not state.share.of(rule.most, until_us, (following := window_of(rule.span, zone, until_us))[1]):
        until_us = following[1]
    return True, until_us


def capacity_left(state: PartitionState, index: int) -> int:
    """Return how much is left now of this partition's share of a capacity, given by its rule."""
    assert state.rules is not None
    rule = state.rules.rules[index]
    from_us, until_us = window_of(rule.span, state.plan.policy.time_zone, int(state.now_us))
    use = state.capacities.get(rule.name, from_us) if len(state.capacities) else None
    return state.share.of(rule.most, from_us, until_us) - (use.count if use is not None else 0)
