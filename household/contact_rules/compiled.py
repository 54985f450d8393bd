"""The rules of a plan as a partition knows them: arrays that kernels read, by the codes of its own names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from household.contact_rules.kernels import RuleLines
from household.contact_rules.lines import (
    ADDRESS,
    CALENDAR,
    CAPACITY,
    COST,
    COUNT,
    DELIVERED,
    FAMILIES,
    HANDED,
    HOUSEHOLD,
    LINE,
    LINE_COLUMNS,
    MEMBER,
    SEEN,
    SILENCE,
)
from household.contact_rules.windows import window_of
from household.plan import (
    EXEMPT_CLASSES,
    NONE,
    ContactRule,
    CountedWhen,
    Limit,
    Plan,
    RuleScope,
    Selector,
    Span,
)
from household.tables.contacts import Contact
from household.tables.encounters import Encounter
from household.tables.slots import FIELDS
from household.tables.table import Table
from household.tables.values import NamePool
from household.traits import Traits, traits_of_text

_SCOPES = {
    RuleScope.ADDRESS: ADDRESS,
    RuleScope.LINE: LINE,
    RuleScope.MEMBER: MEMBER,
    RuleScope.HOUSEHOLD: HOUSEHOLD,
}

_WHENS = {CountedWhen.HANDED: HANDED, CountedWhen.DELIVERED: DELIVERED, CountedWhen.SEEN: SEEN}

_OF_BOTH = ("time_us", "member", "channel", "traits", "line", "address", "cost_minor")
_OF_CONTACTS = (*_OF_BOTH, "is_handed", "delivered_us", "seen_us", "until_us", "value_milli")
_OF_ENCOUNTERS = (*_OF_BOTH, "kind")


WORTH_ANYTHING = 2**62
"""The value of an action that no reservation stands against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An action on a channel, as rules see it."""

    traits: str
    channel: int
    cost_minor: int
    value_milli: int = WORTH_ANYTHING


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a rule: against what it speaks, and what it counts."""

    rule: int
    kind: int
    most: int
    governs: Selector
    counts: Selector


def _lines_of(index: int, rule: ContactRule) -> list[_Line]:
    what, other = rule.what, rule.other
    match rule.limit:
        case Limit.COUNT:
            return [_Line(index, COUNT, rule.most - 1, what, what)]
        case Limit.GAP:
            return [_Line(index, COUNT, 0, what, what)]
        case Limit.COST:
            return [_Line(index, COST, rule.most, what, what)]
        case Limit.FAMILIES:
            return [_Line(index, FAMILIES, rule.most, what, what)]
        case Limit.NEVER_WITH:
            return [_Line(index, COUNT, 0, what, other), _Line(index, COUNT, 0, other, what)]
        case Limit.NOT_AFTER:
            return [_Line(index, COUNT, 0, what, other)]
        case Limit.SILENCE:
            return [_Line(index, SILENCE, rule.most, what, what)]
        case Limit.CAPACITY:
            return [_Line(index, CAPACITY, rule.most, what, what)]


def is_meant(selector: Selector, traits: Traits) -> bool:
    """Return whether an action is among those that a selector means, wherever it goes."""
    wanted = (
        (selector.classes, (traits.contact_class,)),
        (selector.families, (traits.family,)),
        (selector.journeys, (traits.journey,)),
        (selector.purposes, (traits.purpose,)),
        (selector.tags, traits.tags),
    )
    return all(not names or not set(names).isdisjoint(own) for names, own in wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """The calendar windows of rules in one time zone, from one instant to another."""

    from_us: int
    before_us: int
    """From then on one of them is another."""
    since_us: NDArray[np.int64]
    """(calendar lines,) what happened at or before does not count."""
    until_us: NDArray[np.int64]


class CompiledRules:
    """The rules of a plan, for one partition. Grows as names come up."""

    def __init__(self, plan: Plan, names: NamePool) -> None:
        """Take a plan that has rules."""
        self.rules = plan.policy.rules
        self._names = names
        self._lines = [line for index, rule in enumerate(self.rules) for line in _lines_of(index, rule)]
        count, channels = len(self._lines), len(plan.channels)
        lines = np.zeros((count, LINE_COLUMNS), np.int64)
        governs, counts = np.zeros((channels + 1, count), np.uint8), np.zeros((channels + 1, count), np.uint8)
        for place, line in enumerate(self._lines):
            rule = self.rules[line.rule]
            window_us = rule.window_us if rule.span is Span.SLIDING else CALENDAR
            lines[place] = (
                *(line.kind, _SCOPES[rule.scope], line.most, window_us, _WHENS[rule.counted_when]),
                *(rule.inbound, rule.reserves, rule.silence_us),
            )
            for channel in range(-1, channels):
                governs[channel, place] = not line.governs.channels or channel in line.governs.channels
                counts[channel, place] = not line.counts.channels or channel in line.counts.channels
        nothing = np.zeros((0, count), np.uint8)
        self._arrays = RuleLines(lines, governs, counts, nothing, nothing, np.zeros(0, np.int64))
        self._families: dict[str, int] = {"": 0}
        self.rule_of_line: NDArray[np.int64] = np.array([line.rule for line in self._lines], np.int64)
        self.capacities = tuple(index for index, rule in enumerate(self.rules) if rule.limit is Limit.CAPACITY)
        self.programs = np.array(sorted({rule.condition for rule in self.rules} - {NONE}), np.int64)
        places = {program: at for at, program in enumerate(self.programs.tolist())}
        conditions = [self.rules[line.rule].condition for line in self._lines]
        self.condition_at = np.array([places.get(one, NONE) for one in conditions], np.int64)
        """(lines,) place among the programs of what each depends on; NONE, the last, for nothing."""
        spans = [(at, self.rules[line.rule]) for at, line in enumerate(self._lines)]
        self.sliding_us = np.array([one.window_us if one.span is Span.SLIDING else 0 for _, one in spans], np.int64)
        """(lines,) how far back each looks; 0 where a calendar tells."""
        by_calendar = [(at, one) for at, one in spans if one.span is not Span.SLIDING]
        self.calendar = tuple((at, one.span) for at, one in by_calendar if one.limit is not Limit.CAPACITY)
        """Lines whose windows are those of a calendar where the member lives."""
        self.by_calendar = np.array([at for at, _ in self.calendar], np.int64)
        self.by_capacity = tuple((at, self._lines[at].rule) for at, one in by_calendar if one.limit is Limit.CAPACITY)
        """Lines of capacities, each with its rule."""
        self.all_on = np.ones(count, np.uint8)
        """(lines,) for who may read it only: what each depends on holds."""
        self._windows: dict[str, Windows] = {}
        self.said: dict[tuple[int, str, int], Said] = {}
        """By offer, journey and channel, what came up: alike for everybody."""
        self.has_reserving = any(rule.reserves for rule in self.rules)
        self.counts_inbound = any(rule.inbound for rule in self.rules)
        self.counts_refusals = any(rule.limit is Limit.SILENCE for rule in self.rules)
        self.counts_later = any(rule.counted_when is not CountedWhen.HANDED for rule in self.rules)
        self.goes_on = any(rule.effect == "next_channel" for rule in self.rules)

    @property
    def count(self) -> int:
        """How many lines."""
        return len(self._lines)

    def arrays(self) -> RuleLines:
        """Return the lines, and what they mean of all names that there are by now."""
        known, names = self._arrays.family.shape[0], self._names.names
        if known < len(names):
            traits = [_traits_or_none(name) for name in names[known:]]
            governs = np.array([[self._governs(line, one) for line in self._lines] for one in traits], np.uint8)
            counts = np.array([[self._counts(line, one) for line in self._lines] for one in traits], np.uint8)
            family = np.array([self._family(one) for one in traits], np.int64)
            old = self._arrays
            self._arrays = old._replace(
                governs_traits=np.concatenate([old.governs_traits, governs]),
                counts_traits=np.concatenate([old.counts_traits, counts]),
                family=np.concatenate([old.family, family]),
            )
        return self._arrays

    def windows(self, zone: str, now_us: int) -> "Windows":
        """Return the calendar windows that hold an instant where a member lives."""
        known = self._windows.get(zone)
        if known is None or not known.from_us <= now_us < known.before_us:
            found = [window_of(span, zone, now_us) for _, span in self.calendar]
            known = self._windows[zone] = Windows(
                from_us=max((from_us for from_us, _ in found), default=now_us),
                before_us=min((until_us for _, until_us in found), default=now_us),
                since_us=np.array([from_us - 1 for from_us, _ in found], np.int64),
                until_us=np.array([until_us for _, until_us in found], np.int64),
            )
        return known

    def code(self, traits: str) -> int:
        """Return the code of an action's traits."""
        return self._names.code(traits)

    def counts(self, rule: int, traits: Traits, channel: int) -> bool:
        """Return whether a rule counts an action on a channel."""
        what = self.rules[rule].what
        return is_meant(what, traits) and (not what.channels or channel in what.channels)

    def _family(self, traits: Traits | None) -> int:
        return 0 if traits is None else self._families.setdefault(traits.family, len(self._families))

    @staticmethod
    def _governs(line: _Line, traits: Traits | None) -> bool:
        return traits is not None and traits.contact_class not in EXEMPT_CLASSES and is_meant(line.governs, traits)

    @staticmethod
    def _counts(line: _Line, traits: Traits | None) -> bool:
        return traits is not None and is_meant(line.counts, traits)


def _traits_or_none(name: str) -> Traits | None:
    """Return the traits that a name of the pool stands for; None for another kind of name."""
    return traits_of_text(name) if not name or name.count("|") == 4 else None


def places_of_contacts(table: Table[Contact]) -> NDArray[np.int64]:
    """Return which columns of the contacts' rows kernels read."""
    return _places(table, _OF_CONTACTS)


def places_of_encounters(table: Table[Encounter]) -> NDArray[np.int64]:
    """Return which columns of the encounters' rows kernels read."""
    return _places(table, _OF_ENCOUNTERS)


def _places(table: Table[Any], names: Sequence[str]) -> NDArray[np.int64]:
    return np.array([FIELDS + table.place(name) for name in names], np.int64)
